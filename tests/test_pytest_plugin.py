"""The fixture and the marker, as a project's tests use them; other test runs pay nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import initscope.remedy  # noqa: F401 - with it loads all that a run inside this process needs
import installed

pytest_plugins = ["pytester"]

TINY = "n_embd=64, vocab_size=64, seq_len=32, seeds=2, forward_only=True, select='IS001'"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a project beside which initscope is installed."""
    pytester.makeini("[pytest]")
    pytester.syspathinsert(installed.entry_points(pytester.path / "site"))
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", *options)


# --- in a project ---


def test_a_sound_rule_passes_and_returns_its_verdicts(project: pytest.Pytester) -> None:
    project.makepyfile(f"""
        def test_init(initscope):
            verdicts = initscope.check("nanogpt", depths=(2, 3), {TINY})
            assert [(v.rule, v.n_layer) for v in verdicts] == [("nanogpt", 2), ("nanogpt", 3)]
            assert [f.code for f in verdicts[0].findings] == ["IS001"]
            assert verdicts[0].seeds >= 2
    """)
    run(project).assert_outcomes(passed=1)


def test_a_broken_rule_fails_with_the_report_alone(project: pytest.Pytester) -> None:
    project.makepyfile(f"""
        import dataclasses
        from initscope import get_rule

        def test_init(initscope):
            own = dataclasses.replace(get_rule("nanogpt-flat"), name="own")
            initscope.check(own, depths=4, {TINY}, bounds={{"depth_exponent": 0.2}})
    """)
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([
        r"BROKEN +own, 4 layers",
        r"own, 4 layers",
        r"  broken IS001 depth-exponent: the final residual variance goes as n_layer\^",
        r"  remedy: std of attn_out",
        r"1 broken",
        r"FAILED .*::test_init - ",
    ])  # fmt: skip
    for trace in ("pytest_plugin.py", "dataclasses.replace", "Traceback"):
        result.stdout.no_fnmatch_line(f"*{trace}*")


def test_markers_give_defaults_and_the_nearest_comes_first(project: pytest.Pytester) -> None:
    project.makepyfile(f"""
        import pytest

        pytestmark = pytest.mark.initscope(depths=1, {TINY}, depth_law=False)

        def depths(verdicts):
            return [verdict.n_layer for verdict in verdicts]

        @pytest.mark.initscope(depths=2, allow_inconclusive=True, select="IS012")
        class TestClass:
            def test_of_the_class(self, initscope):
                assert depths(initscope.check("nanogpt")) == [2]

            @pytest.mark.initscope(depths=3)
            def test_its_own(self, initscope):
                assert depths(initscope.check("nanogpt")) == [3]

            @pytest.mark.initscope(depths=3)
            def test_the_call(self, initscope):
                assert depths(initscope.check("nanogpt", depths=1)) == [1]
    """)
    run(project, "--strict-markers").assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("n_embed=64", "unknown key 'check.n_embed': did you mean 'n_embd'?"),
        ("n_embd=0", "check.n_embd: must be a whole number of at least 1, not 0"),
    ],
)
def test_what_is_wrong_is_said_at_the_line_of_the_test(
    project: pytest.Pytester, keyword: str, said: str
) -> None:
    line = f'initscope.check("nanogpt", {keyword})'
    project.makepyfile(f"def test_init(initscope):\n    {line}")
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        f">       {line}", f"E       initscope.errors.UsageError: initscope: {said}"
    ])  # fmt: skip
    for trace in ("pytest_plugin.py", "tables.py", "During handling", "direct cause"):
        result.stdout.no_fnmatch_line(f"*{trace}*")


def test_a_wrong_request_is_no_expected_failure(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import pytest

        @pytest.mark.xfail(strict=True, raises=pytest.fail.Exception)
        def test_init(initscope):
            initscope.check("nanogtp")
    """)
    run(project).assert_outcomes(failed=1)


def test_fixture_and_marker_explain_themselves(project: pytest.Pytester) -> None:
    run(project, "--fixtures").stdout.fnmatch_lines([
        "initscope -- *", "*Check an initialisation rule: initscope.check(*"
    ])  # fmt: skip
    run(project, "--markers").stdout.fnmatch_lines(["@pytest.mark.initscope(*settings): *"])


# --- other test runs ---


def test_other_runs_load_nothing_but_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_trivial.py").write_text("""
import sys

HEAVY = {"torch", "numpy", "pandas", "matplotlib", "rich", "typer", "scipy", "pyarrow"}

def test_what_is_loaded(pytestconfig):
    assert pytestconfig.pluginmanager.get_plugin("initscope").__name__ == "initscope.pytest_plugin"
    ours = {name for name in sys.modules if name.split(".")[0] == "initscope"}
    assert ours == {"initscope", "initscope.pytest_plugin"}
    assert not HEAVY & sys.modules.keys()

def test_that_asks_for_the_fixture(initscope):
    assert not HEAVY & sys.modules.keys()

def test_that_uses_it(initscope):
    try:
        initscope.check("nanogpt", depths=1, n_embd=8, n_head=3)
    except Exception as error:
        assert "not a multiple" in str(error)
    assert "torch" not in sys.modules  # a request that cannot be right needs no measurement
""")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=installed.environment(tmp_path / "installed"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "3 passed" in result.stdout, result.stdout + result.stderr
