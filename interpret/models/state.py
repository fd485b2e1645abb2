"""Leaving the user's model, tokenizer and random streams as they were, whatever happens in between."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

#: For all models, since the random streams are those of the process.
_one_at_a_time: Final = threading.RLock()
#: How the names of attention functions begin that are put into configs, and taken back, by open contexts.
TEE: Final = "interpret_tee_"
_ATTENTION: Final = "_attn_implementation_internal"


@contextmanager
def untouched(model: nn.Module, tokenizer: Any = None) -> Iterator[None]:
    """Evaluation mode inside; outside nothing has changed, also after an exception.

    Restored are the training flag of every module, `requires_grad` and `.grad` of every parameter, every
    config in the model (the attention implementation is kept there), the random streams of Python, numpy,
    torch and CUDA, and the tokenizer's padding and truncation. Inside, `.grad` is None, so that a backward
    pass adds to nothing of the user's. May be nested. Threads wait for one another: one that put back what it found
    while another was at work would leave the model as that one had it. What a thread does outside of these blocks
    meanwhile, such as a forward of its own, meets the model in evaluation mode.
    """
    with _one_at_a_time, ExitStack() as stack:
        # Every snapshot is taken before anything is changed.
        restorers = [_random_streams(), _configs(model), _gradients(model), _training_flags(model), _recording(model)]
        for restore in restorers:
            stack.callback(restore)
        if tokenizer is not None:
            stack.enter_context(tokenizer_state(tokenizer))
        for parameter in model.parameters():
            parameter.grad = None
        model.eval()
        yield


@contextmanager
def stand_ins(model: nn.Module) -> Iterator[Callable[[nn.Parameter, Callable[[Tensor], Tensor]], None]]:
    """Yield a function that has other parameters stand in for those of a model; outside, the very same are back.

    `change(parameter, other)` puts a new parameter of the values `other(values)` into every module that holds
    `parameter`, so that a shared one stays shared; changed again, `other` is given what stands in for it by then. No
    weight's storage is written to, so whatever else refers to it notices nothing: an optimizer, a model that shares
    it, a graph whose backward is still to come. While the block is open, whoever else runs the model runs it with the
    stand-ins.
    """
    held = [(module, name, p) for module in model.modules() for name, p in module._parameters.items() if p is not None]
    current: dict[int, nn.Parameter] = {}

    def change(parameter: nn.Parameter, other: Callable[[Tensor], Tensor]) -> None:
        before = current.get(id(parameter), parameter)
        # Whatever mode the caller is in: no gradient can be taken beside a parameter that is made for inference.
        with torch.inference_mode(False), torch.no_grad():
            values = torch.empty_like(before.detach())
            values.copy_(other(before.detach()))
            current[id(parameter)] = nn.Parameter(values, requires_grad=before.requires_grad)
        for module, name, original in held:
            if original is parameter:
                # Not into `_parameters`: recurrent layers of torch keep a list of their weights beside it.
                setattr(module, name, current[id(parameter)])

    try:
        yield change
    finally:
        for module, name, original in held:
            if module._parameters.get(name) is not original:
                setattr(module, name, original)


@contextmanager
def tokenizer_state(tokenizer: Any) -> Iterator[None]:
    """Put back padding, truncation, sides and limit of a tokenizer: a call changes the first two."""
    # The last two say whether Marian's tokenizer reads or writes.
    names = ("padding_side", "truncation_side", "model_max_length", "current_spm", "current_encoder")
    attributes = {name: getattr(tokenizer, name) for name in names if hasattr(tokenizer, name)}
    backend = getattr(tokenizer, "backend_tokenizer", None) if getattr(tokenizer, "is_fast", False) else None
    truncation = None if backend is None else backend.truncation
    padding = None if backend is None else backend.padding
    try:
        yield
    finally:
        for name, value in attributes.items():
            setattr(tokenizer, name, value)
        if backend is not None:
            if truncation is None:
                backend.no_truncation()
            else:
                backend.enable_truncation(**truncation)
            if padding is None:
                backend.no_padding()
            else:
                backend.enable_padding(**padding)


def _training_flags(model: nn.Module) -> Any:
    flags = [(module, module.training) for module in model.modules()]

    def restore() -> None:
        for module, training in flags:
            module.training = training

    return restore


def _recording(model: nn.Module) -> Any:
    """Hooks that transformers leaves in a model for good when an output of it asks for hidden states."""
    flag, name = "_output_capturing_hooks_installed", "output_capturing_hook"
    before = {module for module in model.modules() if vars(module).get(flag)}

    def restore() -> None:
        modules = list(model.modules())
        marked = [module for module in modules if vars(module).get(flag) and module not in before]
        if not marked:
            return
        for module in modules:
            hooks = module._forward_hooks
            for number in [n for n, hook in hooks.items() if getattr(hook, "__name__", "") == name]:
                del hooks[number]
        for module in marked:
            delattr(module, flag)

    # Were they there before, they are the user's.
    return (lambda: None) if before else restore


def _gradients(model: nn.Module) -> Any:
    kept = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]

    def restore() -> None:
        for parameter, requires_grad, grad in kept:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
            parameter.grad = grad

    return restore


def _configs(model: nn.Module) -> Any:
    configs = {id(config): config for module in model.modules() if (config := _config_of(module)) is not None}
    kept = [(config, dict(vars(config))) for config in configs.values()]

    def restore() -> None:
        for config, attributes in kept:
            now = dict(vars(config))
            # A context open in another thread may have begun or ended meanwhile, and takes its name back itself.
            if any(str(found.get(_ATTENTION)).startswith(TEE) for found in (now, attributes)):
                attributes = {**attributes, _ATTENTION: now.get(_ATTENTION)}
            if now != attributes:
                vars(config).clear()
                vars(config).update(attributes)

    return restore


def _config_of(module: nn.Module) -> Any:
    # Through __dict__: PEFT wrappers answer getattr with what stands deep inside them.
    config = vars(module).get("config")
    return config if hasattr(config, "model_type") and hasattr(config, "__dict__") else None


def _random_streams() -> Any:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    initialised: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if initialised else None

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return restore
