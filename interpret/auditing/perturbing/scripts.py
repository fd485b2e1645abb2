"""Which writing a text is in: decides which perturbations mean anything for it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

Script = Literal["latin", "han", "other"]

#: Kana beyond this share of kana and ideographs together make a text Japanese, for which nothing here was made.
_KANA_SHARE: Final = 0.1
_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA: Final = re.compile("[\u3041-\u30ff]")
_LETTERS: Final = re.compile(r"[^\W\d_]+")


def is_han(character: str) -> bool:
    """Whether the character is a Chinese one."""
    return _HAN.fullmatch(character) is not None


def script_of(text: str) -> Script:
    """The script of most of a text's words; an ideograph counts as one word, a run of other letters as one.

    `other` is what has neither (Cyrillic, kana, digits only), and a text with as many words of one as of the other.
    """
    han = len(_HAN.findall(text))
    kana = len(_KANA.findall(text))
    if kana > _KANA_SHARE * (han + kana):
        return "other"
    latin = other = 0
    for run in _LETTERS.findall(_HAN.sub(" ", text)):
        if all(unicodedata.name(c, "").startswith("LATIN") or unicodedata.category(c) == "Lm" for c in run):
            latin += 1
        else:
            other += 1
    if han > max(latin, other):
        return "han"
    return "latin" if latin > max(han, other) else "other"
