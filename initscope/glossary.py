"""What is measured, where and in which unit: the one table of sites and statistics."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTIONS = {
    "forward": "the activation at the site",
    "backward": "the gradient of the loss with respect to the activation at the site",
    "weight": "the parameter itself",
    "weight_grad": "the gradient of the loss with respect to the parameter",
}

# In the order in which the signal meets them.
SITES = {
    "embed": "token plus position embedding, the stream before the first block",
    "norm_embed": "output of the norm on the embedding (BLOOM): what embed is then",
    "resid_pre": "the residual stream entering a block",
    "norm_1": "output of the norm before attention, or after its sum (post)",
    "q": "queries, before rotation and qk-norm",
    "k": "keys, before rotation and qk-norm",
    "v": "values",
    "attn": "attention-weighted values, all heads, before the output projection",
    "norm_attn": "output of the norm before attention's output projection (inner norms)",
    "attn_out": "the attention branch's output projection",
    "norm_1_out": "output of the norm after the attention branch (sandwich, output)",
    "resid_mid": "the residual stream after the attention branch",
    "norm_2": "output of the norm before the MLP, or after its sum (post)",
    "mlp_gate": "gate before its activation (SwiGLU, GEGLU)",
    "mlp_up": "MLP hidden layer before the activation",
    "mlp_act": "MLP hidden layer after the activation (and gate)",
    "norm_mlp": "output of the norm before the MLP's output projection (inner norms)",
    "mlp_down": "the MLP branch's output projection",
    "norm_2_out": "output of the norm after the MLP branch (sandwich, output)",
    "resid_post": "the residual stream leaving a block",
    "norm_f": "output of the final norm",
    "logits": "logits over the vocabulary",
    "loss": "next-token cross-entropy",
    "model": "all parameters together",
}


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic's unit and exact meaning, over all of a tensor's entries unless said."""

    unit: str
    meaning: str


STATISTICS = {
    "second_moment": Statistic("x²", "mean of x²"),
    "variance": Statistic("x²", "mean of (x - mean)², population form (divided by the count)"),
    "mean": Statistic("x", "mean of x"),
    "max_abs": Statistic("x", "largest |x|"),
    "kurtosis": Statistic("1", "excess kurtosis: m4 / m2² - 3, population form; 0 for a normal"),
    "max_over_std": Statistic("σ", "largest |x| in standard deviations"),
    "zero_share": Statistic("share", "entries that are exactly 0"),
    "saturated_share": Statistic("share", "pre-activations where the slope is below 0.02"),
    "token_cosine": Statistic("1", "mean cosine between two tokens of one sequence (1: collapse)"),
    "branch_ratio": Statistic(
        "1", "rms of what the branch adds / rms of the stream it is added to"
    ),
    "headroom_fp16": Statistic("bit", "log2(65504 / max |x|); negative: overflow in float16"),
    "headroom_bf16": Statistic("bit", "log2(3.39e38 / max |x|); negative: overflow in bfloat16"),
    "attention_entropy": Statistic("share", "mean of H(softmax row) / ln(keys), rows with > 1 key"),
    "attention_logit_std": Statistic("logit", "rms over queries of the std over each query's keys"),
    "loss": Statistic("nat", "mean cross-entropy of the next token"),
    "loss_excess": Statistic("nat", "loss - ln(vocab size)"),
    "grad_norm": Statistic("nat/x", "L2 norm of the gradient of all parameters"),
    "spread": Statistic("share", "theory: sd of the variance between single seeds / the variance"),
    "rule_std": Statistic("x", "standard deviation that the rule prescribes"),
    "rule_bound": Statistic("x", "largest |x| that the rule can draw; infinite for a normal"),
    "predicted_variance": Statistic("x²", "theory: the variance, averaged over seeds"),
    "predicted_branch_ratio": Statistic("1", "theory: the branch ratio"),
    "predicted_token_cosine": Statistic("1", "theory: the token cosine"),
    "expected": Statistic("x²", "theory: the second moment, given that of what the site reads"),
}
