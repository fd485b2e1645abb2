"""What scalar of the model is explained: always a logit or a difference of two logits, never a probability.

    resolve_targets(handle, encoded)                              # the predicted class or token
    resolve_targets(handle, encoded, "negative")                  # a class by name (or index)
    resolve_targets(handle, encoded, ("positive", "negative"))    # a contrast
    resolve_targets(handle, encoded, "gold", gold=labels)

Probabilities saturate: their gradients vanish just where the model is sure, so an explanation of a
probability says least about the clearest examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np

from interpret.errors import UsageError
from interpret.models.batching import Row, logits
from interpret.models.handle import EXPLAINED, Handle
from interpret.models.inputs import Encoded
from interpret.models.state import tokenizer_state
from interpret.results.explanations import TargetRecord

TargetKind = Literal["class", "contrast", "next_token", "mask_token"]
Chosen = Literal["predicted", "gold", "given"]
TargetItem = int | str | tuple[int | str, int | str]
#: None or "predicted", "gold", one label or token for all texts, a pair (explained, foil), or a list with one
#: per text.
TargetRequest = TargetItem | Sequence[TargetItem] | None

#: Vocabulary logits of this many texts are held at once while predicted tokens are read off.
_CHUNK: Final = 64


@dataclass(frozen=True)
class Target:
    """One scalar of one text's logits. `position` is the place of the mask token, None where there is none."""

    kind: TargetKind
    index: int
    foil_index: int | None = None
    chosen: Chosen = "predicted"
    position: int | None = None

    def of(self, logits: Any) -> Any:
        """The scalar from logits `[..., label]` (numpy or torch); `[...]`, in logits."""
        value = logits[..., self.index]
        return value if self.foil_index is None else value - logits[..., self.foil_index]

    def record(self, handle: Handle) -> TargetRecord:
        """The target as it stands in results, with names for the indices."""
        return TargetRecord(
            kind=self.kind,
            index=self.index,
            label=_name(handle, self.index),
            foil_index=self.foil_index,
            foil_label=None if self.foil_index is None else _name(handle, self.foil_index),
            chosen=self.chosen,
        )


def resolve_targets(
    handle: Handle,
    encoded: Sequence[Encoded],
    target: TargetRequest = None,
    gold: Sequence[int | str] | None = None,
) -> list[Target]:
    """One target per text.

    Args:
        handle: a model with logits to explain.
        encoded: the texts.
        target: None or "predicted" for what the model predicts; "gold" for `gold`; a label, class index,
            token or token id; a pair of them for their difference; or a list with one of these per text.
        gold: the gold label (or token) of each text; read only when `target` is "gold".

    Raises:
        UsageError: the model has no such label or token, or has no logits to explain.
    """
    if handle.task == "none":
        raise UsageError(
            f"{handle.name} has no classification or language-modelling head, so there is no logit to explain; "
            "load it with task='text-classification', 'causal-lm' or 'masked-lm'"
        )
    if handle.task not in EXPLAINED:
        raise UsageError(
            f"{handle.name} is a {handle.task} model, whose outputs cannot be explained yet, only those of "
            f"{', '.join(EXPLAINED)}; its activations can be captured and probed"
        )
    positions = [mask_position(handle, e) for e in encoded]
    chosen: Chosen = "given"
    items: list[TargetItem | None]
    if target is None or (target == "predicted" and "predicted" not in handle.labels):
        items, chosen = [None] * len(encoded), "predicted"
    elif target == "gold" and gold is not None:
        items, chosen = _per_text(gold, len(encoded), "gold"), "gold"
    elif target == "gold" and "gold" not in handle.labels:
        raise UsageError('target "gold" needs the gold label of each text; give them as gold=[...]')
    elif isinstance(target, int | str | np.integer) or _is_pair(target):
        items = [cast(TargetItem, target)] * len(encoded)
    else:
        items = _per_text(target, len(encoded), "target")
    if any(item is None for item in items):
        predicted = predicted_indices(handle, encoded)
        items = [p if item is None else item for item, p in zip(items, predicted, strict=True)]
    kind = _kind(handle)
    out: list[Target] = []
    for item, position in zip(items, positions, strict=True):
        if isinstance(item, tuple):
            index, foil = (_index(handle, part) for part in item)
            if index == foil:
                raise UsageError(f"the contrast {item!r} names {_name(handle, index)!r} twice; give two that differ")
            out.append(Target("contrast" if kind == "class" else kind, index, foil, chosen, position))
        else:
            assert item is not None
            out.append(Target(kind, _index(handle, item), None, chosen, position))
    return out


