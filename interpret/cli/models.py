"""`info`, and how every command comes by its model and its texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.shell import guarded, records, say, show, show_json
from interpret.errors import UsageError

if TYPE_CHECKING:
    from interpret.facade import AttachedModel
    from interpret.readers.tables import Table

INFO_EPILOG = """
\b
Examples:
  interpret info ./model --json
  interpret info --families
"""


def load_model(
    model: str,
    *,
    adapter: str | None,
    revision: str | None,
    task: o.Task | None,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    texts: bool = True,
) -> AttachedModel:
    """Load and attach the model that the shared options describe; for `texts` it needs a tokenizer."""
    import interpret
    from interpret.models.sources import locate_here, require_tokenizer

    # Looked for before the libraries are imported, which takes seconds.
    locate_here(model, "model")
    if adapter is not None:
        locate_here(adapter, "adapter")
    if texts:
        require_tokenizer(model)
    say(f"loading {model}")
    return interpret.load(
        model,
        adapter=adapter,
        revision=revision,
        task=None if task is None else task.value,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )


def read_texts(
    data: Path,
    *,
    text_column: str | None,
    label_column: str | None,
    no_header: bool,
    columns: str | None,
    skip_bad_rows: bool,
    limit: int | None,
) -> tuple[Table, list[str], str | None]:
    """Read the table, its first `limit` texts and the name of its label column, if it has one."""
    from interpret.readers.columns import pick_columns
    from interpret.readers.tables import read_table

    table = read_table(data, header=not no_header, columns=o.names(columns), skip_bad_rows=skip_bad_rows)
    text, label = pick_columns(table, text_column, label_column)
    if not any(written.strip() for written in table.column(text)):
        raise UsageError(f"{table.name} has no text in column {text!r}; name another with --text-column")
    say_bad_rows(table)
    return table, list(table.column(text)[:limit]), label


def say_bad_rows(table: Table) -> None:
    """Say how many rows were left out, if any were."""
    if table.bad_rows:
        first = table.bad_rows[0].line
        say(f"left out {len(table.bad_rows)} bad rows of {table.name}, the first at line {first}")


@guarded
def info(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Folder or hub id of the model.")] = None,
    families: Annotated[
        bool, typer.Option("--families", help="Show which sites are there for which family of models, and why not.")
    ] = False,
    adapter: o.Adapter = None,
    revision: o.Revision = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Show a model's family, sizes, labels and the sites it has; or what is there for every family."""
    if (model is None) != families:
        raise UsageError(
            "there is nothing to show: give a MODEL, or --families for the table of all families"
            if model is None
            else "--families shows the table of all families and takes no MODEL; give one or the other"
        )
    if model is None:
        from interpret.models.families_table import as_lines, read_table

        table = read_table()
        if as_json:
            show_json(table)
            return
        for line in as_lines(table):
            show(line)
        return
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        texts=False,
    )
    facts, sites = lm.info(), lm.sites()
    if as_json:
        show_json({**facts, "sites": records(sites)})
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        show(f"{name:<{width}}  {_fact(value)}")
    show("")
    for line in _site_lines(records(sites)):
        show(line)


def _site_lines(sites: list[dict[str, Any]]) -> list[str]:
    """One line per site, with its layers, axes and shape, or the reason why it is not there."""
    layers: dict[str, list[int]] = {}
    shown: dict[str, str] = {}
    for row in sites:
        site = row["site"]
        layers.setdefault(site, []).extend([] if row["layer"] is None else [int(row["layer"])])
        sizes = ("-" if n is None else str(n) for n in row["shape"] or ())
        shape = ", ".join(f"{axis} {n}" if n != "-" else axis for axis, n in zip(row["axes"], sizes, strict=False))
        shown[site] = shape if row["available"] else f"not available: {row['reason']}"
    width = max(12, *map(len, shown))
    lines = [f"{'site':<{width}}  layers  axes"]
    for site, text in shown.items():
        span = f"{min(layers[site])}-{max(layers[site])}" if layers[site] else ""
        lines.append(f"{site:<{width}}  {span:<6}  {text}")
    return lines


def _fact(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
