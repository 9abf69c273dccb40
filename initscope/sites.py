"""Which parameters a GPT has, and where: the same list for drawing, theory and explaining."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.notation import layer_name
from initscope.rules.core import Draw, Multipliers, Rule, Site


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter by its path inside its block (or inside the model, outside the blocks).

    ``label`` is how the parameter is named in a profile: its path without ``.weight``.
    """

    path: str
    shape: tuple[int, ...]
    site: Site

    @property
    def label(self) -> str:
        """Name in a profile: ``q``, ``q.bias``, ``norm_1``, ``norm_1.bias``."""
        return self.path.removesuffix(".weight")


def model_site(config: GPTConfig, layer: int) -> Site:
    """Return a layer's place for what belongs to no single parameter (a rule's multipliers)."""
    return _Lister(config, layer).site("", "", config.n_embd, config.n_embd)


class _Lister:
    """Knows the model's sizes, so that each parameter needs only what is its own."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        self.config, self.layer = config, layer

    def site(self, role: str, module: str, fan_in: int, fan_out: int) -> Site:
        config = self.config
        return Site(
            role=role, module=module, fan_in=fan_in, fan_out=fan_out, layer=self.layer,
            n_layer=config.n_layer, n_embd=config.n_embd, n_head=config.n_head,
            d_ff=config.d_ff, vocab_size=config.vocab_size,
        )  # fmt: skip

    def linear(self, role: str, fan_in: int, fan_out: int) -> Iterator[Parameter]:
        site = self.site(role, role, fan_in, fan_out)
        yield Parameter(f"{role}.weight", (fan_out, fan_in), site)
        if self.config.bias and role != "head":
            yield Parameter(f"{role}.bias", (fan_out,), self.site("bias", role, fan_in, fan_out))

    def norm(self, name: str, width: int) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (width,), self.site("norm_gain", name, width, width))
        if self.config.bias and self.config.norm_kind == "layernorm":
            yield Parameter(f"{name}.bias", (width,), self.site("norm_bias", name, width, width))


def block_parameters(config: GPTConfig, layer: int) -> list[Parameter]:
    """List the parameters of block ``layer`` in the order in which they are drawn."""
    new, d = _Lister(config, layer), config.n_embd
    ff, kv = config.d_ff, config.kv_width
    listed = [
        *new.norm("norm_1", d),
        *new.linear("q", d, d), *new.linear("k", d, kv), *new.linear("v", d, kv),
        *new.norm("norm_attn", d), *new.linear("attn_out", d, d), *new.norm("norm_1_out", d),
        *new.norm("norm_2", d),
        *new.linear("mlp_gate", d, ff), *new.linear("mlp_up", d, ff),
        *new.norm("norm_mlp", ff), *new.linear("mlp_down", ff, d), *new.norm("norm_2_out", d),
    ]  # fmt: skip
    norms = {parameter.site.module for parameter in listed if "norm" in parameter.site.role}
    absent = norms - config.block_norms | (set() if config.gated else {"mlp_gate"})
    return [parameter for parameter in listed if parameter.site.module not in absent]


def embedding_parameters(config: GPTConfig) -> list[Parameter]:
    """List what comes before the first block (layer -1)."""
    new, d = _Lister(config, -1), config.n_embd
    # fan_in and fan_out of an embedding follow torch.nn.init on its (vocab, width) weight.
    site = new.site("wte", "wte", d, config.vocab_size)
    listed = [Parameter("wte.weight", (config.vocab_size, d), site)]
    if config.positions == "learned":
        site = new.site("wpe", "wpe", d, config.block_size)
        listed.append(Parameter("wpe.weight", (config.block_size, d), site))
    if config.embed_norm:
        listed += new.norm("norm_embed", d)
    return listed


def head_parameters(config: GPTConfig) -> list[Parameter]:
    """List what comes after the last block (layer n_layer); a tied head is not drawn."""
    new = _Lister(config, config.n_layer)
    listed = [*new.norm("norm_f", config.n_embd)] if config.final_norm else []
    if not config.tied:
        listed += new.linear("head", config.n_embd, config.vocab_size)
    return listed


def all_parameters(config: GPTConfig) -> Iterator[Parameter]:
    """List every parameter of the model, from the embedding to the head."""
    yield from embedding_parameters(config)
    for layer in range(config.n_layer):
        yield from block_parameters(config, layer)
    yield from head_parameters(config)


def require_draws(rule: Rule, config: GPTConfig) -> None:
    """See that a rule answers for every parameter and layer, before anything is measured.

    Raises:
        UsageError: naming the place where its function fails, whatever that raises.
    """
    where = ""
    try:
        for parameter in all_parameters(config):
            where = f"{parameter.label}, {layer_name(parameter.site.layer, config.n_layer)}"
            _require(rule.draw(parameter.site), Draw)
        for layer in range(-1, config.n_layer + 1):
            where = f"multipliers, {layer_name(layer, config.n_layer)}"
            _require(rule.multipliers(model_site(config, layer)), Multipliers)
    except UsageError as error:
        raise UsageError(f"rule {rule.name!r} ({where}): {error}") from error
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
        raise UsageError(f"rule {rule.name!r} fails ({where}): {trouble}") from error


def _require(given: object, kind: type) -> None:
    if not isinstance(given, kind):
        raise UsageError(f"it gives {type(given).__name__} instead of {kind.__name__}")
