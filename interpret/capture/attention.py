"""Attention patterns from a model that keeps its own attention implementation (sdpa, flash, flex).

Fused kernels never form the pattern. The *tee* is an attention function registered under a name of its own:
it calls the model's own implementation for the output, so that the logits stay equal to the last bit, and,
for the layers asked for, also calls the modeling module's `eager_attention_forward` on the same queries and
keys and keeps only the weights.

    with patterns(base, {3: attention_module}, sink):
        model(**batch)                      # sink(3, weights [example, head, query, key])

An edit of a pattern or of scores cannot be had beside a fused kernel: the layers that are edited, and only they,
take their output from the edited pattern. Nothing stays behind: the registrations are taken back, and the config
names what it named before.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from interpret.capture.masks import MASKED, additive_mask, assert_mask_kept
from interpret.capture.reduction import Reduction, Rows, take_rows
from interpret.capture.threads import here
from interpret.errors import ProofError, UsageError
from interpret.models.parts import argument_names
from interpret.models.state import TEE

#: What a caller asks for; "auto" never changes the numerics of the model.
Mode = Literal["auto", "tee", "native", "eager"]
#: What was done; recorded with every capture, because "eager" changes the numerics.
ResolvedMode = Literal["tee", "native", "eager"]

#: How far softmax of the scores may be from the pattern, by dtype.
SCORES_TOLERANCE: Final = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
#: Weights formed at once where only a reduction of them is kept: 64 MB in fp32.
_CHUNK: Final = 2**24
_numbers = itertools.count()
_lock = threading.RLock()


class Seen(NamedTuple):
    """What one attention did; `top` says which keys the values belong to, where only the largest were kept."""

    tensor: Tensor
    top: Tensor | None = None


@dataclass(eq=False)
class Want:
    """What is asked of the attention module of one layer.

    `rows` gives the query positions to keep, [example, query], for the forward that is running; None keeps all.
    """

    module: nn.Module
    #: Which pass through a module that serves several layers; None where it serves one.
    turn: int | None = None
    pattern: Callable[[Seen], None] | None = None
    scores: Callable[[Seen], None] | None = None
    edit_pattern: Callable[[Tensor], Tensor] | None = None
    edit_scores: Callable[[Tensor], Tensor] | None = None
    reduction: Reduction | None = None
    rows: Callable[[], Tensor | None] | None = None
    grad: bool = False

    @property
    def edits(self) -> bool:
        return self.edit_pattern is not None or self.edit_scores is not None


@dataclass(eq=False)
class _Listener:
    """One open context: what it wants of which module, and which pass through a module is on.

    Only of forwards in the thread that opened it.
    """

    wants: dict[nn.Module, list[Want]]
    turn_of: Callable[[nn.Module], int]
    thread: int = field(default_factory=threading.get_ident)

    def of(self, module: nn.Module) -> list[Want]:
        if threading.get_ident() != self.thread:
            return []
        found = self.wants.get(module, [])
        return [want for want in found if want.turn is None or want.turn == self.turn_of(module)]


class _Call(NamedTuple):
    """The arguments of one call of an attention function."""

    eager: Callable[..., tuple[Tensor, Tensor]]
    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Any
    kwargs: dict[str, Any]


@dataclass(eq=False)
class _Tee:
    """The function registered for one config; shared by every context open on that config."""

    config: Any
    original: str
    delegate: str
    key: str
    listeners: list[_Listener] = field(default_factory=list)
    #: The mask that was made last, what it was made of, and the modules it served: within one forward each module
    #: comes once, so that a module that comes again begins another.
    made: tuple[tuple[Any, ...], Any, Tensor | None] | None = None
    served: set[nn.Module] = field(default_factory=set)

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        eager = eager_function(module)
        registry = getattr(sys.modules[type(module).__module__], "ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)
        own = registry.get_interface(self.delegate, eager)
        wants = [want for listener in tuple(self.listeners) for want in listener.of(module)]
        if not wants:
            unseen: tuple[Tensor, Tensor | None] = own(module, query, key, value, attention_mask, **kwargs)
            return unseen
        assert eager is not None
        call = _Call(eager, module, query, key, value, attention_mask, kwargs)
        if any(want.edits for want in wants):
            return self._edited(call, wants)
        output, weights = own(module, query, key, value, attention_mask, **kwargs)
        # Weights the model made itself are taken as they are, unless dropout has already thinned them.
        made = weights if own is eager and not (module.training and kwargs.get("dropout")) else None
        for want in wants:
            with torch.set_grad_enabled(want.grad and torch.is_grad_enabled()):
                self._observe(call, want, made if made is None or want.grad else made.detach())
        return output, weights

    def _observe(self, call: _Call, want: Want, made: Tensor | None) -> None:
        rows = None if want.rows is None else want.rows()
        reduction = want.reduction
        if reduction is None and rows is None:
            weights = self._weights(call) if made is None else made
            if want.scores is not None:
                want.scores(Seen(self._scores(call, weights)))
            if want.pattern is not None:
                want.pattern(Seen(weights))
            return
        reduction = reduction or Reduction()
        patterns, scores = [], []
        for part in _parts(call, rows):
            weights = self._weights(call, part) if made is None else take_rows(made, part)
            if want.scores is not None:
                scores.append(reduction.heads_of(self._scores(call, weights, part)))
            if want.pattern is not None:
                patterns.append(reduction.apply(weights))
        if want.scores is not None:
            want.scores(Seen(torch.cat(scores, dim=2)))
        if want.pattern is not None:
            values = torch.cat([value for value, _ in patterns], dim=reduction.query_axis)
            index = [index for _, index in patterns if index is not None]
            want.pattern(Seen(values, torch.cat(index, dim=2) if index else None))

    def _edited(self, call: _Call, wants: list[Want]) -> tuple[Tensor, Tensor]:
        """Take the output from the edited pattern: the declared eager path of this layer."""
        weights = self._weights(call, keep_value=True)
        for want in wants:
            if want.edit_scores is not None:
                scores = want.edit_scores(self._scores(call, weights))
                # A pad may look nowhere, and softmax of nothing is NaN, which would spread to everybody.
                somewhere = (scores > float("-inf")).any(-1, keepdim=True)
                weights = torch.where(somewhere, _softmax(scores, _sinks(call)).to(weights.dtype), weights)
            if want.edit_pattern is not None:
                weights = want.edit_pattern(weights)
        for want in wants:
            if not want.edits:
                self._observe(call, want, weights if want.grad else weights.detach())
        dropped = nn.functional.dropout(weights, call.kwargs.get("dropout") or 0.0, call.module.training)
        value = call.value.repeat_interleave(weights.shape[1] // call.value.shape[1], dim=1)
        return (dropped @ value).transpose(1, 2).contiguous(), weights

    def _weights(self, call: _Call, rows: Rows = None, *, keep_value: bool = False) -> Tensor:
        mask, known = self._mask(call, rows)
        # Dropout would draw from the user's random stream, and a pattern is meant without it.
        quiet = {**call.kwargs, "dropout": 0.0}
        if rows is not None and quiet.get("position_bias") is not None:
            quiet["position_bias"] = take_rows(quiet["position_bias"], rows)
        query = call.query if rows is None else take_rows(call.query, rows)
        # Only the weights are wanted: values without columns make nothing of the product with them.
        value = call.value if keep_value else call.value[..., :0]
        weights: Tensor = call.eager(call.module, query, call.key, value, mask, **quiet)[1]
        if mask is not None and not known:
            # Once for each mask of a forward: the other layers use the same function on the same mask.
            assert_mask_kept(weights, mask, call.module)
        return weights

    def _mask(self, call: _Call, rows: Rows = None) -> tuple[Tensor | None, bool]:
        """The additive mask of a call, and whether another module of this forward had the very same."""
        causal = call.kwargs.get("is_causal")
        if causal is None:
            # The default of transformers' own sdpa function, for a module that does not say.
            causal = getattr(call.module, "is_causal", True)
        window, sdpa = call.kwargs.get("sliding_window"), self.delegate.endswith("sdpa")
        options: dict[str, Any] = {"causal": bool(causal), "sdpa": sdpa, "window": window, "rows": rows}
        if rows is not None:
            return additive_mask(call.mask, call.query, call.key, **options), False
        query, key = call.query, call.key
        shape = (type(call.module), bool(causal), window, query.shape[2], key.shape[2], query.dtype, query.device)
        if self.made is not None and call.module not in self.served:
            of, mask, made = self.made
            if of == shape and mask is call.mask:
                self.served.add(call.module)
                return made, True
        made = additive_mask(call.mask, query, key, **options)
        self.made, self.served = (shape, call.mask, made), {call.module}
        return made, False

    def _scores(self, call: _Call, weights: Tensor, rows: Rows = None) -> Tensor:
        """What softmax is taken of: q k^T times the scaling, capped, plus position bias; -inf where masked.

        Raises:
            ProofError: softmax of it is not the pattern, so this family computes its scores otherwise.
        """
        query = call.query if rows is None else take_rows(call.query, rows)
        scaling = call.kwargs.get("scaling")
        key = call.key.repeat_interleave(query.shape[1] // call.key.shape[1], dim=1)
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if call.kwargs.get("softcap") is not None:
            scores = call.kwargs["softcap"] * torch.tanh(scores / call.kwargs["softcap"])
        bias = call.kwargs.get("position_bias")
        if bias is not None:
            scores = scores + (bias if rows is None else take_rows(bias, rows))
        mask, _ = self._mask(call, rows)
        if mask is not None:
            forbidden = mask <= MASKED
            scores = (scores + mask.masked_fill(forbidden, 0.0)).masked_fill(forbidden, float("-inf"))
        expected = _softmax(scores.detach(), _sinks(call))
        somewhere = scores.detach().isfinite().any(-1, keepdim=True)
        error = (expected - weights.detach()).masked_fill(~somewhere, 0.0).abs().max().item()
        if not error <= SCORES_TOLERANCE.get(weights.dtype, 1e-5):
            raise ProofError(
                f"softmax of queries times keys is not the attention pattern of {type(call.module).__name__} (it "
                f"deviates by {error:.3g}), so its scores before the softmax are not known; ask for attn_pattern"
            )
        found: Tensor = scores
        return found


def _sinks(call: _Call) -> Tensor | None:
    found = call.kwargs.get("s_aux", getattr(call.module, "sinks", None))
    return found if isinstance(found, Tensor) else None


def _softmax(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """The pattern of scores [example, head, query, key], in float32 or wider; sinks take their share of each row."""
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if sinks is None:
        return wide.softmax(-1)
    column = sinks.to(wide).view(1, -1, 1, 1).expand(wide.shape[0], -1, wide.shape[2], 1)
    return torch.cat([wide, column], dim=-1).softmax(-1)[..., :-1]


def _parts(call: _Call, rows: Tensor | None) -> Iterator[slice | Tensor]:
    """Query positions in portions whose weights are small enough to be formed at once."""
    if rows is not None:
        yield rows.to(call.query.device)
        return
    n_query = call.query.shape[2]
    size = max(1, _CHUNK // (call.query.shape[0] * call.query.shape[1] * call.key.shape[2]))
    for start in range(0, n_query, size):
        yield slice(start, min(start + size, n_query))


_tees: dict[int, _Tee] = {}


def eager_function(module: nn.Module) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """Find `eager_attention_forward` in the file that defines this attention class or one of its bases."""
    for cls in type(module).__mro__:
        found: Callable[..., tuple[Tensor, Tensor]] | None = getattr(
            sys.modules.get(cls.__module__), "eager_attention_forward", None
        )
        if found is not None:
            return found
    return None


def on_interface(module: nn.Module) -> bool:
    """Whether this attention module calls transformers' attention interface, so that a tee can be put in."""
    config: Any = getattr(module, "config", None)
    if eager_function(module) is None or getattr(config, "_attn_implementation", None) is None:
        return False
    # GPT-2's reordered attention bypasses the interface exactly when the config says "eager".
    bypassed = getattr(module, "reorder_and_upcast_attn", False) and config._attn_implementation == "eager"
    return not bypassed


