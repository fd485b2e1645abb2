"""Evidence for or against an explanation, whoever made it: faithfulness, completeness, agreement, randomisation."""

from __future__ import annotations

from interpret.analyzers.faithfulness.agreement import Completeness, agreement, completeness
from interpret.analyzers.faithfulness.measure import FRACTIONS, measure, quality_auto, with_quality
from interpret.analyzers.faithfulness.randomisation import Explain, randomisation

__all__ = [
    "FRACTIONS",
    "Completeness",
    "Explain",
    "agreement",
    "completeness",
    "measure",
    "quality_auto",
    "randomisation",
    "with_quality",
]
