"""What `probe run` does with its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from interpret.cli import options as o
from interpret.cli.models import load_model
from interpret.cli.probe_options import READING, look_at, reading
from interpret.cli.shell import out_file, out_folder, show, show_json
from interpret.errors import UsageError

if TYPE_CHECKING:
    from interpret.results.audits import Check
    from interpret.results.probe_grid import ProbeGrid
    from interpret.results.probes import ProbeResult


def run_probes(given: Mapping[str, Any], *, as_json: bool) -> None:
    """Check the options before anything is loaded, probe, show, and exit with the code of the criteria."""
    import interpret

    model, data, stores = _subject(given)
    test, out, junit = (given[name] for name in ("test", "out", "junit"))
    labels = o.listed(given["label"])
    read = reading(*(given[name] for name in READING))
    how = {
        "text": given["text_column"],
        "header": not given["no_header"],
        "columns": o.names(given["columns"]),
        "skip_bad_rows": given["skip_bad_rows"],
        "limit": given["limit"],
    }
    first: list[str | None] = [None]
    tasks = [look_at(data, test, label, **how, **read) for label in labels or first]
    if given["require"] is not None:
        from interpret.results.probe_criteria import parse_criterion

        for written in given["require"]:
            parse_criterion(written, tasks)
    if out is not None:
        out_folder(out, "results.parquet")
    if junit is not None:
        out_file(junit, "--junit")
    asked: dict[str, Any] = dict(read)
    if labels:
        asked["label"] = labels[0] if len(labels) == 1 else labels
    if given["sites"] is not None:
        asked["sites"] = o.listed(given["sites"])
    if given["probes"] is not None:
        asked["probes"] = o.listed(given["probes"])
    if given["codes"] is not None:
        asked["codes"] = str(given["codes"])
    source: Any = stores
    if not stores:
        options = ("adapter", "revision", "task", "device", "dtype", "trust_remote_code")
        source = load_model(model, **{name: given[name] for name in options})
    result = interpret.probe(
        source,
        data,
        test,
        seed=given["seed"],
        n_control=given["controls"],
        n_bootstrap=given["bootstraps"],
        out=out,
        **how,
        **asked,
    )
    _finish(result, given, as_json)


def _subject(given: Mapping[str, Any]) -> tuple[str, Path, list[Any]]:
    """Model and data; with stores the model is left out, so that the only argument is the data."""
    model, data, folders = given["model"], given["data"], given["store"]
    if folders:
        from interpret.capture.store import open_store

        if model is not None and data is not None:
            raise UsageError("--store stands in the place of MODEL, and both were given; name DATA alone")
        data = Path(model) if data is None and model is not None else data
        model = "" if data is not None else None
    if model is None or data is None:
        missing = "DATA is" if model is not None or folders else "MODEL and DATA are"
        raise UsageError(
            f"{missing} missing; name {'it' if missing == 'DATA is' else 'both'}, or set model and data in the file "
            'of --config; see "interpret probe run -h"'
        )
    return model, data, [open_store(folder) for folder in folders or ()]


def _finish(result: ProbeResult | ProbeGrid, given: Mapping[str, Any], as_json: bool) -> None:
    from interpret.results.audits import exit_code
    from interpret.results.store import to_plain
    from interpret.results.views import to_text

    out, junit = given["out"], given["junit"]
    if not as_json:
        # Before the criteria, of which one may name what was not measured: that must not hide what was.
        show(to_text(result))
    checks: tuple[Check, ...] = () if given["require"] is None else result.judged(*given["require"])
    if junit is not None:
        from interpret.cli.auditing import write_junit

        write_junit(junit, checks, _title(result), o.Locale.EN)
    code = exit_code(checks)
    if as_json:
        path = None if out is None else str(out)
        show_json({"path": path, "exit_code": code, "checks": to_plain(checks), "probe": result.to_dict()})
    else:
        if checks:
            from reports.checks import check_text

            show(check_text(checks, _title(result)))
        if out is not None:
            show(str(out))
    raise typer.Exit(code)


def _title(result: ProbeResult | ProbeGrid) -> str:
    tasks = getattr(result, "tasks", None) or (getattr(result, "task", ""),)
    return f"Probes for {', '.join(tasks)}"