def resolve_mode(attention: Mapping[Any, nn.Module], mode: Mode, *, edits: bool = False) -> ResolvedMode:
    """Decide what "auto" stands for.

    Raises:
        UsageError: a tee was asked of a family whose attention does not go through the interface, an edit of such a
            pattern, or a mode that does not exist.

    """
    if mode not in ("auto", "tee", "native", "eager"):
        raise UsageError(
            f'unknown mode {mode!r} for attention patterns; the modes are "auto", "tee", "native", "eager"'
        )
    off = next((module for module in attention.values() if not on_interface(module)), None)
    if off is None:
        return "tee" if mode == "auto" else mode
    if edits:
        raise UsageError(
            f"{type(off).__name__} does not use transformers' attention interface, so its pattern can be read but "
            "not edited; edit z, q, k, v or a residual site instead"
        )
    if mode in ("tee", "eager"):
        raise UsageError(
            f"{type(off).__name__} does not use transformers' attention interface, so mode={mode!r} is not "
            "possible; use mode='auto', which reads the weights the module makes itself"
        )
    return "native"


@contextmanager
def patterns(
    base: nn.Module,
    attention: Mapping[Any, nn.Module],
    sink: Callable[[Any, Tensor], None],
    *,
    mode: Mode = "auto",
    grad: bool = False,
) -> Iterator[ResolvedMode]:
    """Send the attention pattern of the modules in `attention` to `sink` while the context is open.

    Args:
        base: the model whose config decides how masks are built.
        attention: layer to attention module; the other layers cost nothing.
        sink: called as `sink(layer, weights)`, weights `[example, head, query, key]` after softmax, before
            dropout.
        mode: "auto" leaves the numerics alone; "eager" runs all attention eagerly, which changes them.
        grad: keep the weights attached to the graph of queries and keys.

    Yields:
        The mode in use.

    Raises:
        UsageError: a mode this model cannot run, or one that contradicts a context already open on the model.
        ProofError: during a forward, the eager weights contradict the model's mask.

    """

    def handing(layer: Hashable) -> Callable[[Seen], None]:
        return lambda seen: sink(layer, seen.tensor)

    wants = [Want(module, pattern=handing(layer), grad=grad) for layer, module in attention.items()]
    with observed([base.config], wants, mode=mode) as resolved:
        yield resolved


