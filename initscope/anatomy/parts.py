"""From what was seen in a block to its sites: which module's input or output each one is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from initscope.anatomy.lineage import ancestors, numel, source
from initscope.anatomy.marks import BlockTrace, Call, Mark, View

Side = Literal["in", "out"]
EXACT = 1e-3  # a factor nearer to 1 is rounding, or a low-precision norm
_MIXERS = ("attn", "attention", "mixer", "mamba", "ssm", "rnn", "recurrent", "time_mix", "conv")


@dataclass(frozen=True, eq=False)
class Tap:
    """Where a site's tensor passes: at a module's first input or output, or a part of that.

    ``path`` is relative to the block; ``count`` says which of the module's calls in the block.
    """

    site: str
    path: str
    module: nn.Module
    side: Side = "out"
    count: int = 1
    view: View | None = None


@dataclass
class Part:
    """A block with its sites, and what its parameters are called."""

    path: str
    module: nn.Module
    taps: list[Tap] = field(default_factory=list)
    labels: dict[nn.Module, str] = field(default_factory=dict)
    called: frozenset[nn.Module] = frozenset()
    parallel: bool = False
    norm: str = "none"
    activation: str = ""
    gated: bool = False
    softmax: bool = False
    n_head: int = 0
    n_kv_head: int = 0
    d_ff: int = 0
    factors: dict[str, float] = field(default_factory=dict)

    @property
    def sites(self) -> dict[str, Tap]:
        """The taps by site."""
        return {tap.site: tap for tap in self.taps}


def dissect(trace: BlockTrace) -> Part:
    """Name the parts of a block."""
    return _Dissection(trace).part


class _Dissection:
    def __init__(self, trace: BlockTrace) -> None:
        self.trace, self.end = trace, trace.end
        self.part = Part(trace.path, trace.module, softmax=trace.softmax, n_head=trace.n_head)
        self.part.called = frozenset(call.module for call in trace.calls)
        order = {call: place for place, call in enumerate(trace.calls)}
        writers = sorted(self.end.boxes, key=order.__getitem__)
        self.attention = next((call for call in writers if self._mixes(call)), None)
        others = [call for call in writers if not self._mixes(call)]
        self.mlp = others[-1] if others else None
        self._stream("resid_pre", "in")
        self._attention()
        self._mlp()
        self._norms()
        self._stream("resid_post", "out")

    # --- the graph ---

    def _mixes(self, call: Call) -> bool:
        named = any(word in call.path.lower() for word in _MIXERS)
        return named or any(one.inputs.mixed for one in (call, *ancestors(call)))

    def _readers(self, writer: Call) -> list[Call]:
        """Return the projections of a branch that read the stream, in order."""
        found = [c for c in (writer, *ancestors(writer)) if c.inputs.on_stream]
        return [call for call in self.trace.calls if call in found]

    # --- naming ---

    def _stream(self, site: str, side: Side) -> None:
        self.part.taps.append(Tap(site, "", self.part.module, side))

    def _tap(self, site: str, call: Call, side: Side = "out", view: View | None = None) -> None:
        if side == "in" and not call.entered:
            return
        whole = view is not None and view.numel == call.numel
        cut = None if whole else view
        self.part.taps.append(Tap(site, call.path, call.module, side, call.count, cut))
        if side == "out":
            self._label(call, site)

    def _label(self, call: Call, site: str) -> None:
        label = self.part.labels.get(call.module, "")
        self.part.labels[call.module] = _JOINED.get((label, site), label or site)

    def _attention(self) -> None:
        if self.attention is None:
            return
        heads = {site: source(self.trace.heads.get(site)) for site in ("q", "k", "v")}
        found = {site: mark for site, mark in heads.items() if mark is not None}
        for site, (call, view) in found.items():
            assert call is not None
            whole = view is None or view.numel == call.numel
            if whole and [mark.call for mark in found.values()].count(call) > 1:
                self._label(call, site)  # cut in a way that strides cannot say
            else:
                self._tap(site, call, view=view)
        if "q" in found:
            self.part.n_head *= _times_wider(found["q"].call)
        shared = numel(found.get("k")) / numel(found.get("q"))
        self.part.n_kv_head = round(self.part.n_head * shared)
        for site in ("q", "k"):
            for norm in self.trace.heads[site].norms if site in self.trace.heads else []:
                if not norm.inputs.on_stream:
                    self._label(norm, f"{site}_norm")
        self._tap("attn", self.attention, "in")
        self._tap("attn_out", self.attention)
        self._factor("attn_out", self.attention)

    def _mlp(self) -> None:
        if self.mlp is None:
            return
        readers = [call for call in self._readers(self.mlp) if call is not self.mlp]
        self._middle(readers or [self.mlp])
        gate, up = self._gate(readers)
        if gate is not None:
            self._tap("mlp_gate", *_args(gate))
        if up is not None:
            self._tap("mlp_up", *_args(up))
            here = up.view.size[-1] if up.view is not None else _width(up.call)
            self.part.d_ff = here * _times_wider(up.call)
        self.part.gated = gate is not None
        act = self.mlp.inputs.act
        self.part.activation = _GATED.get(act, act) if gate is not None else act
        if readers:
            self._tap("mlp_act", self.mlp, "in")
        self._tap("mlp_down", self.mlp)
        self._factor("mlp_down", self.mlp)

    def _gate(self, readers: list[Call]) -> tuple[Mark | None, Mark | None]:
        """Return (gate, up): the gate is what enters the activation alone."""
        assert self.mlp is not None
        feeding = [mark for mark in self.mlp.inputs.marks if mark.call in readers]
        active = {
            mark for _, facts in self.trace.activated if not facts.mixed
            for mark in facts.marks if mark.call in readers
        }  # fmt: skip
        gates = [mark for mark in feeding if mark in active]
        ups = [mark for mark in feeding if mark not in active]
        if gates and ups:
            return gates[0], ups[0]
        first = next(iter(gates or ups), None)
        return None, first

    def _middle(self, readers: list[Call]) -> None:
        """Find the stream between the branches: what the MLP, or the norm before it, reads."""
        facts = readers[0].inputs
        if self.attention is None or self.attention not in facts.boxes:
            self.part.parallel = self.attention is not None
            return
        norm = next((call for call in facts.norms if call not in self.end.norms), None)
        self._tap("resid_mid", norm or readers[0], "in")

    def _norms(self) -> None:
        after = [call for call in self.end.norms if not call.inputs.on_stream]
        post = [call for call in self.end.norms if call.inputs.on_stream]
        before: list[Call] = []
        for writer in (self.attention, self.mlp):
            readers = self._readers(writer) if writer is not None else []
            norms = [n for call in readers for n in call.inputs.norms if n.inputs.on_stream]
            known = [*before, *self.end.norms]
            before += [norm for norm in norms[:1] if norm not in known]
        self._number(before or post)
        for call in after:
            for site, writer in (("norm_1_out", self.attention), ("norm_2_out", self.mlp)):
                if writer in call.inputs.boxes and site not in self.part.sites:
                    self._tap(site, call)
        self.part.norm = "pre" if before else "post" if post else "none"
        if after:
            self.part.norm = "sandwich"

    def _number(self, norms: list[Call]) -> None:
        """Name norms 1 and 2; one that stands alone before the MLP is the second."""
        first = 2 if self.attention is None and self.mlp is not None and len(norms) == 1 else 1
        ordered = [call for call in self.trace.calls if call in norms][:2]
        for number, call in enumerate(ordered, start=first):
            self._tap(f"norm_{number}", call)

    def _factor(self, site: str, call: Call) -> None:
        if call in self.trace.added:
            factor = round(float(self.trace.added[call]), 6)
            self.part.factors[site] = 1.0 if abs(factor - 1) < EXACT else factor


_GATED = {"silu": "swiglu", "gelu": "geglu", "gelu_tanh": "geglu"}
_JOINED = {
    ("q", "k"): "qk", ("qk", "v"): "qkv", ("k", "v"): "kv", ("q", "v"): "qkv",
    ("mlp_gate", "mlp_up"): "mlp_gate_up",
}  # fmt: skip


def _args(mark: Mark) -> tuple[Call, Literal["out"], View | None]:
    assert mark.call is not None
    return mark.call, "out", mark.view


def _width(call: Call | None) -> int:
    return call.width if call is not None else 0


def _times_wider(call: Call | None) -> int:
    """Return into how many parts tensor parallelism has cut a projection's output."""
    whole = getattr(call.module, "out_features", 0) if call is not None else 0
    return max(1, int(whole) // _width(call)) if isinstance(whole, int) and whole else 1
