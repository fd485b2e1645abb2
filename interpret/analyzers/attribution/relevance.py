"""Gradient-weighted attention relevance: attention that the explained logit would rise with, through all layers.

attribute(handle, encoded, method="gradient_attention")

with capturing(handle, "attn_pattern", grad=True, mode="eager") as capture:
    logits = model(**batch).logits
captured_relevance(capture, logits[:, 1])[0].own          # [query, key]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.attribution.encoder_decoder import (
    PREFIXES,
    keys_for,
    read_source,
    sites_for,
    widths_of,
    writes_beside_a_reader,
)
from interpret.analyzers.attribution.job import Job, Scores
from interpret.analyzers.attribution.paths import gradient_tokens
from interpret.analyzers.attribution.rollout import captured_layers, read_row, require_sites
from interpret.capture.attention import on_interface
from interpret.capture.capture import Capture
from interpret.capture.hooks import hooks
from interpret.capture.points import Key, name_of
from interpret.errors import UsageError
from interpret.models.batching import run_batches
from interpret.models.handle import Handle
from interpret.models.readout import narrowed, read
from interpret.results.explanations import FloatArray

_NAME: Final = "gradient_attention"
#: Attention weights of one batch, all layers and heads together: 1 GiB in fp32, and about three times that with
#: what the backward pass needs of them.
_WEIGHTS: Final = 2**28


class Relevance(NamedTuple):
    """How the positions of one text bear on each position at the end of the model, float64, not negative.

    own: `[query, key]`, positions of the stack that makes the output; the identity that each starts from is in it.
    source: `[query, key]` with the positions of the encoder as keys; None where the model is one stack.
    """

    own: FloatArray
    source: FloatArray | None = None


def gradient_relevance(patterns: Sequence[npt.ArrayLike], gradients: Sequence[npt.ArrayLike]) -> FloatArray:
    """How much the attention that a scalar would rise with carries from each position to each position.

    Only attention is followed, and of that only what has a positive gradient: what the feed-forward layers do, and
    evidence against the scalar, are left out.

    Args:
        patterns: one array `[head, query, key]` per layer, first layer first, without padding.
        gradients: of the explained scalar with respect to each pattern, same shapes.

    Returns:
        R `[query, key]`, float64: R = I, then R <- R + A R for each layer, A the mean over heads of
        relu(gradient * pattern). Not negative and not normalised; each position keeps the 1 it starts with.

    Raises:
        UsageError: no layer, or shapes that do not fit.

    Reference: Chefer et al. 2021, arXiv 2103.15679, equations 5 and 6.
    """
    return _accumulated(_weighted_all("attention", patterns, gradients))


def cross_relevance(
    encoder: tuple[Sequence[npt.ArrayLike], Sequence[npt.ArrayLike]],
    decoder: tuple[Sequence[npt.ArrayLike], Sequence[npt.ArrayLike]],
    cross: tuple[Sequence[npt.ArrayLike], Sequence[npt.ArrayLike]],
) -> Relevance:
    """The same for an encoder-decoder, whose decoder looks at itself and then at the encoder in each layer.

    With q the positions of the encoder, s those of the decoder and A as in `gradient_relevance`:
    encoder layers R_qq <- R_qq + A R_qq; then in each decoder layer, from its own attention, R_sq <- R_sq + A R_sq and
    R_ss <- R_ss + A R_ss, and from its attention to the encoder R_sq <- R_sq + N(R_ss)^T A N(R_qq). N divides each
    row of R - I by its sum and adds I again; a row that is zero stays zero. The encoder does not look at the decoder,
    so the paper's R_qs is zero, and with it what it would add to R_ss.

    Args:
        encoder: patterns and gradients of each encoder layer, `[head, source, source]`.
        decoder: those of each decoder layer's own attention, `[head, query, query]`.
        cross: those of each decoder layer's attention to the encoder, `[head, query, source]`.

    Returns:
        `own` is R_ss, `source` is R_sq.

    Raises:
        UsageError: no layer, or shapes that do not fit.

    Reference: Chefer et al. 2021, arXiv 2103.15679, equations 6 to 10.
    """
    return _crossed(
        _weighted_all("encoder", *encoder), _weighted_all("decoder", *decoder), _weighted_all("cross", *cross)
    )


def captured_relevance(capture: Capture, value: Tensor, *, keep_graph: bool = False) -> list[Relevance]:
    """Relevance from a forward that was captured with gradients, of a model with one stack or an encoder-decoder.

    Args:
        capture: made with `grad=True, mode="eager"`, so that the output is computed from the patterns; it holds
            `attn_pattern`, or `encoder.attn_pattern`, `decoder.attn_pattern` and `cross.attn_pattern`, of every layer.
        value: the explained scalar of each example, `[example]`, such as `logits[:, 1]`.
        keep_graph: let another value be explained from the same forward.

    Returns:
        One `Relevance` for each example, pads left out.

    Raises:
        UsageError: the capture lacks a pattern or gradients, or the value is not computed from a pattern.
    """
    if not capture.grad:
        raise UsageError("relevance needs gradients of patterns; capture with grad=True, mode='eager'")
    prefixes = ("",) if any(site == "attn_pattern" for site, _ in capture.keys) else ("encoder", "decoder", "cross")
    keys: dict[str, list[Key]] = {}
    for prefix in prefixes:
        site = f"{prefix}.attn_pattern" if prefix else "attn_pattern"
        keys[prefix] = [(site, layer) for layer in captured_layers(capture, site, "relevance")]
    flat = [key for of_one in keys.values() for key in of_one]
    patterns = {key: capture[key] for key in flat}
    mixed = dict(zip(flat, _weighted_by_gradient(value.sum(), patterns, keep_graph), strict=True))
    found = []
    for i in range(len(capture)):
        real = {prefix: np.flatnonzero(capture.mask_of(keys[prefix][0][0]).numpy()[i]) for prefix in prefixes}
        if "cross" not in keys:
            own = real[""]
            found.append(Relevance(_accumulated([mixed[key][i][own[:, None], own] for key in keys[""]])))
            continue
        query, source = real["decoder"], real["encoder"]
        found.append(
            _crossed(
                [mixed[key][i][source[:, None], source] for key in keys["encoder"]],
                [mixed[key][i][query[:, None], query] for key in keys["decoder"]],
                [mixed[key][i][query[:, None], source] for key in keys["cross"]],
            )
        )
    return found


def gradient_attention(job: Job) -> Scores:
    """Relevance of each token for the position that the prediction is read at (`read_row`), as shares of their sum.

    Unsigned: evidence against the target is left out. The position that is read starts with a 1 of its own, so in a
    decoder the last token comes first unless others outweigh it; where gradients vanish nothing else is left.
    Special tokens keep their share, so the scores of a text sum to 1. Forward and backward run the layers' attention
    eagerly, since fused kernels never form the pattern; `value` is that of the model as it is.

    Of an encoder-decoder the scores are the relevances of the text's tokens for the position that is read
    (`cross_relevance`, `read_source`); those of the response so far are left out, and where nothing that raises the
    target comes from the text all scores are 0.

    Reference: Chefer et al. 2021, arXiv 2103.15679, equations 5 and 6; of encoder-decoders 6 to 10.
    """
    handle = job.handle
    require_sites(handle, _NAME, *sites_for(handle, "attn_pattern"))
    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)

    def step(batch: dict[str, Tensor], rows: list[int]) -> list[FloatArray]:
        with torch.inference_mode(False), torch.enable_grad():
            value, patterns = _explained(job, batch, rows)
            return _weighted_by_gradient(value, patterns)

    rows = [job.full_row(i) for i in range(len(job.encoded))]
    longest = max((max(len(row.ids), len(row.decoder_ids or ())) for row in rows), default=1)
    budget = _token_budget(handle, longest)
    for indices, mixed in run_batches(handle, rows, step, token_budget=budget, even=job.even):
        for line, i in enumerate(indices):
            if writes_beside_a_reader(handle):
                widths = widths_of(rows[i].ids, rows[i].decoder_ids)
                layers: dict[str, list[FloatArray]] = {prefix: [] for prefix in PREFIXES}
                for (site, _), layer in zip(keys_for(handle, "attn_pattern"), mixed, strict=True):
                    n_query, n_key = widths[site.split(".")[0]]
                    layers[site.split(".")[0]].append(layer[line, :n_query, :n_key])
                source = _crossed(*(layers[prefix] for prefix in PREFIXES)).source
                assert source is not None
                scores[i] = read_source(job, i, source)
                continue
            n_tokens = len(rows[i].ids)
            row = read_row(job, i, _accumulated([layer[line, :n_tokens, :n_tokens] for layer in mixed]))
            scores[i] = row / row.sum()
    values = job.score(rows, range(len(rows))).logit.tolist()
    nothing: list[float | None] = [None] * len(rows)
    return Scores(scores, values, nothing, nothing, {"signed": False})


def _explained(job: Job, batch: dict[str, Tensor], rows: Sequence[int]) -> tuple[Tensor, dict[Key, Tensor]]:
    """The sum of the rows' targets, and the patterns that it is computed from, in the graph of one forward."""
    handle = job.handle
    patterns: dict[Key, Tensor] = {}
    keys = keys_for(handle, "attn_pattern")
    reads = {key: _keeping(patterns, key) for key in keys}
    # Beside a fused kernel a pattern is a by-product. An edited one is what the layer goes on with, even if the
    # edit changes nothing. A module that forms its pattern itself goes on with it anyway.
    attention = [module for stack in handle.stacks for module in stack.attention]
    edits: dict[Key, Any] = dict.fromkeys(keys, _same) if all(map(on_interface, attention)) else {}
    # Parameters need no gradient here, so the graph begins at the embeddings.
    for stack in handle.stacks:
        site = f"{stack.prefix}.embed" if stack.prefix else "embed"
        edits[site, None] = lambda embedded: embedded.detach().requires_grad_()
    # Copies, since a caller in inference mode has made tensors that no graph may hold.
    inputs: dict[str, Any] = {name: tensor.clone() for name, tensor in batch.items()}
    these, wanted = [job.full_row(i) for i in rows], [job.targets[i].readout for i in rows]
    extra, kept = narrowed(handle, these, wanted)
    with hooks(handle, reads, edits, grad=True):
        outputs = handle.model(**inputs, **extra)
    value = read(handle, outputs, these, wanted, kept).value
    return value.sum(), {key: patterns[key] for key in keys}


