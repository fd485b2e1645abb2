"""Which tokens make up each labelled word, text, span or pair; what the model did not see whole is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.stored import Stored
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode, encode_words
from interpret.readers.probe_data import ProbeData, Span

IntArray = npt.NDArray[np.int64]

#: Sentences tokenised at once.
_AT_ONCE: Final = 512


class Layout(NamedTuple):
    """What the features of an item are: means over the tokens of `n_vectors` stretches, in `n_blocks` blocks."""

    n_vectors: int
    n_blocks: int


ONE_VECTOR: Final = Layout(1, 1)
#: Of two spans in one text: [u; v].
TWO_SPANS: Final = Layout(2, 2)
#: Of two texts: [u; v; |u - v|; u * v], after Conneau et al. 2017 (arXiv:1705.02364).
TWO_TEXTS: Final = Layout(2, 4)


class Segment(NamedTuple):
    """Tokens of one sentence that belong to items: `position` and `item`, one entry per token.

    `item` is a global row; of pairs 2 i and 2 i + 1 are the first and the second of item i.
    """

    position: IntArray
    item: IntArray


@dataclass(frozen=True)
class Items:
    """What is classified: one row per labelled word, text, span or pair that the model saw whole.

    `sentence`, `place` (which of the sentence's labels), `label` and `form` have one entry per item; `form` is the
    word, the words of the span or of the pair of spans, and empty where whole texts are labelled. `encoded` and
    `segments` have one entry per sentence; where the items are pairs of texts, the second texts follow all the first.
    """

    encoded: list[Encoded]
    segments: list[Segment]
    sentence: IntArray
    place: IntArray
    label: tuple[str, ...]
    form: tuple[str, ...]
    n_truncated_words: int
    n_without_tokens: int
    n_truncated_texts: int
    #: Items with a token that also stands for characters beside them.
    n_sharing_tokens: int = 0
    layout: Layout = ONE_VECTOR

    def __len__(self) -> int:
        return len(self.label)


class _Found(NamedTuple):
    """Token positions of every stretch of every item of one sentence; which items are cut off, which share tokens."""

    positions: list[list[list[int]]]
    cut: set[int]
    shared: set[int]


def make_items(handle: Handle | Stored, data: ProbeData) -> Items:
    """Encode and align.

    Words and spans cut off by the model's length limit, wholly or in part, and items for which the tokenizer makes no
    token are left out and counted, never filled in. Texts that are too long stay, and are counted.
    """
    encoded = handle.encoded(data) if isinstance(handle, Stored) else _encode(handle, data)
    n = len(data)
    sentence: list[int] = []
    place: list[int] = []
    label: list[str] = []
    form: list[str] = []
    parts: list[tuple[list[int], list[int]]] = [([], []) for _ in encoded]
    n_truncated = n_without = n_shared = 0
    layout = ONE_VECTOR
    if data.level == "pair":
        layout = TWO_TEXTS if data.seconds else TWO_SPANS
    for s in range(n):
        found = _found(data, encoded, s)
        for w, name in enumerate(data.labels[s]):
            if name is None:
                continue
            if w in found.cut:
                n_truncated += 1
            elif not all(found.positions[w]):
                n_without += 1
            else:
                n_shared += w in found.shared
                for vector, positions in enumerate(found.positions[w]):
                    position, item = parts[s + n * vector if data.seconds else s]
                    position += positions
                    item += [len(label) * layout.n_vectors + vector] * len(positions)
                sentence.append(s)
                place.append(w)
                label.append(name)
                form.append(data.form(s, w))
    return Items(
        encoded,
        [Segment(np.asarray(p, dtype=np.int64), np.asarray(i, dtype=np.int64)) for p, i in parts],
        np.asarray(sentence, dtype=np.int64),
        np.asarray(place, dtype=np.int64),
        tuple(label),
        tuple(form),
        n_truncated,
        n_without,
        0 if data.has_forms else sum(row.n_truncated > 0 for row in encoded),
        n_shared,
        layout,
    )


def _found(data: ProbeData, encoded: Sequence[Encoded], s: int) -> _Found:
    row = encoded[s]
    if data.level == "word":
        words = data.sentences[s]
        groups = word_positions(row, words)
        held = Counter(p for positions in groups.values() for p in positions)
        shared = {w for w, positions in groups.items() if any(held[p] > 1 for p in positions)}
        return _Found([[groups.get(w, [])] for w in range(len(words))], set(row.words_cut), shared)
    if data.spans:
        return _found_spans(row, data.spans[s])
    rows = [row, encoded[s + len(data)]] if data.seconds else [row]
    return _Found([[[p for p, special in enumerate(one.special) if not special] for one in rows]], set(), set())


def word_positions(row: Encoded, words: Sequence[str]) -> dict[int, list[int]]:
    """Token positions of each word; a token that reaches into further words stands with each of them.

    Each token is with the word of its first character. Tokens of several words come from tokenizers that let a token
    run over a space.
    """
    groups: dict[int, list[int]] = {}
    starts = _starts(row, words)
    for position, word in enumerate(row.word_index):
        reached = word
        while reached >= 0 and (reached == word or row.char_spans[position][1] > starts[reached]):
            groups.setdefault(reached, []).append(position)
            reached = reached + 1 if reached + 1 < len(words) else -1
    return groups


def _starts(row: Encoded, words: Sequence[str]) -> list[float]:
    """Where each word begins; never, if it is not written in the text."""
    if row.unit_spans is not None:
        return [float(start) if end > start else math.inf for start, end in row.unit_spans]
    # The text is the words joined by single spaces.
    return [float(start) for start in np.cumsum([0, *(len(word) + 1 for word in words)])]


def _found_spans(row: Encoded, items: Sequence[Sequence[Span]]) -> _Found:
    """Tokens that hold a character of a span; a space that is a token goes with what stands behind it."""
    tokens: list[tuple[int, Span]] = []
    waiting: list[int] = []
    for position, (span, special) in enumerate(zip(row.char_spans, row.special, strict=True)):
        if special:
            continue
        waiting.append(position)
        if row.text[span[0] : span[1]].strip():
            tokens += [(p, span) for p in waiting]
            waiting = []
    positions: list[list[list[int]]] = []
    cut, shared = set(), set()
    for number, spans in enumerate(items):
        positions.append([])
        for start, end in spans:
            own = [(p, (a, b)) for p, (a, b) in tokens if a < end and b > start]
            positions[-1].append([p for p, _ in own])
            if row.cut is not None and row.cut[0] < end and row.cut[1] > start:
                cut.add(number)
            if any(row.text[a:start].strip() or row.text[end:b].strip() for _, (a, b) in own):
                shared.add(number)
    return _Found(positions, cut, shared)


def _encode(handle: Handle, data: ProbeData) -> list[Encoded]:
    """Encoded sentences, some at a time, with equal tokens and spans held once: most of them repeat."""
    tokens: dict[str, str] = {}
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    ids: dict[int, int] = {}
    encoded = []
    texts = (*data.texts, *data.seconds)
    for start in range(0, len(texts), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        word_level = data.level == "word"
        for row in encode_words(handle, data.sentences[part]) if word_level else encode(handle, texts[part]):
            encoded.append(
                replace(
                    row,
                    ids=tuple(ids.setdefault(i, i) for i in row.ids),
                    tokens=tuple(tokens.setdefault(t, t) for t in row.tokens),
                    char_spans=tuple(spans.setdefault(s, s) for s in row.char_spans),
                )
            )
    return encoded
