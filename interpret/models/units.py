"""What gets one score: words, tokens, sentences, texts of a pair, messages of a chat, or spans that the user gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

from interpret.errors import UsageError
from interpret.models.sentences import sentence_spans
from interpret.models.words import Span, word_spans
from interpret.results.explanations import ChatPart

#: "span" stands for spans of characters, which are given themselves.
Unit = Literal["word", "token", "sentence", "segment", "message", "span"]
#: Of each text [start, end) of the units that the user wants scored, in text order.
UnitSpans = Sequence[Sequence[Span]]
#: A text to its words in order, such as `jieba.lcut`.
Segmenter = Callable[[str], Sequence[str]]


def indexed(
    text: str,
    spans: Sequence[Span],
    special: Sequence[bool],
    unit: Unit,
    *,
    second: int | None = None,
    chat: Sequence[ChatPart] = (),
    segmenter: Segmenter | None = None,
) -> list[int]:
    """The unit of each token, from 0 without gaps; -1 at special tokens.

    Args:
        text: the text that `spans` are offsets into.
        spans: of each token.
        special: which tokens belong to no unit.
        unit: what is counted; spans of the user's own are placed by `with_rest` instead.
        second: where the second of a pair begins; no unit reaches into it from the first.
        chat: where the contents of a chat stand; no unit reaches from one into another.
        segmenter: finds the words instead.

    Raises:
        UsageError: messages of what is no chat, segments of what is no pair; or the segmenter's words do not join to
            the text.
    """
    if unit == "message" and not chat:
        raise UsageError(
            f"unit is 'message', and {short(text)!r} is no chat; give a list of messages, or another unit such as "
            "'sentence'"
        )
    if unit == "segment" and second is None:
        given = "a chat" if chat else "a single text"
        raise UsageError(
            f"segments are the two texts of a pair, and {short(text)!r} is {given}; give pairs as tuples, or take "
            f"unit={'message' if chat else 'sentence'!r}"
        )
    if unit == "token":
        return _every_token(special)
    if chat:
        return _of_chat(text, spans, special, unit, chat, segmenter)
    if second is None:
        units = _spans_of(text, unit, segmenter)
    else:
        units = _spans_of(text[: second - 1], unit, segmenter)
        units += _moved(_spans_of(text[second:], unit, segmenter), second)
    return renumbered(unit_of_tokens(text, spans, special, units))


def _of_chat(
    text: str,
    spans: Sequence[Span],
    special: Sequence[bool],
    unit: Unit,
    chat: Sequence[ChatPart],
    segmenter: Segmenter | None,
) -> list[int]:
    """Each content by itself: a space at the end of one must not go to the first word of the next."""
    index = [-1] * len(spans)
    first = 0
    for part in chat:
        own = [p for p, (start, _) in enumerate(spans) if part.start <= start < part.end and not special[p]]
        if unit == "message":
            found = [0] * len(own)
        else:
            units = _moved(_spans_of(text[part.start : part.end], unit, segmenter), part.start)
            found = unit_of_tokens(text, [spans[p] for p in own], [False] * len(own), units)
        for p, number in zip(own, found, strict=True):
            index[p] = first + number
        first += max(found, default=-1) + 1
    return renumbered(index)


def _spans_of(text: str, unit: Unit, segmenter: Segmenter | None) -> list[Span]:
    """Where the words, sentences or the one segment of a text are."""
    if segmenter is not None:
        return _segmented(text, segmenter)
    if unit == "segment":
        bare = _bare(text, (0, len(text)))
        return [] if bare is None else [bare]
    return word_spans(text) if unit == "word" else sentence_spans(text)


def _moved(spans: Sequence[Span], by: int) -> list[Span]:
    return [(start + by, end + by) for start, end in spans]


def unit_of_tokens(
    text: str, spans: Sequence[Span], special: Sequence[bool], units: Sequence[Span], *, most: bool = False
) -> list[int]:
    """The unit of each token's first character, with `most` of most of its characters (the first of equals).

    Space alone goes to the unit after it, else to the one before; special tokens get -1.
    """
    at = [-1] * (len(text) + 1)
    for number, (start, end) in enumerate(units):
        at[start:end] = [number] * (end - start)
    found: list[int | None] = []
    highest = 0
    for (start, end), added in zip(spans, special, strict=True):
        number = -1 if added or end <= start else _most(at[start:end]) if most else at[start]
        if number >= 0:
            # A normaliser may report one character twice, out of order; a unit never starts again.
            highest = max(highest, number)
            found.append(highest)
        else:
            found.append(None)
    index = []
    following = _next_known(found)
    before = 0
    for known, ahead, added in zip(found, following, special, strict=True):
        if known is not None:
            before = known
        index.append(-1 if added else before if known is None and ahead is None else known or ahead or 0)
    return index


def _every_token(special: Sequence[bool]) -> list[int]:
    """Each token as a unit of its own."""
    index, count = [], 0
    for added in special:
        index.append(-1 if added else count)
        count += not added
    return index


def renumbered(index: Sequence[int]) -> list[int]:
    """Units counted from 0 without gaps."""
    order = {unit: number for number, unit in enumerate(sorted(set(index) - {-1}))}
    return [order.get(unit, -1) for unit in index]


def checked_spans(given: Any, n_texts: int) -> list[list[Span]]:
    """The user's spans, one list per text; whether they fit their text is seen in `with_rest`.

    Raises:
        UsageError: they are not a list of pairs of whole numbers for each text.
    """
    lists = [
        _listed(spans, f"the list of units of text {number}") for number, spans in enumerate(_listed(given, "unit"))
    ]
    if len(lists) != n_texts:
        raise UsageError(
            f"unit holds the spans of {len(lists)} texts, and {n_texts} were given; give one list of (start, end) "
            "pairs per text"
        )
    out = []
    for number, spans in enumerate(lists):
        pairs = [tuple(_listed(span, f"a unit of text {number}")) for span in spans]
        for pair in pairs:
            if len(pair) != 2 or not all(_whole(one) for one in pair):
                raise UsageError(
                    f"a unit of text {number} is {pair!r:.60}; give its first character and the one after its last, "
                    "such as (0, 5)"
                )
        out.append([(int(start), int(end)) for start, end in pairs])
    return out


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise UsageError(
            f"{name} is {value!r:.60}; units are given as one list of (start, end) pairs per text, such as "
            "[[(0, 5), (6, 9)]] for one text"
        )
    return list(value)


def with_rest(text: str, second: int | None, given: Sequence[Span], number: int) -> list[Span]:
    """The given spans of a text, and between them a unit for each stretch that none of them covers, without spaces.

    Raises:
        UsageError: a span is empty, lies outside the text, holds only spaces, reaches from one text of a pair into
            the other, or begins before the one before it ends.
    """
    units: list[Span] = []
    end_before = 0
    for start, end in given:
        if not 0 <= start < end <= len(text):
            raise UsageError(
                f"the unit ({start}, {end}) of text {number} does not lie in its {len(text)} characters; a unit runs "
                "from its first character to the one after its last"
            )
        if start < end_before:
            raise UsageError(
                f"the unit ({start}, {end}) of text {number} begins before the one before it ends, at {end_before}; "
                "give units that do not overlap, in text order"
            )
        if not text[start:end].strip():
            raise UsageError(f"the unit ({start}, {end}) of text {number} holds only spaces; leave it out")
        if second is not None and start < second - 1 < end:
            raise UsageError(
                f"the unit ({start}, {end}) of text {number} reaches from one text of the pair into the other, which "
                f"begins at {second}; cut it in two"
            )
        units += [*_rest(text, end_before, start, second), (start, end)]
        end_before = end
    units += _rest(text, end_before, len(text), second)
    # A text of spaces alone may have tokens.
    return units or [(0, len(text))]


def _rest(text: str, start: int, end: int, second: int | None) -> list[Span]:
    """What lies between two units; in a pair cut where the second text begins."""
    cuts = [start, end] if second is None or not start < second < end else [start, second, end]
    found = (_bare(text, (a, b)) for a, b in pairwise(cuts))
    return [span for span in found if span is not None]


def _bare(text: str, span: Span) -> Span | None:
    """Without the spaces around it; None where nothing is left."""
    start, end = span
    inside = text[start:end]
    if not inside.strip():
        return None
    return start + len(inside) - len(inside.lstrip()), end - (len(inside) - len(inside.rstrip()))


def _whole(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _most(numbers: Sequence[int]) -> int:
    counts = Counter(number for number in numbers if number >= 0)
    return min(counts, key=lambda number: (-counts[number], number), default=-1)


def _next_known(found: Sequence[int | None]) -> list[int | None]:
    ahead: list[int | None] = [None] * len(found)
    latest: int | None = None
    for position in range(len(found) - 1, -1, -1):
        latest = found[position] if found[position] is not None else latest
        ahead[position] = latest
    return ahead


def _segmented(text: str, segmenter: Segmenter) -> list[Span]:
    """[start, end) of every word that the segmenter finds.

    Raises:
        UsageError: its words do not follow each other in the text, or leave something out.
    """
    words = segmenter(text)
    spans: list[Span] = []
    end = 0
    for number, word in enumerate(words):
        if not isinstance(word, str):
            raise UsageError(
                f"the segmenter's word {number} is a {type(word).__name__}, not a string; give a function from a text "
                "to the list of its words, such as jieba.lcut"
            )
        if not word.strip():
            continue
        bare, start = word.strip(), end
        while text[start : start + 1].isspace():
            start += 1
        if not text.startswith(bare, start):
            raise UsageError(
                f"the segmenter's word {number} is {word!r}, but the text goes on with {text[start : start + 20]!r}; "
                "its words must join to the text as it is, with nothing changed, added or left out but spaces"
            )
        end = start + len(bare)
        spans.append((start, end))
    if text[end:].strip():
        raise UsageError(
            f"the segmenter's {len(words)} words end before the text does, at {text[end:].strip()[:20]!r}; its words "
            "must join to the text as it is"
        )
    return spans


def short(text: str) -> str:
    """A text as an error names it."""
    return text if len(text) <= 40 else text[:37] + "..."
