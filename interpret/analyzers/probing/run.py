"""One probing run: split, features, probes, baselines, controls, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.baselines import (
    majority,
    most_frequent_of_type,
    random_weights,
)
from interpret.analyzers.probing.description import block_ends, frequency_code, online_code
from interpret.analyzers.probing.features import FeatureStore, fill, probe_keys
from interpret.analyzers.probing.leaks import leaks
from interpret.analyzers.probing.logistic import fit_logistic_path
from interpret.analyzers.probing.parts import Codes, Parts, Probe, check_request, make_parts
from interpret.analyzers.probing.ridge import RidgePath, choose, moments, ridge_path
from interpret.analyzers.probing.rows import NO_SITE, Cell, Rows, paired_tests
from interpret.analyzers.probing.surface import word_features
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws
from interpret.analyzers.probing.values import random_rows, trained_rows, trivial_rows
from interpret.errors import InterpretError
from interpret.models.handle import Handle
from interpret.readers.probe_data import Kind, ProbeData
from interpret.readers.probe_splits import n_duplicates, n_shared
from interpret.results.probes import ProbeKind, ProbeResult
from interpret.results.record import Message
from interpret.sites import Key

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
#: Up to so many sentences the random-weights baseline is run unless told otherwise: it costs a second pass.
RANDOM_WEIGHTS_LIMIT: Final = 3000


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
        `control`: ridge accuracy on the controls. Every word form, and every tuple of the forms in a span or in a
        pair of spans, has one random label (Hewitt and Liang 2019, arXiv:1909.03368); where whole texts are labelled,
        labels are permuted, which measures capacity only.
        `majority`, and where forms are `type` (most frequent label of the form), else `bag_of_words` (ridge on which
        words the text holds), look at no activation: site `none`.
        `embedding`: the ridge rows of site `embed` again. `random_weights`: ridge on a model of the same config that
        was never trained (None: at word level up to 3,000 sentences).

    Labels that hold together (`kind="multilabel"`) have a ridge column and a logistic probe each: accuracy over all
    labels, micro-F1, macro-F1, and of the logistic probes V-information summed over labels; `label_rows` has each by
    itself. Numbers (`kind="regression"`) are predicted by ridge alone: R squared, Spearman's correlation, and
    selectivity in R squared; `mean` is the baseline. Neither has a description length. Controls take the label of an
    item drawn for each form.

    Raises:
        UsageError: a site without a vector per token, data of two levels, or logistic probes of numbers alone.
        InconclusiveError: fewer than 50 items or 10 sentences in a part, or a single label.
    """
    check_request(train, test, probes, n_control, codes)
    keys = probe_keys(handle, sites)
    plan = make_parts(handle, train, test, seed, n_control, get_args(Kind))
    bootstrap = ClusterBootstrap(plan.cluster[plan.test], n_bootstrap, seed)
    rows = Rows(handle.name, train.task, len(plan.items) - plan.n_fit, plan.n_fit - plan.n_train, seed)
    right = _trivial(rows, plan, bootstrap)
    if plan.kind != "class":
        codes = "none"
    if codes != "none":
        _code_rows(rows, plan, (NO_SITE, None), "majority", frequency_code(*plan.code_labels(0)), 0, n_bootstrap)

    n_not_converged = 0
    with FeatureStore(len(plan.items), len(keys)) as store:
        fill(store, handle, plan.items, sites, "probe: activations" if progress else None)
        for key in keys:
            X = store.standardise(key, plan.n_train)
            if plan.values is not None:
                trained = trained_rows(rows, plan, bootstrap, key, X, probes)
                right |= trained.right
                n_not_converged += trained.n_not_converged
                store.drop(key)
                continue
            path, right[*key, "ridge"] = _ridge_rows(rows, plan, bootstrap, key, X)
            if "logistic" in probes:
                arrived, right[*key, "logistic"] = _logistic_rows(rows, plan, bootstrap, key, X, path)
                n_not_converged += not arrived
            if codes != "none":
                _code_rows(rows, plan, key, "logistic", _coded(plan, X, 0), 0, n_bootstrap)
            if codes == "all":
                _code_rows(rows, plan, key, "control", _coded(plan, X, 1), 1, n_bootstrap)
            store.drop(key)

    notes = _notes(plan, train, test)
    if n_not_converged:
        notes.append(Message(code="probe_not_converged", params={"n": n_not_converged}))
    if random_weights is None:
        random_weights = train.has_forms and len(plan.items.encoded) <= RANDOM_WEIGHTS_LIMIT
    if random_weights:
        failure = _random_rows(rows, plan, bootstrap, handle, keys, sites, seed, progress, right, codes)
        notes += [] if failure is None else [failure]
    else:
        notes.append(Message(code="probe_random_weights_not_run"))
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
        n_clusters_test=bootstrap.n_clusters,
        n_truncated_words=plan.items.n_truncated_words,
        n_duplicate_sentences=0 if test is None else n_shared(train, test),
        control=_control(train),
        n_control_seeds=n_control,
        seed=seed,
        notes=tuple(notes),
        validation_rows=tuple(rows.validation),
        tests=paired_tests(right, bootstrap, seed, "r2" if train.kind == "regression" else "accuracy"),
        n_duplicate_train_sentences=n_duplicates(train),
        type_overlap=_type_overlap(plan) if train.has_forms else None,
        cluster="group" if any(train.groups) else "sentence",
    )


