"""`probe`: what can be read off a model's activations. `run` is the default and need not be written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from interpret.cli import options as o
from interpret.cli import probe_comparing
from interpret.cli.erasing import EPILOG as ERASE_EPILOG
from interpret.cli.erasing import erase
from interpret.cli.models import load_model
from interpret.cli.probe_options import (
    GroupColumn,
    KindOption,
    LevelOption,
    SecondColumn,
    SpansColumn,
    SplitColumn,
    look_at,
    reading,
)
from interpret.cli.shell import guarded, out_folder, show, show_json

EPILOG = """
\b
Examples:
  interpret probe ./model train.conllu --test dev.conllu --label upos
  interpret probe ./model reviews.csv --label sentiment --out probe/
  interpret probe ./model mentions.jsonl --label type --level span --group-column document
  interpret probe ./model ratings.csv --label stars --kind regression

What a probe finds is encoded in the activations; that does not show that the model uses it.
"""


class _RunIsDefault(TyperGroup):
    """`probe MODEL DATA` means `probe run MODEL DATA`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["run", *args])


app = typer.Typer(cls=_RunIsDefault, help="Train probes on a model's activations, layer by layer.")


@app.callback()
def probe() -> None:
    """Train probes on a model's activations, layer by layer."""


@app.command(epilog=EPILOG)
@guarded
def run(
    model: o.Model,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A .conllu file, or a table of texts, tokens, spans or pairs with labels."),
    ],
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            "--label-column",
            metavar="LABEL",
            help="In .conllu upos, xpos, deprel, feats.X, or a label of sentences: sentence_length, tree_depth, tense, "
            "subject_number, object_number, bigram_shift, word_content; else the column with the label.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Data to test on; default: DATA is split by sentence, or by its column split."
        ),
    ] = None,
    sites: Annotated[
        list[str] | None, typer.Option(metavar="SITES", help="Sites to probe; default: embed,resid_post.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to save the result in.")] = None,
    adapter: o.Adapter = None,
    revision: o.Revision = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    text_column: o.TextColumn = None,
    level: LevelOption = None,
    kind: KindOption = None,
    spans_column: SpansColumn = None,
    second_column: SecondColumn = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Train probes on every layer and show them beside their baselines."""
    import interpret

    read: dict[str, Any] = reading(level, kind, spans_column, second_column, split_column, group_column)
    how = {"header": not no_header, "columns": o.names(columns), "skip_bad_rows": skip_bad_rows, "limit": limit}
    look_at(data, test, label, text=text_column, **how, **read)
    if out is not None:
        out_folder(out)
    lm = load_model(
        model,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    given = read
    if label is not None:
        given["label"] = label
    if sites is not None:
        given["sites"] = [name.strip() for part in sites for name in part.split(",") if name.strip()]
    result = interpret.probe(
        lm,
        data,
        test,
        text=text_column,
        seed=seed,
        limit=limit,
        header=not no_header,
        columns=o.names(columns),
        skip_bad_rows=skip_bad_rows,
        **given,
    )
    if out is not None:
        result.save(out)
    if as_json:
        show_json({"path": None if out is None else str(out), "probe": result.to_dict()})
        return
    from interpret.results.views import to_text

    show(to_text(result))
    if out is not None:
        show(str(out))


app.command(epilog=ERASE_EPILOG)(erase)
app.command(epilog=probe_comparing.COMPARE_EPILOG)(probe_comparing.compare)
app.command(epilog=probe_comparing.PLAN_EPILOG)(probe_comparing.plan)
