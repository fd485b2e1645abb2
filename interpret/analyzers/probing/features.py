"""The mean over each item's tokens at every site, kept within a memory limit."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from interpret.analyzers.probing.items import ONE_VECTOR
from interpret.analyzers.probing.items import Items as Items
from interpret.analyzers.probing.items import Segment as Segment
from interpret.analyzers.probing.items import make_items as make_items
from interpret.analyzers.probing.items import word_positions as word_positions
from interpret.analyzers.probing.ridge import KEPT_BYTES, blocks, release
from interpret.analyzers.probing.stored import Stored
from interpret.capture.capture import stream
from interpret.capture.points import sites_of
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.sites import Key, axes_of, expand_sites

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

DEFAULT_SITES: Final = ("embed", "resid_post")
#: Features of all sites together; beyond this they lie in temporary files.
MAX_BYTES_IN_MEMORY: Final = 256 * 1024**2
#: Share of the free disk that temporary files may take.
_DISK_SHARE: Final = 0.8


def probe_keys(handle: Handle | Stored, sites: Sequence[str] | str | None) -> list[Key]:
    """The (site, layer) pairs asked for; None takes the default of a model, and everything of a store.

    Raises:
        UsageError: a site that has no single vector per token.
    """
    if isinstance(handle, Stored):
        return handle.keys(sites)
    keys = expand_sites(DEFAULT_SITES if sites is None else sites, handle.layers)
    possible = [site for site in sites_of(handle) if "position" in axes_of(site)]
    for site, _ in keys:
        if site not in possible:
            raise UsageError(
                f"cannot probe {site}, which has axes {', '.join(axes_of(site))} and no vector per token; "
                f"sites with one are {', '.join(possible)}"
            )
    if not keys:
        raise UsageError(f"no site was given to probe; sites with a vector per token are {', '.join(possible)}")
    return keys


class FeatureStore:
    """Features [item, d] by (site, layer) in float32: in memory up to a limit, in temporary files beyond it.

    Tasks on the same items share one: `n_users` of them.
    """

    def __init__(self, n_items: int, n_keys: int, max_bytes: int | None = None, n_users: int = 1) -> None:
        self.n_items = n_items
        self.n_keys = n_keys
        self.n_users = n_users
        self._n_drops: dict[Key, int] = {}
        self.max_bytes = MAX_BYTES_IN_MEMORY if max_bytes is None else max_bytes
        self.arrays: dict[Key, Float32Array] = {}
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._touched = 0
        self._layout = ONE_VECTOR
        #: Mean and deviation [d] by which each standardised array was centred and divided.
        self.scaling: dict[Key, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.arrays.clear()
        self._stack.close()

    def arrange(self, items: Items) -> None:
        """Make room for the vectors of these items: one each, or two with what is made of them."""
        self._layout = items.layout

    def write(self, key: Key, rows: IntArray, values: Float32Array) -> None:
        """Put `values` [row, d] at `rows`; of pairs, rows count the first and the second of each item in turn."""
        n_vectors, n_blocks = self._layout
        if key not in self.arrays:
            self.arrays[key] = self._new(key, values.shape[1] * n_blocks)
        if n_vectors == 1:
            self.arrays[key][rows] = values
        else:
            self.arrays[key].reshape(self.n_items, n_blocks, -1)[rows // n_vectors, rows % n_vectors] = values
        self._touched += values.nbytes
        if self._touched >= KEPT_BYTES:
            self._touched = 0
            for array in self.arrays.values():
                release(array)

    def _new(self, key: Key, d: int) -> Float32Array:
        n_bytes = self.n_items * d * 4 * self.n_keys
        if n_bytes <= self.max_bytes:
            return np.zeros((self.n_items, d), dtype=np.float32)
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="interpret-probe-")))
            free = shutil.disk_usage(self._folder).free
            if n_bytes > _DISK_SHARE * free:
                raise UsageError(
                    f"the features of {self.n_items} items at {self.n_keys} sites take {n_bytes / 1e9:.1f} GB, and "
                    f"the temporary folder has {free / 1e9:.1f} GB free; probe fewer sites or fewer sentences"
                )
        path = self._folder / f"{key[0]}-{key[1]}.bin"
        return np.memmap(path, dtype=np.float32, mode="w+", shape=(self.n_items, d))

    def standardise(self, key: Key, n_train: int) -> Float32Array:
        """Features of `key` with mean 0 and deviation 1 on the first `n_train` rows; done in place, once.

        A feature that is constant on those rows is only centred.
        """
        X = self.arrays[key]
        if key in self.scaling:
            return X
        self._combine(X)
        total = np.zeros(X.shape[1])
        for part in blocks(X, n_train):
            total += X[part].sum(axis=0, dtype=np.float64)
        mean = total / n_train
        squares = np.zeros(X.shape[1])
        for part in blocks(X, n_train):
            squares += ((X[part] - mean) ** 2).sum(axis=0)
        deviation = np.sqrt(squares / n_train)
        deviation[deviation <= 1e-7 * (1 + np.abs(mean))] = 1.0
        for part in blocks(X):
            X[part] = (X[part] - mean) / deviation
        self.scaling[key] = mean, deviation
        return X

    def _combine(self, X: Float32Array) -> None:
        """Fill in |u - v| and u * v behind the two vectors of a pair."""
        n_vectors, n_blocks = self._layout
        if n_blocks == n_vectors:
            return
        for part in blocks(X):
            held = X[part].reshape(part.stop - part.start, n_blocks, -1)
            held[:, 2] = np.abs(held[:, 0] - held[:, 1])
            held[:, 3] = held[:, 0] * held[:, 1]
            X[part] = held.reshape(part.stop - part.start, -1)

    def drop(self, key: Key) -> None:
        """Forget the features of `key`, when the last user says so."""
        self._n_drops[key] = self._n_drops.get(key, 0) + 1
        if self._n_drops[key] >= self.n_users:
            self.arrays.pop(key, None)


class Target(NamedTuple):
    """Where features go: those of `items` at `keys`, into `store`."""

    store: FeatureStore
    items: Items
    keys: Sequence[Key]


def fill(
    store: FeatureStore, handle: Handle, items: Items, sites: Sequence[str] | str, progress: str | None = None
) -> None:
    """Run the model over the sentences that hold items and store the mean over each item's tokens."""
    fill_together([Target(store, items, expand_sites(sites, handle.layers))], handle, progress)


