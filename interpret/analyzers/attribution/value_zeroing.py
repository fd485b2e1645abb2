"""Value zeroing: how much a layer's output at one position changes when the value of another is zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.attribution.job import Job, Scores
from interpret.analyzers.attribution.rollout import joined, read_row, require_sites
from interpret.capture.hooks import hooks
from interpret.capture.points import Key
from interpret.errors import UsageError
from interpret.models.batching import run_batches
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.results.explanations import FloatArray

_NAME: Final = "value_zeroing"


def mixing(distances: npt.ArrayLike) -> FloatArray:
    """What share of a layer's mixing at each position comes from each position.

    Args:
        distances: `[query, key]`, how far the output at `query` moves when the value at `key` is zero; without
            padding.

    Returns:
        `[query, key]`, float64, rows sum to 1. A position whose output no value moves keeps to itself.

    Raises:
        UsageError: not a square of numbers that are finite and not negative.

    Reference: Mohebbi et al. 2023, arXiv 2301.12971, equation 5.
    """
    array = np.asarray(distances, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not (np.isfinite(array) & (array >= 0)).all():
        raise UsageError(
            f"distances have shape {array.shape}, expected [query, key] with as many queries as keys and no number "
            "below 0"
        )
    total = array.sum(axis=1, keepdims=True)
    shares: FloatArray = np.divide(array, total, out=np.eye(len(array)), where=total > 0)
    return shares


def value_zeroing(job: Job) -> Scores:
    """The row of the position that the prediction is read at (`read_row`) of how the layers' values mix positions.

    In each layer and for each token the layer is run on its clean input with the token's value vectors zero, in all
    heads; the cosine distance between clean and altered output says how much the token's value counts at each
    position. Rows are normalised and the layers multiplied. Unlike attention it sees values, norms, the residual
    stream and the feed-forward part of a layer; like attention it knows of no target and no sign. Special tokens keep
    their share, so the scores of a text sum to 1.

    One forward per token serves all layers: the altered output of a layer is read, and the next layer is given the
    clean stream again. As in the paper no identity is added, since the residual stream is in the outputs compared.

    Reference: Mohebbi et al. 2023, arXiv 2301.12971, equations 3 to 5 and their rollout.
    """
    handle = job.handle
    require_sites(handle, _NAME, "v", "resid_pre", "resid_post")
    texts = [i for i, e in enumerate(job.encoded) for _ in e.ids]
    tokens = [p for e in job.encoded for p in range(len(e.ids))]
    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)

    def step(batch: dict[str, Tensor], rows: list[int]) -> FloatArray:
        return _distances(handle, batch, [texts[r] for r in rows], [tokens[r] for r in rows])

    # Columns of texts that are not complete yet; the rows of a text come one after another.
    begun: dict[int, dict[int, FloatArray]] = {}
    for indices, found in run_batches(handle, [job.full_row(i) for i in texts], step):
        for r, columns in zip(indices, found, strict=True):
            i, n_tokens = texts[r], len(job.encoded[texts[r]].ids)
            of_text = begun.setdefault(i, {})
            of_text[tokens[r]] = columns[:, :n_tokens]
            if len(of_text) == n_tokens:
                layers = np.stack([of_text[p] for p in range(n_tokens)], axis=-1)
                scores[i] = read_row(job, i, joined([mixing(layer) for layer in layers]))
                del begun[i]
    nothing: list[float | None] = [None] * len(job.encoded)
    return Scores(scores, nothing, nothing, nothing, {"signed": False})


def _distances(handle: Handle, batch: dict[str, Tensor], texts: list[int], tokens: list[int]) -> FloatArray:
    """Cosine distance of each layer's output to the clean one, row r with the value of `tokens[r]` zero.

    Returns:
        `[row, layer, position]`, float64.
    """
    n_rows, device = len(texts), batch["input_ids"].device
    distinct = list(dict.fromkeys(texts))
    # Behind the rows stands each text once more, where nothing is zeroed: the clean run of the same batch.
    copied = torch.tensor([*range(n_rows), *(texts.index(i) for i in distinct)], device=device)
    clean = torch.tensor([n_rows + distinct.index(i) for i in (*texts, *distinct)], device=device)
    inputs: dict[str, Any] = {name: tensor[copied] for name, tensor in batch.items()}
    zeroed = torch.zeros(inputs["input_ids"].shape, dtype=torch.bool, device=device)
    zeroed[torch.arange(n_rows, device=device), torch.tensor(tokens, device=device)] = True
    found: list[Tensor] = []

    def zero(value: Tensor) -> Tensor:
        return value.masked_fill(zeroed.to(value.device)[:, None, :, None], 0.0)

    def cleaned(stream: Tensor) -> Tensor:
        return stream[clean.to(stream.device)]

    def compare(stream: Tensor) -> None:
        found.append(_cosine_distance(stream[:n_rows], cleaned(stream)[:n_rows]).cpu())

    layers = range(handle.n_layers)
    edits: dict[Key, Callable[[Tensor], Tensor]] = {("v", layer): zero for layer in layers}
    edits |= {("resid_pre", layer): cleaned for layer in layers[1:]}
    base = handle.roles.base
    without_cache = {"use_cache": False} if "use_cache" in argument_names(base) else {}
    with torch.no_grad(), hooks(handle, {("resid_post", layer): compare for layer in layers}, edits):
        # Without the head, which would have to be told how to tell apart rows without padding.
        base(**inputs, **without_cache)
    distances: FloatArray = torch.stack(found, dim=1).double().numpy()
    return distances


def _cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 - cos along the last axis, as half the squared distance of unit vectors: small ones do not cancel."""
    wide = torch.promote_types(one.dtype, torch.float32)
    unit, unit_other = (torch.nn.functional.normalize(x.to(wide), dim=-1) for x in (one, other))
    return (unit - unit_other).square().sum(-1) / 2
