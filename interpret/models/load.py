"""From a path, a hub id or an object to a handle: safetensors only, no code unless asked, no random heads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from interpret.errors import LoadError, MissingFileError, UsageError
from interpret.models.adapters import adapted, adapter_labels, adapter_settings, is_mutated_by_peft
from interpret.models.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from interpret.models.handle import TASKS, Handle, Task, unwrapped
from interpret.models.resolve import prove, resolve
from interpret.models.sources import (
    TOKENIZER_FILES,
    Source,
    first_line,
    locate,
    public_name,
    quiet,
    read_json,
    refuse_pickle,
    refuse_remote_code,
    stored_dtype,
)

__all__ = [
    "attach_handle",
    "config_sha256",
    "is_mutated_by_peft",
    "load_handle",
    "tokenizer_sha256",
    "weights_sha256",
]

_CLASSES: Final[dict[Task, tuple[Any, ...]]] = {
    "text-classification": (transformers.AutoModelForSequenceClassification,),
    "token-classification": (transformers.AutoModelForTokenClassification,),
    "question-answering": (transformers.AutoModelForQuestionAnswering,),
    "causal-lm": (transformers.AutoModelForCausalLM,),
    "masked-lm": (transformers.AutoModelForMaskedLM,),
    "seq2seq-lm": (transformers.AutoModelForSeq2SeqLM, transformers.AutoModelForSpeechSeq2Seq),
    "image-classification": (transformers.AutoModelForImageClassification,),
    "audio-classification": (transformers.AutoModelForAudioClassification,),
    "ctc": (transformers.AutoModelForCTC,),
    "none": (transformers.AutoModel,),
}
_HEADS: Final[dict[Task, str]] = {
    "text-classification": "classification head",
    "token-classification": "token classification head",
    "question-answering": "question answering head",
    "causal-lm": "language model head",
    "masked-lm": "masked language model head",
    "seq2seq-lm": "language model head",
    "image-classification": "image classification head",
    "audio-classification": "audio classification head",
    "ctc": "transcription head",
    "none": "head",
}
#: How the classes of each task are named; the first that fits counts.
_NAMED: Final[tuple[tuple[str, Task], ...]] = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMaskedLM", "masked-lm"),
    ("LMHeadModel", "causal-lm"),
    ("ForCausalLM", "causal-lm"),
    ("ForConditionalGeneration", "seq2seq-lm"),
    ("MTModel", "seq2seq-lm"),
    ("ForImageClassification", "image-classification"),
    ("ForAudioClassification", "audio-classification"),
    ("ForCTC", "ctc"),
)
_ADAPTER_TASKS: Final[dict[str, Task]] = {
    "SEQ_CLS": "text-classification",
    "CAUSAL_LM": "causal-lm",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "SEQ_2_SEQ_LM": "seq2seq-lm",
}
_DTYPES: Final[dict[str, torch.dtype]] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}
#: Window of a model that states none, neither in its config nor in its tokenizer.
_DEFAULT_LENGTH: Final = 512


def load_handle(
    source: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    task: Task | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    token: str | None = None,
) -> Handle:
    """Load a model and its tokenizer from a folder or the hub.

    Only safetensors are read. Half-precision weights are computed in fp32 on the CPU, whatever `dtype` says;
    the handle records both. `task` is read off the checkpoint's architecture (or the adapter) unless given; a
    head that the checkpoint does not hold is refused, because it would be made up at random.

    Raises:
        MissingFileError: `source` or `adapter` looks like a path and does not exist.
        UsageError: `task`, `device` or `dtype` is none of those that exist.
        LoadError: anything else that keeps the model from being the one that was saved.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"unknown task {task!r}; the tasks are {', '.join(TASKS)}")
    where = _device(device)
    found = locate(source, revision, token, "model", trust_remote_code=trust_remote_code)
    raw = read_json(found.folder / "config.json")
    if raw is None:
        if (found.folder / "adapter_config.json").is_file():
            raise LoadError(
                f"{found.name} is an adapter, not a model: load its base model and give {found.name} as --adapter "
                "(adapter=)"
            )
        raise LoadError(
            f"{found.name} has no config.json, so it is not a saved transformers model; "
            "give the folder that save_pretrained wrote"
        )
    refuse_remote_code(raw, found.name, trust_remote_code)
    refuse_pickle(found.folder, found.name, "model")
    tuned = None if adapter is None else locate(adapter, None, token, "adapter")
    settings = None if tuned is None else adapter_settings(tuned)
    chosen = task is None and settings is not None
    task = task or _task(raw, settings)

    saved = stored_dtype(found.folder)
    run = _run_dtype(dtype, saved, where)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    with quiet(), _explained(found.name, trust_remote_code):
        n_labels = None if tuned is None else adapter_labels(tuned.folder)
        resized = {} if n_labels is None or task != "text-classification" else {"num_labels": n_labels}
        config = transformers.AutoConfig.from_pretrained(found.folder, **options, **resized)
        model = _weights(found, config, task, settings, tuned if chosen else None, run, attn_implementation, options)
        tokenizer = _tokenizer(found.folder, options)
        processor = _processor(found.folder, options)
        if tuned is not None:
            model = adapted(model, tuned)
        if not _placed(model):
            model = model.to(where)
        model = model.eval()
    return _handle(
        model,
        tokenizer,
        processor,
        task,
        name=found.name,
        revision=found.revision,
        adapter=None if tuned is None else tuned.name,
        remote_code=trust_remote_code and _brings_code(found.folder),
        saved_dtype=saved,
        source=str(source),
    )


