"""The proof at attach: sites are what their definitions say, on this very model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from interpret.capture.attention import SCORES_TOLERANCE, ResolvedMode, resolve_mode
from interpret.capture.capture import Capture, capturing
from interpret.capture.hooks import hooks, refuse_compiled
from interpret.capture.points import Key, name_of, shape_of, sites_of, unavailable
from interpret.errors import ProofError
from interpret.models.handle import Handle, Modules, Roles
from interpret.models.resolve import prove as prove_widths
from interpret.models.specimen import specimen
from interpret.models.state import untouched
from interpret.sites import is_layered, split_site

#: Tolerance of `attn_pattern @ v = z` and of rows that sum to 1, by run dtype; in float64 many families still
#: take their softmax in float32.
TOLERANCE: Final[dict[str, float]] = {
    str(dtype).removeprefix("torch."): tolerance for dtype, tolerance in SCORES_TOLERANCE.items()
}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found at attach; no deviation exceeds its tolerance, or there would be no `Proof`.

    `z_error` is the largest deviation of `attn_pattern @ v` from `z`, relative to the largest |z|;
    `row_sum_error` that of a pattern's rows from 1 (None for families with sinks); `future_mass` the most
    that any query of a causal model gives to later keys (None for others); `stream_error` the largest deviation of
    the residual stream from the sum of what is added to it, where a block norms that sum after the norm, relative to
    the largest number there; `edits` the sites that were overwritten and moved the output. `refused` are sites that
    did not behave as defined, with the reason, where the others can do without them.
    """

    mode: ResolvedMode
    attn_implementation: str
    sites: tuple[str, ...]
    layers: tuple[int, ...]
    n_tokens: int
    tolerance: float
    z_error: float
    row_sum_error: float | None
    future_mass: float | None
    stream_error: float
    edits: tuple[str, ...]
    refused: dict[str, str]


def prove(handle: Handle) -> Proof:
    """Prove the sites of the first and the last layer of each stack on a small input; a few forwards.

    Says that the sites are where they should be, not that an explanation made from them is right. The model,
    its configuration and the random streams are left as they were.

    Raises:
        ProofError: a site does not behave as defined; the message names it with what was expected and found.
        UsageError: the model is compiled.

    """
    refuse_compiled(handle.model)
    prove_widths(handle)
    there = [site for site in sites_of(handle) if unavailable(handle, site) is None]
    scores = [site for site in there if split_site(site)[1] == "attn_scores"]
    rest = [site for site in there if site not in scores]
    with untouched(handle.model, handle.tokenizer), torch.no_grad():
        batch = specimen(handle)
        plain = _outputs(handle, batch)
        if not all(output.isfinite().all() for output in plain):
            raise ProofError(
                f"the output of {handle.name} in {handle.run_dtype} is not finite even without being "
                "observed; run it in "
                'another dtype, for example dtype="float32"'
            )
        with capturing(handle, *_written(handle, rest)) as capture:
            observed = _outputs(handle, batch)
        moved = _moved(plain, observed)
        if moved is not None:
            raise ProofError(
                f"observing {handle.name} moved its output by {moved:.3g}, which must "
                "be exactly 0; the model cannot be explained without changing it"
            )
        _prove_shapes(handle, capture)
        tolerance = TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"])
        z_error = max(_z_error(handle, capture, prefix, layer) for prefix, layer in _places(handle))
        _require(z_error <= tolerance, handle, "attn_pattern @ v should be z", z_error, tolerance)
        sums = [
            _row_sum_error(capture, prefix, layer) for prefix, layer in _places(handle) if not _sinks(handle, prefix)
        ]
        if sums:
            _require(max(sums) <= tolerance, handle, "attention rows should sum to 1", max(sums), tolerance)
        ahead = [_future_mass(capture, prefix, layer) for prefix, layer in _places(handle) if _causal(handle, prefix)]
        if ahead:
            _require(max(ahead) == 0, handle, "causal attention should give nothing to the future", max(ahead), 0)
        errors = [error for roles in handle.stacks for error in _stream_errors(roles, capture)]
        for claim, error in errors:
            _require(error <= tolerance, handle, claim, error, tolerance)
        edits = tuple(_prove_edit(handle, batch, plain, key) for key in _edited(handle))
        refused = {site: reason for site in scores if (reason := _refused(handle, batch, site)) is not None}
    every = {prefix: handle.stack(prefix) for prefix in handle.prefixes}
    attention = [m for prefix, roles in every.items() if roles for m in roles.of(prefix == "cross").attention]
    return Proof(
        mode=resolve_mode(dict(enumerate(attention)), "auto"),
        attn_implementation=handle.attn_implementation,
        sites=tuple(site for site in there if site not in refused),
        layers=_ends(handle.n_layers),
        n_tokens=int(capture.mask_of(f"{handle.roles.prefix}.embed".lstrip(".")).sum()),
        tolerance=tolerance,
        z_error=z_error,
        row_sum_error=max(sums, default=None),
        future_mass=max(ahead, default=None),
        stream_error=max((error for _, error in errors), default=0.0),
        edits=edits,
        refused=refused,
    )


