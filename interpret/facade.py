"""The verbs a user calls. Each takes the model as an attached one, a path, a hub id or a pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interpret.analyzers.attribution import attribute, attribute_capture, methods_frame
from interpret.analyzers.faithfulness import measure, quality_auto, with_quality
from interpret.analyzers.probing import probe as run_probe
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.auditing.examples import select_examples
from interpret.auditing.run import run_audit
from interpret.capture.capture import Capture, capture_texts, sites_frame
from interpret.capture.capture import capturing as capturing_sites
from interpret.capture.proof import Proof, prove
from interpret.capture.store import Store
from interpret.capture.store import capture_to as capture_to_store
from interpret.errors import LoadError, UsageError
from interpret.models.handle import Handle, Task
from interpret.models.inputs import Encoded, Unit, encode
from interpret.models.load import attach_handle, is_mutated_by_peft, load_handle
from interpret.readers.probe_data import read_probe_data
from interpret.readers.tables import read_table
from interpret.readers.texts import read_texts
from interpret.results.record import Message

if TYPE_CHECKING:
    import pandas as pd

    from interpret.results.audits import Audit
    from interpret.results.explanations import Attribution, Faithfulness
    from interpret.results.probes import ProbeResult

#: What may stand for a model in every verb.
ModelLike = Any
#: What may stand for data in every verb: a path, a DataFrame, a `datasets.Dataset`, a list of dicts.
DataLike = Any


class AttachedModel:
    """A model somebody already holds, with its sites known and proven. It is never changed.

    Attributes:
        handle: the resolved model (internal, may change between versions).
        proof: what was checked when the model was attached.
    """

    def __init__(self, handle: Handle, proof: Proof) -> None:
        self.handle = handle
        self.proof = proof

    def __repr__(self) -> str:
        h = self.handle
        return (
            f"AttachedModel({h.name!r}: {type(h.model).__name__}, {h.roles.family}, {h.task}, "
            f"{h.n_layers} layers, {h.n_heads} heads, {h.n_parameters:,} parameters)"
        )

    def sites(self) -> pd.DataFrame:
        """Columns: site, layer, axes, shape, available, reason."""
        return sites_frame(self.handle)

    def info(self) -> dict[str, Any]:
        """Family, task, sizes, attention implementation, dtypes and labels as plain values."""
        h = self.handle
        return {
            "name": h.name,
            "family": h.roles.family,
            "architecture": type(h.model).__name__,
            "task": h.task,
            "labels": list(h.labels),
            "layers": h.n_layers,
            "heads": h.n_heads,
            "key_value_heads": h.n_kv_heads,
            "d_model": h.d_model,
            "d_head": h.d_head,
            "parameters": h.n_parameters,
            "max_length": h.max_length,
            "attention": h.attn_implementation,
            "saved_dtype": h.saved_dtype,
            "run_dtype": h.run_dtype,
            "adapter": h.adapter,
        }

    @contextmanager
    def capturing(
        self, *sites: str, mode: Literal["auto", "tee", "native", "eager"] = "auto", grad: bool = False
    ) -> Iterator[Capture]:
        """Capture from any forward run inside the block; two forwards append. Logits stay the same to the bit.

        Args:
            sites: for example `"attn_pattern.0-3"`, `"resid_post"`.
            mode: how attention patterns are had; `"eager"` changes the numerics and is recorded.
            grad: keep captured tensors in the graph.
        """
        with capturing_sites(self.handle, *sites, mode=mode, grad=grad) as capture:
            yield capture

    def capture(self, texts: str | Sequence[str], sites: Sequence[str] | str = ("resid_post",)) -> Capture:
        """Run the texts in length-sorted batches and keep the sites asked for, in the order of the texts."""
        wanted = [sites] if isinstance(sites, str) else list(sites)
        return capture_texts(self.handle, self._encode(texts), wanted)

    def capture_to(
        self,
        path: str | Path,
        dataset: DataLike,
        sites: Sequence[str] | str = ("resid_post",),
        *,
        text: str | None = None,
        label: str | None = None,
        id: str | None = None,
        pool: Literal["mean", "cls", "last"] | None = None,
        dtype: Literal["float16", "bfloat16", "float32"] | None = None,
        max_bytes: int | None = 10 * 10**9,
        shard_bytes: int = 64 * 10**6,
        limit: int | None = None,
        token_budget: int | None = None,
        overwrite: bool = False,
        header: bool = True,
        columns: Sequence[str] | None = None,
        skip_bad_rows: bool = False,
        progress: bool | None = None,
    ) -> Store:
        """Write what the sites hold on a whole data set to the folder `path`; what is there already is kept.

        The store is ragged (no padding), checked by checksums and read without the model. Killed at any moment,
        the same call goes on at the last whole shard, and the folder is then byte for byte the one of a run that
        was never interrupted; on a finished store it verifies every file and redoes those that are damaged.

        Args:
            path: folder, made if absent.
            dataset: path (`.csv .tsv .jsonl .parquet .conllu` or a saved `datasets` folder), DataFrame,
                `datasets.Dataset`, list of dicts, or list of strings.
            sites: for example `["resid_post", "attn_pattern.0-3"]`.
            text: text column; None guesses by name.
            label: label column, kept as written; None guesses by name.
            id: column that names the rows; None numbers them from 0.
            pool: None keeps every token; `"mean"` (over all tokens, special ones included), `"cls"` (the first) and
                `"last"` keep one row per example.
            dtype: stored dtype; None stores the dtype the model runs in. A value that `"float16"` cannot hold is
                an error, never infinity.
            max_bytes: refuse a larger store, before anything runs; None only looks at the free disk space.
            shard_bytes: values in one shard, which is held in memory; a killed run loses at most one shard.
            limit: the first so many rows only.
            token_budget: tokens per batch, pads included; part of the request, since batches decide the last bits.
            overwrite: replace another store that stands there.
            header: whether a csv or tsv has a header line.
            columns: names for the columns of a file without header.
            skip_bad_rows: leave out rows that cannot be read or hold no text, instead of stopping at the first.
            progress: show a bar on stderr; None does so on a terminal.

        Returns:
            The store, opened.

        Raises:
            DataError: a row that cannot be read or holds no text, with file and line, before anything runs.
            UsageError: too large, or the folder holds another request; nothing has been changed then.
            StoreError: the disk is full; what is there stays, and the same call goes on.
        """
        texts = read_texts(
            dataset,
            text=text,
            label=label,
            id=id,
            header=header,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
            limit=limit,
        )
        return capture_to_store(
            self.handle,
            path,
            texts,
            sites,
            pool=pool,
            dtype=dtype,
            max_bytes=max_bytes,
            shard_bytes=shard_bytes,
            token_budget=token_budget,
            overwrite=overwrite,
            progress=progress,
        )

    def attribute(
        self,
        texts: str | Sequence[str] | Capture,
        target: Any = None,
        method: str = "auto",
        unit: Unit = "word",
        quality: Literal["auto", False] = "auto",
        *,
        gold: Sequence[int | str] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Attribution:
        """Signed attributions towards a logit, with measured faithfulness unless `quality=False`.

        Args:
            texts: one text, several, or a `Capture` that holds what the method needs.
            target: None for the predicted class (or next token); a class name or index; a pair of classes
                (this rather than that); or `"gold"` together with `gold`.
            method: a key of `interpret.methods()`, or `"auto"`, which records what it picked.
            unit: `"word"` or `"token"`.
            quality: `"auto"` measures cheaply; False skips it and every view says so.
            gold: class of each text, for `target="gold"`.
            seed: of random rankings and of sampling methods.
            options: passed to the method, for example `n_steps=64`.
        """
        if isinstance(texts, Capture):
            if target is not None or gold is not None or unit != "word" or options:
                raise UsageError(
                    "an attribution from a Capture reads what was captured: it takes method= and quality=, but no "
                    "target=, gold=, unit= or options; give the texts instead"
                )
            result = attribute_capture(texts, method=method)
        else:
            result = attribute(
                self.handle,
                self._encode(texts, unit),
                target=target,
                gold=gold,
                method=method,
                unit=unit,
                seed=seed,
                **options,
            )
        if quality is False:
            return result
        return with_quality(result, quality_auto(self.handle, result, seed=seed))

    def _encode(self, texts: str | Sequence[str], unit: Unit = "word") -> list[Encoded]:
        listed = [texts] if isinstance(texts, str) else list(texts)
        if not listed:
            raise UsageError("asked to run on no texts: give at least one")
        for i, text in enumerate(listed):
            if not isinstance(text, str):
                raise UsageError(f"texts must be strings; text {i} is a {type(text).__name__}: {str(text)[:60]!r}")
        return encode(self.handle, listed, unit=unit)


def attach(model: Any, tokenizer: Any = None, *, name: str | None = None) -> AttachedModel:
    """Attach to a model (or a transformers pipeline) you already hold, and prove its sites once.

    Args:
        model: a Hugging Face model, PEFT model or pipeline. It is not changed.
        tokenizer: its tokenizer; None serves captures of your own forwards only.
        name: shown in reports; by default the name the model was loaded under.

    Raises:
        LoadError: the architecture is not known and could not be resolved.
        ProofError: a site did not behave as its definition says.
    """
    handle = attach_handle(model, tokenizer, name=name)
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
        task: `"text-classification"`, `"causal-lm"`, `"masked-lm"` or `"none"`; None reads it off the checkpoint.
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


def faithfulness(model: ModelLike, attribution: Attribution, *, n_random: int = 200, seed: int = 0) -> Faithfulness:
    """Measure an explanation, ours or one brought in, against random rankings and trivial baselines.

    Args:
        model: the model that was explained.
        attribution: for example from `attribute` or `Attribution.from_shap`.
        n_random: random rankings for each example; None takes 200 for fewer than 5 examples, and between 20 and 200
            for more, the fewer the longer the texts are.
        seed: of the rankings and of the bootstrap.
    """
    return measure(as_model(model).handle, attribution, n_random=n_random, seed=seed)


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
    _require_classes(handle)
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


def _require_classes(handle: Handle) -> None:
    """Refuse heads whose outputs are not one of several classes: their logits are no distribution."""
    if handle.task == "none":
        raise UsageError(
            f"{handle.name} has no head ({handle.architecture}), so there is no output to audit; "
            "give a model with a classification or language-model head"
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
