"""What active PEFT adapters add to each weight of the base: LoRA's factors, DoRA's lengths, modules trained whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interpret.analyzers.comparison.names import plain_name, prefix_of
from interpret.models.handle import Handle


@dataclass(frozen=True)
class AdapterChange:
    """What the active adapters add to one weight of the base: low-rank factors, or a module that was trained whole.

    With `magnitude`, one number for each output, the adapter is a DoRA: the weight with its product has each output's
    vector set to that length. Outputs are rows of the weight, or columns where `magnitude_axis` is 1.
    """

    left: Tensor | None = None
    right: Tensor | None = None
    dense: Tensor | None = None
    magnitude: Tensor | None = None
    magnitude_axis: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is added: the adapter is off, or stands in the weight already."""
        return self.dense is None and (self.left is None or self.right is None)

    def difference(self, weight: Tensor) -> Tensor | None:
        """What is added to this weight, as large as it is, in double precision; None where it is nothing.

        Lengths are taken in the precision of the weight, as the adapter takes them: one that was not trained adds 0.
        """
        if self.dense is not None:
            return self.dense.double()
        if self.left is None or self.right is None:
            return None
        if self.magnitude is None:
            return self.left.double() @ self.right.double()
        moved = weight + (self.left @ self.right).to(weight)
        length = torch.linalg.vector_norm(moved, dim=1 - self.magnitude_axis, keepdim=True).to(weight.dtype)
        factor = self.magnitude.to(length).reshape(length.shape) / length
        difference: Tensor = factor.double() * moved.double() - weight.double()
        return difference


def adapter_changes(handle: Handle) -> tuple[dict[str, AdapterChange], tuple[str, ...]]:
    """By plain weight name what the active adapters add, and the modules of which that cannot be said."""
    inner = f"{prefix}." if (prefix := prefix_of(handle)) else ""
    found: dict[str, AdapterChange] = {}
    unknown: list[str] = []
    for name, module in handle.core.named_modules():
        plain = (plain_name(f"{name}.weight") or name).removeprefix(inner)
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            change = _lora(module)
            if change is None:
                unknown.append(plain)
            else:
                found[plain] = change
        elif hasattr(module, "base_layer") and hasattr(module, "_disable_adapters"):
            unknown.append(plain)
        elif hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
            found |= _saved(module, plain.removesuffix(".weight"))
    return found, tuple(unknown)


def _active(module: Any) -> list[str]:
    if getattr(module, "disable_adapters", False):
        return []
    return list(map(str, module.active_adapters))


def _lora(module: Any) -> AdapterChange | None:
    """The factors of all active adapters side by side; None for variants that are neither LoRA nor one DoRA."""
    if getattr(module, "merged", False):
        # It is in the weight already.
        return AdapterChange()
    lefts, rights = [], []
    active, turned = _active(module), False
    dora = [adapter for adapter in active if _is_dora(module, adapter)]
    if dora and len(active) > 1:
        # Lengths are set after each of them in turn: their order would matter, and the adapter's own forward has none.
        return None
    for adapter in active:
        variant = getattr(module, "lora_variant", {}).get(adapter)
        if variant is not None and not (dora and type(variant).__name__.startswith("Dora")):
            return None
        if adapter in module.lora_A:
            right, left = module.lora_A[adapter].weight, module.lora_B[adapter].weight
            if getattr(module.lora_B[adapter], "bias", None) is not None:
                return None
            turned = bool(getattr(module, "fan_in_fan_out", False))
        elif adapter in getattr(module, "lora_embedding_A", {}):
            right, left = module.lora_embedding_A[adapter], module.lora_embedding_B[adapter]
            turned = True
        else:
            continue
        if right.ndim != 2:
            return None
        if turned:
            # The weight is stored the other way round.
            left, right = right.T, left.T
        lefts.append(float(module.scaling[adapter]) * left.detach())
        rights.append(right.detach())
    if not lefts:
        return AdapterChange()
    magnitude = module.lora_magnitude_vector[dora[0]].weight.detach() if dora else None
    left, right = torch.cat(lefts, dim=1), torch.cat(rights, dim=0)
    return AdapterChange(left, right, magnitude=magnitude, magnitude_axis=1 if turned else 0)


def _is_dora(module: Any, adapter: str) -> bool:
    return bool(getattr(module, "use_dora", {}).get(adapter)) or adapter in getattr(module, "lora_magnitude_vector", {})


def _saved(module: Any, name: str) -> dict[str, AdapterChange]:
    """A module that was trained whole, weight by weight."""
    active = [adapter for adapter in _active(module) if adapter in module.modules_to_save]
    if not active:
        return {}
    tuned = dict(module.modules_to_save[active[0]].named_parameters())
    original: nn.Module = module.original_module
    return {
        f"{name}.{key}": AdapterChange(dense=tuned[key].detach() - weight.detach())
        for key, weight in original.named_parameters()
        if key in tuned
    }
