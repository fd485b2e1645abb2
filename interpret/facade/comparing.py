"""`compare`: two models, or one with its adapter off and on, on the same data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.probing.compare import check_comparison
from interpret.auditing.comparing import CompareConfig, run_compare
from interpret.auditing.comparing_probes import ProbeRequest
from interpret.auditing.examples import sample_examples
from interpret.auditing.task_examples import read_examples
from interpret.errors import LoadError, UsageError
from interpret.facade.attached import AttachedModel
from interpret.facade.attaching import ModelLike, as_model, load
from interpret.facade.probing import read_parts
from interpret.models.adapters import is_mutated_by_peft
from interpret.models.handle import Handle
from interpret.results.comparisons import Comparison


def compare(
    base: ModelLike | None,
    tuned: ModelLike,
    dataset: Any,
    text: str | None = None,
    label: str | None = None,
    slices: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    *,
    parts: Sequence[str] | None = None,
    activations: int = 1000,
    attention: int = 100,
    explanations: int = 40,
    method: str = "auto",
    probes: Any | None = None,
    probe_label: str | None = None,
    probe_test: Any | None = None,
    label_map: str | Mapping[str, object] | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    progress: bool | None = None,
) -> Comparison:
    """What fine-tuning changed: weights, activations, attention, outputs, explanations, on the same examples.

    A pre-flight comes first (`Comparison.preflight`): did anything change, is the adapter on, are tokenizer and
    architecture the same, is this the right base. It does not show why the models differ, and one fine-tuning run says
    nothing about another seed's.

    Args:
        base: the model before fine-tuning; None takes the tuned PEFT model with its adapter off, one copy in memory.
        tuned: the model after it, or the folder of a PEFT adapter, which is then put on `base` and turned off and on.
        dataset: path, DataFrame, `datasets.Dataset` or list of dicts.
        text: text column; None guesses by name.
        label: label column; None guesses by name.
        slices: slice column; None takes a column called `slice`. Outputs are compared slice by slice.
        seed: of every sample and bootstrap.
        limit: compare on a random sample of at most so many rows.
        parts: some of `weights`, `activations`, `attention`, `outputs`, `explanations`; None takes all.
        activations: examples whose activations are compared, at most; 0 leaves them out.
        attention: the same for attention.
        explanations: the same for explanations.
        method: of the explanations, a key of `interpret.methods()`.
        probes: labelled words or texts, as for `compare_probes`: what of them can be read off each layer before and
            after, Holm over all layers (`Comparison.probes`); None runs no probes.
        probe_label: what the probes read, as for `probe`; None takes `upos` or the usual column.
        probe_test: data to test them on; None splits `probes` by sentence.
        label_map: `"0=negative,1=positive"` where names and ids do not decide.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: leave out bad rows instead of stopping at the first.
        progress: show bars on stderr; None does so on a terminal.

    Raises:
        UsageError: a base that PEFT has turned into another tuned model, options that mean nothing, or probes of what
            is not one class for each item.
    """
    request = probe_request(probes, probe_label, probe_test, skip_bad_rows=skip_bad_rows)
    return compare_pair(
        as_pair(base, tuned),
        dataset,
        text=text,
        label=label,
        slices=slices,
        seed=seed,
        limit=limit,
        parts=parts,
        activations=activations,
        attention=attention,
        explanations=explanations,
        method=method,
        probes=request,
        label_map=label_map,
        header=header,
        columns=columns,
        skip_bad_rows=skip_bad_rows,
        progress=progress,
    )


def compare_pair(
    pair: Pair,
    dataset: Any,
    *,
    text: str | None,
    label: str | None,
    slices: str | None,
    seed: int,
    limit: int | None,
    parts: Sequence[str] | None,
    activations: int,
    attention: int,
    explanations: int,
    method: str,
    probes: ProbeRequest | None = None,
    label_map: str | Mapping[str, object] | None,
    header: bool,
    columns: Sequence[str] | None,
    skip_bad_rows: bool,
    progress: bool | None,
) -> Comparison:
    """`compare` with both models at hand, and what probes read."""
    for name, count in (("activations", activations), ("attention", attention), ("explanations", explanations)):
        if count < 0:
            raise UsageError(f"{name}={count} must be 0 or more: it is a number of examples")
    examples = read_examples(
        pair.tuned,
        dataset,
        text=text,
        label=label,
        label_map=label_map,
        slices=slices,
        header=header,
        columns=columns,
        skip_bad_rows=skip_bad_rows,
    )
    return run_compare(
        pair,
        sample_examples(examples, limit, seed),
        config=CompareConfig(activations=activations, attention=attention, explanations=explanations, method=method),
        seed=seed,
        parts=parts,
        probes=probes,
        progress=sys.stderr.isatty() if progress is None else progress,
    )


def probe_request(
    probes: Any | None, label: str | None, test: Any | None = None, *, skip_bad_rows: bool = False
) -> ProbeRequest | None:
    """Data for probes of both models, read and looked at before a model is loaded; None asks for no probes.

    Raises:
        UsageError: a label or test data without data, or labels that are not one class for each item.
    """
    if probes is None:
        if label is not None or test is not None:
            raise UsageError("probe_label and probe_test say how probes are run; give their data as probes= as well")
        return None
    train, held_out = read_parts(probes, test, label, skip_bad_rows=skip_bad_rows)
    check_comparison(train, held_out)
    return ProbeRequest(train=train, test=held_out)


def as_pair(base: ModelLike | None, tuned: ModelLike, **options: Any) -> Pair:
    """Both models attached; `options` are those of `load`, for what is loaded here."""
    if is_adapter(tuned):
        if not isinstance(base, str | Path):
            raise UsageError(
                f"{Path(str(tuned)).name} is an adapter: give its base model as a folder or hub id, or the tuned model "
                "as one that was loaded with adapter="
            )
        handle = load(base, adapter=tuned, **options).handle
        return Pair(handle, handle, switched=True)
    handle = as_model(tuned, **options).handle
    if base is None:
        if not _has_adapter(handle):
            raise UsageError(
                f"{handle.name} has no adapter that could be switched off, so there is no base in it; give the base "
                "model as the first argument"
            )
        return Pair(handle, handle, switched=True)
    held = _held(base)
    if held is not None and _has_adapter(handle):
        ours = {parameter.data_ptr() for parameter in handle.model.parameters()}
        if held is handle.model or any(parameter.data_ptr() in ours for parameter in held.parameters()):
            # PEFT has put its adapter into the very object that was the base: both are in the one model.
            return Pair(handle, handle, switched=True)
    if held is not None and is_mutated_by_peft(held):
        raise UsageError(
            "the base holds PEFT's adapter layers, so it is a tuned model itself: PEFT puts its adapter into the very "
            "object it is given; load the base a second time, or give base=None and the PEFT model as tuned"
        )
    return Pair(base_of(base, handle, options), handle)


def _held(base: ModelLike) -> nn.Module | None:
    """The model that somebody holds in memory; None where it has yet to be loaded."""
    model = base.handle.model if isinstance(base, AttachedModel) else getattr(base, "model", None)
    if isinstance(base, nn.Module):
        return base
    return model if isinstance(model, nn.Module) else None


def is_adapter(model: ModelLike) -> bool:
    """Whether this is the folder of a PEFT adapter without a model beside it."""
    if not isinstance(model, str | Path):
        return False
    folder = Path(model).expanduser()
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _has_adapter(handle: Handle) -> bool:
    return hasattr(handle.model, "peft_config") and any(
        hasattr(module, "_disable_adapters") for module in handle.model.modules()
    )


def base_of(base: ModelLike, tuned: Handle, options: Mapping[str, Any] | None = None) -> Handle:
    """The base on the tuned model's device and in its type; without its head where the checkpoint has none such."""
    if isinstance(base, AttachedModel) or not isinstance(base, str | Path):
        return as_model(base).handle
    given = {**(options or {}), "device": str(tuned.device), "dtype": tuned.run_dtype}
    given.pop("adapter", None)
    try:
        # Otherwise rounding would pass for fine-tuning.
        return load(base, **{**given, "task": tuned.task}).handle
    except LoadError as err:
        if not err.no_head:
            raise
        return load(base, **{**given, "task": None}).handle
