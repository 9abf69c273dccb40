"""See how a GPT's signal explodes or collapses at initialisation, before it is trained.

The public names load their module when first used (PEP 562), so that ``import initscope``
and the command line's help never wait for torch.

    >>> import initscope
    >>> config = initscope.GPTConfig(n_layer=48)
    >>> config.n_head
    12
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from initscope.bounds import Bounds
    from initscope.config import GPTConfig
    from initscope.construction import build
    from initscope.designing import Targets, design
    from initscope.errors import InitscopeError, MeasurementError, UsageError
    from initscope.identifying import identify
    from initscope.judging import judge
    from initscope.options import Options
    from initscope.own import inspect
    from initscope.profile import Profile
    from initscope.rules import Draw, Rule, Site, get_rule, rule
    from initscope.store import load
    from initscope.sweep import compare
    from initscope.theory import predict
    from initscope.training import watch

    __version__: str

__all__ = [
    "Bounds",
    "Draw",
    "GPTConfig",
    "InitscopeError",
    "MeasurementError",
    "Options",
    "Profile",
    "Rule",
    "Site",
    "Targets",
    "UsageError",
    "build",
    "compare",
    "design",
    "get_rule",
    "identify",
    "inspect",
    "judge",
    "load",
    "predict",
    "rule",
    "watch",
]

_HOMES = {
    "Bounds": "bounds",
    "Draw": "rules",
    "GPTConfig": "config",
    "InitscopeError": "errors",
    "MeasurementError": "errors",
    "Options": "options",
    "Profile": "profile",
    "Rule": "rules",
    "Site": "rules",
    "Targets": "designing",
    "UsageError": "errors",
    "build": "construction",
    "compare": "sweep",
    "design": "designing",
    "get_rule": "rules",
    "identify": "identifying",
    "inspect": "own",
    "judge": "judging",
    "load": "store",
    "predict": "theory",
    "rule": "rules",
    "watch": "training",
}


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*__all__, "__version__"])


# Hidden from type checkers: they would take any misspelt name for one that is served here.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name's module and keep what it holds."""
        if name == "__version__":
            value = _version()
        elif name in _HOMES:
            value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def _version() -> str:
    """Return the installed version; a checkout on the path, never installed, has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:
        return "0+unknown"