def attach_handle(
    model: Any, tokenizer: Any = None, *, processor: Any = None, name: str | None = None, task: Task | None = None
) -> Handle:
    """A handle on a model the caller already holds: from transformers, from PEFT, or in a pipeline.

    The model is not changed. Without a tokenizer or a processor only the caller's own forwards can be captured.

    Raises:
        UsageError: `model` is neither a torch module nor a pipeline.
        LoadError: its family is not known.
        ProofError: its weights disagree with its config.
    """
    if isinstance(model, transformers.Pipeline):
        tokenizer = tokenizer if tokenizer is not None else model.tokenizer
        parts = (getattr(model, part, None) for part in ("processor", "image_processor", "feature_extractor"))
        processor = processor if processor is not None else next((part for part in parts if part is not None), None)
        model = model.model
    if tokenizer is None:
        tokenizer = getattr(processor, "tokenizer", None)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"cannot attach to a {type(model).__name__}: give a transformers model, a PEFT model or a "
            "pipeline; a path or a hub id is loaded by load()"
        )
    core: Any = unwrapped(model)
    config = getattr(core, "config", None)
    saved = getattr(config, "dtype", None)
    adapter = getattr(model, "active_adapter", None) if core is not model else None
    if is_mutated_by_peft(model):
        adapter = "inside the base model"
        warnings.warn(
            f"PEFT has put its adapter into this {type(core).__name__}, so it computes what the tuned model computes; "
            "attach the PeftModel, and look at the base through without_adapter(), or load the base a second time",
            stacklevel=3,
        )
    return _handle(
        model,
        tokenizer,
        processor,
        task or _class_task(type(core).__name__),
        name=name or public_name(str(getattr(config, "_name_or_path", "") or "")) or type(core).__name__,
        revision=getattr(config, "_commit_hash", None),
        adapter=adapter if isinstance(adapter, str) else None,
        remote_code=type(core).__module__.startswith("transformers_modules"),
        saved_dtype=None if saved is None else str(saved).removeprefix("torch."),
        source=None,
    )


def _handle(
    model: nn.Module,
    tokenizer: Any,
    processor: Any,
    task: Task,
    *,
    name: str,
    revision: str | None,
    adapter: str | None,
    remote_code: bool,
    saved_dtype: str | None,
    source: str | None,
) -> Handle:
    stacks = resolve(model)
    # Quantised weights are integers; what they are multiplied in is the type of the rest.
    weights = next(p for p in stacks[-1].base.parameters() if p.dtype.is_floating_point)
    run_dtype = str(weights.dtype).removeprefix("torch.")
    handle = Handle(
        model=model,
        tokenizer=tokenizer,
        processor=processor,
        task=task,
        stacks=stacks,
        name=name,
        revision=revision,
        adapter=adapter,
        remote_code=remote_code,
        saved_dtype=saved_dtype or run_dtype,
        run_dtype=run_dtype,
        max_length=_max_length(unwrapped(model), stacks[-1].layout.positions_after_padding, tokenizer),
        source=source,
    )
    prove(handle)
    return handle


def _max_length(core: Any, positions_after_padding: bool, tokenizer: Any) -> int:
    """The shorter of what the positions and what the tokenizer allow; some tokenizers state 1e30."""
    limits = []
    positions = getattr(core.config, "max_position_embeddings", None)
    if positions is not None and positions > 0:
        offset = 0
        if positions_after_padding:
            offset = (core.config.pad_token_id if core.config.pad_token_id is not None else 1) + 1
        limits.append(int(positions) - offset)
    stated = getattr(tokenizer, "model_max_length", None)
    if stated is not None and 0 < stated < 10**9:
        limits.append(int(stated))
    return min(limits, default=_DEFAULT_LENGTH)


def _task(raw: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> Task:
    declared = str((adapter or {}).get("task_type") or "")
    if declared in _ADAPTER_TASKS:
        return _ADAPTER_TASKS[declared]
    architectures = raw.get("architectures") or []
    return _class_task(str(architectures[0])) if architectures else "none"


def _class_task(architecture: str) -> Task:
    if architecture in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values():
        # Some are called ForSequenceClassification, as those of text are.
        return "audio-classification"
    return next((task for ending, task in _NAMED if architecture.endswith(ending)), "none")


def _placed(model: Any) -> bool:
    """Whether the model has its place already: quantised on loading, or spread by a device map."""
    return bool(getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False))


