"""Models of the transformers library, built from a configuration: no weights, no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
