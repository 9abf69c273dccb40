"""``python -m initscope``."""

from __future__ import annotations

from initscope.cli import main

raise SystemExit(main())
