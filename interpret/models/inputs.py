"""Texts to token ids, with the characters and the words that every token stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.sentences import sentence_spans
from interpret.models.state import tokenizer_state
from interpret.models.words import Span, word_spans

Unit = Literal["word", "token", "sentence"]
#: A text to its words in order, such as `jieba.lcut`.
Segmenter = Callable[[str], Sequence[str]]
#: One text, or two that are read together: premise and hypothesis, question and context.
Text = str | tuple[str, str]


@dataclass(frozen=True)
class Encoded:
    """One text as the model reads it; ragged, without padding.

    All tuples have one entry per token, special tokens included. `word_index` never falls, -1 stands at
    special tokens; `char_spans` are [start, end) in `text`, without the spaces some tokenizers count in, and
    empty at special tokens. `n_truncated` counts the tokens that did not fit the model's window and are not
    here.
    """

    text: str
    ids: tuple[int, ...]
    type_ids: tuple[int, ...] | None
    tokens: tuple[str, ...]
    word_index: tuple[int, ...]
    char_spans: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]
    n_truncated: int
    #: Where in `text` the second of a pair begins, after a line break; None where there is one text.
    pair_start: int | None = None

    @property
    def n_words(self) -> int:
        """Words with at least one token; `word_index` may skip some of the words that were given."""
        return len(set(self.word_index) - {-1})


class _Tokenized(NamedTuple):
    ids: Sequence[int]
    type_ids: Sequence[int] | None
    spans: Sequence[Span]
    special: Sequence[bool]


def encode(
    handle: Handle, texts: Sequence[Text], *, unit: Unit = "word", segmenter: Segmenter | None = None
) -> list[Encoded]:
    """Tokenise texts as the model expects them, cut to its window, special tokens kept.

    A pair of texts is one input: `text` holds both with a line break between them.

    Words are found by characters, before and apart from the tokenizer: runs of letters and digits with inner
    apostrophes and hyphens, single ideographs, single punctuation marks. A token belongs to the word of its
    first character that is not a space; words are counted from 0 without gaps. With `unit="token"` every
    token is a word, with `unit="sentence"` every sentence is, see `sentence_spans`.

    Args:
        handle: the model with its tokenizer.
        texts: the texts.
        unit: what `word_index` counts.
        segmenter: finds the words instead, where the writing does not show them: `jieba.lcut` for Chinese. Its
            words must follow each other in the text; spaces may be left out.

    Raises:
        UsageError: there is no tokenizer, it knows no character offsets, or a text has no tokens at all; or the
            segmenter's words do not join to the text.
    """
    if unit not in get_args(Unit):
        raise UsageError(f"unknown unit {unit!r}; the units are {', '.join(get_args(Unit))}")
    if segmenter is not None and unit != "word":
        raise UsageError(f"a segmenter finds words, and unit is {unit!r}; leave one of the two out")
    encoded = []
    for given, tokenized in zip(texts, _tokenize(handle, texts), strict=True):
        text, second = _joined(given)
        words = _words(text, second, unit, segmenter)
        encoded.append(_encoded(handle, text, tokenized, words, gaps=False, second=second))
    return encoded


def unit_index(encoded: Encoded, unit: Unit) -> tuple[int, ...]:
    """The word, token or sentence of each token, counted from 0 without gaps, -1 at special tokens.

    Words are those of `encoded`, whoever found them.
    """
    if unit == "word":
        return encoded.word_index
    spans = _words(encoded.text, encoded.pair_start, unit)
    if spans is None:
        return tuple(_running(encoded.special))
    return tuple(_renumbered(_word_of_tokens(encoded.text, encoded.char_spans, encoded.special, spans)))


def _spans_of(text: str, unit: Unit) -> list[Span] | None:
    """Where the words or sentences of a text are; None where every token is one."""
    if unit == "token":
        return None
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


def encode_words(handle: Handle, sentences: Sequence[Sequence[str]]) -> list[Encoded]:
    """Tokenise sentences whose words are given; `word_index` is the index of the given word.

    The text is the words joined by single spaces. Words that did not fit, and words the tokenizer drops, have
    no token, so that indices may be skipped.

    Raises:
        UsageError: as for `encode`; or a word is empty or only space.
    """
    texts, spans = [], []
    for number, sentence in enumerate(sentences):
        start = 0
        placed: list[Span] = []
        for word in sentence:
            if not word.strip():
                raise UsageError(f"word {len(placed)} of sentence {number} is empty; leave it out with its label")
            placed.append((start, start + len(word)))
            start += len(word) + 1
        texts.append(" ".join(sentence))
        spans.append(placed)
    tokenized = _tokenize(handle, texts)
    return [
        _encoded(handle, text, one, words, gaps=True) for text, one, words in zip(texts, tokenized, spans, strict=True)
    ]


def continued(handle: Handle, prompt: Encoded | None, ids: Sequence[int]) -> Encoded:
    """A prompt and the tokens that a model wrote after it, or only what it wrote.

    Which characters a written token stands for is found by decoding one token further at a time.
    """
    tokenizer: Any = handle.tokenizer
    before = () if prompt is None else prompt.ids
    text = "" if prompt is None else prompt.text
    head = str(tokenizer.decode(list(before), skip_special_tokens=True)) if before else ""
    spans: list[Span] = []
    written = ""
    for end in range(1, len(ids) + 1):
        further = str(tokenizer.decode([*before, *ids[:end]], skip_special_tokens=True))[len(head) :]
        # Half a character is shown as a replacement sign until its other half has come.
        start = min(len(written), len(further.rstrip("\ufffd")))
        spans.append((len(text) + start, len(text) + len(further)))
        written = further
    whole = text + written
    special_ids = set(tokenizer.all_special_ids)
    special = [token in special_ids for token in ids]
    spans = [(0, 0) if flag else _trimmed(whole, span) for flag, span in zip(special, spans, strict=True)]
    special = [*(() if prompt is None else prompt.special), *special]
    every = [*(() if prompt is None else prompt.char_spans), *spans]
    index = _renumbered(_word_of_tokens(whole, every, special, word_spans(whole)))
    return Encoded(
        text=whole,
        ids=(*before, *(int(token) for token in ids)),
        type_ids=None,
        tokens=tuple(str(token) for token in tokenizer.convert_ids_to_tokens([*before, *ids])),
        word_index=tuple(index),
        char_spans=tuple(every),
        special=tuple(special),
        n_truncated=0 if prompt is None else prompt.n_truncated,
    )


def _joined(text: Text) -> tuple[str, int | None]:
    """A text as it is shown, and where the second of a pair begins."""
    return (text, None) if isinstance(text, str) else (f"{text[0]}\n{text[1]}", len(text[0]) + 1)


def _words(text: str, second: int | None, unit: Unit, segmenter: Segmenter | None = None) -> list[Span] | None:
    """Where the units of a text or pair are; none reaches from one text of a pair into the other."""

    def of(part: str) -> list[Span] | None:
        return _segmented(part, segmenter) if segmenter is not None else _spans_of(part, unit)

    if second is None:
        return of(text)
    before, after = of(text[: second - 1]), of(text[second:])
    if before is None or after is None:
        return None
    return before + [(start + second, end + second) for start, end in after]


def _tokenize(handle: Handle, texts: Sequence[Text]) -> list[_Tokenized]:
    """Run the tokenizer without truncation; its own truncation leaves no count of what it cut."""
    tokenizer: Any = handle.tokenizer
    if tokenizer is None:
        raise UsageError(f"{handle.name} was attached without a tokenizer; attach it with one to pass texts")
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            f"the tokenizer of {handle.name} ({type(tokenizer).__name__}) knows no character offsets; "
            "a fast tokenizer (tokenizer.json) is needed to pass texts"
        )
    if isinstance(texts, str):
        raise UsageError("give a list of texts, not one text")
    for number, text in enumerate(texts):
        if not isinstance(text, str) and not _is_pair(text):
            raise UsageError(
                f"text {number} is a {type(text).__name__}, not a string; leave it out or give its text (of a pair a "
                "tuple of two strings)"
            )
    if not texts:
        return []
    pairs = [text for text in texts if not isinstance(text, str)]
    if pairs and len(pairs) < len(texts):
        raise UsageError(f"{len(pairs)} of {len(texts)} texts are pairs; explain single texts and pairs apart")
    given: list[Any] = [list(texts)] if not pairs else [[a for a, _ in pairs], [b for _, b in pairs]]
    with tokenizer_state(tokenizer):
        batch = tokenizer(
            *given,
            truncation=False,
            padding=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_token_type_ids=True,
            return_attention_mask=False,
            verbose=False,
        )
    typed = _takes_type_ids(handle)
    return [
        _Tokenized(
            ids=batch["input_ids"][index],
            type_ids=batch["token_type_ids"][index] if typed else None,
            spans=_shifted(batch, index, texts[index]),
            special=list(map(bool, batch["special_tokens_mask"][index])),
        )
        for index in range(len(texts))
    ]


def _is_pair(text: object) -> bool:
    return isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)


def _shifted(batch: Any, index: int, text: Text) -> list[Span]:
    """Spans in the text as it is shown: a tokenizer counts the second of a pair from 0."""
    spans: list[Span] = batch["offset_mapping"][index]
    second = _joined(text)[1]
    if second is None:
        return spans
    of = batch.sequence_ids(index)
    return [(a + second, b + second) if part == 1 else (a, b) for (a, b), part in zip(spans, of, strict=True)]


def _takes_type_ids(handle: Handle) -> bool:
    """Whether the model expects segment ids: GPT-2 would embed them as words, DistilBERT has none."""
    names = getattr(handle.tokenizer, "model_input_names", ())
    n_types = getattr(handle.config, "type_vocab_size", 0) or 0
    return not handle.roles.is_causal and n_types > 0 and "token_type_ids" in names


def _encoded(
    handle: Handle,
    text: str,
    tokenized: _Tokenized,
    words: Sequence[Span] | None,
    *,
    gaps: bool,
    second: int | None = None,
) -> Encoded:
    kept = _fit(tokenized.special, handle.max_length, getattr(handle.tokenizer, "truncation_side", "right"))
    if not kept:
        raise UsageError(
            f"the text {text[:40]!r} has no tokens for {handle.name}, which adds none of its own; leave it out"
        )
    special = [tokenized.special[position] for position in kept]
    raw = [tokenized.spans[position] for position in kept]
    spans = [(0, 0) if added else _trimmed(text, span) for added, span in zip(special, raw, strict=True)]
    if words is None:
        index = _running(special)
    else:
        index = _word_of_tokens(text, spans, special, words)
        index = index if gaps else _renumbered(index)
    tokenizer: Any = handle.tokenizer
    ids = tuple(map(tokenized.ids.__getitem__, kept))
    types = tokenized.type_ids
    return Encoded(
        text=text,
        ids=ids,
        type_ids=None if types is None else tuple(map(types.__getitem__, kept)),
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(ids))),
        word_index=tuple(index),
        char_spans=tuple(spans),
        special=tuple(special),
        n_truncated=len(tokenized.ids) - len(kept),
        pair_start=second,
    )


def _fit(special: Sequence[bool], max_length: int, side: str) -> list[int]:
    """Positions that fit the window; special tokens at both ends stay, text is cut at one end."""
    n = len(special)
    if n <= max_length:
        return list(range(n))
    lead = next((position for position in range(n) if not special[position]), n)
    tail = next((position for position in range(n) if not special[n - 1 - position]), 0)
    room = max_length - lead - tail
    if room < 1:
        raise UsageError(f"a window of {max_length} tokens has no room beside {lead + tail} special tokens")
    content = list(range(lead, n - tail))
    content = content[-room:] if side == "left" else content[:room]
    return [*range(lead), *content, *range(n - tail, n)]


def _trimmed(text: str, span: Span) -> Span:
    """Without the spaces at either end, unless there is nothing else."""
    start, end = span
    inside = text[start:end]
    if not (inside[:1].isspace() or inside[-1:].isspace()) or not inside.strip():
        return span
    return start + len(inside) - len(inside.lstrip()), end - (len(inside) - len(inside.rstrip()))


def _word_of_tokens(text: str, spans: Sequence[Span], special: Sequence[bool], words: Sequence[Span]) -> list[int]:
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


def _renumbered(index: Sequence[int]) -> list[int]:
    order = {word: number for number, word in enumerate(sorted(set(index) - {-1}))}
    return [order.get(word, -1) for word in index]


def encode_targets(handle: Handle, texts: Sequence[str]) -> list[Encoded]:
    """What a decoder beside an encoder reads: its start token, then the text.

    Raises:
        UsageError: as for `encode`.
    """
    first = handle.decoder_start_id
    rows = []
    for row in encode(handle, texts):
        # Some tokenizers write the start token themselves.
        ids = row.ids if row.ids[:1] == (first,) else (first, *row.ids)
        lead = len(ids) - len(row.ids)
        tokenizer: Any = handle.tokenizer
        rows.append(
            Encoded(
                text=row.text,
                ids=ids,
                type_ids=None,
                tokens=tuple(str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))),
                word_index=(-1,) * lead + row.word_index,
                char_spans=((0, 0),) * lead + row.char_spans,
                special=(True,) * lead + row.special,
                n_truncated=row.n_truncated,
            )
        )
    return rows
