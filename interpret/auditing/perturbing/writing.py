"""How a text is written, its words staying what they are: case, punctuation, spaces, width, simplified or traditional.

Each is a function of (text, rng). Letter case, width and the two ways of writing Chinese can be taken back: what
changes a character and cannot be told from another one afterwards is left alone.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

from numpy.random import Generator

from interpret.auditing.perturbing.characters import TO_SIMPLIFIED, TO_TRADITIONAL
from interpret.auditing.perturbing.scripts import is_han, script_of
from interpret.models.words import word_spans

#: Share of the gaps between words at which something is put; at least one of a text.
RATE: Final = 0.1
_SHIFT: Final = 0xFEE0
_FINAL: Final = ".。!！?？…"
#: Corpora write "is n't"; a comma inside it would be no typing habit.
_SHORT: Final = ("n't", "n’t")
#: Unicode counts them as punctuation; to a reader they are words.
_SIGNS: Final = "%&@#*/\\"
_ADDRESS: Final = re.compile(r"[^\s\u3400-\u9fff]*(?:://|@|www\.)[^\s\u3400-\u9fff]*")


def upper_case(text: str, rng: Generator) -> str:
    """All letters are capitals; those that have none, or several (ß), stay."""
    return "".join(c.upper() if len(c.upper()) == 1 and c.upper().lower() == c else c for c in text)


def lower_case(text: str, rng: Generator) -> str:
    """No letter is a capital; those that have no small letter of their own stay."""
    return "".join(c.lower() if len(c.lower()) == 1 and c.lower().upper() == c else c for c in text)


def punctuation_removed(text: str, rng: Generator) -> str:
    """No punctuation mark stands alone; those inside words, numbers and addresses stay."""
    out = list(text)
    kept = {n for m in _ADDRESS.finditer(text) for n in range(m.start(), m.end())}
    for start, end in word_spans(text):
        # Marks that modify the sign go with it; an emoji is a symbol and no punctuation.
        mark = unicodedata.category(text[start])[0] == "P" and text[start] not in _SIGNS
        mark = mark and not any(c.isalnum() for c in text[start:end])
        # Corpora write "it 's": the apostrophe is part of the word after it.
        short = text[start] in "'’" and text[end : end + 1].isalpha()
        if mark and not short and start not in kept and not _inside_number(text, start, end):
            out[start:end] = [""] * (end - start)
    return "".join(out)


def punctuation_added(text: str, rng: Generator) -> str:
    """A comma stands after some words that nothing stood after; in Chinese some marks stand twice."""
    if script_of(text) == "han":
        marks = [n for n, c in enumerate(text) if c in "，。！？；、,!?;" and text[n + 1 : n + 2] != c]
        return _put(text, [n + 1 for n in marks], None, rng)
    places = [
        b
        for (_, b), (a, _) in pairwise(word_spans(text))
        if text[b - 1].isalnum() and text[b].isspace() and text[a].isalnum() and not text[a:].startswith(_SHORT)
    ]
    return _put(text, places, ",", rng)


def final_punctuation(text: str, rng: Generator) -> str:
    """The full stop at the end goes, or one comes where no mark is."""
    kept = text.rstrip()
    tail = text[len(kept) :]
    bare = kept.rstrip(_FINAL)
    if bare != kept:
        return bare.rstrip() + tail
    if not kept or not kept[-1].isalnum():
        return text
    return kept + ("。" if script_of(text) == "han" else ".") + tail


def whitespace(text: str, rng: Generator) -> str:
    """Some spaces are two; in Chinese some characters have one between them."""
    if script_of(text) == "han":
        places = [n for n in range(1, len(text)) if is_han(text[n - 1]) and is_han(text[n])]
    else:
        places = [n for n, c in enumerate(text) if c == " "]
    return _put(text, places, " ", rng)


def full_width(text: str, rng: Generator) -> str:
    """Letters, digits and marks of the Latin keyboard take the width of an ideograph: 5 becomes ５."""
    return "".join(chr(ord(c) + _SHIFT) if "!" <= c <= "~" else c for c in text)


def half_width(text: str, rng: Generator) -> str:
    """Letters, digits and marks as wide as an ideograph become those of the Latin keyboard: ， becomes ,."""
    return "".join(chr(ord(c) - _SHIFT) if "！" <= c <= "～" else c for c in text)


def traditional(text: str, rng: Generator) -> str:
    """Simplified characters of the list are written as traditional ones."""
    return "".join(TO_TRADITIONAL.get(c, c) for c in text)


def simplified(text: str, rng: Generator) -> str:
    """Traditional characters of the list are written as simplified ones."""
    return "".join(TO_SIMPLIFIED.get(c, c) for c in text)


def _inside_number(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return before.isdigit() and after.isdigit()


def _put(text: str, places: list[int], what: str | None, rng: Generator) -> str:
    """The text with `what` (None: the character before, again) at some places, at least one."""
    if not places:
        return text
    chosen = [p for p, low in zip(places, rng.random(len(places)) < RATE, strict=True) if low]
    for place in reversed(chosen or [places[int(rng.integers(len(places)))]]):
        text = text[:place] + (text[place - 1] if what is None else what) + text[place:]
    return text
