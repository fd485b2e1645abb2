"""Whether the numbers of a saved audit follow from the answers stored beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from interpret.results.audits import Audit, Performance
from interpret.results.examples import Answers
from interpret.results.record import Message
from interpret.results.store import CONFIG
from interpret.results.verification import Finding
from interpret.statistics.calibration import expected_calibration_error


def consistency_finding(audit: Audit, folder: Path) -> Finding:
    """Counts, shares, slices, calibration and cases against the table of answers, the settings against their file."""
    wrong = list(_config(audit, folder))
    if audit.examples is None:
        if not wrong:
            return Finding(part="numbers", status="skipped", why=Message(code="verify.no_answers"))
    else:
        wrong += [*_counts(audit, audit.examples), *_cases(audit, audit.examples)]
    if wrong:
        why = Message(code="verify.numbers_differ", params={"names": "\n".join(dict.fromkeys(wrong))})
        return Finding(part="numbers", status="differs", why=why)
    return Finding(part="numbers", status="holds", why=Message(code="verify.numbers_agree"))


def _config(audit: Audit, folder: Path) -> Iterator[str]:
    import yaml

    try:
        found = yaml.safe_load((folder / CONFIG).read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        found = None
    if (found or {}) != dict(audit.config):
        yield CONFIG


def _close(a: float | None, b: float) -> bool:
    return a is not None and math.isclose(a, b, rel_tol=0, abs_tol=1e-9)


def _counts(audit: Audit, table: Answers) -> Iterator[str]:
    if audit.data.n_used != len(table):
        yield "n_used"
    found = audit.performance
    if found is None or table.gold is None or table.correct is None:
        return
    k = len(found.confusion)
    confusion = np.zeros((k, k), dtype=np.int64)
    inside = (table.gold >= 0) & (table.gold < k) & (table.predicted >= 0) & (table.predicted < k)
    np.add.at(confusion, (table.gold[inside], table.predicted[inside]), 1)
    if not inside.all() or not np.array_equal(confusion, found.confusion):
        yield "confusion"
    accuracy = next((m.value for m in found.metrics if m.name == "accuracy"), None)
    if not _close(accuracy, float(table.correct.mean())):
        yield "accuracy"
    if not _close(found.majority_rate, float(np.bincount(table.gold[inside], minlength=k).max() / len(table))):
        yield "majority_rate"
    yield from _calibration_and_slices(found, table, table.correct.astype(np.float64))


def _calibration_and_slices(found: Performance, table: Answers, correct: np.ndarray) -> Iterator[str]:
    error = found.calibration_error.value
    if error is not None and not _close(error, expected_calibration_error(table.confidence, correct)):
        yield found.calibration_error.name
    if {row.name for row in found.slices} != set(table.slices):
        yield "slices"
        return
    for row in found.slices:
        inside = table.slice_index == table.slices.index(row.name)
        if row.n != int(inside.sum()) or not _close(row.accuracy.value, float(correct[inside].mean())):
            yield f"slice {row.name}"


def _cases(audit: Audit, table: Answers) -> Iterator[str]:
    place = {row: i for i, row in enumerate(table.rows.tolist())}
    for case in audit.cases:
        i = place.get(case.row)
        if i is None or not _close(case.confidence, float(table.confidence[i])):
            yield f"case {case.row}"
