"""Attention rollout: where attention could carry information from, unsigned, with or without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution.job import Job, Scores
from interpret.capture.capture import Capture, stream
from interpret.errors import UsageError
from interpret.results.explanations import Attribution, BoolArray, ExampleAttribution, FloatArray, TargetRecord
from interpret.results.record import Scalar

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
    through: FloatArray | None = None
    for pattern in patterns:
        array = np.asarray(pattern, dtype=np.float64)
        if array.ndim != 3 or array.shape[1] != array.shape[2]:
            raise UsageError(
                f"a pattern has shape {array.shape}, expected [head, query, key] with as many queries as keys"
            )
        mixed = array.mean(axis=0) + np.eye(array.shape[1])
        mixed /= mixed.sum(axis=1, keepdims=True)
        through = mixed if through is None else mixed @ through
    assert through is not None
    return through


def attention_rollout(job: Job) -> Scores:
    """Rollout's row of the position that the prediction is read at: the first of an encoder, the last of a decoder.

    Unsigned and the same for every target. Special tokens keep their share, so the scores of a text sum to 1.

    Reference: Abnar and Zuidema 2020, arXiv 2005.00928.
    """
    n_layers = job.handle.n_layers
    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)
    for indices, sites, _mask in stream(job.handle, job.encoded, ["attn_pattern"]):
        for line, i in enumerate(indices):
            n_tokens = len(job.encoded[i].ids)
            layers = [
                sites["attn_pattern", layer][line, :, :n_tokens, :n_tokens].double().numpy()
                for layer in range(n_layers)
            ]
            scores[i] = rollout(layers)[_read_at(job, i)]
    nothing: list[float | None] = [None] * len(job.encoded)
    return Scores(scores, nothing, nothing, nothing, {"signed": False})


def _read_at(job: Job, i: int) -> int:
    """The position that the prediction of a text is read at."""
    position = job.targets[i].position if job.targets else None
    if position is not None or not job.handle.is_decoder:
        return position or 0
    ids = job.encoded[i].ids
    # Decoder classifiers look for the last token that is not the padding one, which a text may well end with.
    pad = job.handle.config.pad_token_id if job.handle.task == "text-classification" else None
    return max((p for p, token in enumerate(ids) if token != pad), default=0)


def attribute_capture(capture: Capture, method: str = "attention_rollout") -> Attribution:
    """Attention rollout of a saved capture, without the model: nothing is known of a target, so none is recorded.

    The row is the last one where attention only looks back, else the first.

    Args:
        capture: a capture that holds `attn_pattern` of every layer.
        method: "attention_rollout" or "auto", which is the same: the only method that needs no model.

    Raises:
        UsageError: another method, or a capture without attention patterns.
    """
    if method not in ("auto", "attention_rollout"):
        raise UsageError(f"{method!r} needs the model; from a capture alone there is 'attention_rollout'")
    layers = sorted(layer for site, layer in capture.keys if site == "attn_pattern" and layer is not None)
    if not layers or layers != list(range(len(layers))):
        raise UsageError(
            f"rollout needs attn_pattern of every layer, and this capture holds layers {layers}; "
            'capture with sites=["attn_pattern"]'
        )
    mask: BoolArray = capture.mask.numpy()
    examples = []
    for i in range(len(capture)):
        real = np.flatnonzero(mask[i])
        whole = [capture["attn_pattern", layer][i].detach().double().cpu().numpy() for layer in layers]
        patterns = [pattern[:, real[:, None], real] for pattern in whole]
        causal = len(real) > 1 and all(not np.triu(pattern, k=1).any() for pattern in patterns)
        scores = rollout(patterns)[-1 if causal else 0]
        examples.append(_captured(capture, i, real, scores))
    options: dict[str, Scalar] = {"signed": False}
    if method == "auto":
        options["auto"] = _NAME
    return Attribution(examples=tuple(examples), method=_NAME, options=options)


def _captured(capture: Capture, i: int, real: npt.NDArray[np.intp], scores: FloatArray) -> ExampleAttribution:
    """One example of a capture; of a forward that the user ran only the tokens are known."""
    n = len(real)
    known = None if capture.encoded is None else capture.encoded[i]
    tokens = tuple(capture.tokens[i][p] for p in real.tolist()) if known is None else known.tokens
    return ExampleAttribution(
        text="" if known is None else known.text,
        tokens=tokens,
        token_ids=np.full(n, -1, dtype=np.int64) if known is None else np.asarray(known.ids, dtype=np.int64),
        scores=scores,
        word_index=np.arange(n) if known is None else np.asarray(known.word_index, dtype=np.int64),
        char_spans=np.asarray([(0, 0)] * n if known is None else known.char_spans, dtype=np.int64).reshape(n, 2),
        special=np.zeros(n, dtype=bool) if known is None else np.asarray(known.special, dtype=bool),
        target=TargetRecord(kind="external"),
        method=_NAME,
        unit="token" if known is None else "word",
        n_truncated=0 if known is None else known.n_truncated,
    )
