"""A profile as both reports see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from initscope import captions, digest
from initscope.captions import Note
from initscope.digest import COSINE, CURVES, RESIDUAL, Curve
from initscope.profile import Profile


@dataclass(frozen=True)
class View:
    """A profile with what the reports take from it, each worked out once, when asked for."""

    profile: Profile

    @cached_property
    def curves(self) -> dict[Curve, pd.Series[float]]:
        """Every curve, averaged over seeds; empty where nothing was recorded."""
        return {curve: curve.mean(self.profile) for curve in CURVES}

    @property
    def residual(self) -> pd.Series[float]:
        """The residual stream's variance over depth."""
        return self.curves[RESIDUAL]

    @cached_property
    def predicted(self) -> pd.Series[float]:
        """What theory says of the residual stream's variance; empty where it says nothing."""
        said = digest.prediction(self.profile)
        return self.residual.iloc[:0] if said is None else RESIDUAL.mean(said)

    @property
    def cosine(self) -> pd.Series[float]:
        """The mean cosine between tokens over depth."""
        return self.curves[COSINE]

    @cached_property
    def weight_gradient(self) -> pd.Series[float]:
        """The rms of each block's weight gradients."""
        return digest.weight_gradient(self.profile)

    @cached_property
    def overflow(self) -> digest.Overflow | None:
        """Where the run stops being finite."""
        return digest.overflow(self.profile)

    @cached_property
    def findings(self) -> list[Note]:
        """What stands out, in words."""
        return captions.findings(self.profile)

    @cached_property
    def step(self) -> tuple[int, float] | None:
        """The largest step of the residual variance: (layer, factor)."""
        return digest.largest_step(self.residual)

    @cached_property
    def spread(self) -> pd.Series[float]:
        """The residual variance's relative standard deviation over seeds."""
        return digest.spread(RESIDUAL.seeds(self.profile))

    @property
    def several(self) -> bool:
        """Whether there is more than one seed, and so a spread."""
        return len(self.profile.run.seeds) > 1

    @property
    def layers(self) -> list[int]:
        """Every layer of which a curve knows something."""
        return sorted({int(layer) for curve in self.curves.values() for layer in curve.index})
