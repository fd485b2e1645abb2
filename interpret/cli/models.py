"""`info` and `attribute`: one model, looked at directly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.shell import guarded, out_file, out_folder, records, say, show, show_json
from interpret.errors import UsageError

if TYPE_CHECKING:
    from interpret.facade import AttachedModel
    from interpret.readers.tables import Table
    from interpret.results.explanations import Attribution

INFO_EPILOG = """
\b
Examples:
  interpret info ./model --json
  interpret info --families
"""

ATTRIBUTE_EPILOG = """
\b
Examples:
  interpret attribute ./model --text "A film to see twice."
  interpret attribute ./model reviews.csv --limit 20 --out attribution.html
  interpret attribute ./model reviews.csv --target positive --method integrated_gradients --out scores.csv
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
) -> AttachedModel:
    """Load and attach the model that the shared options describe."""
    import interpret
    from interpret.models.sources import locate_here

    # Looked for before the libraries are imported, which takes seconds.
    locate_here(model, "model")
    if adapter is not None:
        locate_here(adapter, "adapter")
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
    if table.bad_rows:
        first = table.bad_rows[0].line
        say(f"left out {len(table.bad_rows)} bad rows of {table.name}, the first at line {first}")
    return table, list(table.column(text)[:limit]), label


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


@guarded
def attribute(
    model: o.Model,
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="A table of texts; or give --text.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text to explain; may be given repeatedly.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(metavar="METHOD", help="Attribution method; auto picks by task and records what it picked."),
    ] = ("auto"),
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class to explain: its name or id, or gold (needs labels); default: the predicted one.",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Explain why --target rather than this class.", metavar="CLASS")
    ] = None,
    unit: Annotated[o.Unit, typer.Option(help="What gets one score.")] = o.Unit.WORD,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Measure how far the explanation can be trusted.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to .csv, .json, .html, or without an ending to a folder."),
    ] = None,
    adapter: o.Adapter = None,
    revision: o.Revision = None,
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
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Explain outputs word by word, with the measured quality of the explanation."""
    if (data is None) == (text is None):
        raise UsageError(
            "there is nothing to explain: give either --text or DATA"
            if data is None
            else "both --text and DATA were given: give either --text or DATA"
        )
    if target == "gold" and data is None:
        raise UsageError("--target gold explains the labels of DATA; with --text name a class")
    if against is not None and target in (None, "gold"):
        raise UsageError("--against needs a class to compare with: name it with --target")
    if out is not None and out.suffix not in ("", ".csv", ".json", ".html"):
        raise UsageError(f"cannot write {out.name}: --out ends in .csv, .json, .html, or names a folder")
    if text is not None and not all(written.strip() for written in text):
        raise UsageError("--text is empty; write the text to explain in quotes after it")
    table, texts, label = None, text or [], None
    if data is not None:
        table, texts, label = read_texts(
            data,
            text_column=text_column,
            label_column=label_column,
            no_header=no_header,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
            limit=limit,
        )
    if out is not None:
        (out_file if out.suffix else out_folder)(out)
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    gold = None
    if target == "gold" and table is not None:
        if label is None:
            raise UsageError(f"--target gold needs labels, but {table.name} has no label column; use --label-column")
        gold = _gold(lm, table, label, label_map)[: len(texts)]
    result = lm.attribute(
        texts,
        target=_class(target) if against is None else (_class(target), _class(against)),
        method=method,
        unit=unit.value,
        quality="auto" if quality else False,
        gold=gold,
        seed=seed,
    )
    path = None if out is None else _write(result, out)
    if as_json:
        show_json({"path": path and str(path), "attribution": result.to_dict()})
        return
    from interpret.results.views import to_text

    show(to_text(result))
    if path is not None:
        show(str(path))


def _class(written: str | None) -> str | int | None:
    return int(written) if written is not None and written.isdecimal() else written


def _gold(lm: AttachedModel, table: Table, label: str, label_map: str | None) -> list[int]:
    from interpret.readers.labels import map_labels

    raw = table.column(label)
    mapping = map_labels(raw, dict(enumerate(lm.info()["labels"])), label_map, lines=table.lines)
    return [mapping.pairs[name] for name in raw]


def _write(result: Attribution, out: Path) -> Path:
    match out.suffix:
        case ".csv":
            result.to_frame().to_csv(out, index=False)
        case ".json":
            import json

            plain: dict[str, Any] = result.to_dict()
            out.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        case ".html":
            from interpret.results.views import to_html

            body = to_html(result, prefix="a-")
            head = '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Attribution</title>\n'
            out.write_bytes(f"{head}{body}\n</html>\n".encode("utf-8", "replace"))
        case _:
            result.save(out)
    return out
