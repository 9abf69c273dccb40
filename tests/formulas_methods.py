"""What the sources say of methods: each role's std at three depths, as in formulas.py."""

from __future__ import annotations

import math

from formulas import (
    CUT_2,
    ENDS,
    FF,
    INNER,
    MUP,
    OUT,
    ROOT,
    WIDTH,
    XAVIER_MLP,
    XAVIER_SQUARE,
    Want,
    by,
)

BETA = {1: 0.594604, 12: 0.319472, 48: 0.2259005}  # (8·n_layer)^-1/4
GAMMA = {1: 0.832555, 12: 1.78271, 48: 2.13643}  # sqrt(ln(2·n_layer))
T_FIXUP = {1: 0.67, 12: 0.359981, 48: 0.254545}  # 0.67·n_layer^-1/4
NINE = {1: 0.577350, 12: 0.310202, 48: 0.219346}  # (9·n_layer)^-1/4
HE_WIDTH = 0.0510310  # sqrt(2 / 768)
FUSED = 0.0255155  # sqrt(2 / (768 + 3·768))
LINEAR, LINEAR_FF = WIDTH / 3**0.5, FF / 3**0.5  # nn.Linear's uniform
TORCHSCALE = {"sub-ln-torchscale": GAMMA, "deepnorm-torchscale": BETA}


def torchscale(factor: dict[int, float]) -> dict[str, Want]:
    """The code's nn.Linear draw; only decoder.py's loop over names touches it."""
    return {
        ENDS: WIDTH, "q k": LINEAR, "v attn_out mlp_gate mlp_up": by(factor, LINEAR),
        "mlp_down": by(factor, LINEAR_FF),
    }  # fmt: skip


def sigma(layer: int, skip: float, branch: float) -> float:
    """σ of v and attn_out in DeepScaleLM, as the source's loop finds it for p = 0."""
    r, size = 0.221, 1.0
    for _ in range(layer):
        r, size = (skip * r * size + branch) / (skip * size + branch), skip * size + branch
        ffn = r + ((1 - r**2) ** 0.5 - r * math.acos(r)) / math.pi
        r, size = (skip * r * size + branch * ffn) / (skip * size + branch), skip * size + branch
    return math.sqrt(math.sqrt(1 / r) / 768)


