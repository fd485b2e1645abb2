"""Data set -> store: planned, checked against disk and budget, then run shard by shard, each written whole."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from interpret.capture.hooks import hooks
from interpret.capture.points import check_sites
from interpret.capture.store import disk, layout
from interpret.capture.store.filling import LOGITS, Filling
from interpret.capture.store.plan import (
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
from interpret.capture.store.request import (
    SMALLER,
    asked,
    check,
    data_facts,
    make_folder,
    model_facts,
    predicts,
    site_facts,
    take_up,
)
from interpret.capture.store.tables import examples_parquet, tokens_parquet
from interpret.errors import InterpretError, StoreError, UsageError
from interpret.models.batching import Halving, plan_batches, run_batches, token_budget_of
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.readers.texts import Texts

MAX_BYTES: Final = 10 * 10**9
SHARD_BYTES: Final = 64 * 10**6


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
    stored = check(handle, folder, pool, dtype, max_bytes, shard_bytes, token_budget)
    columns = columns_of(handle, check_sites(handle, written), pool)
    predict = predicts(handle)
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
            f"{asked(columns, corpus, pool, stored)} takes {layout.size_text(n_bytes)} ({n_bytes:,} bytes), more "
            f"than max_bytes={max_bytes:,}; {SMALLER}, or raise max_bytes (--max-bytes)"
        )
    manifest = {
        "schema": layout.SCHEMA,
        "complete": False,
        "model": model_facts(handle, mode),
        "data": data_facts(texts, corpus),
        "sites": [site_facts(column) for column in columns],
        "dtype": stored,
        "pool": pool,
        "token_budget": budget,
        "shard_bytes": shard_bytes,
        "n_tokens": corpus.n_tokens,
        "examples": None,
        "shards": [{"batches": shard.batches} for shard in shards],
    }
    made = make_folder(folder)
    try:
        with layout.locked(folder):
            manifest = take_up(folder, manifest, overwrite)
            run = _Run(handle, folder, manifest, texts, corpus, columns, predict=predict)
            run.finish_missing(progress)
    finally:
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Store(folder)


def _ignore(_: Tensor) -> None:
    return None


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
        parameters = argument_names(handle.core)
        self.extra: dict[str, Any] = {**handle.without_cache}
        if not predict and all(column.key != LOGITS for column in columns) and "logits_to_keep" in parameters:
            # The head over a vocabulary is the larger part of a small model, and nobody asked for it.
            self.extra["logits_to_keep"] = 1

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
                    disk.write_file(self.folder / layout.MANIFEST, layout.manifest_bytes(self.manifest))
                self._run_missing(missing, progress)
                self._finish()
        for path in layout.own_files(self.folder):
            if path.name in {layout.entry_name(shard.number) for shard in self.shards}:
                path.unlink()
        disk.sync_folder(self.folder)

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
                f"{asked(self.columns, self.corpus, self.pool, self.dtype)} needs "
                f"{layout.size_text(needed)} ({needed:,} bytes) more, but the disk of {self.folder} has "
                f"{layout.size_text(free)} free; {SMALLER}, or name another disk"
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
            _Writer(behind=self.handle.device.type != "cpu") as writer,
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
                    bar.update(int(lengths[indices].sum()))
                bounds[shard.number] = (halving.max_rows, halving.max_tokens)
                begin = partial(disk.begin_file, self.folder / layout.values_name(shard.number), filling.image())
                finish = partial(self._finish_shard, shard.number, filling, ran, bounds[shard.number])
                writer.submit(begin, finish, filling.memory)

    def _step(self, filling: Filling, batch: dict[str, Tensor], indices: list[int]) -> None:
        filling.begin(indices, batch["input_ids"].shape[1])
        reads = {key: partial(filling.read, key) for key in filling.keys}
        # Entered anew for each batch: between two of them the caller's own code may run.
        with torch.no_grad(), hooks(self.handle, reads):
            self.handle.model(**batch, **self.extra)
        filling.end()

    def _finish_shard(
        self,
        number: int,
        filling: Filling,
        ran: list[list[int]],
        halved: tuple[int | None, ...],
        values: disk.Begun,
    ) -> None:
        """Bring one shard to the disk; the entry comes last, so that a shard with an entry is whole."""
        tokens = tokens_parquet(self.corpus, filling)
        entry = {
            "batches": ran,
            "halved": None if halved == (None, None) else list(halved),
            "n_examples": len(filling.examples),
            "n_tokens": int(filling.lengths.sum()),
            "values": disk.finish_file(values),
            "tokens": disk.write_file(self.folder / layout.tokens_name(number), tokens),
        }
        disk.write_file(self.folder / layout.entry_name(number), layout.json_bytes(entry))
        self.entries[number] = entry

    def _finish(self) -> None:
        predicted: dict[int, int] = {}
        for shard in self.shards:
            with safe_open(self.folder / layout.values_name(shard.number), framework="pt") as file:
                found = file.get_tensor("prediction").tolist()
            predicted.update(zip(shard.examples, found, strict=True))
        content = examples_parquet(self.texts, self.corpus, predicted, self.handle.labels)
        entry = disk.write_file(self.folder / layout.EXAMPLES, content)
        shards = [self.entries[shard.number] for shard in self.shards]
        self.manifest = {**self.manifest, "complete": True, "examples": entry, "shards": shards}
        disk.write_file(self.folder / layout.MANIFEST, layout.manifest_bytes(self.manifest))


class _Writer:
    """Brings one shard to the disk while the next is computed; what goes wrong is raised with the next one.

    Two blocks of memory are used in turn. Where the model runs on the CPU a shard is hashed, and copied where it must
    be, between two batches: a third thread beside two that compute stalls both of them for longer than that takes.
    With `behind`, that goes on behind as well.
    """

    def __init__(self, *, behind: bool) -> None:
        self._behind = behind
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="interpret-store")
        self._pending: Future[None] | None = None
        self._in_use: Tensor | None = None
        #: Memory that no shard is written from.
        self.memory: Tensor | None = None

    def __enter__(self) -> _Writer:
        return self

    def submit(self, begin: Callable[[], disk.Begun], finish: Callable[[disk.Begun], None], memory: Tensor) -> None:
        """Wait for the shard before, then write this one."""
        self._wait()
        self.memory, self._in_use = self._in_use, memory
        if self._behind:
            self._pending = self._thread.submit(lambda: finish(begin()))
        else:
            self._pending = self._thread.submit(finish, begin())

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
