"""What is told of nanoGPT's initialisation, beside what its code does and what is measured.

``python -m initscope.folklore`` prints the table in docs/folklore.md.

    >>> from initscope.folklore import CLAIMS
    >>> CLAIMS[0].text
    'The residual projections are multiplied by 0.02.'
"""

from __future__ import annotations

from initscope.folklore.claims import CLAIMS, Claim, Row, folklore_report
from initscope.folklore.measured import Answer, Truth

__all__ = ["CLAIMS", "Answer", "Claim", "Row", "Truth", "folklore_report"]