# Loading


def _device(asked: str) -> torch.device:
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except (RuntimeError, ValueError) as err:
        raise UsageError(f"the device {asked!r} cannot be used: write auto, cpu, cuda, cuda:1 or mps") from err
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:
        raise UsageError(
            f"the device {asked!r} cannot be used here: {first_line(err)}; auto takes what there is"
        ) from err
    return device


def _run_dtype(asked: str | torch.dtype, saved: str, device: torch.device) -> torch.dtype:
    written = str(asked).removeprefix("torch.")
    if written != "auto" and written not in _DTYPES:
        raise UsageError(f"unknown dtype {written!r}; write auto, {', '.join(_DTYPES)}")
    run = _DTYPES[saved if written == "auto" else written]
    # Completeness errors are a thousand times larger in half precision, and the CPU gains nothing from it.
    half = (torch.float16, torch.bfloat16)
    return torch.float32 if device.type == "cpu" and run in half else run


def _weights(
    found: Source,
    config: Any,
    task: Task,
    adapter: Mapping[str, Any] | None,
    asked_by: Source | None,
    dtype: torch.dtype,
    attn_implementation: str | None,
    options: Mapping[str, Any],
) -> nn.Module:
    arguments: dict[str, Any] = {
        **options,
        "config": config,
        "dtype": dtype,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    if attn_implementation is not None:
        arguments["attn_implementation"] = attn_implementation
    loader = next((auto for auto in _CLASSES[task] if type(config) in auto._model_mapping), _CLASSES[task][0])
    model, info = loader.from_pretrained(found.folder, **arguments)
    missing = set(info.get("missing_keys") or ())
    if task == "none" and missing and all(key.startswith("pooler.") for key in missing):
        # No site is read after the pooler; a random one must not be there to be read by accident.
        model, info = loader.from_pretrained(found.folder, add_pooling_layer=False, **arguments)
        missing = set(info.get("missing_keys") or ())
    trained = set((adapter or {}).get("modules_to_save") or ())
    if (adapter or {}).get("task_type") == "SEQ_CLS":
        # PEFT saves these two with every adapter of a classifier, listed or not.
        trained |= {"classifier", "score"}
    missing = {key for key in missing if not trained & set(key.split("."))}
    if not missing:
        loaded: nn.Module = model
        return loaded
    prefix = f"{model.base_model_prefix}."
    example = min(missing)
    if all(not key.startswith(prefix) for key in missing) and task != "none":
        who = f"{found.name} was asked for as {task}"
        if asked_by is not None:
            who = f"the adapter {asked_by.name} is for a {task} model"
        raise LoadError(
            f"{who}, but this checkpoint{'' if asked_by is None else f' ({found.name})'} has no {_HEADS[task]} "
            f"({example} is missing and would be random); choose another checkpoint or another --task (task=)",
            no_head=True,
        )
    raise LoadError(
        f"{len(missing)} weights of {type(model).__name__} are missing from {found.name} and would be "
        f"random, {example} among them; the checkpoint is incomplete or of another architecture"
    )


def _tokenizer(folder: Path, options: Mapping[str, Any]) -> Any:
    """The tokenizer beside the model, or None where there is none."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None
    return transformers.AutoTokenizer.from_pretrained(folder, **options)


def _processor(folder: Path, options: Mapping[str, Any]) -> Any:
    """What turns images or sound into inputs, or None where nothing of the kind was saved."""
    if (folder / "processor_config.json").is_file():
        return transformers.AutoProcessor.from_pretrained(folder, **options)
    raw = read_json(folder / "preprocessor_config.json")
    if raw is None:
        return None
    sound = "feature_extractor_type" in raw
    loader = transformers.AutoFeatureExtractor if sound else transformers.AutoImageProcessor
    return loader.from_pretrained(folder, **options)


@contextmanager
def _explained(name: str, trust_remote_code: bool) -> Iterator[None]:
    """Turn what transformers raises into one sentence; our own errors pass."""
    try:
        yield
    except (LoadError, UsageError, MissingFileError):
        raise
    except Exception as err:  # transformers raises OSError, ValueError, ImportError, KeyError and its own
        if "trust_remote_code" in str(err) and not trust_remote_code:
            raise LoadError(
                f"{name} brings its own Python code, which is not run unless you pass "
                "--trust-remote-code (trust_remote_code=True)"
            ) from err
        raise LoadError(f"{name} could not be loaded: {first_line(err)}") from err


def _brings_code(folder: Path) -> bool:
    """Whether the model or its tokenizer comes with Python code of its own."""
    files = ("config.json", "tokenizer_config.json")
    return any("auto_map" in (read_json(folder / name) or {}) for name in files)
