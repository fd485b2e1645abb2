"""What the model reads of a text: the text itself, or of one that is too long every window that holds what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from interpret.errors import UsageError
from interpret.models.inputs import Encoded, within


class Part(NamedTuple):
    """What is read at once, and which tokens of the whole text it is made of."""

    positions: tuple[int, ...]
    encoded: Encoded


def parts_of(encoded: Encoded, places: Sequence[int] = ()) -> list[Part]:
    """The windows that hold all of `places`, in text order; a text without windows is its own only part.

    Raises:
        UsageError: no window holds them all.
    """
    if encoded.windows is None:
        return [Part(tuple(range(len(encoded.ids))), encoded)]
    found = [
        Part(positions, within(encoded, positions))
        for positions in encoded.windows.positions
        if set(places) <= set(positions)
    ]
    if not found:
        start, end = encoded.char_spans[min(places)][0], encoded.char_spans[max(places)][1]
        raise UsageError(
            f"{encoded.text[start:end]!r:.60} stands whole in none of the {len(encoded.windows.positions)} windows of "
            f"its text, which share {encoded.windows.stride} tokens; give a larger doc_stride, or a part of it"
        )
    return found
