"""`probe`: what can be read off a model's activations. `run` is the default and need not be written."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from interpret.cli import options as o
from interpret.cli import probe_comparing
from interpret.cli.config_files import with_file
from interpret.cli.erasing import EPILOG as ERASE_EPILOG
from interpret.cli.erasing import erase
from interpret.cli.probe_options import (
    GroupColumn,
    KindOption,
    LevelOption,
    SecondColumn,
    SpansColumn,
    SplitColumn,
)
from interpret.cli.probe_running import run_probes
from interpret.cli.shell import guarded

EPILOG = """
\b
Examples:
  interpret probe ./model train.conllu --test dev.conllu --label upos
  interpret probe ./model reviews.csv --label sentiment --out probe/
  interpret probe ./model dev.conllu --label upos,deprel --require "upos best accuracy >= 90%"
  interpret probe ./model mentions.jsonl --label type --level span --group-column document
  interpret probe ./model ratings.csv --label stars --kind regression
  interpret probe --config probe.toml
  interpret probe --store captured/ train.conllu --label upos

A criterion of --require is met where the whole interval of everything it names lies on the right side; a missed
one makes the exit code 1, an undecided one 4. The same command again with --out does nothing twice.

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


class Codes(StrEnum):
    """Whose description length is measured."""

    NONE = "none"
    TASK = "task"
    ALL = "all"


@app.command(epilog=EPILOG)
@guarded
def run(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Folder or hub id of the model.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="A .conllu file, or a table of texts, tokens, spans or pairs with labels.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            "--label-column",
            metavar="LABEL",
            help="In .conllu upos, xpos, deprel, feats.X, or a label of sentences: sentence_length, tree_depth, tense, "
            "subject_number, object_number, bigram_shift, word_content; else the column with the label. Several, "
            "with commas or given again, are probed in one pass.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Data to test on; default: DATA is split by sentence, or by its column split."
        ),
    ] = None,
    store: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Folder that interpret capture wrote, in the place of MODEL; again for the test data."
        ),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SITES", help="Sites to probe; default: embed,resid_post, and with --store all that is in it."
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CRITERION",
            help="What has to hold, as in 'layer 3 accuracy >= 0.9'; the exit code is 1 where one is missed.",
        ),
    ] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(metavar="PROBES", help="ridge, logistic, mlp (one hidden layer); default: ridge,logistic."),
    ] = None,
    codes: Annotated[
        Codes | None,
        typer.Option(
            metavar="CODES",
            help="Description lengths: none, task (the default, about a third of the time), or all (a control and "
            "random weights too).",
        ),
    ] = None,
    controls: Annotated[int, typer.Option(min=1, metavar="N", help="Control tasks.")] = 5,
    bootstraps: Annotated[int, typer.Option(min=20, metavar="N", help="Bootstrap replicates.")] = 1000,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML or YAML with these options; what is given here as a flag wins."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for results, probes and figures; a stopped run goes on.")
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
    level: LevelOption = None,
    kind: KindOption = None,
    spans_column: SpansColumn = None,
    second_column: SecondColumn = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    junit: o.Junit = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Train probes on every layer and show them beside their baselines."""
    given = {
        "model": model,
        "data": data,
        "label": label,
        "test": test,
        "store": store,
        "sites": sites,
        "require": require,
        "probes": probes,
        "codes": codes,
        "controls": controls,
        "bootstraps": bootstraps,
        "out": out,
        "adapter": adapter,
        "revision": revision,
        "task": task,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "seed": seed,
        "limit": limit,
        "text_column": text_column,
        "level": level,
        "kind": kind,
        "spans_column": spans_column,
        "second_column": second_column,
        "split_column": split_column,
        "group_column": group_column,
        "no_header": no_header,
        "columns": columns,
        "skip_bad_rows": skip_bad_rows,
        "junit": junit,
    }
    if config is not None:
        given = with_file(ctx, given, config)
    run_probes(given, as_json=as_json)


app.command(epilog=ERASE_EPILOG)(erase)
app.command(epilog=probe_comparing.COMPARE_EPILOG)(probe_comparing.compare)
app.command(epilog=probe_comparing.PLAN_EPILOG)(probe_comparing.plan)