METHODS: dict[str, dict[str, Want]] = {
    # nanochat 3a5e0bc: fan_in^-1/2·min(1, sqrt(fan_out/fan_in)).
    "spectral": {ENDS: 0.02, f"{INNER} attn_out": WIDTH, "mlp_down": FF / 2},
    "nanochat": {"wte wpe": 1.0, INNER: WIDTH, f"head {OUT}": 0.0},
    "zero-projections": {f"{ENDS} {INNER}": 0.02, OUT: 0.0},
    # rztx.py: xavier_uniform_ on (3·768, 768), U(±1/sqrt(fan_in)) elsewhere.
    "rezero": {
        ENDS: 0.02, "q k v": (2 / (4 * 768)) ** 0.5, "attn_out mlp_gate mlp_up": WIDTH / 3**0.5,
        "mlp_down": FF / 3**0.5,
    },
    # DeepNet: Xavier with gain β for all but q and k.
    "deepnorm": {
        ENDS: 0.02, "q k": XAVIER_SQUARE, "v attn_out": by(BETA, XAVIER_SQUARE),
        "mlp_gate mlp_up mlp_down": by(BETA, XAVIER_MLP),
    },
    # CaiT: trunc_normal_(std=0.02).
    "layerscale": {f"{ENDS} {INNER} {OUT}": 0.02},
    # nanoGPT-mup, three times the base width.
    "mup": {ENDS: 0.02, INNER: MUP, OUT: by(ROOT, MUP)},
    "completep": {ENDS: 0.02, f"{INNER} {OUT}": MUP},
    "depth-mup": {ENDS: 0.02, f"{INNER} {OUT}": MUP},
    # nanochat 92d63d4: uniform of std 768^-1/2, c_fc 0.4 of it, lm_head 0.001, wte 0.8.
    "nanochat-latest": {
        "wte wpe": 0.8, "head": 0.001, "q k v": WIDTH, "mlp_gate mlp_up": 0.4 * WIDTH, OUT: 0.0,
    },
    # modded-nanogpt 16e2da07: uniform of std 0.5·fan_in^-1/2, CastedLinear.
    "modded-nanogpt": {"wte wpe": 1.0, INNER: WIDTH / 2, f"head {OUT}": 0.0},
    # Magneto, fig. 2: xavier_normal_ with gain γ for ffn, v_proj and out_proj.
    "sub-ln": {
        ENDS: 0.02, "q k": XAVIER_SQUARE, "v attn_out": by(GAMMA, XAVIER_SQUARE),
        "mlp_gate mlp_up mlp_down": by(GAMMA, XAVIER_MLP),
    },
    **{rule: torchscale(factor) for rule, factor in TORCHSCALE.items()},
    # fairseq: xavier_uniform_, of gain 1/sqrt(2) for q, k and v.
    "admin": {
        ENDS: WIDTH, "q k v": FUSED, "attn_out": XAVIER_SQUARE,
        "mlp_gate mlp_up mlp_down": XAVIER_MLP,
    },
    # DS-Init: eq. 9 by 1/sqrt(l), l from 1; TensorFlow's scale gives l^-1/4.
    "ds-init": {
        ENDS: WIDTH, "q k v attn_out": lambda layer: XAVIER_SQUARE * (layer + 1) ** -0.5,
        "mlp_gate mlp_up mlp_down": lambda layer: XAVIER_MLP * (layer + 1) ** -0.5,
    },
    "ds-init-code": {
        ENDS: WIDTH, "q k v": lambda layer: FUSED * (layer + 1) ** -0.25,
        "attn_out": lambda layer: XAVIER_SQUARE * (layer + 1) ** -0.25,
        "mlp_gate mlp_up mlp_down": lambda layer: XAVIER_MLP * (layer + 1) ** -0.25,
    },
    # T-Fixup: 0.67·L^-1/4, v times sqrt(2) more, embeddings (9L)^-1/4.
    "t-fixup": {
        ENDS: by(NINE, WIDTH), "q k": FUSED, "v attn_out": by(T_FIXUP, XAVIER_SQUARE),
        "mlp_gate mlp_up mlp_down": by(T_FIXUP, XAVIER_MLP),
    },
    # Fixup: L^(-1/(2m-2)) with m = 2 matrices and L = 2·n_layer branches.
    "fixup": {
        "wte wpe": 0.02, f"head {OUT}": 0.0, "q k": HE_WIDTH,
        "v mlp_gate mlp_up": by(ROOT, HE_WIDTH),
    },
    # SkipInit: He's.
    "skipinit": {ENDS: 0.02, f"{INNER} attn_out": HE_WIDTH, "mlp_down": HE_WIDTH / 2},
    # u-μP: std 1 and fan_in^-1/2 in the forward pass, fan_in^-1 in LinearReadout.
    "u-mup": {"wte wpe": 1.0, "head": 1 / 768, f"{INNER} attn_out": WIDTH, "mlp_down": FF},
    # DeepScaleLM, p = 0: embeddings sqrt(1/2) each, q and k 768^-1/2, the MLP (1/2)^1/4·768^-1/2.
    "deepscalelm": {
        ENDS: 0.707107, "q k": WIDTH, "v attn_out": lambda layer: sigma(layer, 0.995, 0.005),
        "mlp_gate mlp_up mlp_down": 0.840896 * WIDTH,
    },
    "deepscalelm-sigma": {
        ENDS: 0.707107, "q k": WIDTH, "v attn_out": lambda layer: sigma(layer, 1, 1),
        "mlp_gate mlp_up mlp_down": 0.840896 * WIDTH,
    },
    # mup's example: init_method_normal((encoder_var / d_model)**0.5), query and readout 0.
    "mup-example": {"wte wpe": 1.0, "q head": 0.0, f"k v mlp_gate mlp_up {OUT}": WIDTH},
    # modelzoo 111m_mup.yaml: 0.08 truncated at ±2 std; mlp_down 0.02·sqrt(1024/3072).
    "cerebras-mup": {
        ENDS: 0.08 * CUT_2, INNER: 4 * MUP * CUT_2, "attn_out": by(ROOT, 4 * MUP * CUT_2),
        "mlp_down": by(ROOT, 0.0115470 * CUT_2),
    },
    # MiniCPM, table 7: init_std 0.1, over sqrt(768/256) for matrices.
    "minicpm": {ENDS: 0.1, f"{INNER} {OUT}": 5 * MUP},
}  # fmt: skip