@contextmanager
def observed(
    configs: list[Any],
    wants: list[Want],
    *,
    mode: Mode = "auto",
    turn_of: Callable[[nn.Module], int] = lambda module: 0,
) -> Iterator[ResolvedMode]:
    """Serve what is wanted of attention modules while the context is open; see `patterns`.

    Args:
        configs: those that the model builds its masks by, besides those of the modules.
        wants: what is asked of which module.
        mode: as for `patterns`.
        turn_of: which pass through a module that serves several layers is on.

    """
    modules = dict(enumerate(want.module for want in wants))
    resolved = resolve_mode(modules, mode, edits=any(want.edits for want in wants))
    with ExitStack() as stack:
        by_module: dict[nn.Module, list[Want]] = {}
        for want in wants:
            by_module.setdefault(want.module, []).append(want)
        listener = _Listener(by_module, turn_of)
        if resolved == "native":
            for module in by_module:
                _read_native(stack, module, listener)
        else:
            every = {id(config): config for config in (*configs, *(module.config for module in by_module))}
            for config in every.values():
                _listen(stack, config, listener, resolved)
        yield resolved


def _listen(stack: ExitStack, config: Any, listener: _Listener, mode: ResolvedMode) -> None:
    with _lock:
        tee = _tees.get(id(config))
        original: str = config._attn_implementation if tee is None else tee.original
        delegate = "eager" if mode == "eager" else original
        if tee is None:
            tee = _install(config, original, delegate)
        elif tee.delegate != delegate:
            raise UsageError(
                f"attention patterns were asked for with mode={mode!r} while another capture on the same "
                f"model runs it on {tee.delegate!r} attention; close that one first or ask both for the same "
                "mode"
            )
        tee.listeners.append(listener)
        stack.callback(_leave, tee, listener)


