"""The verbs a user calls. Each takes the model as an attached one, a path, a hub id or a pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret.analyzers.attribution import METHODS, methods_frame
from interpret.analyzers.faithfulness import Again, battery, plausibility
from interpret.analyzers.probing import probe as run_probe
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.auditing.examples import select_examples
from interpret.auditing.run import run_audit
from interpret.auditing.shortcut_words import ShortcutConfig, find_shortcuts
from interpret.capture.proof import prove
from interpret.errors import LoadError, UsageError
from interpret.facade.again import again, other_baselines
from interpret.facade.attached import AttachedModel
from interpret.models.handle import EXPLAINED, Handle, Task
from interpret.models.load import attach_handle, is_mutated_by_peft, load_handle
from interpret.readers.probe_data import read_probe_data
from interpret.readers.tables import read_table
from interpret.results.record import Message

if TYPE_CHECKING:
    import pandas as pd

    from interpret.results.audits import Audit
    from interpret.results.explanations import Attribution, Faithfulness
    from interpret.results.probes import ProbeResult
    from interpret.results.shortcuts import Shortcuts

#: What may stand for a model in every verb.
ModelLike = Any
#: What may stand for data in every verb: a path, a DataFrame, a `datasets.Dataset`, a list of dicts.
DataLike = Any


__all__ = [
    "AttachedModel",
    "as_model",
    "attach",
    "audit",
    "faithfulness",
    "load",
    "methods",
    "plausibility",
    "probe",
    "require_classes",
    "shortcuts",
]


def attach(
    model: Any, tokenizer: Any = None, *, processor: Any = None, name: str | None = None, task: Task | None = None
) -> AttachedModel:
    """Attach to a model (or a transformers pipeline) you already hold, and prove its sites once.

    Args:
        model: a Hugging Face model, PEFT model or pipeline. It is not changed.
        tokenizer: its tokenizer; None serves captures of your own forwards only.
        processor: what turns images or sound into inputs; a processor with a tokenizer brings that too.
        name: shown in reports; by default the name the model was loaded under.
        task: what its head does; None reads it off the model's class.

    Raises:
        LoadError: the architecture is not known and could not be resolved.
        ProofError: a site did not behave as its definition says.
    """
    handle = attach_handle(model, tokenizer, processor=processor, name=name, task=task)
    return AttachedModel(handle, prove(handle))


def load(
    source: str | Path,
    adapter: str | Path | None = None,
    revision: str | None = None,
    task: Task | None = None,
    device: str = "auto",
    dtype: str = "auto",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    token: str | None = None,
) -> AttachedModel:
    """Load a model from a folder or a hub id and attach to it: safetensors only, no remote code unless asked.

    Args:
        source: folder or hub id.
        adapter: folder or hub id of a PEFT adapter to put on it.
        revision: branch, tag or commit on the hub.
        task: what its head does, for example `"text-classification"`; None reads it off the checkpoint.
        device: `"auto"`, `"cpu"`, `"cuda:0"` ...
        dtype: `"auto"` keeps the saved one, but computes half precision in fp32 on the CPU; both are recorded.
        attn_implementation: passed to transformers.
        trust_remote_code: run code that comes with the checkpoint.
        token: for private repositories on the hub.

    Raises:
        LoadError: nothing there, pickled weights only, or a head that is missing in the checkpoint.
    """
    handle = load_handle(
        source,
        adapter=adapter,
        revision=revision,
        task=task,
        device=device,
        dtype=dtype,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        token=token,
    )
    return AttachedModel(handle, prove(handle))


def as_model(model: ModelLike, **options: Any) -> AttachedModel:
    """What was given, attached: paths and hub ids are loaded, models and pipelines attached."""
    if isinstance(model, AttachedModel):
        return model
    return load(model, **options) if isinstance(model, str | Path) else attach(model)


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
    has one, and on a model that is re-initialised from the top. One brought in is where `explain` is given.

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


def probe(
    model: ModelLike,
    data: DataLike,
    test: DataLike | None = None,
    *,
    label: str = "label",
    text: str | None = None,
    sites: Sequence[str] = ("embed", "resid_post"),
    seed: int = 0,
    limit: int | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    **options: Any,
) -> ProbeResult:
    """What can be read off the model's activations, layer by layer, beside baselines. Encoded is not used.

    Args:
        model: attached model, path, hub id or pipeline.
        data: `.conllu` (word level) or a labelled table (sentence level).
        test: data to test on; None splits `data` by sentence.
        label: `upos`, `xpos`, `deprel`, `feats.X`, or the label column of a table.
        text: text column of a table; None guesses.
        sites: sites to probe.
        seed: of splits, control labels and bootstraps.
        limit: read at most so many sentences.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: count bad rows instead of stopping at the first.
        options: passed to the analyzer, for example `random_weights=True`.

    Raises:
        InconclusiveError: too little data, or one class only.
    """
    read = partial(
        read_probe_data,
        label=label,
        text=text,
        header=header,
        columns=columns,
        skip_bad_rows=skip_bad_rows,
        limit=limit,
    )
    train = read(data)
    held_out = None if test is None else read(test)
    return run_probe(as_model(model).handle, train, held_out, sites=sites, seed=seed, **options)


def audit(
    model: ModelLike,
    dataset: DataLike,
    text: str | None = None,
    label: str | None = None,
    slices: str | None = None,
    base: ModelLike | None = None,
    config: AuditConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    limit: int | None = None,
    *,
    label_map: str | Mapping[str, object] | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    title: str | None = None,
    command: str | None = None,
    progress: bool | None = None,
) -> Audit:
    """Examine a model on a data set and return everything a report shows.

    Args:
        model: attached model, path, hub id or pipeline.
        dataset: path, DataFrame, `datasets.Dataset` or list of dicts.
        text: text column; None guesses by name.
        label: label column; None guesses by name.
        slices: slice column; None takes a column called `slice`.
        base: the model before fine-tuning, to compare outputs with.
        config: counts and declared criteria (`AuditConfig`), or any subset of its keys.
        seed: of every sample, ranking and bootstrap; the same seed gives the same audit.
        limit: audit a random sample of at most so many rows.
        label_map: `"0=negative,1=positive"` where names and ids do not decide.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: count and list bad rows instead of stopping at the first.
        title: of the report.
        command: shown in the report as the way to run it again; None describes this call.
        progress: say on stderr which stage runs; None does so on a terminal.
    """
    settings = resolve_config(config)
    table = read_table(dataset, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    lm = as_model(model)
    handle = lm.handle
    require_classes(handle)
    id2label = dict(enumerate(handle.labels)) if handle.task == "text-classification" else None
    examples = select_examples(
        table,
        id2label=id2label,
        text=text,
        label=label,
        label_map=label_map,
        slices=slices,
        limit=limit,
        seed=seed,
    )
    base_handle, missing = _base(base, handle)
    options = {
        "text": text,
        "label": label,
        "slices": slices,
        "base": None if base_handle is None else base_handle.name,
        "config": {k: v for k, v in settings.resolved().items() if v != AuditConfig().resolved().get(k)} or None,
        "limit": limit,
        "label_map": label_map,
        "header": header,
        "columns": None if columns is None else list(columns),
        "skip_bad_rows": skip_bad_rows,
        "seed": seed,
    }
    return run_audit(
        handle,
        examples,
        base=base_handle,
        base_missing=missing,
        config=settings,
        seed=seed,
        title=title,
        command=command or _call(handle.name, table.name, options),
        progress=_terminal() if progress is None else progress,
    )


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


def require_classes(handle: Handle) -> None:
    """Refuse heads whose outputs are not one of several classes: their logits are no distribution."""
    if handle.task == "none":
        raise UsageError(
            f"{handle.name} has no head ({handle.architecture}), so there is no output to audit; "
            "give a model with a classification or language-model head"
        )
    if handle.task not in EXPLAINED:
        raise UsageError(
            f"{handle.name} is a {handle.task} model; audits are there for {', '.join(EXPLAINED)}, not yet for others"
        )
    kind = getattr(handle.config, "problem_type", None)
    if handle.task == "text-classification" and (
        len(handle.labels) < 2 or kind in ("regression", "multi_label_classification")
    ):
        raise UsageError(
            f"{handle.name} has {len(handle.labels)} output(s) and the problem type {kind!r}; audits of regression and "
            "multi-label models are not available yet, only of one class out of several"
        )


def _base(base: ModelLike | None, tuned: Handle) -> tuple[Handle | None, Message | None]:
    """The base as a handle with the same outputs, or the reason why its outputs cannot be compared."""
    if base is None:
        return None, None
    try:
        # On the tuned model's device and in its dtype: otherwise rounding would pass for fine-tuning.
        handle = as_model(base, task=tuned.task, device=str(tuned.device), dtype=tuned.run_dtype).handle
    except LoadError as err:
        if err.no_head:
            return None, Message(code="section.base_without_head", params={"base": Path(str(base)).name})
        raise
    ours = {parameter.data_ptr() for parameter in tuned.model.parameters()}
    if is_mutated_by_peft(handle.model) or any(p.data_ptr() in ours for p in handle.model.parameters()):
        raise UsageError(
            f"base shares its weights with {tuned.name}: PEFT puts its adapter into the very object it is given, so "
            "the two would be the same model; load the base a second time, for example base='path-of-the-base'"
        )
    if handle.labels != tuned.labels:
        return None, Message(code="section.base_other_labels", params={"base": handle.name})
    if not tuned.labels and (handle.vocab_size, handle.vocabulary) != (tuned.vocab_size, tuned.vocabulary):
        return None, Message(code="section.base_other_vocabulary", params={"base": handle.name})
    return handle, None


def _call(model: str, data: str, options: Mapping[str, Any]) -> str:
    """The call as one would write it again; models and data held in memory appear by their names."""
    defaults = inspect.signature(audit).parameters
    given = [f"{name}={value!r}" for name, value in options.items() if value != defaults[name].default]
    return f"interpret.audit({', '.join([repr(model), repr(data), *given])})"


def _terminal() -> bool:
    import sys

    return sys.stderr.isatty()
