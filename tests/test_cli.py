"""Every option does, end to end, what its name says; help and completion know them all."""

from __future__ import annotations

import re
from itertools import cycle
from pathlib import Path
from typing import Any, NoReturn, get_args

import pytest
from pandas.testing import assert_frame_equal

from command_line import TINY, Command, run
from initscope.config import PRESETS, Activation, GPTConfig, Norm, NormKind, Positions
from initscope.devices import choose_device
from initscope.errors import MeasurementError
from initscope.formats import FORMATS
from initscope.options import DTYPES, Options
from initscope.profile import Profile
from initscope.rules import RULES, Draw, Rule
from initscope.rules.core import RESIDUAL
from initscope.rules.gaussian import flat
from initscope.store import load
from initscope.sweep import inspect
from test_startup import COMMANDS, every_command

SHAPE: dict[str, Any] = {"n_layer": 2, "n_embd": 32, "vocab_size": 64}
QUICK: dict[str, Any] = {"seq_len": 16, "device": "cpu", "depth_law": False}


def measured(cli: Command, *flags: str) -> Profile:
    """Inspect a tiny model with these flags, at its own depth only, and return what is saved."""
    quick = ("--no-depth-law", "--no-remedy", "--no-theory", "--device", "cpu")
    outcome = cli("inspect", *TINY, *quick, *flags, "--parquet", "run.parquet", "--csv", "-")
    assert outcome.code == 0, outcome.err
    (profile,) = load("run.parquet")
    return profile


def assert_measures(
    cli: Command, flags: str, shape: dict[str, Any], options: dict[str, Any]
) -> None:
    """Assert that flags give the configuration, and to the last bit what it measures."""
    config = GPTConfig(**{**SHAPE, **shape})
    profile = measured(cli, *flags.split())
    expected = inspect(config, "nanogpt", Options(**{**QUICK, **options}))
    assert profile.config == config
    assert profile.run.to_dict() == expected.run.to_dict()
    assert_frame_equal(profile.table, expected.table, check_exact=True)


# --- the model ---

# Every choice at least once, in as few models as there are activations.
MODELS = [
    {"activation": activation, "norm": norm, "norm_kind": kind, "positions": positions}
    for activation, norm, kind, positions in zip(
        get_args(Activation), *(cycle(get_args(kind)) for kind in (Norm, NormKind, Positions)),
        strict=False,
    )
]  # fmt: skip


@pytest.mark.parametrize("shape", MODELS, ids=lambda shape: " ".join(shape.values()))
def test_every_choice(cli: Command, shape: dict[str, Any]) -> None:
    flags = [f"--{field.replace('_', '-')} {choice}" for field, choice in shape.items()]
    assert_measures(cli, " ".join(flags), shape, {})


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        (
            "--bias --untied --qk-norm --n-head 4 --n-kv-head 2",
            {"bias": True, "tied": False, "qk_norm": True, "n_head": 4, "n_kv_head": 2},
        ),
        (
            "--no-bias --tied --no-qk-norm --no-embed-norm --no-inner-norm --d-ff 48",
            {"bias": False, "tied": True, "qk_norm": False, "d_ff": 48},
        ),
        ("--n-layer 1 --n-embd 24 --vocab-size 9", {"n_layer": 1, "n_embd": 24, "vocab_size": 9}),
        (
            "--branches shared --embed-norm --inner-norm --positions rope --rope-share 0.5",
            {
                "branches": "shared",
                "embed_norm": True,
                "inner_norm": True,
                "positions": "rope",
                "rope_share": 0.5,
            },
        ),
        ("--branches parallel --block-size 20", {"branches": "parallel", "block_size": 20}),
    ],
)
def test_the_rest_of_the_shape(cli: Command, flags: str, shape: dict[str, Any]) -> None:
    assert_measures(cli, flags, shape, {})


@pytest.mark.parametrize("name", ["gpt2", "llama2-7b", "llama3-8b"])
def test_presets_at_another_size(cli: Command, name: str) -> None:
    flags = f"--preset {name} --n-layer 1 --n-embd 32 --vocab-size 300"
    fields = measured(cli, *flags.split()).config.to_dict()
    of_the_preset = PRESETS[name].keys() - {*SHAPE, "n_head", "n_kv_head", "d_ff"}
    assert len(of_the_preset) > 1
    assert {key: fields[key] for key in of_the_preset} == {
        key: PRESETS[name][key] for key in of_the_preset
    }
    assert (fields["n_layer"], fields["n_embd"], fields["vocab_size"]) == (1, 32, 300)


def test_without_a_shape_it_is_gpt2_small(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GPTConfig] = []

    def note(config: GPTConfig, *_: object, **__: object) -> Profile:
        asked.append(config)
        return inspect(GPTConfig(**SHAPE), "nanogpt", Options(**QUICK))

    monkeypatch.setattr("initscope.sweep.inspect", note)
    assert cli("inspect").code == 0
    assert asked == [GPTConfig(n_layer=12, n_embd=768, n_head=12, d_ff=3072)]


