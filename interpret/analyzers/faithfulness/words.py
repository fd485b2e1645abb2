"""An attribution laid onto the model's own words, whoever made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import numpy as np

from interpret.analyzers.scheduler import features
from interpret.analyzers.target import Target, restore_targets
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, Text, encode
from interpret.models.units import Unit
from interpret.results.explanations import Attribution, ExampleAttribution, FloatArray


@dataclass(frozen=True)
class Ranked:
    """One text as the model reads it, with a signed score [feature] for each of its words `groups`."""

    encoded: Encoded
    target: Target
    groups: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    scores: FloatArray

    @property
    def n_read(self) -> int:
        """Tokens that one altered copy of the text costs: those of all its windows, where it has any."""
        if self.encoded.windows is None:
            return len(self.encoded.ids)
        return sum(len(part.positions) for part, _ in self.target.parts(self.encoded))


def lay_out(
    handle: Handle, attribution: Attribution, function: Callable[[Any], Any] | None = None
) -> list[Ranked | None]:
    """The texts encoded anew, and each score on the word its characters belong to.

    Texts without words, and those that are not known, yield None. Of a text in windows only words that stand in a
    window that holds what is explained are there. An explanation with the model's own tokens
    keeps its scores as they are. Of any other, a token's score is shared among the words it covers by
    characters; scores of tokens without characters go to no word.
    """
    # Of a forward that the user ran, only the tokens are known and nothing can be removed.
    present = [i for i, example in enumerate(attribution) if example.text.strip()]
    examples = [attribution[i] for i in present]
    encoded = _encoded(handle, examples)
    for e, example in zip(encoded, examples, strict=True):
        covered = np.any(example.char_spans[:, 1] > example.char_spans[:, 0])
        if not covered and not all(e.special):
            raise UsageError(
                f"the explanation of {example.text[:40]!r} names no characters of its text, so its scores cannot "
                "be laid onto words; make it with Attribution.from_scores"
            )
    targets = restore_targets(handle, encoded, [example.target for example in examples], function)
    out: list[Ranked | None] = [None] * len(attribution)
    for i, e, target, example in zip(present, encoded, targets, examples, strict=True):
        own = tuple(example.token_ids.tolist()) == e.ids
        if own and example.unit != "token":
            # The explanation's own words, which may have been given by the caller.
            e = replace(e, word_index=tuple(example.word_index.tolist()))
        groups = features(e, "token" if example.unit == "token" else "word", target.protected)
        if e.windows is not None:
            # What the model cannot read where it says this has no rank: removing it at random changes nothing.
            read = {p for part, _ in target.parts(e) for p in part.positions}
            groups = tuple(group for group in groups if read & set(group))
        per_token = example.scores if own else _by_characters(e, example)
        scores = np.array([per_token[list(group)].sum() for group in groups], dtype=np.float64)
        names = tuple(_text_of(e, group) for group in groups)
        out[i] = Ranked(e, target, groups, names, scores) if groups else None
    return out


def trivial_scores(batch: Sequence[Ranked], *, last_first: bool) -> dict[str, list[FloatArray]]:
    """Rankings that know nothing of the model: long words, the side of the text that is read first, rare words.

    `last_first`: decoders read their prediction off the end, so there the last words come first.
    """
    counts = Counter(name.casefold() for ranked in batch for name in ranked.names)
    out: dict[str, list[FloatArray]] = {"word_length": [], "position": [], "inverse_frequency": []}
    for ranked in batch:
        n = len(ranked.names)
        order = np.arange(n, dtype=np.float64)
        out["word_length"].append(np.array([float(len(name)) for name in ranked.names]))
        out["position"].append(order if last_first else -order)
        out["inverse_frequency"].append(np.array([1.0 / counts[name.casefold()] for name in ranked.names]))
    return out


def _chat(handle: Handle, example: ExampleAttribution) -> Encoded:
    tokenizer: Any = handle.tokenizer
    ids = tuple(example.token_ids.tolist())
    if tokenizer is None or tuple(tokenizer.convert_ids_to_tokens(list(ids))) != example.tokens:
        raise UsageError(
            f"the chat that ends with {example.text[-40:]!r} was explained with another tokenizer than that of "
            f"{handle.name}; measure it with the model that was explained"
        )
    return Encoded(
        text=example.text,
        ids=ids,
        type_ids=None,
        tokens=example.tokens,
        word_index=tuple(example.word_index.tolist()),
        char_spans=tuple((start, end) for start, end in example.char_spans.tolist()),
        special=tuple(example.special.tolist()),
        n_truncated=example.n_truncated,
        chat=example.chat,
    )


def _given(example: ExampleAttribution) -> Text:
    """The text as it was given, a pair as two."""
    second = example.pair_start
    return example.text if second is None else (example.text[: second - 1], example.text[second:])


def _encoded(handle: Handle, examples: Sequence[ExampleAttribution]) -> list[Encoded]:
    """The texts encoded as when they were explained: in their units and, if they were read in windows, in those.

    Chats come from the record, since what a template made of them is all that is known.
    """
    found = {i: _chat(handle, example) for i, example in enumerate(examples) if example.chat}
    kinds: dict[tuple[Unit, int | None], list[int]] = {}
    for i, example in enumerate(examples):
        if i in found:
            continue
        unit = cast(Unit, example.unit) if example.unit in get_args(Unit) else "word"
        unit = "span" if example.unit_spans is not None else "word" if unit == "span" else unit
        kinds.setdefault((unit, None if example.windows is None else example.windows.stride), []).append(i)
    for (unit, stride), numbers in kinds.items():
        spans = [[(a, b) for a, b in s.tolist()] for i in numbers if (s := examples[i].unit_spans) is not None]
        made = encode(
            handle,
            [_given(examples[i]) for i in numbers],
            unit=spans if unit == "span" else unit,
            long_text="truncate" if stride is None else "windows",
            doc_stride=stride,
        )
        found |= dict(zip(numbers, made, strict=True))
    return [found[i] for i in range(len(examples))]


def _by_characters(encoded: Encoded, example: ExampleAttribution) -> FloatArray:
    """Scores of foreign tokens as scores [token] of the model's own, by the characters they share."""
    per_character = np.zeros(len(example.text))
    for (start, end), score in zip(example.char_spans.tolist(), example.scores.tolist(), strict=True):
        if end > start:
            per_character[start:end] += score / (end - start)
    return np.array([float(per_character[start:end].sum()) for start, end in encoded.char_spans])


def _text_of(encoded: Encoded, group: Sequence[int]) -> str:
    start = min(encoded.char_spans[p][0] for p in group)
    end = max(encoded.char_spans[p][1] for p in group)
    return encoded.text[start:end]
