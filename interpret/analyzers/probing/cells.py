"""What one model's probes predict at one place, per test item; kept by a hash of all it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.features import FeatureStore, fill
from interpret.analyzers.probing.kept import read_arrays, write_arrays
from interpret.analyzers.probing.logistic import fit_logistic_path
from interpret.analyzers.probing.parts import Parts
from interpret.analyzers.probing.ridge import choose, moments, ridge_path
from interpret.models.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from interpret.models.handle import Handle
from interpret.sites import Key

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

#: Changes when a cell means something else than before; old cells are then measured anew.
_FORMAT: Final = 1


@dataclass(frozen=True)
class ProbeCell:
    """Predictions of one place, per test item, and the logistic probe that made them.

    `ridge` and `logistic` are hits (0 or 1), `control` the mean hit of ridge on the control tasks, `bits` the log2
    probability that the logistic probe gave the label (NaN where training never had it).

    `weights` [d, class], `intercept` [class], `mean` and `deviation` [d] are the logistic probe: it reads
    (x - mean) / deviation. `converged` is 0 when its steps ran out.
    """

    ridge: FloatArray
    control: FloatArray
    logistic: FloatArray
    bits: FloatArray
    weights: Float32Array
    intercept: Float32Array
    mean: Float32Array
    deviation: Float32Array
    converged: FloatArray


def digest_of_parts(parts: Parts) -> str:
    """SHA-256 of what is probed: the sentences as read, token by token, items, labels, controls, parts and clusters.

    Texts alone would not do: the same text may be cut into other words, or off at another length. Intervals hang on
    the clusters, which other groups of the same sentences change.
    """
    items = parts.items
    digest = hashlib.sha256()
    read = [[row.text, row.ids] for row in items.encoded]
    written = [read, items.label, items.form, parts.classes, parts.n_train, parts.n_fit]
    digest.update(json.dumps(written, ensure_ascii=True).encode())
    given = () if parts.values is None else (parts.values,)
    tokens = [array for segment in items.segments for array in (segment.position, segment.item)]
    for array in (items.sentence, items.place, parts.labels, parts.cluster, *given, *tokens):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def measure_cells(
    handle: Handle,
    parts: Parts,
    keys: Sequence[Key],
    sites: Sequence[str] | str,
    folder: Path | None = None,
    progress: str | None = None,
) -> tuple[dict[Key, ProbeCell], dict[Key, str]]:
    """Cells by (site, layer), and the hash of each.

    With `folder`, cells that lie there under their hash are read instead of measured, and new ones are put there, each
    whole or not at all; a damaged one is measured again.
    """
    who = [weights_sha256(handle.core), config_sha256(handle), tokenizer_sha256(handle), digest_of_parts(parts)]
    hashes = {key: hashlib.sha256(json.dumps([_FORMAT, *who, *key]).encode()).hexdigest() for key in keys}
    cells: dict[Key, ProbeCell] = {}
    if folder is not None:
        for key in keys:
            found = _read(folder / f"{hashes[key]}.cell")
            if found is not None:
                cells[key] = found
    missing = [key for key in keys if key not in cells]
    if missing:
        wanted = [site if layer is None else f"{site}.{layer}" for site, layer in missing]
        with FeatureStore(len(parts.items), len(missing)) as store:
            fill(store, handle, parts.items, wanted, progress)
            for key in missing:
                cells[key] = _cell(parts, store, key)
                store.drop(key)
                if folder is not None:
                    write_arrays(folder / f"{hashes[key]}.cell", vars(cells[key]))
    return {key: cells[key] for key in keys}, hashes


def _cell(parts: Parts, store: FeatureStore, key: Key) -> ProbeCell:
    X = store.standardise(key, parts.n_train)
    n_classes, gold = len(parts.classes), parts.labels[0]
    fit, held = slice(0, parts.n_train), slice(parts.n_train, parts.n_fit)
    sums = moments(X[fit], parts.labels[:, fit], n_classes)
    lambdas = choose(ridge_path(sums).accuracies(X[held], parts.labels[:, held]))
    path = ridge_path(sums + moments(X[held], parts.labels[:, held], n_classes))
    right = np.stack(
        [path.predict(X[parts.test], lam, t) == parts.labels[t, parts.test] for t, lam in enumerate(lambdas)]
    ).astype(np.float64)
    found, _ = fit_logistic_path(X[: parts.n_fit], gold[: parts.n_fit], parts.n_train, path)
    log_p = found.log_probabilities(X[parts.test])
    own = gold[parts.test]
    bits = np.where(parts.known, log_p[np.arange(len(own)), own] / np.log(2), np.nan)
    mean, deviation = store.scaling[key]
    return ProbeCell(
        right[0],
        right[1:].mean(axis=0),
        (log_p.argmax(axis=1) == own).astype(np.float64),
        bits,
        found.weights.astype(np.float32),
        found.intercept.astype(np.float32),
        mean.astype(np.float32),
        deviation.astype(np.float32),
        np.array([float(found.converged)]),
    )


def _read(path: Path) -> ProbeCell | None:
    found = read_arrays(path)
    try:
        return None if found is None else ProbeCell(**found[0])
    except TypeError:
        return None
