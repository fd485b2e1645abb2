from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, f1_score

from interpret.analyzers.faithfulness import agreement, plausibility
from interpret.errors import UsageError
from interpret.results.explanations import Attribution, Plausibility, WindowsRead
from interpret.results.views import to_text

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


def read_in_part(found: Attribution, read: list[bool]) -> Attribution:
    """The same, of a text that was read in two windows of which one holds what is explained."""
    (example,) = found
    scores = np.where(read, example.scores, 0.0)
    n = len(read)
    windows = WindowsRead(
        size=n, stride=0, bounds=np.array([[0, n // 2], [n // 2, n]]), values=(None, 1.0),
        baseline_values=(None, 0.0), n_holding=np.array(read, dtype=np.int64), n_explained=1,
    )  # fmt: skip
    return replace(found, examples=(replace(example, scores=scores, windows=windows),))


LONG = "one two three four five six seven eight"
FIRST = [0.9, -0.4, 0.3, 0.8, -0.2, 0.1, 0.6, 0.5]


def test_words_that_were_not_read_are_no_part_of_plausibility() -> None:
    read = [False] * 3 + [True] * 5
    marks = [True, False, True, True, False, True, False, False]
    found = plausibility(read_in_part(attribution([LONG], [FIRST]), read), [marks])
    alone = plausibility(attribution([" ".join(LONG.split()[3:])], [FIRST[3:]]), [marks[3:]])
    assert found == replace(alone, n_partly_read=1)
    assert values(found)["auprc"] == pytest.approx(average_precision_score(marks[3:], FIRST[3:]))
    assert "did not read every word" in " ".join(to_text(found).split())
    # What was read of people's marks is nothing, so there is nothing to be like.
    none = plausibility(read_in_part(attribution([LONG], [FIRST]), read), [[True] + [False] * 7])
    assert none.n_without == 1
    # Words on both sides of what was not read are no neighbours: {0} and {4, 5} are half of {0, 1} and twice {4}.
    apart = read_in_part(
        attribution([LONG], [[0.9, 0.1, 0, 0, 0.8, 0.7, 0.2, 0.1]]), [True] * 2 + [False] * 2 + [True] * 4
    )
    assert values(plausibility(apart, [[1, 1, 0, 0, 1, 0, 0, 0]]))["iou_f1"] == pytest.approx(1.0)


def test_agreement_is_about_the_words_that_both_read() -> None:
    second = [0.1, 0.2, -0.5, 0.9, 0.3, 0.2, -0.7, 0.4]
    reads = [[False] * 2 + [True] * 6, [True] * 6 + [False] * 2]
    a, b = (
        read_in_part(attribution([LONG], [scores]), read) for scores, read in zip((FIRST, second), reads, strict=True)
    )
    expected = spearmanr(FIRST[2:6], second[2:6]).statistic
    assert agreement(a, b).value == pytest.approx(expected)
    assert agreement(b, a).value == pytest.approx(expected)
    # Also where the tokens of one are pieces of the words of the other.
    pieces = Attribution.from_scores(
        [LONG], [[LONG.split()[0][:1], LONG.split()[0][1:], *LONG.split()[1:]]], [[0.05, 0.05, *second[1:]]]
    )
    b = read_in_part(pieces, [reads[1][0], *reads[1]])
    assert agreement(a, b).value == pytest.approx(expected)
    assert agreement(b, a).value == pytest.approx(expected)
