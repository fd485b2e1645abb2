"""What people mistype: letters of English words, and Chinese characters that an input method offers side by side.

Each is a function of (text, rng) that returns the text with some words changed, or as it is where no word could be.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final, TypeVar

from numpy.random import Generator

from interpret.auditing.perturbing.characters import HOMOPHONES
from interpret.models.words import word_spans

T = TypeVar("T")

#: Share of the words (or characters) that could be mistyped and are; at least one of a text.
RATE: Final = 0.1
#: Words shorter than this are left alone: "is" with a letter less is another word, not a typing error.
SHORTEST: Final = 4

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
#: The keys beside each key of a QWERTY keyboard, in its own row.
BESIDE: Final[dict[str, str]] = {
    key: row[max(0, n - 1) : n] + row[n + 1 : n + 2] for row in _ROWS for n, key in enumerate(row)
}
SOUNDS_LIKE: Final[dict[str, str]] = {c: group.replace(c, "") for group in HOMOPHONES for c in group}


def adjacent_key(text: str, rng: Generator) -> str:
    """A letter after the first becomes that of a key beside it: film, fulm."""

    def change(word: str) -> str:
        at = int(rng.integers(1, len(word)))
        key = str(rng.choice(list(BESIDE[word[at].lower()])))
        return word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]

    return _some_words(text, rng, change)


def transposition(text: str, rng: Generator) -> str:
    """Two letters after the first change places: film, fiml; letters that are the same do not."""

    def change(word: str) -> str:
        places = [n for n in range(1, len(word) - 1) if word[n] != word[n + 1]]
        if not places:
            return word
        at = int(rng.choice(places))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return _some_words(text, rng, change)


def dropped_letter(text: str, rng: Generator) -> str:
    """A letter after the first is missing: film, flm."""

    def change(word: str) -> str:
        at = int(rng.integers(1, len(word)))
        return word[:at] + word[at + 1 :]

    return _some_words(text, rng, change)


def homophones(text: str, rng: Generator) -> str:
    """Some characters become others of the same sound and tone: 在 becomes 再."""
    places = [n for n, c in enumerate(text) if c in SOUNDS_LIKE]
    out = list(text)
    for n in _drawn(places, rng):
        out[n] = str(rng.choice(list(SOUNDS_LIKE[text[n]])))
    return "".join(out)


def _some_words(text: str, rng: Generator, change: Callable[[str], str]) -> str:
    """The text with `RATE` of its longer words changed; addresses, names with @ or #, and accents stay."""
    spans = [(a, b) for a, b in word_spans(text) if _is_plain(text, a, b)]
    out, end = [], 0
    for a, b in _drawn(spans, rng):
        out += [text[end:a], change(text[a:b])]
        end = b
    return "".join(out) + text[end:]


def _drawn(places: list[T], rng: Generator) -> list[T]:
    if not places:
        return []
    chosen = (rng.random(len(places)) < RATE).nonzero()[0].tolist()
    if not chosen:
        chosen = [int(rng.integers(len(places)))]
    return [places[n] for n in chosen]


def _is_plain(text: str, start: int, end: int) -> bool:
    word = text[start:end]
    if len(word) < SHORTEST or not (word.isascii() and word.isalpha()):
        return False
    if text[end : end + 1] and unicodedata.combining(text[end]):
        return False
    # Up to the spaces around it: an address is one word to whoever types it.
    left = text[:start].split()[-1] if text[:start] and not text[start - 1].isspace() else ""
    right = text[end:].split()[0] if text[end:] and not text[end].isspace() else ""
    return not any(mark in left + right for mark in "@#/\\<>")