def _keeping(patterns: dict[Key, Tensor], key: Key) -> Any:
    def keep(pattern: Tensor) -> None:
        patterns[key] = pattern

    return keep


def _same(pattern: Tensor) -> Tensor:
    return pattern


def _weighted_by_gradient(value: Tensor, patterns: dict[Key, Tensor], keep_graph: bool = False) -> list[FloatArray]:
    """A of each pattern `[example, head, query, key]`, float64 `[example, query, key]`, from one backward pass.

    Raises:
        UsageError: the value does not depend on a pattern.
    """
    asked = [pattern for pattern in patterns.values() if pattern.requires_grad]
    gradients: Sequence[Tensor | None] = [None] * len(patterns)
    if value.requires_grad and len(asked) == len(patterns):
        gradients = torch.autograd.grad(value, asked, allow_unused=True, retain_graph=keep_graph)
    found = []
    for (key, pattern), gradient in zip(patterns.items(), gradients, strict=True):
        if gradient is None:
            raise UsageError(
                f"the explained output is not computed from {name_of(key)}, so it has no gradient with respect to "
                "it; capture with grad=True, mode='eager', with gradients on, or use method='integrated_gradients'"
            )
        wide = torch.promote_types(pattern.dtype, torch.float32)
        mean: FloatArray = (pattern.detach().to(wide) * gradient.to(wide)).clamp(min=0).mean(1).cpu().double().numpy()
        found.append(mean)
    return found


