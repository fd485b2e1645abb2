"""Collecting what hooks hand over, one forward after another, into a `Capture`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from interpret.capture.attention import Seen
from interpret.capture.forward import Forward, StackInputs, blank_pads
from interpret.capture.keeping import kept
from interpret.capture.points import Key, axes_of_model, name_of
from interpret.capture.tensors import Capture
from interpret.errors import ProofError, UsageError
from interpret.models.handle import Handle, Roles
from interpret.models.parts import argument_names
from interpret.sites import split_site

_BEAMS = ("_beam_search", "_group_beam_search", "_constrained_beam_search")


class StopForward(BaseException):
    """Ends a forward whose sites have all been read. No `Exception`, so that nothing inside the model catches it."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__("all sites have been read")
        self.recorder = recorder


class Recorder:
    """Collects the reads of one forward after another into a capture; hooks tell it of those of one thread."""

    def __init__(
        self, handle: Handle, capture: Capture, *, queries: tuple[int, ...] | None = None, stop: bool = False
    ) -> None:
        self.handle = handle
        self.capture = capture
        self.queries = queries
        self.stop = stop
        self.parameters = {stack.prefix: argument_names(stack.stack) for stack in handle.stacks}
        self.stacks = {stack.prefix: stack for stack in handle.stacks}
        self.current: Forward | None = None
        #: The forward that began last, also when it is recorded already: the logits come after everything else.
        self.latest: Forward | None = None
        self.given: dict[str, dict[str, Any]] = {}
        self.inside = False
        self.opener: nn.Module | None = None

    # Told by hooks

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A stack inside the base model that is running already; were it left over from a crash, it would begin itself.
        if self.inside and module is not self.opener and module is self.handle.roles.stack:
            return
        self.opener = module
        _refuse_beams()
        # A forward that was interrupted leaves an unfinished record, which is dropped here.
        self.current = self.latest = Forward()
        self.given = {}
        self.inside = True

    def stack(self, prefix: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.inside or self.current is None:
            return
        given = {**dict(zip(self.parameters[prefix], args, strict=False)), **kwargs}
        self.given[prefix] = given
        roles = self.stacks[prefix]
        if roles.cross is not None:
            self._encoder_of(given)
        if roles.layout.modality == "text":
            self.current.stacks[prefix] = text_inputs(self.handle, roles, given)

    def end(self, module: nn.Module) -> None:
        if module is not self.opener:
            return
        self.inside = False
        if self.current is not None:
            missing = [key for key in self.capture.keys if key not in self.current.tensors and key[0] != "logits"]
            if missing:
                self.current = None
                raise self._incomplete(missing)
        self._finish()

    def reader(self, key: Key) -> Callable[[Tensor], None]:
        def read(tensor: Tensor) -> None:
            if self._listening(key):
                self._keep(key, tensor)

        return read

    def seen(self, key: Key, seen: Seen) -> None:
        """Take attention, as it came."""
        if not self._listening(key):
            return
        assert self.current is not None
        axes = self.capture._axes(key, seen.tensor.ndim)
        self._ensure_stack(self.current, key, seen.tensor, axes)
        if "key" in axes and split_site(key[0])[0] != "cross":
            own = self.current.stack_of(key[0])
            own.key_mask = _fit(own.key_mask, seen.tensor.shape[axes.index("key")])
        self._check_future(key, seen.tensor, axes)
        if self.capture.grad:
            self._put(key, seen.tensor)
            return
        if self.queries is not None:
            self.current.rows[key] = self._rows(key)
        # Blanked when somebody asks: many are never asked for.
        self.current.raw[key] = axes
        if seen.top is not None:
            self.current.index[key] = seen.top.cpu()
        self._put(key, kept(seen.tensor))

    def rows(self, key: Key) -> Tensor | None:
        """Query positions to keep in the forward that is running, [example, query]."""
        if not self._listening(key):
            return None
        return self._rows(key)[0]

    def inputs(self, key: Key, tensor: Tensor) -> dict[str, Tensor]:
        """Which positions hold something in the forward that is running, by the name of the axis."""
        axes = axes_of_model(self.handle, key[0])
        forward = self.latest
        if forward is not None and (self.inside or key[0] == "logits"):
            self._ensure_stack(forward, key, tensor, axes)
            own = forward.stack_of(key[0])
            masks = forward.masks(key)
            if "key" in axes:
                masks["key"] = _fit(masks["key"], tensor.shape[axes.index("key")])
            # Tokens that a cache holds already: positions are counted from the first of them.
            return masks | {"before": own.key_mask[:, : own.n_past].sum(1)}
        raise UsageError(
            f"an edit of {name_of(key)} was reached outside a forward of the attached model; run the attached model "
            "itself inside the `with` block"
        )

    # Inside

    def _listening(self, key: Key) -> bool:
        # Only logits arrive after the base model is done; anything else then is a recomputation for a backward pass.
        inside = self.inside or key[0] == "logits"
        return self.current is not None and inside

    def _ensure_stack(self, forward: Forward, key: Key, tensor: Tensor, axes: tuple[str, ...]) -> None:
        """Images and sound tell how many positions they become only when the first of them is seen."""
        prefix, site = split_site(key[0])
        if site == "logits":
            prefix = self.handle.roles.prefix
        own = ("encoder" if site in ("k", "v") else "decoder") if prefix == "cross" else prefix
        if own in forward.stacks:
            return
        axis = next((axes.index(name) for name in ("position", "query") if name in axes), None)
        given = self.given.get(own, {})
        source = _first_tensor(given)
        if axis is None:
            mask = torch.ones(len(tensor), 1, dtype=torch.bool)
        else:
            mask = _frames(self.stacks[own], given, len(tensor), tensor.shape[axis])
        if source is not None and len(source) != len(mask):
            mask = mask.expand(len(source), -1)
        forward.stacks[own] = StackInputs(mask, mask, 0, False, lambda: _numbered(mask))
        order = {stack.prefix: number for number, stack in enumerate(self.handle.stacks)}
        forward.stacks = dict(sorted(forward.stacks.items(), key=lambda item: order[item[0]]))

    def _keep(self, key: Key, tensor: Tensor) -> None:
        assert self.current is not None
        axes = axes_of_model(self.handle, key[0])
        if tensor.ndim != len(axes):
            raise ProofError(
                f"{name_of(key)} of {self.handle.name} should have axes {', '.join(axes)}, but has shape "
                f"{tuple(tensor.shape)}; the family {self.handle.roles.family!r} does not describe this model"
            )
        self._ensure_stack(self.current, key, tensor, axes)
        if not self.capture.grad:
            n_positions = self.current.masks(key)["position"].shape[1]
            if key[0] == "logits" and tensor.ndim == 3 and tensor.shape[1] < n_positions:
                # Generation asks for the logits of the last positions only.
                missing = n_positions - tensor.shape[1]
                tensor = torch.nn.functional.pad(tensor, (0, 0, missing, 0), value=float("nan"))
            tensor = kept(tensor)
            blank_pads(tensor, axes, self.current.pads(key))
        self._put(key, tensor)

    def _put(self, key: Key, tensor: Tensor) -> None:
        assert self.current is not None
        if key in self.current.tensors:
            raise UsageError(
                f"{name_of(key)} of {self.handle.name} came by twice in one forward, as it does when a model works in "
                "chunks (chunk_size_feed_forward) or uses a block again; set the chunk size to 0 or ask for other sites"
            )
        self.current.tensors[key] = tensor
        if key[0] == "logits":
            self._finish()
        elif self.stop and len(self.current.tensors) == len(self.capture.keys):
            self.inside = False
            self._finish()
            raise StopForward(self)

    def _rows(self, key: Key) -> tuple[Tensor, Tensor]:
        """Positions of the queries wanted, and which of them exist: `[example, query]` each."""
        assert self.current is not None
        assert self.queries is not None
        if self._modality(key) != "text":
            raise UsageError("queries= counts tokens, which images and sound do not have; leave it out")
        mask = self.current.stack_of(key[0]).mask
        rank = mask.int().cumsum(1) - 1
        n_tokens = mask.sum(1, keepdim=True)
        wanted = torch.tensor(self.queries)[None]
        wanted = torch.where(wanted < 0, n_tokens + wanted, wanted)
        there = (wanted >= 0) & (wanted < n_tokens)
        # The position of the token whose rank it is: the first one that has reached it.
        at = torch.searchsorted(rank.contiguous(), wanted.clamp(min=0).contiguous())
        return at.clamp(max=mask.shape[1] - 1), there

    def _modality(self, key: Key) -> str:
        roles = self.handle.stack(split_site(key[0])[0])
        return "" if roles is None else roles.layout.modality

    def _check_future(self, key: Key, pattern: Tensor, axes: tuple[str, ...]) -> None:
        assert self.current is not None
        prefix, site = split_site(key[0])
        own = self.current.stack_of(key[0])
        whole = axes == ("example", "head", "query", "key") and self.queries is None
        if site != "attn_pattern" or prefix == "cross" or not whole or not own.causal:
            return
        # All layers of a stack get their patterns in the same way, and looking costs as much as forming them.
        if prefix in self.current.looked_at:
            return
        self.current.looked_at.add(prefix)
        n_query, n_key = pattern.shape[-2:]
        # A longer key axis is a preallocated cache, a shorter one a sliding window; the model's own mask,
        # which the tee has already held the pattern against, is then the better witness.
        if n_key == own.n_past + n_query:
            # A pad in front has nothing to look at, and eager attention then looks everywhere.
            tokens = own.mask.to(pattern.device)[:, :, None]
            ahead = pattern.detach().amax(1).triu(own.n_past + 1).masked_fill(~tokens, 0).amax().item()
            if ahead > 0:
                raise ProofError(
                    f"{name_of(key)} of {self.handle.name} puts {ahead:.3g} of its mass on the future "
                    "although the model is causal; its attention patterns cannot be trusted, ask for other "
                    "sites"
                )

    def _encoder_of(self, given: dict[str, Any]) -> None:
        """What the decoder looks at, where the encoder itself did not run in this forward."""
        assert self.current is not None
        states = given.get("encoder_hidden_states")
        if "encoder" in self.current.stacks or not isinstance(states, Tensor):
            return
        mask = given.get("encoder_attention_mask")
        padding = mask.detach().cpu().bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
        seen = torch.ones(states.shape[:2], dtype=torch.bool) if padding is None else padding
        self.current.stacks["encoder"] = StackInputs(seen, seen, 0, False, lambda: _blank(seen))

    def _incomplete(self, missing: list[Key]) -> UsageError:
        name = name_of(missing[0])
        if split_site(missing[0][0])[0] == "encoder" and "encoder" not in self.given:
            return UsageError(
                f"{name} was asked for, but this forward was given encoder_outputs, so that the encoder did not run, "
                "as in every step of generation; ask for decoder and cross sites, or capture the finished text"
            )
        return UsageError(
            f"{name} was asked for, but this forward did not pass there: layers are left out (layerdrop in training "
            "mode), keys come from a cache, or only a part of the model ran; run the whole model in evaluation mode"
        )

    def _finish(self) -> None:
        forward = self.current
        if forward is not None and not self.inside and len(forward.tensors) == len(self.capture.keys):
            # In the order asked for, not in the order of arrival.
            forward.tensors = {key: forward.tensors[key] for key in self.capture.keys}
            if self.capture.keys:
                self.capture.add(forward)
            self.current = None


def text_inputs(handle: Handle, roles: Roles, given: dict[str, Any]) -> StackInputs:
    """Mask, cache length and tokens from the arguments of a stack that reads text.

    Raises:
        UsageError: neither ids nor embeddings were passed.
    """
    ids = given.get("input_ids")
    source = ids if isinstance(ids, Tensor) else given.get("inputs_embeds")
    if not isinstance(source, Tensor):
        raise UsageError("this forward passed neither input_ids nor inputs_embeds; pass one of them as a tensor")
    n_examples, n_positions = source.shape[:2]
    past: Any = given.get("past_key_values")
    n_past = int(past.get_seq_length()) if hasattr(past, "get_seq_length") else 0
    mask = given.get("attention_mask")
    causal = roles.is_causal
    if isinstance(mask, dict):
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if isinstance(mask, Tensor) and mask.ndim == 2:
        key_mask = mask.detach().cpu().bool()
        position_mask = key_mask[:, -n_positions:]
    elif isinstance(mask, Tensor) and mask.ndim in (3, 4):
        # A mask of the caller's own: a position is a pad if it may look nowhere, a key if nobody may look at it.
        causal = False
        allowed = mask.detach().cpu()
        allowed = allowed if allowed.dtype == torch.bool else allowed > -1e4
        allowed = allowed.any(1) if allowed.ndim == 4 else allowed
        position_mask, key_mask = allowed.any(-1).expand(n_examples, -1), allowed.any(-2).expand(n_examples, -1)
    else:
        position_mask = torch.ones(n_examples, n_positions, dtype=torch.bool)
        key_mask = torch.ones(n_examples, n_past + n_positions, dtype=torch.bool)
    known = ids.detach().cpu() if isinstance(ids, Tensor) else None
    return StackInputs(position_mask, key_mask, n_past, causal, lambda: _tokens(handle, known, position_mask))


def _refuse_beams() -> None:
    """Beam search runs each example several times in one batch and reorders it between steps."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in _BEAMS:
            raise UsageError(
                "beam search multiplies and reorders the batch between steps, so what is captured live belongs to no "
                "example; generate without capturing and capture the finished text (capture_generated does), or use "
                "num_beams=1"
            )
        frame = frame.f_back  # type: ignore[assignment]


def _frames(roles: Roles, given: dict[str, Any], n_examples: int, n_positions: int) -> Tensor:
    """Which positions of images or sound hold something; a padded recording has empty frames at its end."""
    mask = given.get("attention_mask")
    convert: Any = getattr(roles.base, "_get_feature_vector_attention_mask", None)
    if isinstance(mask, Tensor) and mask.ndim == 2 and convert is not None:
        found: Tensor = convert(n_positions, mask).detach().cpu().bool()
        return found
    return torch.ones(n_examples, n_positions, dtype=torch.bool)


def _first_tensor(given: dict[str, Any]) -> Tensor | None:
    return next((value for value in given.values() if isinstance(value, Tensor)), None)


def _numbered(mask: Tensor) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(str(position) for position in range(int(row.sum()))) for row in mask)


def _blank(mask: Tensor) -> tuple[tuple[str, ...], ...]:
    return tuple(("",) * int(row.sum()) for row in mask)


def _tokens(handle: Handle, ids: Tensor | None, mask: Tensor) -> tuple[tuple[str, ...], ...]:
    """Name the token of every position, "" at pads and without ids; pads at the end are left out."""
    rows = []
    for index, keep in enumerate(mask.tolist()):
        end = max((position + 1 for position, kept in enumerate(keep) if kept), default=0)
        if ids is None:
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
