"""What gets one index within a text: tokens, words, sentences, or the messages of a chat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from interpret.errors import UsageError
from interpret.models.sentences import sentence_spans
from interpret.models.words import Span, word_spans
from interpret.results.explanations import ChatPart

Unit = Literal["word", "token", "sentence", "message"]
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
    """The word, token, sentence or message of each token, from 0 without gaps; -1 at special tokens.

    Args:
        text: the text that `spans` are offsets into.
        spans: of each token.
        special: which tokens belong to none.
        unit: what is counted.
        second: where the second of a pair begins.
        chat: where the contents of a chat stand; no unit reaches from one into another.
        segmenter: finds the words instead.

    Raises:
        UsageError: messages of a text that is no chat; or the segmenter's words do not join to the text.
    """
    if unit == "token":
        return _running(special)
    if chat:
        return _of_chat(text, spans, special, unit, chat, segmenter)
    if unit == "message":
        raise UsageError(
            f"unit is 'message', and {text[:40]!r} is no chat; give a list of messages, or another unit such as "
            "'sentence'"
        )
    return renumbered(word_of_tokens(text, spans, special, _words(text, second, unit, segmenter)))


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
            words = [
                (start + part.start, end + part.start)
                for start, end in _spans_of(text[part.start : part.end], unit, segmenter)
            ]
            found = word_of_tokens(text, [spans[p] for p in own], [False] * len(own), words)
        for p, number in zip(own, found, strict=True):
            index[p] = first + number
        first += max(found, default=-1) + 1
    return renumbered(index)


def _words(text: str, second: int | None, unit: Unit, segmenter: Segmenter | None) -> list[Span]:
    """Where the units of a text or pair are; none reaches from one text of a pair into the other."""
    if second is None:
        return _spans_of(text, unit, segmenter)
    before, after = (_spans_of(part, unit, segmenter) for part in (text[: second - 1], text[second:]))
    return before + [(start + second, end + second) for start, end in after]


def _spans_of(text: str, unit: Unit, segmenter: Segmenter | None) -> list[Span]:
    """Where the words or sentences of a text are."""
    if segmenter is not None:
        return _segmented(text, segmenter)
    return word_spans(text) if unit == "word" else sentence_spans(text)


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


def word_of_tokens(text: str, spans: Sequence[Span], special: Sequence[bool], words: Sequence[Span]) -> list[int]:
    """The word of each token's first character; space alone goes to the word after it, else before."""
    at = [-1] * (len(text) + 1)
    for number, (start, end) in enumerate(words):
        at[start:end] = [number] * (end - start)
    found: list[int | None] = []
    highest = 0
    for (start, end), added in zip(spans, special, strict=True):
        number = at[start] if end > start and not added else -1
        if number >= 0:
            # A normaliser may report one character twice, out of order; a word never starts again.
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


def _next_known(found: Sequence[int | None]) -> list[int | None]:
    ahead: list[int | None] = [None] * len(found)
    latest: int | None = None
    for position in range(len(found) - 1, -1, -1):
        latest = found[position] if found[position] is not None else latest
        ahead[position] = latest
    return ahead


def _running(special: Sequence[bool]) -> list[int]:
    index, count = [], 0
    for added in special:
        index.append(-1 if added else count)
        count += not added
    return index


def renumbered(index: Sequence[int]) -> list[int]:
    """The same order without gaps; -1 stays."""
    order = {word: number for number, word in enumerate(sorted(set(index) - {-1}))}
    return [order.get(word, -1) for word in index]
