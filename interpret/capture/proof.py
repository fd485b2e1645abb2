"""The proof at attach: sites are what their definitions say, on this very model."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from interpret.capture.attention import ResolvedMode, resolve_mode
from interpret.capture.capture import Capture, capturing
from interpret.capture.hooks import hooks, refuse_compiled
from interpret.capture.points import Key, name_of, shape_of, unavailable
from interpret.capture.tensors import axes_of
from interpret.errors import ProofError
from interpret.models.batching import Row, collate
from interpret.models.handle import Handle
from interpret.models.resolve import prove as prove_widths
from interpret.models.state import untouched
from interpret.sites import SITES, UNLAYERED, Site

#: Tolerance of `attn_pattern @ v = z` and of rows that sum to 1, by run dtype; in float64 many families still
#: take their softmax in float32.
TOLERANCE: Final[dict[str, float]] = {"float64": 1e-5, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}

_N_TOKENS: Final = 9


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found at attach; no deviation exceeds its tolerance, or there would be no `Proof`.

    `z_error` is the largest deviation of `attn_pattern @ v` from `z`, relative to the largest |z|;
    `row_sum_error` that of a pattern's rows from 1 (None for families with sinks); `future_mass` the most
    that any query of a causal model gives to later keys (None for others); `edits` the sites that were
    overwritten and moved the logits.
    """

    mode: ResolvedMode
    attn_implementation: str
    sites: tuple[Site, ...]
    layers: tuple[int, ...]
    n_tokens: int
    tolerance: float
    z_error: float
    row_sum_error: float | None
    future_mass: float | None
    edits: tuple[str, ...]


def prove(handle: Handle) -> Proof:
    """Prove the sites of the first and the last layer on a short padded batch; a few forwards of nine tokens.

    Says that the sites are where they should be, not that an explanation made from them is right. The model,
    its configuration and the random streams are left as they were.

    Raises:
        ProofError: a site does not behave as defined; the message names it with what was expected and found.
        UsageError: the model is compiled.

    """
    refuse_compiled(handle.model)
    prove_widths(handle)
    layers = tuple(dict.fromkeys((0, handle.n_layers - 1)))
    sites = tuple(site for site in SITES if unavailable(handle, site) is None)
    with untouched(handle.model, handle.tokenizer), torch.no_grad():
        batch = _batch(handle)
        plain = _output(handle, batch)
        if not plain.isfinite().all():
            raise ProofError(
                f"the output of {handle.name} in {handle.run_dtype} is not finite even without being "
                "observed; run it in "
                'another dtype, for example dtype="float32"'
            )
        written = [name_of((site, None)) for site in sites if site in UNLAYERED]
        written += [name_of((site, layer)) for site in sites if site not in UNLAYERED for layer in layers]
        with capturing(handle, *written) as capture:
            observed = _output(handle, batch)
        if not torch.equal(plain, observed):
            raise ProofError(
                f"observing {handle.name} moved its output by {_largest(plain - observed):.3g}, which must "
                "be exactly 0; the model cannot be explained without changing it"
            )
        _prove_shapes(handle, capture, tuple(batch["input_ids"].shape))
        tolerance = TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"])
        z_error = max(_z_error(handle, capture, layer) for layer in layers)
        _require(z_error <= tolerance, handle, "attn_pattern @ v should be z", z_error, tolerance)
        row_sum_error = None if handle.roles.sinks else max(_row_sum_error(capture, layer) for layer in layers)
        if row_sum_error is not None:
            _require(row_sum_error <= tolerance, handle, "attention rows should sum to 1", row_sum_error, tolerance)
        future_mass = None
        if handle.is_decoder:
            future_mass = max(_future_mass(capture, layer) for layer in layers)
            _require(future_mass == 0, handle, "causal attention should give nothing to the future", future_mass, 0)
        edits = tuple(_prove_edit(handle, batch, plain, key) for key in _edited(layers))
    return Proof(
        mode=resolve_mode(dict(enumerate(handle.roles.attention)), "auto"),
        attn_implementation=handle.attn_implementation,
        sites=sites,
        layers=layers,
        n_tokens=int(batch["attention_mask"].sum()),
        tolerance=tolerance,
        z_error=z_error,
        row_sum_error=row_sum_error,
        future_mass=future_mass,
        edits=edits,
    )


