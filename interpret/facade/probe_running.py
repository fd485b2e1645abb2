"""A run of probes with its folder: found finished, gone on with, or begun anew."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from interpret.analyzers.probing.kept import KeptCells
from interpret.analyzers.probing.run import Probed, probe_tasks
from interpret.analyzers.probing.work import Request
from interpret.auditing.identity import versions
from interpret.capture.store.layout import locked
from interpret.errors import InterpretError
from interpret.facade.probe_files import CELLS, Figure, differences, is_whole, read_manifest, stem_of, write_files
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


class _Kind(NamedTuple):
    """Of one label the result itself, of several a grid of them."""

    one: bool

    def record(self, results: Sequence[ProbeResult]) -> ProbeResult | ProbeGrid:
        return results[0] if self.one else ProbeGrid(results=tuple(results))

    def load(self, folder: Path) -> ProbeResult | ProbeGrid:
        return ProbeResult.load(folder) if self.one else ProbeGrid.load(folder)


def run_probes(
    source: Handle, tasks: Sequence[Task], *, out: Path | None, progress: bool = True, **options: Any
) -> tuple[ProbeResult, ...]:
    """Probe every task, and keep the run in `out` if there is one.

    A finished run of the same model, data, options and versions is read, not repeated; one that was stopped goes on
    with the cells that are missing; another one is replaced, cells that it shares with this one are kept.
    """
    if out is None:
        return tuple(one.result for one in probe_tasks(source, tasks, progress=progress, **options))
    out.mkdir(parents=True, exist_ok=True)
    kind = _Kind(len(tasks) == 1)
    asked = _asked(source, tasks, options)
    with locked(out, "probe run"):
        found = read_manifest(out)
        if found is not None:
            changed = list(differences(found.get("request"), asked))
            if not changed and is_whole(out, found):
                try:
                    record = kind.load(out)
                except InterpretError:
                    pass
                else:
                    _tell(progress, f"{out} holds this run: nothing is left to do")
                    return _results(record)
            if changed:
                _tell(progress, f"{out} holds another run ({', '.join(changed)} changed): begun anew")
        kept = KeptCells(out / CELLS)
        facts = {key: value for key, value in asked.items() if key != "data"}
        facts["options"] = {key: value for key, value in asked["options"].items() if key not in _WHICH}
        probed = probe_tasks(source, tasks, progress=progress, request=Request(facts, kept), **options)
        if kept.n_read:
            _tell(progress, f"{kept.n_read} of {kept.n_read + kept.n_written} cells were in {out} already")
        kept.drop_others()
        record = kind.record([one.result for one in probed])
        _write(out, record, probed, asked)
    return _results(record)


def _results(record: ProbeResult | ProbeGrid) -> tuple[ProbeResult, ...]:
    return (record,) if isinstance(record, ProbeResult) else record.results


def _tell(progress: bool, message: str) -> None:
    if progress:
        from tqdm import tqdm

        tqdm.write(f"probe: {message}", file=sys.stderr)


def _asked(source: Handle, tasks: Sequence[Task], options: Mapping[str, Any]) -> dict[str, Any]:
    """All that the run depends on, as JSON gives it back."""
    request = {
        "model": model_facts(source),
        "data": {train.task: [digest_of(train), None if test is None else digest_of(test)] for train, test in tasks},
        "options": dict(options),
        "versions": versions(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(request))
    return plain


def model_facts(source: Handle) -> dict[str, Any]:
    """Which model it is, and how it runs."""
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
        figures=[figure for result in results for figure in _figures(result)],
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


def _figures(result: ProbeResult) -> Iterator[Figure]:
    """One for each site that has layers."""
    sites = sorted({row.site for row in result.rows if row.layer is not None and row.site != "embed"})
    for site in sites:
        plot = probe_plot(result, site)
        if plot is not None:
            alt = say("probe.figure_alt", task=result.task, n=len(plot.layers))
            yield Figure(stem_of(result.task, site), plot, alt)
