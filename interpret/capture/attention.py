"""Attention patterns from a model that keeps its own attention implementation (sdpa, flash, flex).

Fused kernels never form the pattern. The *tee* is an attention function registered under a name of its own:
it calls the model's own implementation for the output, so that the logits stay equal to the last bit, and,
for the layers asked for, also calls the modeling module's `eager_attention_forward` on the same queries and
keys and keeps only the weights.

    with patterns(base, {3: attention_module}, sink):
        model(**batch)                      # sink(3, weights [example, head, query, key])

Nothing stays behind: the registrations are taken back, and the config names what it named before.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from interpret.errors import ProofError, UsageError

#: What a caller asks for; "auto" never changes the numerics of the model.
Mode = Literal["auto", "tee", "native", "eager"]
#: What was done; recorded with every capture, because "eager" changes the numerics.
ResolvedMode = Literal["tee", "native", "eager"]
Sink = Callable[[int, Tensor], None]

_MASKED: Final = -1e4
_numbers = itertools.count()
_lock = threading.RLock()


@dataclass(eq=False)
class _Listener:
    """One open context: whose patterns it wants and where they go."""

    layers: dict[nn.Module, int]
    sink: Sink
    grad: bool


@dataclass(eq=False)
class _Tee:
    """The function registered for one config; shared by every context open on that config."""

    config: Any
    original: str
    delegate: str
    key: str
    listeners: list[_Listener] = field(default_factory=list)

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
        output, weights = own(module, query, key, value, attention_mask, **kwargs)
        listeners = [listener for listener in self.listeners if module in listener.layers]
        if listeners:
            # Weights the model made itself are taken as they are, unless dropout has already thinned them.
            seen = weights if own is eager and not (module.training and kwargs.get("dropout")) else None
            if seen is None:
                assert eager is not None
                grad = any(listener.grad for listener in listeners)
                with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
                    seen = self._eager_weights(eager, module, query, key, value, attention_mask, kwargs)
            for listener in listeners:
                listener.sink(listener.layers[module], seen if listener.grad else seen.detach())
        return output, weights

    def _eager_weights(
        self,
        eager: Callable[..., tuple[Tensor, Tensor]],
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any,
        kwargs: dict[str, Any],
    ) -> Tensor:
        causal = kwargs.get("is_causal")
        if causal is None:
            # The default of transformers' own sdpa function, for a module that does not say.
            causal = getattr(module, "is_causal", True)
        mask = additive_mask(
            attention_mask,
            query,
            key,
            causal=bool(causal),
            sdpa=self.delegate.endswith("sdpa"),
            window=kwargs.get("sliding_window"),
        )
        # Dropout would draw from the user's random stream, and a pattern is meant without it.
        quiet = {**kwargs, "dropout": 0.0}
        weights = eager(module, query, key, value, mask, **quiet)[1]
        if mask is not None:
            _assert_mask_kept(weights, mask, module)
        return weights


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


def additive_mask(
    mask: Any, query: Tensor, key: Tensor, *, causal: bool, sdpa: bool, window: int | None = None
) -> Tensor | None:
    """Say what the model's own implementation was told, as a float mask to add to the scores.

    Args:
        mask: the mask the model passed: None, bool or float `[example, 1, query, key]`, flash's `[example,
            key]`, or a flex block mask.
        query: `[example, head, query, d_head]`.
        key: `[example, kv_head, key, d_head]`.
        causal: whether a missing mask means "no attention to the future".
        sdpa: whether the model runs sdpa, which aligns the triangle with the first key; the others align it
            with the last.
        window: width of a sliding window, where only the kernel knows it.

    """
    n_query, n_key = query.shape[2], key.shape[2]
    device = query.device
    allowed: Tensor
    if isinstance(mask, Tensor) and mask.ndim == 4:
        allowed = mask[..., :n_key]
        if allowed.dtype != torch.bool:
            return allowed
    elif mask is None or isinstance(mask, Tensor):
        if mask is None and (not causal or n_query == 1) and window is None:
            return None
        # sdpa gets no mask only when queries and keys start together; an empty static cache is longer.
        offset = 0 if sdpa and n_query > 1 else n_key - n_query
        distance = torch.arange(n_query, device=device)[:, None] + offset - torch.arange(n_key, device=device)
        allowed = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
        if window is not None and not sdpa:
            allowed = allowed & (distance.abs() < window if causal else distance.abs() <= window)
        allowed = allowed[None, None]
        if mask is not None:
            allowed = allowed & mask.bool()[:, None, None, -n_key:]
    elif hasattr(mask, "mask_mod"):
        from torch.nn.attention.flex_attention import create_mask

        allowed = create_mask(mask.mask_mod, query.shape[0], None, n_query, n_key, device=device)
    else:
        raise UsageError(
            f"cannot read an attention mask of type {type(mask).__name__}; ask for the patterns with mode='eager'"
        )
    low = torch.finfo(query.dtype).min
    return torch.where(allowed, torch.zeros((), dtype=query.dtype, device=device), low)


def _assert_mask_kept(weights: Tensor, mask: Tensor, module: nn.Module) -> None:
    """No mass where the model was told not to look; a row that may look nowhere (a pad) is left out."""
    forbidden = mask <= _MASKED
    # An unmasked causal pattern still sums to 1, so only this comparison can see it.
    checked = forbidden & ~forbidden.all(-1, keepdim=True)
    leaked = weights.detach().masked_fill(~checked, 0).max().item()
    if leaked > 0:
        raise ProofError(
            f"the eager attention of {type(module).__name__} put {leaked:.3g} of its mass on positions that "
            "the model masks; attention patterns of this model cannot be trusted, ask for other sites"
        )


def resolve_mode(attention: Mapping[int, nn.Module], mode: Mode) -> ResolvedMode:
    """Decide what "auto" stands for.

    Raises:
        UsageError: a tee was asked of a family whose attention does not go through the interface, or a mode
            that does not exist.

    """
    if mode not in ("auto", "tee", "native", "eager"):
        raise UsageError(
            f'unknown mode {mode!r} for attention patterns; the modes are "auto", "tee", "native", "eager"'
        )
    off = next((module for module in attention.values() if not on_interface(module)), None)
    if off is None:
        return "tee" if mode == "auto" else mode
    if mode in ("tee", "eager"):
        raise UsageError(
            f"{type(off).__name__} does not use transformers' attention interface, so mode={mode!r} is not "
            "possible; use mode='auto', which reads the weights the module makes itself"
        )
    return "native"


@contextmanager
def patterns(
    base: nn.Module,
    attention: Mapping[int, nn.Module],
    sink: Sink,
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
    resolved = resolve_mode(attention, mode)
    with ExitStack() as stack:
        if resolved == "native":
            for layer, module in attention.items():
                _read_native(stack, module, layer, sink, grad)
        else:
            listener = _Listener({module: layer for layer, module in attention.items()}, sink, grad)
            configs = {
                id(config): config for config in (base.config, *(module.config for module in attention.values()))
            }
            for config in configs.values():
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
    tee = _Tee(config, original, delegate, f"interpret_tee_{next(_numbers)}")
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
        if tee.listeners:
            return
        del _tees[id(tee.config)]
        # If the user chose another implementation meanwhile, that choice stands.
        if tee.config._attn_implementation == tee.key:
            tee.config._attn_implementation_internal = tee.original
        AttentionInterface._global_mapping.pop(tee.key, None)
        AttentionMaskInterface._global_mapping.pop(tee.key, None)


def _read_native(stack: ExitStack, module: nn.Module, layer: int, sink: Sink, grad: bool) -> None:
    """Read the weights of a module off the interface, which hands them out itself when it is asked to."""
    parameters = inspect.signature(module.forward).parameters
    asked: list[bool] = []

    def ask(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        names = list(parameters)
        index = names.index("output_attentions")
        given = args[index] if index < len(args) else kwargs.get("output_attentions")
        asked[:] = [bool(given)]
        if index < len(args):
            return (*args[:index], True, *args[index + 1 :]), kwargs
        return args, {**kwargs, "output_attentions": True}

    def read(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if not isinstance(weights, Tensor) or weights.ndim != 4:
            raise ProofError(
                f"{type(module).__name__} in layer {layer} returned no attention weights; its patterns are unavailable"
            )
        sink(layer, weights if grad else weights.detach())
        if "output_attentions" in parameters and not asked[0]:
            return (output[0], None, *output[2:])
        return output

    if "output_attentions" in parameters:
        stack.callback(module.register_forward_pre_hook(ask, with_kwargs=True, prepend=True).remove)
    stack.callback(module.register_forward_hook(read).remove)
