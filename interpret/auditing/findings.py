"""What a reader must not miss, gathered from all sections; each finding rests on an interval or a corrected test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interpret.results.audits import Comparison, ExplanationQuality, Identity, Performance
from interpret.results.concepts import Concepts
from interpret.results.erasure import ErasureCondition
from interpret.results.record import Message, Scalar
from interpret.results.shortcuts import Shortcuts
from interpret.results.slices import Finding, FoundSlices

#: A slice that is at least so much worse is a grave finding; so is less at a smaller gap.
_GRAVE_GAP: Final = 0.1
#: A calibration error whose whole interval lies above this is worth saying.
_CALIBRATION: Final = 0.05
_ORDER: Final = {"high": 0, "medium": 1}


def gather(
    *,
    identity: Identity | None = None,
    performance: Performance | None = None,
    comparison: Comparison | None = None,
    slices: FoundSlices | None = None,
    shortcuts: Shortcuts | None = None,
    quality: ExplanationQuality | None = None,
    concepts: Concepts | None = None,
) -> tuple[Finding, ...]:
    """The findings, the grave ones first, each kind in the order of the report's sections."""
    found: list[Finding] = []
    if identity is not None and identity.weights_sha256_before != identity.weights_sha256_after:
        found.append(_high("identity", "model_changed"))
    if performance is not None:
        found += _of_performance(performance)
    if comparison is not None:
        found += _of_comparison(comparison)
    if performance is not None:
        found += _of_given_slices(performance)
    if slices is not None:
        found += _of_slices(slices)
    if shortcuts is not None:
        found += _of_shortcuts(shortcuts)
    if quality is not None and quality.methods and quality.methods[0].faithfulness.verdict == "not_better":
        found.append(_high("explanation_quality", "explanations_not_better", method=quality.methods[0].method))
    if concepts is not None:
        found += _of_concepts(concepts)
    return tuple(sorted(found, key=lambda one: _ORDER[one.severity]))


def _high(section: str, code: str, **params: Scalar) -> Finding:
    return Finding(severity="high", section=section, message=Message(code=f"finding.{code}", params=params))


def _medium(section: str, code: str, **params: Scalar) -> Finding:
    return Finding(severity="medium", section=section, message=Message(code=f"finding.{code}", params=params))


def _of_performance(performance: Performance) -> Iterator[Finding]:
    accuracy, majority = performance.accuracy, performance.majority_rate
    if accuracy is not None and accuracy.ci_high is not None and majority is not None and accuracy.ci_high < majority:
        yield _high("performance", "below_majority", value=accuracy.value, majority=majority)
    error = performance.calibration_error
    if error.ci_low is not None and error.ci_low > _CALIBRATION:
        yield _medium("performance", "calibration", value=error.value, low=error.ci_low, high=error.ci_high)


def _of_comparison(comparison: Comparison) -> Iterator[Finding]:
    if comparison.changed is False:
        yield _high("comparison", "same_as_base", base=comparison.base_name)
    if any((check.check, check.verdict) == ("right_base", "fail") for check in comparison.preflight):
        yield _high("comparison", "wrong_base", base=comparison.base_name)
    for row in comparison.rows:
        if row.name == "accuracy_difference" and row.slice is None and row.ci_high is not None and row.ci_high < 0:
            yield _high("comparison", "tuned_worse", value=row.value, low=row.ci_low, high=row.ci_high)


def _of_given_slices(performance: Performance) -> Iterator[Finding]:
    for row in performance.slices:
        if row.gap.ci_high is not None and row.gap.ci_high < 0 and row.gap.value is not None:
            params = _below(row.gap.value, row.gap.ci_low, row.gap.ci_high)
            make = _high if row.gap.value <= -_GRAVE_GAP else _medium
            yield make("slices", "slice_given", slice=row.name, value=row.accuracy.value, n=row.n, **params)


def _below(gap: float, low: float | None, high: float | None) -> dict[str, Scalar]:
    """As points below the rest, so that the ends of the interval change places."""
    ends = {"low": None if high is None else -100 * high, "high": None if low is None else -100 * low}
    return {"below": -100 * gap, **ends}


def _of_slices(slices: FoundSlices) -> Iterator[Finding]:
    for row in slices.worse:
        gap = row.gap.value or 0.0
        make = _high if gap <= -_GRAVE_GAP else _medium
        name = row.feature.code.removeprefix("slice_feature.")
        params = {**row.feature.params, **_below(gap, row.gap.ci_low, row.gap.ci_high)}
        yield make("slices", "slice", feature=name, value=row.accuracy.value, of=row.accuracy.n, **params)


def _of_concepts(concepts: Concepts) -> Iterator[Finding]:
    """Protected attributes that are known and used; known alone is what most models are."""
    for row in concepts.rows:
        used = [layer for layer in row.layers if layer.verdict == "available_used"]
        if row.protected and used:
            at = used[-1]
            conditions: tuple[ErasureCondition, ...] = ("erased", "random", "random_displaced")
            changed = {c: at.erasure.row("changed_predictions", c) for c in conditions}
            majority = at.erasure.row("majority", "original")
            yield _high(
                "probes",
                "protected_used",
                name=row.name,
                place=at.place,
                value=at.probe.value,
                majority=None if majority is None else majority.value,
                **{name: None if found is None else found.value for name, found in changed.items()},
            )


def _of_shortcuts(shortcuts: Shortcuts) -> Iterator[Finding]:
    confirmed = {(row.word, row.label) for row in shortcuts.confirmed}
    flips = {(row.word, row.label): row for row in shortcuts.causal if row.kind == "insertion"}
    for row in shortcuts.words.more_than_labels:
        key = (row.word, row.label)
        change = flips.get(key)
        if key in confirmed and change is not None and change.verdict == "confirmed":
            yield _high(
                "global_attribution",
                "shortcut",
                word=row.form,
                label=row.label,
                rate=change.flip_rate,
                low=change.flip_low,
                high=change.flip_high,
                n=change.n,
            )
        elif key in confirmed:
            yield _high("global_attribution", "shortcut_removed", word=row.form, label=row.label)
        else:
            yield _medium("global_attribution", "shortcut_not_confirmed", word=row.form, label=row.label)
