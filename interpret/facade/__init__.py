"""The verbs a user calls. Each takes the model as an attached one, a path, a hub id or a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from interpret.analyzers.attribution import METHODS, methods_frame
from interpret.analyzers.faithfulness import Again, battery, plausibility
from interpret.auditing.examples import select_examples
from interpret.auditing.shortcut_words import ShortcutConfig, find_shortcuts
from interpret.errors import UsageError
from interpret.facade.again import again, other_baselines
from interpret.facade.attached import AttachedModel
from interpret.facade.attaching import ModelLike, as_model, attach, load
from interpret.facade.auditing import audit, plan_audit
from interpret.facade.probe_running import run_probes, source_of
from interpret.facade.probing import compare_probes, plan_probes, read_parts
from interpret.readers.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

    from interpret.capture.store import Store
    from interpret.readers.probe_data import Kind, Level
    from interpret.results.explanations import Attribution, Faithfulness
    from interpret.results.probe_grid import ProbeGrid
    from interpret.results.probes import ProbeResult
    from interpret.results.shortcuts import Shortcuts

#: What may stand for data in every verb: a path, a DataFrame, a `datasets.Dataset`, a list of dicts.
DataLike = Any


__all__ = [
    "AttachedModel",
    "as_model",
    "attach",
    "audit",
    "compare_probes",
    "faithfulness",
    "load",
    "methods",
    "plan_audit",
    "plan_probes",
    "plausibility",
    "probe",
    "shortcuts",
]


def methods() -> pd.DataFrame:
    """The attribution methods. Columns: method, tasks, cost, needs_gradient, reference."""
    return methods_frame()


def faithfulness(
    model: ModelLike,
    attribution: Attribution,
    *,
    n_random: int | None = 200,
    seed: int = 0,
    operators: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    explain: Again | None = None,
) -> Faithfulness:
    """The full battery on an explanation, ours or one brought in, against random rankings and trivial baselines.

    An explanation of ours is also made again: with moved embeddings, another seed, another baseline where the method
    has one, and on a model that is re-initialised from the top. One brought in is where `explain` is given. While that
    runs the model's modules hold other parameters, and then the very same again as before, also after an exception: no
    weight is written to, but another thread must not use the model meanwhile.

    Args:
        model: the model that was explained.
        attribution: for example from `attribute` or `Attribution.from_shap`.
        n_random: random rankings for each example; None takes 200 for fewer than 5 examples, and between 20 and 200
            for more, the fewer the longer the texts are.
        seed: of the rankings and of the bootstrap.
        operators: how words are removed, side by side: `"mask_token"`, `"pad_token"`, ..., or `"delete"`; the first
            decides the verdict, and None takes the model's own.
        metrics: names to measure, for example `["deletion_auc"]`; None takes all that can be had, and AOPC is always
            there.
        explain: makes an explanation from elsewhere again: `explain(handle, encoded, targets)`.
    """
    handle = as_model(model).handle
    seeds: tuple[int, ...] = ()
    baselines: tuple[str, ...] = ()
    if (
        explain is None
        and attribution.method in METHODS
        and len(attribution)
        and attribution[0].target.kind != "external"
    ):
        explain = again(attribution)
        seeds, baselines = (seed + 1,), other_baselines(handle, attribution)
    return battery(
        handle,
        attribution,
        operators=operators,
        metrics=metrics,
        explain=explain,
        seeds=seeds,
        baselines=baselines,
        n_random=n_random,
        seed=seed,
    )


@overload
def probe(
    model: ModelLike | Store | list[Store],
    data: DataLike,
    test: DataLike | None = None,
    *,
    label: str | None = None,
    **options: Any,
) -> ProbeResult: ...
@overload
def probe(
    model: ModelLike | Store | list[Store],
    data: DataLike,
    test: DataLike | None = None,
    *,
    label: list[str] | tuple[str, ...],
    **options: Any,
) -> ProbeGrid: ...
def probe(
    model: ModelLike | Store | list[Store],
    data: DataLike,
    test: DataLike | None = None,
    *,
    label: str | list[str] | tuple[str, ...] | None = None,
    text: str | None = None,
    level: Level | None = None,
    kind: Kind | None = None,
    spans: str | None = None,
    second: str | None = None,
    split: str | None = None,
    group: str | None = None,
    sites: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    codes: Literal["none", "task", "all"] = "task",
    out: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> ProbeResult | ProbeGrid:
    """What can be read off the model's activations, layer by layer, beside baselines. Encoded is not used.

    Args:
        model: attached model, path, hub id or pipeline; or a capture store, its folder, or a list of them (training
            and test): then no model is needed, and the texts of `data` are found in it by their digest.
        data: `.conllu` or `.iob2` (word level) or a labelled table: of texts (sentence level), lists of tokens (word
            level), spans or pairs of spans (a column `spans`), or pairs of texts; `read_probe_data` says how.
        test: data to test on; None splits `data` by sentence, or as a column `split` says.
        label: `upos`, `xpos`, `deprel`, `feats.X`, a derived label of sentences such as `tree_depth` or `tense`
            (`read_probe_data` lists them), or the label column of a table; None takes `upos`, or the usual column.
            A list is probed in one pass, with Holm's correction over all of it, and gives a `ProbeGrid`.
        text: text column of a table; None guesses.
        level: "word", "sentence", "span" or "pair"; None goes by the columns.
        kind: "class", "multilabel" (several labels at once, in lists) or "regression" (numbers); None never takes
            numbers for more than names of classes.
        spans: column with the spans.
        second: column with the second texts of pairs.
        split: column that says what a row is for: train, validation or test.
        group: column with what a row comes from: a group stays together, and intervals resample groups.
        sites: sites to probe; None takes `embed` and `resid_post`, and of a store everything that is in it.
        seed: of splits, control labels and bootstraps.
        limit: read at most so many sentences.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: count bad rows instead of stopping at the first.
        codes: whose description length is measured: nothing's, the task's, or that of a control and of random
            weights too. That of the task costs about as much as the logistic probes, a third of a whole run; "all"
            about as much again as all probes together. The command line and `plan_probes` have the same default.
        out: folder for results.parquet, summary.json, manifest.json, probes.safetensors and figures. Measured cells are
            kept there under a hash of all they depend on: a run that was stopped goes on, and one that is finished is
            read instead of repeated.
        progress: show bars, and say what was found in `out`.
        options: passed to the analyzer, for example `random_weights=True`, or `probes=("ridge", "mlp")` with a hidden
            layer, always beside its controls.

    Raises:
        InconclusiveError: too little data, or one class only.
        UsageError: texts that are not in the store.
        UnknownSiteError: a site or layer that the model, or the store, does not have.
    """
    how: dict[str, Any] = {
        "header": header,
        "columns": columns,
        "skip_bad_rows": skip_bad_rows,
        "limit": limit,
        "text": text,
        "level": level,
        "kind": kind,
        "spans": spans,
        "second": second,
        "split": split,
        "group": group,
    }
    labels = label if isinstance(label, list | tuple) else (label,)
    tasks = [read_parts(data, test, name, **how) for name in labels]
    options |= {"sites": [sites] if isinstance(sites, str) else sites, "seed": seed, "codes": codes}
    folder = None if out is None else Path(out)
    grid = isinstance(label, list | tuple)
    return run_probes(source_of(model), tasks, grid=grid, out=folder, progress=progress, **options)


def shortcuts(
    model: ModelLike,
    dataset: DataLike,
    text: str | None = None,
    label: str | None = None,
    slices: str | None = None,
    config: ShortcutConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    limit: int | None = None,
    *,
    label_map: str | Mapping[str, object] | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
) -> Shortcuts:
    """The words a classifier leans on in a data set, those it leans on more than the labels warrant, and its errors'.

    Args:
        model: attached model, path, hub id or pipeline; a classifier with several classes.
        dataset: path, DataFrame, `datasets.Dataset` or list of dicts.
        text: text column; None guesses by name.
        label: label column; None guesses by name. Without labels only "leans on" is answered.
        slices: slice column; None takes a column called `slice`.
        config: counts (`ShortcutConfig`), or any subset of its keys: `explained`, `held_out`, `min_count`, `alpha`, ...
        seed: of the split and of every bootstrap.
        limit: look at a random sample of at most so many rows.
        label_map: `"0=negative,1=positive"` where names and ids do not decide.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: leave out bad rows instead of stopping at the first.

    Returns:
        Words with corrected p-values and stability, and for the first of them how often inserting or removing the
        word flips the prediction of texts that were held out.
    """
    known = {field.name for field in fields(ShortcutConfig)}
    given = {} if config is None else asdict(config) if isinstance(config, ShortcutConfig) else dict(config)
    if unknown := sorted(set(given) - known):
        raise UsageError(f"config has no {', '.join(map(repr, unknown))}; it has {', '.join(sorted(known))}")
    table = read_table(dataset, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    handle = as_model(model).handle
    examples = select_examples(
        table,
        id2label=dict(enumerate(handle.labels)) if handle.task == "text-classification" else None,
        text=text,
        label=label,
        label_map=label_map,
        slices=slices,
        limit=limit,
        seed=seed,
    )
    return find_shortcuts(handle, examples, config=ShortcutConfig(**given), seed=seed)
