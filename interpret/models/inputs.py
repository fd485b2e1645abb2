"""Texts to token ids, with the characters and the words that every token stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, get_args

from interpret.errors import UsageError
from interpret.models.chats import Rendered, render
from interpret.models.handle import Handle
from interpret.models.openings import around_target, target_ids
from interpret.models.sentencepieces import cuts_with_sentencepiece, pieces_of
from interpret.models.state import tokenizer_state
from interpret.models.units import (
    Segmenter,
    Unit,
    UnitSpans,
    checked_spans,
    indexed,
    renumbered,
    unit_of_tokens,
    with_rest,
)
from interpret.models.windows import Windows, windows_over
from interpret.models.words import Span, word_spans
from interpret.readers.characters import require_unicode
from interpret.readers.chats import Chat, is_chat
from interpret.results.explanations import ChatPart

#: What becomes of a text that is longer than the model reads at once: it is cut there, or read in windows.
LongText = Literal["truncate", "windows"]
#: Tasks whose outputs a window has too.
_WINDOWED: Final = (
    "text-classification",
    "token-classification",
    "question-answering",
    "masked-lm",
    "causal-lm",
    "seq2seq-lm",
)
#: One text, two that are read together (premise and hypothesis, question and context), or a chat.
Text = str | tuple[str, str] | Chat


@dataclass(frozen=True)
class Encoded:
    """One text as the model reads it; ragged, without padding.

    All tuples have one entry per token, special tokens included. `word_index` never falls, -1 stands at
    special tokens; `char_spans` are [start, end) in `text`, without the spaces some tokenizers count in, and
    empty at special tokens. Of a chat `text` is what its template made of it, and the template's own tokens are
    special with the spans they have; `chat` says where the contents stand. `n_truncated` counts the tokens that did
    not fit the model's window and are not here. With `windows` all of them are here, and each window is what the
    model reads at once.
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
    #: Where the units that `word_index` counts are, if the user gave them; what lies between those is a unit too.
    unit_spans: tuple[Span, ...] | None = None
    windows: Windows | None = None
    #: Which of the words that were given have a token that did not fit; such a word is here in part or not at all.
    words_cut: tuple[int, ...] = ()
    #: From the first to the last character of the tokens that did not fit; None where all fitted.
    cut: Span | None = None

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
    handle: Handle,
    texts: Sequence[Text],
    *,
    unit: Unit | UnitSpans = "word",
    segmenter: Segmenter | None = None,
    long_text: LongText = "truncate",
    doc_stride: int | None = None,
) -> list[Encoded]:
    """Tokenise texts as the model expects them, cut to its window or cut into windows, special tokens kept.

    A pair of texts is one input: `text` holds both with a line break between them.

    Words are found by characters, before and apart from the tokenizer: runs of letters and digits with inner
    apostrophes and hyphens, single ideographs, single punctuation marks. A token belongs to the word of its
    first character that is not a space; words are counted from 0 without gaps. With `unit="token"` every
    token is a word, with `unit="sentence"` every sentence is, see `sentence_spans`, with `unit="segment"` each text
    of a pair.

    Units may be given as spans of characters, (start, end) in `text` with the end excluded, in text order, one list
    per text. A token belongs to the span that holds most of its characters, of equals the first; each stretch between
    two spans that holds more than spaces is a unit of its own, so that every token is in exactly one unit.

    A chat is written out by the tokenizer's own template, see `chats.render`, and no further special token is added.
    What the template writes is special, however many characters it has; a token with characters of both belongs to
    the one its first character that is no space stands in. Words, sentences and segmenters see one content at a time.

    Args:
        handle: the model with its tokenizer.
        texts: the texts.
        unit: what `word_index` counts: a name, or the spans themselves.
        segmenter: finds the words instead, where the writing does not show them: `jieba.lcut` for Chinese. Its
            words must follow each other in the text; spaces may be left out.
        long_text: "truncate" leaves out what does not fit the model's window. "windows" keeps it and says which
            tokens each window reads (`Encoded.windows`); of a pair, which a question and its context are, windows
            move over the second text. Of what a causal model goes on from they are laid from the end of the text,
            also where it fits in one, since what is written after it may not.
        doc_stride: tokens that neighbouring windows share; None takes half a window, and at most 128.

    Raises:
        UsageError: there is no tokenizer, it knows no character offsets, or a text is none or has no tokens at all; the
            segmenter's words do not join to the text; spans that overlap, are out of order, or that no token would
            belong to; or a task, pairs or chats that windows or spans do not serve.
    """
    if isinstance(unit, str) and (unit not in get_args(Unit) or unit == "span"):
        names = ", ".join(name for name in get_args(Unit) if name != "span")
        raise UsageError(f"unknown unit {unit!r}; the units are {names}, or a list of (start, end) pairs per text")
    if segmenter is not None and unit != "word":
        shown = repr(unit) if isinstance(unit, str) else "given as spans"
        raise UsageError(f"a segmenter finds words, and unit is {shown}; leave one of the two out")
    if not isinstance(texts, str) and any(map(is_chat, texts)):
        return _encode_chats(handle, texts, unit, segmenter, long_text, doc_stride)
    _check_long(handle, texts, long_text, doc_stride)
    batch = _tokenize(handle, texts)
    spans: Sequence[Sequence[Span] | None] = [None] * len(batch)
    if not isinstance(unit, str):
        spans = checked_spans(unit, len(batch))
    goes_on = handle.task == "causal-lm"
    encoded = []
    for number, (given, tokenized, own) in enumerate(zip(texts, batch, spans, strict=True)):
        text, second = _joined(given)
        # A text that fits may not with what is written after it.
        cut = long_text == "truncate" or (len(tokenized.ids) <= handle.max_length and not goes_on)
        if isinstance(unit, str):
            one = _encoded(handle, text, tokenized, unit, second=second, segmenter=segmenter, whole=not cut)
        else:
            units = with_rest(text, second, own or (), number)
            one = _encoded(handle, text, tokenized, "span", given=units, most=True, second=second, whole=not cut)
            one = _with_units(one, units, own or (), number)
        if not cut:
            found = windows_over(one.special, one.char_spans, second, handle.max_length, doc_stride, from_end=goes_on)
            one = replace(one, windows=found)
        encoded.append(one)
    return encoded


