"""Verdicts of every kind, for the formats: each must be able to say them all."""

from __future__ import annotations

import math

from initscope.formats import Named
from initscope.verdict import Class, Finding, Level, Status, Verdict

# What breaks a line, a cell, a tag, a CDATA section, a workflow command, XML, or UTF-8 itself.
MARKS = 'é 深 <b a="1">&amp; ]]> | `x` *y* __z__ \\ [l](u) 100% a:b,c'
NASTY = MARKS + "\r\n::error::\x1b[31m\x00\x85\ud800\uffff"
# What remains of it to read.
TAMED = MARKS + " ::error::[31m"


def finding(code: str, status: Status, **fields: object) -> Finding:
    """Build a finding with a name and a message of its own."""
    said: dict[str, object] = {"name": f"check {code}", "message": f"{code} is {status}"}
    return Finding(code=code, status=status, **{**said, **fields})  # type: ignore[arg-type]


def verdict(*findings: Finding, rule: str = "nanogpt", **fields: object) -> Verdict:
    """Build a verdict on eight layers."""
    known: dict[str, object] = {
        "n_layer": 8, "seeds": 3, "forward": Class.BOUNDED, "backward": Class.BOUNDED,
    }  # fmt: skip
    return Verdict(rule=rule, findings=findings, **{**known, **fields})  # type: ignore[arg-type]


def broken(name: str, *codes: str) -> Named:
    """Return a check of which these codes are broken."""
    return Named(name, verdict(*(finding(code, Status.BROKEN) for code in codes or ("G1",))))


KEPT = Named(
    "pretrain: nanogpt, 48 layers",
    verdict(finding("G1", Status.KEPT, value=0.02, error=0.1, bound=0.5)),
)
BROKEN = Named(
    "wide: kaiming",
    verdict(
        finding(
            "G1", Status.BROKEN, message="the exponent is inf", layer=5, site="mlp_act",
            value=math.inf, error=math.nan, bound=0.5,
        ),
        finding("P1", Status.BROKEN, layer=-1, site="wte", value=-math.inf),
        finding("P1", Status.BROKEN, layer=8, site="logits"),
        finding("P2", Status.BROKEN, layer=3),
        finding("A1", Status.KEPT, value=0.5),
        rule="kaiming", forward=Class.EXPLODES, reason="each block doubles the stream",
        remedy="divide attn_out and mlp_down by sqrt(2·n_layer)", traits=("overflows",),
    ),
    "config/model checks.toml",
)  # fmt: skip
INCONCLUSIVE = Named(
    "one seed",
    verdict(
        finding("G2", Status.INCONCLUSIVE, message="α = 0.48 ± 0.30 straddles 0.5"),
        finding("W2", Status.INCONCLUSIVE, level=Level.WARN),
        seeds=1,
    ),
)
WARNED = Named(
    "warned",
    verdict(
        finding("G1", Status.KEPT), finding("W1", Status.BROKEN, level=Level.WARN, site="loss"),
        finding("N1", Status.NOT_MEASURED, message="the profile has no gradients"),
    ),
)  # fmt: skip
UNMEASURED = Named("forward only", verdict(finding("N1", Status.NOT_MEASURED)))
NASTIEST = Named(
    NASTY,
    verdict(
        finding("X1", Status.BROKEN, name=NASTY, message=NASTY, site=NASTY),
        rule=NASTY, reason=f"because {NASTY}", remedy=NASTY, traits=(NASTY,),
    ),
    NASTY,
)  # fmt: skip
EVERY_KIND = [KEPT, BROKEN, INCONCLUSIVE, WARNED, UNMEASURED, NASTIEST]
SELECTIONS = [
    EVERY_KIND, [KEPT], [WARNED], [NASTIEST], [UNMEASURED], [Named("empty", verdict())], [],
]  # fmt: skip
