"""A prediction set beside a measurement, as further readings of the same profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from initscope.digest import CURVES, PREDICTED
from initscope.errors import UsageError
from initscope.options import Options
from initscope.profile import COLUMNS, Profile, concat
from initscope.rules import get_rule
from initscope.rules.core import Rule
from initscope.rules.variants import zeros_perturbed
from initscope.theory.local import expected
from initscope.theory.prediction import predict
from initscope.tokens import Ids

if TYPE_CHECKING:
    import pandas as pd


def with_theory(
    measured: Profile,
    rule: str | Rule,
    options: Options | None = None,
    *,
    ids: Sequence[Ids] = (),
    steps: bool = True,
) -> Profile:
    """Return a measured profile with what theory says of a rule beside its own readings.

    The readings added are of the configuration's own depth: ``predicted_variance`` and the like
    of each curve that is shown, with the ``spread`` of single seeds, and of every site and seed
    the second moment that is ``expected`` of it given what it reads
    (:mod:`~initscope.theory.local`). Where theory holds no further, the run's ``remark`` says why.

    Args:
        measured: what was measured.
        rule: what the weights are meant to be drawn by.
        options: how it was measured; of these only the tokens matter here.
        ids: the very token ids (B, T + 1), where they are not those that options name.
        steps: whether to say what is expected of every site.

    Raises:
        UsageError: for a model or a rule that theory does not cover.
    """
    options, rule, run = options or Options(), get_rule(rule), measured.run
    if options.perturb_zeros:
        rule = zeros_perturbed(rule, options.perturb_zeros)
    alike = dataclasses.replace(
        options, batch=run.batch, seq_len=run.seq_len, seeds=len(run.seeds), depth_law=False,
        perturb_zeros=0.0,
    )  # fmt: skip
    said = predict(measured.config, rule, alike, ids=ids)
    tables = [measured.table, _curves(measured, said)]
    tables += _expected(measured, said, rule) if steps else []
    run = dataclasses.replace(run, remark=said.run.remark)
    return dataclasses.replace(measured, run=run, table=concat(tables))


def try_theory(
    measured: Profile,
    rule: Rule,
    options: Options,
    *,
    ids: Sequence[Ids] = (),
    steps: bool = True,
    unlike: str = "",
) -> Profile:
    """Do so where theory covers the model; elsewhere only the run's ``remark`` says why not.

    ``unlike`` is in what the model differs from its configuration, if it does.
    """
    why = f"theory does not cover {unlike}" if unlike else ""
    try:
        if not unlike:
            return with_theory(measured, rule, options, ids=ids, steps=steps)
    except UsageError as error:
        why = str(error)
    return dataclasses.replace(measured, run=dataclasses.replace(measured.run, remark=why))


def _curves(measured: Profile, said: Profile) -> pd.DataFrame:
    """Return the predictions of what is shown, as readings of the first seed."""
    import pandas as pd

    shown = {
        (site, curve.direction, statistic)
        for curve in CURVES for site in curve.sites for statistic in (curve.statistic, "spread")
    }  # fmt: skip
    rows = said.table.merge(pd.DataFrame(shown, columns=["site", "direction", "statistic"]))
    names = rows["statistic"].where(rows["statistic"] == "spread", PREDICTED + rows["statistic"])
    return rows.assign(rule=measured.rule, seed=measured.run.seeds[0], statistic=names)


def _expected(measured: Profile, said: Profile, rule: Rule) -> Iterator[pd.DataFrame]:
    import pandas as pd

    own = measured.run.source == "resident" and measured.config.positions == "none"
    for seed, (first, site, values) in expected(measured, said, rule):
        if site == "embed" and own:  # of positions that are no table nothing is known
            continue
        kept = np.flatnonzero(np.isfinite(values))
        columns = {
            "rule": measured.rule, "n_layer": measured.config.n_layer, "seed": seed,
            "layer": kept + first, "site": site, "direction": "forward",
            "statistic": "expected", "value": values[kept],
        }  # fmt: skip
        if len(kept):
            yield pd.DataFrame(columns)[list(COLUMNS)]
