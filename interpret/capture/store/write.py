"""Data set -> store: planned, checked against disk and budget, then run shard by shard, each written whole."""

from __future__ import annotations

import errno
import hashlib
import inspect
import io
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from interpret.capture.hooks import hooks
from interpret.capture.points import check_sites
from interpret.capture.store import layout
from interpret.capture.store.filling import NONE, Filling
from interpret.capture.store.memory import Trimmer
from interpret.capture.store.plan import (
    POOLS,
    Column,
    Corpus,
    Pool,
    Shard,
    columns_of,
    plan_shards,
    shard_bytes_of,
    tokenise,
)
from interpret.capture.store.read import Store
from interpret.errors import InterpretError, StoreError, UsageError
from interpret.models.batching import Halving, plan_batches, run_batches, token_budget_of
from interpret.models.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from interpret.models.handle import Handle
from interpret.readers.texts import Texts

MAX_BYTES: Final = 10 * 10**9
SHARD_BYTES: Final = 64 * 10**6
#: Of a request: what may differ when a capture is taken up again, because the digests beside it say it all.
_NAMES: Final = frozenset({"model.name", "model.revision", "model.adapter", "data.name"})


def capture_to(
    handle: Handle,
    path: str | Path,
    texts: Texts,
    sites: Sequence[str] | str,
    *,
    pool: Pool | None = None,
    dtype: str | None = None,
    max_bytes: int | None = MAX_BYTES,
    shard_bytes: int = SHARD_BYTES,
    token_budget: int | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Store:
    """Run texts in batches of similar length and write the sites to the folder `path`; see `facade.capture_to`.

    Args:
        handle: the attached model.
        path: folder of the store, made if absent.
        texts: the texts, with ids and labels.
        sites: written as for `capturing`.
        pool: None keeps every token; "mean", "cls" and "last" keep one row per example.
        dtype: "float16", "bfloat16", "float32"; None stores the dtype the model runs in.
        max_bytes: refuse a store that would be larger; the size is known before anything runs.
        shard_bytes: values in one shard; a killed run loses at most what one shard holds.
        token_budget: tokens per batch, pads included.
        overwrite: replace a store of another request.
        progress: show a bar on stderr; None does so on a terminal.

    Raises:
        UnknownSiteError: a site or layer the model does not have.
        UsageError: a request that cannot be met, that is too large, or that is another one than the folder holds.
        StoreError: the disk is full or cannot be written; running the same again goes on where it stopped.
        RunError: a value does not fit into `dtype`.
    """
    folder = Path(path)
    written = [sites] if isinstance(sites, str) else list(sites)
    if not written:
        raise UsageError('no site was named; name some, for example sites=["resid_post"]')
    stored = _check(handle, folder, pool, dtype, max_bytes, shard_bytes, token_budget)
    columns = columns_of(handle, check_sites(handle, written), pool)
    predict = _predicts(handle)
    # Opened once without a forward: what cannot be hooked is refused now, and the mode of patterns is known.
    with hooks(handle, {column.key: _ignore for column in columns}) as mode:
        pass
    corpus = tokenise(handle, texts)
    budget = token_budget_of(handle) if token_budget is None else token_budget
    itemsize = layout.DTYPES[stored].itemsize
    batches = plan_batches(handle, corpus.lengths.tolist(), token_budget=budget)
    shards = plan_shards(batches, columns, corpus.lengths, itemsize, shard_bytes)
    n_bytes = sum(shard_bytes_of(columns, corpus.lengths[shard.examples], itemsize) for shard in shards)
    if max_bytes is not None and n_bytes > max_bytes:
        raise UsageError(
            f"{_asked(columns, corpus, pool, stored)} takes {layout.size_text(n_bytes)} ({n_bytes:,} bytes), more "
            f"than max_bytes={max_bytes:,}; {_SMALLER}, or raise max_bytes (--max-bytes)"
        )
    manifest = {
        "schema": layout.SCHEMA,
        "complete": False,
        "model": _model(handle, mode),
        "data": {"name": texts.name, "sha256": _data_sha256(texts), "n_examples": len(texts)},
        "sites": [_site(column) for column in columns],
        "dtype": stored,
        "pool": pool,
        "token_budget": budget,
        "shard_bytes": shard_bytes,
        "n_tokens": corpus.n_tokens,
        "examples": None,
        "shards": [{"batches": shard.batches} for shard in shards],
    }
    made = _make_folder(folder)
    try:
        with layout.locked(folder):
            manifest = _take_up(folder, manifest, overwrite)
            run = _Run(handle, folder, manifest, texts, corpus, columns, predict=predict)
            run.finish_missing(progress)
    finally:
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Store(folder)


_SMALLER: Final = "ask for fewer sites or layers, pool (pool=, --pool) or store 16 bits (dtype=, --store-dtype)"


def _ignore(_: Tensor) -> None:
    return None


def _check(
    handle: Handle,
    folder: Path,
    pool: str | None,
    dtype: str | None,
    max_bytes: int | None,
    shard_bytes: int,
    token_budget: int | None,
) -> str:
    """Refuse what cannot be asked; returns the dtype to store."""
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


def _predicts(handle: Handle) -> bool:
    """Whether the highest logit is the prediction: one class out of several."""
    kind = getattr(handle.config, "problem_type", None)
    several = handle.task == "text-classification" and len(handle.labels) > 1
    return several and kind not in ("regression", "multi_label_classification")


def _model(handle: Handle, mode: str | None) -> dict[str, Any]:
    return {
        "name": handle.name,
        "revision": handle.revision,
        "adapter": handle.adapter,
        "architecture": handle.architecture,
        "task": handle.task,
        "run_dtype": handle.run_dtype,
        "device": handle.device.type,
        "attn_implementation": handle.attn_implementation,
        "attention_mode": mode,
        "weights_sha256": weights_sha256(handle.model),
        "config_sha256": config_sha256(handle),
        "tokenizer_sha256": tokenizer_sha256(handle),
    }


def _site(column: Column) -> dict[str, Any]:
    return {
        "site": column.key[0],
        "layer": column.key[1],
        "name": column.name,
        "rows": column.rows,
        "axes": list(column.axes),
        "n_values": column.n_values,
    }


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _data_sha256(texts: Texts) -> str:
    digest = hashlib.sha256()
    for row in zip(texts.ids, texts.texts, texts.labels, strict=True):
        for value in row:
            raw = b"" if value is None else value.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def _asked(columns: Sequence[Column], corpus: Corpus, pool: str | None, dtype: str) -> str:
    pooled = "" if pool is None else f" pooled ({pool})"
    return f"storing {len(columns)} tensors of {len(corpus):,} texts with {corpus.n_tokens:,} tokens{pooled} in {dtype}"


def _make_folder(folder: Path) -> bool:
    """Make the folder; returns whether it was not there."""
    if folder.is_dir():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"the folder {folder} cannot be made ({err.strerror}); name another place") from err
    return True