def fill_together(targets: Sequence[Target], handle: Handle | Stored, progress: str | None = None) -> None:
    """`fill` for several sets of items: the model reads every different input once."""
    for target in targets:
        target.store.arrange(target.items)
    if isinstance(handle, Stored):
        for target in targets:
            segments = target.items.segments
            positions, owners = [s.position for s in segments], [s.item for s in segments]
            for key in target.keys:
                for items, tokens in handle.tokens(key, target.items.encoded, positions, owners):
                    _store_means(target, key, items, tokens)
        return
    numbers: dict[tuple[tuple[int, ...], tuple[int, ...] | None], int] = {}
    encoded: list[Encoded] = []
    uses: list[list[list[Segment]]] = [[] for _ in targets]
    for target, used in zip(targets, uses, strict=True):
        for row, segment in zip(target.items.encoded, target.items.segments, strict=True):
            if not len(segment.item):
                continue
            number = numbers.setdefault((row.ids, row.type_ids), len(encoded))
            if number == len(encoded):
                encoded.append(row)
            used += [[] for _ in range(number + 1 - len(used))]
            used[number].append(segment)
    wanted = dict.fromkeys(key for target in targets for key in target.keys)
    sites = [site if layer is None else f"{site}.{layer}" for site, layer in wanted]
    for indices, tensors, _ in stream(handle, encoded, sites, progress=progress):
        for target, used in zip(targets, uses, strict=True):
            here = [(b, s) for b, i in enumerate(indices) if i < len(used) for s in used[i]]
            if not here:
                continue
            batch = torch.from_numpy(np.concatenate([np.full(len(s.item), b) for b, s in here]))
            position = torch.from_numpy(np.concatenate([s.position for _, s in here]))
            items = np.concatenate([s.item for _, s in here])
            for key in target.keys:
                aligned = tensors[key].movedim(axes_of(key[0]).index("position"), 1)
                _store_means(target, key, items, aligned[batch, position])


def _store_means(target: Target, key: Key, items: IntArray, tokens: torch.Tensor) -> None:
    """Means over the tokens [token, ...] of each item; `items` [token] says whose they are, all of them."""
    rows, local = np.unique(items, return_inverse=True)
    row_of = torch.from_numpy(local.reshape(-1))
    count = torch.bincount(row_of, minlength=len(rows))[:, None]
    flat = tokens.flatten(1).float()
    sums = torch.zeros(len(rows), math.prod(flat.shape[1:])).index_add_(0, row_of, flat)
    target.store.write(key, rows, (sums / count).numpy())
