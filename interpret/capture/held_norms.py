"""Layer norms held as they were: they divide by what they divided by first, and no gradient sees that number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from interpret.capture.threads import here
from interpret.models.handle import Handle


def norms_of_head(handle: Handle) -> list[nn.LayerNorm]:
    """Layer norms that stand outside of the base model, such as that of a masked head's transform."""
    inside = set(handle.roles.base.modules())
    return [module for module in handle.core.modules() if isinstance(module, nn.LayerNorm) and module not in inside]


@contextmanager
def held(norms: Sequence[nn.LayerNorm]) -> Iterator[None]:
    """Hold norms while the block is open, from their first forward in it on."""
    divisors: dict[nn.Module, Tensor] = {}

    def hold(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        assert isinstance(module, nn.LayerNorm)
        centred = args[0] - args[0].mean(-1, keepdim=True)
        if module not in divisors:
            divisors[module] = (centred.square().mean(-1, keepdim=True) + module.eps).rsqrt().detach()
        value: Tensor = centred * divisors[module]
        if module.weight is not None:
            value = value * module.weight
        return value if module.bias is None else value + module.bias

    with ExitStack() as stack:
        for norm in norms:
            stack.callback(norm.register_forward_hook(here(hold)).remove)
        yield
