"""Coming by a model: one that the user holds, or one from a folder or the hub; either is proved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interpret.capture.proof import prove
from interpret.capture.store import Store
from interpret.errors import UsageError
from interpret.facade.attached import AttachedModel
from interpret.models.handle import Task
from interpret.models.load import attach_handle, load_handle
from interpret.models.sources import TAKES_A_STORE, is_store

#: What may stand for a model in every verb.
ModelLike = Any


def attach(
    model: Any, tokenizer: Any = None, *, processor: Any = None, name: str | None = None, task: Task | None = None
) -> AttachedModel:
    """Attach to a model (or a transformers pipeline) you already hold, and prove its sites once.

    Args:
        model: a Hugging Face model, PEFT model or pipeline. It is not changed.
        tokenizer: its tokenizer; None serves captures of your own forwards only.
        processor: what turns images or sound into inputs; a processor with a tokenizer brings that too.
        name: shown in reports; by default the name the model was loaded under.
        task: what its head does; None reads it off the model's class.

    Raises:
        LoadError: the architecture is not known and could not be resolved.
        ProofError: a site did not behave as its definition says.
    """
    handle = attach_handle(model, tokenizer, processor=processor, name=name, task=task)
    return AttachedModel(handle, prove(handle))


def load(
    source: str | Path,
    adapter: str | Path | None = None,
    revision: str | None = None,
    task: Task | None = None,
    device: str = "auto",
    dtype: str = "auto",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    token: str | None = None,
) -> AttachedModel:
    """Load a model from a folder or a hub id and attach to it: safetensors only, no remote code unless asked.

    Args:
        source: folder or hub id.
        adapter: folder or hub id of a PEFT adapter to put on it.
        revision: branch, tag or commit on the hub.
        task: what its head does, for example `"text-classification"`; None reads it off the checkpoint.
        device: `"auto"`, `"cpu"`, `"cuda:0"` ...
        dtype: `"auto"` keeps the saved one, but computes half precision in fp32 on the CPU; both are recorded.
        attn_implementation: passed to transformers.
        trust_remote_code: run code that comes with the checkpoint.
        token: for private repositories on the hub.

    Raises:
        LoadError: nothing there, pickled weights only, or a head that is missing in the checkpoint.
    """
    handle = load_handle(
        source,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        token=token,
    )
    return AttachedModel(handle, prove(handle))


def as_model(model: ModelLike, **options: Any) -> AttachedModel:
    """What was given, attached: paths and hub ids are loaded, models and pipelines attached.

    Raises:
        UsageError: a capture store, or several.
    """
    if isinstance(model, AttachedModel):
        return model
    if any(map(is_given_store, model if isinstance(model, list | tuple) else [model])):
        raise UsageError(f"this is a capture store, not a model: {TAKES_A_STORE}; give the model that was captured")
    return load(model, **options) if isinstance(model, str | Path) else attach(model)


def is_given_store(given: Any) -> bool:
    """Whether this is a capture store, or the path of one."""
    return isinstance(given, Store) or (isinstance(given, str | Path) and is_store(Path(given).expanduser()))
