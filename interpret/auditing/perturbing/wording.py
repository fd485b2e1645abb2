"""Other words for the same (contractions), and for the opposite (negation).

Each is a function of (text, rng). A negation is put in, or taken out, at one place; what that does to the meaning of a
long text cannot be known here, which is why a prediction is *expected* to change and not required to.
"""

from __future__ import annotations

import re
from typing import Final

from numpy.random import Generator

_PAIRS: Final = {
    "is not": "isn't", "are not": "aren't", "was not": "wasn't", "were not": "weren't", "do not": "don't",
    "does not": "doesn't", "did not": "didn't", "have not": "haven't", "has not": "hasn't", "had not": "hadn't",
    "can not": "can't", "cannot": "can't", "could not": "couldn't", "would not": "wouldn't",
    "should not": "shouldn't", "will not": "won't", "must not": "mustn't", "it is": "it's", "that is": "that's",
    "there is": "there's", "what is": "what's", "i am": "i'm", "you are": "you're", "we are": "we're",
    "they are": "they're", "i have": "i've", "you have": "you've", "we have": "we've", "they have": "they've",
    "i will": "i'll", "you will": "you'll", "he will": "he'll", "she will": "she'll", "it will": "it'll",
    "we will": "we'll", "they will": "they'll", "let us": "let's",
}  # fmt: skip
_LONG: Final = {short: long for long, short in _PAIRS.items()}
#: After these an English "not" may stand; "be" and "have" as full verbs too.
_BEFORE_NOT: Final = "is are was were am be been has had do does did can could will would should might must may".split()
#: Before these a Chinese 不 may stand.
_AFTER_BU: Final = (
    "太 很 好 喜欢 推荐 新鲜 满意 值得 会 能 想 可以 方便 干净 热情 便宜 准时 及时 建议 够 快 行 算".split()
)
#: Words that hold a negating character and negate nothing, or would turn into something else without it.
_NO_NEGATION: Final = (
    "不错 不仅 不但 不管 不过 不断 不同 不如 不论 不愧 不禁 不止 不少 不久 不好意思 不得不 不一样 不可思议 不知不觉 "
    "差不多 对不起 要不 没想到 没事 没准 分别 特别 别人 个别 区别 别的 级别 性别 告别 差别"
).split()


def contracted(text: str, rng: Generator) -> str:
    """Do not becomes don't, it is becomes it's, wherever they stand."""
    return _replaced(text, _PAIRS)


def expanded(text: str, rng: Generator) -> str:
    """Don't becomes do not, it's becomes it is, wherever they stand."""
    return _replaced(text, _LONG)


def negation_inserted(text: str, rng: Generator) -> str:
    """A "not" after one auxiliary verb that has none, or a 不 before one Chinese word that can take it."""
    # A verb that is denied already, or asked ("is not", "isn't", "are you"), is left alone.
    english = [
        (m.end(), m.end(), _cased(" not", m.group(1)))
        for m in _words(_BEFORE_NOT).finditer(text)
        if re.match(r" (?!not\b|never\b|n['’]t\b)", text[m.end() :], re.IGNORECASE)
    ]
    held = _held(text)
    chinese = [
        (m.start(), m.start(), "不")
        for m in re.finditer("|".join(_AFTER_BU), text)
        if not held[m.start()] and text[max(0, m.start() - 1) : m.start()] not in tuple("不没太很好真最别")
    ]
    return _at_one(text, english + chinese, rng)


def negation_removed(text: str, rng: Generator) -> str:
    """One "not", "n't" or "never" is gone, or one 不, 没 or 别."""
    places: list[tuple[int, int, str]] = []
    for m in re.finditer(
        r"\b(ca|wo|[a-z]+?)( ?n['’]t)(?!\w)| (?:not|never)\b|^(?:not|never) |\bcannot\b", text, re.IGNORECASE
    ):
        whole = m.group().replace("’", "'").lower()
        joined = whole.replace(" ", "")
        if whole == "cannot":
            places.append((m.start() + 3, m.end(), ""))
        elif joined in ("can't", "won't"):
            places.append((m.start(), m.end(), _cased("can" if joined == "can't" else "will", m.group(1))))
        elif joined.endswith("n't") and joined in _LONG:
            places.append((m.start(2), m.end(), ""))
        elif whole.strip() in ("not", "never"):
            places.append((m.start(), m.end(), ""))
    held = _held(text)
    places += [(m.start(), m.end(), "") for m in re.finditer("没有|[不没]", text) if not held[m.start()]]
    return _at_one(text, sorted(places), rng)


def _replaced(text: str, table: dict[str, str]) -> str:
    def other(found: re.Match[str]) -> str:
        return _cased(table[_plain(found.group(), table)], found.group())

    return _words(sorted(table, key=len, reverse=True)).sub(other, text)


def _plain(found: str, table: dict[str, str]) -> str:
    """How the table writes it: a straight apostrophe, and no space before it (corpora write "is n't")."""
    key = found.lower().replace("’", "'")
    return key if key in table else key.replace(" ", "")


def _words(words: list[str] | tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, whole; a typographic apostrophe is one too, and a space may stand before the short part."""
    inner = "|".join(re.sub("n?'", lambda m: " ?" + m.group().replace("'", "['’]"), word) for word in words)
    return re.compile(rf"(?<![\w'’])({inner})(?![\w'’])", re.IGNORECASE)


def _cased(new: str, old: str) -> str:
    """`new` in the case of `old`: all capitals, a capital first, or as it is."""
    letters = [c for c in old if c.isalpha()]
    if len(letters) > 1 and all(c.isupper() for c in letters):
        return new.upper()
    return new[:1].upper() + new[1:] if letters and letters[0].isupper() else new


def _held(text: str) -> list[bool]:
    """Which characters are part of a word that only looks like a negation."""
    held = [False] * (len(text) + 1)
    for word in _NO_NEGATION:
        for m in re.finditer(word, text):
            held[m.start() : m.end()] = [True] * len(word)
    return held


def _at_one(text: str, places: list[tuple[int, int, str]], rng: Generator) -> str:
    """The text with one of the places [start, end) replaced, drawn at random."""
    if not places:
        return text
    start, end, new = places[int(rng.integers(len(places)))]
    return text[:start] + new + text[end:]
