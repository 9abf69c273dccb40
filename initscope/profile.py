"""Profile: a configuration and every reading taken from it, as one long table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from initscope.config import GPTConfig

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("rule", "n_layer", "seed", "layer", "site", "direction", "statistic", "value")


class Reading(NamedTuple):
    """One number: a statistic at a layer's site. Layer -1 precedes the first block."""

    layer: int
    site: str
    direction: str
    statistic: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """How the readings came about: everything that is needed to take them again.

    ``source`` is ``stream`` for the built-in model, ``resident`` for a user's, ``theory`` for a
    prediction, whose ``remark`` says what it leaves out, and why. ``model`` names a user's model
    and ``parameters`` counts its parameters; the configuration is then its nearest description.
    ``left_out`` says what a measurement leaves out, and why. ``step`` is that of a training run,
    None outside one.
    """

    source: str
    device: str
    dtype: str
    tokens: str
    batch: int
    seq_len: int
    seeds: tuple[int, ...]
    versions: dict[str, str] = field(default_factory=dict)
    model: str = ""
    parameters: int = 0
    remark: str = ""
    left_out: str = ""
    step: int | None = None

    @property
    def predicted(self) -> bool:
        """Whether theory gave the readings, and no seed was drawn."""
        return self.source == "theory"

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name, ready for JSON; what is empty is left out."""
        fields = {**asdict(self), "seeds": list(self.seeds)}
        absent = {
            "remark": not self.remark, "left_out": not self.left_out, "step": self.step is None,
        }  # fmt: skip
        return {name: value for name, value in fields.items() if not absent.get(name)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Run:
        """Build a run from saved fields."""
        return cls(**{**fields, "seeds": tuple(fields["seeds"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """One rule's readings.

    ``table`` has the columns :data:`COLUMNS`; it may hold several seeds, and several depths
    (``n_layer``) beside that of ``config``, which is the one asked for.
    """

    rule: str
    config: GPTConfig
    run: Run
    table: pd.DataFrame

    @cached_property
    def _places(self) -> dict[tuple[int, str, str, str], Any]:
        """The rows of each statistic: a verdict asks for dozens, of hundreds of thousands."""
        columns = ["n_layer", "site", "direction", "statistic"]
        return dict(self.table.groupby(columns, sort=False).indices)  # type: ignore[arg-type]

    def select(
        self, site: str, direction: str, statistic: str, *, n_layer: int | None = None
    ) -> pd.DataFrame:
        """Return one statistic over depth: a row a layer, a column a seed.

        ``n_layer`` is the configuration's own depth unless given; the frame is empty where
        nothing was recorded.
        """
        place = (n_layer or self.config.n_layer, site, direction, statistic)
        rows = self.table.iloc[self._places.get(place, [])]
        rows = rows.drop_duplicates(["layer", "seed"], keep="last")
        return rows.pivot(index="layer", columns="seed", values="value")

    def stream(self, direction: str = "forward", statistic: str = "variance") -> pd.DataFrame:
        """Return the residual stream over depth: layer -1, the embedding, then each block's end."""
        import pandas as pd

        parts = [self.select(site, direction, statistic) for site in ("embed", "resid_post")]
        return pd.concat([part for part in parts if not part.empty]).sort_index()


def frame(rule: str, n_layer: int, seed: int, readings: Sequence[Reading]) -> pd.DataFrame:
    """Build the long table of one measurement."""
    import pandas as pd

    table = pd.DataFrame(list(readings), columns=list(Reading._fields))
    table.insert(0, "rule", rule)
    table.insert(1, "n_layer", n_layer)
    table.insert(2, "seed", seed)
    return table.astype({"value": "float64", "layer": "int64"})[list(COLUMNS)]


def concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack long tables into one."""
    import pandas as pd

    return pd.concat(tables, ignore_index=True)
