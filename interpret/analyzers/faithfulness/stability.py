"""What becomes of an explanation that is made again: with the text's embeddings moved a little, or made otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import nn

from interpret.analyzers.faithfulness.randomisation import Explain
from interpret.analyzers.faithfulness.words import Ranked, lay_out
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.state import untouched
from interpret.results.explanations import FloatArray

#: How far each number of an embedding moves at most, as a share of the root mean square of the texts' embeddings.
RADIUS: Final = 0.02
#: Perturbations of which the worst counts.
N_PERTURBATIONS: Final = 5


def sensitivity_max(
    handle: Handle,
    batch: Sequence[Ranked],
    explain: Explain,
    *,
    radius: float = RADIUS,
    n_perturbations: int = N_PERTURBATIONS,
    seed: int = 0,
) -> list[FloatArray | None]:
    """How far an explanation moves at most, relative to its size, when the text's word embeddings move a little.

    The rows of the embedding table that the text's words look up get uniform noise, so that every method sees it
    exactly once: an edit at the site `embed` would reach a method twice that reads that site and overwrites it. Token
    ids, special tokens, positions and a head that shares the table stay as they are.

    Args:
        handle: the model; until the test ends, also with an exception, it looks words up in another table than its
            own, which is not written to.
        batch: the texts.
        explain: makes the explanation anew; it must not reuse outputs that were computed before.
        radius: of the noise, as a share of the root mean square of the texts' embeddings.
        n_perturbations: draws of noise.
        seed: of the noise and of the shuffled copies.

    Returns:
        For each text `[1 + n]`: the explanation's own, 0 or more, then what it would be if each of 20 times the
        scores went to other words each time; None where the explanation is zero or has other words.

    Raises:
        UsageError: the model has no table of word embeddings, or a radius or number that is not positive.

    Reference: Yeh et al. 2019, arXiv 1901.09392, definition 3 (there over inputs), normalised as in captum.
    """
    if radius <= 0 or n_perturbations < 1:
        raise UsageError(f"radius is {radius} and n_perturbations {n_perturbations}; both must be positive")
    reference = words_of(handle, batch, explain)
    worst = [0.0] * len(batch)
    generator = torch.Generator().manual_seed(seed)
    with untouched(handle.model, handle.tokenizer):
        for _ in range(n_perturbations):
            with _moved(handle, batch, radius, generator):
                again = words_of(handle, batch, explain)
            for i, (before, after) in enumerate(zip(reference, again, strict=True)):
                if before is not None and after is not None and np.any(before):
                    worst[i] = max(worst[i], float(np.linalg.norm(after - before) / np.linalg.norm(before)))
    out: list[FloatArray | None] = []
    for i, before in enumerate(reference):
        if before is None or not np.any(before):
            out.append(None)
            continue
        rng = np.random.default_rng([seed, i])
        shuffled = [
            max(float(np.linalg.norm(rng.permutation(before) - before)) for _ in range(n_perturbations))
            for _ in range(20)
        ]
        out.append(np.array([worst[i], *(np.array(shuffled) / np.linalg.norm(before))]))
    return out


def words_of(handle: Handle, batch: Sequence[Ranked], explain: Explain) -> list[FloatArray | None]:
    """Scores [word] of the explanation made again; None where its words are not those of the text.

    Raises:
        UsageError: `explain` returned other texts.
    """
    if not batch:
        return []
    made = explain(handle, [ranked.encoded for ranked in batch], [ranked.target for ranked in batch])
    if [example.text for example in made] != [ranked.encoded.text for ranked in batch]:
        raise UsageError("explain returned an attribution of other texts; it must explain those it is given, in order")
    found = lay_out(handle, made)
    return [
        again.scores if again is not None and again.groups == ranked.groups else None
        for ranked, again in zip(batch, found, strict=True)
    ]


@contextmanager
def _moved(handle: Handle, batch: Sequence[Ranked], radius: float, generator: torch.Generator) -> Iterator[None]:
    """Another embedding table in place of the model's, in which the words of the texts have moved."""
    module = handle.roles.word_embeddings
    if module is None:
        raise UsageError(
            f"{handle.name} has no table of word embeddings that could be moved; leave out sensitivity_max"
        )
    ids = sorted({ranked.encoded.ids[p] for ranked in batch for group in ranked.groups for p in group})
    table = module.weight
    with torch.inference_mode(False), torch.no_grad():
        rows = table.detach()[ids].float()
        size = radius * float(rows.pow(2).mean().sqrt())
        noise = (2.0 * torch.rand(rows.shape, generator=generator) - 1.0) * size
        moved = table.detach().clone()
        moved[ids] = (rows + noise.to(rows.device)).to(moved.dtype)
        # A parameter of its own: a language-model head may share the table.
        other = nn.Parameter(moved, requires_grad=table.requires_grad)
    try:
        module.weight = other
        yield
    finally:
        module.weight = table
