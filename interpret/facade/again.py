"""Our own explanations made again, as the battery asks for it."""

from __future__ import annotations

import inspect
from typing import Any, cast, get_args

from interpret.analyzers.attribution import METHODS, attribute
from interpret.analyzers.faithfulness import Again
from interpret.analyzers.scheduler import replacements
from interpret.analyzers.target import Target
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.units import Unit
from interpret.results.explanations import Attribution


def again(attribution: Attribution) -> Again:
    """The method of an attribution with the baseline it had, as a function of texts and targets."""
    recorded = attribution.options.get("baseline")
    names = _baselines(attribution.method)
    same = {"baseline": recorded} if names and recorded in (*names, "delete") else {}

    def explain(handle: Handle, encoded: list[Encoded], targets: list[Target], **options: Any) -> Attribution:
        # Without a scheduler of the caller's: it remembers outputs of the model as it was.
        return attribute(
            handle,
            encoded,
            target=targets,
            method=attribution.method,
            unit=cast(Unit, attribution.unit) if attribution.unit in get_args(Unit) else "word",
            **{**same, "seed": attribution.options.get("seed", 0), **options},
        )

    return explain


def other_baselines(handle: Handle, attribution: Attribution) -> tuple[str, ...]:
    """Up to two baselines that the method could have used instead; none where it takes none."""
    known = [name for name in replacements(handle) if name in _baselines(attribution.method)]
    return tuple(name for name in known if name != attribution.options.get("baseline"))[:2]


def _baselines(method: str) -> tuple[str, ...]:
    """Names a method takes as its baseline."""
    if "baseline" not in inspect.signature(METHODS[method].function).parameters:
        return ()
    return ("mask_token", "pad_token", "unk_token", "eos_token", "bos_token")
