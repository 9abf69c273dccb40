"""From a checkpoint's parameter names to sites, whoever wrote the model; without torch.

>>> layout = read_names({"h.0.attn.c_attn.weight": (96, 32), "wte.weight": (64, 32)})
>>> [(found.label, found.site.fan_out) for found in layout.parameters]
[('q', 32), ('k', 32), ('v', 32), ('wte', 64)]
"""

from __future__ import annotations

from initscope.naming.layout import HeadsFrom, Layout, Named, Part, Shape
from initscope.naming.reading import read_names

__all__ = ["HeadsFrom", "Layout", "Named", "Part", "Shape", "read_names"]
