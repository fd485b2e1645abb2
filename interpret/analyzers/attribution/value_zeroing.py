"""Value zeroing: how much a layer's output at one position changes when the value of another is zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution.encoder_decoder import read_source, through, writes_beside_a_reader
from interpret.analyzers.attribution.job import Job, Scores
from interpret.analyzers.attribution.rollout import joined, read_row, require_sites
from interpret.analyzers.attribution.zeroed import distances, sites_read
from interpret.errors import UsageError
from interpret.models.batching import Row
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
    array = _checked(distances)
    return mixing_of_both(array, np.zeros((len(array), 0)))[0]


def mixing_of_both(own: npt.ArrayLike, source: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """What share of a decoder layer's mixing comes from each position of the decoder, and from each of the encoder.

    A decoder layer mixes the values of two attentions. Whichever value is zero, the same output is compared with the
    same clean one, so the distances of a position are in one unit and have one sum: equation 5 over every value that
    enters the layer. Normalised apart, as where the two matrices are looked at one by one (Mohebbi et al. 2023b), they
    could not be multiplied through the layers without a weight of the two sides from elsewhere, and a layer that hardly
    reads the text would count as one that copies it. Shares normalised apart are these, each side divided by its own
    sum. Ferrando et al. 2022 give what is read and what was written one sum as well.

    The cosine distance grows with about the square of what is taken away. What is spread over many tokens therefore
    has a smaller sum than the same on one: between two sides, the one with fewer tokens counts for more.

    Args:
        own: `[query, key]`, how far the output at `query` moves when the value of self-attention at `key` is zero;
            without padding.
        source: `[query, source]`, the same of the attention to the encoder.

    Returns:
        Shares of `own` and of `source`, float64; the rows of the two together sum to 1. A position whose output no
        value moves keeps to itself.

    Raises:
        UsageError: not numbers that are finite and not negative, or shapes that do not fit.

    Reference: Mohebbi et al. 2023, arXiv 2301.12971, equation 5; of encoder-decoders Mohebbi et al. 2023b, arXiv
    2310.09925, which normalises apart; Ferrando et al. 2022, arXiv 2205.11631.
    """
    within = _checked(own)
    both = np.concatenate([within, _checked(source, len(within))], axis=1)
    total = both.sum(axis=1, keepdims=True)
    shares = np.divide(both, total, out=np.eye(*both.shape), where=total > 0)
    return shares[:, : len(within)], shares[:, len(within) :]


def _checked(distances: npt.ArrayLike, n_queries: int | None = None) -> FloatArray:
    """Distances as float64, with as many queries as keys, or as are said."""
    array = np.asarray(distances, dtype=np.float64)
    fits = array.ndim == 2 and len(array) == (array.shape[1] if n_queries is None else n_queries)
    if not fits or not (np.isfinite(array) & (array >= 0)).all():
        wanted = "[query, key] with as many queries as keys"
        if n_queries is not None:
            wanted = f"[query, source] with {n_queries} queries, as those of the decoder's own attention,"
        raise UsageError(f"distances have shape {array.shape}, expected {wanted} and no number below 0")
    return array


def value_zeroing(job: Job) -> Scores:
    """The row of the position that the prediction is read at (`read_row`) of how the layers' values mix positions.

    In each layer and for each token the layer is run on its clean input with the token's value vectors zero, in all
    heads; the cosine distance between clean and altered output says how much the token's value counts at each
    position. Rows are normalised and the layers multiplied. Unlike attention it sees values, norms, the residual
    stream and the feed-forward part of a layer; like attention it knows of no target and no sign. Special tokens keep
    their share, so the scores of a text sum to 1. As in the paper no identity is added, since the residual stream is
    in the outputs compared.

    Of an encoder-decoder the scores are shares of what comes from the text: what comes from the response so far is left
    out, see `mixing_of_both` and `read_source`.

    Reference: Mohebbi et al. 2023, arXiv 2301.12971, equations 3 to 5 and their rollout.
    """
    for i in range(len(job.encoded)):
        job.require_one_place(i)
    require_sites(job.handle, _NAME, *sites_read(job.handle))
    rows = [job.full_row(i) for i in range(len(job.encoded))]
    scores: list[FloatArray] = [np.zeros(0)] * len(rows)
    if writes_beside_a_reader(job.handle):
        _read_both(job, rows, scores)
    else:
        for i, found in distances(job.handle, rows):
            scores[i] = read_row(job, i, joined([mixing(layer) for layer in found[""]]))
    nothing: list[float | None] = [None] * len(rows)
    return Scores(scores, nothing, nothing, nothing, {"signed": False})


def _read_both(job: Job, rows: Sequence[Row], scores: list[FloatArray]) -> None:
    read_off = _read_off(rows)
    run = [i for i, held_by in enumerate(read_off) if i == held_by]
    for place, found in distances(job.handle, [rows[i] for i in run]):
        encoder = [mixing(layer) for layer in found["encoder"]]
        decoder = [
            # What was written later moves nothing before it, up to the rounding of another row.
            mixing_of_both(np.tril(own), source)
            for own, source in zip(found["decoder"], found["cross"], strict=True)
        ]
        for i in (i for i, held_by in enumerate(read_off) if held_by == run[place]):
            n = len(rows[i].decoder_ids or ())
            scores[i] = read_source(
                job, i, through(encoder, [(own[:n, :n], source[:n]) for own, source in decoder]).source
            )


def _read_off(rows: Sequence[Row]) -> list[int]:
    """For each row the longest one that it is the beginning of, its own number where there is none longer.

    A decoder looks back only, so what it mixes at a position does not depend on what is written after that.
    """
    kept: dict[tuple[int, ...], list[int]] = {}
    read_off = list(range(len(rows)))
    for i in sorted(read_off, key=lambda i: -len(rows[i].decoder_ids or ())):
        mine = rows[i].decoder_ids or ()
        longer = kept.setdefault(rows[i].ids, [])
        read_off[i] = next((k for k in longer if (rows[k].decoder_ids or ())[: len(mine)] == mine), i)
        if read_off[i] == i:
            longer.append(i)
    return read_off
