"""What the model reads of a text: the text itself, or of one that is too long every window that holds what is asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from interpret.errors import UsageError
from interpret.models.inputs import Encoded, within
from interpret.models.words import Span, word_spans


class Part(NamedTuple):
    """What is read at once, and which tokens of the whole text it is made of."""

    positions: tuple[int, ...]
    encoded: Encoded


def parts_of(encoded: Encoded, places: Sequence[int] = (), better: Sequence[int] = ()) -> list[Part]:
    """The windows that hold all of `places`, in text order; a text without windows is its own only part.

    Where some of them hold all of `better` too, only those. Of windows that were laid from the end of the text, off
    which something is read, only the last.

    Raises:
        UsageError: no window holds them all.
    """
    if encoded.windows is None:
        return [Part(tuple(range(len(encoded.ids))), encoded)]
    every = encoded.windows.positions[-1:] if encoded.windows.from_end else encoded.windows.positions
    found = [positions for positions in every if set(places) <= set(positions)]
    if not found:
        start, end = encoded.char_spans[min(places)][0], encoded.char_spans[max(places)][1]
        raise UsageError(
            f"{encoded.text[start:end]!r:.60} stands whole in none of the {len(encoded.windows.positions)} windows of "
            f"its text, which share {encoded.windows.stride} tokens; give a larger doc_stride, or a part of it"
        )
    found = [positions for positions in found if set(better) <= set(positions)] or found
    return [Part(positions, within(encoded, positions)) for positions in found]


def word_around(encoded: Encoded, place: int) -> tuple[int, ...]:
    """The tokens that the end of a window should not cut off from one of them: its word, and the unit that it is in.

    The word is there whatever units were asked for; the unit is larger where the caller found the words, or gave spans.
    """
    first, last = place, place
    spans = _words(encoded.text)
    at = bisect_right(spans, (encoded.char_spans[place][0], len(encoded.text))) - 1
    start, end = spans[at] if at >= 0 else (0, 0)
    unit = encoded.word_index[place]

    def inside(p: int) -> bool:
        if encoded.special[p]:
            return False
        return start <= encoded.char_spans[p][0] < end or encoded.word_index[p] == unit

    while first > 0 and inside(first - 1):
        first -= 1
    while last + 1 < len(encoded.ids) and inside(last + 1):
        last += 1
    return tuple(range(first, last + 1))


@lru_cache(maxsize=2)
def _words(text: str) -> list[Span]:
    """Remembered, since every word of a text may be explained."""
    return word_spans(text)
