"""The target and its slope along the straight path from a text without content to the text, in embedding space.

The embedding's output is overwritten by a hook and the token ids still go into the model. Position ids, padding
and the last token of a decoder classifier are all read from the ids, so passing `inputs_embeds` alone changes the
model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from interpret.analyzers.attribution.job import Job
from interpret.capture.hooks import hooks
from interpret.errors import RunError
from interpret.models.batching import Row, run_batches
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.results.explanations import FloatArray

#: Tokens (rows x length) of one forward and backward; a backward keeps every activation of the forward.
_TOKENS_CPU: Final = 2048
_TOKENS_GPU: Final = 16384
#: Embeddings of texts and baselines held at once.
_BYTES: Final = 64 << 20


class Point(NamedTuple):
    """A place on the path of one text: 0 is the text without content, 1 the text."""

    example: int
    at: float


class Path(NamedTuple):
    """Embeddings of one text, both [token, d]: without content, and what the text adds to that."""

    start: Tensor
    step: Tensor


class Found(NamedTuple):
    """At one point: the target, and per token [token] its derivative along the path; they sum to the whole's."""

    value: float
    slopes: FloatArray


def path_of(job: Job, full: Sequence[Row], empty: Sequence[Row]) -> list[Path]:
    """Embed texts and their baselines, which are rows of the same lengths."""
    embedded = embed(job.handle, [*full, *empty])
    n = len(full)
    return [Path(start, end - start) for end, start in zip(embedded[:n], embedded[n:], strict=True)]


def lots(job: Job) -> Iterator[list[int]]:
    """Texts in portions, in order, whose embeddings are held at once: memory does not grow with their number."""
    most = max(1, _BYTES // (2 * 4 * job.handle.d_model))
    lot: list[int] = []
    n_tokens = 0
    for i, encoded in enumerate(job.encoded):
        if lot and n_tokens + len(encoded.ids) > most:
            yield lot
            lot, n_tokens = [], 0
        lot.append(i)
        n_tokens += len(encoded.ids)
    if lot:
        yield lot


def along(job: Job, paths: Sequence[Path], examples: Sequence[int], points: Sequence[Point]) -> list[Found]:
    """Value and slopes at each point: one forward and one backward per point, points of like length together.

    `points` name their path by its place in `paths`; `examples` says which text of the job each path belongs to.
    """
    found: list[Found | None] = [None] * len(points)
    rows = [job.full_row(examples[point.example]) for point in points]

    def step(batch: dict[str, Tensor], indices: list[int]) -> tuple[FloatArray, FloatArray]:
        chosen = [points[i] for i in indices]
        start = padded([paths[point.example].start for point in chosen])
        delta = padded([paths[point.example].step for point in chosen])
        at = torch.tensor([point.at for point in chosen], dtype=start.dtype, device=start.device)
        forward, extra = target_of_embedding(job, batch, [examples[point.example] for point in chosen])
        with gradients_on():
            embedded = torch.addcmul(start, delta, at[:, None, None]).requires_grad_()
            values = forward(embedded, *extra)
            (gradient,) = torch.autograd.grad(values.sum(), embedded)
        slopes = (gradient.double() * delta.double()).sum(-1)
        return values.detach().double().cpu().numpy(), slopes.cpu().numpy()

    limit = 1 if one_at_a_time(job.handle) else None
    for indices, (values, slopes) in run_batches(
        job.handle, rows, step, token_budget=gradient_tokens(job.handle), max_batch=limit
    ):
        for i, value, line in zip(indices, values.tolist(), slopes, strict=True):
            found[i] = Found(value, line[: len(rows[i].ids)].copy())
    return [one for one in found if one is not None]


def target_of_embedding(
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


class _Embedded(BaseException):
    """Ends a forward at the embedding. No `Exception`, so that nothing inside the model catches it."""


def embed(handle: Handle, rows: Sequence[Row]) -> list[Tensor]:
    """What the embedding writes for each row `[token, d]`, on the model's device."""
    found: list[Tensor] = [torch.empty(0)] * len(rows)

    def step(batch: dict[str, Tensor], indices: list[int]) -> Tensor:
        seen: list[Tensor] = []

        def read(tensor: Tensor) -> None:
            seen.append(tensor.clone())
            raise _Embedded

        with torch.no_grad(), hooks(handle, {("embed", None): read}):
            try:
                handle.model(**batch)
            except _Embedded:
                pass
        if len(seen) != 1:
            raise RunError(
                f"the embedding of {handle.name} did not run in its forward, so no gradient can be taken there; "
                "use method='leave_one_out' or 'shap'"
            )
        return seen[0]

    limit = 1 if one_at_a_time(handle) else None
    for indices, embedded in run_batches(handle, rows, step, max_batch=limit):
        for i, line in zip(indices, embedded, strict=True):
            found[i] = line[: len(rows[i].ids)].clone()
    return found


def padded(parts: Sequence[Tensor]) -> Tensor:
    """[row, token, d], zeros at the end."""
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


@contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def summed(found: Tensor) -> FloatArray:
    """Over the embedding's width, as float64 [row, token]."""
    total: FloatArray = found.detach().double().sum(dim=-1).cpu().numpy()
    return total


def one_at_a_time(handle: Handle) -> bool:
    """A decoder classifier without a pad id refuses batches, even of equal lengths."""
    classifies = handle.task == "text-classification" and handle.is_decoder
    return classifies and handle.config.pad_token_id is None


def gradient_tokens(handle: Handle) -> int:
    """Tokens in one forward with its backward."""
    return _TOKENS_CPU if handle.device.type == "cpu" else _TOKENS_GPU