def _weighted_all(name: str, patterns: Sequence[npt.ArrayLike], gradients: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    """A of each layer `[query, key]`: the mean over heads of relu(gradient * pattern)."""
    if not len(patterns) or len(patterns) != len(gradients):
        raise UsageError(
            f"{len(patterns)} patterns and {len(gradients)} gradients of {name} were given; give one of each per layer"
        )
    found = []
    for pattern, gradient in zip(patterns, gradients, strict=True):
        one, other = np.asarray(pattern, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
        if one.ndim != 3 or one.shape != other.shape:
            raise UsageError(
                f"a pattern of {name} has shape {one.shape} and its gradient {other.shape}, expected both to be "
                "[head, query, key]"
            )
        found.append(np.maximum(one * other, 0.0).mean(axis=0))
    return found


def _accumulated(mixing: Sequence[FloatArray]) -> FloatArray:
    """R = I, then R <- R + A R layer by layer."""
    relevance = np.eye(mixing[0].shape[-1])
    for mixed in mixing:
        relevance = relevance + _times(mixed, relevance)
    return relevance


def _crossed(encoder: Sequence[FloatArray], decoder: Sequence[FloatArray], cross: Sequence[FloatArray]) -> Relevance:
    source = _normalised(_accumulated(encoder))
    if len(decoder) != len(cross):
        raise UsageError(f"{len(decoder)} decoder layers and {len(cross)} of cross were given; give one of each")
    own, to_source = np.eye(decoder[0].shape[-1]), np.zeros((decoder[0].shape[-1], len(source)))
    for within, across in zip(decoder, cross, strict=True):
        own, to_source = own + _times(within, own), to_source + _times(within, to_source)
        to_source = to_source + _times(_times(_normalised(own).T, across), source)
    return Relevance(own, to_source)


def _times(left: FloatArray, right: FloatArray) -> FloatArray:
    if left.shape[1] != right.shape[0]:
        raise UsageError(
            f"attention of shape {left.shape} [query, key] meets relevance of shape {right.shape}; give patterns of "
            "the same text without padding"
        )
    found: FloatArray = left @ right
    return found


def _normalised(relevance: FloatArray) -> FloatArray:
    """R - I with rows that sum to 1, or to 0 where nothing was added to the identity, plus I."""
    identity = np.eye(len(relevance))
    added = relevance - identity
    total = added.sum(axis=1, keepdims=True)
    shares: FloatArray = np.divide(added, total, out=np.zeros_like(added), where=total > 0)
    return shares + identity


def _token_budget(handle: Handle, longest: int) -> int:
    """Tokens of one batch: a backward pass keeps the patterns of all layers, which grow with the length too."""
    n_layers = sum(handle.layers.values())
    return max(1, min(gradient_tokens(handle), _WEIGHTS // (n_layers * handle.n_heads * longest)))
