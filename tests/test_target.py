"""From a target's text to a model: code, names, arguments and configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from initscope.errors import MeasurementError, UsageError
from initscope.options import Options
from initscope.target import Factory, load_factory, token_ids
from users_gpt import users_gpt

HERE = Path(__file__).parent
USERS = f"{HERE / 'users_gpt.py'}:UsersGPT"

KEYWORDS = """
from torch import nn

class Plain(nn.Module):
    def __init__(self, depth=4, d_model: int = 8, *, broken=False):
        super().__init__()
        if broken:
            raise RuntimeError("it is")
        self.layers = nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(depth))

class Old(nn.Module):
    def __init__(self, config):  # no annotation: nanoGPT has none either
        super().__init__()
        self.seen = config

class Args:
    def __init__(self, num_layers: int = 3, rate: float = 0.5):
        self.num_layers, self.rate = num_layers, rate

class NoDepth(nn.Module):
    def __init__(self, tokenizer):
        super().__init__()

ready = Plain(2)
number = 3
def text():
    return "no model"
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    (tmp_path / "plain.py").write_text(KEYWORDS)
    return str(tmp_path / "plain.py")


def test_a_model_with_a_config_dataclass_is_built_from_its_fields() -> None:
    factory = load_factory(USERS, ["n_head=2", "scaled=false", "dropout=0.5"])
    assert factory.depth_arg == "n_layer"
    model: Any = factory.using({"n_layer": 5, "n_embd": 32}).build()
    assert (model.settings.n_layer, model.settings.n_embd, model.settings.n_head) == (5, 32, 2)
    assert (model.settings.scaled, model.settings.dropout) == (False, 0.5)
    assert len(model.transformer["h"]) == 5


def test_a_model_with_keywords_is_built_under_its_own_names(code: str) -> None:
    factory = load_factory(f"{code}:Plain").using({"n_layer": 3, "n_embd": 4})
    assert factory.given == {"depth": 3, "d_model": 4}
    assert len(factory.build().layers) == 3  # type: ignore[arg-type]
    assert factory.value("n_layer") == 3
    assert load_factory(f"{code}:Plain").value("n_layer") == 4


def test_a_config_without_annotation_is_found_in_the_file(code: str) -> None:
    model: Any = load_factory(f"{code}:Old", ["rate=2"]).using({"n_layer": 7}).build()
    assert (model.seen.num_layers, model.seen.rate) == (7, 2)


def test_a_module_itself_is_a_target(code: str) -> None:
    factory = load_factory(f"{code}:ready")
    assert isinstance(factory.build(), nn.Module)
    assert factory.depth_arg == ""


def test_a_dotted_module_is_imported_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package_of_mine").mkdir()
    (tmp_path / "a_package_of_mine" / "net.py").write_text(KEYWORDS)
    monkeypatch.chdir(tmp_path)
    assert load_factory("a_package_of_mine.net:Plain").depth_arg == "depth"


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (":Plian", [], "unknown name in .*: did you mean 'Plain'"),
        ("", [], "names no model: write package.module:factory"),
        (":number", [], "is a int, not a class or function"),
        (":text", [], "makes a str, not an nn.Module"),
        (":NoDepth", [], "needs 'tokenizer', and no class in its file|write a function"),
        (":Plain", ["deph=3"], "unknown model argument 'deph': did you mean 'depth'"),
        (":Plain", ["depth"], "is not of the form NAME=VALUE"),
    ],
)
def test_what_is_not_there_is_said(code: str, name: str, arguments: list[str], said: str) -> None:
    target = code + name if name else "model"
    with pytest.raises(UsageError, match=said):
        load_factory(target, arguments).build()


def test_a_file_or_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        load_factory(f"{tmp_path}/none.py:GPT")
    with pytest.raises(UsageError, match=r"cannot be imported: ModuleNotFoundError.*\.py"):
        load_factory("no_such_module_here:GPT")


def test_a_field_without_an_argument_is_refused(code: str) -> None:
    with pytest.raises(UsageError, match=r"--n-head: .* has no argument for it; .* depth, d_model"):
        load_factory(f"{code}:Plain").using({"n_head": 2})
    with pytest.raises(UsageError, match="unknown depth argument 'dpth': did you mean 'depth'"):
        load_factory(f"{code}:Plain", depth_arg="dpth")


def test_code_that_fails_is_named_with_its_arguments(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = load_factory(f"{code}:Plain", ["broken=true"])
    with pytest.raises(MeasurementError, match=r"with \(broken=True\): RuntimeError: it is"):
        factory.build()
    monkeypatch.setenv("INITSCOPE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="it is"):
        factory.build()


# --- inputs ---


def test_ids_fit_the_tables_of_the_model() -> None:
    made = token_ids(users_gpt(), Options(batch=3), None, 0)
    assert made.shape == (3, 33)
    assert int(made.max()) < 97
    with pytest.raises(UsageError, match="--seq-len 64 is beyond the model's 32 positions"):
        token_ids(users_gpt(), Options(seq_len=64), None, 0)


def test_a_model_without_a_table_asks_for_a_batch() -> None:
    with pytest.raises(UsageError, match="--batch-from"):
        token_ids(nn.Linear(2, 2), Options(), None, 0)


def test_the_arguments_say_more_than_the_tables() -> None:
    factory = Factory("", users_gpt, {"vocab": 11, "max_len": 8})
    made = token_ids(users_gpt(), Options(), factory, 0)
    assert made.shape == (1, 9)
    assert int(made.max()) < 11


# --- transformers ---


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers", reason="needs the extra hf")


SMALL = {"n_layer": 3, "n_embd": 32, "n_head": 4, "vocab_size": 97}


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "qwen3"])
@pytest.mark.usefixtures("transformers")
def test_an_architecture_takes_our_names(name: str) -> None:
    fields = {**SMALL, **({} if name in {"gpt2", "gpt_neox"} else {"n_kv_head": 2, "d_ff": 64})}
    model: Any = load_factory(f"hf:{name}").using(fields).build()
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (3, 32)
    assert model.config.vocab_size == 97


def test_a_saved_configuration_is_read_and_amended(transformers: Any, tmp_path: Path) -> None:
    transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50).save_pretrained(tmp_path)
    for target in (tmp_path, tmp_path / "config.json"):
        factory = load_factory(f"hf:{target}", ["n_inner=24"])
        assert factory.value("n_layer") == 2
        model: Any = factory.using({"n_layer": 4}).build()
        assert (model.config.n_layer, model.config.n_embd, model.config.n_inner) == (4, 16, 24)


@pytest.mark.usefixtures("transformers")
def test_what_follows_from_the_depth_is_made_anew(tmp_path: Path) -> None:
    """A list with an entry a layer would not fit another depth."""
    model: Any = load_factory("hf:qwen3").using({**SMALL, "n_kv_head": 2, "d_ff": 64}).build()
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(model.config.to_dict()))
    assert len(json.loads(saved.read_text())["layer_types"]) == 3
    deeper: Any = load_factory(f"hf:{saved}").using({"n_layer": 5}).build()
    assert len(deeper.config.layer_types) == len(deeper.model.layers) == 5


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize(
    ("target", "said"),
    [("hf:lama", "did you mean 'llama'"), ("hf:nobody/nothing", "nothing is downloaded")],
)
def test_an_unknown_architecture(target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_factory(target)