def restore_targets(handle: Handle, encoded: Sequence[Encoded], records: Sequence[TargetRecord]) -> list[Target]:
    """Targets from their records; where a record does not know its scalar, the predicted class or token."""
    out: list[Target | None] = []
    for e, record in zip(encoded, records, strict=True):
        wanted = record.index if record.index is not None else record.label
        foil = record.foil_index if record.foil_index is not None else record.foil_label
        if wanted is None:
            out.append(None)
            continue
        kind = _kind(handle)
        out.append(
            Target(
                "contrast" if kind == "class" and foil is not None else kind,
                _index(handle, wanted),
                None if foil is None else _index(handle, foil),
                record.chosen,
                mask_position(handle, e),
            )
        )
    open_ = [i for i, t in enumerate(out) if t is None]
    for i, target in zip(open_, resolve_targets(handle, [encoded[i] for i in open_]), strict=True):
        out[i] = target
    return [t for t in out if t is not None]


def predicted_indices(handle: Handle, encoded: Sequence[Encoded]) -> list[int]:
    """The class or token with the highest logit for each text."""
    rows = [Row(e.ids, e.type_ids) for e in encoded]
    out: list[int] = []
    for start in range(0, len(rows), _CHUNK):
        out += np.argmax(logits(handle, rows[start : start + _CHUNK]), axis=-1).tolist()
    return out


def mask_position(handle: Handle, encoded: Encoded) -> int | None:
    """Where the first mask token stands; None unless the task is to fill it in.

    Raises:
        UsageError: the task is masked-lm and the text holds no mask token.
    """
    if handle.task != "masked-lm":
        return None
    if handle.mask_id not in encoded.ids:
        mask = getattr(handle.tokenizer, "mask_token", None) or "[MASK]"
        raise UsageError(
            f"a masked language model is explained at its mask token, but the text {_short(encoded.text)!r} holds "
            f"none; write {mask} where the model should fill in a word"
        )
    return encoded.ids.index(handle.mask_id)


def _kind(handle: Handle) -> TargetKind:
    if handle.task == "text-classification":
        return "class"
    return "next_token" if handle.task == "causal-lm" else "mask_token"


def _is_pair(target: object) -> bool:
    """A tuple of two is a contrast; a list, or a tuple of any other length, is one target per text."""
    return isinstance(target, tuple) and len(target) == 2 and not any(isinstance(t, tuple) for t in target)


def _per_text(items: Sequence[Any], n: int, name: str) -> list[Any]:
    found = list(items)
    if len(found) != n:
        raise UsageError(f"{name} holds {len(found)} entries for {n} texts; give one per text")
    return found


def _name(handle: Handle, index: int) -> str:
    if handle.task == "text-classification":
        return handle.labels[index]
    if handle.tokenizer is None:
        return str(index)
    return str(handle.tokenizer.decode([index])) or str(handle.tokenizer.convert_ids_to_tokens(index))


def _index(handle: Handle, wanted: int | str) -> int:
    if handle.task == "text-classification":
        return _label_index(handle, wanted)
    return _token_index(handle, wanted)


def _label_index(handle: Handle, wanted: int | str) -> int:
    labels = handle.labels
    if isinstance(wanted, str):
        if wanted in labels:
            return labels.index(wanted)
        folded = [i for i, label in enumerate(labels) if label.casefold() == wanted.strip().casefold()]
        if len(folded) == 1:
            return folded[0]
        raise UsageError(f"{handle.name} has no label {wanted!r}; its labels are {', '.join(map(repr, labels))}")
    if 0 <= int(wanted) < len(labels):
        return int(wanted)
    raise UsageError(
        f"{handle.name} has no class {wanted}; its {len(labels)} classes are 0 to {len(labels) - 1}: "
        f"{', '.join(map(repr, labels))}"
    )


def _token_index(handle: Handle, wanted: int | str) -> int:
    n_vocabulary = handle.vocab_size
    if not isinstance(wanted, str):
        if 0 <= int(wanted) < n_vocabulary:
            return int(wanted)
        raise UsageError(f"token id {wanted} is outside the vocabulary of {handle.name}: 0 to {n_vocabulary - 1}")
    tokenizer = handle.tokenizer
    if tokenizer is None:
        raise UsageError(f"token {wanted!r} needs a tokenizer, and none was attached; give a token id")
    vocabulary = tokenizer.get_vocab()
    if wanted in vocabulary:
        return int(vocabulary[wanted])
    with tokenizer_state(tokenizer):
        pieces = tokenizer.encode(wanted, add_special_tokens=False)
    if len(pieces) == 1:
        return int(pieces[0])
    shown = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(pieces)))
    raise UsageError(
        f"{wanted!r} is {len(pieces)} tokens for {handle.name} ({shown}), and one token is explained at a time; "
        "give one of them, or a token id"
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
