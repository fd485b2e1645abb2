"""Everything that needs many altered copies of a text asks here: each distinct row runs once.

    scheduler = Scheduler(handle)
    scored = scheduler.score(rows, index=[1, 1, 0])     # logits and probabilities of the explained classes
    scheduler.n_requested, scheduler.n_run

Removal works on token ids, never on strings: a masked string is tokenised anew and comes back as other
tokens.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.errors import UsageError
from interpret.models import batching
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, Unit, unit_index
from interpret.models.state import tokenizer_state
from interpret.results.explanations import FloatArray

#: Outputs up to this width are kept whole; of wider ones (vocabularies) only the target's numbers are.
_NARROW: Final = 64
#: Logits held at once while a wide output is reduced to the target's numbers.
_CHUNK_FLOATS: Final = 4_000_000
#: Plain tokens that may stand for nothing when every special token of a decoder is also its pad token.
_NEUTRAL: Final = (" ", "\n", "_", ".", ",")


class Operator(NamedTuple):
    """How content is removed: each removed token becomes `token_id`; `name` is recorded with every result."""

    name: str
    token_id: int


class Scored(NamedTuple):
    """`logit` is the target's scalar (less its foil), `probability` the explained class's share; both [row]."""

    logit: FloatArray
    probability: FloatArray


class Scheduler:
    """Runs rows through `models.batching`, each distinct one once, and remembers the outputs of the latest ones.

    Args:
        handle: the model.
        max_rows: how many rows' outputs are remembered; the oldest are forgotten first.

    Attributes:
        n_requested: rows asked for so far.
        n_run: rows that went through the model.
    """

    def __init__(self, handle: Handle, *, max_rows: int = 50_000) -> None:
        self.handle = handle
        self.max_rows = max_rows
        self.n_requested = 0
        self.n_run = 0
        self._cache: OrderedDict[bytes, FloatArray] = OrderedDict()

    def logits(self, rows: Sequence[Row]) -> FloatArray:
        """Class logits `[row, label]`, float64.

        Raises:
            UsageError: the model's outputs are as wide as a vocabulary; use `score`.
        """
        if self.handle.task != "text-classification":
            raise UsageError("whole logits are kept for classifiers only; ask score() for one token's")
        if not rows:
            return np.zeros((0, len(self.handle.labels)))
        return np.stack(self._through_cache([_digest(row) for row in rows], rows, None, None))

    def score(
        self,
        rows: Sequence[Row],
        index: Sequence[int],
        foil: Sequence[int | None] | None = None,
        positions: Sequence[int | None] | None = None,
    ) -> Scored:
        """The target's logit and the explained class's probability of each row.

        Args:
            rows: token ids, ragged.
            index: the explained class or token of each row.
            foil: what is subtracted in a contrast, or None.
            positions: where the logits of a masked-lm row are read; elsewhere None.
        """
        if not rows:
            return Scored(np.zeros(0), np.zeros(0))
        foils = [None] * len(rows) if foil is None else list(foil)
        if self.handle.task == "text-classification" and len(self.handle.labels) <= _NARROW:
            whole = self.logits(rows)
            pick = np.arange(len(rows)), np.asarray(index)
            off = np.array([0.0 if f is None else whole[i, f] for i, f in enumerate(foils)])
            return Scored(whole[pick] - off, np.exp(_log_probability(self.handle, whole)[pick]))
        wanted = [(i, -1 if f is None else f) for i, f in zip(index, foils, strict=True)]
        at = [] if positions is None else [p for p in positions if p is not None]
        places = at if len(at) == len(rows) else None
        keys = [
            _digest(row, (*pair, -1 if places is None else places[n]))
            for n, (row, pair) in enumerate(zip(rows, wanted, strict=True))
        ]
        found = np.stack(self._through_cache(keys, rows, wanted, places))
        return Scored(found[:, 0], np.exp(found[:, 1]))

    def _through_cache(
        self,
        keys: Sequence[bytes],
        rows: Sequence[Row],
        wanted: Sequence[tuple[int, int]] | None,
        positions: Sequence[int] | None,
    ) -> list[FloatArray]:
        """What each row yields, from the cache or from the model; `wanted` asks for reduced outputs."""
        self.n_requested += len(rows)
        found: dict[bytes, FloatArray] = {}
        missing: dict[bytes, int] = {}
        for n, key in enumerate(keys):
            if key in self._cache:
                found[key] = self._cache[key]
            elif key not in found:
                missing.setdefault(key, n)
        order = list(missing.values())
        width = self.handle.vocab_size if wanted is not None else 1
        step = max(1, _CHUNK_FLOATS // width) if wanted is not None else max(1, len(order))
        for start in range(0, len(order), step):
            part = order[start : start + step]
            output = batching.logits(
                self.handle,
                [rows[n] for n in part],
                positions=None if positions is None else [positions[n] for n in part],
            )
            if wanted is not None:
                output = _reduce(self.handle, output, [wanted[n] for n in part])
            for n, values in zip(part, output, strict=True):
                found[keys[n]] = np.array(values)
        self.n_run += len(order)
        for key in missing:
            self._cache[key] = found[key]
        while len(self._cache) > self.max_rows:
            self._cache.popitem(last=False)
        return [found[key] for key in keys]


def removal(handle: Handle, name: str | None = None) -> Operator:
    """The operator that removes content from this model's texts.

    Encoders know their mask token as "something stood here". Decoders have none: the end, unknown or begin
    token stands in. A decoder classifier finds the last token by the pad id, so a removed token must never
    become one.

    Args:
        handle: the model.
        name: one of "mask_token", "eos_token", "unk_token", "bos_token", "pad_token"; None picks.

    Raises:
        UsageError: the tokenizer has no such token, or none that may be used.
    """
    tokenizer = handle.tokenizer
    if tokenizer is None:
        raise UsageError("removing words needs a tokenizer, and none was attached; attach(model, tokenizer)")
    pad_forbidden = handle.is_decoder and handle.task == "text-classification"
    pads = {handle.pad_id, getattr(handle.config, "pad_token_id", None)} if pad_forbidden else set()
    default = ("eos_token", "unk_token", "bos_token") if handle.is_decoder else ("mask_token", "unk_token")
    known: dict[str, int] = {}
    for kind in ("mask_token", "eos_token", "unk_token", "bos_token", "pad_token"):
        token_id = getattr(tokenizer, f"{kind}_id", None)
        if token_id is not None and token_id not in pads:
            known[kind] = int(token_id)
    if name is not None:
        if name not in known:
            raise UsageError(f"cannot remove words with {name!r}: this model offers {', '.join(known) or 'none'}")
        return Operator(name, known[name])
    for kind in default:
        if kind in known:
            return Operator(kind, known[kind])
    for text in _NEUTRAL:
        with tokenizer_state(tokenizer):
            ids = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) == 1 and ids[0] not in pads:
            return Operator(f"token {text!r}", int(ids[0]))
    raise UsageError(
        f"{handle.name} has no token that can stand for a removed word (every candidate is its pad token); "
        "set tokenizer.unk_token or tokenizer.mask_token to one that is not"
    )


def features(encoded: Encoded, unit: Unit = "word", protected: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Token positions of each removable feature, in text order; special tokens and `protected` belong to none."""
    grouped: dict[int, list[int]] = {}
    for p, index in enumerate(unit_index(encoded, unit)):
        if index >= 0 and not encoded.special[p] and p != protected:
            grouped.setdefault(index, []).append(p)
    return tuple(tuple(positions) for _, positions in sorted(grouped.items()))


