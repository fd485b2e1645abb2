"""Sentences by characters alone, in English and Chinese, so that every tokenizer and method counts the same ones."""

from __future__ import annotations

import re
from typing import Final

from interpret.models.words import Span

#: End marks that need no space after them.
_WIDE: Final = "。！？｡"
_NARROW: Final = ".!?"
_CLOSING: Final = "\"'”’»)]}）】》〉」』〕"
_QUOTES: Final = "\"'”’»」』"
_ELLIPSIS: Final = re.compile(r"\.{2,}|…+|(?:\. ){2,}\.")
_NEWLINES: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_ENDS: Final = re.compile(rf"[{_NEWLINES}]|(?:(?:\. )+\.|[{_NARROW}{_WIDE}…]+)[{re.escape(_CLOSING)}]*")
#: Characters looked at before an end mark: more than any abbreviation has.
_BACK: Final = 24
#: Letters and dots right before an end mark: "Mr", "e.g", "U.S".
_BEFORE: Final = re.compile(r"(?:[^\W\d_]+\.)*[^\W\d_]+$")

#: A full stop after these never ends a sentence.
_TITLES: Final = frozenset(
    "mr mrs ms dr prof sr st mt rev hon gov sen rep pres gen col lt sgt capt cmdr maj adm messrs mme mlle fr "
    "vs v e.g i.e cf viz ca approx no nos fig figs eq eqs sec ch vol vols pp p ed eds al art dept est "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
#: Of these, words in their own right unless a number follows.
_NUMBERED: Final = frozenset("no art fig mar sec ed".split())
#: After these it does before a capital, since they also stand at the end.
_EITHER: Final = frozenset("etc inc ltd co corp jr bros a.m p.m ph.d b.a m.a ave blvd rd".split())


def sentence_spans(text: str) -> list[Span]:
    """[start, end) of every sentence, without the spaces around it: all characters but spaces are in exactly one.

    A sentence ends at a line break, after 。！？, and after . ! ? before a space, a Chinese character or the end of
    the text; closing quotes and brackets stay with it. No end is the full stop of an abbreviation ("Mr.", "e.g.",
    "U.S."), of an initial ("J. Smith"), of a number at the start ("1. First"), an ellipsis before a small letter, or
    a quotation that a small letter follows. What holds no letter or digit goes to the sentence before it.
    """
    spans: list[Span] = []
    start = 0
    for end in [*_boundaries(text), len(text)]:
        piece = text[start:end]
        first, last = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        if first < last:
            bare = not any(character.isalnum() for character in text[first:last])
            opens = spans and not any(character.isalnum() for character in text[slice(*spans[-1])])
            if spans and (bare or opens):
                spans[-1] = (spans[-1][0], last)
            else:
                spans.append((first, last))
        start = end
    return spans


def _boundaries(text: str) -> list[int]:
    """Where a sentence ends, in order."""
    found: list[int] = []
    for match in _ENDS.finditer(text):
        if match.group() in _NEWLINES or _ends(text, match, found[-1] if found else 0):
            found.append(match.end())
    return found


def _ends(text: str, match: re.Match[str], start: int) -> bool:
    """Whether the end mark, with what closes after it, ends the sentence that began at `start`."""
    whole = match.group()
    mark = whole.rstrip(_CLOSING)
    after = text[match.end() :].lstrip(" \t\u3000\xa0")
    following = after.lstrip(_CLOSING + "“‘「『（([{«《")[:1]
    if any(character in _WIDE for character in mark):
        # "。" within a quotation that goes on: only a comma or another mark says so.
        return following not in ("，", "、", "；", ",", ";")
    adjacent = text[match.end() : match.end() + 1]
    if adjacent and not adjacent.isspace() and not _is_ideograph(adjacent):
        return False
    if _ELLIPSIS.fullmatch(mark):
        return not after or following.isupper() or following.isdigit()
    if whole[-1:] in _QUOTES and whole != mark and following.islower():
        return False
    if mark != ".":
        return True
    if _is_ideograph(adjacent) and not _is_ideograph(text[match.start() - 1 : match.start()]):
        return False
    before = text[max(start, match.start() - _BACK) : match.start()].lstrip()
    if before.isdigit():
        return False
    word = _BEFORE.search(before)
    return word is None or not _abbreviates(word.group(), following)


def _abbreviates(word: str, following: str) -> bool:
    """Whether a full stop after `word` belongs to it and ends nothing."""
    folded = word.casefold()
    if folded in _TITLES:
        return folded not in _NUMBERED or following.isdigit()
    if folded in _EITHER:
        return not following.isupper()
    if "." in word:
        return all(len(part) == 1 for part in word.split("."))
    return len(word) == 1 and word.isupper() and word != "I" and not _is_ideograph(word)


def _is_ideograph(character: str) -> bool:
    return bool(character) and "\u3400" <= character <= "\u9fff"
