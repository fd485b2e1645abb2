"""Explanations before and after: on explanations written by hand, whose agreement is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from interpret.auditing.robustness.stability import TOP, Explained, shared_scores, stability_rows
from interpret.models.words import word_spans
from interpret.results.explanations import ExampleAttribution, TargetRecord


def explained(text: str, scores: list[float]) -> ExampleAttribution:
    spans = word_spans(text)
    n = len(spans)
    assert len(scores) == n
    return ExampleAttribution(
        text=text,
        tokens=tuple(text[a:b] for a, b in spans),
        token_ids=np.arange(n),
        scores=np.array(scores),
        word_index=np.arange(n),
        char_spans=np.array(spans),
        special=np.zeros(n, dtype=bool),
        target=TargetRecord(kind="class", index=0),
        method="by hand",
    )


def test_only_shared_words_count_whatever_their_case_and_place() -> None:
    a = explained("The film was really good", [1, 2, 3, 4, 5])
    b = explained("the FILM, was realy good", [10, 20, 99, 30, 98, 50])
    ours, theirs = shared_scores(a, b)
    assert ours.tolist() == [1, 2, 3, 5]
    assert theirs.tolist() == [10, 20, 30, 50]


def test_the_same_explanation_is_perfectly_stable_and_its_reverse_is_not() -> None:
    rng = np.random.default_rng(0)
    pairs, backwards = [], []
    for n in range(8):
        scores = rng.permutation(np.arange(1.0, 11.0)).tolist()
        text = " ".join(f"w{n}{k}" for k in range(10))
        pairs.append(Explained("typing", explained(text, scores), explained(text, [2 * s for s in scores])))
        backwards.append(Explained("case", explained(text, scores), explained(text, [11 - s for s in scores])))
    whole, kind = stability_rows(pairs)
    assert (whole.kind, kind.kind, whole.n) == (None, "typing", 8)
    assert whole.correlation.value == pytest.approx(1.0)
    assert whole.overlap.value == 1.0
    # The mean number of the first k of n words among k drawn at random is k / n (hypergeometric).
    expected = stats.hypergeom(10, TOP, TOP).mean() / TOP
    sd = stats.hypergeom(10, TOP, TOP).std() / TOP / (8 * 20) ** 0.5
    assert whole.random_overlap == pytest.approx(expected, abs=4 * sd)
    assert whole.gain.value == pytest.approx(1.0 - (whole.random_overlap or 0.0))
    assert whole.gain.ci_low is not None
    assert whole.gain.ci_low > 0.5
    row = stability_rows(backwards)[0]
    assert row.correlation.value == pytest.approx(-1.0)
    assert row.overlap.value == 0.0


def test_pairs_with_few_shared_words_do_not_count_and_few_pairs_get_no_row_of_their_own() -> None:
    short = explained("one two three", [1, 2, 3])
    assert stability_rows([Explained("case", short, short)] * 6) == ()
    long = explained("one two three four", [1, 2, 3, 4])
    rows = stability_rows([Explained("case", long, long)] * 4)
    assert [r.kind for r in rows] == [None]
    assert rows[0].correlation.ci_low is None
    assert stability_rows([]) == ()
    assert stability_rows([Explained("case", long, long)] * 6, seed=1) == stability_rows(
        [Explained("case", long, long)] * 6, seed=1
    )
