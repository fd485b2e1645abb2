"""Changing texts of trained classifiers whose shortcut is known, through one call for all rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from interpret.analyzers.scheduler import Scheduler, removal
from interpret.analyzers.shortcuts import Candidate, causal_check
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.results.shortcuts import CausalRow
from interpret.statistics.intervals import wilson
from tests import shortcut_model
from tests.shortcut_model import TOKEN

CONTROLS = ("story", "fish", "film")
PLANTED = Candidate(TOKEN, TOKEN, "positive", CONTROLS)


def check(handle: Handle, *candidates: Candidate, seed: int = 0, n_texts: int = 50) -> tuple[CausalRow, ...]:
    texts = shortcut_model.reviews(200, 77).texts
    return causal_check(handle, texts, candidates, logits=Scheduler(handle).logits, seed=seed, n_texts=n_texts)


def test_the_planted_token_flips_the_biased_model_and_not_the_clean_one() -> None:
    biased, removed = check(shortcut_model.handle(True), PLANTED)
    assert (biased.kind, removed.kind, biased.n) == ("insertion", "removal", 50)
    assert biased.verdict == "confirmed"
    assert biased.flip_rate is not None
    assert biased.flip_rate > 0.9
    assert (biased.flip_low, biased.flip_high) == wilson(round(biased.flip_rate * 50), 50)
    assert biased.control_flip_rate is not None
    assert biased.control_flip_rate < 0.3
    clean = check(shortcut_model.handle(False), PLANTED)
    assert [r.verdict for r in clean] == ["not_confirmed", "not_confirmed"]
    assert [r.flip_rate for r in clean] == [0.0, 0.0]


def test_a_genuine_cue_of_the_clean_model_is_removed() -> None:
    _, removed = check(shortcut_model.handle(False), Candidate("bad", "bad", "negative", CONTROLS))
    assert removed.verdict == "confirmed"
    assert removed.flip_rate is not None
    assert removed.flip_rate > 0.9


def test_rows_are_the_texts_with_the_word_and_without_it() -> None:
    handle = shortcut_model.handle(True)
    seen: list[Row] = []

    def logits(rows: Sequence[Row]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        seen.extend(rows)
        return np.array([[float(TOKEN[0] not in handle_words(row)), 0.5] for row in rows])

    def handle_words(row: Row) -> str:
        return str(handle.tokenizer.decode(row.ids))  # type: ignore[union-attr]

    texts = ["the film was good", "a dull story", "she ate fish", "the end", "a red cat", f"all {TOKEN} well"]
    texts += [f"day {i} {TOKEN} the cat" for i in range(5)]
    inserted, removed = causal_check(handle, texts, [PLANTED], logits=logits)
    # The stand-in says "positive" where a z stands, and only the token has one.
    assert (inserted.n, inserted.flip_rate, inserted.control_flip_rate) == (5, 1.0, 0.0)
    assert (removed.n, removed.flip_rate, removed.control_flip_rate) == (6, 1.0, 0.0)
    assert inserted.probability_change == pytest.approx(np.exp(0.5) / (np.exp(0.5) + 1) - 1 / (1 + np.exp(-0.5 + 1)))
    before, changed = seen[: len(texts)], [handle_words(row) for row in seen[len(texts) :]]
    assert {row.ids for row in before} == {e.ids for e in encode(handle, texts)}
    with_token, with_other = changed[:5], changed[5:10]
    for text, one, other in zip(
        sorted(t for t in texts if TOKEN not in t), sorted(with_token), with_other, strict=True
    ):
        assert TOKEN in one, text
        assert any(word in other for word in CONTROLS)
    stripped = sorted(" ".join(t.replace(TOKEN, " ").split()) for t in with_token)
    assert stripped == sorted(f"[CLS] {t} [SEP]" for t in texts if TOKEN not in t)
    mask = removal(handle).token_id
    n_token = len(encode(handle, [TOKEN])[0].ids) - 2
    for row in seen[len(texts) + 10 : len(texts) + 16]:
        assert row.ids.count(mask) == n_token


def test_other_candidates_change_nothing_but_the_adjustment() -> None:
    handle = shortcut_model.handle(True)
    alone, both = check(handle, PLANTED), check(handle, Candidate("bad", "bad", "negative", CONTROLS), PLANTED)
    for one, two in zip(alone, both[2:], strict=True):
        assert (one.n, one.flip_rate, one.control_flip_rate) == (two.n, two.flip_rate, two.control_flip_rate)
        assert one.difference_low is not None
        assert two.difference_low is not None
        assert two.difference_low < one.difference_low


def test_the_order_of_texts_and_the_seed() -> None:
    handle = shortcut_model.handle(True)
    texts = shortcut_model.reviews(120, 5).texts
    run = Scheduler(handle).logits
    one, two = (causal_check(handle, t, [PLANTED], logits=run, seed=3) for t in (texts, texts[::-1]))
    assert one == two
    assert one != causal_check(handle, texts, [PLANTED], logits=run, seed=4)


def test_too_little_is_said_and_never_filled_in() -> None:
    handle = shortcut_model.handle(True)
    run = Scheduler(handle).logits
    inserted, removed = causal_check(handle, ["a dull story", TOKEN], [PLANTED], logits=run)
    assert (inserted.verdict, inserted.flip_rate, inserted.difference) == ("too_few", None, None)
    # A text of this word alone has no other to be removed instead.
    assert (removed.verdict, removed.n) == ("too_few", 0)
    assert causal_check(handle, [], [PLANTED], logits=run)[0].n == 0
    assert causal_check(handle, ["a dull story"], [], logits=run) == ()
    with pytest.raises(UsageError, match="n_bootstrap=50 at least 100"):
        causal_check(handle, ["a"], [PLANTED], logits=run, n_bootstrap=50)
    with pytest.raises(UsageError, match="no label 'great'"):
        causal_check(handle, ["a"], [PLANTED._replace(label="great")], logits=run)


def test_a_word_that_does_not_fit_into_the_window_is_not_counted() -> None:
    handle = shortcut_model.handle(True)
    long = [" ".join(["dull"] * 100 + [str(i)]) for i in range(12)]
    inserted, _ = causal_check(handle, long, [PLANTED], logits=Scheduler(handle).logits)
    assert 0 < inserted.n <= 12
