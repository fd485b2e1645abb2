from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from interpret.analyzers.faithfulness import plausibility
from interpret.errors import UsageError
from interpret.results.explanations import Attribution, Plausibility

TEXTS = ["a dull film with good songs", "never bad", "she liked it very much indeed today"]
SCORES = [[0.1, 0.9, 0.2, 0.0, 0.5, 0.4], [0.3, 0.1], [0.0, 0.9, 0.1, 0.8, 0.7, 0.2, 0.3]]
MARKS = [[0, 1, 0, 0, 1, 1], [0, 1], [0, 1, 0, 0, 1, 1, 0]]


def attribution(texts: list[str] = TEXTS, scores: list[list[float]] = SCORES) -> Attribution:
    return Attribution.from_scores(texts, [t.split() for t in texts], scores)


def values(found: Plausibility) -> dict[str, float | None]:
    return {row.metric: row.value for row in found.rows}


def test_the_numbers_are_scikit_learns() -> None:
    found = values(plausibility(attribution(), MARKS))
    pairs = [(np.array(s), np.array(m)) for s, m in zip(SCORES, MARKS, strict=True)]
    assert found["auprc"] == pytest.approx(np.mean([average_precision_score(m, s) for s, m in pairs]))

    def f1_at(ks: list[int]) -> float:
        tops = [np.isin(np.arange(len(s)), np.argsort(-s)[:k]) for (s, _), k in zip(pairs, ks, strict=True)]
        return float(np.mean([f1_score(m, top) for (_, m), top in zip(pairs, tops, strict=True)]))

    assert found["token_f1"] == pytest.approx(f1_at([3, 1, 3]))
    # ERASER takes the mean length of all rationales: (3 + 1 + 3) / 3 = 2.33.
    assert found["token_f1_eraser"] == pytest.approx(f1_at([2, 2, 2]))


def test_iou_by_hand() -> None:
    # First text, top 3: {1}, {4, 5}, as marked: 1. Second: {0} against {1}: 0. Third: {1}, {3, 4} against
    # {1}, {4, 5}: {3, 4} and {4, 5} share 1 of 3, so precision and recall are 1/2.
    assert values(plausibility(attribution(), MARKS))["iou_f1"] == pytest.approx((1 + 0 + 0.5) / 3)


def test_spans_word_masks_and_token_masks_are_one() -> None:
    spans = [[(2, 7), (17, 27)], [(6, 9)], [(4, 9), (18, 29)]]
    arrays = [np.array(line) for line in spans]
    as_masks = plausibility(attribution(), MARKS)
    # "very much indeed": the span of the third text covers "much" and part of "indeed".
    assert plausibility(attribution(), spans) == as_masks == plausibility(attribution(), arrays)
    pieces = Attribution.from_scores(
        TEXTS[:1], [["[CLS]", "a", "du", "##ll", "film", "with", "good", "songs", "[SEP]"]],
        [[0.0, 0.1, 0.5, 0.4, 0.2, 0.0, 0.5, 0.4, 0.0]],
    )  # fmt: skip
    assert len(pieces[0].words()) == 6
    tokens = [[False, False, False, True, False, False, True, True, False]]
    assert plausibility(pieces, tokens) == plausibility(attribution(TEXTS[:1], SCORES[:1]), MARKS[:1])


def test_marks_themselves_are_perfect_and_shuffled_scores_stand_beside() -> None:
    rng = np.random.default_rng(0)
    marks = [(rng.permutation(12) < 3).tolist() for _ in range(40)]
    texts = [" ".join("abcdefghijkl")] * 40
    perfect = plausibility(attribution(texts, [[float(m) for m in line] for line in marks]), marks)
    assert values(perfect) == {"auprc": 1.0, "token_f1": 1.0, "token_f1_eraser": 1.0, "iou_f1": 1.0}
    random = plausibility(attribution(texts, [rng.normal(size=12).tolist() for _ in marks]), marks)
    assert random.base_rate == pytest.approx(0.25)
    for row in random.rows:
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.random_mean is not None
        assert row.ci_low <= row.random_mean <= row.ci_high
    # Of k words drawn from 12 a share of k / 12 is marked.
    assert random.rows[1].random_mean == pytest.approx(0.25, abs=0.03)


def test_texts_in_which_nothing_is_marked_do_not_count(tmp_path: Any) -> None:
    marks = [MARKS[0], [], [0] * 7]
    found = plausibility(attribution(), marks)
    assert (found.rows[0].n, found.n_without) == (1, 2)
    assert found.rows[0].ci_low is None
    nothing = plausibility(attribution(), [[], [], []])
    assert nothing.base_rate is nothing.rows[0].value is None
    assert Plausibility.load(found.save(tmp_path)) == found
    assert list(found.to_frame().columns) == "metric value ci_low ci_high random_mean n".split()


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ([[(0, 100)], [], []], "of a text of 27"),
        ([[(3, 3)], [], []], "start < end"),
        ([[1, 0, 1, 0], [], []], "6 words and 6 tokens"),
        ([["good"], [], []], "neither"),
        ([[(0, 1), (2,)], [], []], "neither"),
        ([MARKS[0]], "1 entries for 3 texts"),
    ],
)
def test_wrong_rationales_are_refused(marks: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plausibility(attribution(), marks)
