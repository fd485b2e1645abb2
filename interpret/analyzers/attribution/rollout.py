"""Attention rollout: where attention could carry information from, unsigned, with or without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution.job import Job, Scores
from interpret.capture.capture import Capture, stream
from interpret.capture.points import sites_of, unavailable
from interpret.errors import UnknownSiteError, UsageError
from interpret.models.handle import Handle
from interpret.results.explanations import Attribution, BoolArray, ExampleAttribution, FloatArray, TargetRecord
from interpret.results.record import Scalar

_NAME: Final = "attention_rollout"
#: What methods that are close to a capture need beyond it.
_NEEDED: Final = {
    "gradient_attention": "it reads the gradient of an output with respect to attn_pattern",
    "value_zeroing": "it runs the layers again with v at zero",
}


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

    Unsigned and the same for every target. Special tokens keep their share, so the scores of a text sum to 1.

    Reference: Abnar and Zuidema 2020, arXiv 2005.00928.
    """
    require_sites(job.handle, _NAME, "attn_pattern")
    n_layers = job.handle.n_layers
    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)
    for indices, sites, _mask in stream(job.handle, job.encoded, ["attn_pattern"]):
        for line, i in enumerate(indices):
            n_tokens = len(job.encoded[i].ids)
            layers = [
                sites["attn_pattern", layer][line, :, :n_tokens, :n_tokens].double().numpy()
                for layer in range(n_layers)
            ]
            scores[i] = read_row(job, i, rollout(layers))
    nothing: list[float | None] = [None] * len(job.encoded)
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
    if job.targets and job.targets[i].function is not None and job.handle.task != "text-classification":
        raise UsageError(
            "attention is followed from the one position that an output is read at, and a function may read any; use "
            "method='integrated_gradients' or 'leave_one_out'"
        )
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
        UsageError: another method, or a capture that does not hold the whole pattern of every layer.
    """
    if method not in ("auto", _NAME):
        also = f" ({_NEEDED[method]})" if method in _NEEDED else ""
        raise UsageError(f"{method!r} needs the model{also}; from a capture alone there is {_NAME!r}")
    layers = captured_layers(capture, "attn_pattern", _NAME)
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


def captured_layers(capture: Capture, site: str, method: str) -> list[int]:
    """The layers of a pattern in a capture, which must be all from 0 to the last one it holds.

    Raises:
        UsageError: a layer is missing, or only a part of each pattern was kept.
    """
    layers = sorted(layer for name, layer in capture.keys if name == site and layer is not None)
    if not layers:
        held = ", ".join(dict.fromkeys(name for name, _ in capture.keys))
        raise UsageError(f"{method} reads {site} of every layer, and this capture holds none of it, only {held}")
    missing = [f"{site}.{layer}" for layer in range(layers[-1]) if layer not in layers]
    if missing:
        raise UsageError(
            f"{method} reads {site} of every layer, and this capture lacks {', '.join(missing)}; capture {site!r}, "
            "which is all layers"
        )
    if capture.reduction is not None:
        raise UsageError(
            f"{method} reads whole patterns, and this capture kept a part of them; capture without heads=, queries= "
            "and summary="
        )
    return layers


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
