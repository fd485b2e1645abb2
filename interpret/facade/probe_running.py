"""A run of probes with its folder: found finished, gone on with, or begun anew."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from interpret.analyzers.probing.kept import KeptCells
from interpret.analyzers.probing.run import Probed, probe_tasks
from interpret.analyzers.probing.stored import Stored
from interpret.analyzers.probing.work import Request
from interpret.auditing.identity import versions
from interpret.capture.store import Store, open_store
from interpret.capture.store.layout import locked
from interpret.errors import InterpretError, UsageError
from interpret.facade.attaching import as_model, is_given_store
from interpret.facade.probe_files import CELLS, Figure, differences, figure_stems, is_whole, read_manifest, write_files
from interpret.models.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from interpret.models.handle import Handle
from interpret.readers.probe_data import ProbeData
from interpret.results.probe_grid import ProbeGrid
from interpret.results.probe_views import probe_plot
from interpret.results.probes import ProbeResult
from interpret.results.tree import say

Task = tuple[ProbeData, ProbeData | None]
#: Options that decide which cells there are, not what is in one.
_WHICH: Final = ("sites", "random_weights")


def run_probes(
    source: Handle | Stored,
    tasks: Sequence[Task],
    *,
    grid: bool,
    out: Path | None,
    progress: bool = True,
    **options: Any,
) -> ProbeResult | ProbeGrid:
    """Probe every task, and keep the run in `out` if there is one; with `grid` the results come as one record.

    A finished run of the same model, data, options and versions is read, not repeated; one that was stopped goes on
    with the cells that are missing; another one is replaced, cells that it shares with this one are kept.

    Raises:
        UsageError: no task, or two of the same name; or `out` holds something else.
    """
    names = [train.task for train, _ in tasks]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"the labels to probe are {', '.join(names) or 'none'}; name at least one, each once")

    # A seed that numpy drew is a seed; JSON would not have it.
    options = {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}

    def record(probed: Sequence[Probed]) -> ProbeResult | ProbeGrid:
        return ProbeGrid(results=tuple(one.result for one in probed)) if grid else probed[0].result

    if out is None:
        return record(probe_tasks(source, tasks, progress=progress, **options))
    out.mkdir(parents=True, exist_ok=True)
    asked = _asked(source, tasks, options)
    with locked(out, "probe run"):
        finished = _finished(out, asked, ProbeGrid if grid else ProbeResult, progress)
        if finished is not None:
            return finished
        kept = KeptCells(out / CELLS)
        facts = {key: value for key, value in asked.items() if key != "data"}
        facts["options"] = {key: value for key, value in asked["options"].items() if key not in _WHICH}
        probed = probe_tasks(source, tasks, progress=progress, request=Request(facts, kept), **options)
        if kept.n_read:
            _tell(progress, f"{kept.n_read} of {kept.n_read + kept.n_written} cells were in {out} already")
        kept.drop_others()
        _write(out, record(probed), probed, asked)
    return record(probed)


def _finished(
    out: Path, asked: Mapping[str, Any], kind: type[ProbeResult | ProbeGrid], progress: bool
) -> ProbeResult | ProbeGrid | None:
    """The record of a whole run of the same request, None where there is something to do."""
    found = read_manifest(out)
    if found is None:
        return None
    changed = list(differences(found.get("request", {}), asked))
    if changed:
        _tell(progress, f"{out} holds another run ({', '.join(changed)} changed), which this one replaces")
        return None
    if not is_whole(out, found):
        return None
    try:
        record = kind.load(out)
    except InterpretError:
        return None
    _tell(progress, f"{out} holds this run: nothing is left to do")
    return record


def _results(record: ProbeResult | ProbeGrid) -> tuple[ProbeResult, ...]:
    return (record,) if isinstance(record, ProbeResult) else record.results


def _tell(progress: bool, message: str) -> None:
    if progress:
        from tqdm import tqdm

        tqdm.write(f"probe: {message}", file=sys.stderr)


def _asked(source: Handle | Stored, tasks: Sequence[Task], options: Mapping[str, Any]) -> dict[str, Any]:
    """All that the run depends on, as JSON gives it back."""
    request = {
        "model": model_facts(source),
        "data": {train.task: [digest_of(train), None if test is None else digest_of(test)] for train, test in tasks},
        "options": dict(options),
        "versions": versions(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(request))
    return plain


def source_of(model: Any) -> Handle | Stored:
    """The attached model; or the stores, given open or as the folders that a capture wrote."""
    several = list(model) if isinstance(model, list | tuple) else [model]
    if several and all(map(is_given_store, several)):
        return Stored([one if isinstance(one, Store) else open_store(one) for one in several])
    return as_model(model).handle


def model_facts(source: Handle | Stored) -> dict[str, Any]:
    """Which model it is, and how it runs or ran."""
    if isinstance(source, Stored):
        return source.facts()
    return {
        "name": source.name,
        "weights_sha256": weights_sha256(source.core),
        "config_sha256": config_sha256(source),
        "tokenizer_sha256": tokenizer_sha256(source),
        "dtype": source.run_dtype,
        "device": source.device.type,
        "max_length": source.max_length,
    }


def digest_of(data: ProbeData) -> str:
    """SHA-256 of the texts, words and labels of data, its name and its task."""
    return hashlib.sha256(json.dumps(vars(data), ensure_ascii=True).encode()).hexdigest()


def _write(folder: Path, record: ProbeResult | ProbeGrid, probed: Sequence[Probed], asked: Mapping[str, Any]) -> None:
    results = _results(record)
    frame = record.to_frame()
    frame["seed"] = results[0].seed
    tensors = {}
    for one in probed:
        for (site, layer, probe), fitted in one.rows.fitted.items():
            place = site if layer is None else f"{site}.{layer}"
            for part, array in fitted._asdict().items():
                tensors[f"{one.result.task}/{place}/{probe}/{part}"] = array
    write_files(
        folder,
        record,
        frame=frame,
        probes=tensors,
        classes={result.task: result.classes for result in results},
        summary={"model": asked["model"]["name"], "tasks": {result.task: _summary(result) for result in results}},
        figures=_figures(results),
        facts={"request": asked},
    )


def _summary(result: ProbeResult) -> dict[str, Any]:
    return {
        "level": result.level,
        "n_classes": len(result.classes),
        "n_train": result.n_train,
        "n_validation": result.n_validation,
        "n_test": result.n_test,
        "n_sentences_test": result.n_clusters_test,
        "best": {name: None if best is None else best._asdict() for name, best in result.best.items()},
    }


def _figures(results: Sequence[ProbeResult]) -> list[Figure]:
    """One for each task and site that has layers."""
    drawn = []
    for result in results:
        for site in sorted({row.site for row in result.rows if row.layer is not None and row.site != "embed"}):
            plot = probe_plot(result, site)
            if plot is not None:
                drawn.append(((result.task, site), plot))
    stems = figure_stems([named for named, _ in drawn])
    return [
        Figure(stem, plot, say("probe.figure_alt", task=task, n=len(plot.layers)))
        for stem, ((task, _), plot) in zip(stems, drawn, strict=True)
    ]
