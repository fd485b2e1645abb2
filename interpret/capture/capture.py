"""Capturing any forward the user runs (`capturing`), texts (`capture_texts`), or batch by batch (`stream`).

with capturing(handle, "attn_pattern.0-3", "resid_post") as capture:
    model(**batch)
capture["attn_pattern", 3]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from interpret.capture.attention import Mode
from interpret.capture.edits import Edit, bind
from interpret.capture.forward import Forward, StackInputs, widen
from interpret.capture.hooks import Around, Partial, hooks
from interpret.capture.points import Key, check_sites, n_values, name_of, sites_frame
from interpret.capture.recorder import Recorder, StopForward
from interpret.capture.reduction import Reduction, Summary
from interpret.capture.tensors import Capture
from interpret.errors import UsageError
from interpret.models.batching import Row, run_batches
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.state import untouched
from interpret.sites import split_site

__all__ = ["Capture", "capture_batches", "capture_texts", "capturing", "sites_frame", "stream"]

#: What `capture_texts` may hold at once unless told otherwise: 4 GiB.
MAX_BYTES: Final = 4 << 30


@contextmanager
def capturing(
    handle: Handle,
    *sites: str,
    mode: Mode = "auto",
    grad: bool = False,
    stop: bool = False,
    edits: Sequence[Edit] = (),
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    summary: Summary | None = None,
    k: int = 8,
) -> Iterator[Capture]:
    """Record the sites in every forward of the model that runs, in this thread, while the context is open.

    Attention mask and token ids are taken from the arguments of the forward. Each forward appends its
    examples, so in generation with a cache every step appends one row per sequence: the new position, against
    all keys so far (`capture.example` and `capture.step` tell which). The logits of the forward are the same to the
    last bit, except with `mode="eager"` and with edits.

    Args:
        handle: the attached model.
        sites: `"resid_post"` (all layers), `"resid_post.3"`, `"decoder.attn_pattern.0-5"`, ... May be left out where
            there are edits.
        mode: how attention patterns are obtained: "auto" beside the model's own implementation; "eager" makes
            the whole model run eager attention, which changes its numerics.
        grad: keep the tensors attached to the graph; then pads are not blanked and one forward is captured.
        stop: end the forward after the last of the sites, and with it the `with` block.
        edits: made in the order given before anything is read.
        heads: keep only these heads of attention patterns and scores.
        queries: keep only these query positions, counted among the tokens of each example; -1 is the last one.
        summary: keep less than each row of a pattern: its "entropy" in nats, its "top_k" largest weights, or the
            "mean" over heads; see `interpret.capture.reduction`.
        k: how many weights "top_k" keeps.

    Yields:
        The `Capture`, which fills while forwards run.

    Raises:
        UnknownSiteError: a site or layer the model does not have; the model has not been touched then.
        UsageError: no site was named, the model is compiled, or options that contradict each other.

    """
    if not sites and not edits:
        raise UsageError('no site was named; name some, for example capturing("resid_post", "attn_pattern.0-3")')
    keys = check_sites(handle, list(sites))
    reduction = _reduction(handle, keys, heads, queries, summary, k, grad)
    if stop and (not keys or ("logits", None) in keys):
        raise UsageError("stop=True ends the forward before the logits; ask for other sites, or leave out stop=True")
    capture = Capture(keys, model=handle.name, grad=grad, reduction=reduction)
    recorder = Recorder(handle, capture, queries=None if queries is None else tuple(queries), stop=stop)
    reads = {key: recorder.reader(key) for key in keys}
    around = Around(recorder.begin, recorder.end, recorder.stack)
    partial = Partial(reduction, None if queries is None else recorder.rows, recorder.seen)
    bound = bind(handle, edits, recorder.inputs)
    with hooks(handle, reads, bound, mode=mode, grad=grad, around=around, partial=partial) as resolved:
        capture.mode = resolved
        try:
            yield capture
        except StopForward as stopped:
            if stopped.recorder is not recorder:
                raise


def _reduction(
    handle: Handle,
    keys: Sequence[Key],
    heads: Sequence[int] | None,
    queries: Sequence[int] | None,
    summary: Summary | None,
    k: int,
    grad: bool,
) -> Reduction | None:
    if heads is None and queries is None and summary is None:
        return None
    attention = [name for name, _ in keys if split_site(name)[1] in ("attn_pattern", "attn_scores")]
    if not attention:
        raise UsageError(
            "heads=, queries= and summary= choose what is kept of attention; name attn_pattern among the sites"
        )
    if grad and (queries is not None or summary is not None):
        raise UsageError("grad=True keeps whole patterns in the graph; leave out queries= and summary=")
    reduction = Reduction(None if heads is None else tuple(heads), summary, k)
    for name in attention:
        roles = handle.stack(split_site(name)[0])
        assert roles is not None
        reduction.check(roles.n_heads)
    return reduction


def stream(
    handle: Handle,
    encoded: Sequence[Encoded],
    sites: Sequence[str] | str,
    *,
    mode: Mode = "auto",
    token_budget: int | None = None,
    max_batch: int | None = None,
    progress: str | None = None,
    **options: Any,
) -> Iterator[tuple[list[int], dict[Key, Tensor], Tensor]]:
    """Run texts in batches of similar length and hand over each batch; nothing is kept.

    Between batches the model is as the caller left it. Where no logits are wanted, forwards end after the last site.

    Args:
        handle: the attached model.
        encoded: the texts.
        sites: written as for `capturing`.
        mode: as for `capturing`.
        token_budget: tokens per batch, pads included.
        max_batch: examples per batch.
        progress: label of a progress bar on stderr.
        options: `edits`, `heads`, `queries`, `summary` and `k`, as for `capturing`.

    Yields:
        Indices into `encoded`, (site, layer) to a detached tensor on the CPU (`interpret.sites.AXES`, NaN at
        pads), and the mask bool `[example, position]`.

    Raises:
        UnknownSiteError: a site or layer the model does not have.

    """
    written = [sites] if isinstance(sites, str) else list(sites)
    keys = check_sites(handle, written)
    rows = [Row(row.ids, row.type_ids) for row in encoded]
    for indices, forward, _ in _batches(handle, rows, written, mode, token_budget, max_batch, progress, options):
        yield indices, forward.tensors, forward.stack_of(keys[0][0]).mask


def capture_texts(
    handle: Handle,
    encoded: Sequence[Encoded],
    sites: Sequence[str] | str,
    *,
    targets: Sequence[Encoded] | None = None,
    mode: Mode = "auto",
    token_budget: int | None = None,
    max_batch: int | None = None,
    max_bytes: int = MAX_BYTES,
    progress: str | None = None,
    **options: Any,
) -> Capture:
    """Capture texts in batches; the examples of the capture stand in the order given.

    Args:
        handle: the attached model.
        encoded: the texts.
        sites: written as for `capturing`.
        targets: what the decoder of an encoder-decoder reads, one for each text.
        mode: as for `capturing`.
        token_budget: tokens per batch, pads included.
        max_batch: examples per batch.
        max_bytes: refuse a capture that would be larger; the size is known before anything runs.
        progress: label of a progress bar on stderr.
        options: `edits`, `heads`, `queries`, `summary` and `k`, as for `capturing`.

    Raises:
        UnknownSiteError: a site or layer the model does not have.
        UsageError: no text, or more than `max_bytes` would be held.

    """
    written = [sites] if isinstance(sites, str) else list(sites)
    keys = check_sites(handle, written)
    if not encoded:
        raise UsageError("there is no text to capture; give at least one")
    rows = _rows(handle, encoded, keys, targets)
    _refuse_too_large(handle, rows, keys, max_bytes, options)
    heads, queries, summary = (options.get(name) for name in ("heads", "queries", "summary"))
    reduction = _reduction(handle, keys, heads, queries, summary, int(options.get("k", 8)), grad=False)
    capture = Capture(keys, model=handle.name, encoded=encoded, reduction=reduction)
    whole = _Whole(len(encoded))
    for indices, forward, used in _batches(handle, rows, written, mode, token_budget, max_batch, progress, options):
        capture.mode = used
        whole.put(indices, forward)
    capture.add(whole.forward(keys))
    return capture


def capture_batches(
    handle: Handle, batches: Sequence[dict[str, Tensor]], sites: Sequence[str] | str, **options: Any
) -> Capture:
    """Capture ready-made inputs, such as a processor makes of images or sound; one forward for each batch.

    Args:
        handle: the attached model.
        batches: arguments of the model's forward, on any device.
        sites: written as for `capturing`.
        options: as for `capturing`.

    """
    written = [sites] if isinstance(sites, str) else list(sites)
    found: Capture | None = None
    for batch in batches:
        inputs = {
            name: value.to(handle.device) if isinstance(value, Tensor) else value for name, value in batch.items()
        }
        with untouched(handle.model, handle.tokenizer), torch.no_grad(), capturing(handle, *written, **options) as part:
            handle.model(**inputs, **handle.without_cache)
        if found is None:
            found = part
        else:
            found.add(part.last())
    if found is None:
        raise UsageError("there is nothing to capture; give at least one batch")
    return found


def _rows(
    handle: Handle, encoded: Sequence[Encoded], keys: Sequence[Key], targets: Sequence[Encoded] | None
) -> list[Row]:
    """What the model reads for each text; decoders beside an encoder read the targets."""
    if handle.stack("decoder") is None:
        if targets is not None:
            raise UsageError(
                f"{handle.name} has no decoder beside an encoder, so it reads no targets; leave out targets="
            )
        return [Row(row.ids, row.type_ids) for row in encoded]
    if targets is None:
        other = [name_of(key) for key in keys if split_site(key[0])[0] != "encoder"]
        if other and handle.task == "seq2seq-lm":
            raise UsageError(
                f"{other[0]} of {handle.name} depends on what its decoder reads; give targets=, one text for each "
                "text, or let the model write them with capture_generated()"
            )
        if handle.task != "seq2seq-lm":
            # Its head gives the decoder what it needs.
            return [Row(row.ids, row.type_ids) for row in encoded]
        return [Row(row.ids, row.type_ids, (handle.decoder_start_id,)) for row in encoded]
    if len(targets) != len(encoded):
        raise UsageError(f"{len(encoded)} texts were given and {len(targets)} targets; give one target for each text")
    return [Row(row.ids, row.type_ids, target.ids) for row, target in zip(encoded, targets, strict=True)]


def _refuse_too_large(
    handle: Handle, rows: Sequence[Row], keys: Sequence[Key], max_bytes: int, options: dict[str, Any]
) -> None:
    """Hold what a capture will take against the limit, pads included."""
    widths = {"": max(len(row.ids) for row in rows)}
    widths["encoder"] = widths["text"] = widths[""]
    widths["decoder"] = max(len(row.decoder_ids or row.ids) for row in rows)
    itemsize = handle.run_torch_dtype.itemsize
    n_bytes = 0
    for site, _ in keys:
        prefix, bare = split_site(site)
        own = "encoder" if prefix == "cross" and bare in ("k", "v") else "decoder" if prefix == "cross" else prefix
        if bare == "logits":
            own = handle.roles.prefix
        n_keys = widths["encoder"] if prefix == "cross" else None
        size = n_values(handle, site, widths.get(own, widths[""]), n_keys)
        if bare == "attn_pattern":
            size = _reduced(handle, site, widths.get(own, widths[""]), n_keys, options)
        n_bytes += itemsize * len(rows) * size
    if n_bytes > max_bytes:
        raise UsageError(
            f"capturing {len(keys)} tensors of {len(rows)} texts of up to {widths['']} tokens takes "
            f"{n_bytes:,} bytes, more than max_bytes={max_bytes:,}; ask for fewer sites or layers, for a summary of "
            "attention, stream the texts, or raise max_bytes"
        )


def _reduced(handle: Handle, site: str, n_positions: int, n_keys: int | None, options: dict[str, Any]) -> int:
    """Numbers kept of one pattern."""
    roles = handle.stack(split_site(site)[0])
    assert roles is not None
    n_heads = len(options["heads"]) if options.get("heads") is not None else roles.n_heads
    n_queries = len(options["queries"]) if options.get("queries") is not None else n_positions
    n_looked_at = n_positions if n_keys is None else n_keys
    match options.get("summary"):
        case "entropy":
            return n_heads * n_queries
        case "top_k":
            # Each weight comes with the key it belongs to, eight bytes of its own.
            return 3 * n_heads * n_queries * int(options.get("k", 8))
        case "mean":
            return n_queries * n_looked_at
    return n_heads * n_queries * n_looked_at


class _Whole:
    """Batches put together into one forward of all examples."""

    def __init__(self, n_examples: int) -> None:
        self.n_examples = n_examples
        self.masks: dict[str, Tensor] = {}
        self.tensors: dict[Key, Tensor] = {}
        self.index: dict[Key, Tensor] = {}
        self.causal: dict[str, bool] = {}
        self.names: dict[str, list[tuple[str, ...]]] = {}

    def put(self, indices: list[int], forward: Forward) -> None:
        where = torch.tensor(indices)
        for prefix, stack in forward.stacks.items():
            self.causal[prefix] = stack.causal
            self.masks[prefix] = self._placed(self.masks.get(prefix), where, stack.mask, False)
            names = self.names.setdefault(prefix, [()] * self.n_examples)
            for index, tokens in zip(indices, stack.tokens, strict=True):
                names[index] = tokens
        for key, tensor in forward.tensors.items():
            self.tensors[key] = self._placed(self.tensors.get(key), where, tensor, float("nan"))
        for key, top in forward.index.items():
            self.index[key] = self._placed(self.index.get(key), where, top, -1)

    def _placed(self, whole: Tensor | None, where: Tensor, part: Tensor, blank: float) -> Tensor:
        """Put the rows of a batch where they belong; the first batch is the widest, unless the decoder's are not."""
        if whole is None:
            whole = part.new_full([self.n_examples, *part.shape[1:]], blank)
        whole = widen(whole, [max(a, b) for a, b in zip(part.shape[1:], whole.shape[1:], strict=True)], blank)
        into = whole
        for axis, length in enumerate(part.shape[1:], start=1):
            into = into.narrow(axis, 0, length)
        into[where] = part
        return whole

    def forward(self, keys: Sequence[Key]) -> Forward:
        found = Forward(index=self.index, tensors={key: self.tensors[key] for key in keys})
        for prefix, mask in self.masks.items():
            names = tuple(self.names[prefix])
            found.stacks[prefix] = StackInputs(mask, mask, 0, self.causal[prefix], lambda names=names: names)  # type: ignore[misc]
        return found


def _batches(
    handle: Handle,
    rows: Sequence[Row],
    sites: Sequence[str],
    mode: Mode,
    token_budget: int | None,
    max_batch: int | None,
    progress: str | None,
    options: dict[str, Any],
) -> Iterator[tuple[list[int], Forward, str | None]]:
    extra = handle.without_cache
    stop = ("logits", None) not in check_sites(handle, sites)

    def step(batch: dict[str, Tensor], _: list[int]) -> tuple[Forward, str | None]:
        # Entered anew for each batch: between two of them the caller's own code runs.
        with torch.no_grad(), capturing(handle, *sites, mode=mode, stop=stop, **options) as capture:
            handle.model(**batch, **extra)
        return capture.last().settle(), capture.mode

    for indices, (forward, used) in run_batches(
        handle, rows, step, token_budget=token_budget, max_batch=max_batch, progress=progress
    ):
        yield indices, forward, used