# --- the measurement ---


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (
            "--seeds 3 --tokens uniform --batch 2 --seq-len 8 --dtype float16",
            {"seeds": 3, "tokens": "uniform", "batch": 2, "seq_len": 8, "dtype": "float16"},
        ),
        ("--dtype bfloat16 --forward-only", {"dtype": "bfloat16", "forward_only": True}),
        ("--dtype float32 --backward --depth-law", {"depth_law": True}),
        ("--memory 1GiB", {}),
    ],
)
def test_every_option(cli: Command, flags: str, options: dict[str, Any]) -> None:
    assert_measures(cli, flags, {}, options)


@pytest.mark.parametrize(
    ("size", "kept"),
    [("1.5KiB", 1536), ("2m", 2_000_000), ("3GB", 3 * 10**9), ("4096", 4096), ("1 TiB", 2**40)],
)
def test_memory_is_understood(
    cli: Command, monkeypatch: pytest.MonkeyPatch, size: str, kept: int
) -> None:
    def stop(options: Options) -> NoReturn:
        raise MeasurementError(f"asked to keep {options.memory} bytes")

    monkeypatch.setattr("initscope.sweep._needed", lambda _config, _rule, options, _: stop(options))
    outcome = cli("inspect", *TINY, "--memory", size)
    assert outcome.code == 3
    assert outcome.err.endswith(f"initscope: error: asked to keep {kept} bytes\n")


def test_zeros_can_be_perturbed(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Rule(
        name="silent", summary="projections 0", source="-",
        draw=lambda site: Draw.constant(0.0) if site.role in RESIDUAL else flat(site),
    )  # fmt: skip
    monkeypatch.setitem(RULES, "silent", silent)
    peaks = [
        measured(cli, "--rule", "silent", *flags)
        .select("attn_out", "weight", "variance")
        .to_numpy()
        for flags in ([], ["--perturb-zeros", "0.01"])
    ]
    assert (peaks[0] == 0).all()
    assert peaks[1] == pytest.approx(1e-4, rel=0.3)


def test_tokens_come_from_a_file(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(bytes(range(60)) * 3)
    profile = measured(cli, "--tokens", "text.txt")
    assert profile.run.tokens == "text.txt, 1 x 16"
    expected = inspect(GPTConfig(**SHAPE), "nanogpt", Options(**QUICK, tokens="text.txt"))
    assert_frame_equal(profile.table, expected.table, check_exact=True)


def test_compare_measures_each_rule_on_one_shape(cli: Command) -> None:
    flags = ("--device", "cpu", "--norm", "post", "--no-depth-law", "--json", "both.json")
    assert cli("compare", "xavier", "nanogpt", *TINY, *flags).code == 0
    for profile, rule in zip(load("both.json"), ("xavier", "nanogpt"), strict=True):
        assert (profile.rule, profile.config) == (rule, GPTConfig(**SHAPE, norm="post"))
        alone = inspect(profile.config, rule, Options(**QUICK))
        assert (profile.stream() == alone.stream()).all(axis=None)


def test_the_device_is_said_with_the_reason(cli: Command) -> None:
    chosen = choose_device()
    said = f"measuring on {chosen.device} ({chosen.reason}), float32\n"
    assert cli("inspect", *TINY, "--no-remedy", "--no-depth-law").err == said
    flags = ("--device", "cpu", "--dtype", "bfloat16", "--no-depth-law")
    said = "measuring on cpu (asked for), bfloat16\n"
    assert cli("compare", "nanogpt", "xavier", *TINY, *flags).err == said


# --- help and completion ---


@every_command
def test_help_shows_every_option_its_default_and_an_example(name: str, cli: Command) -> None:
    outcome = cli(*name.split(), "--help")
    words = " ".join(outcome.out.replace("│", " ").split())
    assert (outcome.code, outcome.err) == (0, "")
    for parameter in COMMANDS[name].params:
        names = [*parameter.opts, *parameter.secondary_opts]
        assert [option for option in names if option.startswith("-") and option not in words] == []
        for default in re.findall(r"\[.+?\]", getattr(parameter, "help", None) or ""):
            assert default in words, parameter.name
    description = words.partition("[OPTIONS]")[2]
    assert f" initscope {name} " in description, "an example"


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        ("inspect --rule nano", RULES), ("inspect --preset gpt2-", PRESETS),
        ("inspect --activation ge", get_args(Activation)), ("inspect --dtype b", DTYPES),
        ("compare nanogpt xav", RULES), ("check --rule ka", RULES), ("check --format j", FORMATS),
        ("in", ["inspect"]), ("show --all", ["--all-layers"]),
    ],
)  # fmt: skip
def test_completion(
    cli: Command, monkeypatch: pytest.MonkeyPatch, typed: str, known: dict[str, object]
) -> None:
    words = ["initscope", *typed.split()]
    monkeypatch.setenv("_INITSCOPE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    outcome = cli()
    offered = [name for name in known if name.startswith(words[-1])]
    assert offered
    assert (outcome.code, outcome.out.split(), outcome.err) == (0, offered, "")


def test_completion_in_a_shell(tmp_path: Path) -> None:
    typed = {"COMP_WORDS": "initscope inspect --rule xavier-", "COMP_CWORD": "3"}
    outcome = run(tmp_path, env={**typed, "_INITSCOPE_COMPLETE": "complete_bash"})
    assert outcome == (0, "xavier-uniform\n", "")
