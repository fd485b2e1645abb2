"""`compare`: what fine-tuning changed, on the terminal and in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.shell import colours, guarded, out_file, out_folder, say, show, show_json
from interpret.errors import UsageError

if TYPE_CHECKING:
    from interpret.results.comparisons import Comparison

EPILOG = """
\b
Examples:
  interpret compare ./base ./tuned reviews.csv
  interpret compare ./base ./adapter reviews.csv --slice-column slice --out changed/
  interpret compare ./base ./tuned reviews.csv --parts weights,outputs --json
  interpret compare ./base ./tuned reviews.csv --report changed.html --locale zh
  interpret compare ./base ./tuned reviews.csv --probe-data dev.conllu --label upos

An adapter as TUNED is put on BASE and switched off and on: one copy in memory. The exit code is 4 when
nothing changed, neither weights nor outputs, so that there is nothing to conclude about.
"""

PAGE = "comparison.html"
ROWS = "comparison.csv"


@guarded
def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Folder or hub id of the model before fine-tuning.")],
    tuned: Annotated[
        str, typer.Argument(metavar="TUNED", help="The model after it: a folder or hub id, or an adapter's folder.")
    ],
    data: o.Data,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Some of weights, activations, attention, outputs, explanations; default: all."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"Folder for the record, {ROWS} and {PAGE}; default: nothing is written."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"One HTML file to write the report to; with --out also DIR/{PAGE}."),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option("--slice-column", metavar="NAME", help="Column that names slices; default: slice."),
    ] = None,
    activations: Annotated[
        int, typer.Option(min=0, metavar="N", help="Texts whose activations are compared, at most.")
    ] = 1000,
    attention: Annotated[int, typer.Option(min=0, metavar="N", help="The same for attention.")] = 100,
    explanations: Annotated[int, typer.Option(min=0, metavar="N", help="The same for explanations.")] = 40,
    method: Annotated[str, typer.Option(metavar="METHOD", help="Attribution method of the explanations.")] = "auto",
    probe_data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labelled words or texts for probes of both models, as for probe compare."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="LABEL", help="What the probes read: upos, feats.X, tree_depth, or a column."),
    ] = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    text_column: o.TextColumn = None,
    label_column: o.LabelColumn = None,
    label_map: o.LabelMap = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Compare a model with its fine-tuned version: weights, activations, attention, outputs, explanations."""
    from interpret.models.sources import locate_here, require_tokenizer
    from interpret.readers.tables import require
    from interpret.results.comparisons import PARTS

    # All that can be wrong with the request, before the libraries are imported and the models are loaded.
    wanted = None if parts is None else o.names(parts)
    there = [part for part in PARTS if part != "probes" or probe_data is not None]
    if unknown := sorted(set(wanted or ()) - set(there)):
        raise UsageError(f"--parts names {unknown[0]!r}; there are {', '.join(there)}")
    require(data)
    locate_here(base, "base model")
    locate_here(tuned, "tuned model")
    for each in (base, tuned):
        require_tokenizer(each)
    if probe_data is not None:
        require(probe_data)
    elif label is not None:
        raise UsageError("--label says what probes read; give their data with --probe-data FILE as well")
    if out is not None:
        out_folder(out, ROWS, PAGE)
    if report is not None:
        out_file(report, "--report")

    from interpret.facade.comparing import as_pair, compare_pair, probe_request

    probes = probe_request(probe_data, label, skip_bad_rows=skip_bad_rows)
    say(f"loading {base} and {tuned}")
    pair = as_pair(
        base,
        tuned,
        task=None if task is None else task.value,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    say(f"comparing on {data.name}")
    result = compare_pair(
        pair,
        data,
        text=text_column,
        label=label_column,
        slices=slices,
        seed=seed,
        limit=limit,
        parts=wanted,
        activations=activations,
        attention=attention,
        explanations=explanations,
        method=method,
        probes=probes,
        label_map=label_map,
        header=not no_header,
        columns=o.names(columns),
        skip_bad_rows=skip_bad_rows,
        progress=True,
    )
    finish(result, out, report, locale, as_json)


def finish(result: Comparison, out: Path | None, report: Path | None, locale: o.Locale, as_json: bool) -> None:
    """Write what was asked for, say what came of it, and exit with the code that says whether anything changed."""
    if out is not None:
        _write(result, out, locale)
    if report is not None:
        import reports

        reports.render_comparison(result, report, locale=locale.value)
    made = out if out is not None else report
    if as_json:
        facts: dict[str, Any] = {"path": None if made is None else str(made), "comparison": result.to_dict()}
        show_json(facts)
    else:
        from interpret.results.views import to_text

        show(to_text(result, locale=locale.value, colour=colours()), coloured=colours())
        if made is not None:
            show(str(made))
    if result.changed is False:
        raise typer.Exit(4)


def _write(result: Comparison, out: Path, locale: o.Locale) -> None:
    import reports

    result.save(out)
    result.to_frame().to_csv(out / ROWS, index=False)
    reports.render_comparison(result, out / PAGE, locale=locale.value)


def saved_comparison(folder: Path) -> Comparison | None:
    """The comparison that was saved to a folder; None where it holds an audit, or nothing."""
    from interpret.results.comparisons import Comparison

    if (folder / "audit.json").is_file() or not (folder / "comparison.json").is_file():
        return None
    return Comparison.load(folder)