def _take_up(folder: Path, manifest: dict[str, Any], overwrite: bool) -> dict[str, Any]:
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
            yield f"its {prefix}{name} is {_short(other)}, asked was {_short(value)}"


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text if len(text) <= 120 else f"{text[:117]}..."


class _Run:
    """What remains to be done in one folder."""

    def __init__(
        self,
        handle: Handle,
        folder: Path,
        manifest: dict[str, Any],
        texts: Texts,
        corpus: Corpus,
        columns: Sequence[Column],
        *,
        predict: bool,
    ) -> None:
        self.handle, self.folder, self.manifest = handle, folder, manifest
        self.texts, self.corpus, self.columns, self.predict = texts, corpus, columns, predict
        self.dtype: str = manifest["dtype"]
        self.pool: Pool | None = manifest["pool"]
        # As they are in the manifest: there they were fixed, or written down as they ran.
        self.shards = [Shard(number, entry["batches"]) for number, entry in enumerate(manifest["shards"])]
        self.entries: dict[int, dict[str, Any]] = {}
        takes_cache = "use_cache" in inspect.signature(handle.core.forward).parameters
        self.extra: dict[str, Any] = {"use_cache": False} if takes_cache else {}

    def finish_missing(self, progress: bool | None) -> None:
        """Run what is not there whole, then say in the manifest that all is."""
        for shard in self.shards:
            entry = self._whole(shard)
            if entry is not None:
                self.entries[shard.number] = entry
        missing = [shard for shard in self.shards if shard.number not in self.entries]
        examples = self.manifest["examples"]
        done = not missing and self.manifest["complete"] and layout.damage(self.folder, examples) is None
        if not done:
            self._require_space(missing)
            with self._named_failures():
                if layout.read_manifest(self.folder) is None:
                    layout.write_file(self.folder / layout.MANIFEST, [layout.manifest_bytes(self.manifest)])
                self._run_missing(missing, progress)
                self._finish()
        for path in layout.own_files(self.folder):
            if path.name in {layout.entry_name(shard.number) for shard in self.shards}:
                path.unlink()
        layout.sync_folder(self.folder)

    def _whole(self, shard: Shard) -> dict[str, Any] | None:
        """Find the entry of a shard whose files are what it says."""
        entry = self.manifest["shards"][shard.number]
        try:
            beside = json.loads((self.folder / layout.entry_name(shard.number)).read_bytes())
            entry = beside if Shard(shard.number, beside["batches"]).examples == shard.examples else entry
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if "values" not in entry:
            return None
        wrong = [layout.damage(self.folder, entry[part]) for part in ("values", "tokens")]
        return None if any(wrong) else dict(entry)

    def _require_space(self, missing: Sequence[Shard]) -> None:
        needed, free = self._needed(missing), shutil.disk_usage(self.folder).free
        if needed > free:
            raise StoreError(
                f"{_asked(self.columns, self.corpus, self.pool, self.dtype)} needs "
                f"{layout.size_text(needed)} ({needed:,} bytes) more, but the disk of {self.folder} has "
                f"{layout.size_text(free)} free; {_SMALLER}, or name another disk"
            )

    def _needed(self, missing: Sequence[Shard]) -> int:
        itemsize = layout.DTYPES[self.dtype].itemsize
        return sum(shard_bytes_of(self.columns, self.corpus.lengths[shard.examples], itemsize) for shard in missing)

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        """Say what a disk that takes no more means, and what to do."""
        try:
            yield
        except OSError as err:
            if isinstance(err, InterpretError):
                raise
            needed = self._needed([shard for shard in self.shards if shard.number not in self.entries])
            if err.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                free = shutil.disk_usage(self.folder).free
                why = (
                    f"the disk is full: {layout.size_text(needed)} are still needed, {layout.size_text(free)} are free"
                )
                remedy = "free some space and run the same again: it goes on after them"
            else:
                why = f"{err.strerror or err}; {layout.size_text(needed)} are still to be written"
                remedy = "when the disk can be written again, run the same again: it goes on after them"
            raise StoreError(
                f"the capture to {self.folder} stopped because {why}; the {len(self.entries)} of {len(self.shards)} "
                f"shards that are there stay; {remedy}"
            ) from err

    def _run_missing(self, missing: Sequence[Shard], progress: bool | None) -> None:
        lengths = self.corpus.lengths
        # What running out of memory has taught lasts, as if the capture had never been interrupted.
        bounds = {number: tuple(entry["halved"] or (None, None)) for number, entry in self.entries.items()}
        done = self.corpus.n_tokens - int(sum(lengths[shard.examples].sum() for shard in missing))
        silent = not sys.stderr.isatty() if progress is None else not progress
        trim = Trimmer()
        with (
            tqdm(
                total=self.corpus.n_tokens,
                initial=done,
                desc="capture",
                unit="token",
                unit_scale=True,
                disable=silent,
                file=sys.stderr,
            ) as bar,
            _Writer() as writer,
        ):
            for shard in missing:
                filling = Filling(
                    self.columns,
                    shard.examples,
                    self.corpus,
                    self.dtype,
                    self.pool,
                    predict=self.predict,
                    memory=writer.memory,
                )
                halving = Halving(*bounds.get(shard.number - 1, (None, None)))
                ran = []
                for indices, _ in run_batches(
                    self.handle,
                    self.corpus,
                    partial(self._step, filling),
                    batches=shard.batches,
                    halving=halving,
                ):
                    ran.append(indices)
                    trim()
                    bar.update(int(lengths[indices].sum()))
                bounds[shard.number] = (halving.max_rows, halving.max_tokens)
                writer.submit(partial(self._write, shard.number, filling, ran, bounds[shard.number]), filling.memory)

    def _step(self, filling: Filling, batch: dict[str, Tensor], indices: list[int]) -> None:
        filling.begin(indices, batch["input_ids"].shape[1])
        reads = {key: partial(filling.read, key) for key in filling.keys}
        # Entered anew for each batch: between two of them the caller's own code may run.
        with torch.no_grad(), hooks(self.handle, reads):
            self.handle.model(**batch, **self.extra)
        filling.end()

    def _write(self, number: int, filling: Filling, ran: list[list[int]], halved: tuple[int | None, ...]) -> None:
        """Write one shard; the entry comes last, so that a shard with an entry is whole."""
        entry = {
            "batches": ran,
            "halved": None if halved == (None, None) else list(halved),
            "n_examples": len(filling.examples),
            "n_tokens": int(filling.lengths.sum()),
            "values": layout.write_file(self.folder / layout.values_name(number), filling.chunks()),
            "tokens": layout.write_file(
                self.folder / layout.tokens_name(number), [_tokens_parquet(self.corpus, filling)]
            ),
        }
        layout.write_file(self.folder / layout.entry_name(number), [layout.json_bytes(entry)])
        self.entries[number] = entry

    def _finish(self) -> None:
        predicted: dict[int, int] = {}
        for shard in self.shards:
            with safe_open(self.folder / layout.values_name(shard.number), framework="pt") as file:
                found = file.get_tensor("prediction").tolist()
            predicted.update(zip(shard.examples, found, strict=True))
        content = _examples_parquet(self.texts, self.corpus, predicted, self.handle.labels)
        entry = layout.write_file(self.folder / layout.EXAMPLES, [content])
        shards = [self.entries[shard.number] for shard in self.shards]
        self.manifest = {**self.manifest, "complete": True, "examples": entry, "shards": shards}
        layout.write_file(self.folder / layout.MANIFEST, [layout.manifest_bytes(self.manifest)])


