"""Everything that needs many altered copies of a text asks here: each distinct row runs once.

    scheduler = Scheduler(handle)
    scored = scheduler.score_targets(rows, targets)     # logits, and probabilities of the explained classes
    scheduler.n_requested, scheduler.n_run

Removal works on token ids, never on strings: a masked string is tokenised anew and comes back as other
tokens.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from interpret.analyzers.target import Target
from interpret.capture.shortened import Shortened
from interpret.errors import UsageError
from interpret.models import batching
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, unit_index
from interpret.models.kernels import fast_linear
from interpret.models.readout import OutputFunction, Readout, log_shares, logits_of, of_output, readouts
from interpret.models.state import tokenizer_state
from interpret.models.units import Unit
from interpret.results.explanations import FloatArray

#: Outputs up to this width are kept whole; of wider ones (vocabularies) only the target's numbers are.
_NARROW: Final = 64
#: Plain tokens that may stand for nothing when every special token of a decoder is also its pad token.
_NEUTRAL: Final = (" ", "\n", "_", ".", ",")
#: Stands as the token id of the operator that takes tokens out of the ids; no vocabulary has it.
TAKEN_OUT: Final = -1


class Operator(NamedTuple):
    """How content is removed: each removed token becomes `token_id`, or is taken out where that is `TAKEN_OUT`.

    `name` is recorded with every result.
    """

    name: str
    token_id: int


class Scored(NamedTuple):
    """`logit` is the target's scalar (less its foil), `probability` the explained class's share; both [row].

    A function of the output explains no class; `probability` is then its value too.
    """

    logit: FloatArray
    probability: FloatArray


class Scheduler:
    """Runs rows through `models.batching`, each distinct one once, and remembers the outputs of the latest ones.

    Args:
        handle: the model.
        max_rows: how many rows' outputs are remembered; the oldest are forgotten first.

    Attributes:
        n_requested: rows asked for so far.
        n_run: rows whose output was computed; those that begin alike share what they begin with.
    """

    def __init__(self, handle: Handle, *, max_rows: int = 50_000) -> None:
        self.handle = handle
        self.max_rows = max_rows
        self.n_requested = 0
        self.n_run = 0
        self._cache: OrderedDict[bytes, FloatArray] = OrderedDict()
        self._shortened = Shortened(handle)
        # Held, so that no other function comes to stand at the same address.
        self._functions: list[OutputFunction] = []

    def logits(self, rows: Sequence[Row]) -> FloatArray:
        """Class logits `[row, label]`, float64.

        Raises:
            UsageError: the model's outputs are as wide as a vocabulary; use `score_targets`.
        """
        if self.handle.task != "text-classification":
            raise UsageError("whole logits are kept for classifiers only; ask score_targets() for one token's")
        if not rows:
            return np.zeros((0, len(self.handle.labels)))

        def run(order: list[int]) -> Sequence[FloatArray]:
            some = [rows[n] for n in order]
            if self.handle.is_decoder:
                # Texts that a decoder reads may share what they begin with.
                return logits_of(self.handle, some)
            with self._shortened.for_rows(some):
                return list(batching.logits(self.handle, some))

        return np.stack(self._remembered([_digest(row) for row in rows], run))

    def score_targets(self, rows: Sequence[Row], targets: Sequence[Target]) -> Scored:
        """The scalar of each row's target, and the probability of what it explains (of a response: of all of it).

        Args:
            rows: token ids, ragged, each with what the model reads of its response.
            targets: one per row.
        """
        if not rows:
            return Scored(np.zeros(0), np.zeros(0))
        narrow = self.handle.task == "text-classification" and len(self.handle.labels) <= _NARROW
        if not narrow or any(target.function is not None for target in targets):
            return self._scored(rows, [target.readout for target in targets])
        # Whole logits are remembered, so that another class costs nothing.
        whole = self.logits(rows)
        value = np.array([target.of(line) for target, line in zip(targets, whole, strict=True)])
        shares = log_shares(self.handle, torch.from_numpy(whole)).exp().numpy()
        return Scored(value, shares[np.arange(len(rows)), [target.index for target in targets]])

    def _scored(self, rows: Sequence[Row], wanted: Sequence[Readout]) -> Scored:
        keys = [_digest(row, self._numbers(readout)) for row, readout in zip(rows, wanted, strict=True)]

        def run(order: list[int]) -> Sequence[FloatArray]:
            return list(readouts(self.handle, [rows[n] for n in order], [wanted[n] for n in order]))

        found = np.stack(self._remembered(keys, run))
        return Scored(found[:, 0], found[:, 1] if of_output(wanted) else np.exp(found[:, 1]))

    def _numbers(self, readout: Readout) -> tuple[int, ...]:
        """A readout as whole numbers that tell it from others; weights are multiples of a millionth."""
        if isinstance(readout, OutputFunction):
            if readout not in self._functions:
                self._functions.append(readout)
            return (-1, self._functions.index(readout))
        outputs = ("logits", "start_logits", "end_logits")
        return tuple(
            number
            for term in readout
            for number in (
                term.index,
                -(2**40) if term.position is None else term.position,
                round(1e6 * term.weight),
                outputs.index(term.output),
                int(term.log_probability),
            )
        )

    def _remembered(self, keys: Sequence[bytes], run: Callable[[list[int]], Sequence[FloatArray]]) -> list[FloatArray]:
        """What each row yields, from the cache or from `run`, which is given the places of those that are missing."""
        self.n_requested += len(keys)
        found: dict[bytes, FloatArray] = {}
        missing: dict[bytes, int] = {}
        for n, key in enumerate(keys):
            if key in self._cache:
                found[key] = self._cache[key]
            else:
                missing.setdefault(key, n)
        order = list(missing.values())
        if order:
            with fast_linear(self.handle):
                ran = run(order)
            for n, values in zip(order, ran, strict=True):
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
    token stands in. A decoder classifier finds the last token by the pad id, an encoder-decoder that classifies by
    the end token, so a removed token must never become one.

    Args:
        handle: the model.
        name: one of "mask_token", "eos_token", "unk_token", "bos_token", "pad_token"; None picks.

    Raises:
        UsageError: the tokenizer has no such token, or none that may be used.
    """
    tokenizer = handle.tokenizer
    if tokenizer is None:
        raise UsageError("removing words needs a tokenizer, and none was attached; attach(model, tokenizer)")
    default: tuple[str, ...] = ("mask_token", "unk_token")
    if handle.is_decoder and handle.end_id is None:
        default = ("eos_token", "unk_token", "bos_token")
    pads = _forbidden(handle)
    known = replacements(handle)
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


