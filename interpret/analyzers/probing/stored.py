"""A capture store in the place of a model: the same items and features, read from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from interpret.capture.store import Store
from interpret.capture.store.rows import RowView
from interpret.errors import UnknownSiteError, UsageError
from interpret.models.inputs import Encoded
from interpret.models.units import unit_of_tokens
from interpret.models.words import Span
from interpret.readers.probe_data import ProbeData
from interpret.sites import Key, parse_site

IntArray = npt.NDArray[np.int64]

#: What has to be the same in stores that are read together: else their vectors mean different things.
_SAME = ("weights_sha256", "config_sha256", "tokenizer_sha256")


class _Place(NamedTuple):
    """One example of one store."""

    store: int
    example: int


class Stored:
    """Stores of one model, with all that probes ask of it. Texts are found by their digest, whatever their order.

    Raises:
        UsageError: stores of different models, or one that holds no vector for each token.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        if not self.stores:
            raise UsageError("no store was given to probe; name a folder that interpret capture wrote")
        first = self.stores[0]
        for store in self.stores:
            if store.pool is not None:
                raise UsageError(
                    f"{store.path} holds one vector for each text ({store.pool}), and a probe needs one for each "
                    "token; capture without pool"
                )
            wrong = [name for name in _SAME if store.model[name] != first.model[name]]
            if wrong:
                raise UsageError(
                    f"{first.path} and {store.path} were captured from different models ({', '.join(wrong)}); probe "
                    "them apart"
                )

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.stores[0].model["name"])

    @property
    def possible(self) -> tuple[Key, ...]:
        """Sites and layers with a vector for each token, in every store."""
        common = [key for key in self.stores[0].keys if all(key in store.keys for store in self.stores)]
        views = [(key, self._view(0, key)) for key in common]
        return tuple(key for key, view in views if isinstance(view, RowView) and view.axes[0] == "token")

    def keys(self, sites: Sequence[str] | str | None) -> list[Key]:
        """The (site, layer) pairs asked for; None means all.

        Raises:
            UnknownSiteError: one is not stored.
        """
        possible = self.possible
        if sites is None:
            return list(possible)
        found: list[Key] = []
        for written in [sites] if isinstance(sites, str) else sites:
            site, layers = parse_site(written)
            here = [key for key in possible if key[0] == site and (layers is None or key[1] in layers)]
            lost = [layer for layer in layers or () if (site, layer) not in here]
            if not here or lost:
                names = [name if layer is None else f"{name}.{layer}" for name, layer in possible]
                asked = f"{site}.{lost[0]}" if here else written
                raise UnknownSiteError(
                    f"{asked} is not stored in {', '.join(str(store.path) for store in self.stores)} with a vector for "
                    f"each token; stored are {', '.join(names) or 'none'}; name one of these, or capture again with "
                    f"{asked}"
                )
            found += here
        return list(dict.fromkeys(found))

    def facts(self) -> dict[str, Any]:
        """What the activations are of."""
        stores = [{"data_sha256": store.data["sha256"], "dtype": store.dtype} for store in self.stores]
        return {"name": self.name, **self.stores[0].model, "stores": stores}

    def present(self, data: ProbeData) -> ProbeData:
        """The part of `data` whose texts are in one of the stores.

        Raises:
            UsageError: none is.
        """
        here = [number for number in range(len(data)) if self._find(data, number) is not None]
        if not here:
            first = f", the first is {data.texts[0]!r:.80}" if len(data) else ""
            raise UsageError(
                f"none of the {len(data)} texts of {data.name} is in "
                f"{', '.join(str(store.path) for store in self.stores)}{first}; name the store of these texts, or "
                "capture them"
            )
        return data if len(here) == len(data) else data.take(here)

    def encoded(self, data: ProbeData) -> list[Encoded]:
        """The texts of `data`, all of them present, as the model read them.

        Words are found by characters: in the words joined by single spaces, if the store holds that text, else in the
        sentence as it is written. A word that is not written in it, as in contractions, has no token.
        """
        found: list[Encoded] = []
        for number in range(len(data)):
            text = self._find(data, number)
            if text is None:
                raise UsageError(f"{data.texts[number]!r:.80} is not in the store; take `present` of the data")
            words = data.sentences[number] if data.level == "word" else None
            spans: list[Span | None] | None = None
            if words is not None:
                spans = _joined_spans(words) if text == " ".join(words) else spans_of_words(text, words)
            found.append(self._encoded(self._where[_digest(text)], text, spans))
        return found + [self._encoded(self._where[_digest(text)], text, None) for text in data.seconds]

    def _find(self, data: ProbeData, number: int) -> str | None:
        """The text of one sentence as a store holds it; of a pair the first, where the second is there too."""
        if data.seconds and _digest(data.seconds[number]) not in self._where:
            return None
        texts = [data.texts[number]]
        if data.level == "word":
            texts.insert(0, " ".join(data.sentences[number]))
        return next((text for text in texts if _digest(text) in self._where), None)

    def tokens(
        self, key: Key, encoded: Sequence[Encoded], positions: Sequence[IntArray], items: Sequence[IntArray]
    ) -> Iterator[tuple[IntArray, Tensor]]:
        """Items and the vectors [token, ...] of their tokens, by shard; an item never spans two shards.

        Args:
            key: site and layer.
            encoded: texts as `encoded` gave them.
            positions: of each text, positions of tokens.
            items: of each text, the item each of these tokens belongs to.
        """
        places = [self._where[_digest(row.text)] for row in encoded]
        for number, (_, _, starts) in enumerate(self._columns):
            chosen = [i for i, place in enumerate(places) if place.store == number and len(items[i])]
            if not chosen:
                continue
            row = np.concatenate([starts[places[i].example] + positions[i] for i in chosen])
            item = np.concatenate([items[i] for i in chosen])
            view = self._view(number, key)
            if not isinstance(view, RowView):
                raise UsageError(f"{key[0]} has no vector for each token")
            at = np.full(len(view), -1, dtype=np.int64)
            for rows, values in view:
                at[rows] = np.arange(len(rows))
                here = at[row] >= 0
                if here.any():
                    yield item[here], values[at[row[here]]]
                at[rows] = -1

    def _view(self, number: int, key: Key) -> Any:
        return self.stores[number][key[0] if key[1] is None else f"{key[0]}.{key[1]}"]

    @cached_property
    def _where(self) -> dict[str, _Place]:
        found: dict[str, _Place] = {}
        for number, store in enumerate(self.stores):
            for example, digest in enumerate(store.examples["text_sha256"]):
                found.setdefault(str(digest), _Place(number, example))
        return found

    @cached_property
    def _columns(self) -> list[tuple[dict[str, npt.NDArray[Any]], IntArray, IntArray]]:
        """Of each store the columns of its tokens, how many tokens were cut, and where each example starts."""
        found = []
        for store in self.stores:
            names = ["token_id", "token", "word", "char_start", "char_end", "special"]
            columns = {name: store.tokens[name].to_numpy() for name in names}
            n_tokens = store.examples["n_tokens"].to_numpy(dtype=np.int64)
            cut = store.examples["n_truncated"].to_numpy(dtype=np.int64)
            found.append((columns, cut, np.concatenate([[0], np.cumsum(n_tokens)])))
        return found

    def _encoded(self, place: _Place, text: str, words: Sequence[Span | None] | None) -> Encoded:
        columns, cut, starts = self._columns[place.store]
        rows = slice(int(starts[place.example]), int(starts[place.example + 1]))
        spans = list(zip(columns["char_start"][rows].tolist(), columns["char_end"][rows].tolist(), strict=True))
        special = columns["special"][rows].tolist()
        index: list[int] = columns["word"][rows].tolist()
        units: list[Span] | None = None
        if words is not None:
            units = [(0, 0) if span is None else span for span in words]
            index = unit_of_tokens(text, spans, special, units)
            if None in words or "".join(text.split()) != "".join(text[a:b] for a, b in units):
                # What stands between the words belongs to none of them.
                index = [
                    -1 if w < 0 or not _overlap(span, units[w]) else w for w, span in zip(index, spans, strict=True)
                ]
        n_truncated = int(cut[place.example])
        lost = _cut(text, [span for span, added in zip(spans, special, strict=True) if not added], n_truncated)
        return Encoded(
            text=text,
            ids=tuple(columns["token_id"][rows].tolist()),
            type_ids=None,
            tokens=tuple(columns["token"][rows].tolist()),
            word_index=tuple(index),
            char_spans=tuple(spans),
            special=tuple(special),
            n_truncated=n_truncated,
            unit_spans=None if units is None else tuple(units),
            words_cut=tuple(w for w, unit in enumerate(units or ()) if lost and _overlap(unit, lost)),
            cut=lost,
        )


def spans_of_words(text: str, words: Sequence[str]) -> list[Span | None]:
    """Where words stand in running text, None for one that is not written there, such as part of a contraction.

    Between a word and the one before it is only space, unless words in between are not written.
    """
    found: list[Span | None] = []
    end, skipped = 0, False
    for word in words:
        start = text.find(word, end)
        between = text[end:start].split() if start >= 0 else []
        if start < 0 or len(between) > int(skipped):
            found.append(None)
            skipped = True
        else:
            end = start + len(word)
            found.append((start, end))
            skipped = False
    return found


def _joined_spans(words: Sequence[str]) -> list[Span | None]:
    spans: list[Span | None] = []
    start = 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return spans


def _cut(text: str, kept: Sequence[Span], n_truncated: int) -> Span | None:
    """Where the characters are that the model did not see: in front of its tokens or behind them."""
    if not n_truncated:
        return None
    first, last = (min(a for a, _ in kept), max(b for _, b in kept)) if kept else (0, 0)
    return (0, first) if text[:first].strip() and not text[last:].strip() else (last, len(text))


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
