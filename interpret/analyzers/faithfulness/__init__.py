"""Evidence for or against an explanation, whoever made it: faithfulness, completeness, agreement, randomisation.

Plausibility, how far it resembles what people marked, stands here too, and is never mixed with the others.
"""

from __future__ import annotations

from interpret.analyzers.faithfulness.agreement import Completeness, agreement, completeness
from interpret.analyzers.faithfulness.battery import REMADE, Again, battery
from interpret.analyzers.faithfulness.limits import Limits, aopc_limits
from interpret.analyzers.faithfulness.measure import FRACTIONS, measure, quality_auto, with_quality
from interpret.analyzers.faithfulness.metrics import METRICS, Metric
from interpret.analyzers.faithfulness.plausibility import plausibility
from interpret.analyzers.faithfulness.randomisation import Explain, randomisation
from interpret.analyzers.faithfulness.stability import sensitivity_max

__all__ = [
    "FRACTIONS",
    "METRICS",
    "REMADE",
    "Again",
    "Completeness",
    "Explain",
    "Limits",
    "Metric",
    "agreement",
    "aopc_limits",
    "battery",
    "completeness",
    "measure",
    "plausibility",
    "quality_auto",
    "randomisation",
    "sensitivity_max",
    "with_quality",
]
