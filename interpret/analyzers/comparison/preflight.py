"""Before anything is compared: whether anything changed at all, and whether these two models can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from interpret.analyzers.comparison.adapters import AdapterChange, adapter_changes
from interpret.analyzers.comparison.names import named_weights
from interpret.analyzers.comparison.pair import Pair, lockstep
from interpret.analyzers.comparison.weights import WeightChange, coarser, low_rank_spectrum
from interpret.models.batching import Row, head_budget_of
from interpret.models.fingerprints import tokenizer_sha256
from interpret.models.handle import Handle
from interpret.models.sources import public_name
from interpret.results.comparisons import PreflightCheck
from interpret.results.record import Message, Scalar

#: Relative norm of the median matrix: fine-tuning stays below the first, unrelated weights are near the root of 2.
_PLAUSIBLE: Final = 0.5
_UNRELATED: Final = 1.0
#: Texts whose logits are compared.
N_LOOKED_AT: Final = 16


@dataclass(frozen=True)
class Preflight:
    """The checks, and what of a comparison they allow."""

    checks: tuple[PreflightCheck, ...]
    changed: bool
    same_tokens: bool
    same_depth: bool
    same_heads: bool
    same_outputs: bool


def preflight(pair: Pair, changes: Sequence[WeightChange], rows: Sequence[Row]) -> Preflight:
    """Weights, adapter, logits, tokenizer, architecture and base, each as a check with its answer in words.

    `rows` are the first texts as the tuned model reads them; logits are compared where both read the same.
    """
    tokenizer, same_tokens = _tokenizers(pair)
    built = [] if pair.switched else _architectures(pair)
    differing = {check.check for check in built}
    same_outputs = pair.switched or (
        pair.base.task == pair.tuned.task
        and pair.tuned.task != "none"
        and (pair.base.labels == pair.tuned.labels)
        and not differing & {"classes"}
        and (pair.tuned.task in _CLASSES or (same_tokens and "vocabulary_size" not in differing))
    )
    checks, changed = _weights(pair, changes)
    checks += _adapter(pair)
    difference = logit_difference(pair, rows[:N_LOOKED_AT]) if rows and same_tokens and same_outputs else None
    if difference is not None:
        n = min(len(rows), N_LOOKED_AT)
        if difference == 0:
            checks.append(_check("logits", "fail", "logits_same", n=n))
        else:
            checks.append(_check("logits", "pass", "logits_changed", n=n, difference=difference))
            changed = changed or bool(adapter_changes(pair.tuned)[1])
    checks.append(tokenizer)
    checks += built or [_check("architecture", "pass", "architecture_same", layers=pair.tuned.n_layers)]
    checks += _right_base(pair, changes)
    return Preflight(
        checks=tuple(checks),
        changed=changed,
        same_tokens=same_tokens,
        same_depth=not differing & {"depth", "stacks"} and pair.base.layers == pair.tuned.layers,
        same_heads=not differing & {"depth", "heads", "stacks"} and _heads(pair.base) == _heads(pair.tuned),
        same_outputs=same_outputs,
    )


#: Tasks whose outputs are of a text as a whole, so that it does not matter how it was cut into tokens.
_CLASSES: Final = ("text-classification",)


def _check(check: str, verdict: Literal["pass", "warn", "fail"], code: str, **params: Scalar) -> PreflightCheck:
    return PreflightCheck(check=check, verdict=verdict, why=Message(code=f"preflight.{code}", params=params))


def _weights(pair: Pair, changes: Sequence[WeightChange]) -> tuple[list[PreflightCheck], bool]:
    n, moved = len(changes), [c for c in changes if c.state == "changed"]
    rounded = [c for c in changes if c.state == "rounding"]
    checks = []
    if not changes:
        checks.append(_check("weights", "fail", "no_weights_shared"))
    elif moved:
        norm = sum(c.norm**2 for c in changes) ** 0.5 / max(sum(c.base_norm**2 for c in changes) ** 0.5, 1e-300)
        checks.append(_check("weights", "pass", "weights_changed", n=len(moved), of=n, relative=norm))
    elif rounded:
        dtype = str(coarser(pair.base.saved_dtype, pair.tuned.saved_dtype)).removeprefix("torch.")
        checks.append(_check("weights", "fail", "weights_rounded", n=len(rounded), of=n, dtype=dtype))
    else:
        checks.append(_check("weights", "fail", "weights_same", of=n))
    alone: list[str] = []
    if not pair.switched:
        names = {c.name for c in changes}
        alone = [name for side in (pair.base, pair.tuned) for name in named_weights(side) if name not in names]
        alone = list(dict.fromkeys(alone))
    if alone and changes:
        checks.append(_check("unmatched", "warn", "unmatched", n=len(alone), names="\n".join(alone[:4])))
    return checks, bool(moved or alone or not changes)


def _adapter(pair: Pair) -> list[PreflightCheck]:
    model: Any = pair.tuned.model
    modules: list[Any] = [module for module in model.modules() if hasattr(module, "_disable_adapters")]
    if not modules:
        return []
    names = "\n".join(sorted({str(name) for module in modules for name in module.active_adapters}))
    found, unknown = adapter_changes(pair.tuned)
    weights = named_weights(pair.tuned, tied=True)
    checks = []
    if any(getattr(module, "merged", False) for module in modules):
        checks.append(_check("adapter", "warn", "adapter_merged", names=names))
    elif all(bool(getattr(module, "disable_adapters", False)) for module in modules):
        checks.append(_check("adapter", "fail", "adapter_off", names=names))
    elif not unknown and not any(_adds(change, weights.get(name)) for name, change in found.items()):
        checks.append(_check("adapter", "fail", "adapter_adds_nothing", names=names))
    else:
        checks.append(_check("adapter", "pass", "adapter_active", names=names, n=len(modules)))
    if unknown:
        checks.append(_check("adapter_kind", "warn", "adapter_kind", n=len(unknown)))
    saved: dict[str, bool] = {}
    for name, change in found.items():
        if change.dense is not None:
            module = name.rpartition(".")[0]
            saved[module] = saved.get(module, False) or bool(change.dense.any())
    for moved, verdict, code in ((True, "pass", "saved_changed"), (False, "warn", "saved_same")):
        these = [name for name, differs in saved.items() if differs == moved]
        if these:
            checks.append(_check("modules_to_save", verdict, code, names="\n".join(these)))  # type: ignore[arg-type]
    declared = {
        public_name(str(config.base_model_name_or_path))
        for config in getattr(model, "peft_config", {}).values()
        if getattr(config, "base_model_name_or_path", None)
    }
    other = sorted(name for name in declared if name.rpartition("/")[2] != pair.base.name.rpartition("/")[2])
    if other:
        checks.append(_check("adapter_base", "warn", "adapter_other_base", declared=other[0], base=pair.base.name))
    return checks


def _adds(change: AdapterChange, weight: Tensor | None) -> bool:
    if change.dense is not None:
        return bool(change.dense.any())
    if change.magnitude is not None:
        added = None if weight is None or not weight.is_floating_point() else change.difference(weight)
        return added is None or bool(added.any())
    if change.left is None or change.right is None:
        return False
    return float(low_rank_spectrum(change.left, change.right).max()) > 0


def logit_difference(pair: Pair, rows: Sequence[Row]) -> float:
    """Largest absolute difference of any logit of the two models on the same rows."""

    def run(handle: Handle, batch: dict[str, Tensor]) -> list[Tensor]:
        with torch.no_grad():
            out = handle.model(**batch, **handle.without_cache)
        names = ("logits", "start_logits", "end_logits")
        mask = batch["attention_mask"].bool().cpu()
        found = [one.detach().double().cpu() for name in names if (one := getattr(out, name, None)) is not None]
        # What stands at pads is nobody's output.
        return [one[mask] if one.shape[:2] == mask.shape else one for one in found]

    def join(base: list[Tensor], tuned: list[Tensor], _: list[int]) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(base, tuned, strict=True))

    found = [value for _, value in lockstep(pair, rows, run, join, token_budget=head_budget_of(pair.tuned))]
    return float(np.max(found))


def _tokenizers(pair: Pair) -> tuple[PreflightCheck, bool]:
    """The check, and whether the same texts become the same tokens."""
    if pair.switched or tokenizer_sha256(pair.base) == tokenizer_sha256(pair.tuned):
        return _check("tokenizer", "pass", "tokenizer_same"), True
    base, tuned = pair.base.vocabulary, pair.tuned.vocabulary
    if base == tuned and base:
        return _check("tokenizer", "warn", "tokenizer_other_rules", n=len(base)), False
    shared = sum(tuned.get(token) == index for token, index in base.items())
    return _check("tokenizer", "warn", "tokenizer_other", n=shared, base=len(base), tuned=len(tuned)), False


def _heads(handle: Handle) -> list[int]:
    return [stack.n_heads for stack in handle.stacks]


def _architectures(pair: Pair) -> list[PreflightCheck]:
    """One check for each way in which the two are built differently."""
    base, tuned = pair.base, pair.tuned

    def shape(handle: Handle) -> dict[str, Scalar]:
        return {
            "family": handle.roles.family,
            "task": handle.task,
            "stacks": len(handle.stacks),
            "depth": sum(stack.n_layers for stack in handle.stacks),
            "width": handle.d_model,
            "heads": handle.n_heads,
            "vocabulary_size": handle.vocab_size,
            "classes": int(getattr(handle.config, "num_labels", 0)) if handle.task == tuned.task == base.task else 0,
        }

    before, after = shape(base), shape(tuned)
    return [
        _check(key, "warn", f"differs_{key}", base=before[key], tuned=after[key])
        for key in before
        if before[key] != after[key]
    ]


def _right_base(pair: Pair, changes: Sequence[WeightChange]) -> list[PreflightCheck]:
    """Whether the tuned model can come from this base: fine-tuning moves weights little, chance not at all alike."""
    if pair.switched:
        return []
    matrices = [c.relative for c in changes if c.n_dims == 2 and c.relative is not None]
    if not matrices:
        return []
    median = float(np.median(matrices))
    same = sum(c.state == "same" for c in changes) / len(changes)
    if median < _PLAUSIBLE:
        return [_check("right_base", "pass", "right_base", relative=median, same=same)]
    code, verdict = ("wrong_base", "fail") if median >= _UNRELATED else ("doubtful_base", "warn")
    return [_check("right_base", verdict, code, relative=median, same=same)]  # type: ignore[arg-type]
