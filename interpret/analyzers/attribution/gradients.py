"""Gradient methods: captum's, taken at the output of the embedding (site `embed`).

The embedding's output is overwritten by a hook and the token ids still go into the model. Position ids,
padding and the last token of a decoder classifier are all read from the ids, so passing `inputs_embeds` alone
changes the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from interpret.analyzers.attribution.job import Job, Scores, relative_delta
from interpret.analyzers.scheduler import removal
from interpret.capture.hooks import hooks
from interpret.errors import RunError, UsageError
from interpret.models.batching import collate, run_batches
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.results.explanations import FloatArray
from interpret.results.record import Scalar

#: Tokens (rows x length) of one forward and backward; a backward keeps every activation of the forward.
_TOKENS_CPU: Final = 2048
_TOKENS_GPU: Final = 16384

DEFAULT_STEPS: Final = 32
MAX_STEPS: Final = 128
TOLERANCE: Final = 0.05


def gradient_x_input(job: Job) -> Scores:
    """Gradient of the target times the embedding, summed over its width: one forward, one backward.

    It shows the slope at the text itself. It does not sum to any difference of outputs, and where the model
    is saturated it is close to zero for words that decide.

    Reference: Shrikumar et al. 2016, arXiv 1605.01713; through captum's `InputXGradient`.
    """
    from captum.attr import InputXGradient

    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)

    def step(batch: dict[str, Tensor], rows: list[int]) -> FloatArray:
        forward, extra = _forward(job, batch, rows)
        embedded = _embed(job.handle, batch)
        with _gradients_on():
            embedded.requires_grad_()
            found = InputXGradient(forward).attribute(embedded, additional_forward_args=extra)
        return _summed(found)

    budget = _token_budget(job.handle)
    rows = [job.full_row(i) for i in range(len(job.encoded))]
    for indices, found in run_batches(job.handle, rows, step, token_budget=budget):
        for i, line in zip(indices, found, strict=True):
            scores[i] = line[: len(job.encoded[i].ids)]
    values = job.score(rows, range(len(rows))).logit.tolist()
    nothing: list[float | None] = [None] * len(rows)
    return Scores(scores, values, nothing, nothing, {"layer": "embed"})


def integrated_gradients(
    job: Job,
    *,
    n_steps: int | None = None,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
    baseline: str | None = None,
) -> Scores:
    """Integrated gradients from a text of removed tokens to the text, summed over the embedding's width.

    The scores of one text sum to F(text) - F(baseline) up to the recorded convergence delta. That is a
    statement about the sum: two opposite errors may cancel in it. Special tokens are equal in both texts and
    score exactly 0.

    Args:
        job: texts and targets.
        n_steps: Gauss-Legendre nodes, used as they are. None starts with 32 and doubles them, up to
            `max_steps`, for the texts whose relative delta is above `tolerance`.
        max_steps: the most nodes that doubling may reach.
        tolerance: relative delta below which a text counts as converged.
        baseline: the token that content becomes: "mask_token", "pad_token", "eos_token", "unk_token",
            "bos_token"; None takes the model's removal operator.

    Reference: Sundararajan et al. 2017, arXiv 1703.01365, equation 1; through captum's `IntegratedGradients`.
    """
    if n_steps is not None and n_steps < 1:
        raise UsageError(f"n_steps is {n_steps}; integrated gradients needs at least 1")
    operator = removal(job.handle, baseline)
    n = len(job.encoded)
    full = [job.full_row(i) for i in range(n)]
    empty = [job.empty_row(i, operator) for i in range(n)]
    scored = job.score([*full, *empty], [*range(n), *range(n)]).logit
    values, baseline_values = scored[:n].tolist(), scored[n:].tolist()
    scores: list[FloatArray] = [np.zeros(0)] * n
    deltas = [0.0] * n
    open_, steps, most = list(range(n)), n_steps or DEFAULT_STEPS, n_steps or DEFAULT_STEPS
    while open_:
        most = steps
        for i, found in _integrate(job, open_, empty, steps):
            delta = relative_delta(float(found.sum()), values[i], baseline_values[i])
            # The delta is not monotonic in the number of nodes: keep the better of the two.
            if not scores[i].size or delta < deltas[i]:
                scores[i], deltas[i] = found, delta
        steps *= 2
        if n_steps is not None or steps > max_steps:
            break
        open_ = [i for i in open_ if deltas[i] > tolerance]
    options: dict[str, Scalar] = {
        "layer": "embed",
        "baseline": operator.name,
        "n_steps": n_steps or DEFAULT_STEPS,
        "n_steps_max_used": most,
        "quadrature": "gausslegendre",
    }
    return Scores(scores, values, baseline_values, list(deltas), options)


def _integrate(
    job: Job, examples: Sequence[int], empty: Sequence[Any], n_steps: int
) -> Iterator[tuple[int, FloatArray]]:
    from captum.attr import IntegratedGradients

    budget = _token_budget(job.handle)

    def step(batch: dict[str, Tensor], rows: list[int]) -> FloatArray:
        chosen = [examples[r] for r in rows]
        forward, extra = _forward(job, batch, chosen)
        baseline = collate(job.handle, [empty[i] for i in chosen])
        start, end = _embed(job.handle, baseline), _embed(job.handle, batch)
        n_rows, length = end.shape[:2]
        # captum rounds a chunk down to whole steps of all examples, and to no less than one step.
        chunk = n_rows if _one_at_a_time(job.handle) else max(n_rows, budget // length // n_rows * n_rows)
        with _gradients_on():
            found = IntegratedGradients(forward).attribute(
                end,
                baselines=start,
                additional_forward_args=extra,
                n_steps=n_steps,
                method="gausslegendre",
                internal_batch_size=None if n_rows * n_steps <= chunk else chunk,
            )
        return _summed(found)

    rows = [job.full_row(i) for i in examples]
    for indices, found in run_batches(job.handle, rows, step, token_budget=max(1, budget // n_steps)):
        for r, line in zip(indices, found, strict=True):
            yield examples[r], line[: len(rows[r].ids)]


def _forward(
    job: Job, batch: dict[str, Tensor], examples: Sequence[int]
) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The target as a function of the embedding, and the tensors captum must repeat along with it."""
    targets = [job.targets[i] for i in examples]
    names = list(batch)
    device = batch["input_ids"].device
    if job.handle.task == "text-classification":
        places = None
    elif job.handle.task == "causal-lm":
        places = torch.tensor([len(job.encoded[i].ids) - 1 for i in examples], device=device)
    else:
        places = torch.tensor([t.position or 0 for t in targets], device=device)
    index = torch.tensor([t.index for t in targets], device=device)
    foil = torch.tensor([-1 if t.foil_index is None else t.foil_index for t in targets], device=device)
    extra = [*(batch[name] for name in names), index, foil, *([] if places is None else [places])]

    parameters = argument_names(job.handle.core)

    def forward(embedded: Tensor, *tensors: Tensor) -> Tensor:
        inputs: dict[str, Any] = dict(zip(names, tensors, strict=False))
        index, foil, *places = tensors[len(names) :]
        column = places[0] if places else None
        inputs |= job.handle.without_cache
        if column is not None and "logits_to_keep" in parameters:
            # Logits of every position over a vocabulary would be most of the memory.
            inputs["logits_to_keep"], column = torch.unique(column, return_inverse=True)
        with hooks(job.handle, {}, edits={("embed", None): lambda _: embedded}, grad=True):
            logits = job.handle.model(**inputs).logits
        line = torch.arange(len(logits), device=logits.device)
        if column is not None:
            logits = logits[line, column]
        off = torch.where(foil >= 0, logits[line, foil.clamp(min=0)], torch.zeros_like(logits[:, 0]))
        explained: Tensor = logits[line, index] - off
        return explained

    return forward, tuple(tensor.clone() for tensor in extra)


def _embed(handle: Handle, batch: dict[str, Tensor]) -> Tensor:
    """What the embedding writes for this batch `[row, position, d]`, detached."""
    seen: list[Tensor] = []
    with torch.no_grad(), hooks(handle, {("embed", None): seen.append}):
        handle.model(**batch)
    if len(seen) != 1:
        raise RunError(
            f"the embedding of {handle.name} ran {len(seen)} times in one forward; gradients are taken where it runs "
            "once; use method='leave_one_out' or 'shap'"
        )
    return seen[0].clone()


@contextmanager
def _gradients_on() -> Iterator[None]:
    """Gradients, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _summed(found: Tensor) -> FloatArray:
    summed: FloatArray = found.detach().double().sum(dim=-1).cpu().numpy()
    return summed


def _one_at_a_time(handle: Handle) -> bool:
    """A decoder classifier without a pad id refuses batches, even of equal lengths."""
    classifies = handle.task == "text-classification" and handle.is_decoder
    return classifies and handle.config.pad_token_id is None


def _token_budget(handle: Handle) -> int:
    return _TOKENS_CPU if handle.device.type == "cpu" else _TOKENS_GPU
