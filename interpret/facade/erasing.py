"""Erasure as a verb: whether the model uses what a probe finds, or only encodes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from interpret.analyzers.probing.erasure import Gold
from interpret.analyzers.probing.erasure import erasure as run_erasure
from interpret.errors import UsageError
from interpret.facade.attaching import as_model
from interpret.models.handle import Handle
from interpret.readers.labels import map_labels
from interpret.readers.probe_data import ProbeData, read_probe_data
from interpret.readers.probe_splits import arranged
from interpret.results.erasure import Erasure, ErasureMethod


def erasure(
    model: Any,
    data: Any,
    test: Any = None,
    *,
    label: str = "label",
    site: str,
    method: ErasureMethod = "leace",
    task_label: str | None = None,
    label_map: str | Mapping[str, object] | None = None,
    text: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    **options: Any,
) -> Erasure:
    """Whether the model uses a label that a probe reads: erase it linearly at a site and see what breaks.

    The weights stay as they are; the site is edited while the model runs. Other sites, and what is not linear, may
    still carry the label.

    Args:
        model: attached model, path, hub id or pipeline.
        data: `.conllu` (word level) or a labelled table (sentence level).
        test: data to test on; None splits `data` by sentence.
        label: what is erased: `upos`, `xpos`, `deprel`, `feats.X`, or a column of a table.
        site: one place, such as `"resid_post.3"`.
        method: `"leace"` in closed form, or `"inlp"`.
        task_label: the column with what the model itself should say, for its accuracy; without it the predictions it
            makes unedited stand in. Language models are held to the text.
        label_map: labels of `task_label` to classes of the model, as in `"0=negative,1=positive"`.
        text: text column of a table; None guesses.
        seed: of splits, random directions, probes and bootstraps.
        limit: read at most so many sentences.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: count bad rows instead of stopping at the first.
        options: passed to the analyzer, for example `positions="probed"`, `n_random=10`, `margin=0.01`.

    Raises:
        UsageError: not one site, or a `task_label` that the model has no use for.
        InconclusiveError: too little data, or one class only.
    """
    read = partial(read_probe_data, text=text, header=header, columns=columns, skip_bad_rows=skip_bad_rows, limit=limit)
    train, held_out = arranged(read(data, label=label), None if test is None else read(test, label=label))
    handle = as_model(model).handle
    if task_label is not None:
        given = None if test is None else read(test, label=task_label)
        own = [part for part in arranged(read(data, label=task_label), given) if part is not None]
        answers = [_gold(handle, part, task_label, label_map) for part in own]
        options["gold"] = (answers[0], answers[1] if len(answers) > 1 else None)
    return run_erasure(handle, train, held_out, site=site, method=method, seed=seed, **options)


def _gold(handle: Handle, own: ProbeData, task_label: str, label_map: str | Mapping[str, object] | None) -> Gold:
    level = {"text-classification": "sentence", "token-classification": "word"}.get(handle.task)
    if level is None:
        raise UsageError(
            f"task_label={task_label!r} was given, but {handle.name} is a {handle.task} model and gives no class to a "
            "text or word; leave it out"
        )
    if own.level != level:
        raise UsageError(
            f"task_label={task_label!r} of {own.name} labels each {own.level}, but {handle.name} gives a class to each "
            f"{level}; name a label of that kind, or leave it out"
        )
    known = [name for row in own.labels for name in row if name is not None]
    pairs = map_labels(known, dict(enumerate(handle.labels)), label_map).pairs
    return [[-1 if name is None else pairs[name] for name in row] for row in own.labels]