def _encode_chats(
    handle: Handle,
    texts: Sequence[Any],
    unit: Unit | UnitSpans,
    segmenter: Segmenter | None,
    long_text: LongText,
    doc_stride: int | None,
) -> list[Encoded]:
    n_chats = sum(map(is_chat, texts))
    if n_chats < len(texts):
        raise UsageError(f"{n_chats} of {len(texts)} texts are chats; explain texts and chats apart")
    if not isinstance(unit, str):
        raise UsageError(
            "unit is given as spans, and the texts are chats: the template decides at which characters their messages "
            "stand; take unit='message', 'sentence', 'word' or 'token'"
        )
    if long_text == "windows":
        raise UsageError(
            "long_text is 'windows', and the texts are chats, of which a part is no chat; leave long_text out, and "
            "shorten the chats that the model cannot read at once"
        )
    _check_long(handle, texts, long_text, doc_stride)
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


def within(encoded: Encoded, positions: Sequence[int]) -> Encoded:
    """What one window of a text reads; characters and units are still those of the whole text."""

    def some(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[position] for position in positions)

    return replace(
        encoded,
        ids=some(encoded.ids),
        type_ids=None if encoded.type_ids is None else some(encoded.type_ids),
        tokens=some(encoded.tokens),
        word_index=some(encoded.word_index),
        char_spans=some(encoded.char_spans),
        special=some(encoded.special),
        windows=None,
    )


def unit_index(encoded: Encoded, unit: Unit) -> tuple[int, ...]:
    """The unit of each token (word, message and so on), counted from 0 without gaps, -1 at special tokens.

    Words and spans are those of `encoded`, whoever found them.

    Raises:
        UsageError: segments of what is no pair, messages of what is no chat, or spans of a text that was encoded
            without any.
    """
    if unit == "span" and encoded.unit_spans is None:
        raise UsageError("unit is 'span', but the text was encoded without spans; give them to encode(unit=)")
    if unit in ("word", "span"):
        return encoded.word_index
    return tuple(
        indexed(encoded.text, encoded.char_spans, encoded.special, unit, second=encoded.pair_start, chat=encoded.chat)
    )


def _with_units(encoded: Encoded, units: Sequence[Span], given: Sequence[Span], number: int) -> Encoded:
    """The units that have a token, counted without gaps, and where they are.

    Raises:
        UsageError: a given unit within what the model reads has no token.
    """
    used = sorted(set(encoded.word_index) - {-1})
    content = [span for span, special in zip(encoded.char_spans, encoded.special, strict=True) if not special]
    first, last = min((a for a, _ in content), default=0), max((b for _, b in content), default=0)
    without = [span for span in given if units.index(span) not in used]
    for start, end in without:
        if not encoded.n_truncated or (first <= start and end <= last):
            raise UsageError(
                f"the unit ({start}, {end}) of text {number}, {encoded.text[start:end]!r:.40}, has no token: the "
                "tokenizer drops it, or most of each token it touches lies outside; make it larger or leave it out"
            )
    return replace(
        encoded,
        word_index=tuple(renumbered(encoded.word_index)),
        unit_spans=tuple(units[unit] for unit in used),
        words_cut=(),
    )


