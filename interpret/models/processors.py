"""Images, sound and ready-made tensors to batches of arguments of the model's forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from interpret.errors import UsageError
from interpret.models.handle import Handle


def batches_of(handle: Handle, inputs: Any, size: int) -> list[dict[str, Any]] | None:
    """Batches of at most `size` inputs; None where the inputs are texts for a model that reads texts.

    Args:
        handle: the attached model.
        inputs: a text or texts; an image or recording, or several, as the processor takes them; one dict of tensors
            or several, which are passed on as they are.
        size: inputs in one batch.

    Raises:
        UsageError: images or sound without a processor, or texts for a model that reads none.
    """
    listed = [inputs] if isinstance(inputs, str | Mapping) or not isinstance(inputs, Sequence) else list(inputs)
    if not listed:
        raise UsageError("asked to run on no inputs: give at least one")
    ready = [dict(item) for item in listed if isinstance(item, Mapping)]
    if len(ready) == len(listed):
        return ready
    modality = handle.stacks[0].layout.modality
    if modality == "text":
        return None
    if any(isinstance(item, str) for item in listed):
        raise UsageError(
            f"{handle.name} reads {_WHAT[modality]}, not texts; give those, or a dict of its forward's arguments"
        )
    processor = handle.processor
    if processor is None:
        raise UsageError(
            f"{handle.name} was attached without a processor, which turns {_WHAT[modality]} into inputs; attach it "
            "with processor=, or give dicts of its forward's arguments"
        )
    return [_processed(handle, modality, listed[start : start + size]) for start in range(0, len(listed), size)]


_WHAT = {"image": "images", "audio": "recordings"}


def _processed(handle: Handle, modality: str, items: list[Any]) -> dict[str, Any]:
    processor = handle.processor
    if modality == "image":
        # A processor of several kinds of input has one for images inside; its tokenizer is not asked.
        made = getattr(processor, "image_processor", processor)(images=items, return_tensors="pt")
    else:
        extractor = getattr(processor, "feature_extractor", processor)
        rate = getattr(extractor, "sampling_rate", None)
        options = {} if rate is None else {"sampling_rate": rate}
        made = extractor(items, return_tensors="pt", padding=_padding(handle), **options)
    return {name: value for name, value in made.items() if isinstance(value, Tensor)}


def _padding(handle: Handle) -> bool | str:
    # Whisper reads windows of one length; others are as long as the longest of the batch.
    return "max_length" if getattr(handle.core, "main_input_name", "") == "input_features" else True
