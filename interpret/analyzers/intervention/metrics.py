"""One number of an output after a change, from the logits at the place that is read."""

from __future__ import annotations

from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import torch

from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.readout import log_shares
from interpret.results.interventions import EffectMetric

FloatArray = npt.NDArray[np.float64]
METRICS: Final[tuple[EffectMetric, ...]] = get_args(EffectMetric)

#: Tasks with logits at one place that are read as one choice.
TASKS: Final = ("text-classification", "token-classification", "masked-lm", "causal-lm")


def require(handle: Handle, what: str) -> None:
    """Refuse models that have no such place, or several stacks.

    Raises:
        UsageError: says which models there are for.
    """
    if handle.task not in TASKS or len(handle.stacks) > 1:
        several = ", and it has several stacks" if len(handle.stacks) > 1 else ""
        raise UsageError(
            f"{what} reads the logits at one place of a model with one stack of blocks ({', '.join(TASKS)}), but the "
            f"task of {handle.name} is {handle.task}{several}; its sites can be edited with interpret.Edit in capture()"
        )


def check_metric(handle: Handle, metric: str, target: Target | None = None) -> None:
    """Refuse a metric that is unknown, or means nothing for this model or target.

    Raises:
        UsageError: says which there are.
    """
    if metric not in METRICS:
        raise UsageError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    if target is not None and target.kind == "function":
        raise UsageError(
            f"the target is a function of the output, and {metric!r} is read off the logits of a label or token; name "
            "one, or two of them as target=(this, rather_than_that)"
        )
    if metric == "kl" and _independent(handle):
        raise UsageError(
            f"metric 'kl' compares distributions over classes, and the outputs of {handle.name} are independent of "
            "each other; take metric='logit' or 'probability'"
        )
    if metric == "logit_difference" and target is not None and target.foil_index is None:
        raise UsageError("metric 'logit_difference' needs two labels or tokens; give target=(this, rather_than_that)")


def _independent(handle: Handle) -> bool:
    return handle.task == "text-classification" and (
        len(handle.labels) == 1 or getattr(handle.config, "problem_type", None) == "multi_label_classification"
    )


def place_of(handle: Handle, target: Target, n_tokens: int) -> int | None:
    """The position that the target's logits stand at; None where a text has one row of them."""
    if handle.task == "text-classification":
        return None
    return n_tokens - 1 if handle.task == "causal-lm" else target.position


def measure(
    handle: Handle, metric: EffectMetric, target: Target, lines: FloatArray, reference: FloatArray
) -> FloatArray:
    """The metric of each row of logits.

    Args:
        handle: the model, for what its logits mean.
        metric: which number.
        target: of which label or token; of no account for "kl".
        lines: logits [row, label].
        reference: logits [label] that "kl" compares with: KL(reference || row), in nats.

    Returns:
        float64 [row]: logits, shares, or nats.
    """
    if metric in ("logit", "logit_difference"):
        return np.asarray(target.of(lines), dtype=np.float64)
    logs = log_shares(handle, torch.from_numpy(lines)).numpy()
    if metric == "kl":
        own = log_shares(handle, torch.from_numpy(reference[None])).numpy()[0]
        # Rounding leaves -1e-17 where both are the same.
        return np.asarray(np.maximum((np.exp(own) * (own - logs)).sum(-1), 0.0))
    chosen = logs[:, target.index]
    return np.asarray(np.exp(chosen) if metric == "probability" else chosen, dtype=np.float64)
