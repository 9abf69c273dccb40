"""What of a model is measured: everything, or what a training loop can afford at every step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from initscope.errors import UsageError, unknown
from initscope.glossary import SITES


@dataclass(frozen=True)
class Scope:
    """The sites measured in each direction, None being all, and how far.

    Args:
        forward: the sites whose activations are measured.
        backward: the sites whose gradients are measured.
        order: of the highest moment: 4 gives the kurtosis, 2 costs a fraction of it.
        attention: whether to reduce attention's logits, at the cost of computing them again.
    """

    forward: frozenset[str] | None = None
    backward: frozenset[str] | None = None
    order: int = 4
    attention: bool = True

    def sees(self, site: str, *, backward: bool) -> bool:
        """Whether a site's activation, or its gradient, is measured."""
        chosen = self.backward if backward else self.forward
        return chosen is None or site in chosen

    def wants(self, site: str) -> bool:
        """Whether a site is measured in any direction."""
        return any(self.sees(site, backward=backward) for backward in (False, True))


EVERYTHING = Scope()

# The stream after each branch, the branches with their norms, the MLP's activation, the logits;
# of the gradients, the stream's.
LEAN = Scope(
    forward=frozenset({
        "embed", "attn_out", "norm_1_out", "resid_mid", "mlp_act", "mlp_down", "norm_2_out",
        "resid_post", "logits",
    }),
    backward=frozenset({"embed", "resid_post"}),
    order=2,
    attention=False,
)  # fmt: skip


def scope_of(sites: str | Iterable[str]) -> Scope:
    """Return the scope that ``lean``, ``all`` or the names of sites mean.

    Named sites are measured both ways; with ``attn`` goes attention's entropy.

    Raises:
        UsageError: for a site that does not exist.
    """
    if sites == "lean":
        return LEAN
    if sites == "all":
        return EVERYTHING
    if isinstance(sites, str):
        raise unknown("sites", sites, ("lean", "all"))
    named = frozenset(sites)
    for name in sorted(named - SITES.keys()):
        raise unknown("site", name, SITES)
    if not named:
        raise UsageError("no site is named: leave sites out for the usual ones")
    return Scope(named, named, order=2, attention="attn" in named)
