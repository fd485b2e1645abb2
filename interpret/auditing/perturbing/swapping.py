"""The same text about another group: every term of a list is put as another group has it.

    versions("He loves his wife.", terms)      # Versions(group="male", texts={"male": ..., "female": ...})

Only texts whose terms are all of one group are taken. In one that names both, an exchange would also change who does
what to whom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from interpret.auditing.perturbing.scripts import is_han, script_of
from interpret.auditing.perturbing.terms import TermList

#: Words that begin no noun phrase: after them "her" was "him", and "his" was "hers".
_NO_NOUN: Final = frozenset(
    (
        "about to for with in on at and or but that as by from is was were are be when if because up out off down into "
        "over again not so the a an how what who why this than then while where after before my your his her its our "
        "their"
    ).split()
)


class Versions(NamedTuple):
    """One text as it would be for each group; `group` is the one it is about, whose version is the text itself."""

    group: str
    texts: Mapping[str, str]


class _Found(NamedTuple):
    start: int
    end: int
    row: tuple[str, ...]
    group: int


def versions(text: str, terms: TermList) -> Versions | None:
    """The text for every group of the list, or None where it is about none of them or about several.

    The new word is written as the old one was: all capitals, a capital first, or small letters. "a" and "an" before it
    follow its sound by its first letter. Nothing else of the grammar is looked at.
    """
    if terms.script is not None and script_of(text) != terms.script:
        return None
    found = _find(text, terms)
    groups = {term.group for term in found}
    if len(groups) != 1:
        return None
    own = groups.pop()
    texts = {g: text if n == own else _written(text, found, n) for n, g in enumerate(terms.groups)}
    return Versions(terms.groups[own], texts)


def _find(text: str, terms: TermList) -> list[_Found]:
    pattern, where = _compiled(terms)
    held = [False] * (len(text) + 1)
    for word in terms.apart:
        for m in re.finditer(re.escape(word), text):
            held[m.start() : m.end()] = [True] * len(word)
    found = []
    for m in pattern.finditer(text):
        if held[m.start()]:
            continue
        row, group = where[m.group().casefold()]
        if terms.category == "gender" and m.group().casefold() in ("her", "his"):
            # "her film" is "his film", "with her" is "with him": what follows tells them apart, mostly.
            after = re.match(r" +([^\W\d_]+)", text[m.end() :])
            owns = after is not None and after.group(1).casefold() not in _NO_NOUN
            row = ("his", "her") if owns else ("him", "her") if group else ("his", "hers")
        found.append(_Found(m.start(), m.end(), row, group))
    return found


@lru_cache(maxsize=64)
def _compiled(terms: TermList) -> tuple[re.Pattern[str], Mapping[str, tuple[tuple[str, ...], int]]]:
    """All terms as one pattern, the longest first, and the row and group of each."""
    where: dict[str, tuple[tuple[str, ...], int]] = {}
    for row in terms.rows:
        for group, term in enumerate(row):
            where.setdefault(term.casefold(), (row, group))
    parts = [
        re.escape(term) if is_han(term[0]) else rf"(?<![\w-]){re.escape(term)}(?![\w-])"
        for term in sorted(where, key=lambda t: (-len(t), t))
    ]
    return re.compile("|".join(parts), re.IGNORECASE), where


def _written(text: str, found: list[_Found], group: int) -> str:
    out, end = [], 0
    for term in found:
        new = _like(text[term.start : term.end], term.row[group])
        before = text[end : term.start]
        article = re.search(r"(?<!\w)(an?) +$", before, re.IGNORECASE)
        if article is not None and not is_han(new[0]):
            # "a" may be a capital for standing first, so only the n is added or taken away.
            wanted = article.group(1)[0] + ("n" if new[0].lower() in "aeiou" else "")
            before = before[: article.start(1)] + wanted + before[article.end(1) :]
        out += [before, new]
        end = term.end
    return "".join(out) + text[end:]


def _like(old: str, new: str) -> str:
    if len(old) > 1 and old.isupper() and old.lower() != old.upper():
        return new.upper()
    if old.islower():
        return new.lower()
    return new[:1].upper() + new[1:]
