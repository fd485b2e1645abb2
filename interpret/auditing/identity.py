"""Which model was audited, with the evidence that observing it changed nothing."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from interpret.analyzers.target import class_names
from interpret.auditing.encoding import row_of
from interpret.capture.capture import capturing
from interpret.errors import RunError
from interpret.models.batching import run_batches
from interpret.models.load import config_sha256, tokenizer_sha256, weights_sha256
from interpret.results.audits import Identity

if TYPE_CHECKING:
    from interpret.models.handle import Handle
    from interpret.models.inputs import Encoded

#: Libraries whose version can change a number in the report.
_VERSIONED = ("interpret-lm", "torch", "transformers", "tokenizers", "captum", "shap", "numpy", "scipy", "peft")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def capture_logit_difference(handle: Handle, encoded: Sequence[Encoded]) -> float:
    """Largest absolute difference of logits with every residual and attention pattern captured, and without."""
    rows = [row_of(handle, e) for e in encoded]
    sites = [f"{prefix}.{site}".lstrip(".") for prefix in handle.prefixes for site in ("resid_post", "attn_pattern")]
    # Of attention from the decoder to the encoder there is a pattern, but no stream of its own.
    sites = [site for site in sites if site != "cross.resid_post"]

    def difference(batch: dict[str, torch.Tensor], _: list[int]) -> float:
        with torch.no_grad():
            plain = _logits(handle.model(**batch))
            with capturing(handle, *sites):
                watched = _logits(handle.model(**batch))
        if not all(bool(torch.isfinite(one).all()) for one in plain):
            raise RunError(
                f"{handle.name} gives logits that are NaN or infinite on this data, so nothing can be measured; "
                "check the weights, or run with dtype='float32'"
            )
        return max(float((a - b).abs().max()) for a, b in zip(watched, plain, strict=True))

    # NaN under capture alone must not hide behind a maximum.
    return float(np.max([found for _, found in run_batches(handle, rows, difference)]))


def _logits(outputs: Any) -> list[torch.Tensor]:
    """The logits of an output: one tensor, or those of starts and of ends."""
    names = ("logits", "start_logits", "end_logits")
    return [found for name in names if (found := getattr(outputs, name, None)) is not None]


class Fingerprint(NamedTuple):
    """Digests of everything an audit must leave alone."""

    weights: str
    config: str
    tokenizer: str


def fingerprint(handle: Handle) -> Fingerprint:
    """The digests as they are now; taken before the first and after the last stage of an audit."""
    return Fingerprint(weights_sha256(handle.model), config_sha256(handle), tokenizer_sha256(handle))


def identify(
    handle: Handle,
    *,
    before: Fingerprint,
    after: Fingerprint,
    difference: float | None,
    base_name: str | None,
    base_sha256: str | None,
) -> Identity:
    """The identity section from the handle and from what was measured around the run."""
    quantisation = getattr(handle.config, "quantization_config", None)
    return Identity(
        name=handle.name,
        revision=handle.revision,
        adapter=handle.adapter,
        family=handle.roles.family,
        architecture=handle.architecture,
        task=handle.task,
        labels=class_names(handle),
        n_parameters=handle.n_parameters,
        n_layers=handle.n_layers,
        n_heads=handle.n_heads,
        d_model=handle.d_model,
        max_length=handle.max_length,
        attn_implementation=handle.attn_implementation,
        saved_dtype=handle.saved_dtype,
        run_dtype=handle.run_dtype,
        device=handle.device.type,
        weights_sha256_before=before.weights,
        weights_sha256_after=after.weights,
        capture_logit_difference=difference,
        config_sha256=before.config,
        config_sha256_after=after.config,
        tokenizer_sha256=before.tokenizer,
        tokenizer_sha256_after=after.tokenizer,
        remote_code=handle.remote_code,
        quantisation=None if quantisation is None else type(quantisation).__name__,
        base_name=base_name,
        base_weights_sha256=base_sha256,
        versions=versions(),
    )
