"""How what an encoder reads reaches what its decoder writes, through the attention of both.

The positions of both stacks are one graph: encoder positions look at encoder positions, decoder positions at those
before them and at the encoder. Scores stand at the tokens of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.attribution.job import Job
from interpret.capture.hooks import hooks
from interpret.capture.points import Key
from interpret.errors import UsageError
from interpret.models.batching import run_batches
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.results.explanations import FloatArray

#: What is written before the sites of the three kinds of attention.
PREFIXES: Final = ("encoder", "decoder", "cross")


class Reached(NamedTuple):
    """Where each decoder position `query` can have come from; both not negative, float64.

    own: `[query, key]`, positions of the decoder.
    source: `[query, key]`, positions of the encoder as keys. The rows of the two together sum to 1 where those of every
        layer do.
    """

    own: FloatArray
    source: FloatArray


def writes_beside_a_reader(handle: Handle) -> bool:
    """Whether this is an encoder-decoder that writes: its output hangs on the text through cross-attention alone."""
    return handle.task == "seq2seq-lm" and handle.stack("cross") is not None


def sites_for(handle: Handle, site: str) -> tuple[str, ...]:
    """A site of attention as a model of one stack has it, or the three of an encoder-decoder that writes."""
    return tuple(f"{prefix}.{site}" for prefix in PREFIXES) if writes_beside_a_reader(handle) else (site,)


def keys_for(handle: Handle, site: str) -> list[Key]:
    """The same with every layer, first layer first."""
    counts = handle.layers
    return [
        (name, layer)
        for name in sites_for(handle, site)
        for layer in range(counts[name.split(".")[0]] if "." in name else handle.n_layers)
    ]


def cross_rollout(
    encoder: Sequence[npt.ArrayLike], decoder: Sequence[npt.ArrayLike], cross: Sequence[npt.ArrayLike]
) -> Reached:
    """Attention rollout of an encoder-decoder: where attention could have carried each decoder position's state from.

    In each decoder layer the stream passes two attentions, each with a residual connection, so both count as in an
    encoder: the mean over heads plus the identity, rows normalised. The second one's share comes from the encoder's
    positions, as the encoder's own rollout spread them.

    Args:
        encoder: patterns of each encoder layer, `[head, source, source]`, without padding; rows sum to 1.
        decoder: those of each decoder layer's own attention, `[head, query, query]`.
        cross: those of each decoder layer's attention to the encoder, `[head, query, source]`.

    Raises:
        UsageError: no layer, or shapes that do not fit.

    Reference: Abnar and Zuidema 2020, arXiv 2005.00928, equation 1, which has one stack; here of the graph of both.
    """
    spread = _with_residual("encoder", encoder, square=True)
    within = _with_residual("decoder", decoder, square=True)
    across = _with_residual("cross", cross, square=False)
    if len(within) != len(across):
        raise UsageError(f"{len(within)} decoder layers and {len(across)} of cross were given; give one of each")
    nothing = [np.zeros((len(w), len(spread[0]))) for w in within]
    halves = [(0.5 * np.eye(len(a)), 0.5 * a) for a in across]
    steps = [step for pair in zip(zip(within, nothing, strict=True), halves, strict=True) for step in pair]
    return through(spread, steps)


def through(encoder: Sequence[FloatArray], decoder: Sequence[tuple[FloatArray, FloatArray]]) -> Reached:
    """Where the decoder's positions come from, by the steps that mix positions, first step first.

    Args:
        encoder: steps of the encoder, `[source, source]`, without padding.
        decoder: steps of the decoder, each the shares of its own positions `[query, query]` and of what the encoder
            ended with `[query, source]`; the rows of the two together sum to 1.

    Raises:
        UsageError: shapes that do not fit.
    """
    spread = encoder[0]
    for mixed in encoder[1:]:
        spread = mixed @ spread
    own, source = np.eye(len(decoder[0][0])), np.zeros((len(decoder[0][0]), len(spread)))
    for to_own, to_source in decoder:
        if to_own.shape != own.shape or to_source.shape != source.shape:
            raise UsageError(
                f"attention to the encoder of shape {to_source.shape} [query, key] meets {len(own)} decoder and "
                f"{len(spread)} encoder positions; give patterns of the same text without padding"
            )
        own, source = to_own @ own, to_own @ source + to_source @ spread
    return Reached(own, source)


def _with_residual(name: str, patterns: Sequence[npt.ArrayLike], *, square: bool) -> list[FloatArray]:
    """Means over heads `[query, key]`; within a stack plus the identity, rows normalised."""
    if not len(patterns):
        raise UsageError(f"rollout needs the attention pattern of at least one layer, and of {name} none was given")
    found = []
    for pattern in patterns:
        array = np.asarray(pattern, dtype=np.float64)
        if array.ndim != 3 or (square and array.shape[1] != array.shape[2]):
            wanted = "[head, query, key] with as many queries as keys" if square else "[head, query, source]"
            raise UsageError(f"a pattern of {name} has shape {array.shape}, expected {wanted}")
        mixed = array.mean(axis=0) + (np.eye(array.shape[1]) if square else 0.0)
        found.append(mixed / mixed.sum(axis=1, keepdims=True))
    return found


def read_source(job: Job, i: int, source: FloatArray) -> FloatArray:
    """Of `source` `[query, key]` what the decoder has where the target is read, as shares of their sum, `[key]`.

    That is the position that the explained token is written after; of a whole response the mean of all its positions,
    of those that the model was free in.
    All zero where nothing of the encoder reaches it.

    Raises:
        UsageError: a function of the output is explained.
    """
    job.require_one_place(i)
    target = job.targets[i]
    row = source[target.n_forced :].mean(axis=0) if target.kind == "sequence" else source[-1]
    total = row.sum()
    shares: FloatArray = row / total if total > 0 else row
    return shares


def streamed_patterns(job: Job) -> Iterator[tuple[int, dict[str, list[FloatArray]]]]:
    """Of each text the patterns of every layer `[head, query, key]` by the prefix of their stack, without padding."""
    handle = job.handle
    keys = keys_for(handle, "attn_pattern")
    rows = [job.full_row(i) for i in range(len(job.encoded))]

    def step(batch: dict[str, Tensor], _: list[int]) -> dict[Key, Tensor]:
        seen: dict[Key, Tensor] = {}
        reads = {key: _keeping(seen, key) for key in keys}
        base = handle.roles.base
        without_cache = {"use_cache": False} if "use_cache" in argument_names(base) else {}
        with torch.no_grad(), hooks(handle, reads):
            base(**batch, **without_cache)
        return seen

    for indices, seen in run_batches(handle, rows, step):
        for line, i in enumerate(indices):
            widths = widths_of(rows[i].ids, rows[i].decoder_ids)
            patterns: dict[str, list[FloatArray]] = {prefix: [] for prefix in PREFIXES}
            for (site, _), tensor in ((key, seen[key]) for key in keys):
                prefix = site.split(".")[0]
                n_query, n_key = widths[prefix]
                patterns[prefix].append(tensor[line, :, :n_query, :n_key].double().cpu().numpy())
            yield i, patterns


def widths_of(ids: Sequence[int], decoder_ids: Sequence[int] | None) -> dict[str, tuple[int, int]]:
    """Queries and keys of each kind of attention."""
    n_source, n_query = len(ids), len(decoder_ids or ())
    return {"encoder": (n_source, n_source), "decoder": (n_query, n_query), "cross": (n_query, n_source)}


def _keeping(seen: dict[Key, Tensor], key: Key) -> Any:
    def keep(pattern: Tensor) -> None:
        seen[key] = pattern.clone()

    return keep
