"""Finding a part of a model, also where an adapter stands around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """What the forward of a module takes, in order; every capture and batch asks."""
    forward: Any = module.forward
    own = getattr(forward, "__func__", None)
    if own is not None and own is getattr(type(module), "forward", None):
        return _names(own)[1:]
    # Somebody put a forward of their own onto this one object; remembering it would keep the object alive.
    return tuple(inspect.signature(forward).parameters)


@lru_cache(maxsize=1024)
def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def module_at(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path, or None; where an adapter wraps a layer, the wrapper is found."""
    here = root
    for part in path.split(".") if path else ():
        inner = getattr(here, part, None)
        if not isinstance(inner, nn.Module):
            return None
        here = inner
    return here


def word_embeddings(root: nn.Module) -> nn.Embedding | None:
    """The table that token ids are looked up in; None where there is none."""
    try:
        words: Any = root.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    # An adapter on the embedding wraps it; ids are looked up in the layer inside.
    words = getattr(words, "base_layer", getattr(words, "original_module", words))
    return words if isinstance(words, nn.Embedding) else None


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile has its hands on the model, or on a part of it."""
    # Every capture asks this; naming the modules, as `modules()` does, would cost more than some captures.
    waiting: list[nn.Module] = [model]
    while waiting:
        module = waiting.pop()
        if vars(module).get("_compiled_call_impl") is not None:
            return True
        waiting += [child for child in module._modules.values() if child is not None]
    return hasattr(model, "_orig_mod")
