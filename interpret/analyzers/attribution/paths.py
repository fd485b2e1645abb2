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
from interpret.capture.points import Key
from interpret.errors import RunError, UsageError
from interpret.models.batching import Row, run_batches, token_budget_of
from interpret.models.handle import Handle
from interpret.models.readout import narrowed, read
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
        job.handle, rows, step, token_budget=gradient_tokens(job.handle), max_batch=limit, even=job.even
    ):
        for i, value, line in zip(indices, values.tolist(), slopes, strict=True):
            # What the model wrote itself stands after the text.
            n_tokens = len(job.encoded[examples[points[i].example]].ids)
            found[i] = Found(value, line[:n_tokens].copy())
    return [one for one in found if one is not None]


def target_of_embedding(
    job: Job, batch: dict[str, Tensor], examples: Sequence[int]
) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The target as a function of the embedding, and the tensors captum must repeat along with it."""
    names = list(batch)
    rows = [job.full_row(i) for i in examples]
    wanted = [job.targets[i].readout for i in examples]
    numbers = torch.arange(len(rows), device=batch["input_ids"].device)
    site = embedding_of(job.handle)

    def forward(embedded: Tensor, *tensors: Tensor) -> Tensor:
        if len(embedded) > 1 and one_at_a_time(job.handle):
            # DeepLIFT always hands over two, the text and its baseline.
            lines = zip(*(torch.split(tensor, 1) for tensor in (embedded, *tensors)), strict=True)
            return torch.cat([forward(*line) for line in lines])
        inputs: dict[str, Any] = dict(zip(names, tensors, strict=False))
        which = tensors[len(names)].tolist()
        these, their = [rows[n] for n in which], [wanted[n] for n in which]
        extra, kept = narrowed(job.handle, these, their)
        with hooks(job.handle, {}, edits={site: lambda _: embedded}, grad=True):
            outputs = job.handle.model(**inputs, **extra)
        return read(job.handle, outputs, these, their, kept).value

    return forward, (*(batch[name].clone() for name in names), numbers)


def enters_twice(handle: Handle) -> bool:
    """Whether the decoder of an encoder-decoder reads the text as well, as those do that classify or mark answers."""
    return len(handle.stacks) > 1 and handle.task != "seq2seq-lm"


def embedding_of(handle: Handle) -> Key:
    """Where the text enters: of an encoder-decoder the encoder's, though both may share their table.

    Raises:
        UsageError: it enters at two places.
    """
    if enters_twice(handle):
        raise UsageError(
            f"both encoder and decoder of {handle.name} read the text when it does {handle.task}, so there is no one "
            "embedding to take gradients at; use method='leave_one_out' or 'shap'"
        )
    prefix = handle.stacks[0].prefix
    return (f"{prefix}.embed" if prefix else "embed", None)


class _Embedded(BaseException):
    """Ends a forward at the embedding. No `Exception`, so that nothing inside the model catches it."""


def embed(handle: Handle, rows: Sequence[Row]) -> list[Tensor]:
    """What the embedding writes for each row `[token, d]`, on the model's device."""
    found: list[Tensor] = [torch.empty(0)] * len(rows)

    def step(batch: dict[str, Tensor], indices: list[int]) -> Tensor:
        seen: list[Tensor] = []

        def look(tensor: Tensor) -> None:
            seen.append(tensor.clone())
            raise _Embedded

        with torch.no_grad(), hooks(handle, {embedding_of(handle): look}):
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
    """Tokens in one forward with its backward, which keeps every activation: half as many as in a forward alone."""
    return min(_TOKENS_CPU, token_budget_of(handle) // 2) if handle.device.type == "cpu" else _TOKENS_GPU
