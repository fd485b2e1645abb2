"""Two models, the same items: what fine-tuning changed in what can be read off each layer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.cells import ProbeCell, digest_of_parts, measure_cells
from interpret.analyzers.probing.features import make_items, probe_keys
from interpret.analyzers.probing.leaks import leaks
from interpret.analyzers.probing.parts import Parts, check_kind, check_request, make_parts
from interpret.analyzers.probing.uncertainty import ClusterBootstrap
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.readers.probe_data import ProbeData
from interpret.readers.probe_splits import n_duplicates, n_shared
from interpret.results.probe_comparison import ComparedMetric, ComparedProbe, ProbeComparison
from interpret.results.record import Message
from interpret.sites import Key
from interpret.statistics.multiple import holm, sign_flip_p

FloatArray = npt.NDArray[np.float64]


class Compared(NamedTuple):
    """The record, and each model's probes by place (`base` and `tuned`)."""

    record: ProbeComparison
    base: dict[Key, ProbeCell]
    tuned: dict[Key, ProbeCell]


def check_comparison(train: ProbeData, test: ProbeData | None, n_control: int = 5) -> None:
    """Refuse data that cannot be compared on, which needs no model to be seen.

    Raises:
        UsageError: labels that are not one class for each item, or data of two levels.
    """
    check_request(train, test, ("ridge", "logistic"), n_control, "none")
    check_kind(train)


def compare_probes(
    base: Handle,
    tuned: Handle,
    train: ProbeData,
    test: ProbeData | None = None,
    *,
    sites: Sequence[str] | str = ("embed", "resid_post"),
    seed: int = 0,
    n_control: int = 5,
    n_bootstrap: int = 1000,
    folder: Path | None = None,
    progress: bool = True,
    as_base: AbstractContextManager[object] | None = None,
) -> Compared:
    """Probes of both models at the same sites and layers, trained and tested on the same items.

    A difference shows that a label became easier or harder to read linearly there, not that the model uses it more or
    less. Items that either model cut off are left out for both. Layers pair by number; those that only one model has
    are left out and counted. Control tasks are the same for both, so selectivity pairs too.

    Args:
        base: the model before.
        tuned: the model after.
        train: labelled words or texts.
        test: what to test on; None splits `train` by sentence.
        sites: sites to probe.
        seed: of split, controls, bootstrap and sign flips.
        n_control: control tasks.
        n_bootstrap: replicates, over sentences and the same for all rows.
        folder: where measured cells are kept, so that a run that was stopped goes on; None keeps none.
        progress: whether to show bars.
        as_base: what turns the base on, where both are one model whose adapter is switched; nothing is kept in
            `folder` then, for its cells are told apart by weights.

    Raises:
        UsageError: no site and layer that both models have, or labels that are not one class for each item.
        InconclusiveError: too little data.
    """
    check_comparison(train, test, n_control)
    all_keys = [probe_keys(handle, sites) for handle in (base, tuned)]
    keys = [key for key in all_keys[0] if key in set(all_keys[1])]
    if not keys:
        raise UsageError(f"{base.name} and {tuned.name} share none of the sites and layers asked for; name others")
    n_alone = sum(len(found) for found in all_keys) - 2 * len(keys)
    train, lost = _seen_by_both(base, tuned, train)
    if test is not None:
        test, more = _seen_by_both(base, tuned, test)
        lost += more
    parts = [make_parts(handle, train, test, seed, n_control) for handle in (base, tuned)]
    wanted = [site if layer is None else f"{site}.{layer}" for site, layer in keys]
    kept = folder if as_base is None else None
    with as_base or nullcontext():
        before = measure_cells(base, parts[0], keys, wanted, kept, "probe: base" if progress else None)[0]
    after = measure_cells(tuned, parts[1], keys, wanted, kept, "probe: tuned" if progress else None)[0]
    found = [before, after]
    rows = _rows(parts[0], keys, found[0], found[1], n_bootstrap, seed)
    notes = [Message(code="probe_compare_lost", params={"n": lost})] if lost else []
    if n_alone:
        notes.append(Message(code="probe_compare_layers_alone", params={"n": n_alone}))
    notes += [] if test is None else leaks(train, test)
    if not_converged := sum(not cell.converged[0] for cells in found for cell in cells.values()):
        notes.append(Message(code="probe_not_converged", params={"n": not_converged}))
    first = parts[0]
    record = ProbeComparison(
        rows=rows,
        base=base.name,
        tuned=tuned.name,
        task=train.task,
        level=train.level,
        classes=first.classes,
        n_train=first.n_train,
        n_validation=first.n_fit - first.n_train,
        n_test=len(first.items) - first.n_fit,
        n_clusters_test=len(np.unique(first.cluster[first.test])),
        n_duplicate_sentences=0 if test is None else n_shared(train, test),
        n_duplicate_train_sentences=n_duplicates(train),
        n_control_seeds=n_control,
        seed=seed,
        content_sha256=digest_of_parts(first),
        notes=tuple(notes),
    )
    return Compared(record, found[0], found[1])


def _seen_by_both(base: Handle, tuned: Handle, data: ProbeData) -> tuple[ProbeData, int]:
    """The data with labels only where both models saw the whole item, and how many items that cost."""
    seen = []
    for handle in (base, tuned):
        items = make_items(handle, data)
        seen.append(set(zip(items.sentence.tolist(), items.place.tolist(), strict=True)))
    both = seen[0] & seen[1]
    labels = tuple(
        tuple(name if (s, w) in both else None for w, name in enumerate(row)) for s, row in enumerate(data.labels)
    )
    return replace(data, labels=labels), data.n_items - len(both)


def _values(cell: ProbeCell) -> dict[tuple[str, ComparedMetric], FloatArray]:
    """Per test item, what each row is the mean of."""
    return {
        ("ridge", "accuracy"): cell.ridge,
        ("ridge", "selectivity"): cell.ridge - cell.control,
        ("logistic", "accuracy"): cell.logistic,
        ("logistic", "log2_probability"): cell.bits,
    }


def _rows(
    parts: Parts,
    keys: Sequence[Key],
    base: dict[Key, ProbeCell],
    tuned: dict[Key, ProbeCell],
    n_bootstrap: int,
    seed: int,
) -> tuple[ComparedProbe, ...]:
    bootstrap = ClusterBootstrap(parts.cluster[parts.test], n_bootstrap, seed)
    known = parts.known
    rows: list[ComparedProbe] = []
    columns: list[FloatArray] = []
    for key in keys:
        before, after = _values(base[key]), _values(tuned[key])
        for probe, metric in before:
            keep = known if metric == "log2_probability" else np.ones(len(known), dtype=np.bool_)
            pair = [np.where(keep, side[probe, metric], 0.0) for side in (before, after)]
            difference = pair[1] - pair[0]
            found = bootstrap.mean(difference, keep)
            if found.value is None or found.low is None or found.high is None:
                continue
            means = [float(values[keep].mean()) for values in pair]
            columns.append(difference)
            rows.append(
                ComparedProbe(
                    site=key[0],
                    layer=key[1],
                    probe="ridge" if probe == "ridge" else "logistic",
                    metric=metric,
                    base=means[0],
                    tuned=means[1],
                    difference=found.value,
                    ci_low=found.low,
                    ci_high=found.high,
                    p=1.0,
                    p_holm=1.0,
                    n=int(keep.sum()),
                )
            )
    p = sign_flip_p(bootstrap.totals(np.stack(columns, axis=1)), seed=seed)
    adjusted = holm(p).tolist()
    return tuple(replace(row, p=float(p[i]), p_holm=adjusted[i]) for i, row in enumerate(rows))
