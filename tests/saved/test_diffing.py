"""Two saved audits: planted regressions are named, equals raise no alarm, and other data are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from interpret.auditing.answers import content_digests, digests_of
from interpret.errors import InconclusiveError, UsageError
from interpret.results.audits import Audit
from interpret.results.diffs import AuditDiff, Change, CheckChange
from interpret.results.examples import Answers
from interpret.saved.diffing import compare_audits, judge_change
from reports.diffs import diff_text
from tests.reports import sample, sample_diff
from tests.reports.sample_diff import N, answers, criterion, draws


def named(rows: tuple[Change | CheckChange, ...]) -> list[str]:
    return [row.check if isinstance(row, CheckChange) else row.slice or row.quantity for row in rows]


def with_table(audit: Audit, **changes: object) -> Audit:
    assert audit.examples is not None
    return replace(audit, examples=replace(audit.examples, **changes))


def part(audit: Audit, numbers: np.ndarray, *, gold: np.ndarray | None = None) -> Audit:
    """The audit of some of its examples."""
    table = audit.examples
    assert table is not None
    assert table.gold is not None
    place = {int(n): i for i, n in enumerate(numbers)}
    explained = [(place[int(e)], i) for i, e in enumerate(table.explained) if int(e) in place]
    quality = audit.explanation_quality
    assert quality is not None
    main = quality.methods[0]
    per_example = tuple(main.faithfulness.per_example[i] for _, i in sorted(explained))
    main = replace(main, faithfulness=replace(main.faithfulness, per_example=per_example))
    small = Answers(
        pairing=table.pairing,
        content=table.content[numbers],
        rows=table.rows[numbers],
        predicted=table.predicted[numbers],
        confidence=table.confidence[numbers],
        gold=table.gold[numbers] if gold is None else gold,
        gold_probability=None,
        slices=table.slices,
        slice_index=table.slice_index[numbers],
        explained=np.array(sorted(e for e, _ in explained), dtype=np.int64),
    )
    return replace(audit, examples=small, explanation_quality=replace(quality, methods=(main, *quality.methods[1:])))


def test_three_planted_regressions_are_named_in_saved_audits(tmp_path: Path) -> None:
    old, new = sample_diff.pair(planted=True)
    saved = [Audit.load(audit.save(tmp_path / audit.title)) for audit in (old, new)]
    found = compare_audits(*saved)
    assert named(found.regressions) == ["expected_calibration_error", "negated", "faithfulness"]
    assert found.exit_code == 1
    # The other slices won what that one lost: an average would have hidden both.
    assert named(found.improvements) == ["names", "plain"]
    accuracy = found.changes[0]
    assert (accuracy.quantity, accuracy.verdict) == ("accuracy", "inconclusive")
    assert {change.name for change in found.identity} == {"weights_sha256_before"}


def test_the_same_audit_twice_has_nothing_to_report(tmp_path: Path) -> None:
    old, new = sample_diff.pair(planted=False)
    found = compare_audits(Audit.load(old.save(tmp_path / "o")), Audit.load(new.save(tmp_path / "n")))
    assert found.exit_code == 0
    assert (found.regressions, found.improvements, found.checks, found.identity) == ((), (), (), ())
    assert {change.verdict for change in found.changes} == {"unchanged"}
    assert (found.n_common, found.forced, found.p_value) == (N, False, 1.0)
    assert found.changed_predictions.value == 0.0


def test_comparisons_of_equals_raise_no_more_alarms_than_stated() -> None:
    """200 pairs of models that are equally good and err on other examples: at most 16 alarms at 5%."""
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        confidence = 0.6 + 0.39 * rng.random(150)
        tables, gains = [], []
        hard = rng.random(150)
        for _ in range(2):
            noise = np.where(rng.random(150) < 0.5, rng.random(150), hard)
            tables.append(answers(noise < confidence, np.clip(confidence + 0.02 * rng.standard_normal(150), 0.5, 1)))
            gains.append(0.2 + 0.1 * rng.standard_normal(len(tables[-1].explained)))
        found = compare_audits(*(_bare(*one) for one in zip(tables, gains, strict=True)))
        assert len(found.changes) == 6
        alarms += bool(found.regressions)
    assert alarms <= 16
    assert alarms > 0, "an interval that is never wrong is too wide, or nothing was compared"


def _bare(table: Answers, gains: np.ndarray) -> Audit:
    whole = sample.full()
    quality = whole.explanation_quality
    assert quality is not None
    return replace(
        whole, examples=table, explanation_quality=replace(quality, methods=(sample_diff.quality_of(gains),))
    )


def test_the_numbers_are_those_of_other_implementations() -> None:
    rng = np.random.default_rng(3)
    was, confidence, gains = draws(3)
    now = np.where(rng.random(N) < 0.2, ~was, was)
    found = compare_audits(_bare(answers(was, confidence), gains), _bare(answers(now, confidence), gains))
    accuracy = found.changes[0]
    table = np.array([[(was & now).sum(), (was & ~now).sum()], [(~was & now).sum(), (~was & ~now).sum()]])
    assert (found.only_old_right, found.only_new_right) == (table[0, 1], table[1, 0])
    # McNemar's exact test is the sign test on the discordant pairs.
    expected = stats.binomtest(int(table[0, 1]), int(table[0, 1] + table[1, 0]), 0.5).pvalue
    assert found.p_value == pytest.approx(expected)
    difference = now.astype(float) - was
    assert accuracy.difference.value == pytest.approx(difference.mean())
    boot = stats.bootstrap((difference,), np.mean, confidence_level=accuracy.level, n_resamples=20_000, rng=1)
    assert accuracy.difference.ci_low == pytest.approx(boot.confidence_interval.low, abs=0.006)
    assert accuracy.difference.ci_high == pytest.approx(boot.confidence_interval.high, abs=0.006)
    # Three quantities and three slices: each family is adjusted by itself.
    assert {round(c.level, 6) for c in found.changes} == {round(1 - 0.05 / 3, 6)}
    names = [c for c in found.changes if c.slice == "names"]
    inside = np.arange(N) % 3 == 0
    k = int((was & ~now & inside).sum()), int((now & ~was & inside).sum())
    assert names[0].p_value == pytest.approx(min(1.0, 3 * stats.binomtest(k[0], sum(k)).pvalue))


def test_few_discordant_examples_decide_nothing() -> None:
    """Four lost and none won: resampling would already exclude zero, the exact test does not (p = 0.125)."""
    correct = np.ones(100, dtype=bool)
    lost = correct.copy()
    lost[[0, 3, 6, 9]] = False
    flat = np.full(100, 0.9)
    found = compare_audits(_bare(answers(correct, flat), np.zeros(0)), _bare(answers(lost, flat), np.zeros(0)))
    assert found.p_value == 0.125
    assert found.changes[0].verdict == "inconclusive"
    assert found.changes[0].difference.interval == "agresti_min"


def test_examples_are_matched_whatever_their_order_and_duplicates_one_by_one() -> None:
    correct, confidence, gains = draws(5)
    texts = tuple(f"text {i // 2}" for i in range(N))
    gold = np.zeros(N, dtype=np.int64)
    old = _bare(answers(correct, confidence, texts=texts, gold=gold), gains)
    order = np.random.default_rng(0).permutation(N)
    new = part(old, order)
    found = compare_audits(old, new)
    assert found.n_common == N
    assert not found.forced
    assert old.examples is not None
    # The k-th of equal texts is matched with the k-th; which of two equals is which cannot be known.
    assert found.changes[0].difference.value == 0.0


def test_of_equal_texts_those_with_the_same_label_are_matched() -> None:
    correct, confidence, gains = draws(6)
    texts = tuple(f"text {i // 4}" for i in range(N))
    old = _bare(answers(correct, confidence, texts=texts, gold=np.arange(N) % 2), gains)
    new = part(old, np.arange(N)[::-1])
    assert compare_audits(old, new).n_relabelled == 0
    odd = part(old, np.arange(1, N, 2))
    found = compare_audits(old, odd, force=True)
    assert (found.n_common, found.n_relabelled) == (N // 2, 0)


def test_other_data_are_refused_with_the_number_in_common_unless_forced() -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    new = part(old, np.arange(80, N))
    with pytest.raises(UsageError, match=r"400 examples are in common, out of 480 in the old audit .* 400 in the new"):
        compare_audits(old, new)
    found = compare_audits(old, new, force=True)
    assert (found.n_common, found.forced) == (400, True)
    assert {c.verdict for c in found.changes} == {"unchanged"}

    assert old.examples is not None
    assert old.examples.gold is not None
    flipped = old.examples.gold.copy()
    flipped[:10] = 1 - flipped[:10]
    relabelled = part(old, np.arange(N), gold=flipped)
    with pytest.raises(UsageError, match="480 examples are in common, 10 of them with another label"):
        compare_audits(old, relabelled)
    found = compare_audits(old, relabelled, force=True)
    assert (found.n_common, found.n_relabelled) == (470, 10)
    assert found.changes[0].verdict == "unchanged"

    with pytest.raises(InconclusiveError, match="3 examples with the same label in common"):
        compare_audits(old, part(old, np.arange(3)), force=True)


def test_other_slices_are_taken_from_the_new_audit_and_counted() -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    assert old.examples is not None
    new = with_table(old, slice_index=np.where(np.arange(N) < 30, -1, old.examples.slice_index))
    found = compare_audits(old, new)
    assert found.n_resliced == 30
    assert sum(c.difference.n for c in found.changes if c.slice) == N - 30
    none = with_table(old, slices=(), slice_index=np.full(N, -1))
    assert {c.slice for c in compare_audits(old, none).changes} == {None, *sample_diff.SLICES}


def test_renamed_classes_are_the_same_classes_when_the_labels_of_the_data_say_so() -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    renamed = replace(
        old,
        identity=replace(old.identity, labels=("LABEL_0", "LABEL_1")),
        data=replace(old.data, mapping=replace(old.data.mapping, rule="given")),
    )
    found = compare_audits(old, renamed)
    assert found.changed_predictions.value == 0.0
    assert {"labels"} == {change.name for change in found.identity}
    # Turned round, every answer is another one although every index is the same.
    pairs = {"negative": 1, "positive": 0}
    turned = replace(renamed, data=replace(old.data, mapping=replace(old.data.mapping, pairs=pairs)))
    with pytest.raises(UsageError, match="480 of them with another label"):
        compare_audits(old, turned)


def test_without_labels_answers_are_compared_and_the_rest_is_said() -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    new = with_table(old, gold=None, gold_probability=None)
    found = compare_audits(old, new)
    assert [c.quantity for c in found.changes] == ["faithfulness"]
    assert [note.code for note in found.notes] == ["diff.no_labels"]
    bare = replace(new, explanation_quality=None)
    assert [n.code for n in compare_audits(old, bare).notes] == ["diff.no_labels", "diff.no_explanations"]


def test_explanations_measured_in_another_way_are_not_compared() -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    quality = old.explanation_quality
    assert quality is not None
    main = quality.methods[0]
    rows = tuple(replace(row, operator="eos_token") for row in main.faithfulness.rows)
    other = replace(main, faithfulness=replace(main.faithfulness, rows=rows))
    found = compare_audits(old, replace(old, explanation_quality=replace(quality, methods=(other,))))
    assert "faithfulness" not in {c.quantity for c in found.changes}
    assert [n.code for n in found.notes] == ["diff.other_operator"]


@pytest.mark.parametrize(
    ("was", "now", "verdict"),
    [
        (criterion("pass", 0.9), criterion("fail", 0.7), "regression"),
        (criterion("fail", 0.7), criterion("pass", 0.9), "improvement"),
        (criterion("inconclusive", 0.8), criterion("fail", 0.7), "inconclusive"),
        (criterion("pass", 0.9), replace(criterion("fail", 0.9), threshold=0.95), "inconclusive"),
        (
            replace(criterion("pass", 0.9), kind="finding"),
            replace(criterion("fail", 0.7), kind="finding"),
            "inconclusive",
        ),
        (
            replace(criterion("pass", 0.0), kind="integrity"),
            replace(criterion("fail", 1.0), kind="integrity"),
            "regression",
        ),
    ],
)
def test_a_check_is_a_regression_if_it_was_met_and_is_missed_at_the_same_bar(was, now, verdict: str) -> None:  # type: ignore[no-untyped-def]
    old, new = sample_diff.pair(planted=False)
    found = compare_audits(replace(old, check_rows=(was,)), replace(new, check_rows=(now,)))
    assert [row.verdict for row in found.checks] == [verdict]
    assert found.exit_code == (verdict == "regression")


def test_a_criterion_that_is_gone_is_shown() -> None:
    old, new = sample_diff.pair(planted=False)
    found = compare_audits(replace(old, check_rows=(criterion("pass", 0.9),)), replace(new, check_rows=()))
    assert (found.checks[0].old_verdict, found.checks[0].new_verdict) == ("pass", None)


def test_the_wrong_side_depends_on_what_is_better() -> None:
    assert judge_change(0.01, 0.1, "higher", same=False) == "improvement"
    assert judge_change(0.01, 0.1, "lower", same=False) == "regression"
    assert judge_change(-0.1, -0.01, "higher", same=False) == "regression"
    assert judge_change(-0.1, 0.0, "higher", same=False) == "inconclusive"
    assert judge_change(None, None, "higher", same=False) == "not_measured"


def test_audits_without_the_table_say_what_to_do() -> None:
    old, new = sample_diff.pair(planted=False)
    with pytest.raises(UsageError, match=r"the old audit .* saved by an older version; run that audit again"):
        compare_audits(replace(old, examples=None), new)


def test_keyed_digests_cannot_be_guessed_and_match_samples_of_one_file() -> None:
    file = [f"review {i}" for i in range(50)] + ["Good."]
    plain, keyed = (digests_of(["Good."], file, kind) for kind in ("plain", "keyed"))
    assert np.array_equal(plain, content_digests(["Good."], None))
    # Whoever guesses the text and knows nearly the whole file still cannot confirm it.
    assert not np.array_equal(keyed, digests_of(["Good."], file[1:], "keyed"))
    assert not np.array_equal(keyed, plain)
    assert np.array_equal(keyed, digests_of(["Good."], file[::-1], "keyed"))

    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    assert old.examples is not None
    texts = [f"text {i}" for i in range(N)]
    one, other = (with_table(old, pairing="keyed", content=digests_of(texts, f, "keyed")) for f in (texts, texts[1:]))
    assert compare_audits(one, one).n_common == N
    with pytest.raises(UsageError, match=r"0 examples are in common.*keyed by the whole file"):
        compare_audits(one, other)
    with pytest.raises(UsageError, match="plain content digests and the new one keyed ones"):
        compare_audits(old, one)


def test_ten_thousand_examples_are_cheap(tmp_path: Path) -> None:
    n = 10_000
    rng = np.random.default_rng(0)
    table = answers(rng.random(n) < 0.8, 0.5 + 0.5 * rng.random(n))
    bare = replace(sample.full(), examples=None).save(tmp_path / "bare")
    whole = replace(sample.full(), examples=table).save(tmp_path / "whole")
    sizes = [sum(f.stat().st_size for f in folder.iterdir()) for folder in (bare, whole)]
    assert sizes[1] - sizes[0] <= 1_000_000


def test_a_damaged_table_is_refused() -> None:
    correct, confidence, _ = draws()
    table = answers(correct, confidence)
    for changes, said in (
        ({"content": table.content[:, :8]}, "content has shape"),
        ({"confidence": table.confidence[1:]}, "confidence has shape"),
        ({"confidence": table.confidence + 1}, "no probability"),
        ({"slice_index": table.slice_index + 1}, "outside of the 3 slices"),
        ({"explained": np.array([4, 4])}, "ascending"),
        ({"explained": np.array([N])}, "ascending"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(table, **changes)


def test_frames_and_round_trip(tmp_path: Path) -> None:
    found = compare_audits(*sample_diff.pair(planted=True))
    columns = "quantity slice old new difference ci_low ci_high level n p_value verdict".split()
    assert list(found.to_frame().columns) == columns
    again = AuditDiff.load(found.save(tmp_path))
    assert again == found
    old, _ = sample_diff.pair(planted=False)
    assert old.examples is not None
    frame = old.examples.to_frame()
    assert list(frame.columns) == "row content predicted confidence gold gold_probability correct slice".split()
    assert frame.correct.mean() == pytest.approx(old.examples.correct.mean())  # type: ignore[union-attr]


@pytest.mark.parametrize(("n", "code"), [(5, 4), (19, 4), (60, 0)])
def test_too_few_in_common_cannot_be_told_also_with_force(n: int, code: int) -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(correct, confidence), gains)
    found = compare_audits(old, part(old, np.arange(n)), force=True)
    assert found.regressions == ()
    assert found.exit_code == code
    for locale, words, none in (("en", "cannot be told", "✓ none"), ("zh", "无法判断", "✓ 无")):
        shown = diff_text(found, locale, brief=True)
        assert (words in shown, none in shown) == (code == 4, code == 0)


def test_a_loss_that_could_be_told_from_chance_is_one() -> None:
    correct, confidence, gains = draws()
    old = _bare(answers(np.ones_like(correct), confidence), gains)
    few = part(old, np.arange(12))
    least = compare_audits(few, few).least_loss
    assert old.examples is not None
    assert few.examples is not None
    for lost, verdict in ((least - 1, "inconclusive"), (least, "regression")):
        predicted = few.examples.predicted.copy()
        predicted[:lost] = 1 - predicted[:lost]
        worse = with_table(few, predicted=predicted)
        found = compare_audits(few, worse)
        assert found.changes[0].verdict == verdict
        # What was found for sure stays a regression among few examples too.
        assert found.exit_code == (1 if verdict == "regression" else 4)