def _ends(n_layers: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((0, n_layers - 1)))


def _places(handle: Handle) -> Iterator[tuple[str, int]]:
    """Prefix and layer of every attention that is looked at."""
    for prefix, n_layers in handle.layers.items():
        for layer in _ends(n_layers):
            yield prefix, layer


def _written(handle: Handle, sites: list[str]) -> list[str]:
    written = []
    for site in sites:
        layers = _ends(handle.layers[split_site(site)[0]]) if is_layered(site) else (None,)
        written += [name_of((site, layer)) for layer in layers]
    return written


def _named(prefix: str, site: str) -> str:
    return f"{prefix}.{site}" if prefix else site


def _sinks(handle: Handle, prefix: str) -> bool:
    roles = handle.stack(prefix)
    return roles is not None and roles.layout.sinks


def _causal(handle: Handle, prefix: str) -> bool:
    roles = handle.stack(prefix)
    return roles is not None and prefix != "cross" and roles.is_causal


def _outputs(handle: Handle, batch: dict[str, Any]) -> list[Tensor]:
    """Every tensor that the model hands out, caches left out."""
    output = handle.model(**batch)
    return [tensor.clone() for tensor in _tensors(output)]


def _tensors(output: Any) -> Iterator[Tensor]:
    for value in output.values() if hasattr(output, "values") else output:
        if isinstance(value, Tensor):
            yield value
        elif hasattr(value, "to_tuple"):
            yield from _tensors(value)


def _moved(plain: list[Tensor], other: list[Tensor]) -> float | None:
    """The largest difference; None where all are equal to the last bit."""
    if all(torch.equal(a, b) for a, b in zip(plain, other, strict=True)):
        return None
    return max(_largest(a - b) for a, b in zip(plain, other, strict=True))


def _prove_shapes(handle: Handle, capture: Capture) -> None:
    for key in capture:
        found, axes = tuple(capture[key].shape), capture.axes(key)
        mask = capture.mask_of(key[0])
        looked_at = capture.mask_of("encoder.embed") if split_site(key[0])[0] == "cross" else mask
        of_axis = {"example": len(mask), "position": mask.shape[1], "query": mask.shape[1], "key": looked_at.shape[1]}
        # A width that the weights do not tell (quantised layers) is not held against what was found.
        known = zip(axes, shape_of(handle, key[0]), found, strict=False)
        expected = tuple(of_axis.get(axis, size or seen) for axis, size, seen in known)
        if found != expected:
            raise ProofError(
                f"{name_of(key)} of {handle.name} should have shape {expected}, but has {found}; the family "
                f"{handle.roles.family!r} does not describe this model"
            )


