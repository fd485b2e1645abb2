"""The model randomisation test: an explanation that survives a random model does not explain the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from interpret.analyzers.faithfulness.agreement import agreement
from interpret.analyzers.target import Target, restore_targets
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.state import stand_ins, untouched
from interpret.results.explanations import Attribution, RandomisationRow

#: Explains the same texts and targets once more, with whatever weights the model has at that moment.
Explain = Callable[[Handle, list[Encoded], list[Target]], Attribution]


class Stage(NamedTuple):
    """Parameters that are re-initialised together; `down_to` names the lowest part among them."""

    down_to: str
    parameters: tuple[tuple[str, nn.Parameter], ...]


def randomisation(
    handle: Handle,
    encoded: Sequence[Encoded],
    attribution: Attribution,
    explain: Explain,
    seed: int = 0,
    n_steps: int = 4,
) -> tuple[RandomisationRow, ...]:
    """Rank correlation of the explanation with itself after the model is re-initialised from the top downwards.

    Near 0 is what a good explanation gives once the model is random. A method that reads off its input or the
    architecture stays correlated. It does not show that an explanation is faithful to the trained model.

    First the head (with pooler and final norm), then blocks from the last one down, in `n_steps` cumulative
    stages. Matrices are drawn from a normal of their own standard deviation, biases become 0 and norm weights
    1. A head that shares its weights with the word embeddings stays as it is.

    Args:
        handle: the model. Its weights are not written to: while the test runs its modules hold other parameters, and
            afterwards, also after an exception, the very objects they held before. Until then no other thread may use
            it.
        encoded: the texts of `attribution`.
        attribution: the explanation to test.
        explain: makes the explanation anew; it must not reuse outputs that were computed before.
        seed: of the weights and of the bootstrap over texts.
        n_steps: the most stages.

    Raises:
        UsageError: other texts than those of `attribution`, no stages, or weights that are not in memory.

    Reference: Adebayo et al. 2018, arXiv 1810.03292, section 3.1 (cascading randomisation).
    """
    if n_steps < 1:
        raise UsageError(f"n_steps is {n_steps}; give at least one stage")
    if [e.text for e in encoded] != [example.text for example in attribution]:
        raise UsageError("encoded and attribution hold different texts; give the texts that were explained")
    planned = stages(handle, n_steps)
    if any(parameter.is_meta for stage in planned for _, parameter in stage.parameters):
        raise UsageError(
            f"{handle.name} keeps weights outside of memory (a device map offloads them), and those cannot be drawn "
            "anew; load it whole, or leave out the randomisation test"
        )
    targets = restore_targets(handle, encoded, [example.target for example in attribution])
    rows = []
    with untouched(handle.model, handle.tokenizer), stand_ins(handle.model) as change:
        generator = torch.Generator().manual_seed(seed)
        for stage in planned:
            for name, parameter in stage.parameters:
                change(parameter, partial(_drawn, name, generator))
            again = explain(handle, list(encoded), targets)
            rows.append(
                RandomisationRow(
                    down_to=stage.down_to,
                    spearman_signed=agreement(attribution, again, seed),
                    spearman_absolute=agreement(attribution, again, seed, absolute=True),
                )
            )
    return tuple(rows)


def stages(handle: Handle, n_steps: int) -> list[Stage]:
    """What is re-initialised at each stage: the head, then the blocks from the top in even groups."""
    roles = handle.roles
    kept = {id(p) for module in (roles.embed, roles.word_embeddings) if module is not None for p in module.parameters()}
    base = {id(p) for p in roles.base.parameters()}
    top = {id(p) for p in roles.final_norm.parameters()} if roles.final_norm is not None else set()
    named = [(n, p) for n, p in handle.core.named_parameters() if p.is_floating_point() and id(p) not in kept]
    head = [(n, p) for n, p in named if id(p) not in base or id(p) in top or "pooler" in n.split(".")]
    out = [Stage("head", tuple(head))] if head else []
    n_groups = min(max(1, n_steps - len(out)), handle.n_layers) if n_steps > len(out) else 0
    if n_groups:
        for group in np.array_split(np.arange(handle.n_layers)[::-1], n_groups):
            inside = {id(p) for layer in group.tolist() for p in roles.blocks[layer].parameters()}
            out.append(Stage(f"layer {int(group[-1])}", tuple((n, p) for n, p in named if id(p) in inside)))
    return out


def _drawn(name: str, generator: torch.Generator, values: Tensor) -> Tensor:
    """What a parameter of that name and of these values becomes."""
    if values.ndim < 2:
        return torch.full_like(values, 0.0 if name.endswith("bias") else 1.0)
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float32)
    return drawn * values.float().std().cpu()
