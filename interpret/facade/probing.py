"""Two models probed on the same items, and what a run of probes will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from interpret.analyzers.probing.compare import Compared, check_comparison
from interpret.analyzers.probing.compare import compare_probes as run_comparison
from interpret.analyzers.probing.planning import plan_probes as run_plan
from interpret.errors import UsageError
from interpret.facade.attaching import ModelLike, as_model
from interpret.facade.probe_files import Figure, read_manifest, write_files
from interpret.readers.probe_data import ProbeData, limited, read_probe_data
from interpret.readers.probe_splits import arranged
from interpret.results.probe_comparison import ProbeComparison
from interpret.results.probe_plans import ProbePlan
from interpret.results.tree import say


def read_parts(
    data: Any, test: Any | None, label: str | None = None, **options: Any
) -> tuple[ProbeData, ProbeData | None]:
    """Training and test data, from two files or by a column of splits; `options` are those of `read_probe_data`.

    The words of `word_content` are those of the first.
    """
    limit = options.pop("limit", None)
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    train = read_probe_data(data, label, **options)
    words = sorted({name for row in train.labels for name in row if name}) if label == "word_content" else None
    held_out = None if test is None else read_probe_data(test, label, vocabulary=words, **options)
    train, held_out = arranged(train, held_out)
    return limited(train, limit), None if held_out is None else limited(held_out, limit)


def compare_probes(
    base: ModelLike,
    tuned: ModelLike,
    data: Any,
    test: Any | None = None,
    *,
    label: str | None = None,
    text: str | None = None,
    sites: Sequence[str] = ("embed", "resid_post"),
    seed: int = 0,
    limit: int | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    n_control: int = 5,
    n_bootstrap: int = 1000,
    out: str | Path | None = None,
    progress: bool = True,
) -> ProbeComparison:
    """What fine-tuning changed in what can be read off each layer: paired differences with intervals, Holm over all.

    Args:
        base: the model before: attached, path, hub id or pipeline.
        tuned: the model after.
        data: labelled words or texts, as for `probe`.
        test: data to test on; None splits `data` by sentence.
        label: the label, as for `probe`; None takes `upos` or the usual column.
        text: text column of a table; None guesses.
        sites: sites to probe.
        seed: of splits, control labels, bootstraps and sign flips.
        limit: read at most so many sentences.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: count bad rows instead of stopping at the first.
        n_control: control tasks.
        n_bootstrap: bootstrap replicates.
        out: folder for results.parquet, summary.json, manifest.json, probes.safetensors and figures; measured
            cells are kept there under a hash of all they depend on, so that a stopped run goes on.
        progress: show bars.

    Raises:
        UsageError: no site and layer that both models have, or labels that are not one class for each item.
        InconclusiveError: too little data, or one class only.
    """
    how: dict[str, Any] = {
        "header": header,
        "columns": columns,
        "skip_bad_rows": skip_bad_rows,
        "limit": limit,
        "text": text,
    }
    train, held_out = read_parts(data, test, label, **how)
    check_comparison(train, held_out, n_control)
    folder = None if out is None else Path(out)
    if folder is not None:
        # What is in the way is said before anything runs.
        read_manifest(folder)
    compared = run_comparison(
        as_model(base).handle,
        as_model(tuned).handle,
        train,
        held_out,
        sites=sites,
        seed=seed,
        n_control=n_control,
        n_bootstrap=n_bootstrap,
        folder=None if folder is None else folder / "cells",
        progress=progress,
    )
    if folder is not None:
        _write(compared, folder)
    return compared.record


def plan_probes(
    model: ModelLike,
    data: Any,
    test: Any | None = None,
    *,
    label: str | None = None,
    text: str | None = None,
    sites: Sequence[str] = ("embed", "resid_post"),
    seed: int = 0,
    limit: int | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    codes: Literal["none", "task", "all"] = "task",
    random_weights: bool | None = None,
) -> ProbePlan:
    """Cells, bytes and seconds of `probe` with the same arguments; a few sentences are run to know.

    Raises:
        InconclusiveError: too little data for probes.
    """
    how: dict[str, Any] = {
        "header": header,
        "columns": columns,
        "skip_bad_rows": skip_bad_rows,
        "limit": limit,
        "text": text,
    }
    train, held_out = read_parts(data, test, label, **how)
    lm = as_model(model)
    return run_plan(lm.handle, train, held_out, sites=sites, seed=seed, codes=codes, random_weights=random_weights)


def _write(compared: Compared, folder: Path) -> None:
    """The record and its files for other programs."""
    from interpret.results.probe_comparison_views import comparison_plot

    record = compared.record
    tensors = {}
    for name, cells in (("base", compared.base), ("tuned", compared.tuned)):
        for (site, layer), cell in cells.items():
            for part in ("weights", "intercept", "mean", "deviation"):
                tensors[f"{name}/{_place(site, layer)}/{part}"] = getattr(cell, part)
    plot = comparison_plot(record)
    alt = say("probe_compare.figure_alt", task=record.task, n=0 if plot is None else len(plot.layers))
    write_files(
        folder,
        record,
        frame=record.to_frame(),
        probes=tensors,
        classes=record.classes,
        summary={
            "base": record.base,
            "tuned": record.tuned,
            "task": record.task,
            "n_test": record.n_test,
            "n_sentences": record.n_clusters_test,
            "n_rows": len(record.rows),
            "changed": [vars(row) for row in record.changed()],
        },
        figures=() if plot is None else (Figure("layers", plot, alt),),
        facts={"content_sha256": record.content_sha256, "seed": record.seed},
    )


def _place(site: str, layer: int | None) -> str:
    return site if layer is None else f"{site}.{layer}"
