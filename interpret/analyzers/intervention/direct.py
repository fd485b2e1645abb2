"""Direct logit attribution: what each part writes into the stream, as the head reads it, norms held as they are.

    logit = constant + sum over parts + remainder

With its norms held, the stream that the head reads is a sum of what embeddings, heads and mlps have written. A linear
head turns the sum into the logit, and the remainder is 0. Of another head (a pooler with tanh, a masked head's
transform, its norm held too) the parts sum exactly to the gradient of the logit times the stream; what that leaves
out is the remainder.
Reference: Elhage et al. 2021, "A mathematical framework for transformer circuits".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from interpret.analyzers.intervention.lens import streams, token_row
from interpret.analyzers.intervention.metrics import place_of, require
from interpret.analyzers.intervention.swapping import captured, row_of
from interpret.analyzers.target import Target, TargetRequest, resolve_targets
from interpret.capture.held_norms import held, norms_of_head
from interpret.capture.hooks import hooks
from interpret.capture.late_start import from_layer
from interpret.capture.points import Key
from interpret.errors import UsageError
from interpret.models.batching import collate
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.prefixes import TOLERANCE
from interpret.models.state import untouched
from interpret.results.interventions import LogitPart, LogitParts, PartKind


class _Name(NamedTuple):
    kind: PartKind
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True)
class _Frozen:
    """A norm as it was at one vector: `scale` times the (centred) vector, plus `bias`."""

    scale: Tensor
    centred: bool
    bias: Tensor

    def __call__(self, vector: Tensor) -> Tensor:
        return self.scale * (vector - vector.mean() if self.centred else vector)


def direct_logit_attribution(
    handle: Handle,
    encoded: Encoded,
    target: TargetRequest = None,
    *,
    at: int | None = None,
    heads: bool = True,
) -> LogitParts:
    """Split the target's logit of one text into what each part writes at the position that the head reads.

    Args:
        handle: a model with one stack, whose head reads one position.
        encoded: the text.
        target: as for `resolve_targets`.
        at: which word or mask is read, counted from 0.
        heads: split the output of attention by heads.

    Raises:
        UsageError: the head reads several positions, a norm cannot be held, or the parts do not sum to the stream.
    """
    require(handle, "direct logit attribution")
    found = streams(handle, encoded)
    (wanted,) = resolve_targets(handle, [encoded], target, at=at)
    place = place_of(handle, wanted, len(encoded.ids)) if found.place is None else found.place
    assert place is not None
    vectors = _vectors(handle, encoded, place, heads)
    last = found.stream[-1, place].double()
    normed = _through(handle, vectors, last)
    head = _Head(handle, encoded, wanted)
    with held(norms_of_head(handle)):
        value, read, gradient = head.at(found.stream[-1, place])
        constant = head.at_zero(found.stream[-1, place])
    _same(handle, sum(normed.values(), torch.zeros_like(last)), read.double(), "what the final norm gives")
    rows = [
        LogitPart(kind=name.kind, layer=name.layer, head=name.head, value=float(vector @ gradient.double()))
        for name, vector in normed.items()
    ]
    rows.append(LogitPart(kind="constant", layer=None, head=None, value=constant))
    remainder = value - sum(row.value for row in rows)
    size = max(1.0, abs(value), *(abs(row.value) for row in rows))
    return LogitParts(
        parts=tuple(rows),
        logit=value,
        remainder=remainder,
        linear=abs(remainder) <= TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"]) * size,
        target=wanted.record(handle, encoded),
        text=encoded.text,
        token=encoded.tokens[place],
        position=place,
        n_truncated=encoded.n_truncated,
        model=handle.name,
    )


def _vectors(handle: Handle, encoded: Encoded, place: int, heads: bool) -> dict[_Name, Tensor]:
    """What is written into the stream at one position, in the order it is written; float64 [d_model]."""
    layers = range(handle.n_layers)
    sites = ("attn_out", "mlp_out", *(("z",) if heads else ()))
    keys: list[Key] = [("resid_pre", 0), *((site, layer) for layer in layers for site in sites)]
    values = {key: value[place] for key, value in captured(handle, row_of(encoded), keys).items()}
    found = {_Name("embed"): values["resid_pre", 0].double()}
    for layer in layers:
        attention = values["attn_out", layer].double()
        if heads:
            own = _by_head(handle, handle.roles.attention_output[layer], values["z", layer])
            if not _close(handle, own.sum(0), attention):
                raise _unreadable(
                    handle,
                    f"what its heads write at layer {layer} is changed before it is added to the stream; give "
                    "heads=False, which takes attention as a whole",
                )
            found |= {_Name("attention", layer, head): vector for head, vector in enumerate(own[:-1])}
            if own[-1].any():
                found[_Name("attention_bias", layer)] = own[-1]
        else:
            found[_Name("attention", layer)] = attention
        found[_Name("mlp", layer)] = values["mlp_out", layer].double()
    return found


def _by_head(handle: Handle, projection: nn.Module, z: Tensor) -> Tensor:
    """What each head writes, and last what the projection writes of nothing: its bias; [head + 1, d_model]."""
    n_heads = len(z)
    alone = torch.zeros(n_heads + 1, 1, z.numel(), dtype=z.dtype, device=z.device)
    for head, vector in enumerate(z):
        alone[head, 0, head * len(vector) : (head + 1) * len(vector)] = vector
    with untouched(handle.model, handle.tokenizer), torch.no_grad():
        found = projection(alone)[:, 0].double()
    found[:-1] -= found[-1].clone()
    result: Tensor = found
    return result


def _through(handle: Handle, vectors: dict[_Name, Tensor], last: Tensor) -> dict[_Name, Tensor]:
    """The parts as they stand in what the head reads, norms on the way held as they were."""
    roles = handle.roles
    parts = dict(vectors)
    if roles.layout.norm == "post":
        parts = {}
        for name, vector in vectors.items():
            parts[name] = vector
            closing = name.kind == "mlp" or name == _last_of_attention(vectors, name.layer)
            if not closing or name.layer is None:
                continue
            norm = (roles.post_norm if name.kind == "mlp" else roles.mid)[name.layer]
            if name.kind != "mlp" and roles.mid_side != "output":
                raise _unreadable(handle, f"no norm stands after attention of layer {name.layer}")
            _hold(handle, norm, parts)
    total = sum(parts.values(), torch.zeros_like(last))
    _same(handle, total, last, "the stream after the last block")
    if roles.final_norm is not None:
        _hold(handle, roles.final_norm, parts)
    return parts


def _last_of_attention(vectors: dict[_Name, Tensor], layer: int | None) -> _Name | None:
    own = [name for name in vectors if name.layer == layer and name.kind in ("attention", "attention_bias")]
    return own[-1] if own and layer is not None else None


def _hold(handle: Handle, norm: nn.Module, parts: dict[_Name, Tensor]) -> None:
    """Take every part through a norm as it is at their sum; its bias joins the part of all norms' biases."""
    total = torch.stack(list(parts.values())).sum(0)
    frozen = _frozen(handle, norm, total)
    for name, vector in parts.items():
        parts[name] = frozen(vector)
    if frozen.bias.any():
        name = _Name("norm_bias")
        parts[name] = parts.get(name, torch.zeros_like(total)) + frozen.bias


