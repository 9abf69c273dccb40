"""What is allowed: every threshold once, with its reason and its source."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from initscope.errors import UsageError, unknown


def _bound(default: float, reason: str) -> Any:  # noqa: ANN401 - a dataclass field
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Thresholds of the checks; ``Bounds.reason(name)`` says why each is what it is."""

    depth_exponent: float = _bound(
        0.5,
        "half-way between the two laws of a pre-norm stack: 0 where the residual weights shrink "
        "as 1/sqrt(2·n_layer), 1 where they do not (Radford et al. 2019 §2.3; Kedia et al. 2024)",
    )
    gradient_exponent: float = _bound(
        0.5,
        "as the depth exponent: with pre-norm the gradient's growth towards the first layer "
        "mirrors the stream's (Kedia et al. 2024, hyperbolic backward law)",
    )
    token_cosine: float = _bound(
        0.95,
        "query and key gradients shrink as (1 - cosine)²: beyond 0.95 they are under 0.3 % of "
        "their size for distinct tokens (Noci et al. 2022, rank collapse)",
    )
    attention_entropy: float = _bound(
        0.25,
        "share of ln(keys) below which attention looks at a few keys and its softmax saturates; "
        "heuristic, after entropy collapse in Zhai et al. 2023",
    )
    loss_excess: float = _bound(
        0.5,
        "nats above ln(vocab); a healthy head adds half the logits' variance, so 0.5 is a logit "
        "std of 1, beyond which the first steps only unlearn the head",
    )
    branch_share: float = _bound(
        2.0**-8,
        "rms of a branch over rms of its stream; 2^-8 is half a unit in the last place of "
        "bfloat16, so a smaller branch is rounded away when it is added",
    )
    branch_balance: float = _bound(
        16.0,
        "ratio of the two branches' rms in the last block, either way; doubly scaled projections "
        "leave a factor of sqrt(2·n_layer) or its square (pytorch/torchtitan #3722)",
    )
    headroom: float = _bound(
        4.0,
        "bits between the largest activation and the largest number of the dtype; training "
        "raises activations several-fold after initialisation (transformers #5651)",
    )
    parameter_std: float = _bound(
        0.01,
        "relative deviation of a parameter's std from the rule's, on top of five standard "
        "errors of the sample; a wrong fan or a lost truncation moves it by far more",
    )
    parameter_outlier: float = _bound(
        4.0,
        "standard deviations that the largest entry may exceed sqrt(2 ln n), the largest of n "
        "normals; single entries at a truncation bound exceed it by hundreds (pytorch #174997)",
    )

    stream_growth: float = _bound(
        2.0**20,
        "variance of the stream's end over that in the run's first profile; training raises it by "
        "orders of magnitude, but 2^20 is 10 bits of rms of the 16 that float16 has above 1; "
        "heuristic",
    )
    gradient_growth: float = _bound(
        100.0,
        "norm of the gradient over that in the run's first profile; a healthy run's falls in its "
        "first steps, and clipping then leaves under a hundredth of a step; heuristic",
    )
    dead_units: float = _bound(
        0.999,
        "share of exact zeros in an MLP's hidden layer; trained ReLU networks are sparse, up to "
        "some 97 % (Li et al. 2023, the lazy neuron phenomenon), so only silence counts",
    )
    collapsed_cosine: float = _bound(
        0.999,
        "mean cosine between tokens in training, where two then differ by 4 % of their size; the "
        "first steps move all tokens along one direction, and a healthy run may pass 0.99",
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be compared with a measurement."""
        for bound in dataclasses.fields(self):
            value = getattr(self, bound.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not value >= 0:  # NaN fails any comparison
                raise UsageError(
                    f"bound {bound.name} must be a number of at least 0, not {value!r}"
                )

    @classmethod
    def reason(cls, name: str) -> str:
        """Say why a threshold is what it is."""
        known = {bound.name: bound for bound in dataclasses.fields(cls)}
        if name not in known:
            raise unknown("bound", name, known)
        return str(known[name].metadata["reason"])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Bounds:
        """Build bounds from settings; an unknown name is an error with a suggestion."""
        for name in values:
            cls.reason(name)
        return cls(**values)
