"""A user's model through the Python API and the command line: profile, verdict, rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import initscope
from command_line import Command, in_process
from families import family
from initscope.anatomy import find
from initscope.config import GPTConfig
from initscope.construction import build
from initscope.errors import UsageError
from initscope.options import Options
from initscope.own import Subject
from initscope.redraw import redraw
from initscope.rules import get_rule
from initscope.store.as_json import decode, encode
from initscope.sweep import inspect as streamed
from initscope.target import load_factory
from small import SMALL, ids
from users_gpt import users_gpt

USERS = f"{Path(__file__).parent / 'users_gpt.py'}:UsersGPT"
QUICK = ("--seq-len", "16", "--n-layer", "8", "--n-embd", "64")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return in_process(tmp_path, monkeypatch, capsys)


# --- Python ---


def test_a_module_and_a_batch_make_a_profile() -> None:
    model = users_gpt()
    profile = initscope.inspect(model, ids())
    assert profile.rule == "own"
    assert (profile.config.n_layer, profile.config.n_embd, profile.config.vocab_size) == (3, 48, 97)
    assert (profile.run.source, profile.run.model) == ("resident", "UsersGPT")
    assert profile.run.parameters == sum(p.numel() for p in model.parameters())
    assert profile.stream().index.tolist() == [-1, 0, 1, 2]
    (again,) = decode(encode([profile]))
    assert again.run == profile.run
    order = ["site", "direction", "statistic", "layer"]  # JSON keeps a series together
    tables = [one.table.sort_values(order, ignore_index=True) for one in (again, profile)]
    assert tables[0].equals(tables[1])


def test_ids_are_made_where_no_batch_is_given() -> None:
    profile = initscope.inspect(users_gpt(), options=Options(batch=2, seq_len=8))
    assert (profile.run.batch, profile.run.seq_len) == (2, 8)


def test_a_shape_is_measured_as_before() -> None:
    config = GPTConfig(**SMALL)
    options = Options(seq_len=8, depth_law=False)
    new, old = initscope.inspect(config, "xavier", options), streamed(config, "xavier", options)
    assert new.table.equals(old.table)


def test_a_redrawn_model_is_the_one_that_the_rule_builds() -> None:
    """Fused or transposed, every share of a weight gets the numbers of the built-in's own."""
    config = GPTConfig(n_layer=2, n_embd=32, n_head=4, vocab_size=97, block_size=64, bias=True,
                       activation="gelu_tanh")  # fmt: skip
    want = build(config, "xavier", 0)
    model: Any = family("gpt2")

    tokens = ids()[:, :-1]
    anatomy = find(model, lambda: model(tokens), tokens)
    redrawn = redraw(anatomy, get_rule("xavier"), config, 0)
    assert not redrawn.unmapped
    theirs = model.transformer.h[1]
    ours: Any = want.blocks[1]
    fused = torch.cat([ours.q.weight, ours.k.weight, ours.v.weight])
    assert torch.equal(theirs.attn.c_attn.weight, fused.T)
    assert torch.equal(theirs.mlp.c_proj.weight, ours.mlp_down.weight.T)
    assert torch.equal(model.transformer.wte.weight, want.embedding.wte.weight)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, want(tokens)[0], rtol=1e-4, atol=1e-5)


def test_interleaved_heads_are_drawn_share_by_share() -> None:
    """GPT-NeoX's projection holds q, k and v head by head."""
    model: Any = family("gpt_neox")

    tokens = ids()[:, :-1]
    anatomy = find(model, lambda: model(tokens), tokens)
    config = GPTConfig(n_layer=2, n_embd=32, n_head=4, vocab_size=97, block_size=64)
    redraw(anatomy, get_rule("xavier"), config, 0)
    ours: Any = build(config, "xavier", 0).blocks[0]
    heads = model.gpt_neox.layers[0].attention.query_key_value.weight.view(4, 3, 8, 32)
    for place, name in enumerate("qkv"):
        assert torch.equal(heads[:, place].reshape(32, 32), getattr(ours, name).weight)


def subject(*arguments: str, **fields: Any) -> Subject:
    factory = load_factory(USERS, arguments).using({"n_layer": 8, "n_embd": 64})
    return Subject(factory=factory, **fields)


