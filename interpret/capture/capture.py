"""Capturing any forward the user runs (`capturing`), texts (`capture_texts`), or batch by batch (`stream`).

with capturing(handle, "attn_pattern.0-3", "resid_post") as capture:
    model(**batch)
capture["attn_pattern", 3]
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from interpret.capture.attention import Mode
from interpret.capture.hooks import Around, hooks
from interpret.capture.points import Key, check_sites, n_values, name_of, sites_frame
from interpret.capture.tensors import Capture, Forward, axes_of, blank_pads
from interpret.errors import ProofError, UsageError
from interpret.models.batching import Row, run_batches
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded

__all__ = ["Capture", "capture_texts", "capturing", "sites_frame", "stream"]

#: What `capture_texts` may hold at once unless told otherwise: 4 GiB.
MAX_BYTES: Final = 4 << 30


@contextmanager
def capturing(handle: Handle, *sites: str, mode: Mode = "auto", grad: bool = False) -> Iterator[Capture]:
    """Record the sites in every forward of the model that runs, in this thread, while the context is open.

    Attention mask and token ids are taken from the arguments of the forward. Each forward appends its
    examples, so in generation with a cache every step appends one row per sequence: the new position, against
    all keys so far. The logits of the forward are the same to the last bit, except with `mode="eager"`.

    Args:
        handle: the attached model.
        sites: `"resid_post"` (all layers), `"resid_post.3"`, `"attn_pattern.0-5"`, ...
        mode: how attention patterns are obtained: "auto" beside the model's own implementation; "eager" makes
            the whole model run eager attention, which changes its numerics.
        grad: keep the tensors attached to the graph; then pads are not blanked and one forward is captured.

    Yields:
        The `Capture`, which fills while forwards run.

    Raises:
        UnknownSiteError: a site or layer the model does not have; the model has not been touched then.
        UsageError: no site was named, or the model is compiled.

    """
    if not sites:
        raise UsageError('no site was named; name some, for example capturing("resid_post", "attn_pattern.0-3")')
    keys = check_sites(handle, list(sites))
    capture = Capture(keys, model=handle.name, grad=grad)
    recorder = _Recorder(handle, capture)
    reads = {key: recorder.reader(key) for key in keys}
    with hooks(handle, reads, mode=mode, grad=grad, around=Around(recorder.begin, recorder.end)) as resolved:
        capture.mode = resolved
        yield capture


def stream(
    handle: Handle,
    encoded: Sequence[Encoded],
    sites: Sequence[str] | str,
    *,
    mode: Mode = "auto",
    token_budget: int | None = None,
    max_batch: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[list[int], dict[Key, Tensor], Tensor]]:
    """Run texts in batches of similar length and hand over each batch; nothing is kept.

    Between batches the model is as the caller left it.

    Args:
        handle: the attached model.
        encoded: the texts.
        sites: written as for `capturing`.
        mode: as for `capturing`.
        token_budget: tokens per batch, pads included.
        max_batch: examples per batch.
        progress: label of a progress bar on stderr.

    Yields:
        Indices into `encoded`, (site, layer) to a detached tensor on the CPU (`interpret.sites.AXES`, NaN at
        pads), and the mask bool `[example, position]`.

    Raises:
        UnknownSiteError: a site or layer the model does not have.

    """
    written = [sites] if isinstance(sites, str) else list(sites)
    check_sites(handle, written)
    for indices, forward, _ in _batches(handle, encoded, written, mode, token_budget, max_batch, progress):
        yield indices, forward.tensors, forward.mask


def capture_texts(
    handle: Handle,
    encoded: Sequence[Encoded],
    sites: Sequence[str] | str,
    *,
    mode: Mode = "auto",
    token_budget: int | None = None,
    max_batch: int | None = None,
    max_bytes: int = MAX_BYTES,
    progress: str | None = None,
) -> Capture:
    """Capture texts in batches; the examples of the capture stand in the order given.

    Args:
        handle: the attached model.
        encoded: the texts.
        sites: written as for `capturing`.
        mode: as for `capturing`.
        token_budget: tokens per batch, pads included.
        max_batch: examples per batch.
        max_bytes: refuse a capture that would be larger; the size is known before anything runs.
        progress: label of a progress bar on stderr.

    Raises:
        UnknownSiteError: a site or layer the model does not have.
        UsageError: no text, or more than `max_bytes` would be held.

    """
    written = [sites] if isinstance(sites, str) else list(sites)
    keys = check_sites(handle, written)
    if not encoded:
        raise UsageError("there is no text to capture; give at least one")
    width = max(len(row.ids) for row in encoded)
    itemsize = handle.roles.word_embeddings.weight.element_size()
    n_bytes = itemsize * len(encoded) * sum(n_values(handle, site, width) for site, _ in keys)
    if n_bytes > max_bytes:
        raise UsageError(
            f"capturing {len(keys)} tensors of {len(encoded)} texts of up to {width} tokens takes "
            f"{n_bytes:,} bytes, more than max_bytes={max_bytes:,}; ask for fewer sites or layers, stream "
            "the texts, or raise max_bytes"
        )
    capture = Capture(keys, model=handle.name, encoded=encoded)
    mask = torch.zeros(len(encoded), width, dtype=torch.bool)
    joined: dict[Key, Tensor] = {}
    for indices, forward, mode_used in _batches(handle, encoded, written, mode, token_budget, max_batch, progress):
        capture.mode = mode_used
        where = torch.tensor(indices)
        mask[where, : forward.mask.shape[1]] = forward.mask
        for key, tensor in forward.tensors.items():
            axes = axes_of(key[0], tensor.ndim)
            if key not in joined:
                free = {"example": len(encoded), "position": width, "query": width, "key": width}
                shape = [free.get(axis, size) for axis, size in zip(axes, tensor.shape, strict=True)]
                joined[key] = tensor.new_full(shape, float("nan"))
            wide = joined[key]
            for axis, size in enumerate(tensor.shape[1:], start=1):
                wide = wide.narrow(axis, 0, size)
            wide[where] = tensor
    tokens = tuple(row.tokens for row in encoded)
    capture.add(Forward(mask, mask, 0, tokens, {key: joined[key] for key in keys}))
    return capture


def _batches(
    handle: Handle,
    encoded: Sequence[Encoded],
    sites: Sequence[str],
    mode: Mode,
    token_budget: int | None,
    max_batch: int | None,
    progress: str | None,
) -> Iterator[tuple[list[int], Forward, str | None]]:
    takes_cache = "use_cache" in inspect.signature(handle.core.forward).parameters
    extra: dict[str, Any] = {"use_cache": False} if takes_cache else {}

    def step(batch: dict[str, Tensor], _: list[int]) -> tuple[Forward, str | None]:
        # Entered anew for each batch: between two of them the caller's own code runs.
        with torch.no_grad(), capturing(handle, *sites, mode=mode) as capture:
            handle.model(**batch, **extra)
        return capture.last(), capture.mode

    rows = [Row(row.ids, row.type_ids) for row in encoded]
    for indices, (forward, used) in run_batches(
        handle, rows, step, token_budget=token_budget, max_batch=max_batch, progress=progress
    ):
        yield indices, forward, used


class _Recorder:
    """Collects the reads of one forward after another into a capture."""

    def __init__(self, handle: Handle, capture: Capture) -> None:
        self.handle = handle
        self.capture = capture
        self.thread = threading.get_ident()
        self.parameters = tuple(inspect.signature(handle.roles.base.forward).parameters)
        self.current: Forward | None = None
        self.inside = False

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == self.thread:
            # A forward that was interrupted leaves an unfinished record, which is dropped here.
            self.current = _inputs(self.handle, {**dict(zip(self.parameters, args, strict=False)), **kwargs})
            self.inside = True

    def end(self) -> None:
        if threading.get_ident() == self.thread:
            self.inside = False
            self._finish()

    def reader(self, key: Key) -> Any:
        # Only logits arrive after the base model is done; anything else then is a recomputation for a
        # backward pass.
        outside = key[0] == "logits"

        def read(tensor: Tensor) -> None:
            if threading.get_ident() == self.thread and self.current is not None and (outside or self.inside):
                self._keep(self.current, key, tensor)

        return read

    def _keep(self, forward: Forward, key: Key, tensor: Tensor) -> None:
        axes = axes_of(key[0], tensor.ndim)
        if key[0] == "attn_pattern":
            self._check_future(forward, key, tensor)
            forward.key_mask = _fit(forward.key_mask, tensor.shape[-1])
        if not self.capture.grad:
            n_positions = forward.mask.shape[1]
            if key[0] == "logits" and tensor.ndim == 3 and tensor.shape[1] < n_positions:
                # Generation asks for the logits of the last positions only.
                missing = n_positions - tensor.shape[1]
                tensor = torch.nn.functional.pad(tensor, (0, 0, missing, 0), value=float("nan"))
            tensor = blank_pads(tensor, axes, forward.mask, forward.key_mask).cpu()
        forward.tensors[key] = tensor
        if key[0] == "logits":
            self._finish()

    def _check_future(self, forward: Forward, key: Key, pattern: Tensor) -> None:
        n_query, n_key = pattern.shape[-2:]
        # A longer key axis is a preallocated cache, a shorter one a sliding window; the model's own mask,
        # which the tee has already held the pattern against, is then the better witness.
        if forward.causal and n_key == forward.n_past + n_query:
            # A pad in front has nothing to look at, and eager attention then looks everywhere.
            tokens = forward.mask.to(pattern.device)[:, None, :, None]
            ahead = pattern.detach().triu(forward.n_past + 1).masked_fill(~tokens, 0).amax().item()
            if ahead > 0:
                raise ProofError(
                    f"{name_of(key)} of {self.handle.name} puts {ahead:.3g} of its mass on the future "
                    "although the model is causal; its attention patterns cannot be trusted, ask for other "
                    "sites"
                )

    def _finish(self) -> None:
        forward = self.current
        if forward is not None and not self.inside and len(forward.tensors) == len(self.capture.keys):
            # In the order asked for, not in the order of arrival.
            forward.tensors = {key: forward.tensors[key] for key in self.capture.keys}
            self.capture.add(forward)
            self.current = None


def _inputs(handle: Handle, given: dict[str, Any]) -> Forward:
    """Mask, cache length and tokens from the arguments of the base model."""
    ids = given.get("input_ids")
    source = ids if isinstance(ids, Tensor) else given.get("inputs_embeds")
    if not isinstance(source, Tensor):
        raise UsageError("this forward passed neither input_ids nor inputs_embeds; pass one of them as a tensor")
    n_examples, n_positions = source.shape[:2]
    past: Any = given.get("past_key_values")
    n_past = int(past.get_seq_length()) if hasattr(past, "get_seq_length") else 0
    mask = given.get("attention_mask")
    causal = handle.is_decoder
    if isinstance(mask, dict):
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if isinstance(mask, Tensor) and mask.ndim == 2:
        key_mask = mask.detach().cpu().bool()
        position_mask = key_mask[:, -n_positions:]
    elif isinstance(mask, Tensor) and mask.ndim in (3, 4):
        # A mask of the caller's own: a position is a pad if it may look nowhere, a key if nobody may look at
        # it.
        causal = False
        allowed = mask.detach().cpu()
        allowed = allowed if allowed.dtype == torch.bool else allowed > -1e4
        allowed = allowed.any(1) if allowed.ndim == 4 else allowed
        position_mask, key_mask = (
            allowed.any(-1).expand(n_examples, -1),
            allowed.any(-2).expand(n_examples, -1),
        )
    else:
        position_mask = torch.ones(n_examples, n_positions, dtype=torch.bool)
        key_mask = torch.ones(n_examples, n_past + n_positions, dtype=torch.bool)
    return Forward(position_mask, key_mask, n_past, _tokens(handle, ids, position_mask), {}, causal)


def _tokens(handle: Handle, ids: Any, mask: Tensor) -> tuple[tuple[str, ...], ...]:
    """Name the token of every position, "" at pads and without ids; pads at the end are left out."""
    rows = []
    for index, keep in enumerate(mask.tolist()):
        end = max((position + 1 for position, kept in enumerate(keep) if kept), default=0)
        if not isinstance(ids, Tensor):
            rows.append(("",) * end)
            continue
        row = ids[index, :end].tolist()
        names = [str(i) for i in row] if handle.tokenizer is None else handle.tokenizer.convert_ids_to_tokens(row)
        rows.append(tuple(str(name) if kept else "" for name, kept in zip(names, keep[:end], strict=True)))
    return tuple(rows)


def _fit(key_mask: Tensor, n_keys: int) -> Tensor:
    """Bring the key mask to the width that the attention ran with."""
    missing = n_keys - key_mask.shape[1]
    # A preallocated cache ends in empty slots; a sliding cache has dropped the oldest keys.
    return torch.nn.functional.pad(key_mask, (0, missing)) if missing >= 0 else key_mask[:, -n_keys:]