def _check_long(handle: Handle, texts: Sequence[Text], long_text: str, doc_stride: int | None) -> None:
    """Refuse windows where a window has no output of its own that stands for the text's."""
    if long_text not in get_args(LongText):
        raise UsageError(f"long_text is {long_text!r}; it is {' or '.join(map(repr, get_args(LongText)))}")
    if long_text == "truncate":
        if doc_stride is not None:
            raise UsageError("doc_stride is how far windows overlap; give long_text='windows' with it")
        return
    if handle.task not in _WINDOWED:
        raise UsageError(
            f"{handle.name} is a {handle.task} model; long texts are read in windows for {', '.join(_WINDOWED)} only; "
            "without long_text= they are cut to what the model reads, and the result says by how much"
        )
    if handle.task != "question-answering" and any(_is_pair(text) for text in texts):
        raise UsageError(
            f"{handle.name} reads pairs for {handle.task}, and of pairs only the context of a question is read in "
            "windows; without long_text= they are cut to what the model reads, and the result says by how much"
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
    special_ids = set(tokenizer.all_special_ids)
    if prompt is None and handle.task == "seq2seq-lm":
        # A language is no special token to every tokenizer that knows languages.
        special_ids |= {handle.opening.start, handle.opening.forced}
    before = () if prompt is None else prompt.ids
    text = "" if prompt is None else prompt.text
    head = str(tokenizer.decode(list(before), skip_special_tokens=True)) if before else ""
    spans: list[Span] = []
    written = ""
    for end in range(1, len(ids) + 1):
        shown = [token for token in ids[:end] if token not in special_ids]
        further = str(tokenizer.decode([*before, *shown], skip_special_tokens=True))[len(head) :]
        # Half a character is shown as a replacement sign until its other half has come.
        start = min(len(written), len(further.rstrip("\ufffd")))
        spans.append((len(text) + start, len(text) + len(further)))
        written = further
    whole = text + written
    special = [token in special_ids for token in ids]
    spans = [(0, 0) if flag else _trimmed(whole, span) for flag, span in zip(special, spans, strict=True)]
    special = [*(() if prompt is None else prompt.special), *special]
    every = [*(() if prompt is None else prompt.char_spans), *spans]
    index = renumbered(unit_of_tokens(whole, every, special, word_spans(whole)))
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


def _tokenize(
    handle: Handle, texts: Sequence[Text], *, add_special_tokens: bool = True, target: bool = False
) -> list[_Tokenized]:
    """Run the tokenizer without truncation; its own truncation leaves no count of what it cut.

    A `target` is a text to be written, for which some tokenizers have a model of their own.
    """
    tokenizer: Any = handle.tokenizer
    if tokenizer is None:
        raise UsageError(f"{handle.name} was attached without a tokenizer; attach it with one to pass texts")
    fast = bool(getattr(tokenizer, "is_fast", False))
    if not fast and not cuts_with_sentencepiece(tokenizer):
        raise UsageError(
            f"the tokenizer of {handle.name} ({type(tokenizer).__name__}) knows no character offsets; "
            "a fast tokenizer (tokenizer.json), or one with a SentencePiece model to ask for them, is needed to pass "
            "texts; attach the model with such a one, which AutoTokenizer makes of most saved tokenizers"
        )
    if isinstance(texts, str):
        raise UsageError("give a list of texts, not one text")
    for number, text in enumerate(texts):
        if not isinstance(text, str) and not _is_pair(text):
            raise UsageError(
                f"text {number} is a {type(text).__name__}, not a string; leave it out or give its text (of a pair a "
                "tuple of two strings, of a chat a list of messages)"
            )
        for part in (text,) if isinstance(text, str) else text:
            require_unicode(str(part), f"text {number}")
    if not texts:
        return []
    pairs = [text for text in texts if not isinstance(text, str)]
    if pairs and len(pairs) < len(texts):
        raise UsageError(f"{len(pairs)} of {len(texts)} texts are pairs; explain single texts and pairs apart")
    if not fast:
        if pairs:
            raise UsageError(
                f"the tokenizer of {handle.name} ({type(tokenizer).__name__}) tells the characters of one text at a "
                "time, not of pairs; give single texts"
            )
        with tokenizer_state(tokenizer):
            found = [
                pieces_of(tokenizer, str(text), target=target, add_special_tokens=add_special_tokens) for text in texts
            ]
        return [_Tokenized(one.ids, None, one.spans, one.special) for one in found]
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
    most: bool = False,
    second: int | None = None,
    chat: tuple[ChatPart, ...] = (),
    segmenter: Segmenter | None = None,
    whole: bool = False,
) -> Encoded:
    """Counted, and unless `whole` cut to the window; `given` units keep their numbers, also those without a token."""
    if chat:
        tokenized = _apart(handle, text, tokenized, chat)
    room = len(tokenized.ids) if whole else handle.max_length
    kept = _fit(tokenized.special, room, getattr(handle.tokenizer, "truncation_side", "right"))
    if not kept:
        raise UsageError(
            f"the text {text[:40]!r} has no tokens for {handle.name}, which adds none of its own; leave it out"
        )
    special = [tokenized.special[position] for position in kept]
    spans = [tokenized.spans[position] for position in kept]
    words_cut: tuple[int, ...] = ()
    if not chat:
        spans = [(0, 0) if added else _trimmed(text, span) for added, span in zip(special, spans, strict=True)]
    if given is not None:
        index, words_cut = _given_index(text, tokenized, kept, given, most)
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
        words_cut=words_cut,
        cut=_cut(text, tokenized, kept),
    )