def _install(config: Any, original: str, delegate: str) -> _Tee:
    # "sdpa", "flash" and "flex_attention" are searched for inside names; ours must contain none of them.
    tee = _Tee(config, original, delegate, f"{TEE}{next(_numbers)}")
    mask_function = ALL_MASK_ATTENTION_FUNCTIONS.get(delegate)
    AttentionInterface.register(tee.key, tee)
    # Without a mask function under the same name the model builds no mask and attends to its pads. An
    # implementation of the user's own may have none; then the model builds none with or without us.
    if mask_function is not None:
        AttentionMaskInterface.register(tee.key, mask_function)
    # The public setter would carry the name on to sub-configs that are not ours.
    config._attn_implementation_internal = tee.key
    _tees[id(config)] = tee
    return tee


def _leave(tee: _Tee, listener: _Listener) -> None:
    with _lock:
        tee.listeners.remove(listener)
        tee.made = None
        if tee.listeners:
            return
        del _tees[id(tee.config)]
        # If the user chose another implementation meanwhile, that choice stands.
        if tee.config._attn_implementation == tee.key:
            tee.config._attn_implementation_internal = tee.original
        AttentionInterface._global_mapping.pop(tee.key, None)
        AttentionMaskInterface._global_mapping.pop(tee.key, None)


def _read_native(stack: ExitStack, module: nn.Module, listener: _Listener) -> None:
    """Read the weights of a module off the interface, which hands them out itself when it is asked to."""
    parameters = argument_names(module)
    asked: list[bool] = []

    def ask(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        index = parameters.index("output_attentions")
        given = args[index] if index < len(args) else kwargs.get("output_attentions")
        asked[:] = [bool(given)]
        if index < len(args):
            return (*args[:index], True, *args[index + 1 :]), kwargs
        return args, {**kwargs, "output_attentions": True}

    def read(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if not isinstance(weights, Tensor) or weights.ndim != 4:
            raise ProofError(
                f"{type(module).__name__} returned no attention weights; its patterns are unavailable, ask for other "
                "sites"
            )
        for want in listener.of(module):
            if want.pattern is None:
                continue
            seen = weights if want.grad else weights.detach()
            rows = None if want.rows is None else want.rows()
            seen = seen if rows is None else take_rows(seen, rows.to(seen.device))
            if want.reduction is None:
                want.pattern(Seen(seen))
            else:
                values, index = want.reduction.apply(seen)
                want.pattern(Seen(values, index))
        if "output_attentions" in parameters and not asked[0]:
            return (output[0], None, *output[2:])
        return output

    if "output_attentions" in parameters:
        stack.callback(module.register_forward_pre_hook(here(ask), with_kwargs=True, prepend=True).remove)
    stack.callback(module.register_forward_hook(here(read)).remove)
