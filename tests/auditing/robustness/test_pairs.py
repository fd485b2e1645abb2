"""Pseudo-log-likelihoods against one plain forward after another, on tiny masked language models."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.identity import fingerprint
from interpret.auditing.robustness.pairs import pair_scores
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from tests.tiny import tiny

PAIRS = [
    ("she was happy and sad", "the cat was happy and sad"),
    ("not a good film, but the cat was happy", "not a bad film, but the cat was happy"),
    ("the film was good", "film was never good at all"),
    ("a very good day", "a very sad day"),
    ("good good good", "good bad good"),
    ("she ate", "cat ate"),
]


def brute_force(model: Any, tokenizer: Any, a: str, b: str) -> tuple[float, float, float | None]:
    """Masks one shared token at a time and asks the model each time anew, without batches, padding or cache."""
    ids = [tokenizer(text)["input_ids"] for text in (a, b)]
    matcher = difflib.SequenceMatcher(None, ids[0][1:-1], ids[1][1:-1], autojunk=False)
    scores = [0.0, 0.0]

    def log_probability(row: list[int], place: int, token: int) -> float:
        masked = [*row[:place], tokenizer.mask_token_id, *row[place + 1 :]]
        with torch.no_grad():
            logits = model(torch.tensor([masked])).logits[0, place]
        return float(torch.log_softmax(logits.double(), dim=0)[token])

    for tag, i, i_end, j, _ in matcher.get_opcodes():
        if tag == "equal":
            for k in range(i_end - i):
                scores[0] += log_probability(ids[0], i + k + 1, ids[0][i + k + 1])
                scores[1] += log_probability(ids[1], j + k + 1, ids[1][j + k + 1])
    changes = [op for op in matcher.get_opcodes() if op[0] != "equal"]
    odds = None
    if len(changes) == 1 and changes[0][2] - changes[0][1] == changes[0][4] - changes[0][3] == 1:
        place = changes[0][1] + 1
        odds = log_probability(ids[0], place, ids[0][place]) - log_probability(ids[0], place, ids[1][changes[0][3] + 1])
    return scores[0], scores[1], odds


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
def test_scores_are_those_of_plain_forwards(family: str) -> None:
    model, tokenizer = tiny(family, "masked-lm")
    handle = attach_handle(model, tokenizer, name="tiny")
    before = fingerprint(handle)
    found = pair_scores(handle, PAIRS)
    assert fingerprint(handle) == before
    assert len(found.pairs) == len(PAIRS)
    n_odds = 0
    for pair, (a, b) in zip(found.pairs, PAIRS, strict=True):
        first, second, odds = brute_force(model, tokenizer, a, b)
        assert (pair.score_first, pair.score_second) == pytest.approx((first, second), abs=1e-4)
        assert (pair.log_odds is None) == (odds is None)
        if odds is not None:
            n_odds += 1
            assert pair.log_odds == pytest.approx(odds, abs=1e-4)
    assert n_odds >= 2
    # The same the other way round.
    turned = pair_scores(handle, [(b, a) for a, b in PAIRS])
    for pair, back in zip(found.pairs, turned.pairs, strict=True):
        if pair.n_shared == back.n_shared:
            assert back.score_second == pytest.approx(pair.score_first, abs=1e-4)
            assert (back.log_odds or 0.0) == pytest.approx(-(pair.log_odds or 0.0), abs=1e-4)


def test_shares_intervals_and_categories() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"), name="tiny")
    names = ["x"] * 4 + ["y"] * 4
    pairs = [(f"the {w} was very good", f"a {w} was very good") for w in "film cat story day fish end dull red".split()]
    found = pair_scores(handle, pairs, names, first="the", second="a")
    whole, x, y = found.rows
    assert (whole.category, x.category, y.category) == (None, "x", "y")
    difference = np.array([p.score_first - p.score_second for p in found.pairs])
    assert whole.preferred == (difference > 0).mean()
    assert whole.difference == pytest.approx(difference.mean())
    t = stats.ttest_1samp(difference, 0.0).confidence_interval(0.95)
    assert (whole.difference_low, whole.difference_high) == pytest.approx((t.low, t.high))
    wilson = stats.binomtest(int((difference[:4] > 0).sum()), 4).proportion_ci(0.975, method="wilson")
    assert (x.preferred_low, x.preferred_high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert (x.n, y.n, x.difference_low) == (4, 4, None)
    assert found.to_frame()["n"].tolist() == [8, 4, 4]
    assert len(found.pair_frame()) == 8


def test_pairs_that_cannot_be_compared_are_counted_and_even_ones_are_no_preference() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"), name="tiny")
    found = pair_scores(handle, [("good day", "good day"), ("good", "bad"), ("the film", "the cat")])
    assert (len(found.pairs), found.n_left_out) == (1, 2)
    assert found.rows[0].n == 1
    nothing = pair_scores(handle, [])
    assert nothing.rows[0].preferred is None
    long = "the cat was happy and " * 30
    cut = pair_scores(handle, [(f"she {long}", f"cat {long}")])
    assert cut.n_truncated == 2


def test_a_shared_scheduler_runs_no_row_twice() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"), name="tiny")
    scheduler = Scheduler(handle)
    first = pair_scores(handle, PAIRS, scheduler=scheduler)
    n = scheduler.n_run
    assert pair_scores(handle, PAIRS, scheduler=scheduler) == first
    assert scheduler.n_run == n


def test_other_models_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="masked language models"):
        pair_scores(attach_handle(*tiny("bert"), name="tiny"), PAIRS)
    with pytest.raises(UsageError, match="1 categories were given for 6 pairs"):
        pair_scores(attach_handle(*tiny("bert", "masked-lm"), name="tiny"), PAIRS, ["x"])
