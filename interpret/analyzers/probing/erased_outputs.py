"""What becomes of a model's outputs when something is erased at a site while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.probing.erasers import Eraser
from interpret.capture.capture import capturing
from interpret.capture.edits import Edit
from interpret.capture.points import Key, name_of
from interpret.models.batching import Row, head_budget_of, run_batches
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.sites import axes_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Change = Callable[[Tensor], Tensor]

#: Tasks whose outputs are distributions that can be compared position by position.
MEASURED: Final = ("text-classification", "token-classification", "masked-lm", "causal-lm")
#: Several copies of the logits are held at once, in float64.
_COPIES: Final = 4


class Reading(NamedTuple):
    """What the model reads of one text, where its output is looked at, and what it should say there (-1: unknown).

    `positions` is empty where a text has one output.
    """

    row: Row
    positions: tuple[int, ...]
    gold: tuple[int, ...]


def readings(
    handle: Handle, encoded: Sequence[Encoded], gold: Sequence[Sequence[int]] | None, seed: int
) -> list[Reading]:
    """Where each text's output is looked at.

    The class of a text; the class at the first token of each word; every next token; or one token drawn in each text
    and masked. `gold` [text][word] or [text][0] are class indices, -1 where unknown; language models have the text.
    Texts without such a place have no gold and no positions and are left out of all sums.
    """
    found = []
    for n, text in enumerate(encoded):
        row = Row(text.ids, text.type_ids)
        content = [p for p, special in enumerate(text.special) if not special]
        match handle.task:
            case "text-classification":
                found.append(Reading(row, (), (-1 if gold is None else gold[n][0],)))
            case "token-classification":
                first: dict[int, int] = {}
                for position, word in enumerate(text.word_index):
                    if word >= 0:
                        first.setdefault(word, position)
                right = tuple(-1 if gold is None else gold[n][word] for word in first)
                found.append(Reading(row, tuple(first.values()), right))
            case "causal-lm":
                places = [p for p in content if p > 0]
                found.append(Reading(row, tuple(p - 1 for p in places), tuple(text.ids[p] for p in places)))
            case _:
                if not content or handle.mask_id is None:
                    found.append(Reading(row, (), ()))
                    continue
                at = content[int(np.random.default_rng([seed, n]).integers(len(content)))]
                ids = (*text.ids[:at], handle.mask_id, *text.ids[at + 1 :])
                found.append(Reading(Row(ids, text.type_ids), (at,), (text.ids[at],)))
    return found


@dataclass(frozen=True, eq=False)
class Outputs:
    """Sums over the looked-at places of each text, for the model as it is and under each change.

    `n` [text] counts places, `n_gold` those with a known answer. `right` and `log_probability` (of the known answer,
    nats) are [1 + change, text], the model as it is first; `changed` (places where another class or token is
    likeliest), `total_variation` and `kl` (nats, from the model as it is) are [change, text].
    """

    n: FloatArray
    n_gold: FloatArray
    right: FloatArray
    log_probability: FloatArray
    changed: FloatArray
    total_variation: FloatArray
    kl: FloatArray


def affine_change(eraser: Eraser, site: str, where: Tensor | None = None) -> Change:
    """The eraser as a function of the whole tensor of a site; `where` [example, position] limits it."""
    axis = axes_of(site).index("position")

    def change(value: Tensor) -> Tensor:
        # float64 is not on every device; the eraser was fitted in it.
        precision = torch.float32 if value.device.type == "mps" else torch.float64
        mean, left, right = (
            torch.from_numpy(part).to(value.device, precision) for part in (eraser.mean, eraser.left, eraser.right)
        )
        aligned = value.movedim(axis, 1)
        flat = aligned.flatten(2).to(precision)
        new = (flat - ((flat - mean) @ right) @ left.T).to(value.dtype)
        if where is not None:
            new = torch.where(where.to(value.device)[:, : new.shape[1], None], new, aligned.flatten(2))
        return new.reshape(aligned.shape).movedim(1, axis)

    return change


def outputs_under(
    handle: Handle,
    texts: Sequence[Reading],
    key: Key,
    changes: Sequence[Callable[[Tensor | None], Change]],
    *,
    probed: Sequence[IntArray] | None = None,
    progress: str | None = None,
) -> Outputs:
    """Run the texts as they are and once under each change at `key`, and compare the outputs.

    Args:
        handle: the attached model, of one of the tasks in `MEASURED`.
        texts: what to read, from `readings`.
        key: the site and layer that are edited, at every real position.
        changes: each makes, of a mask [example, position] or None, what is done to the site's tensor.
        probed: positions of each text that alone are edited; None edits all real positions, special tokens too.
        progress: label of a progress bar.
    """
    n_texts, n_changes = len(texts), len(changes)
    out = Outputs(
        np.zeros(n_texts),
        np.zeros(n_texts),
        *(np.zeros((n_changes + 1, n_texts)) for _ in range(2)),
        *(np.zeros((n_changes, n_texts)) for _ in range(3)),
    )
    extra = handle.without_cache

    def step(batch: dict[str, Tensor], indices: list[int]) -> list[tuple[str, int | None, FloatArray]]:
        lines, places, gold = [], [], []
        for line, i in enumerate(indices):
            at = texts[i].positions or ((0,) if texts[i].gold else ())
            lines += [line] * len(at)
            places += list(at)
            gold += list(texts[i].gold)
        line_of = torch.tensor(lines, dtype=torch.long)
        right = torch.tensor(gold, dtype=torch.long)

        def log_p() -> Tensor:
            with torch.no_grad():
                logits: Tensor = handle.model(**batch, **extra).logits
            if logits.ndim == 3:
                logits = logits[line_of.to(logits.device), torch.tensor(places, dtype=torch.long, device=logits.device)]
            else:
                logits = logits[line_of.to(logits.device)]
            return logits.cpu().double().log_softmax(-1)

        def sums(values: Tensor) -> FloatArray:
            return torch.zeros(len(indices), dtype=torch.float64).index_add_(0, line_of, values.double()).numpy()

        known = right >= 0
        safe = right.clamp(min=0)[:, None]

        def answers(found: Tensor) -> tuple[FloatArray, FloatArray]:
            own = torch.where(known, found.gather(1, safe)[:, 0], torch.zeros(len(found), dtype=found.dtype))
            return sums((found.argmax(1) == right) & known), sums(own)

        before = log_p()
        results: list[tuple[str, int | None, FloatArray]] = []
        results += [("n", None, sums(torch.ones(len(lines)))), ("n_gold", None, sums(known))]
        for name, values in zip(("right", "log_probability"), answers(before), strict=True):
            results.append((name, 0, values))
        mask = None
        if probed is not None:
            mask = torch.zeros(batch["input_ids"].shape, dtype=torch.bool)
            for line, i in enumerate(indices):
                mask[line, torch.from_numpy(probed[i])] = True
        share = before.exp()
        for c, make in enumerate(changes):
            with capturing(handle, edits=[Edit.apply(name_of(key), make(mask))]):
                after = log_p()
            for name, values in zip(("right", "log_probability"), answers(after), strict=True):
                results.append((name, c + 1, values))
            # 0 log 0 is 0: a class of no share has no part in the divergence.
            kl = torch.where(share > 0, share * (before - after), torch.zeros_like(share)).sum(1)
            results.append(("kl", c, sums(kl)))
            results.append(("total_variation", c, sums((share - after.exp()).abs().sum(1) / 2)))
            results.append(("changed", c, sums(before.argmax(1) != after.argmax(1))))
        return results

    budget = max(1, head_budget_of(handle) // _COPIES)
    rows = [text.row for text in texts]
    for indices, results in run_batches(handle, rows, step, token_budget=budget, progress=progress):
        for name, c, values in results:
            array: Any = getattr(out, name)
            if c is None:
                array[indices] = values
            else:
                array[c, indices] = values
    return out