def test_every_depth_and_seed_is_measured_and_the_seeds_differ() -> None:
    profile = subject().inspect(Options(seq_len=16, seeds=2, forward_only=True))
    assert sorted(profile.table["n_layer"].unique()) == [2, 4, 8]
    last = profile.select("resid_post", "forward", "variance").iloc[-1]
    assert last[0] != last[1]
    again = subject().inspect(Options(seq_len=16, seeds=1, forward_only=True))
    more = subject().extend(again, Options(seq_len=16, forward_only=True), 2)
    key = ("resid_post", "forward", "variance")
    assert more.select(*key).equals(profile.select(*key))


def test_a_depth_argument_that_changes_nothing_is_found_out() -> None:
    factory = load_factory(USERS, depth_arg="n_head")
    with pytest.raises(UsageError, match=r"n_head of .* does not change the number of blocks"):
        Subject(factory=factory).inspect(Options(seq_len=16))


def test_the_random_state_outside_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    subject().measure(2, Options(seq_len=16), 0)
    assert torch.equal(torch.get_rng_state(), before)


# --- the command line ---


def test_a_lost_residual_scaling_breaks_the_gate(command: Command) -> None:
    good = command("check", "--model", USERS, *QUICK)
    bad = command("check", "--model", USERS, "--model-arg", "scaled=false", *QUICK)
    assert (good.code, bad.code) == (0, 1), good.out + bad.out
    assert "broken IS001 depth-exponent" in bad.out
    assert "UsersGPT, 8 layers" in bad.out


def test_rules_are_compared_on_the_users_architecture(command: Command) -> None:
    end = command("compare", "own", "nanogpt", "xavier", "--model", USERS, *QUICK, "--json", "-")
    assert end.code == 0, end.err
    profiles = {one["rule"]: one for one in json.loads(end.out)["profiles"]}
    assert list(profiles) == ["own", "nanogpt", "xavier"]
    assert {one["run"]["source"] for one in profiles.values()} == {"resident"}


def test_inspect_shows_the_model_and_its_verdict(command: Command) -> None:
    end = command("inspect", "--model", USERS, *QUICK, "--init", "xavier")
    assert end.code == 0, end.err
    assert "UsersGPT" in end.out
    assert "xavier, 8 layers: forward grows" in end.out


def test_sites_are_printed_with_what_a_rule_draws_and_leaves(command: Command) -> None:
    end = command("inspect", "--model", USERS, *QUICK, "--print-sites", "--init", "nanogpt")
    assert end.code == 0, end.err
    for said in ("8 blocks of width 64", "block 0–7", "part of attn.c_attn", "q: std 0.0200",
                 "attn_out: std 0.00500"):  # fmt: skip
        assert said in end.out


def test_a_batch_may_come_from_a_function(command: Command, tmp_path: Path) -> None:
    text = "import torch\ndef batch():\n    return torch.arange(20).view(2, 10)\n"
    (tmp_path / "data.py").write_text(text)
    end = command("inspect", "--model", USERS, *QUICK, "--batch-from", "data.py:batch", "--json",
                  "-")  # fmt: skip
    run = json.loads(end.out)["profiles"][0]["run"]
    assert (run["batch"], run["seq_len"]) == (2, 9)


def test_a_model_of_the_hub_by_its_name(command: Command) -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    end = command("inspect", "--model", "hf:gpt2", "--n-layer", "2", "--n-embd", "32", "--n-head",
                  "2", "--vocab-size", "97", "--seq-len", "8")  # fmt: skip
    assert end.code == 0, end.err
    assert "hf:gpt2" in end.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "--print-sites"), "--print-sites belongs to a model of your own"),
        (("inspect", "--model", USERS, "--preset", "gpt2"), "--preset is a shape of the built-in"),
        (("inspect", "--model", USERS, "--init", "xaver"), "did you mean 'xavier'"),
        (("compare", "own", "--n-layer", "2"), "unknown rule 'own'"),
        (("inspect", "--model", USERS, "--blocks", "transformer.x.*"), "unknown blocks"),
        (("inspect", "--model", USERS, "--n-kv-head", "2"), "has no argument for it"),
    ],
)
def test_what_cannot_be_right_is_said(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    end = command(*arguments)
    assert (end.code, end.out) == (2, "")
    assert said in end.err
    assert "Traceback" not in end.err
