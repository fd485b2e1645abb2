"""Attention rollout: where attention could carry information from, unsigned, with or without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution.encoder_decoder import (
    PREFIXES,
    cross_rollout,
    read_source,
    sites_for,
    streamed_patterns,
    writes_beside_a_reader,
)
from interpret.analyzers.attribution.job import Job, Scores
from interpret.capture.capture import Capture, stream
from interpret.capture.points import sites_of, unavailable
from interpret.errors import UnknownSiteError, UsageError
from interpret.models.handle import Handle
from interpret.results.explanations import FloatArray

_NAME: Final = "attention_rollout"


def rollout(patterns: Sequence[npt.ArrayLike]) -> FloatArray:
    """How much of each position's final state attention could have carried from each position of the input.

    It follows attention alone: values, norms, the feed-forward layers and the sign of an influence are left
    out, so it is no measure of what mattered.

    Args:
        patterns: one array `[head, query, key]` per layer, first layer first, without padding; rows sum to 1.

    Returns:
        `[query, key]`, float64, not negative, rows sum to 1.

    Reference: Abnar and Zuidema 2020, arXiv 2005.00928, equation 1; mean over heads plus identity, rows
    normalised.
    """
    if not len(patterns):
        raise UsageError("rollout needs the attention pattern of at least one layer")
    mixing = []
    for pattern in patterns:
        array = np.asarray(pattern, dtype=np.float64)
        if array.ndim != 3 or array.shape[1] != array.shape[2]:
            raise UsageError(
                f"a pattern has shape {array.shape}, expected [head, query, key] with as many queries as keys"
            )
        mixed = array.mean(axis=0) + np.eye(array.shape[1])
        mixing.append(mixed / mixed.sum(axis=1, keepdims=True))
    return joined(mixing)


def joined(mixing: Sequence[FloatArray]) -> FloatArray:
    """What layers that mix positions one after another do together: the product, last layer leftmost.

    Args:
        mixing: one array `[query, key]` per layer, first layer first.

    Returns:
        `[query, key]`; rows sum to 1 where all rows of all layers do.
    """
    through = mixing[0]
    for mixed in mixing[1:]:
        through = mixed @ through
    return through


def attention_rollout(job: Job) -> Scores:
    """Rollout's row of the position that the prediction is read at, see `read_row`.

    Unsigned and the same for every target. Special tokens keep their share, so the scores of a text sum to 1. Of an
    encoder-decoder the scores are shares of what comes from the text: what comes from the response so far is left
    out, see `cross_rollout` and `read_source`.

    Reference: Abnar and Zuidema 2020, arXiv 2005.00928.
    """
    require_sites(job.handle, _NAME, *sites_for(job.handle, "attn_pattern"))
    n_layers = job.handle.n_layers
    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)
    nothing: list[float | None] = [None] * len(job.encoded)
    if writes_beside_a_reader(job.handle):
        for i, patterns in streamed_patterns(job):
            scores[i] = read_source(job, i, cross_rollout(*(patterns[prefix] for prefix in PREFIXES)).source)
        return Scores(scores, nothing, nothing, nothing, {"signed": False})
    for indices, sites, _mask in stream(job.handle, job.encoded, ["attn_pattern"]):
        for line, i in enumerate(indices):
            n_tokens = len(job.encoded[i].ids)
            layers = [
                sites["attn_pattern", layer][line, :, :n_tokens, :n_tokens].double().numpy()
                for layer in range(n_layers)
            ]
            scores[i] = read_row(job, i, rollout(layers))
    return Scores(scores, nothing, nothing, nothing, {"signed": False})


def require_sites(handle: Handle, method: str, *sites: str) -> None:
    """Say which site a method reads and this model does not have, before anything runs.

    Raises:
        UnknownSiteError: there is such a site.
    """
    for site in sites:
        reason = unavailable(handle, site)
        if reason is None:
            continue
        others = [name for name in sites_of(handle) if name.endswith(f".{site}") and unavailable(handle, name) is None]
        there = f" (it has {', '.join(others)})" if others else ""
        raise UnknownSiteError(
            f"{method} reads {site}, which {handle.name} does not have: {reason}{there}; "
            "method='leave_one_out' reads no site"
        )


def read_row(job: Job, i: int, through: FloatArray) -> FloatArray:
    """Of `through` `[query, key]` the row of the position that the prediction of a text is read at, `[key]`.

    That is the mask token of a masked language model, the first position of an encoder, and the last of a decoder.
    A classifier that pools by the mean reads all positions alike; then it is the mean of the rows.
    """
    pooling = getattr(job.handle.config, "classifier_pooling", "")
    if job.handle.task == "text-classification" and pooling == "mean":
        mean: FloatArray = through.mean(axis=0)
        return mean
    row: FloatArray = through[read_at(job, i)]
    return row


def read_at(job: Job, i: int) -> int:
    """The one position that the prediction of a text is read at, pooling aside."""
    if job.targets and job.targets[i].response:
        raise UsageError(
            "attention is followed from the position of the next token, not from those of a response; leave out "
            "response=, or use method='integrated_gradients' or 'leave_one_out'"
        )
    job.require_one_place(i)
    position = job.targets[i].position if job.targets else None
    if position is not None or not job.handle.is_decoder:
        return position or 0
    ids = job.encoded[i].ids
    # Decoder classifiers look for the last token that is not the padding one, which a text may well end with.
    pad = job.handle.config.pad_token_id if job.handle.task == "text-classification" else None
    return max((p for p, token in enumerate(ids) if token != pad), default=0)


def captured_layers(
    capture: Capture, site: str, method: str, sites: Sequence[str] | None = None, n_layers: int | None = None
) -> list[int]:
    """The layers of a pattern in a capture, which must be all from 0 to the last one of the model, or that it holds.

    Args:
        capture: what is read.
        site: whose layers.
        method: what reads them, for the words of an error.
        sites: what to capture instead; None says the site.
        n_layers: how many the model has, where it is known.

    Raises:
        UsageError: a layer is missing, or only a part of each pattern was kept.
    """
    instead = f"sites={list(sites or (site,))}"
    layers = sorted(layer for name, layer in capture.keys if name == site and layer is not None)
    if not layers:
        held = ", ".join(dict.fromkeys(name for name, _ in capture.keys))
        raise UsageError(
            f"{method} reads {site} of every layer, and this capture holds none of it, only {held}; capture {instead}"
        )
    missing = [f"{site}.{layer}" for layer in range(n_layers or layers[-1]) if layer not in layers]
    if missing:
        raise UsageError(
            f"{method} reads {site} of every layer, and this capture lacks {', '.join(missing)}; capture {instead}, "
            "which is all layers"
        )
    if capture.reduction is not None:
        raise UsageError(
            f"{method} reads whole patterns, and this capture kept a part of them; capture without heads=, queries= "
            "and summary="
        )
    return layers
