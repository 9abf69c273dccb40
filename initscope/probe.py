"""Hooks on a module's named sites, reducing on the device inside the hook.

A forward hook that registers a hook on its output tensor survives in-place additions to the
residual stream, where ``register_full_backward_hook`` raises.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from initscope import moments
from initscope.gpt import SATURATED_BELOW, CausalAttention
from initscope.gradient_norm import LinearInput, gain_square, vector_square
from initscope.moments import Scaled
from initscope.readout import Key
from initscope.recorder import Recorder

OfParameters = Callable[[Scaled, Recorder], None]

STREAM = frozenset({"embed", "resid_pre", "resid_mid", "resid_post", "norm_f"})
_NORMS = (nn.LayerNorm, nn.RMSNorm)


def pull_back(output: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of ``x`` from that of ``output``, both of its shape.

    As the gradient of <output, gradient>, a scalar: for a tensor ``torch.autograd.grad`` loads
    half a second of symbolic algebra to compare two shapes.
    """
    (result,) = torch.autograd.grad(torch.dot(output.flatten(), gradient.flatten()), x)
    return result


def record_activation(
    recorder: Recorder, layer: int, site: str, x: Tensor, *, order: int = 4, all_tokens: bool = True
) -> None:
    """Record what is measured of every activation, and what belongs to its site.

    ``order``: of the highest moment. ``all_tokens``: whether the sequences are whole here, as what
    compares their tokens needs.
    """
    key = partial(Key, layer, site, "forward")
    recorder.add_moments(key("activation"), x, order)
    if site in STREAM and x.shape[1] > 1 and all_tokens:
        recorder.add(key("token_cosine"), moments.token_cosine(moments.scaled(x)), len(x))
    if site == "mlp_act":
        recorder.add(key("zero_share"), moments.share_zero(x), x.numel())


class Probe:
    """Records the sites of one module while it is entered; leaves no hook behind.

    ``sites`` names the modules whose outputs are measured. A linear or norm module found there
    has its parameters' gradients measured too, although they require none.

    Args:
        recorder: where the raw reductions go.
        sites: the modules by site.
        layer: the layer that the readings are of.
        forward: whether to measure outputs.
        backward: whether to measure the outputs' gradients.
        activation: the MLP's non-linearity, which decides what a saturated unit is.
    """

    def __init__(
        self,
        recorder: Recorder,
        sites: dict[str, nn.Module],
        *,
        layer: int,
        forward: bool = True,
        backward: bool = False,
        activation: str = "",
    ) -> None:
        self.recorder = recorder
        self.layer, self.forward, self.backward = layer, forward, backward
        self._sites = sites
        self._pre_activation = "mlp_gate" if "mlp_gate" in sites else "mlp_up"
        self._saturated_below = SATURATED_BELOW.get(activation)
        self._inputs: dict[int, LinearInput] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        """Register the hooks, unless nobody listens."""
        for site, module in self._sites.items() if self.recorder.listens else ():
            hook: Callable[..., None] = partial(self._on_output, site)
            if isinstance(module, CausalAttention):
                hook = self._on_attention
            self._handles.append(module.register_forward_hook(hook))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hooks, whatever happened."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._inputs.clear()

    def _key(self, site: str, direction: str, kind: str) -> Key:
        return Key(self.layer, site, direction, kind)

    def _on_attention(
        self, module: CausalAttention, args: tuple[Tensor, ...], _out: Tensor
    ) -> None:
        q, k, _v = args
        if self.forward and q.shape[2] > 1:
            key = self._key("attn", "forward", "attention")
            scale = module.scale
            self.recorder.beside(lambda to: to.add(key, moments.attention(q, k, scale)))

    def _on_output(self, site: str, module: nn.Module, args: tuple[Tensor, ...], x: Tensor) -> None:
        if self.forward:
            self.recorder.beside(partial(self._record_output, site, x))
        if self.backward and x.requires_grad:
            parameters = self._parameters(site, module, args[0].detach())
            x.register_hook(partial(self._on_gradient, site, parameters))

    def _record_output(self, site: str, x: Tensor, to: Recorder) -> None:
        record_activation(to, self.layer, site, x)
        if site == self._pre_activation and self._saturated_below is not None:
            share = moments.share_below(x, self._saturated_below)
            to.add(self._key(site, "forward", "saturated_share"), share)

    def _on_gradient(self, site: str, parameters: OfParameters | None, gradient: Tensor) -> None:
        self.recorder.beside(partial(self._record_gradient, site, parameters, gradient))

    def _record_gradient(
        self, site: str, parameters: OfParameters | None, gradient: Tensor, to: Recorder
    ) -> None:
        key = self._key(site, "backward", "gradient")
        if parameters is None:
            to.add_moments(key, gradient, 2)
            return
        g = moments.scaled(gradient)
        to.add_scaled(key, g, 2)
        parameters(g, to)

    def _parameters(self, site: str, module: nn.Module, x: Tensor) -> OfParameters | None:
        """Say how the gradients of a module's parameters follow from its output's."""
        if isinstance(module, nn.Linear):
            shared = self._inputs.setdefault(x.data_ptr(), LinearInput(x))
            return partial(self._linear_gradient, site, module, shared)
        if isinstance(module, _NORMS):
            return partial(self._norm_gradient, site, module, x)
        return None

    def _linear_gradient(
        self, site: str, module: nn.Linear, x: LinearInput, g: Scaled, to: Recorder
    ) -> None:
        self._weight_gradient(to, site, x.gradient_square(g), module.weight.numel())
        self._bias_gradient(to, site, module, g)

    def _norm_gradient(
        self, site: str, module: nn.Module, x: Tensor, g: Scaled, to: Recorder
    ) -> None:
        eps = module.eps if isinstance(module.eps, float) else 0.0
        centred = isinstance(module, nn.LayerNorm)
        raw = gain_square(x, g, centred=centred, eps=eps)
        self._weight_gradient(to, site, raw, x.shape[-1])
        self._bias_gradient(to, site, module, g)

    def _bias_gradient(self, to: Recorder, site: str, module: nn.Module, g: Scaled) -> None:
        if getattr(module, "bias", None) is not None:
            summed = g.values.flatten(0, -2).sum(0)
            raw = vector_square(summed, g.scale)
            self._weight_gradient(to, f"{site}.bias", raw, summed.numel())

    def _weight_gradient(self, to: Recorder, site: str, raw: Tensor, count: int) -> None:
        to.add(self._key(site, "weight_grad", "weight_gradient"), raw, count)
