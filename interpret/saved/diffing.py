"""Paired statistics on two saved audits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from interpret.results.audits import Audit
from interpret.results.diffs import AuditDiff, Better, Change, ChangeVerdict, Subject
from interpret.results.record import Estimate, Message
from interpret.saved.changes import check_changes, identity_changes
from interpret.saved.pairing import Pairs, Side, match, side
from interpret.statistics.calibration import expected_calibration_error, resampled_calibration_errors
from interpret.statistics.intervals import (
    MIN_BOOTSTRAP,
    bootstrap,
    expanded_tail,
    paired_proportions,
    resamples,
    wilson,
)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Below so many discordant examples resampling them understates how uncertain their difference is (with four lost and
#: none won the 95% interval already excludes zero, while the exact test gives p = 0.125).
MIN_DISCORDANT: Final = 10
#: A calibration error of fewer examples is mostly its own bias.
MIN_CALIBRATION: Final = 50
#: Resamples of means, whose tails are read far out when many slices are looked at; and of the calibration error.
N_MEANS: Final = 20_000
N_CALIBRATION: Final = 2_000
#: Resamples held in memory together.
_AT_ONCE: Final = 200


def compare_audits(old: Audit, new: Audit, *, force: bool = False, seed: int = 0) -> AuditDiff:
    """What changed from `old` to `new` on the examples that both hold.

    The family of the whole-data quantities and that of the slices are each adjusted (Bonferroni) so that at most 5% of
    comparisons of equals have any interval off zero in either family, and half of that on the wrong side.

    Args:
        old: the audit to compare with.
        new: the audit to judge.
        force: compare what is in common if the data differ, instead of refusing.
        seed: of the bootstraps.

    Raises:
        UsageError: the data differ and `force` is not given, or an audit holds no answers to single examples.
        InconclusiveError: fewer than five examples in common.
    """
    a, b = side(old, "old"), side(new, "new")
    pairs = match(a, b, force=force)
    n = len(pairs.old)
    notes = list(pairs.notes)
    changed = int((~pairs.same_class).sum())
    low, high = wilson(changed, n)
    rights = _rights(a, b, pairs)
    changes: list[Change] = []
    gains, note = _explained(a, b, pairs)
    if note is not None:
        notes.append(note)
    # Settled by what there is to compare, before any outcome is looked at.
    measured = (rights is not None) + (rights is not None and n >= MIN_CALIBRATION) + (gains is not None)
    level = 1 - 0.05 / max(1, measured)
    only_old = only_new = p_value = None
    if rights is not None:
        was, now = rights
        only_old, only_new = int((was & ~now).sum()), int((now & ~was).sum())
        p_value = _mcnemar(only_old, only_new)
        changes.append(_accuracy(None, was, now, level, (seed, 200), p_value))
        confidence = (a.answers.confidence[pairs.old], b.answers.confidence[pairs.new])
        changes.append(_calibration(confidence, rights, level, seed))
        changes += _slices(pairs.slices, was, now, seed)
    if gains is not None:
        changes.append(_faithfulness(*gains, level, seed))
    return AuditDiff(
        old=_subject(a),
        new=_subject(b),
        n_common=n,
        n_relabelled=pairs.n_relabelled,
        n_resliced=pairs.n_resliced,
        forced=pairs.forced,
        changes=tuple(changes),
        checks=check_changes(old, new),
        identity=identity_changes(old, new),
        changed_predictions=Estimate(
            name="changed_predictions", value=changed / n, ci_low=low, ci_high=high, n=n, interval="wilson"
        ),
        only_old_right=only_old,
        only_new_right=only_new,
        p_value=p_value,
        seed=seed,
        n_bootstrap=N_MEANS,
        notes=tuple(notes),
    )


def _subject(found: Side) -> Subject:
    audit = found.audit
    return Subject(
        title=audit.title,
        model=audit.identity.name,
        data=audit.data.name,
        n=len(found.answers),
        weights_sha256=audit.identity.weights_sha256_before,
        data_sha256=audit.data.sha256,
    )


def _rights(a: Side, b: Side, pairs: Pairs) -> tuple[BoolArray, BoolArray] | None:
    was, now = a.answers.correct, b.answers.correct
    return None if was is None or now is None else (was[pairs.old], now[pairs.new])


def _mcnemar(only_old: int, only_new: int) -> float:
    total = only_old + only_new
    return float(binomtest(only_new, total).pvalue) if total else 1.0


def judge_change(low: float | None, high: float | None, better: Better, *, same: bool) -> ChangeVerdict:
    """The verdict on a difference (new less old): decided only by a whole interval on one side of zero."""
    if low is None or high is None:
        return "not_measured"
    if same:
        return "unchanged"
    if low > 0:
        return "improvement" if better == "higher" else "regression"
    if high < 0:
        return "regression" if better == "higher" else "improvement"
    return "inconclusive"


def _too_few(name: str, n: int) -> Estimate:
    return Estimate(name=name, value=None, n=n, why=Message(code="estimate.too_few", params={"n": n}))


def _accuracy(
    name: str | None, was: BoolArray, now: BoolArray, level: float, seed: tuple[int, ...], p_value: float
) -> Change:
    n = len(was)
    old, new = float(was.mean()), float(now.mean())
    lost, gained = int((was & ~now).sum()), int((now & ~was).sum())
    if n < MIN_BOOTSTRAP:
        found = _too_few("accuracy", n)
    else:
        few = lost + gained < MIN_DISCORDANT
        if few:
            low, high = paired_proportions(gained, lost, n, level)
        else:
            # Resampling examples is a multinomial draw over lost, won and neither.
            shares = np.array([lost, gained, n - lost - gained]) / n
            drawn = np.random.default_rng(seed).multinomial(n, shares, size=N_MEANS)
            tail = expanded_tail(n, level)
            low, high = (float(q) for q in np.quantile((drawn[:, 1] - drawn[:, 0]) / n, [tail, 1 - tail]))
        found = Estimate(
            name="accuracy",
            value=(gained - lost) / n,
            ci_low=low,
            ci_high=high,
            n=n,
            interval="agresti_min" if few else "bootstrap",
        )
    return Change(
        quantity="accuracy",
        better="higher",
        slice=name,
        old=old,
        new=new,
        difference=found,
        level=level,
        verdict=judge_change(found.ci_low, found.ci_high, "higher", same=lost + gained == 0),
        p_value=p_value,
    )


def _slices(slices: Sequence[str | None], was: BoolArray, now: BoolArray, seed: int) -> list[Change]:
    names = sorted({name for name in slices if name})
    of = np.array([name or "" for name in slices])
    tested = sum(int((of == name).sum()) >= MIN_BOOTSTRAP for name in names)
    level = 1 - 0.05 / max(1, tested)
    out = []
    for number, name in enumerate(names):
        inside = of == name
        x, y = was[inside], now[inside]
        p_value = min(1.0, tested * _mcnemar(int((x & ~y).sum()), int((y & ~x).sum())))
        out.append(_accuracy(name, x, y, level, (seed, 210, number), p_value))
    return out


def _calibration(
    confidence: tuple[FloatArray, FloatArray], rights: tuple[BoolArray, BoolArray], level: float, seed: int
) -> Change:
    """Difference of calibration errors with a paired bootstrap interval.

    Resampling adds to both errors, and to the smaller one more. Reflection about the estimate takes that out and is
    too narrow on the other side, so the interval spans the percentiles and their reflection.
    """
    n = len(confidence[0])
    name = "expected_calibration_error"
    was, now = (right.astype(np.float64) for right in rights)
    same = bool(np.array_equal(confidence[0], confidence[1]) and np.array_equal(was, now))
    old = new = None
    found = _too_few(name, n)
    if n >= MIN_CALIBRATION:
        old = expected_calibration_error(confidence[0], was)
        new = expected_calibration_error(confidence[1], now)
        rng = np.random.default_rng((seed, 201))
        parts = []
        for _ in range(0, N_CALIBRATION, _AT_ONCE):
            drawn_rows = rng.integers(0, n, size=(_AT_ONCE, n)) + n * np.arange(_AT_ONCE)[:, None]
            counts = np.bincount(drawn_rows.ravel(), minlength=n * _AT_ONCE).reshape(_AT_ONCE, n)
            errors = [resampled_calibration_errors(c, r, counts) for c, r in zip(confidence, (was, now), strict=True)]
            parts.append(errors[1] - errors[0])
        drawn = np.concatenate(parts)
        tail = expanded_tail(n, level)
        low, high = (float(q) for q in np.quantile(drawn, [tail, 1 - tail]))
        value = new - old
        found = Estimate(
            name=name,
            value=value,
            ci_low=min(low, 2 * value - high),
            ci_high=max(high, 2 * value - low),
            n=n,
            interval="bootstrap",
        )
    return Change(
        quantity="expected_calibration_error",
        better="lower",
        slice=None,
        old=old,
        new=new,
        difference=found,
        level=level,
        verdict=judge_change(found.ci_low, found.ci_high, "lower", same=same),
    )


def _explained(a: Side, b: Side, pairs: Pairs) -> tuple[tuple[FloatArray, FloatArray] | None, Message | None]:
    """Gains over random words of the explanations that both audits measured, or why they cannot be compared."""
    old, new = _gains(a), _gains(b)
    if not old or not new:
        return None, Message(code="diff.no_explanations")
    if _operator(a.audit) != _operator(b.audit):
        params = {"old": str(_operator(a.audit)[0]), "new": str(_operator(b.audit)[0])}
        return None, Message(code="diff.other_operator", params=params)
    matched = zip(pairs.old.tolist(), pairs.new.tolist(), strict=True)
    both = [(old[i], new[j]) for i, j in matched if i in old and j in new]
    if len(both) < MIN_BOOTSTRAP:
        return None, Message(code="diff.few_explanations", params={"n": len(both), "needed": MIN_BOOTSTRAP})
    found = np.array(both)
    return (found[:, 0], found[:, 1]), None


def _gains(found: Side) -> dict[int, float]:
    """By number in the table: how much more the probability falls than for random words, of the main method."""
    quality = found.audit.explanation_quality
    if quality is None or not quality.methods:
        return {}
    per_example = quality.methods[0].faithfulness.per_example
    numbers = found.answers.explained.tolist()
    if len(per_example) != len(numbers):
        return {}
    return {
        number: one.comprehensiveness - one.random_comprehensiveness
        for number, one in zip(numbers, per_example, strict=True)
        if one is not None and one.percentile is not None
    }


def _operator(audit: Audit) -> tuple[str | None, str]:
    """How words were removed, and which shares of them: other ones give other numbers for the same explanation."""
    quality = audit.explanation_quality
    assert quality is not None  # `_gains` found explanations
    faithfulness = quality.methods[0].faithfulness
    rows = (row.operator for row in faithfulness.rows if row.metric == "aopc_comprehensiveness")
    return next(rows, None), faithfulness.variant


def _faithfulness(was: FloatArray, now: FloatArray, level: float, seed: int) -> Change:
    difference = now - was
    interval = bootstrap(difference, resamples(len(was), N_MEANS, (seed, 202)), level)
    found = Estimate(
        name="faithfulness",
        value=interval.mean,
        ci_low=interval.low,
        ci_high=interval.high,
        n=len(was),
        interval="bootstrap",
    )
    return Change(
        quantity="faithfulness",
        better="higher",
        slice=None,
        old=float(was.mean()),
        new=float(now.mean()),
        difference=found,
        level=level,
        verdict=judge_change(found.ci_low, found.ci_high, "higher", same=not difference.any()),
    )
