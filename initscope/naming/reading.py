"""Reading names and shapes: first the model's size, then each parameter's place in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from initscope.config import default_heads
from initscope.errors import MeasurementError, UsageError
from initscope.naming.layout import HeadsFrom, Layout, Named, Part, Shape
from initscope.naming.patterns import BLOCK, BUFFER, IN_BLOCK, NORM, OUTSIDE, PARAMETER, Roles

Dims = tuple[int, ...]

_TO_STREAM = {"attn_out", "mlp_down"}  # their outputs are the stream; others read it
_SHOWN = 3


@dataclass(frozen=True)
class _Found:
    """A parameter whose module is known, before its sizes are."""

    name: str
    module: str  # inside its block, or the last part outside
    what: str  # weight or bias
    dims: Dims
    layer: int | None
    roles: Roles | None  # None: a norm

    def plays(self, *names: str) -> bool:
        return self.roles is not None and any(name in self.roles.names for name in names)


def read_names(shapes: Mapping[str, Dims], n_head: int = 0, *, saved_heads: int = 0) -> Layout:
    """Find the GPT behind a checkpoint's names and shapes.

    Args:
        shapes: each tensor's shape by its name.
        n_head: attention heads; 0 takes what the checkpoint tells, else 64 wide heads.
        saved_heads: heads by a configuration saved with the checkpoint; 0 where there is none.

    Raises:
        MeasurementError: when no block of a GPT is among the names.
        UsageError: for heads that the width is no multiple of.
    """
    found = {name: _find(name, dims) for name, dims in shapes.items()}
    known = [one for one in found.values() if one is not None]
    if not any(one.layer is not None and one.roles for one in known):
        raise MeasurementError(f"no block of a GPT is among {_examples(shapes)}")
    shape = _Sizes(known).shape(n_head, saved_heads)
    parameters = tuple(named for one in known for named in _place(one, known, shape))
    layers = {one.layer for one in known}
    return Layout(
        shape=shape,
        parameters=parameters,
        unmapped=tuple(name for name, one in found.items() if one is None and not _buffer(name)),
        missing=tuple(layer for layer in range(shape.n_layer) if layer not in layers),
    )


def _examples(shapes: Mapping[str, Dims]) -> str:
    names = [repr(name) for name in list(shapes)[:_SHOWN]]
    return (
        f"the {len(shapes)} tensors ({', '.join(names) or 'none'}{', …' * (len(shapes) > _SHOWN)})"
    )


def _buffer(name: str) -> bool:
    return BUFFER.search(name) is not None


def _find(name: str, dims: Dims) -> _Found | None:
    parameter = PARAMETER.fullmatch(name)
    if parameter is None or _buffer(name) or not 1 <= len(dims) <= 2 or 0 in dims:
        return None
    block = BLOCK.search(parameter["module"])
    layer = int(block["layer"]) if block else None
    module = block["rest"] if block else parameter["module"].rpartition(".")[2]
    roles = (IN_BLOCK if block else OUTSIDE).get(module)
    what = parameter["what"]
    if roles is None and (NORM.search(module.rpartition(".")[2]) is None or len(dims) != 1):
        return None
    if roles is not None and len(dims) != (2 if what == "weight" else 1):
        return None
    return _Found(name, module, what, dims, layer, roles)


class _Sizes:
    """Reads the model's size off the shapes."""

    def __init__(self, found: list[_Found]) -> None:
        self.found = found
        self.n_embd = self._width()

    def _weights(self, *roles: str) -> Iterator[Dims]:
        return (one.dims for one in self.found if one.what == "weight" and one.plays(*roles))

    def _width(self) -> int:
        """Return the stream's width: the side that all of a block's matrices share."""
        matrices = list(self._weights("q", "attn_out", "mlp_up", "mlp_down"))
        embeddings = [dims[1] for dims in self._weights("wte", "head")]
        common = set.intersection(*map(set, matrices)) if matrices else set(embeddings)
        if not common:
            raise MeasurementError("the blocks' matrices share no width: this is no GPT")
        return next((width for width in embeddings if width in common), min(common))

    def _other(self, *roles: str) -> int:
        """Return the side of a role's matrix that is not the stream's width; 0 without one."""
        for dims in self._weights(*roles):
            return dims[0] if dims[1] == self.n_embd else dims[1]
        return 0

    def shape(self, n_head: int, saved: int) -> Shape:
        heads, source = self._heads(n_head, saved)
        layers = [one.layer for one in self.found if one.layer is not None]
        linear = [one for one in self.found if one.roles and one.layer is not None]
        norms = [one for one in self.found if one.roles is None]
        return Shape(
            n_layer=max(layers) + 1, n_embd=self.n_embd, n_head=heads, heads_from=source,
            d_ff=self._other("mlp_down") or self._other("mlp_up") or 4 * self.n_embd,
            vocab_size=next((dims[0] for dims in self._weights("wte", "head")), 1),
            gated=self._gated(),
            bias=any(one.what == "bias" for one in linear),
            layernorm=any(one.what == "bias" for one in norms),
            learned_positions=any(True for _ in self._weights("wpe")),
            untied=any(True for _ in self._weights("head")),
        )  # fmt: skip

    def _gated(self) -> bool:
        """Tell whether a gate is a matrix of its own, or the fused one is twice d_ff wide."""
        roles = [one.roles.names for one in self.found if one.roles and one.what == "weight"]
        if ("mlp_gate",) in roles:
            return ("mlp_up",) in roles  # a w1 without w3 gates nothing
        fused = any("mlp_gate" in names for names in roles)
        return fused and self._other("mlp_gate") > self._other("mlp_down")

    def _heads(self, given: int, saved: int) -> tuple[int, HeadsFrom]:
        width = self._other("attn_out") or self.n_embd
        if given:
            return _dividing(given, width), "given"
        if saved and width % saved == 0:
            return saved, "saved"
        size = next((one.dims[0] for one in self.found if one.module.endswith("q_norm")), width)
        if size < width and width % size == 0:  # one norm for the queries of each head
            return width // size, "q_norm"
        return default_heads(width), "width"


