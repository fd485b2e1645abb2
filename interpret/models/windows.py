"""A text that is longer than the model reads at once, as windows that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interpret.errors import UsageError
from interpret.models.words import Span

#: Tokens that neighbouring windows share at most by default, as in transformers' question-answering pipeline.
DOC_STRIDE: Final = 128


@dataclass(frozen=True)
class Windows:
    """Which tokens of a text each window reads.

    Attributes:
        size: tokens in a window at most, special ones included.
        stride: tokens of the text that neighbouring windows share.
        bounds: [start, end) of the run of tokens that the window moved to; the last may be shorter than the others.
        positions: all tokens of each window in order: that run, and what every window reads (special tokens, the
            question before a context).
        from_end: whether they were laid from the end of the text, so that the last one is full. What is written next
            is read off that one alone.
    """

    size: int
    stride: int
    bounds: tuple[tuple[int, int], ...]
    positions: tuple[tuple[int, ...], ...]
    from_end: bool = False

    def leaving(self, n: int) -> Windows:
        """Windows over the same text that leave room for `n` more tokens each; laid from the end as these are.

        Raises:
            UsageError: a window would then hold nothing of the text.
        """
        first, last = self.bounds[0][0], self.bounds[-1][1]
        head = tuple(p for p in self.positions[0] if p < first)
        tail = tuple(p for p in self.positions[0] if p >= last)
        room = self.size - n - len(head) - len(tail)
        if room < 1:
            raise UsageError(
                f"a response of {n} tokens leaves no room for the text in a window of {self.size} tokens, of which "
                f"every one reads {len(head) + len(tail)} special tokens; give a shorter response (or max_new_tokens): "
                "a token of it hangs on nothing that stands behind it, so what follows it can be left out"
            )
        stride = min(self.stride, room - 1)
        bounds = _from_end(first, last, room, stride)
        positions = tuple((*head, *range(start, end), *tail) for start, end in bounds)
        return Windows(self.size - n, stride, bounds, positions, True)


def windows_over(
    special: Sequence[bool],
    spans: Sequence[Span],
    second: int | None,
    size: int,
    stride: int | None,
    *,
    from_end: bool = False,
) -> Windows:
    """Windows of `size` tokens over a text, of a pair over its second text, from the first token on.

    Each begins `stride` tokens before the end of the one before; the last ends with the text. They are those that a
    tokenizer makes with `return_overflowing_tokens`, truncating on the right (of a pair `"only_second"`); with
    `from_end` those that it makes truncating on the left, in text order.

    Args:
        special: of all tokens of the whole text.
        spans: [start, end) of their characters.
        second: where the second of a pair begins.
        size: tokens that the model reads at once.
        stride: tokens that neighbouring windows share; None takes half a window, and at most 128.
        from_end: the last window is full and the first may be shorter, instead of the other way round.

    Raises:
        UsageError: no room beside what every window reads, or a stride that does not fit it.
    """
    n = len(special)
    moving = [p for p in range(n) if not special[p] and (second is None or spans[p][0] >= second)]
    first, last = (moving[0], moving[-1] + 1) if moving else (n, n)
    room = size - (n - (last - first))
    if room < 1:
        raise UsageError(
            f"a window of {size} tokens has no room beside the {size - room} special tokens and tokens of the first "
            "text that every window reads; shorten the first text"
        )
    shared = min(DOC_STRIDE, room // 2) if stride is None else stride
    if not 0 <= shared < room:
        raise UsageError(
            f"doc_stride is {shared}, and a window of {size} tokens holds {room} of the text; neighbouring windows "
            f"can share 0 to {room - 1} of them"
        )
    starts = range(first, max(first + 1, last - shared), room - shared)
    bounds = tuple((start, min(start + room, last)) for start in starts)
    if from_end:
        bounds = _from_end(first, last, room, shared)
    head, tail = range(first), range(last, n)
    return Windows(size, shared, bounds, tuple((*head, *range(start, end), *tail) for start, end in bounds), from_end)


def _from_end(first: int, last: int, room: int, shared: int) -> tuple[tuple[int, int], ...]:
    ends = range(last, min(last - 1, first + shared), shared - room)
    return tuple((max(first, end - room), end) for end in reversed(ends))
