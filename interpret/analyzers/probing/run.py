"""One probing run: split, features, probes, baselines, controls, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.baselines import majority, most_frequent_of_type
from interpret.analyzers.probing.baselines import random_weights as untrained_model
from interpret.analyzers.probing.description import block_ends, frequency_code, online_code
from interpret.analyzers.probing.features import FeatureStore, probe_keys
from interpret.analyzers.probing.kept import KeptCells
from interpret.analyzers.probing.leaks import leaks
from interpret.analyzers.probing.logistic import fit_logistic_path
from interpret.analyzers.probing.nonlinear import hidden_layer
from interpret.analyzers.probing.parts import Codes, Parts, Probe, check_request, make_parts
from interpret.analyzers.probing.ridge import RidgePath, choose, moments, ridge_path
from interpret.analyzers.probing.rows import NO_SITE, Rows, paired_tests
from interpret.analyzers.probing.stored import Stored
from interpret.analyzers.probing.surface import word_features
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws
from interpret.analyzers.probing.values import random_rows, trained_rows, trivial_rows
from interpret.analyzers.probing.work import Request, TaskRun, measure_each
from interpret.errors import InterpretError, UsageError
from interpret.models.handle import Handle
from interpret.readers.probe_data import Kind, ProbeData
from interpret.readers.probe_splits import n_duplicates, n_shared
from interpret.results.probes import ProbeKind, ProbeResult, ProbeTest
from interpret.results.record import Message
from interpret.sites import Key
from interpret.statistics.multiple import holm

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
#: Up to so many sentences the random-weights baseline is run unless told otherwise: it costs a second pass.
RANDOM_WEIGHTS_LIMIT: Final = 10_000


def probe(
    handle: Handle,
    train: ProbeData,
    test: ProbeData | None = None,
    *,
    sites: Sequence[str] | str = ("embed", "resid_post"),
    seed: int = 0,
    n_control: int = 5,
    probes: Sequence[Probe] = ("ridge", "logistic"),
    codes: Codes = "none",
    n_bootstrap: int = 1000,
    random_weights: bool | None = None,
    progress: bool = True,
) -> ProbeResult:
    """How well a linear probe reads a label from each site and layer, beside what it must beat.

    A word or a span is represented by the mean over its tokens, a text by the mean over its tokens that are not
    special, a pair of spans by both means, and a pair of texts, each read by itself, by [u; v; |u - v|; u * v];
    features are standardised on the training part. The penalty is chosen on the validation part, the probe is then
    fitted to both, and the test part is predicted once. High accuracy shows that the label can be read linearly, not
    that the model uses it. `tests` compares each probe with its baselines (`paired_tests`).

    Without `test`, sentences are split 60/20/20, with it `train` is split 80/20 into training and validation;
    identical sentences never stand in two of these parts (those shared with a given `test` are counted).

    Rows of `to_frame()`, by `probe`:
        `ridge`: accuracy, balanced accuracy, macro-F1, and selectivity, which is accuracy minus the mean accuracy on
        `n_control` control tasks. Its interval includes the spread between controls (`over_draws`).
        `logistic`: accuracy, balanced accuracy, macro-F1, V-information in bits. With `codes="task"` also the
        description length of the labels of training and validation and their compression (n log2 K over it), as
        `online_code` says; `majority` then has that of the labels without features. `codes="all"` adds those of the
        first control and of random weights. Intervals of both are over sentences, given the trained probes.
        `mlp`, where it is asked for: one hidden layer of 64, stopped on validation, with its own selectivity, and
        `mlp_control` its accuracy on the controls. It reads more, and memorises more.
        `control`: ridge accuracy on the controls. Every word form, and every tuple of the forms in a span or in a
        pair of spans, has one random label (Hewitt and Liang 2019, arXiv:1909.03368); where whole texts are labelled,
        labels are permuted, which measures capacity only.
        `majority`, and where forms are `type` (most frequent label of the form), else `bag_of_words` (ridge on which
        words the text holds), look at no activation: site `none`.
        `embedding`: the ridge rows of site `embed` again. `random_weights`: ridge on a model of the same config that
        was never trained (None: where items have forms, up to 10,000 sentences).

    Labels that hold together (`kind="multilabel"`) have a ridge column and a logistic probe each: accuracy over all
    labels, micro-F1, macro-F1, and of the logistic probes V-information summed over labels; `label_rows` has each by
    itself. Numbers (`kind="regression"`) are predicted by ridge alone: R squared, Spearman's correlation, and
    selectivity in R squared; `mean` is the baseline. Neither has a description length. Controls take the label of an
    item drawn for each form.

    Raises:
        UsageError: a site without a vector per token, data of two levels, or logistic probes of numbers alone.
        InconclusiveError: fewer than 50 items or 10 sentences in a part, or a single label.
    """
    return probe_tasks(
        handle,
        [(train, test)],
        sites=sites,
        seed=seed,
        n_control=n_control,
        probes=probes,
        codes=codes,
        n_bootstrap=n_bootstrap,
        random_weights=random_weights,
        progress=progress,
    )[0].result


class Probed(NamedTuple):
    """The result of one task, and its rows with the fitted probes."""

    result: ProbeResult
    rows: Rows


def probe_tasks(
    handle: Handle | Stored,
    tasks: Sequence[tuple[ProbeData, ProbeData | None]],
    *,
    sites: Sequence[str] | str | None = None,
    seed: int = 0,
    n_control: int = 5,
    probes: Sequence[Probe] = ("ridge", "logistic"),
    codes: Codes = "none",
    n_bootstrap: int = 1000,
    random_weights: bool | None = None,
    progress: bool = True,
    request: Request | None = None,
) -> list[Probed]:
    """`probe` for several tasks, each (training, test): the model reads every text once, `p_holm` is over all tests.

    With `request`, cells that it keeps are read instead of measured. A store has no model to draw new weights for, so
    that this baseline is left out. Raises as `probe`.
    """
    stored = isinstance(handle, Stored)
    given = tasks
    if isinstance(handle, Stored):
        tasks = [(handle.present(train), None if test is None else handle.present(test)) for train, test in tasks]
    if stored and random_weights:
        raise UsageError("a store holds activations and no model; random_weights needs the model itself")
    for train, test in tasks:
        check_request(train, test, probes, n_control, codes)
    keys = probe_keys(handle, sites)
    request = request or Request({}, KeptCells(None))
    random_weights = False if stored else random_weights
    started = [_started(handle, train, test, seed, n_control, n_bootstrap, random_weights) for train, test in tasks]
    for task in started:
        _trivial(task.rows, task.plan, task.bootstrap)
        if codes != "none" and task.plan.kind == "class":
            bits = frequency_code(*task.plan.code_labels(0))
            _code_rows(task.rows, task.plan, (NO_SITE, None), "majority", bits, 0, n_bootstrap)
    trained = partial(_trained_cell, probes=probes, codes=codes)
    label = "probe: activations" if progress else None
    measure_each(nullcontext(handle), started, keys, trained, request, "trained", label)
    code = "probe_random_weights_no_model" if stored else "probe_random_weights_not_run"
    for task, all_of_it in zip(started, given, strict=True):
        n_all, n = (sum(len(part) for part in parts if part) for parts in (all_of_it, (task.train, task.test)))
        if n < n_all:
            task.notes.append(Message(code="probe_not_in_store", params={"n": n_all - n, "n_all": n_all}))
        if not task.random_weights:
            task.notes.append(Message(code=code))
    untrained = [task for task in started if task.random_weights]
    if untrained and not isinstance(handle, Stored):
        label = "probe: random weights" if progress else None
        try:
            opened = untrained_model(handle, seed)
            measure_each(opened, untrained, keys, partial(_random_cell, codes=codes), request, "random", label)
        except (InterpretError, TypeError, ValueError, AttributeError) as err:
            # A class that cannot be built from its config alone (remote code, quantised weights) has no such baseline.
            failure = Message(code="probe_random_weights_failed", params={"error": type(err).__name__})
            for task in untrained:
                task.notes.append(failure)
    tests = [
        paired_tests(task.rows.right, task.bootstrap, seed, "r2" if task.plan.kind == "regression" else "accuracy")
        for task in started
    ]
    corrected = iter(holm(np.array([test.p for found in tests for test in found])).tolist())
    tests = [tuple(replace(test, p_holm=next(corrected)) for test in found) for found in tests]
    return [Probed(_result(task, own, n_control, seed), task.rows) for task, own in zip(started, tests, strict=True)]


def _started(
    handle: Handle | Stored,
    train: ProbeData,
    test: ProbeData | None,
    seed: int,
    n_control: int,
    n_bootstrap: int,
    random_weights: bool | None,
) -> TaskRun:
    plan = make_parts(handle, train, test, seed, n_control, get_args(Kind))
    if random_weights is None:
        random_weights = train.has_forms and len(plan.items.encoded) <= RANDOM_WEIGHTS_LIMIT
    rows = Rows(handle.name, train.task, len(plan.items) - plan.n_fit, plan.n_fit - plan.n_train, seed)
    bootstrap = ClusterBootstrap(plan.cluster[plan.test], n_bootstrap, seed)
    return TaskRun(train, test, plan, bootstrap, rows, random_weights=random_weights)


def _result(task: TaskRun, tests: tuple[ProbeTest, ...], n_control: int, seed: int) -> ProbeResult:
    plan, rows, train, test = task.plan, task.rows, task.train, task.test
    notes = _notes(plan, train, test)
    if rows.n_not_converged:
        notes.append(Message(code="probe_not_converged", params={"n": rows.n_not_converged}))
    notes += task.notes
    return ProbeResult(
        rows=tuple(row for row in rows.kept if row.task == train.task),
        label_rows=tuple(row for row in rows.kept if row.task != train.task),
        kind=train.kind,
        task=train.task,
        level=train.level,
        classes=plan.classes,
        n_train=plan.n_train,
        n_validation=plan.n_fit - plan.n_train,
        n_test=len(plan.items) - plan.n_fit,
        n_clusters_test=task.bootstrap.n_clusters,
        n_truncated_words=plan.items.n_truncated_words,
        n_duplicate_sentences=0 if test is None else n_shared(train, test),
        control=_control(train),
        n_control_seeds=n_control,
        seed=seed,
        notes=tuple(notes),
        validation_rows=tuple(rows.validation),
        tests=tests,
        n_duplicate_train_sentences=n_duplicates(train),
        type_overlap=_type_overlap(plan) if train.has_forms else None,
        cluster="group" if any(train.groups) else "sentence",
    )


def _trained_cell(
    task: TaskRun, rows: Rows, key: Key, store: FeatureStore, probes: Sequence[Probe], codes: Codes
) -> None:
    """Every probe at one place of the model."""
    plan, bootstrap = task.plan, task.bootstrap
    X = store.standardise(key, plan.n_train)
    if plan.values is not None:
        trained = trained_rows(rows, plan, bootstrap, key, X, probes)
        rows.right |= trained.right
        rows.n_not_converged += trained.n_not_converged
        for cell, probe in trained.fitted.items():
            rows.keep_probe(cell, *probe, store.scaling[key])
        return
    path = _ridge_rows(rows, plan, bootstrap, key, X, store.scaling[key])
    if "logistic" in probes:
        _logistic_rows(rows, plan, bootstrap, key, X, path, store.scaling[key])
    if "mlp" in probes:
        _mlp_rows(rows, plan, bootstrap, key, X)
    if codes != "none":
        _code_rows(rows, plan, key, "logistic", _coded(plan, X, 0), 0, bootstrap.n_bootstrap)
    if codes == "all":
        _code_rows(rows, plan, key, "control", _coded(plan, X, 1), 1, bootstrap.n_bootstrap)


def _mlp_rows(rows: Rows, plan: Parts, bootstrap: ClusterBootstrap, key: Key, X: Float32Array) -> None:
    """A hidden layer for the task and for each control: what has room to memorise is never shown without them."""
    n_classes, X_fit = len(plan.classes), X[: plan.n_fit]
    predicted = [
        hidden_layer(X_fit, own[: plan.n_fit], plan.n_train, X[plan.test], n_classes, rows.seed + task)
        for task, own in enumerate(plan.labels)
    ]
    scores, control = _beside_controls(plan, bootstrap, predicted)
    rows.add_all(key, "mlp", scores)
    rows.add(key, "mlp_control", "accuracy", control)
    rows.right[*key, "mlp"] = predicted[0] == plan.labels[0, plan.test]


def _random_cell(task: TaskRun, rows: Rows, key: Key, store: FeatureStore, codes: Codes) -> None:
    """Ridge and selectivity at one place of an untrained model."""
    plan, bootstrap = task.plan, task.bootstrap
    X = store.standardise(key, plan.n_train)
    if plan.values is not None:
        rows.right |= random_rows(rows, plan, bootstrap, key, X)
        return
    screened, scores, _ = _ridge_cells(plan, bootstrap, X)
    rows.add_all(key, "random_weights", scores)
    rows.right[*key, "random_weights"] = screened.predicted[0] == plan.labels[0, plan.test]
    if codes == "all":
        _code_rows(rows, plan, key, "random_weights", _coded(plan, X, 0), 0, bootstrap.n_bootstrap)


def _trivial(rows: Rows, plan: Parts, bootstrap: ClusterBootstrap) -> None:
    """Baselines without activations, and where they are right.

    They learn from train and validation, as the probes finally do.
    """
    if plan.values is not None:
        rows.right |= trivial_rows(rows, plan, bootstrap)
        return
    gold, n_classes = plan.labels[0], len(plan.classes)
    predicted: dict[ProbeKind, IntArray] = {"majority": majority(gold, plan.n_fit)[plan.test]}
    if not any(plan.items.form):
        with word_features(plan) as (_, X):
            predicted["bag_of_words"] = _ridge_predictions(plan, X).predicted[0]
    else:
        predicted["type"] = most_frequent_of_type(plan.items.form, gold, plan.n_fit)[plan.test]
    for kind, labels in predicted.items():
        rows.add_all((NO_SITE, None), kind, bootstrap.score(labels, gold[plan.test], n_classes))
        rows.right[NO_SITE, None, kind] = labels == gold[plan.test]


def _coded(plan: Parts, X: Float32Array, task: int) -> FloatArray:
    """Bits of each label of training and validation."""
    labels, n_classes = plan.code_labels(task)
    return online_code(X[: plan.n_fit], labels, block_ends(plan.items.sentence[: plan.n_fit]), n_classes)


def _code_rows(
    rows: Rows,
    plan: Parts,
    key: tuple[str, int | None],
    probe: ProbeKind,
    bits: FloatArray,
    task: int,
    n_bootstrap: int,
) -> None:
    """Description length and compression; the interval is over sentences, the probes as they are."""
    each = ClusterBootstrap(plan.cluster[: plan.n_fit], n_bootstrap, rows.seed).mean(bits)
    n, uniform = len(bits), float(np.log2(plan.code_labels(task)[1]))
    if each.value is None or each.low is None or each.high is None:
        return
    length = Interval(n * each.value, n * each.low, n * each.high)
    rows.add(key, probe, "description_length_bits", length, n)
    rows.add(key, probe, "compression", Interval(uniform / each.value, uniform / each.high, uniform / each.low), n)


class _Screened(NamedTuple):
    """Test predictions of the task and of each control, their lambdas, and best accuracies on validation [task]."""

    path: RidgePath
    predicted: list[IntArray]
    lambdas: list[float]
    validation: FloatArray


def _ridge_predictions(plan: Parts, X: Float32Array) -> _Screened:
    """Lambda is chosen for the task and for each control on validation, the probe refitted on both parts."""
    n_classes = len(plan.classes)
    fit, held = slice(0, plan.n_train), slice(plan.n_train, plan.n_fit)
    sums = moments(X[fit], plan.labels[:, fit], n_classes)
    accuracies = ridge_path(sums).accuracies(X[held], plan.labels[:, held])
    lambdas = choose(accuracies)
    path = ridge_path(sums + moments(X[held], plan.labels[:, held], n_classes))
    predicted = [path.predict(X[plan.test], lam, task) for task, lam in enumerate(lambdas)]
    return _Screened(path, predicted, list(lambdas), accuracies.max(axis=1))


def _ridge_cells(
    plan: Parts, bootstrap: ClusterBootstrap, X: Float32Array
) -> tuple[_Screened, dict[str, Interval], Interval]:
    """The screen, scores with selectivity, and control accuracy."""
    screened = _ridge_predictions(plan, X)
    return screened, *_beside_controls(plan, bootstrap, screened.predicted)


def _beside_controls(
    plan: Parts, bootstrap: ClusterBootstrap, predicted: Sequence[IntArray]
) -> tuple[dict[str, Interval], Interval]:
    """Scores of the task with selectivity, and control accuracy, from predictions of the task and of each control."""
    right = np.stack([p == plan.labels[t, plan.test] for t, p in enumerate(predicted)]).astype(np.float64)
    scores = bootstrap.score(predicted[0], plan.labels[0, plan.test], len(plan.classes))
    draws = right[1:].mean(axis=1)
    control = right[1:].mean(axis=0)
    scores["selectivity"] = over_draws(bootstrap.mean(right[0] - control), draws, fresh=True)
    return scores, over_draws(bootstrap.mean(control), draws, fresh=False)


def _ridge_rows(
    rows: Rows, plan: Parts, bootstrap: ClusterBootstrap, key: Key, X: Float32Array, scaling: Sequence[FloatArray]
) -> RidgePath:
    screened, scores, control = _ridge_cells(plan, bootstrap, X)
    rows.add_validation(key, screened.validation)
    rows.add_all(key, "ridge", scores)
    rows.add(key, "control", "accuracy", control)
    if key[0] == "embed":
        rows.add_all(key, "embedding", scores)
    rows.right[*key, "ridge"] = screened.predicted[0] == plan.labels[0, plan.test]
    rows.keep_probe((*key, "ridge"), *screened.path.weights(screened.lambdas[0], 0), scaling)
    return screened.path


def _logistic_rows(
    rows: Rows,
    plan: Parts,
    bootstrap: ClusterBootstrap,
    key: Key,
    X: Float32Array,
    path: RidgePath,
    scaling: Sequence[FloatArray],
) -> None:
    """Refit by likelihood."""
    gold = plan.labels[0]
    found, _ = fit_logistic_path(X[: plan.n_fit], gold[: plan.n_fit], plan.n_train, path)
    log_p = found.log_probabilities(X[plan.test])
    rows.add_all(key, "logistic", bootstrap.score(log_p.argmax(axis=1), gold[plan.test], len(plan.classes)))
    # The null model knows the label's frequencies; an item whose label has none is infinitely surprising to both.
    share = np.bincount(gold[: plan.n_fit], minlength=len(plan.classes)) / plan.n_fit
    held, known = gold[plan.test], plan.known
    gain = log_p[np.arange(len(held)), held] - np.log(np.where(share > 0, share, 1.0))[held]
    bits = bootstrap.mean(gain / np.log(2), known)
    rows.add(key, "logistic", "v_information_bits", bits, int(known.sum()))
    rows.n_not_converged += not found.converged
    rows.right[*key, "logistic"] = log_p.argmax(axis=1) == held
    rows.keep_probe((*key, "logistic"), found.weights, found.intercept, scaling)


def _notes(plan: Parts, train: ProbeData, test: ProbeData | None) -> list[Message]:
    notes = []
    items = plan.items
    notes += [] if test is None else leaks(train, test)
    if repeated := n_duplicates(train):
        notes.append(Message(code="probe_duplicates_kept_together", params={"n": repeated}))
    if items.n_without_tokens:
        notes.append(Message(code="probe_items_without_tokens", params={"n": items.n_without_tokens}))
    if items.n_sharing_tokens:
        notes.append(Message(code="probe_items_sharing_tokens", params={"n": items.n_sharing_tokens}))
    if items.n_truncated_texts:
        notes.append(Message(code="probe_truncated_texts", params={"n": items.n_truncated_texts}))
    if plan.kind != "class":
        notes.append(Message(code=f"probe_kind_{plan.kind}"))
    unseen = int((~plan.known).sum())
    if unseen:
        notes.append(Message(code="probe_unseen_labels", params={"n": unseen}))
    code = {"sentence": "probe_mean_pooling", "span": "probe_mean_pooling_items"}.get(train.level)
    if train.level == "pair":
        code = "probe_mean_pooling_spans" if train.has_forms else "probe_mean_pooling_texts"
    if train.has_forms:
        overlap = "probe_type_overlap" if train.level == "word" else "probe_form_overlap"
        notes.append(Message(code=overlap, params={"share": _type_overlap(plan)}))
    notes += [Message(code=code)] if code else []
    if not train.has_forms:
        notes.append(Message(code="probe_control_is_capacity"))
    return notes


def _control(train: ProbeData) -> Literal["type", "type_tuple", "permuted_labels"]:
    """What the control tasks are: see `make_parts`."""
    return "type" if train.level == "word" else "type_tuple" if train.has_forms else "permuted_labels"


def _type_overlap(plan: Parts) -> float:
    """The share of test words whose form stands in training or validation too."""
    seen = set(plan.items.form[: plan.n_fit])
    return float(np.mean([form in seen for form in plan.items.form[plan.n_fit :]]))
