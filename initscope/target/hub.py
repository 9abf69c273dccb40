"""Models of the transformers library, built from a configuration: no weights, no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from initscope.errors import UsageError, unknown
from initscope.target.factory import Factory


def hub_factory(target: str) -> Factory:
    """Return what builds ``hf:NAME``, ``hf:FOLDER`` or ``hf:config.json``.

    A bare architecture (``hf:gpt2``, ``hf:llama``) has that class's default configuration.

    Raises:
        UsageError: without transformers, or for a name that is neither.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            f"{target} needs the transformers library: pip install 'initscope[hf]'"
        ) from error
    name = target.removeprefix("hf:")
    config = _config(transformers, name)
    fields = {key: value for key, value in config.to_dict().items() if not key.startswith("_")}
    named = {alias: getattr(config, own, None) for alias, own in config.attribute_map.items()}

    def make(**given: Any) -> Any:  # noqa: ANN401 - fields of any type
        changed = _changed(transformers, config, given)
        return transformers.AutoModelForCausalLM.from_config(changed)

    return Factory(target, make, {**fields, **named})


def converted(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor] | None:  # noqa: ANN401
    """Return a state dict under the names that this version of transformers gives its model.

    Some were renamed, and experts joined; None where even so it is not all of the model, or the
    model is none of theirs.
    """
    load = getattr(type(model), "from_pretrained", None)
    if load is None or not hasattr(model, "config"):
        return None
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        found, told = load(None, config=model.config, state_dict=state, output_loading_info=True)
    except Exception:  # noqa: BLE001 - what does not fit is said by who asks
        return None
    finally:
        if shown:
            logging.enable_progress_bar()
    return None if any(told.values()) else found.state_dict()


def _config(transformers: Any, name: str) -> Any:  # noqa: ANN401 - the library ships few types
    known = transformers.CONFIG_MAPPING
    if name in known:
        return transformers.AutoConfig.for_model(name)
    if not Path(name).exists() and "/" not in name:
        raise unknown("architecture", name, list(known.keys()))
    try:
        return transformers.AutoConfig.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{name} has no configuration that can be read here: "
            f"{str(error).splitlines()[0]} (nothing is downloaded)"
        ) from error


def _changed(transformers: Any, config: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the configuration with other fields; what follows from the depth is made anew."""
    own = {config.attribute_map.get(name, name): value for name, value in given.items()}
    fields = config.to_dict()
    kind = fields.pop("model_type")
    lists = {name for name, value in fields.items() if isinstance(value, list)
             and len(value) == getattr(config, "num_hidden_layers", None)}  # fmt: skip
    kept = {name: value for name, value in fields.items() if name not in lists}
    return transformers.AutoConfig.for_model(kind, **{**kept, **own})
