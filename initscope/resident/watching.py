"""Hooks on the sites of any model, reducing on the device; none is left behind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from initscope.anatomy import Anatomy, Labelled, Tap, unwrap
from initscope.anatomy.local import local
from initscope.anatomy.modules import first_activation
from initscope.gpt import SATURATED_BELOW
from initscope.moments import mean_cosine, pieces, scaled, share_below, square, unit_sums
from initscope.probe import STREAM, record_activation
from initscope.readout import Key
from initscope.recorder import Recorder
from initscope.resident.attending import AttentionWatch
from initscope.resident.modes import in_backward, unwatched
from initscope.resident.ranks import ALONE, Ranks
from initscope.resident.scope import EVERYTHING, Scope


class Watch:
    """Records a model's sites while it is entered.

    Forward readings are taken outside the backward pass only. Gradients are taken wherever a
    tensor is part of a graph: a reentrant checkpoint builds that graph inside the backward
    pass, every other model before it.

    Args:
        anatomy: the sites.
        recorder: where the raw reductions go.
        backward: whether to measure gradients.
        scope: the sites that are measured.
        ranks: whom the model is spread over.
        length: the tokens of a sequence, where some of them may lie elsewhere.

    While ``paused`` only what runs inside a backward pass is seen, as a reentrant checkpoint's
    graph is built there.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        recorder: Recorder,
        *,
        backward: bool,
        scope: Scope = EVERYTHING,
        ranks: Ranks = ALONE,
        length: int = 0,
    ) -> None:
        self.anatomy, self.recorder, self.backward = anatomy, recorder, backward
        self.scope, self.paused = scope, False
        self._ranks, self._length = ranks, length if ranks.model else 0
        self._layers: dict[int, list[int]] = defaultdict(list)
        for layer, part in enumerate(anatomy.parts):
            self._layers[id(part.module)].append(layer)
        self._runs: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()
        self._layer: int | None = None
        self._tokens: tuple[int, ...] = ()
        self._attended: set[int] = set()
        self._handles: list[Any] = []
        self._apart: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}

    # --- hooks ---

    def __enter__(self) -> Self:
        """Register the hooks."""
        for module in {id(p.module): p.module for p in self.anatomy.parts}.values():
            self._hook(module, self._enter_block, self._leave_block)
        inner = {
            id(tap.module): tap.module
            for part in self.anatomy.parts for tap in part.taps
            if tap.path and self.scope.wants(tap.site)
        }  # fmt: skip
        for module in inner.values():
            self._hook(module, self._before, self._after)
        if self.anatomy.norm_f is not None and id(self.anatomy.norm_f[1]) not in inner:
            self._hook(self.anatomy.norm_f[1], None, self._after)
        if self.backward and not self._ranks:
            self._handles += [self._hook_weight(one) for one in self._trained()]
        return self

    def _trained(self) -> list[Labelled]:
        return [one for one in self.anatomy.parameters if one.parameter.requires_grad]

    def _hook_weight(self, one: Labelled) -> Any:  # noqa: ANN401 - a handle
        hook = partial(self._on_weight, one.layer, one.label)
        return one.parameter.register_post_accumulate_grad_hook(hook)

    def _hook(self, module: nn.Module, before: Any, after: Any) -> None:  # noqa: ANN401 - hooks
        # Before the hooks of others: a module's input is what the code hands it. What tensor
        # parallelism makes of it knows the gradient of this one reader alone.
        if before is not None:
            hook = module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
            self._handles.append(hook)
        self._handles.append(module.register_forward_hook(after))

    def __exit__(self, *error: object) -> None:
        """Remove the hooks, whatever happened."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def attention(self) -> AttentionWatch:
        """Return what watches the softmax of each block while it is entered."""
        return AttentionWatch(self._on_attention, self._wants_attention)

    # --- blocks ---

    def _enter_block(self, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        layers = self._layers[id(unwrap(module))]
        run = self._runs[id(module)]
        if in_backward():  # the blocks run again in reverse order
            self._layer = layers[-1 - run % len(layers)]
        else:
            self._layer = layers[run % len(layers)]
        self._runs[id(module)] += 1
        self._calls.clear()
        stream = first_activation(args, kwargs)
        if stream is None:
            return
        self._tokens = tuple(stream.shape[:-1])
        if self._layer == 0:
            self._see(-1, "embed", stream)
        self._see(self._layer, "resid_pre", stream)

    def _leave_block(self, _module: nn.Module, _args: Any, out: Any) -> None:  # noqa: ANN401
        layer, self._layer = self._layer, None
        stream = first_activation(out)
        if layer is not None and stream is not None:
            self._see(layer, "resid_post", stream)

    # --- inside ---

    def _taps(self, module: nn.Module, side: str) -> list[Tap]:
        if self._layer is None:
            return []
        count = self._calls[id(module)]
        return [
            tap for tap in self.anatomy.parts[self._layer].taps
            if tap.module is module and tap.side == side and tap.count == count and tap.path
        ]  # fmt: skip

    def _before(self, module: nn.Module, args: Any, _kwargs: Any) -> None:  # noqa: ANN401
        self._calls[id(module)] += 1
        self._see_all(self._taps(module, "in"), first_activation(args))

    def _after(self, module: nn.Module, _args: Any, out: Any) -> None:  # noqa: ANN401
        x, final = first_activation(out), self.anatomy.norm_f
        if self._layer is None and final is not None and module is final[1] and x is not None:
            self._see(self.anatomy.n_layer, "norm_f", x)
        self._see_all(self._taps(module, "out"), x)

    def _see_all(self, taps: list[Tap], x: Tensor | None) -> None:
        for tap in taps:
            if self._layer is not None and x is not None:
                cut = (lambda whole: whole) if tap.view is None else tap.view.of
                self._see(self._layer, tap.site, x, cut)

    # --- readings ---

    def _see(
        self, layer: int, site: str, x: Tensor, cut: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        """Record a tensor, and its gradient when that comes."""
        inside = in_backward()
        if self.paused and not inside:
            return
        if not inside and self.scope.sees(site, backward=False):
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False), unwatched():
                self._forward(layer, site, self._with_tokens(cut(local(x.detach()))))
        wanted = self.backward and self.scope.sees(site, backward=True)
        if wanted and x.requires_grad and torch.is_grad_enabled():
            x.register_hook(partial(self._on_gradient, layer, site, cut))

    def _with_tokens(self, x: Tensor) -> Tensor:
        """Give rows (B · T, C) their tokens back, as statistics over tokens need them."""
        if x.dim() != 2:
            return x
        fits = len(self._tokens) == 2 and len(x) == self._tokens[0] * self._tokens[1]
        return x.view(*self._tokens, -1) if fits else x[None]

    def _forward(self, layer: int, site: str, x: Tensor) -> None:
        apart, order = x.shape[1] < self._length, self.scope.order
        record_activation(self.recorder, layer, site, x, order=order, all_tokens=not apart)
        if apart and site in STREAM:
            self._apart[layer, site] = unit_sums(scaled(x))
        if not 0 <= layer < self.anatomy.n_layer:
            return
        part = self.anatomy.parts[layer]
        below = SATURATED_BELOW.get(part.activation)
        if below is not None and site == ("mlp_gate" if part.gated else "mlp_up"):
            key = Key(layer, site, "forward", "saturated_share")
            self.recorder.add(key, share_below(x, below), x.numel())

    @torch.no_grad()
    def _on_gradient(
        self, layer: int, site: str, cut: Callable[[Tensor], Tensor], gradient: Tensor
    ) -> None:
        with torch.autocast(gradient.device.type, enabled=False):
            part = cut(local(gradient).contiguous())
            self.recorder.add_moments(Key(layer, site, "backward", "gradient"), part, 2)

    @torch.no_grad()
    def see_the_rest(self) -> None:
        """Record what only the ranks together know, when the passes are over."""
        for (layer, site), sums in self._apart.items():
            together, alone = (self._ranks.sum_over_model(part) for part in sums)
            key = Key(layer, site, "forward", "token_cosine")
            self.recorder.add(key, mean_cosine(together, alone, self._length), len(alone))
        if self.backward and self._ranks:
            trained = self._trained()
            gradients = self._ranks.gradients([one.parameter for one in trained])
            for one, gradient in zip(trained, gradients, strict=True):
                if gradient is not None and gradient.numel():
                    self._see_weight_gradient(one.layer, one.label, gradient)

    @torch.no_grad()
    def _on_weight(self, layer: int, label: str, parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            self._see_weight_gradient(layer, label, gradient)

    def _see_weight_gradient(self, layer: int, label: str, gradient: Tensor) -> None:
        dense = gradient.coalesce().values() if gradient.is_sparse else gradient
        key = Key(layer, label, "weight_grad", "weight_gradient")
        for piece in pieces(dense):
            self.recorder.add(key, square(piece), gradient.numel())

    def see_logits(self, logits: Tensor) -> None:
        """Record the logits (…, V) once the model has returned them."""
        self._see(self.anatomy.n_layer, "logits", logits)

    def _wants_attention(self) -> bool:
        layer = self._layer
        return layer is not None and layer not in self._attended and not in_backward()

    def _on_attention(self, raw: Tensor) -> None:
        assert self._layer is not None
        self._attended.add(self._layer)
        self.recorder.add(Key(self._layer, "attn", "forward", "attention"), raw)
