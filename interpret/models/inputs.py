"""Texts to token ids, with the characters and the words that every token stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from interpret.errors import UsageError
from interpret.models.chats import Rendered, render
from interpret.models.handle import Handle
from interpret.models.state import tokenizer_state
from interpret.models.units import Segmenter, Unit, indexed, renumbered, word_of_tokens
from interpret.models.words import Span, word_spans
from interpret.readers.chats import Chat, is_chat
from interpret.results.explanations import ChatPart

#: One text, two that are read together (premise and hypothesis, question and context), or a chat.
Text = str | tuple[str, str] | Chat


@dataclass(frozen=True)
class Encoded:
    """One text as the model reads it; ragged, without padding.

    All tuples have one entry per token, special tokens included. `word_index` never falls, -1 stands at
    special tokens; `char_spans` are [start, end) in `text`, without the spaces some tokenizers count in, and
    empty at special tokens. Of a chat `text` is what its template made of it, and the template's own tokens are
    special with the spans they have; `chat` says where the contents stand. `n_truncated` counts the tokens that did
    not fit the model's window and are not here.
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
    chat: tuple[ChatPart, ...] = ()

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

    A chat is written out by the tokenizer's own template, see `chats.render`, and no further special token is added.
    What the template writes is special, however many characters it has; a token with characters of both belongs to
    the one its first character that is no space stands in. Words, sentences and segmenters see one content at a time.

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
    if not isinstance(texts, str) and any(map(is_chat, texts)):
        return _encode_chats(handle, texts, unit, segmenter)
    encoded = []
    for given, tokenized in zip(texts, _tokenize(handle, texts), strict=True):
        text, second = _joined(given)
        encoded.append(_encoded(handle, text, tokenized, unit, second=second, segmenter=segmenter))
    return encoded


def _encode_chats(handle: Handle, texts: Sequence[Any], unit: Unit, segmenter: Segmenter | None) -> list[Encoded]:
    n_chats = sum(map(is_chat, texts))
    if n_chats < len(texts):
        raise UsageError(f"{n_chats} of {len(texts)} texts are chats; explain texts and chats apart")
    return encode_rendered(handle, [render(handle, chat) for chat in texts], unit=unit, segmenter=segmenter)


def encode_rendered(
    handle: Handle, chats: Sequence[Rendered], *, unit: Unit = "word", segmenter: Segmenter | None = None
) -> list[Encoded]:
    """Tokenise chats that their template has written out: the special tokens are there, and none is added.

    Raises:
        UsageError: as for `encode`; or a chat does not fit the model's window.
    """
    tokenized = _tokenize(handle, [one.text for one in chats], add_special_tokens=False)
    return [
        _encoded(handle, text, ids, unit, chat=parts, segmenter=segmenter)
        for (text, parts), ids in zip(chats, tokenized, strict=True)
    ]


def unit_index(encoded: Encoded, unit: Unit) -> tuple[int, ...]:
    """The word, token, sentence or message of each token, counted from 0 without gaps, -1 at special tokens.

    Words are those of `encoded`, whoever found them.
    """
    if unit == "word":
        return encoded.word_index
    return tuple(
        indexed(encoded.text, encoded.char_spans, encoded.special, unit, second=encoded.pair_start, chat=encoded.chat)
    )


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
        _encoded(handle, text, one, "word", given=words)
        for text, one, words in zip(texts, tokenized, spans, strict=True)
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
    index = renumbered(word_of_tokens(whole, every, special, word_spans(whole)))
    return Encoded(
        text=whole,
        ids=(*before, *(int(token) for token in ids)),
        type_ids=None,
        tokens=tuple(str(token) for token in tokenizer.convert_ids_to_tokens([*before, *ids])),
        word_index=tuple(index),
        char_spans=tuple(every),
        special=tuple(special),
        n_truncated=0 if prompt is None else prompt.n_truncated,
        chat=() if prompt is None else prompt.chat,
    )


def _joined(text: Text) -> tuple[str, int | None]:
    """A text as it is shown, and where the second of a pair begins."""
    return (text, None) if isinstance(text, str) else (f"{text[0]}\n{text[1]}", len(text[0]) + 1)


def _tokenize(handle: Handle, texts: Sequence[Text], *, add_special_tokens: bool = True) -> list[_Tokenized]:
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
                "tuple of two strings, of a chat a list of messages)"
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
            add_special_tokens=add_special_tokens,
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
    unit: Unit,
    *,
    given: Sequence[Span] | None = None,
    second: int | None = None,
    chat: tuple[ChatPart, ...] = (),
    segmenter: Segmenter | None = None,
) -> Encoded:
    """Cut to the window and counted; `given` words keep their numbers, of which some may have no token."""
    if chat:
        tokenized = _apart(handle, text, tokenized, chat)
    kept = _fit(tokenized.special, handle.max_length, getattr(handle.tokenizer, "truncation_side", "right"))
    if not kept:
        raise UsageError(
            f"the text {text[:40]!r} has no tokens for {handle.name}, which adds none of its own; leave it out"
        )
    special = [tokenized.special[position] for position in kept]
    spans = [tokenized.spans[position] for position in kept]
    if not chat:
        spans = [(0, 0) if added else _trimmed(text, span) for added, span in zip(special, spans, strict=True)]
    if given is not None:
        index = word_of_tokens(text, spans, special, given)
    else:
        index = indexed(text, spans, special, unit, second=second, chat=chat, segmenter=segmenter)
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
        chat=chat,
    )


def _apart(handle: Handle, text: str, tokenized: _Tokenized, chat: Sequence[ChatPart]) -> _Tokenized:
    """The tokens of the template as special ones, those of a content with its characters only."""
    if len(tokenized.ids) > handle.max_length:
        # Cut anywhere, what is left would be no chat: its template closes what it has opened.
        raise UsageError(
            f"the chat that ends with {text[-40:]!r} takes {len(tokenized.ids)} tokens, template included, and "
            f"{handle.name} reads {handle.max_length}; shorten its messages or leave some out"
        )
    spans, special = [], []
    for raw in tokenized.spans:
        start, end = _trimmed(text, raw)
        part = next((one for one in chat if one.start <= start < one.end), None)
        special.append(part is None)
        spans.append((start, end) if part is None else (start, min(end, part.end)))
    return tokenized._replace(spans=spans, special=special)


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
