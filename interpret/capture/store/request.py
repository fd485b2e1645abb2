"""What was asked: checked, written into the manifest, and held against what a folder already holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from interpret.capture.store import layout
from interpret.capture.store.plan import POOLS, Column, Corpus
from interpret.errors import StoreError, UsageError
from interpret.models.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from interpret.models.handle import Handle
from interpret.readers.texts import Texts

#: Of a request: what may differ when a capture is taken up again, because the digests beside it say it all.
_NAMES: Final = frozenset({"model.name", "model.revision", "model.adapter", "data.name"})
#: What makes a store smaller.
SMALLER: Final = "ask for fewer sites or layers, pool (pool=, --pool) or store 16 bits (dtype=, --store-dtype)"


def check(
    handle: Handle,
    folder: Path,
    pool: str | None,
    dtype: str | None,
    max_bytes: int | None,
    shard_bytes: int,
    token_budget: int | None,
) -> str:
    """Refuse what cannot be asked; returns the dtype to store."""
    if len(handle.stacks) > 1 or handle.roles.layout.modality != "text":
        raise UsageError(
            f"{handle.name} is no model of texts in one stack, and only those are stored token by token; capture "
            "encoder-decoders, images and sound in memory with capture()"
        )
    if pool is not None and pool not in POOLS:
        raise UsageError(f"unknown pool {pool!r}; it is None, {', '.join(map(repr, POOLS))}")
    if dtype is not None and dtype not in layout.DTYPES:
        raise UsageError(f"cannot store dtype {dtype!r}; it is one of {', '.join(layout.DTYPES)}, or None (as run)")
    if dtype is None and handle.run_dtype not in layout.DTYPES:
        raise UsageError(
            f"{handle.name} runs in {handle.run_dtype}, which a store does not hold; name a dtype= (--store-dtype)"
        )
    for name, value in (("max_bytes", max_bytes), ("shard_bytes", shard_bytes), ("token_budget", token_budget)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1")
    if folder.is_file():
        raise UsageError(f"cannot capture to {folder}: a file stands there; name a folder")
    return dtype or handle.run_dtype


def predicts(handle: Handle) -> bool:
    """Whether the highest logit is the prediction: one class out of several."""
    kind = getattr(handle.config, "problem_type", None)
    several = handle.task == "text-classification" and len(handle.labels) > 1
    return several and kind not in ("regression", "multi_label_classification")


def model_facts(handle: Handle, mode: str | None) -> dict[str, Any]:
    """Which model it was and how it ran; `mode` is how attention patterns were had."""
    return {
        "name": handle.name,
        "revision": handle.revision,
        "adapter": handle.adapter,
        "architecture": handle.architecture,
        "task": handle.task,
        "run_dtype": handle.run_dtype,
        "device": handle.device.type,
        "max_length": handle.max_length,
        "attn_implementation": handle.attn_implementation,
        "attention_mode": mode,
        "weights_sha256": weights_sha256(handle.model),
        "config_sha256": config_sha256(handle),
        "tokenizer_sha256": tokenizer_sha256(handle),
    }


def site_facts(column: Column) -> dict[str, Any]:
    """How one site at one layer is stored."""
    return {
        "site": column.key[0],
        "layer": column.key[1],
        "name": column.name,
        "rows": column.rows,
        "axes": list(column.axes),
        "n_values": column.n_values,
    }


def data_facts(texts: Texts, corpus: Corpus) -> dict[str, Any]:
    """Which data it was, and as which tokens the model read it."""
    return {
        "name": texts.name,
        "sha256": texts_sha256(texts),
        "tokens_sha256": corpus.sha256(),
        "n_examples": len(texts),
    }


def texts_sha256(texts: Texts) -> str:
    """Digest over the ids, texts and labels, in their order."""
    digest = hashlib.sha256()
    for row in zip(texts.ids, texts.texts, texts.labels, strict=True):
        for value in row:
            raw = b"" if value is None else value.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def asked(columns: Sequence[Column], corpus: Corpus, pool: str | None, dtype: str) -> str:
    """Say what was asked, as messages about sizes begin."""
    pooled = "" if pool is None else f" pooled ({pool})"
    return f"storing {len(columns)} tensors of {len(corpus):,} texts with {corpus.n_tokens:,} tokens{pooled} in {dtype}"


def make_folder(folder: Path) -> bool:
    """Make the folder; returns whether it was not there."""
    if folder.is_dir():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"the folder {folder} cannot be made ({err.strerror}); name another place") from err
    return True


def take_up(folder: Path, manifest: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Return the manifest to go on with: of the same request if there is one, else the new one.

    Raises:
        UsageError: the folder holds another request, or is no store.
    """
    try:
        found = layout.read_manifest(folder)
    except StoreError:
        if not overwrite:
            raise
        found = None
    if found is not None and not overwrite:
        differing = list(_differing(found, manifest))
        if differing:
            raise UsageError(
                f"{folder} holds another capture: {'; '.join(differing)}; name another folder, or replace it with "
                "overwrite=True (--overwrite)"
            )
        layout.remove_parts(folder)
        return found
    foreign = layout.foreign_files(folder)
    if found is None and foreign and not overwrite:
        raise UsageError(
            f"{folder} holds other files ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}) and no "
            "store; name another folder, or write beside them with overwrite=True (--overwrite)"
        )
    for path in layout.own_files(folder):
        path.unlink()
    return manifest


def _differing(found: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Say in which points two requests differ."""
    for name, value in asked.items():
        if prefix + name in _NAMES or (not prefix and name in ("complete", "examples", "shards", "schema")):
            continue
        other = found.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _differing(other, value, f"{prefix}{name}.")
        elif other != value:
            if name == "sites":
                value, other = (", ".join(site["name"] for site in listed or ()) for listed in (value, other))
            yield f"its {prefix}{name} is {short(other)}, asked was {short(value)}"


def short(value: Any) -> str:
    """A value as a message shows it: the beginning of a digest, and no more than a line of anything else."""
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text if len(text) <= 120 else f"{text[:117]}..."
