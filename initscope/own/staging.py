"""A model with its weights, ready to be measured: all of them at once, or a block's at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from initscope.anatomy import Anatomy
from initscope.construction import Allocation
from initscope.devices import choose_device, choose_dtype
from initscope.errors import MeasurementError
from initscope.likeness import describe, prescribed
from initscope.options import Options
from initscope.own.fills import OwnInit, differing, from_checkpoint, from_rule, plain
from initscope.own.paging import Paging
from initscope.redraw import Redrawn, draw, prescribe, redraw
from initscope.resident import Feed, measure
from initscope.resident.engine import Measured, locate
from initscope.resident.keeping import untouched
from initscope.restore import Restoring
from initscope.rules.core import Rule
from initscope.skeleton import weightless
from initscope.target import Factory


@dataclass
class Stage:
    """A model, what it is called with, and what gives its blocks their weights, if they lack any.

    ``redrawn`` is what a rule drew in it, ``against`` the rule that its own draw should follow.
    """

    model: nn.Module
    given: Feed
    blocks: str = ""
    paging: Paging | None = None
    redrawn: Redrawn | None = None
    against: Rule | None = None

    def locate(self) -> Anatomy:
        """Find the parts of the model."""
        with untouched(self.model):
            return locate(self.model, self.given, self.blocks)

    def redraw(self, rule: Rule, seed: int) -> None:
        """Draw the whole model anew."""
        anatomy = self.locate()
        self.redrawn = redraw(anatomy, rule, describe(anatomy, self.given), seed)

    def measure(self, *, backward: bool) -> Measured:
        """Measure the model."""
        bring = self.paging.bring if self.paging is not None else None
        found = measure(self.model, self.given, backward=backward, blocks=self.blocks, bring=bring)
        drawn = self.redrawn
        told = drawn.prescribed if drawn else prescribed(found.anatomy, self.given, self.against)
        return found._replace(readings=[*found.readings, *told])


def allocation(options: Options) -> Allocation:
    """Say where weights are to live."""
    return Allocation(choose_device(options.device).device, choose_dtype(options.dtype))


def seeded(factory: Factory, seed: int) -> nn.Module:
    """Build a model from a seed, with its own initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory.build()


def hollow(factory: Factory, *, vectors: bool = False) -> nn.Module | None:
    """Build a model without its weights; None where its code fails without them."""
    try:
        with weightless(vectors=vectors):
            return factory.build()
    except MeasurementError:
        return None


def require_memory_given(model: nn.Module, target: str) -> None:
    """Refuse a model that its code has left without memory.

    Raises:
        MeasurementError: where a tensor is on the meta device.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise MeasurementError(
            f"{target} leaves {len(left)} of {len(tensors)} tensors on the meta device ({left[0]} "
            "is one): name a factory that gives them memory and initialises them"
        )


def require_hollow(factory: Factory, *, vectors: bool) -> nn.Module:
    """Build a model without its weights.

    Raises:
        MeasurementError: where its code does not allow it.
    """
    model = hollow(factory, vectors=vectors)
    if model is None or not any(p.is_meta for p in model.parameters()):
        raise MeasurementError(
            f"{factory.target} cannot be built without weights, and so not block by block: its "
            "code looks at them, or had built it already"
        )
    return model


# --- one block at a time ---


def paged_checkpoint(model: nn.Module, fit: Restoring, blocks: str, at: Allocation) -> Paging:
    """Give a hollow model a checkpoint's weights, those of its blocks as they come."""
    paging = Paging(model, blocks, at)
    fit.fill(model, lambda tensor: tensor.to(at.device, at.dtype), leave=paging.paths)
    paging.start()
    paging.fill = from_checkpoint(fit)
    return paging


def paged_draw(model: nn.Module, blocks: str, at: Allocation, seed: int) -> tuple[Paging, OwnInit]:
    """Give a hollow model its own initialisation, in its blocks as they come."""
    paging = Paging(model, blocks, at)
    own = OwnInit(model, paging, seed)
    own.ends(at)
    paging.start()
    paging.fill = own
    return paging, own


def require_own(factory: Factory, blocks: str, at: Allocation) -> None:
    """Refuse to initialise by parts what is initialised otherwise as a whole.

    Two blocks are built either way, and compared.

    Raises:
        MeasurementError: where the two differ, or the model cannot be built that shallow.
    """
    if not factory.depth_arg:
        raise MeasurementError(
            f"{factory.target} has no argument for its depth, so that it cannot be seen whether "
            f"it initialises block by block; {_INSTEAD}"
        )
    shallow = factory.using({"n_layer": 2})
    model = hollow(shallow, vectors=True)
    assert model is not None
    paging, _ = paged_draw(model, blocks, Allocation(at.device), 0)
    path = differing(seeded(shallow, 1).to(at.device), model, paging)
    if path:
        raise MeasurementError(
            f"{factory.target} does not initialise block by block: {path} comes out otherwise "
            f"than by reset_parameters and _init_weights; {_INSTEAD}"
        )


_INSTEAD = "--init RULE and --checkpoint FILE go block by block"


def redraw_paged(
    stage: Stage, rule: Rule, own: OwnInit, require: Callable[[], None], seed: int
) -> None:
    """Draw a paged model anew: what is outside its blocks at once, these as they come.

    ``require`` is called where parts of it keep the model's own initialisation.
    """
    assert stage.paging is not None
    stage.paging.fill = plain
    anatomy = stage.locate()
    stage.redrawn = prescribe(anatomy, rule, describe(anatomy, stage.given))
    stays = [one for one in stage.redrawn.unmapped if one.parameter.dim() > 1]
    if stays:
        require()
    come = {id(p) for page in stage.paging.pages for p in page.values()}
    ends = [item for item in stage.redrawn.mapped if id(item.found.parameter) not in come]
    draw(anatomy, ends, seed)
    stage.paging.fill = from_rule(anatomy, stage.redrawn, seed, own if stays else None)
