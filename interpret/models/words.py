"""Words by characters alone, so that every tokenizer and every method counts the same ones."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final, Literal

Span = tuple[int, int]

_Kind = Literal["space", "letter", "ideograph", "mark", "symbol"]

_IDEOGRAPHS: Final = (
    (0x3005, 0x3007),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2FA1F),
    (0x30000, 0x323AF),
)
_JOINER: Final = "\u200d"
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
#: Apostrophes and hyphens, which join letters on both sides: don't, well-known.
_INNER: Final = frozenset("'’-‐‑")


@lru_cache(maxsize=4096)
def _kind(character: str) -> _Kind:
    point = ord(character)
    category = unicodedata.category(character)
    if character.isspace():
        return "space"
    if any(first <= point <= last for first, last in _IDEOGRAPHS):
        return "ideograph"
    # Accents, vowel signs, variation selectors and direction marks belong to what stands before them.
    if category in ("Mn", "Mc", "Me", "Cf") or point in _SKIN_TONES:
        return "mark"
    if category[0] in "LN" or character == "_":
        return "letter"
    return "symbol"


def word_spans(text: str) -> list[Span]:
    """[start, end) of every word: all characters but spaces are in exactly one, in order.

    A word is a run of letters, digits and underscores with inner apostrophes and hyphens, or one ideograph,
    or one punctuation mark or symbol; accents, emoji joiners and the like stay with what they modify. Scripts
    written without spaces other than Chinese (Thai, kana) come out as whole runs.
    """
    spans: list[Span] = []
    start: int | None = None
    running: _Kind = "space"
    for position, character in enumerate(text):
        kind = _kind(character)
        if kind == "space":
            if start is not None:
                spans.append((start, position))
            start = None
            continue
        if start is not None and _joins(text, position, kind, running):
            # A mark in front takes on the kind of what it leads.
            running = kind if running == "mark" else running
            continue
        if start is not None:
            spans.append((start, position))
        start, running = position, kind
    if start is not None:
        spans.append((start, len(text)))
    return spans


def _joins(text: str, position: int, kind: _Kind, running: _Kind) -> bool:
    """Whether the character continues the word that is running."""
    before = text[position - 1]
    if kind == "mark" or running == "mark" or before == _JOINER:
        return True
    if running != "letter":
        return False
    if kind == "letter":
        return True
    after = text[position + 1 : position + 2]
    return text[position] in _INNER and _kind(before) != "symbol" and after != "" and _kind(after) == "letter"
