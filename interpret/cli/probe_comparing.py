"""`probe compare` and `probe plan`: two models on the same items, and what probes will take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.config_files import with_file
from interpret.cli.models import load_model
from interpret.cli.probe_options import NoStore
from interpret.cli.shell import guarded, out_folder, records, say, show, show_json

if TYPE_CHECKING:
    from interpret.facade.attached import AttachedModel
    from interpret.results.probe_plans import ProbePlan

COMPARE_EPILOG = """
\b
Examples:
  interpret probe compare ./base ./tuned train.conllu --test dev.conllu --label upos --out compared/
  interpret probe compare ./base ./tuned reviews.csv --label label --max-loss 0.02

With --max-loss the exit code is 1 where the tuned model certainly loses more than that at some layer, and 4
where the data cannot tell. A stopped run with --out goes on where it was.
"""
PLAN_EPILOG = """
\b
Example:
  interpret probe plan ./model train.conllu --test dev.conllu --label upos
"""


class Metric(StrEnum):
    """What --max-loss is about."""

    ACCURACY = "accuracy"
    SELECTIVITY = "selectivity"
    LOG2_PROBABILITY = "log2_probability"


Label = Annotated[
    str | None,
    typer.Option(
        "--label", "--label-column", metavar="LABEL", help="As for probe run: upos, feats.X, tree_depth, or a column."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", "--label-column", metavar="LABEL", help="As for probe run; several with commas."),
]
Test = Annotated[
    Path | None, typer.Option("--test", metavar="FILE", help="Data to test on; default: DATA is split by sentence.")
]
Sites = Annotated[list[str] | None, typer.Option(metavar="SITES", help="Sites to probe; default: embed,resid_post.")]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="Labelled words or texts, as for probe run.")]


@guarded
def compare(
    ctx: typer.Context,
    base: Annotated[str, typer.Argument(metavar="BASE", help="Folder or hub id of the model before.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="Folder or hub id of the model after.")],
    data: Data,
    label: Label = None,
    test: Test = None,
    sites: Sites = None,
    max_loss: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="X", help="Exit with 1 where the tuned model loses more than this."),
    ] = None,
    metric: Annotated[Metric, typer.Option(metavar="METRIC", help="What --max-loss is about.")] = Metric.ACCURACY,
    controls: Annotated[int, typer.Option(min=1, metavar="N", help="Control tasks.")] = 5,
    bootstraps: Annotated[int, typer.Option(min=20, metavar="N", help="Bootstrap replicates.")] = 1000,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML or YAML with these options; what is given here as a flag wins."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for results, probes and figure.")] = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    text_column: o.TextColumn = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
    store: NoStore = None,
) -> None:
    """Probe a base and a tuned model on the same items and show what changed, layer by layer."""
    from interpret.analyzers.probing.compare import check_comparison
    from interpret.facade.probing import compare_probes, read_parts

    given: dict[str, Any] = {
        "label": label,
        "test": test,
        "sites": sites,
        "seed": seed,
        "limit": limit,
        "text_column": text_column,
        "max_loss": max_loss,
        "metric": metric.value,
        "controls": controls,
        "bootstraps": bootstraps,
    }
    if config is not None:
        given = with_file(ctx, given, config)
    if out is not None:
        out_folder(out, "results.parquet")
    train, held_out = read_parts(
        data,
        given["test"],
        given["label"],
        text=given["text_column"],
        limit=given["limit"],
        header=not no_header,
        columns=o.names(columns),
        skip_bad_rows=skip_bad_rows,
    )
    # Before models are loaded.
    check_comparison(train, held_out)
    models = [_loaded(name, device, dtype, trust_remote_code) for name in (base, tuned)]
    result = compare_probes(
        models[0],
        models[1],
        train,
        held_out,
        sites=_sites(given["sites"]),
        seed=given["seed"],
        n_control=given["controls"],
        n_bootstrap=given["bootstraps"],
        out=out,
    )
    verdict = None if given["max_loss"] is None else result.judged(given["max_loss"], given["metric"])
    if as_json:
        rows = records(result.to_frame())
        show_json({"path": None if out is None else str(out), "verdict": verdict, "rows": rows})
    else:
        from interpret.results.views import to_text

        show(to_text(result))
        if verdict is not None:
            show(f"{verdict}: loss of {given['metric']} of at most {given['max_loss']:g} at every layer")
        if out is not None:
            show(str(out))
    if verdict in ("fail", "inconclusive"):
        say(f"the criterion on {given['metric']} is {'missed' if verdict == 'fail' else 'undecided'}")
        raise typer.Exit(1 if verdict == "fail" else 4)


@guarded
def plan(
    model: o.Model,
    data: Data,
    label: Labels = None,
    test: Test = None,
    sites: Sites = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    text_column: o.TextColumn = None,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
    store: NoStore = None,
) -> None:
    """Say what probe run would take with the same options: cells, bytes and time."""
    from interpret.facade.probing import plan_probes

    labels: list[str | None] = [*o.listed(label)] or [None]
    lm = _loaded(model, device, dtype, trust_remote_code)
    found = [
        plan_probes(
            lm,
            data,
            test,
            label=one,
            text=text_column,
            sites=_sites(sites),
            seed=seed,
            limit=limit,
            header=not no_header,
            columns=o.names(columns),
            skip_bad_rows=skip_bad_rows,
        )
        for one in labels
    ]
    # Every text goes through the model once for all labels.
    seconds = sum(p.seconds - p.seconds_activations for p in found) + max(p.seconds_activations for p in found)
    if as_json:
        plans = [one.to_dict() for one in found]
        show_json({**({"plan": plans[0]} if len(plans) == 1 else {"plans": plans}), "seconds": seconds})
        return
    for one in found:
        _show_plan(one)
    if len(found) > 1:
        show(f"together about {seconds:,.0f} s, as every text goes through the model once for all labels")


def _show_plan(found: ProbePlan) -> None:
    items = "words" if found.level == "word" else "texts"
    show(f"plan for probes of {found.task} on {found.data}, model {found.model}")
    show(
        f"{items}: {found.n_train:,} for training, {found.n_validation:,} for validation, {found.n_test:,} for test; "
        f"{found.n_classes} labels"
    )
    show(
        f"{found.n_places} sites and layers: {found.n_ridge:,} ridge solutions, {found.n_logistic:,} logistic probes, "
        f"{found.n_codes:,} description lengths"
    )
    where, n_bytes = ("on disk", found.bytes_on_disk) if found.bytes_on_disk else ("in memory", found.bytes_in_memory)
    show(f"features: {n_bytes / 1e6:,.0f} MB {where}; {found.n_tokens:,} tokens through the model")
    show(
        f"about {found.seconds:,.0f} s on this machine as it is now: activations {found.seconds_activations:,.0f}, "
        f"ridge {found.seconds_ridge:,.0f}, logistic {found.seconds_logistic:,.0f}, description lengths "
        f"{found.seconds_codes:,.0f}"
    )


def _loaded(name: str, device: str, dtype: str, trust_remote_code: bool) -> AttachedModel:
    return load_model(
        name, adapter=None, revision=None, task=None, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )


def _sites(given: list[str] | None) -> list[str]:
    return o.listed(given or ["embed,resid_post"])
