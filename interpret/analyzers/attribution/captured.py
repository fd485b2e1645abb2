"""Attributions from a capture, without another forward: attention rollout, and with gradients two methods more.

attribute_capture(capture)                                           # rollout: attn_pattern of every layer
with lm.capturing("attn_pattern", "logits", grad=True, mode="eager") as capture:
    model(**batch)
attribute_capture(capture, "gradient_attention", handle=handle, target="positive")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.attribution.encoder_decoder import PREFIXES, cross_rollout
from interpret.analyzers.attribution.relevance import captured_relevance
from interpret.analyzers.attribution.rollout import captured_layers, rollout
from interpret.analyzers.target import Target, TargetRequest, targets_of_logits
from interpret.capture.capture import Capture
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.results.explanations import Attribution, ExampleAttribution, FloatArray, TargetRecord
from interpret.results.record import Scalar
from interpret.sites import split_site

_ROLLOUT: Final = "attention_rollout"
_RELEVANCE: Final = "gradient_attention"
_SLOPE: Final = "gradient_x_input"
#: What methods that are close to a capture need beyond it.
_NEEDED: Final = {"value_zeroing": "it runs the layers again with v at zero"}
#: Tasks whose output is read at one place that a capture tells.
_READ: Final = ("text-classification", "masked-lm", "causal-lm", "seq2seq-lm")


class _Explained(NamedTuple):
    """The scalar of each example `[example]`, in the graph, and what it is."""

    value: Tensor
    targets: list[Target]


def attribute_capture(
    capture: Capture, method: str = "auto", *, handle: Handle | None = None, target: TargetRequest = None
) -> Attribution:
    """What a capture explains by itself; no forward is run and the model is not asked.

    Rollout knows of no target, so none is recorded; its row is the last one where attention only looks back, else the
    first, and of an encoder-decoder that of the last decoder position. Methods with gradients explain the logits that
    were captured: a class, the token at the first mask, or the one that is written next.

    Args:
        capture: a capture that holds what the method reads: `attn_pattern` of every layer for "attention_rollout"; the
            same and `logits` for "gradient_attention"; `embed` and `logits` for "gradient_x_input"; the last two made
            with `grad=True` (the first of them with `mode="eager"`). Of an encoder-decoder the three kinds of attention
            and `encoder.embed`.
        method: one of those, or "auto": rollout, or where gradients but no patterns were captured gradient x input.
        handle: the model that was captured; methods with gradients need it to know what its logits mean.
        target: what is explained, None for the prediction; see `targets_of_logits`.

    Raises:
        UsageError: another method, a capture that lacks what the method reads, a target that rollout does not know, or
            a function as target.
    """
    if callable(target):
        raise UsageError(
            "target is a function of what the model returns, and a capture keeps the sites it was asked for only; give "
            "lm.attribute the texts, or explain a class or token"
        )
    patterned = any(split_site(name)[1] == "attn_pattern" for name, _ in capture.keys)
    picked = _SLOPE if capture.grad and not patterned else _ROLLOUT
    name = picked if method == "auto" else method
    if name not in (_ROLLOUT, _RELEVANCE, _SLOPE):
        also = f" ({_NEEDED[name]})" if name in _NEEDED else ""
        raise UsageError(
            f"{name!r} needs the model{also}; from a capture alone there are {_ROLLOUT!r}, and with gradients "
            f"{_RELEVANCE!r} and {_SLOPE!r}"
        )
    crossing = any(split_site(site)[0] in PREFIXES for site, _ in capture.keys)
    source = "encoder" if crossing else ""
    options: dict[str, Scalar] = {"auto": name} if method == "auto" else {}
    targets: Sequence[Target] = ()
    values: list[float] = []
    if name == _ROLLOUT:
        if target is not None:
            raise UsageError(f"{_ROLLOUT} is the same for every target; leave out target=, or use {_RELEVANCE!r}")
        scores = _rolled_out(capture, crossing, handle)
        options["signed"] = False
    else:
        _require(capture, name, crossing, handle)
        assert handle is not None
        explained = _explained(capture, handle, target)
        targets, values = explained.targets, explained.value.detach().double().tolist()
        if name == _RELEVANCE:
            scores = _relevances(capture, handle, explained, crossing)
            options["signed"] = False
        else:
            scores = _slopes(capture, explained, source)
            options["layer"] = "embed"
    records = [target.record(handle) for target in targets] if handle is not None else []
    site = next(site for site, _ in capture.keys if split_site(site)[0] == source and split_site(site)[1] != "logits")
    examples = []
    for i, line in enumerate(scores):
        record = records[i] if records else TargetRecord(kind="external")
        examples.append(_example(capture, i, site, name, line, record, values[i] if values else None))
    return Attribution(examples=tuple(examples), method=name, options=options)


def _places(capture: Capture, site: str, i: int) -> npt.NDArray[np.intp]:
    return np.flatnonzero(capture.mask_of(site).numpy()[i])


def _sites(crossing: bool) -> list[str]:
    return [f"{prefix}.attn_pattern" for prefix in PREFIXES] if crossing else ["attn_pattern"]


def _layers(capture: Capture, method: str, crossing: bool, handle: Handle | None) -> dict[str, list[int]]:
    """The layers of each kind of attention, all of them."""
    sites = _sites(crossing)
    counts: dict[str, int] = {} if handle is None else handle.layers
    return {site: captured_layers(capture, site, method, sites, counts.get(split_site(site)[0])) for site in sites}


def _rolled_out(capture: Capture, crossing: bool, handle: Handle | None) -> list[FloatArray]:
    layers = _layers(capture, _ROLLOUT, crossing, handle)
    found = []
    for i in range(len(capture)):
        patterns: list[list[FloatArray]] = []
        for site, numbers in layers.items():
            queries = _places(capture, site, i)
            keys = _places(capture, "encoder.attn_pattern", i) if split_site(site)[0] == "cross" else queries
            whole = [capture[site, layer][i].detach().double().cpu().numpy() for layer in numbers]
            patterns.append([pattern[:, queries[:, None], keys] for pattern in whole])
        if crossing:
            row = cross_rollout(*patterns).source[-1]
            found.append(row / row.sum())
            continue
        (own,) = patterns
        causal = own[0].shape[1] > 1 and all(not np.triu(pattern, k=1).any() for pattern in own)
        found.append(rollout(own)[-1 if causal else 0])
    return found


def _require(capture: Capture, method: str, crossing: bool, handle: Handle | None) -> None:
    """Say what a capture lacks, and how to make one that does not.

    Raises:
        UsageError: it lacks something.
    """
    read = _sites(crossing) if method == _RELEVANCE else ["encoder.embed" if crossing else "embed"]
    sites = [*read, "logits"]
    eager = ", mode='eager'" if method == _RELEVANCE else ""
    how = f"run the forward inside lm.capturing({', '.join(map(repr, sites))}, grad=True{eager}), that is sites={sites}"
    if handle is None:
        raise UsageError(f"{method} reads logits, and only their model knows what they mean; use lm.attribute(capture)")
    if not capture.grad:
        raise UsageError(f"{method} reads gradients, and this capture was made without grad=True; {how}")
    held = {name for name, _ in capture.keys}
    lacking = [site for site in sites if site not in held]
    if lacking:
        raise UsageError(
            f"{method} reads {', '.join(sites)}, and this capture lacks {', '.join(lacking)} (it holds "
            f"{', '.join(dict.fromkeys(name for name, _ in capture.keys))}); {how}"
        )
    if method == _RELEVANCE:
        _layers(capture, method, crossing, handle)
    if handle.task not in _READ or (crossing and handle.task != "seq2seq-lm"):
        raise UsageError(
            f"from a capture the outputs of {', '.join(_READ)} can be explained, and {handle.name} is loaded for "
            f"{handle.task!r}; give lm.attribute the texts"
        )


def _explained(capture: Capture, handle: Handle, target: TargetRequest) -> _Explained:
    logits = capture["logits"]
    if logits.ndim == 2:
        lines, positions = list(logits), None
    else:
        width = capture.mask_of("logits").shape[1]
        if logits.shape[1] != width:
            raise UsageError(
                f"the captured logits stand at {logits.shape[1]} positions and the tokens at {width}; run the forward "
                "without logits_to_keep"
            )
        at = [_read_in(capture, handle, i) for i in range(len(capture))]
        lines = [logits[i, _places(capture, "logits", i)[place]] for i, place in enumerate(at)]
        positions = None if handle.task == "causal-lm" else at
    targets = targets_of_logits(handle, [line.detach() for line in lines], target, positions)
    value = torch.stack([one.of(line) for one, line in zip(targets, lines, strict=True)])
    if not value.requires_grad:
        raise UsageError("the captured logits have no gradient; run the forward with gradients on")
    return _Explained(value, targets)


def _read_in(capture: Capture, handle: Handle, i: int) -> int:
    """The position that the output is read at, counted among the tokens of the example."""
    places = _places(capture, "logits", i)
    tokens = [capture.tokens_of("logits")[i][place] for place in places.tolist()]
    if handle.task == "masked-lm":
        mask = getattr(handle.tokenizer, "mask_token", None)
        if mask not in tokens:
            raise UsageError(
                f"example {i} of the capture holds no mask token ({mask!r}), so nothing is filled in there"
            )
        return tokens.index(mask)
    if handle.task == "text-classification":
        if not handle.is_decoder:
            return 0
        pad = (
            None
            if handle.tokenizer is None
            else handle.tokenizer.convert_ids_to_tokens(handle.config.pad_token_id or 0)
        )
        known = handle.config.pad_token_id is not None
        return max((n for n, token in enumerate(tokens) if not known or token != pad), default=0)
    return len(places) - 1


def _relevances(capture: Capture, handle: Handle, explained: _Explained, crossing: bool) -> list[FloatArray]:
    scores = []
    for i, found in enumerate(captured_relevance(capture, explained.value, keep_graph=True)):
        through = found.source if crossing else found.own
        assert through is not None
        pooled = handle.task == "text-classification" and getattr(handle.config, "classifier_pooling", "") == "mean"
        row: FloatArray = through.mean(axis=0) if pooled else through[_read_in(capture, handle, i)]
        total = row.sum()
        scores.append(row / total if total > 0 else row)
    return scores


def _slopes(capture: Capture, explained: _Explained, source: str) -> list[FloatArray]:
    site = f"{source}.embed" if source else "embed"
    embedded = capture[site]
    found = None
    if embedded.requires_grad:
        (found,) = torch.autograd.grad(explained.value.sum(), embedded, retain_graph=True, allow_unused=True)
    if found is None:
        raise UsageError(
            f"the captured logits are not computed from {site}, so they have no gradient with respect to it; run the "
            "forward with gradients on, and with parameters that require them"
        )
    product = (found.double() * embedded.detach().double()).sum(-1).cpu().numpy()
    return [product[i, _places(capture, site, i)] for i in range(len(capture))]


def _example(
    capture: Capture,
    i: int,
    site: str,
    method: str,
    scores: FloatArray,
    target: TargetRecord,
    value: float | None,
) -> ExampleAttribution:
    """One example of a capture; of a forward that the user ran only the tokens are known."""
    real = _places(capture, site, i)
    n = len(real)
    known = None if capture.encoded is None else capture.encoded[i]
    tokens = tuple(capture.tokens_of(site)[i][p] for p in real.tolist()) if known is None else known.tokens
    return ExampleAttribution(
        text="" if known is None else known.text,
        tokens=tokens,
        token_ids=np.full(n, -1, dtype=np.int64) if known is None else np.asarray(known.ids, dtype=np.int64),
        scores=scores,
        word_index=np.arange(n) if known is None else np.asarray(known.word_index, dtype=np.int64),
        char_spans=np.asarray([(0, 0)] * n if known is None else known.char_spans, dtype=np.int64).reshape(n, 2),
        special=np.zeros(n, dtype=bool) if known is None else np.asarray(known.special, dtype=bool),
        target=target,
        method=method,
        unit="token" if known is None else "word",
        value=value,
        n_truncated=0 if known is None else known.n_truncated,
    )
