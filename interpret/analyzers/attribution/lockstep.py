"""Functions that ask for values one call at a time, run side by side so that many texts' calls become one batch.

    found = side_by_side([play, play, ...], answer, seed=0)

A library such as shap calls a function with a few masks and waits for their values. Each play here runs in a
thread of its own up to its next call; when all have called or ended, `answer` is given every call at once, and
they go on with what it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import numpy as np

from interpret.results.explanations import BoolArray, FloatArray

T = TypeVar("T")

#: Takes masks `[row, feature]`, returns their values `[row]`.
Game = Callable[[BoolArray], FloatArray]

#: Plays under way at once: enough for full batches, few enough that their rows and threads weigh nothing.
AT_ONCE: Final = 64


def side_by_side(
    plays: Sequence[Callable[[Game], T]],
    answer: Callable[[list[tuple[int, BoolArray]]], Sequence[FloatArray]],
    *,
    seed: int,
    at_once: int = AT_ONCE,
) -> list[T]:
    """What each play returns, in their order.

    Only one thread runs at any time, and every play draws from a stream of numpy's global random numbers of
    its own, seeded alike: a play returns the same alone and in company, whatever the order of the threads.

    Args:
        plays: functions of the game they ask.
        answer: given (number of the play, its masks) of all that wait, in order of the plays, it returns their
            values; it runs in the caller's thread.
        seed: of numpy's global random numbers, as each play finds them.
        at_once: the most plays under way.

    Raises:
        Whatever a play or `answer` raises; no thread is left behind.
    """
    players = [_Player(play, seed) for play in plays]
    waiting = list(enumerate(players))
    running: list[tuple[int, _Player[T]]] = []
    try:
        while waiting or running:
            entering, waiting = waiting[: at_once - len(running)], waiting[at_once - len(running) :]
            for _, player in entering:
                player.start()
            running = [(number, player) for number, player in [*running, *entering] if not player.ended]
            calls = [(number, player.masks) for number, player in running]
            values = answer(calls) if calls else []
            for (_, player), found in zip(running, values, strict=True):
                player.go_on(found)
            running = [(number, player) for number, player in running if not player.ended]
    finally:
        for player in players:
            player.stop()
    return [player.result for player in players]


class _Stopped(BaseException):
    """Unwinds a play that will get no answer; no library catches it as one of its own errors."""


class _Player(Generic[T]):
    """One play and its thread. The caller's thread and this one take turns, never both."""

    masks: BoolArray
    result: T

    def __init__(self, play: Callable[[Game], T], seed: int) -> None:
        self.ended = False
        self._play = play
        self._random: Any = np.random.RandomState(seed).get_state()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._values: FloatArray | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Run up to the first call."""
        self._hand_over(self._thread.start)

    def go_on(self, values: FloatArray) -> None:
        """Run up to the next call with the answer to the last."""
        self._values = values
        self._hand_over(self._turn.release)

    def stop(self) -> None:
        """Unwind what still waits, and wait for the thread to end."""
        if self._thread.ident is not None:
            self._values = None
            self._turn.release()
            self._thread.join()

    def _hand_over(self, wake: Callable[[], Any]) -> None:
        outside = np.random.get_state()
        np.random.set_state(self._random)
        try:
            wake()
            self._back.acquire()
        finally:
            self._random = np.random.get_state()
            np.random.set_state(outside)
        if self._error is not None:
            raise self._error

    def _ask(self, masks: BoolArray) -> FloatArray:
        self.masks = masks
        self._back.release()
        self._turn.acquire()
        if self._values is None:
            raise _Stopped
        values, self._values = self._values, None
        return values

    def _run(self) -> None:
        try:
            self.result = self._play(self._ask)
        except _Stopped:
            pass
        except BaseException as err:
            self._error = err
        finally:
            self.ended = True
            self._back.release()
