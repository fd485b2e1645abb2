"""PEFT adapters: what they declare, and how they are put on the base that was given."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from interpret.errors import LoadError, UsageError
from interpret.models.sources import Source, first_line, read_json, refuse_pickle, tensors


def is_mutated_by_peft(model: nn.Module) -> bool:
    """Whether `model` is a base that PEFT has written adapter layers into, so that it *is* the tuned model.

    After `PeftModel.from_pretrained(base, ...)` the object `base` computes what the tuned model computes;
    comparing the two finds no difference. A PeftModel itself is not meant: it can switch its adapter off.
    """
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        return False
    return any(hasattr(module, "base_layer") and hasattr(module, "lora_A") for module in model.modules())


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """The base alone while the context is open: adapter layers pass, and what was trained whole is the base's again.

    Nothing is copied, merged or unmerged, and every flag is as it was afterwards, also after an exception. PEFT's own
    `disable_adapter` leaves the adapter trainable.

    Raises:
        UsageError: there is no adapter, it is merged into the weights, or it is not made of layers (prompt tuning).
    """
    settings = getattr(model, "peft_config", None)
    if settings and any(getattr(config, "is_prompt_learning", False) for config in settings.values()):
        raise UsageError(
            "this adapter writes into the prompt instead of into layers, so it cannot be switched off; "
            "compare with the base loaded by itself"
        )
    switches: list[Any] = [module for module in model.modules() if hasattr(module, "_disable_adapters")]
    if not switches:
        raise UsageError(
            f"{type(model).__name__} has no adapter to switch off; load one with adapter=, or attach a PeftModel"
        )
    if any(getattr(module, "merged", False) for module in switches):
        raise UsageError(
            "the adapter is merged into the weights, and taking it out again would round them; load the model without "
            "merging, or the base by itself"
        )
    # The flag is looked up on the class where an instance was never switched.
    before = [(module, vars(module).get("_disable_adapters")) for module in switches]
    try:
        for module in switches:
            module._disable_adapters = True
        yield
    finally:
        for module, flag in before:
            if flag is None:
                vars(module).pop("_disable_adapters", None)
            else:
                module._disable_adapters = flag


def adapter_settings(tuned: Source) -> dict[str, Any]:
    """Read what an adapter declares about itself."""
    settings = read_json(tuned.folder / "adapter_config.json")
    if settings is None:
        raise LoadError(
            f"the adapter {tuned.name} has no adapter_config.json; give the folder that PEFT's save_pretrained wrote"
        )
    # By name: beside any other safetensors PEFT would still read a pickled adapter.
    refuse_pickle(tuned.folder, tuned.name, "adapter", weights="adapter_model.safetensors")
    return settings


def adapter_labels(folder: Path) -> int | None:
    """How many classes the head saved with the adapter has; None if it brings no head."""
    last = re.compile(r"(^|\.)(classifier|score|out_proj)\.weight$")
    counts = [shape[0] for key, _, shape in tensors(folder) if last.search(key) and "lora_" not in key]
    return counts[0] if len(counts) == 1 else None


def adapted(model: nn.Module, tuned: Source) -> nn.Module:
    """Put an adapter on `model`; every one of its weights must fit and be there."""
    try:
        import peft
    except ImportError as err:
        raise LoadError(
            f"the adapter {tuned.name} needs PEFT: install interpret-lm with its extra, interpret-lm[peft]"
        ) from err
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            adapted: nn.Module = peft.PeftModel.from_pretrained(model, tuned.folder, is_trainable=False)
    except Exception as err:  # PEFT raises what the layer at hand raises
        raise LoadError(f"the adapter {tuned.name} does not fit the model: {first_line(err)}") from err
    missing = [str(warning.message) for warning in raised if "missing adapter keys" in str(warning.message)]
    if missing:
        raise LoadError(
            f"the adapter {tuned.name} does not fit the model: some of its weights are missing or named for "
            "another architecture"
        )
    return adapted
