"""A user's own function of the model's output, tried before anything is explained with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from interpret.errors import UsageError
from interpret.models.batching import Row, run_batches
from interpret.models.handle import Handle
from interpret.models.readout import OutputFunction

#: Outputs drawn at random that a function must tell from the model's, at least one of them.
_DRAWS: Final = 32
#: How far a row's value may move, relative to its size, when another row stands beside it: rounding.
_ROUNDING: Final = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def output_function(function: Callable[[Any], Any]) -> OutputFunction:
    """The function with the name it is recorded under."""
    name = getattr(function, "__name__", None) or getattr(getattr(function, "func", None), "__name__", None)
    return OutputFunction(function, str(name or type(function).__name__))


def check(handle: Handle, function: OutputFunction, row: Row) -> None:
    """Run the function on one text, alone and beside another, and on outputs drawn at random.

    Raises:
        UsageError: it does not give one finite number per row, gives a row another number when another row stands
            beside it, or gives the same whatever the output is.
    """
    # As long, since a function's rows are never padded; in its middle another text.
    middle = [token + 1 if token + 1 < handle.vocab_size else 0 for token in row.ids[1:-1]]
    other = row._replace(ids=(*row.ids[:1], *middle, *row.ids[-1:]))
    alone, output = _run(handle, function, [row])
    beside, _ = _run(handle, function, [row, other])
    moved = abs(float(beside[0]) - float(alone[0]))
    if moved > _ROUNDING.get(handle.run_torch_dtype, 1e-3) * max(1.0, abs(float(alone[0]))):
        raise UsageError(
            f"the target function {function.name} gives a text {float(alone[0]):.6g} alone and {float(beside[0]):.6g} "
            "beside another: it must compute each row's number from that row alone, without means or ranks over rows"
        )
    generator = torch.Generator().manual_seed(0)
    for _ in range(_DRAWS):
        try:
            found = function.function(_drawn(output, generator))
        except Exception:  # it may refuse what no model would say; then it is not constant
            return
        if not isinstance(found, Tensor) or not torch.equal(found.detach().double().cpu(), alone):
            return
    raise UsageError(
        f"the target function {function.name} is constant: it gives {float(alone[0]):.6g} whatever the model's output "
        "is, so there is nothing to explain"
    )


def _run(handle: Handle, function: OutputFunction, rows: list[Row]) -> tuple[Tensor, Any]:
    """Values [row] on the CPU, and what the model returned for the last batch."""

    def step(batch: dict[str, Tensor], indices: list[int]) -> tuple[Tensor, Any]:
        with torch.no_grad():
            output = handle.model(**batch, **handle.without_cache)
            return function.of(output, len(indices)).cpu(), output

    values = torch.zeros(len(rows), dtype=torch.float64)
    last = None
    for indices, (found, output) in run_batches(handle, rows, step, even=True):
        values[indices] = found.double()
        last = output
    return values, last


def _drawn(output: Any, generator: torch.Generator) -> Any:
    """An output of the same shapes with other numbers."""
    if isinstance(output, Tensor):
        if not output.is_floating_point():
            return output
        drawn = torch.randn(output.shape, generator=generator).to(output.device, output.dtype)
        return 3.0 * drawn
    if isinstance(output, Mapping):
        return type(output)(**{name: _drawn(value, generator) for name, value in output.items()})
    if isinstance(output, tuple | list):
        return type(output)(_drawn(value, generator) for value in output)
    return output