def _batch(handle: Handle) -> dict[str, Any]:
    """Two rows of ordinary ids, the second one shorter where the model can take padding."""
    config = handle.config
    named = [getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos", "sep", "cls")]
    special = {i for item in named for i in (item if isinstance(item, list) else [item])}
    special |= set(getattr(handle.tokenizer, "all_special_ids", ()))
    # Spread over the vocabulary instead of drawn: nothing random is needed, and embeddings differ.
    n_tokens = max(2, min(_N_TOKENS, handle.max_length))
    ordinary = [i for i in range(handle.vocab_size) if i not in special] or [0]
    ids = tuple(ordinary[(index * 2 + 1) * len(ordinary) // (2 * n_tokens)] for index in range(n_tokens))
    rows = [Row(ids)]
    classifies = handle.task == "text-classification"
    if not (classifies and handle.is_decoder and config.pad_token_id is None):
        rows.append(Row(ids[::-1][: max(1, n_tokens - 3)]))
    batch: dict[str, Any] = collate(handle, rows)
    if "use_cache" in inspect.signature(handle.core.forward).parameters:
        batch["use_cache"] = False
    return batch


def _output(handle: Handle, batch: dict[str, Any]) -> Tensor:
    output = handle.model(**batch)
    found: Tensor = output.last_hidden_state if handle.task == "none" else output.logits
    return found.clone()


def _prove_shapes(handle: Handle, capture: Capture, input_shape: tuple[int, ...]) -> None:
    of_axis = dict(zip(("example", "position"), input_shape, strict=True))
    of_axis |= {"query": input_shape[1], "key": input_shape[1]}
    for key in capture:
        found = tuple(capture[key].shape)
        axes = axes_of(key[0], len(found))
        # A width that the weights do not tell (quantised layers) is not held against what was found.
        known = zip(axes, shape_of(handle, key[0]), found, strict=False)
        expected = tuple(of_axis.get(axis, size or seen) for axis, size, seen in known)
        if found != expected:
            raise ProofError(
                f"{name_of(key)} of {handle.name} should have shape {expected}, but has {found}; the family "
                f"{handle.roles.family!r} does not describe this model"
            )


def _z_error(handle: Handle, capture: Capture, layer: int) -> float:
    keep = capture.mask
    pattern = capture["attn_pattern", layer].double().nan_to_num()
    v = capture["v", layer].double().nan_to_num().repeat_interleave(handle.n_heads // handle.n_kv_heads, dim=1)
    z = capture["z", layer].double()[keep]
    return _largest((pattern @ v).transpose(1, 2)[keep] - z) / max(1.0, _largest(z))


def _row_sum_error(capture: Capture, layer: int) -> float:
    sums = capture["attn_pattern", layer].double().nan_to_num().sum(-1).transpose(1, 2)
    return _largest(sums[capture.mask] - 1)


def _future_mass(capture: Capture, layer: int) -> float:
    return _largest(capture["attn_pattern", layer].nan_to_num().triu(1).sum(-1))


def _edited(layers: tuple[int, ...]) -> list[Key]:
    return [("z", layers[0]), ("resid_post", layers[0])]


def _prove_edit(handle: Handle, batch: dict[str, Any], plain: Tensor, key: Key) -> str:
    with hooks(handle, {}, {key: _reversed}):
        edited = _output(handle, batch)
    if torch.equal(edited, plain):
        raise ProofError(
            f"overwriting {name_of(key)} of {handle.name} left the output as it was, so the site is not on "
            f"the path to the output; the family {handle.roles.family!r} does not describe this model"
        )
    return name_of(key)


def _reversed(value: Tensor) -> Tensor:
    # A change whatever the scale of the site, without random numbers: the positions backwards and negated.
    return -value.flip(1)


def _require(holds: bool, handle: Handle, claim: str, found: float, tolerance: float) -> None:
    if not holds:
        raise ProofError(
            f"{claim} in {handle.name}, but the deviation is {found:.3g} where {tolerance:g} is allowed; its "
            "attention sites cannot be trusted"
        )


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max().item())