def _cut(text: str, tokenized: _Tokenized, kept: Sequence[int]) -> Span | None:
    """Where the tokens stand that are not kept."""
    if len(kept) == len(tokenized.ids):
        return None
    spans = [
        _trimmed(text, tokenized.spans[position]) for position in sorted(set(range(len(tokenized.ids))) - set(kept))
    ]
    start, end = min(a for a, _ in spans), max(b for _, b in spans)
    # A space that is a token belongs to what stands behind it.
    return start, end + (not text[spans[-1][0] : spans[-1][1]].strip())


def _given_index(
    text: str, tokenized: _Tokenized, kept: Sequence[int], given: Sequence[Span], most: bool
) -> tuple[list[int], tuple[int, ...]]:
    """The given unit of each token that is kept, and the units that lose a token.

    Units are found before anything is cut: where the cut falls behind a space that is a token, that space is the next
    word's, and where it falls inside a character of several tokens, no offset tells.
    """
    spans = [
        (0, 0) if added else _trimmed(text, span)
        for added, span in zip(tokenized.special, tokenized.spans, strict=True)
    ]
    units = unit_of_tokens(text, spans, tokenized.special, given, most=most)
    if len(kept) == len(units):
        return units, ()
    lost: set[int] = set()
    for position in sorted(set(range(len(units))) - set(kept)):
        unit, end = units[position], spans[position][1]
        while unit >= 0:
            lost.add(unit)
            # A token may run over a space into the words after it.
            unit = unit + 1 if unit + 1 < len(given) and given[unit + 1][0] < end else -1
    return [units[position] for position in kept], tuple(sorted(lost))


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


def written_ids(handle: Handle, text: str) -> tuple[int, ...]:
    """What an encoder-decoder writes when it writes `text`, end token included; see `openings.target_ids`."""
    return target_ids(handle.core, handle.tokenizer, handle.pad_id, text)


def encode_targets(handle: Handle, texts: Sequence[str]) -> list[Encoded]:
    """What a decoder beside an encoder reads: its start token, a language where it is made to write one, the text.

    Raises:
        UsageError: as for `encode`, and `openings.target_ids`.
    """
    first = handle.decoder_start_id
    rows = []
    for text, tokenized in zip(texts, _tokenize(handle, texts, target=True), strict=True):
        row = _encoded(handle, text, tokenized, "word")
        tokenizer: Any = handle.tokenizer
        before, after = around_target(handle.core, tokenizer, handle.pad_id)
        # Some tokenizers write the start token themselves.
        before = before if before[:1] == [first] else [first, *before]
        own = [place for place, special in enumerate(row.special) if not special]
        inside = slice(own[0], own[-1] + 1) if own else slice(0)
        ids = (*before, *row.ids[inside], *after)
        lead, tail = len(before), len(after)
        rows.append(
            Encoded(
                text=row.text,
                ids=ids,
                type_ids=None,
                tokens=tuple(str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))),
                word_index=(-1,) * lead + row.word_index[inside] + (-1,) * tail,
                char_spans=((0, 0),) * lead + row.char_spans[inside] + ((0, 0),) * tail,
                special=(True,) * lead + row.special[inside] + (True,) * tail,
                n_truncated=row.n_truncated,
            )
        )
    return rows