class _Writer:
    """Writes one shard while the next is computed; what goes wrong is raised where the next one is handed over."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="interpret-store")
        self._pending: Future[None] | None = None
        self._in_use: Tensor | None = None
        #: Memory that no shard is written from: two blocks in turn are all that is ever held.
        self.memory: Tensor | None = None

    def __enter__(self) -> _Writer:
        return self

    def submit(self, write: Any, memory: Tensor) -> None:
        """Wait for the shard before, then write this one in the background."""
        self._wait()
        self.memory, self._in_use = self._in_use, memory
        self._pending = self._thread.submit(write)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # Also after an interrupt: what has been computed is kept.
            self._wait()
        except BaseException:
            if kind is None:
                raise
        finally:
            self._thread.shutdown()


def _tokens_parquet(corpus: Corpus, filling: Filling) -> memoryview:
    import pyarrow as pa

    lengths = filling.lengths
    ends = np.cumsum(lengths)
    position = np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
    where = np.repeat(corpus.starts[filling.examples], lengths) + position
    ids = corpus.ids[where]
    return _parquet(
        {
            "example": pa.array(np.repeat(filling.examples, lengths)),
            "position": pa.array(position.astype(np.int32)),
            "token_id": pa.array(ids),
            "token": pa.array([corpus.names[index] for index in ids.tolist()], pa.string()),
            "word": pa.array(corpus.words[where]),
            "char_start": pa.array(corpus.spans[where, 0]),
            "char_end": pa.array(corpus.spans[where, 1]),
            "special": pa.array(corpus.special[where]),
        }
    )


def _examples_parquet(texts: Texts, corpus: Corpus, predicted: Mapping[int, int], labels: Sequence[str]) -> memoryview:
    import pyarrow as pa

    classes = [predicted[index] for index in range(len(texts))]
    return _parquet(
        {
            "example": pa.array(np.arange(len(texts), dtype=np.int64)),
            "id": pa.array(texts.ids, pa.string()),
            "text_sha256": pa.array([_text_sha256(text) for text in texts.texts], pa.string()),
            "label": pa.array(texts.labels, pa.string()),
            "prediction": pa.array([None if index == NONE else labels[index] for index in classes], pa.string()),
            "n_tokens": pa.array(corpus.lengths.astype(np.int32)),
            "n_truncated": pa.array(corpus.n_truncated.astype(np.int32)),
        }
    )


def _parquet(columns: Mapping[str, Any]) -> memoryview:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # In memory first: parquet's own writer neither hashes nor syncs.
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, compression="zstd")
    return buffer.getbuffer()
