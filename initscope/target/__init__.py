"""A user's model by one string: where its code is, and how it is built at any depth.

``package.module:factory``, ``path/to/model.py:Class`` or ``hf:NAME|DIR|config.json``. Code runs
only from where the user says it is.
"""

from __future__ import annotations

from initscope.target.factory import SYNONYMS, Factory
from initscope.target.hub import converted
from initscope.target.inputs import token_ids
from initscope.target.loading import load_factory, resolve

__all__ = ["SYNONYMS", "Factory", "converted", "load_factory", "resolve", "token_ids"]
