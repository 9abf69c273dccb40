"""Methods published for encoder-decoders built on fairseq, as decoders without cross-attention.

Their embedding is N(0, 1/sqrt(n_embd)), times sqrt(n_embd) in the forward pass, and fixed waves
say where a token stands.
"""

from __future__ import annotations

import math
from typing import Any

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.fan import xavier_std
from initscope.rules.gaussian import matrices

FAIRSEQ: dict[str, Any] = {
    "norm": "post", "activation": "relu", "positions": "sinusoidal", "bias": True,
}  # fmt: skip


def xavier_uniform(site: Site, gain: float = 1.0) -> Draw:
    """U(±gain·sqrt(6/(fan_in+fan_out))); embeddings N(0, 1/sqrt(n_embd))."""
    if site.role in EMBEDDINGS:
        return Draw.normal(site.n_embd**-0.5)
    return Draw.uniform(math.sqrt(3) * gain * xavier_std(site))


def fused_gain(site: Site) -> float:
    """1/sqrt(2) for q, k and v: what Xavier gives them as one matrix."""
    return 2**-0.5 if site.role in {"q", "k", "v"} else 1.0


def root_width(site: Site, skip: float = 1.0) -> Multipliers:
    """Embeddings times sqrt(n_embd), and the stream times a factor."""
    return Multipliers(embed=math.sqrt(site.n_embd), skip_attn=skip, skip_mlp=skip)


def admin(site: Site) -> Multipliers:
    """LN(ω·x + f(x)), ω² = (N+1)/ln(N+1) - 1 for N = 2·n_layer branches."""
    branches = 2 * site.n_layer
    return root_width(site, math.sqrt((branches + 1) / math.log(branches + 1) - 1))


def number(site: Site) -> int:
    """Count the blocks up to this one, from 1."""
    return max(site.layer + 1, 1)


def ds_init(site: Site) -> Draw:
    """Xavier's uniform over the root of the block's number, from 1."""
    return xavier_uniform(site, number(site) ** -0.5)


def ds_init_code(site: Site) -> Draw:
    """TensorFlow's scale is a variance, and q, k and v are one matrix there."""
    return xavier_uniform(site, fused_gain(site) * number(site) ** -0.25)


def t_fixup(site: Site) -> Draw:
    """Xavier's uniform; all but q and k times 0.67·n_layer^-1/4, embeddings times (9·n_layer)^-1/4.

    The source takes q's and k's 1/sqrt(2) back for v.
    """
    if site.role in EMBEDDINGS:
        return Draw.normal(site.n_embd**-0.5 * (9 * site.n_layer) ** -0.25)
    if site.role in {"q", "k"}:
        return xavier_uniform(site, fused_gain(site))
    return xavier_uniform(site, 0.67 * site.n_layer**-0.25)


def fixup(site: Site) -> Draw:
    """He's draw, the first of a branch's two matrices over sqrt(branches), and 0 for the last."""
    if site.role in RESIDUAL | {"head"}:
        return Draw.constant(0.0)
    if site.role in EMBEDDINGS:
        return Draw.normal(0.02)
    first = site.role not in {"q", "k"}
    return Draw.normal(math.sqrt(2 / site.fan_in) * ((2 * site.n_layer) ** -0.5 if first else 1.0))


def he(site: Site) -> Draw:
    """sqrt(2/fan_in); embeddings 0.02."""
    return Draw.normal(0.02 if site.role in EMBEDDINGS else math.sqrt(2 / site.fan_in))


_EMBED = "embeddings N(0, 1/sqrt(n_embd)) times sqrt(n_embd)"

RULES = (
    Rule(
        name="admin",
        summary="post-norm, stream times sqrt((N+1)/ln(N+1) - 1) for N = 2·n_layer: Admin's closed "
        f"form, not its profiled one; U(±sqrt(6/(fan_in+fan_out))), q, k, v /sqrt(2); {_EMBED}, "
        "norm gain 1, biases 0",
        source="microsoft/admin-torch admin_torch/admin.py calculate_init; Liu et al. 2020, "
        "arXiv 2004.08249; facebookresearch/fairseq modules/multihead_attention.py",
        draw=matrices(lambda site: xavier_uniform(site, fused_gain(site))),
        architecture=FAIRSEQ,
        multipliers=admin,
    ),
    Rule(
        name="ds-init",
        summary="post-norm; U(±sqrt(6/(fan_in+fan_out))/sqrt(layer+1)); "
        f"{_EMBED}, norm gain 1, biases 0",
        source="Zhang et al. 2019, arXiv 1908.11365, eq. 9",
        draw=matrices(ds_init),
        architecture=FAIRSEQ,
        multipliers=root_width,
    ),
    Rule(
        name="ds-init-code",
        summary="post-norm; U(±sqrt(6/(fan_in+fan_out))/(layer+1)^1/4), with q, k, v as one "
        f"matrix: the authors' code, whose std shrinks less than the paper's; {_EMBED}, norm gain "
        "1, biases 0",
        source="bzhangGo/zero models/transformer.py decoder (deep_transformer_init); func.py",
        draw=matrices(ds_init_code),
        architecture=FAIRSEQ,
        multipliers=root_width,
    ),
    Rule(
        name="t-fixup",
        summary="no norm; U(±sqrt(6/(fan_in+fan_out))), q and k /sqrt(2), all others times "
        "0.67·n_layer^-1/4, the constant for layers of two branches, so an adaptation; embeddings "
        "N(0, (9·n_layer)^-1/4/sqrt(n_embd)) times sqrt(n_embd), norm gain 1, biases 0",
        source="Huang et al. 2020, ICML, §3.2; layer6ai-labs/T-Fixup "
        "fairseq/modules/transformer_layer.py fixup_initialization",
        draw=matrices(t_fixup),
        architecture={**FAIRSEQ, "norm": "none"},
        multipliers=root_width,
    ),
    Rule(
        name="fixup",
        summary="no norm; N(0, sqrt(2/fan_in)), v, mlp_gate and mlp_up over sqrt(2·n_layer), "
        "attn_out, mlp_down and head 0, so no gradient but the head's: Fixup's branches of two "
        "matrices, an adaptation to transformers; embeddings N(0, 0.02), norm gain 1, biases 0",
        source="Zhang et al. 2019, arXiv 1901.09321, §3; hongyi-zhang/Fixup "
        "cifar/models/fixup_resnet_cifar.py FixupResNet.__init__",
        draw=matrices(fixup),
        architecture={"norm": "none", "activation": "relu", "bias": True, "tied": False},
    ),
    Rule(
        name="skipinit",
        summary="branches times 0, no norm; N(0, sqrt(2/fan_in)), an adaptation to transformers; "
        "embeddings N(0, 0.02), norm gain 1, biases 0",
        source="De & Smith 2020, arXiv 2002.10444, §4; huggingface/pytorch-image-models "
        "timm/models/nfnet.py (skipinit_gain)",
        draw=matrices(he),
        architecture={"norm": "none", "activation": "relu", "bias": True},
        multipliers=lambda _site: Multipliers(branch_attn=0.0, branch_mlp=0.0),
    ),
)