def _frozen(handle: Handle, norm: nn.Module, at: Tensor) -> _Frozen:
    """A norm as it is at one vector.

    Raises:
        UsageError: it is neither a layer norm nor a root mean square norm.
    """
    weight = getattr(norm, "weight", None)
    own = torch.ones_like(at) if weight is None else weight.detach().double()
    bias = getattr(norm, "bias", None)
    shift = torch.zeros_like(at) if bias is None else bias.detach().double()
    eps = float(getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", None) or 0.0)
    with untouched(handle.model, handle.tokenizer), torch.no_grad():
        dtype = own.dtype if weight is None else weight.dtype
        given = norm(at.to(dtype)[None, None])[0, 0].double()
    if own.shape == at.shape:
        centred = at - at.mean()
        # Some norms keep their weight as the distance from 1.
        for scale, is_centred in (
            (own * (centred.square().mean() + eps).rsqrt(), True),
            (own * (at.square().mean() + eps).rsqrt(), False),
            ((1.0 + own) * (at.square().mean() + eps).rsqrt(), False),
        ):
            frozen = _Frozen(scale, is_centred, shift)
            if _close(handle, frozen(at) + shift, given):
                return frozen
    raise _unreadable(handle, f"{type(norm).__name__} is neither a layer norm nor a root mean square norm")


class _Head:
    """The target's logit as a function of what the final norm gives, or of the stream where there is none."""

    def __init__(self, handle: Handle, encoded: Encoded, target: Target) -> None:
        self.handle, self.target = handle, target
        self.row = token_row(handle, encoded)
        self.key: Key = ("resid_post", handle.n_layers - 1) if handle.roles.final_norm is None else ("final_norm", None)

    def at(self, vector: Tensor) -> tuple[float, Tensor, Tensor]:
        """The logit, what the head reads, and the gradient of one with respect to the other, [d_model]."""
        seen: list[Tensor] = []
        with (
            untouched(self.handle.model, self.handle.tokenizer),
            torch.inference_mode(False),
            torch.enable_grad(),
            hooks(self.handle, {self.key: seen.append}, grad=True),
        ):
            given = vector.detach().clone()[None, None].requires_grad_()
            logit = self._logit(given)
            (gradient,) = torch.autograd.grad(logit, seen[0])
        return float(logit.detach()), seen[0].detach()[0, 0], gradient[0, 0]

    def at_zero(self, vector: Tensor) -> float:
        """The logit where the head reads nothing."""
        with (
            untouched(self.handle.model, self.handle.tokenizer),
            torch.no_grad(),
            hooks(self.handle, {}, {self.key: torch.zeros_like}),
        ):
            return float(self._logit(vector[None, None]))

    def _logit(self, given: Tensor) -> Tensor:
        handle = self.handle
        with from_layer(handle, handle.n_layers, given):
            logits = handle.model(**collate(handle, [self.row]), **handle.without_cache).logits
        found: Tensor = self.target.of(logits.flatten(0, -2)[0])
        return found


def _close(handle: Handle, found: Tensor, expected: Tensor) -> bool:
    tolerance = TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"])
    return bool((found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max())))


def _same(handle: Handle, found: Tensor, expected: Tensor, what: str) -> None:
    if not _close(handle, found, expected):
        off = float((found - expected).abs().max())
        raise _unreadable(handle, f"they do not sum to {what} (off by {off:.1e})")


def _unreadable(handle: Handle, why: str) -> UsageError:
    return UsageError(f"the logits of {handle.name} cannot be split into what its parts write: {why}")
