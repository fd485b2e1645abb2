"""Whether an answer is an accepted one, and how many of its words are: the metrics of SQuAD.

Reference: Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1. Where writing has no spaces every ideograph is a word,
as in the metrics of CMRC and MLQA, and punctuation is that of every script; on ASCII this is the published script.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(answer: str) -> list[str]:
    """The words of an answer: lower case, without punctuation and English articles; ideographs stand alone."""
    plain = "".join(c for c in answer.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    spaced = "".join(f" {c} " if _is_ideograph(c) else c for c in _ARTICLES.sub(" ", plain))
    return spaced.split()


def _is_ideograph(character: str) -> bool:
    return unicodedata.name(character, "").startswith(("CJK UNIFIED", "CJK COMPATIBILITY", "HIRAGANA", "KATAKANA"))


def exact(answer: str, accepted: Sequence[str]) -> bool:
    """Whether it is one of the accepted answers."""
    found = normalised(answer)
    return any(found == normalised(one) for one in accepted)


def f1(answer: str, accepted: Sequence[str]) -> float:
    """F1 of its words with those of the accepted answer that is nearest; 0 to 1."""
    return max(_f1(Counter(normalised(answer)), Counter(normalised(one))) for one in accepted)


def _f1(found: Counter[str], wanted: Counter[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    shared = (found & wanted).total()
    return 2 * shared / (found.total() + wanted.total())
