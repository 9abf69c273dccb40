"""A baseline's file: small, the same every time, reviewable; and what is refused, in a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import synthetic
from initscope import baseline, store
from initscope.baseline.series import LAYERS
from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.files import write_atomically
from initscope.options import Options
from initscope.profile import Profile
from initscope.sweep import inspect
from initscope.verdict import Status

Document = dict[str, Any]

DEEP = GPTConfig(n_layer=96, n_embd=8, vocab_size=32, block_size=8, bias=True)


@pytest.fixture(scope="module")
def deep() -> Profile:
    return inspect(DEEP, "nanogpt", Options(seeds=2, depth_law=False, device="cpu", batch=2))


@pytest.fixture(scope="module")
def document(deep: Profile) -> Document:
    return baseline.summarise({"deep": deep, "also": synthetic.profile(seeds=3)})


def without_gradients() -> Profile:
    return synthetic.profile(backward=False)


# --- what is in it ---


def test_it_is_small_sorted_and_a_series_is_a_line(deep: Profile) -> None:
    text = baseline.dumps(baseline.summarise({"deep": deep}))
    assert len(text) < 60_000
    lines = [json.loads(line.rstrip(",")) for line in text.splitlines() if '"spread"' in line]
    (entry,) = json.loads(text)["checks"].values()
    assert lines == entry["series"]
    assert [list(line) for line in lines] == [sorted(line) for line in lines]
    assert list(json.loads(text)) == ["checks", "generator", "schema"]
    assert '"n_layer": 96,\n' in text


def test_it_keeps_both_ends_and_layers_evenly_spaced_between(document: Document) -> None:
    series = {(one["site"], one["direction"]): one for one in document["checks"]["deep"]["series"]}
    layers = series["attn_out", "forward"]["layer"]
    assert (len(layers), layers[0], layers[-1]) == (LAYERS, 0, 95)
    assert {b - a for a, b in pairwise(layers)} <= {6, 7}
    assert series["embed", "forward"]["layer"] == [-1]
    assert series["loss", "forward"]["layer"] == [96]
    assert {"wte", "q", "q.bias", "norm_1", "mlp_down", "norm_f.bias"} <= {
        site for site, direction in series if direction == "weight"
    }


def test_a_mean_is_geometric_over_seeds_and_rounded(deep: Profile, document: Document) -> None:
    key = {"site": "mlp_down", "direction": "forward", "statistic": "second_moment"}
    (found,) = (one for one in document["checks"]["deep"]["series"] if key.items() <= one.items())
    a, b = deep.select(*key.values()).to_numpy()[-1]
    assert found["mean"][-1] == pytest.approx(math.sqrt(a * b), rel=1e-5)
    assert found["spread"][-1] == pytest.approx(abs(math.log(a / b)) / math.sqrt(2), rel=1e-5)
    assert found["mean"][-1] == float(f"{found['mean'][-1]:.6g}")


def test_it_comes_back_and_holds(tmp_path: Path, deep: Profile, document: Document) -> None:
    path = tmp_path / "baseline.json"
    write_atomically(path, baseline.dumps(document))
    loaded = baseline.load(path)
    assert loaded == document
    assert baseline.dumps(loaded).encode() == path.read_bytes()
    (finding,) = baseline.compare(deep, loaded["checks"]["deep"], 0)
    assert finding.status is Status.KEPT
    count = sum(len(one["layer"]) for one in loaded["checks"]["deep"]["series"])
    assert finding.message.startswith(f"{count} values agree with the baseline")


def test_another_machine_or_version_is_no_other_measurement(document: Document) -> None:
    profile = synthetic.profile(seeds=2)
    run = replace(profile.run, device="cuda:1", versions={"torch": "9.9"})
    (finding,) = baseline.compare(replace(profile, run=run), document["checks"]["also"])
    assert finding.status is Status.KEPT


# --- what cannot be compared ---


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: replace(p, rule="xavier"), "rule nanogpt then, xavier now"),
        (
            lambda p: replace(p, config=replace(p.config, n_head=2, norm="post")),
            "n_head 1 then, 2 now; norm pre then, post now",
        ),
        (lambda p: replace(p, run=replace(p.run, dtype="bfloat16")), "dtype float32 then"),
        (lambda p: replace(p, run=replace(p.run, tokens="zipf, 2 x 64")), "1 x 64 then"),
        (lambda p: replace(p, run=replace(p.run, source="predict")), "source stream then"),
    ],
)
def test_another_measurement_is_refused(
    document: Document, change: Callable[[Profile], Profile], said: str
) -> None:
    with pytest.raises(UsageError, match="of another measurement") as refusal:
        baseline.compare(change(synthetic.profile()), document["checks"]["also"])
    assert said in str(refusal.value)
    assert "--save-baseline" in str(refusal.value)


def test_what_was_not_measured_is_refused(document: Document) -> None:
    with pytest.raises(UsageError, match="has resid_post gradient second moment, which was not"):
        baseline.compare(without_gradients(), document["checks"]["also"])


def test_a_layer_that_was_not_measured_is_refused(document: Document) -> None:
    profile = synthetic.without(synthetic.profile(), site="attn_out", layer=3)
    with pytest.raises(UsageError, match="has attn_out second moment, which was not measured"):
        baseline.compare(profile, document["checks"]["also"])


def test_what_the_baseline_does_not_have_is_said() -> None:
    entry = baseline.summarise({"it": without_gradients()})["checks"]["it"]
    (finding,) = baseline.compare(synthetic.profile(), entry)
    assert finding.status is Status.KEPT
    assert finding.message.endswith("not in the baseline: resid_post gradient second moment")


def test_a_check_that_is_not_in_the_baseline_is_broken() -> None:
    (finding,) = baseline.compare(synthetic.profile(), None)
    assert finding.failed
    assert "no check of this name; save it again with --save-baseline" in finding.message


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf])
def test_a_tolerance_is_a_number_from_0(document: Document, tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance must be at least 0"):
        baseline.compare(synthetic.profile(), document["checks"]["also"], tolerance)


# --- what is no baseline ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is not JSON, or damaged"),
        ("<<<<<<< HEAD\n{}", "it is not JSON, or damaged"),
        ('{"schema": 1, "checks": {"a": NaN}}', "NaN is no JSON"),
        (b"\xff\xfe\x00", "it is not JSON, or damaged"),
        ("[" * 100_000, "it is not JSON, or damaged"),
        ("[]", "it is no baseline of initscope; --save-baseline writes one"),
        ('{"checks": {}}', "it is no baseline of initscope"),
        ('{"checks": {}, "schema": true}', "it is no baseline of initscope"),
        (store.encode([synthetic.profile()], "json"), "it is no baseline of initscope"),
        ('{"checks": {}, "schema": 2}', "newer initscope (schema 2, this one reads 1): upgrade"),
        ('{"checks": {}, "schema": 0}', "there has never been a schema 0"),
        ('{"checks": {}, "schema": 1}', "the document has no 'generator'"),
        ('{"checks": {}, "schema": 1, "generator": "x"}', "it holds no checks"),
        ('{"checks": [], "schema": 1, "generator": "x"}', "should be an object"),
    ],
)
def test_other_files_are_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        baseline.loads(text)
    assert said in str(refusal.value)


Damage = Callable[[Document], object]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda e: e.pop("rule"), "check 'also' has no 'rule'"),
        (lambda e: e["config"].update(depth=3), "unknown field of the configuration 'depth'"),
        (lambda e: e["run"].update(batch="1"), "'batch' of the run should be a whole number"),
        (lambda e: e["run"].update(seeds=[]), "check 'also' was measured with no seeds"),
        (lambda e: e.update(series=[]), "check 'also' has no series"),
        (lambda e: e["series"].append(3), "of check 'also' is a number, but should be an object"),
        (lambda e: e["series"][0].pop("mean"), "series 1 of check 'also' has no 'mean'"),
        (lambda e: e["series"][1]["mean"].pop(), "series 2 of check 'also' has not a mean and"),
        (lambda e: e["series"][0]["mean"].__setitem__(0, 10**400), "that is not finite"),
        (lambda e: e["series"][0]["mean"].__setitem__(0, "1"), "a list of numbers and nulls"),
        (lambda e: e["series"][0]["spread"].__setitem__(0, None), "that is not finite"),
        (lambda e: e["series"][0].update(layer=[], mean=[], spread=[]), "has not a mean and"),
    ],
)
def test_damaged_baselines_are_refused(document: Document, damage: Damage, said: str) -> None:
    damaged = json.loads(baseline.dumps(document))
    damage(damaged["checks"]["also"])
    with pytest.raises(UsageError) as refusal:
        baseline.loads(json.dumps(damaged))
    assert said in str(refusal.value)


def test_a_file_is_named_in_the_sentence(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    with pytest.raises(UsageError, match="there is no such file"):
        baseline.load(path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=f"^cannot read the baseline {path}: it is no baseline"):
        baseline.load(path)
