"""Names that weights have in a model without adapters and below any head, by which two models match."""

from __future__ import annotations

from torch import Tensor

from interpret.models.handle import Handle


def named_weights(handle: Handle, *, tied: bool = False) -> dict[str, Tensor]:
    """Weights by name: those of the base model as they stand in it, so that models with other heads match.

    Without adapters; where one trained a module whole, the weights of the base's. A weight that two modules share has
    the name of the first; with `tied` both names.
    """
    inner = f"{prefix}." if (prefix := prefix_of(handle)) else ""
    found: dict[str, Tensor] = {}
    for name, parameter in handle.core.named_parameters(remove_duplicate=not tied):
        plain = plain_name(name)
        if plain is not None:
            found[plain.removeprefix(inner)] = parameter.detach()
    return found


def prefix_of(handle: Handle) -> str:
    """The name of the base model within a model with a head; empty where it has none."""
    base = getattr(handle.core, "base_model", handle.core)
    return next((name for name, module in handle.core.named_modules() if module is base), "")


def plain_name(name: str) -> str | None:
    """The name that a weight has in a model without adapters; None for what only the adapter has."""
    parts = name.split(".")
    if any(part.startswith("lora_") or part in ("modules_to_save", "base_model_adapters") for part in parts):
        return None
    return ".".join(part for part in parts if part not in ("base_layer", "original_module"))
