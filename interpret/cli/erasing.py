"""`probe erase`: whether the model uses what a probe finds, or only encodes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from interpret.cli import options as o
from interpret.cli.models import load_model, read_texts
from interpret.cli.probe_options import NoStore
from interpret.cli.shell import guarded, out_folder, show, show_json

EPILOG = """
\b
Examples:
  interpret probe erase ./model train.conllu --test dev.conllu --label upos --site resid_post.3
  interpret probe erase ./model reviews.csv --label gender --task-label sentiment --site resid_post.5 --out erased/

The model's weights stay as they are: the site is edited while it runs. Exit code 4: nothing can be concluded.
"""
INCONCLUSIVE = 4


@guarded
def erase(
    model: o.Model,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A .conllu file (labels of words) or a table (labels of texts)."),
    ],
    site: Annotated[str, typer.Option(metavar="SITE", help="The place to erase at, such as resid_post.3.")],
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            "--label-column",
            metavar="LABEL",
            help="What to erase: upos, xpos, deprel or feats.X in .conllu; else a column. Default: label.",
        ),
    ] = None,
    task_label: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="What the model itself should say; default: what it says unedited."),
    ] = None,
    label_map: o.LabelMap = None,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Data to test on; default: DATA is split by sentence.")
    ] = None,
    method: Annotated[Literal["leace", "inlp"], typer.Option(help="Closed form, or probe by probe.")] = "leace",
    positions: Annotated[
        Literal["all", "probed"], typer.Option(help="Edit every position, or only those of labelled items.")
    ] = "all",
    units: Annotated[
        list[int] | None, typer.Option(metavar="K", help="Also rank the units of the site and ablate K of them.")
    ] = None,
    ranking: Annotated[
        Literal["probe_weights", "mean_difference"],
        typer.Option(help="Rank units by the ridge probe's weights, or by the share of variance between the classes."),
    ] = "probe_weights",
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
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
    store: NoStore = None,
) -> None:
    """Erase a label at one site of the running model and see what probes and the model lose."""
    import interpret
    from interpret.readers.tables import require

    for path in (data,) if test is None else (data, test):
        if path.suffix.lower() == ".conllu":
            require(path)
        else:
            # Read here only to say at once what is wrong with it.
            read_texts(
                path,
                text_column=text_column,
                label_column=label or "label",
                no_header=no_header,
                columns=columns,
                skip_bad_rows=skip_bad_rows,
                limit=limit,
            )
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
    given: dict[str, Any] = {} if label is None else {"label": label}
    result = interpret.erasure(
        lm,
        data,
        test,
        site=site,
        method=method,
        positions=positions,
        units=units or (),
        ranking=ranking,
        task_label=task_label,
        label_map=label_map,
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
        show_json({"path": None if out is None else str(out), "erasure": result.to_dict()})
    else:
        from interpret.results.views import to_text

        show(to_text(result, locale=locale))
        if out is not None:
            show(str(out))
    if result.verdict == "inconclusive":
        raise typer.Exit(INCONCLUSIVE)