def without(encoded: Encoded, positions: Iterable[int], operator: Operator) -> Row:
    """The text with the tokens at `positions` removed; its length and token types stay."""
    ids = list(encoded.ids)
    for p in positions:
        ids[p] = operator.token_id
    return Row(tuple(ids), encoded.type_ids)


def masked_rows(
    encoded: Encoded,
    groups: Sequence[Sequence[int]],
    keep: npt.NDArray[np.bool_],
    operator: Operator,
) -> list[Row]:
    """One row per line of `keep` [row, feature]: features that are not kept are removed."""
    return [without(encoded, (p for f in np.flatnonzero(~line).tolist() for p in groups[f]), operator) for line in keep]


def _digest(row: Row, extra: tuple[int, ...] = ()) -> bytes:
    """Sixteen bytes for a row: keys that hold the ids themselves would outweigh the outputs."""
    digest = hashlib.blake2b(np.asarray(row.ids, dtype=np.int64).tobytes(), digest_size=16)
    digest.update(b"t" if row.type_ids is None else np.asarray(row.type_ids, dtype=np.int8).tobytes())
    digest.update(np.asarray(extra, dtype=np.int64).tobytes())
    return digest.digest()


def _reduce(handle: Handle, output: FloatArray, wanted: Sequence[tuple[int, int]]) -> FloatArray:
    """[row, 2]: the target's logit and the log probability of what it explains."""
    log_probability = _log_probability(handle, output)
    return np.array(
        [[output[n, i] - (output[n, f] if f >= 0 else 0.0), log_probability[n, i]] for n, (i, f) in enumerate(wanted)]
    )


def _log_probability(handle: Handle, output: FloatArray) -> FloatArray:
    """Log softmax; for one output or independent labels the log sigmoid of each."""
    independent = getattr(handle.config, "problem_type", None) == "multi_label_classification"
    if handle.task == "text-classification" and (output.shape[-1] == 1 or independent):
        return -np.logaddexp(0.0, -output)
    shifted = output - output.max(axis=-1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