def _z_error(handle: Handle, capture: Capture, prefix: str, layer: int) -> float:
    roles = handle.stack(prefix)
    assert roles is not None
    keep = capture.mask_of(_named(prefix, "z"))
    pattern = capture[_named(prefix, "attn_pattern"), layer].double().nan_to_num()
    v = capture[_named(prefix, "v"), layer].double().nan_to_num()
    v = v.repeat_interleave(roles.n_heads // roles.n_kv_heads, dim=1)
    z = capture[_named(prefix, "z"), layer].double()[keep]
    return _largest((pattern @ v).transpose(1, 2)[keep] - z) / max(1.0, _largest(z))


def _row_sum_error(capture: Capture, prefix: str, layer: int) -> float:
    name = _named(prefix, "attn_pattern")
    sums = capture[name, layer].double().nan_to_num().sum(-1).transpose(1, 2)
    return _largest(sums[capture.mask_of(name)] - 1)


def _future_mass(capture: Capture, prefix: str, layer: int) -> float:
    return _largest(capture[_named(prefix, "attn_pattern"), layer].nan_to_num().triu(1).sum(-1))


def _stream_errors(roles: Roles, capture: Capture) -> Iterator[tuple[str, float]]:
    """How far the stream is from the sum of what is added to it, at the first and the last layer."""
    prefix, norm = roles.prefix, roles.layout.norm
    for layer in _ends(roles.n_layers):

        def at(site: str, prefix: str = prefix, layer: int = layer) -> Tensor:
            name = _named(prefix, site)
            return capture[name, layer][capture.mask_of(name)].double()

        if norm == "parallel":
            error = _relative(at("resid_pre") + at("attn_out") + at("mlp_out"), at("resid_post"))
            yield "resid_post should be resid_pre + attn_out + mlp_out", error
            continue
        parts: list[tuple[str, Tensor, Tensor, Modules]] = []
        before, name = at("resid_pre"), "resid_mid"
        parts.append((name, before + at("attn_out"), at("resid_mid"), roles.mid))
        before = at("resid_mid")
        if roles.cross is not None:
            parts.append(
                ("cross.resid_mid", before + at("attn_out", "cross"), at("resid_mid", "cross"), roles.cross.mid)
            )
            before = at("resid_mid", "cross")
        parts.append(("resid_post", before + at("mlp_out"), at("resid_post"), roles.post_norm))
        for name, total, found, norms in parts:
            normed = total if norm == "pre" else _layer_norm(norms[layer], total)
            if normed is not None:
                how = "" if norm == "pre" else ", normed"
                yield f"{name} should be the stream before it and what is added{how}", _relative(normed, found)


def _layer_norm(module: nn.Module, value: Tensor) -> Tensor | None:
    """A layer norm by its formula; None for another kind of norm, and where a device map keeps its weights away."""
    if not isinstance(module, nn.LayerNorm) or any(p.device.type == "meta" for p in module.parameters()):
        return None
    weight = None if module.weight is None else module.weight.double().cpu()
    bias = None if module.bias is None else module.bias.double().cpu()
    return nn.functional.layer_norm(value, module.normalized_shape, weight, bias, module.eps)


def _relative(expected: Tensor, found: Tensor) -> float:
    return _largest(expected - found) / max(1.0, _largest(found))


def _edited(handle: Handle) -> list[Key]:
    keys: list[Key] = []
    for prefix in handle.prefixes:
        keys.append((_named(prefix, "z"), 0))
        if prefix != "cross":
            keys.append((_named(prefix, "resid_post"), 0))
    return keys


def _prove_edit(handle: Handle, batch: dict[str, Any], plain: list[Tensor], key: Key) -> str:
    with hooks(handle, {}, {key: _reversed}):
        edited = _outputs(handle, batch)
    if _moved(plain, edited) is None:
        raise ProofError(
            f"overwriting {name_of(key)} of {handle.name} left the output as it was, so the site is not on "
            f"the path to the output; the family {handle.roles.family!r} does not describe this model"
        )
    return name_of(key)


def _refused(handle: Handle, batch: dict[str, Any], site: str) -> str | None:
    """Why scores cannot be had: what they were computed as does not give the pattern."""
    try:
        with capturing(handle, *_written(handle, [site]), stop=True):
            handle.model(**batch)
    except ProofError as err:
        return str(err)
    return None


def _reversed(value: Tensor) -> Tensor:
    # A change whatever the scale of the site, without random numbers: the positions backwards and negated.
    return -value.flip(1)


def _require(holds: bool, handle: Handle, claim: str, found: float, tolerance: float) -> None:
    if not holds:
        raise ProofError(
            f"{claim} in {handle.name}, but the deviation is {found:.3g} where {tolerance:g} is allowed; its "
            "sites cannot be trusted"
        )


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max().item())
