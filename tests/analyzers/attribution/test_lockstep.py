from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from interpret.analyzers.attribution.lockstep import Game, side_by_side
from interpret.results.explanations import BoolArray, FloatArray


def _play(n_calls: int) -> Callable[[Game], tuple[float, float]]:
    def play(game: Game) -> tuple[float, float]:
        total = 0.0
        for _ in range(n_calls):
            total += float(game(np.ones((n_calls, 3), dtype=bool)).sum())
        return total, float(np.random.random())

    return play


def _answer(calls: list[tuple[int, BoolArray]]) -> list[FloatArray]:
    return [masks.sum(axis=1) * float(number + 1) for number, masks in calls]


@pytest.mark.parametrize("at_once", [1, 2, 3, 64])
def test_each_play_gets_its_own_answers_and_its_own_random_numbers(at_once: int) -> None:
    np.random.seed(9)
    before = np.random.get_state()[1].tolist()
    found = side_by_side([_play(n) for n in (2, 0, 5, 1)], _answer, seed=3, at_once=at_once)
    assert [total for total, _ in found] == [3.0 * (i + 1) * n * n for i, n in enumerate((2, 0, 5, 1))]
    # What a play draws does not hang on who plays beside it, and the caller's stream is as it was.
    assert {drawn for _, drawn in found} == {np.random.RandomState(3).random_sample()}
    assert np.random.get_state()[1].tolist() == before


def test_all_that_wait_are_answered_at_once() -> None:
    seen: list[list[int]] = []

    def answer(calls: list[tuple[int, BoolArray]]) -> list[FloatArray]:
        seen.append([number for number, _ in calls])
        return _answer(calls)

    side_by_side([_play(n) for n in (2, 3, 1)], answer, seed=0)
    assert seen == [[0, 1, 2], [0, 1], [1]]


def test_random_numbers_go_on_where_they_were_between_two_calls() -> None:
    def draws(game: Game) -> list[float]:
        found = []
        for _ in range(3):
            game(np.ones((1, 1), dtype=bool))
            found.append(float(np.random.random()))
        return found

    stream = np.random.RandomState(8)
    expected = [stream.random_sample() for _ in range(3)]
    assert side_by_side([draws, draws], _answer, seed=8) == [expected, expected]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_in_a_play_or_in_the_answer_leaves_no_thread(error: type[BaseException]) -> None:
    n_threads = threading.active_count()
    unwound: list[int] = []

    def failing(game: Game) -> float:
        game(np.ones((1, 1), dtype=bool))
        raise error("in a play")

    def patient(game: Game) -> float:
        try:
            while True:
                game(np.ones((1, 1), dtype=bool))
        finally:
            unwound.append(1)

    with pytest.raises(error, match="in a play"):
        side_by_side([patient, failing, patient], _answer, seed=0)
    assert threading.active_count() == n_threads
    assert unwound == [1, 1]

    def broken(calls: list[tuple[int, BoolArray]]) -> list[FloatArray]:
        raise error("in the model")

    np.random.seed(4)
    before = np.random.get_state()[1].tolist()
    with pytest.raises(error, match="in the model"):
        side_by_side([patient, patient], broken, seed=0)
    assert threading.active_count() == n_threads
    assert len(unwound) == 4
    assert np.random.get_state()[1].tolist() == before


def test_nothing_to_play_asks_nothing() -> None:
    assert side_by_side([], _answer, seed=0) == []
