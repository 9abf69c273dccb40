"""How far single seeds scatter about a prediction: its band (docs/theory.md, §12)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.profile import Profile

Array = npt.NDArray[np.floating[Any]]

# What the formulas are off by beyond the measurements' noise, relative (benchmarks.accuracy).
MODEL_ERROR = {"forward": 0.005, "backward": 0.015}
T975 = 1.96  # standard deviations of a normal on either side that hold 95 %


def band(
    profile: Profile, direction: str, *, site: str = "resid_post", seeds: int = 1
) -> tuple[Array, Array]:
    """Return the 95 % band of a measured variance over the layers, for a mean over ``seeds``.

    Both ends are (layers,), log-normal about the prediction.
    """
    said = profile.select(site, direction, "variance").iloc[:, 0].to_numpy()
    spread = profile.select(site, direction, "spread").iloc[:, 0].to_numpy()
    reach = T975 * np.sqrt(spread**2 / seeds + MODEL_ERROR[direction] ** 2)
    middle = said * np.exp(-(spread**2) / 2)  # the mean of a log-normal is above its middle
    return middle * np.exp(-reach), middle * np.exp(reach)
