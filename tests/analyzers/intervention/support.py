"""Models and pairs of texts for what causes an answer, and patching in plain torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

import interpret
from interpret.facade import AttachedModel
from tests.tiny import tiny

#: Two texts of as many tokens that differ in the middle, for every tokenizer here; {mask} is the mask token, if any.
CLEAN: Final = "the film was good and the cat{mask}"
CORRUPTED: Final = "the film was bad and the cat{mask}"
CASES: Final = [
    (family, task)
    for family in ("bert", "gpt2", "llama")
    for task in ("text-classification", "masked-lm" if family == "bert" else "causal-lm")
]
BLOCKS: Final = {"bert": "encoder.layer", "gpt2": "h", "llama": "layers"}
ATTENTION_OUTPUT: Final = {"bert": "attention.output.dense", "gpt2": "attn.c_proj", "llama": "self_attn.o_proj"}
MLP: Final = {"bert": "output.dense", "gpt2": "mlp", "llama": "mlp"}


def made(family: str, task: str, *, double: bool = False) -> AttachedModel:
    model, tokenizer = tiny(family, task)
    return interpret.attach(model.double() if double else model, tokenizer, name=f"tiny {family}")


def pair(task: str) -> tuple[str, str]:
    mask = " [MASK]" if task == "masked-lm" else ""
    return CLEAN.format(mask=mask), CORRUPTED.format(mask=mask)


def blocks(lm: AttachedModel, family: str) -> list[nn.Module]:
    model: Any = lm.handle.model
    return list(model.base_model.get_submodule(BLOCKS[family]))


def ids(lm: AttachedModel, text: str) -> dict[str, Tensor]:
    return dict(lm.handle.tokenizer(text, return_tensors="pt"))  # type: ignore[misc]


def place(lm: AttachedModel, batch: dict[str, Tensor]) -> int | None:
    """Where the logits are read."""
    if lm.handle.task == "text-classification":
        return None
    tokens = batch["input_ids"][0].tolist()
    return tokens.index(lm.handle.mask_id) if lm.handle.task == "masked-lm" else len(tokens) - 1


def plain(lm: AttachedModel, text: str) -> Tensor:
    """Logits [label] of the model as it is."""
    batch = ids(lm, text)
    with torch.no_grad():
        logits = lm.handle.model(**batch).logits[0]
    at = place(lm, batch)
    return logits if at is None else logits[at]


@contextmanager
def swapped(module: nn.Module, other: Tensor, positions: slice | int, units: slice, side: str) -> Iterator[None]:
    """Other values at some positions and units of the input or output of a module."""

    def change(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, positions, units] = other[:, positions, units]
        return value

    if side == "input":
        handle = module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _, args, out: change(out))
    try:
        yield
    finally:
        handle.remove()


def seen(lm: AttachedModel, module: nn.Module, text: str, side: str) -> Tensor:
    """What goes into or out of a module."""
    found: list[Tensor] = []
    if side == "input":
        handle = module.register_forward_pre_hook(lambda _, args: found.append(args[0].detach().clone()))
    else:
        handle = module.register_forward_hook(lambda _, args, out: found.append(out.detach().clone()))
    try:
        plain(lm, text)
    finally:
        handle.remove()
    return found[0]