def replacements(handle: Handle) -> dict[str, int]:
    """The special tokens that may stand for a removed word, by name, with their ids; empty without a tokenizer."""
    found: dict[str, int] = {}
    for kind in ("mask_token", "eos_token", "unk_token", "bos_token", "pad_token"):
        token_id = getattr(handle.tokenizer, f"{kind}_id", None)
        if token_id is not None and token_id not in _forbidden(handle):
            found[kind] = int(token_id)
    return found


def deletion(handle: Handle) -> Operator:
    """The operator that takes removed tokens out of the ids, so that the text becomes shorter.

    Every word after a removed one moves to another position, which is a change of its own. It serves masks over
    texts; a baseline that must be as long as the text cannot be made with it.

    Raises:
        UsageError: the tokenizer adds no token of its own, so that nothing would be left of a text without words.
    """
    tokenizer = handle.tokenizer
    if tokenizer is None:
        raise UsageError("removing words needs a tokenizer, and none was attached; attach(model, tokenizer)")
    if not tokenizer.num_special_tokens_to_add(pair=False):
        raise UsageError(
            f"the tokenizer of {handle.name} adds no special token, so a text whose words are all deleted would be "
            f"empty; remove words with one of {', '.join(replacements(handle)) or 'the default operator (None)'}"
        )
    return Operator("delete", TAKEN_OUT)


def _forbidden(handle: Handle) -> set[int | None]:
    """Ids that a removed token must not become: a classifier would take them for padding, or for the text's end."""
    if handle.is_decoder and handle.task == "text-classification":
        return {handle.pad_id, getattr(handle.config, "pad_token_id", None), handle.end_id}
    return set()


def features(encoded: Encoded, unit: Unit = "word", protected: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Token positions of each removable feature, in text order; special tokens and `protected` belong to none."""
    grouped: dict[int, list[int]] = {}
    for p, index in enumerate(unit_index(encoded, unit)):
        if index >= 0 and not encoded.special[p] and p != protected:
            grouped.setdefault(index, []).append(p)
    return tuple(tuple(positions) for _, positions in sorted(grouped.items()))


def without(encoded: Encoded, positions: Iterable[int], operator: Operator) -> Row:
    """The text with the tokens at `positions` removed; unless they are taken out, its length stays."""
    gone = np.zeros((1, len(encoded.ids)), dtype=bool)
    gone[0, list(positions)] = True
    return rows_without(encoded, gone, operator)[0]


def masked_rows(
    encoded: Encoded,
    groups: Sequence[Sequence[int]],
    keep: npt.NDArray[np.bool_],
    operator: Operator,
) -> list[Row]:
    """One row per line of `keep` [row, feature]: features that are not kept are removed."""
    return rows_without(encoded, removed_tokens(encoded, groups, keep), operator)


def removed_tokens(
    encoded: Encoded, groups: Sequence[Sequence[int]], keep: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which tokens go, `[row, token]`, where features that are not kept `[row, feature]` go."""
    gone = np.zeros((len(keep), len(encoded.ids)), dtype=bool)
    sizes = [len(group) for group in groups]
    at = [position for group in groups for position in group]
    gone[:, at] = ~np.repeat(keep, sizes, axis=1)
    return gone


def rows_without(encoded: Encoded, gone: npt.NDArray[np.bool_], operator: Operator) -> list[Row]:
    """One row per line of `gone` [row, token], without the tokens that go."""
    ids, types = np.asarray(encoded.ids, dtype=np.int64), encoded.type_ids
    if operator.token_id != TAKEN_OUT:
        filled = np.where(gone, operator.token_id, ids).tolist()
        return [Row(tuple(line), types) for line in filled]
    if types is None:
        return [Row(tuple(ids[~line].tolist())) for line in gone]
    kinds = np.asarray(types, dtype=np.int64)
    return [Row(tuple(ids[~line].tolist()), tuple(kinds[~line].tolist())) for line in gone]


def _digest(row: Row, extra: Sequence[int] = ()) -> bytes:
    """Sixteen bytes for a row: keys that hold the ids themselves would outweigh the outputs."""
    digest = hashlib.blake2b(array("q", row.ids), digest_size=16)
    digest.update(b"t" if row.type_ids is None else array("b", row.type_ids))
    digest.update(b"d" if row.decoder_ids is None else array("q", row.decoder_ids))
    digest.update(array("q", extra))
    return digest.digest()