def _trivial(rows: Rows, plan: Parts, bootstrap: ClusterBootstrap) -> dict[Cell, npt.NDArray[Any]]:
    """Baselines without activations, and where they are right.

    They learn from train and validation, as the probes finally do.
    """
    if plan.values is not None:
        return trivial_rows(rows, plan, bootstrap)
    gold, n_classes = plan.labels[0], len(plan.classes)
    predicted: dict[ProbeKind, IntArray] = {"majority": majority(gold, plan.n_fit)[plan.test]}
    if not any(plan.items.form):
        with word_features(plan) as (_, X):
            predicted["bag_of_words"] = _ridge_predictions(plan, X).predicted[0]
    else:
        predicted["type"] = most_frequent_of_type(plan.items.form, gold, plan.n_fit)[plan.test]
    for kind, labels in predicted.items():
        rows.add_all((NO_SITE, None), kind, bootstrap.score(labels, gold[plan.test], n_classes))
    return {(NO_SITE, None, kind): labels == gold[plan.test] for kind, labels in predicted.items()}


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
    """Test predictions of the task and of each control, and their best accuracy on validation [task]."""

    path: RidgePath
    predicted: list[IntArray]
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
    return _Screened(path, predicted, accuracies.max(axis=1))


def _ridge_cells(
    plan: Parts, bootstrap: ClusterBootstrap, X: Float32Array
) -> tuple[_Screened, dict[str, Interval], Interval]:
    """The screen, scores with selectivity, and control accuracy."""
    screened = _ridge_predictions(plan, X)
    predicted = screened.predicted
    right = np.stack([p == plan.labels[t, plan.test] for t, p in enumerate(predicted)]).astype(np.float64)
    scores = bootstrap.score(predicted[0], plan.labels[0, plan.test], len(plan.classes))
    draws = right[1:].mean(axis=1)
    control = right[1:].mean(axis=0)
    scores["selectivity"] = over_draws(bootstrap.mean(right[0] - control), draws, fresh=True)
    return screened, scores, over_draws(bootstrap.mean(control), draws, fresh=False)


def _ridge_rows(
    rows: Rows, plan: Parts, bootstrap: ClusterBootstrap, key: Key, X: Float32Array
) -> tuple[RidgePath, npt.NDArray[np.bool_]]:
    screened, scores, control = _ridge_cells(plan, bootstrap, X)
    rows.add_validation(key, screened.validation)
    rows.add_all(key, "ridge", scores)
    rows.add(key, "control", "accuracy", control)
    if key[0] == "embed":
        rows.add_all(key, "embedding", scores)
    return screened.path, screened.predicted[0] == plan.labels[0, plan.test]


def _logistic_rows(
    rows: Rows, plan: Parts, bootstrap: ClusterBootstrap, key: Key, X: Float32Array, path: RidgePath
) -> tuple[bool, npt.NDArray[np.bool_]]:
    """Refit by likelihood; returns whether the optimiser arrived, and where the probe is right."""
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
    return found.converged, log_p.argmax(axis=1) == held


def _random_rows(
    rows: Rows,
    plan: Parts,
    bootstrap: ClusterBootstrap,
    handle: Handle,
    keys: Sequence[Key],
    sites: Sequence[str] | str,
    seed: int,
    progress: bool,
    right: dict[Cell, npt.NDArray[Any]],
    codes: Codes,
) -> Message | None:
    """Ridge and selectivity on an untrained model; a message where no such model can be made."""
    try:
        with random_weights(handle, seed) as untrained, FeatureStore(len(plan.items), len(keys)) as store:
            fill(store, untrained, plan.items, sites, "probe: random weights" if progress else None)
            for key in keys:
                X = store.standardise(key, plan.n_train)
                if plan.values is not None:
                    right |= random_rows(rows, plan, bootstrap, key, X)
                    store.drop(key)
                    continue
                screened, scores, _ = _ridge_cells(plan, bootstrap, X)
                rows.add_all(key, "random_weights", scores)
                right[*key, "random_weights"] = screened.predicted[0] == plan.labels[0, plan.test]
                if codes == "all":
                    _code_rows(rows, plan, key, "random_weights", _coded(plan, X, 0), 0, bootstrap.n_bootstrap)
                store.drop(key)
    except (InterpretError, TypeError, ValueError, AttributeError) as err:
        # A class that cannot be built from its config alone (remote code, quantised weights) has no such baseline.
        return Message(code="probe_random_weights_failed", params={"error": type(err).__name__})
    return None


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