def _dividing(heads: int, width: int) -> int:
    if heads < 0 or width % heads:
        raise UsageError(
            f"the width {width} of the attention is not a multiple of --n-head {heads}; "
            f"{default_heads(width)} heads would divide it"
        )
    return heads


def _place(one: _Found, known: Iterable[_Found], shape: Shape) -> Iterator[Named]:
    if one.roles is None:
        yield _norm(one, shape)
        return
    for role, part in _parts(one, known, shape):
        yield _matrix(one, role, part, shape)


def _norm(one: _Found, shape: Shape) -> Named:
    layer = one.layer if one.layer is not None else _outside(one.module, shape)
    role = "norm_gain" if one.what == "weight" else "norm_bias"
    site = shape.site(role, one.module, (one.dims[0], one.dims[0]), layer)
    return Named(one.name, _label(one.module, one.what), site)


def _outside(module: str, shape: Shape) -> int:
    """Place a norm outside the blocks: after them, unless it is the embedding's."""
    return -1 if "emb" in module else shape.n_layer


def _label(module: str, what: str) -> str:
    return module if what == "weight" else f"{module}.{what}"


def _matrix(one: _Found, role: str, part: Part | None, shape: Shape) -> Named:
    sides = {"wte": -1, "wpe": -1, "head": shape.n_layer}
    layer = one.layer if one.layer is not None else sides[role]
    outputs = part.groups * (part.stop - part.start) if part else None
    fans = _fans(one, role, outputs, shape)
    site = shape.site(role if one.what == "weight" else "bias", role, fans, layer)
    return Named(one.name, _label(role, one.what), site, part)


def _fans(one: _Found, role: str, outputs: int | None, shape: Shape) -> tuple[int, int]:
    """Return fan_in and fan_out, whichever way round the matrix is saved."""
    d = shape.n_embd
    if one.what == "bias":
        fan_in = shape.d_ff if role == "mlp_down" else d
        return fan_in, outputs or one.dims[0]
    if role in _TO_STREAM:
        return one.dims[1] if one.dims[0] == d else one.dims[0], d
    return d, outputs or (one.dims[0] if one.dims[1] == d else one.dims[1])


def _parts(one: _Found, known: Iterable[_Found], shape: Shape) -> Iterator[tuple[str, Part | None]]:
    """Split a fused tensor into its roles; a matrix of one role is taken whole."""
    assert one.roles is not None
    names = one.roles.names
    axis = 0 if len(one.dims) == 1 or one.dims[1] == shape.n_embd else 1
    total = one.dims[axis]
    if "mlp_gate" in names and not shape.gated:  # a w1, or an fc1, that gates nothing
        names = ("mlp_up",)
    if len(names) == 1:
        yield names[0], None
        return
    groups = shape.n_head if one.roles.by_head and total % shape.n_head == 0 else 1
    sizes = _split(names, total // groups, _queries(known, shape) // groups)
    start = 0
    for role, size in zip(names, sizes, strict=True):
        yield role, Part(axis, groups, start, start + size)
        start += size


def _queries(known: Iterable[_Found], shape: Shape) -> int:
    """Return the width of all queries: what attn_out reads."""
    dims = next((one.dims for one in known if one.plays("attn_out") and one.what == "weight"), None)
    if dims is None:
        return shape.n_embd
    return dims[1] if dims[0] == shape.n_embd else dims[0]


def _split(names: tuple[str, ...], total: int, queries: int) -> list[int]:
    if len(names) == 2 or not 0 < queries < total:
        return [total // len(names)] * len(names)
    shared = (total - queries) // 2  # grouped-query attention has fewer keys and values
    return [queries, shared, shared]
