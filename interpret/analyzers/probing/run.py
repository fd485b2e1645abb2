"""One probing run: split, features, probes, baselines, controls, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.baselines import (
    control_labels,
    majority,
    most_frequent_of_type,
    permuted_labels,
    random_weights,
)
from interpret.analyzers.probing.description import block_ends, frequency_code, online_code
from interpret.analyzers.probing.features import FeatureStore, Items, fill, make_items, probe_keys
from interpret.analyzers.probing.logistic import fit_logistic_path
from interpret.analyzers.probing.ridge import RidgePath, choose, moments, ridge_path
from interpret.analyzers.probing.rows import Cell, Rows, paired_tests
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws
from interpret.errors import InconclusiveError, InterpretError, UsageError
from interpret.models.handle import Handle
from interpret.readers.probe_data import ProbeData, n_duplicates, n_shared, split_sentences
from interpret.results.probes import ProbeKind, ProbeResult
from interpret.results.record import Message
from interpret.sites import Key

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Probe = Literal["ridge", "logistic"]
#: Whose description length is measured: of nothing, of the task at each cell, or of controls and random weights too.
Codes = Literal["none", "task", "all"]

#: Fewer items than this, in training or in test, decide nothing; nor do fewer test sentences than the second number.
MIN_ITEMS: Final = 50
MIN_SENTENCES: Final = 10
#: Up to so many sentences the random-weights baseline is run unless told otherwise: it costs a second pass.
RANDOM_WEIGHTS_LIMIT: Final = 3000
#: Shares of train and validation where the caller brings the test data.
_WITH_TEST: Final = (0.8, 0.2, 0.0)
_WITHOUT_TEST: Final = (0.6, 0.2, 0.2)
#: `site` of rows that look at no activation.
NO_SITE: Final = "none"


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

    A word is represented by the mean over its tokens, a text by the mean over its tokens that are not special;
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
        `control`: ridge accuracy on the controls. At word level every word form has one random label (Hewitt and
        Liang 2019, arXiv:1909.03368); at sentence level labels are permuted, which measures capacity only.
        `majority`, and at word level `type` (most frequent label of the form), look at no activation: site `none`.
        `embedding`: the ridge rows of site `embed` again. `random_weights`: ridge on a model of the same config that
        was never trained (None: at word level up to 3,000 sentences).

    Raises:
        UsageError: a site without a vector per token, or data of two levels.
        InconclusiveError: fewer than 50 items or 10 sentences in a part, or a single label.
    """
    _check(train, test, probes, n_control, codes)
    keys = probe_keys(handle, sites)
    plan = _plan(handle, train, test, seed, n_control)
    bootstrap = ClusterBootstrap(plan.cluster[plan.test], n_bootstrap, seed)
    rows = Rows(handle.name, train.task, len(plan.items) - plan.n_fit, plan.n_fit - plan.n_train, seed)
    right = _trivial(rows, plan, bootstrap)
    if codes != "none":
        _code_rows(rows, plan, (NO_SITE, None), "majority", frequency_code(*plan.code_labels(0)), 0, n_bootstrap)

    n_not_converged = 0
    with FeatureStore(len(plan.items), len(keys)) as store:
        fill(store, handle, plan.items, sites, "probe: activations" if progress else None)
        for key in keys:
            X = store.standardise(key, plan.n_train)
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
        random_weights = train.level == "word" and len(plan.items.encoded) <= RANDOM_WEIGHTS_LIMIT
    if random_weights:
        failure = _random_rows(rows, plan, bootstrap, handle, keys, sites, seed, progress, right, codes)
        notes += [] if failure is None else [failure]
    else:
        notes.append(Message(code="probe_random_weights_not_run"))
    return ProbeResult(
        rows=tuple(rows.kept),
        task=train.task,
        level=train.level,
        classes=plan.classes,
        n_train=plan.n_train,
        n_validation=plan.n_fit - plan.n_train,
        n_test=len(plan.items) - plan.n_fit,
        n_clusters_test=bootstrap.n_clusters,
        n_truncated_words=plan.items.n_truncated_words,
        n_duplicate_sentences=0 if test is None else n_shared(train, test),
        control="type" if train.level == "word" else "permuted_labels",
        n_control_seeds=n_control,
        seed=seed,
        notes=tuple(notes),
        validation_rows=tuple(rows.validation),
        tests=paired_tests(right, bootstrap, seed),
        n_duplicate_train_sentences=n_duplicates(train),
        type_overlap=_type_overlap(plan) if train.level == "word" else None,
    )


@dataclass(frozen=True)
class _Plan:
    """Items in the order train, validation, test, the sentences of training and of validation shuffled.

    `labels` is [task, item]: the task itself, then the controls.
    """

    items: Items
    labels: IntArray
    classes: tuple[str, ...]
    cluster: IntArray
    n_train: int
    n_fit: int

    @property
    def test(self) -> slice:
        return slice(self.n_fit, len(self.items))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which test items have a label that was seen in training or validation."""
        return np.isin(self.labels[0, self.test], np.unique(self.labels[0, : self.n_fit]))

    def code_labels(self, task: int) -> tuple[IntArray, int]:
        """Labels of training and validation, counted without gaps, and how many there are."""
        seen, codes = np.unique(self.labels[task, : self.n_fit], return_inverse=True)
        return codes.reshape(-1).astype(np.int64), len(seen)


def _check(train: ProbeData, test: ProbeData | None, probes: Sequence[str], n_control: int, codes: str) -> None:
    unknown = sorted(set(probes) - set(get_args(Probe)))
    if unknown or not probes:
        raise UsageError(f"cannot fit probes={list(probes)}; available are {', '.join(get_args(Probe))}")
    if codes not in get_args(Codes):
        raise UsageError(f"codes is {codes!r}; available are {', '.join(get_args(Codes))}")
    if n_control < 1:
        raise UsageError(f"n_control is {n_control}; selectivity needs at least one control task")
    if test is not None and test.level != train.level:
        raise UsageError(
            f"{train.name} is labelled by {train.level} and {test.name} by {test.level}; bring data of one level"
        )


def _plan(handle: Handle, train: ProbeData, test: ProbeData | None, seed: int, n_control: int) -> _Plan:
    split = split_sentences(train, _WITHOUT_TEST if test is None else _WITH_TEST, seed)
    held_out = train.take(split.test) if test is None else test
    # The split is random, so training then validation, each shuffled, is the random order that online codes need.
    shuffle = np.random.default_rng([seed, 1]).permutation
    parts = (train.take(shuffle(split.train)), train.take(shuffle(split.validation)), held_out)
    joined = _join(parts)
    items = make_items(handle, joined)
    ends = np.searchsorted(items.sentence, np.cumsum([len(part) for part in parts]))
    n_train, n_fit = int(ends[0]), int(ends[1])
    sizes = {"training": n_train, "validation": n_fit - n_train, "test": len(items) - n_fit}
    what = "words" if train.level == "word" else "texts"
    for name, size in sizes.items():
        floor = MIN_ITEMS if name != "validation" else MIN_ITEMS // 5
        if size < floor:
            raise InconclusiveError(
                f"probing {train.task} on {train.name} leaves {size} labelled {what} for {name}; "
                f"at least {floor} are needed to say anything, so bring more data",
                code="thin_data",
            )
    classes, codes = np.unique(np.asarray(items.label, dtype=object), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    for name, part in (("training", slice(0, n_train)), ("test", slice(n_fit, None))):
        present = np.unique(codes[part])
        if len(present) < 2:
            raise InconclusiveError(
                f"every labelled item for {name} in {train.name} has {train.task} = {classes[present[0]]!r}; "
                "a probe needs at least two labels to tell apart",
                code="one_class",
            )
    numbers: dict[tuple[str, ...], int] = {}
    group = np.asarray([numbers.setdefault(joined.identity(i), len(numbers)) for i in range(len(joined))])
    cluster = group[items.sentence]
    n_clusters = len(np.unique(cluster[n_fit:]))
    if n_clusters < MIN_SENTENCES:
        raise InconclusiveError(
            f"the test part of {train.name} has {n_clusters} different sentences with a label; at least "
            f"{MIN_SENTENCES} are needed for an interval, so bring more data",
            code="thin_data",
        )
    seeds = [(seed, i) for i in range(n_control)]
    if train.level == "word":
        controls = control_labels(items.form, codes, seeds)
    else:
        controls = permuted_labels(codes, seeds)
    labels = np.concatenate([codes[None], controls])
    return _Plan(items, labels, tuple(str(c) for c in classes), cluster, n_train, n_fit)


def _join(parts: Sequence[ProbeData]) -> ProbeData:
    first = parts[0]
    return ProbeData(
        level=first.level,
        texts=tuple(text for part in parts for text in part.texts),
        labels=tuple(row for part in parts for row in part.labels),
        name=first.name,
        task=first.task,
        sentences=tuple(words for part in parts for words in part.sentences),
    )


def _trivial(rows: Rows, plan: _Plan, bootstrap: ClusterBootstrap) -> dict[Cell, npt.NDArray[np.bool_]]:
    """Baselines without activations, and where they are right.

    They learn from train and validation, as the probes finally do.
    """
    gold, n_classes = plan.labels[0], len(plan.classes)
    predicted: dict[ProbeKind, IntArray] = {"majority": majority(gold, plan.n_fit)[plan.test]}
    if any(plan.items.form):
        predicted["type"] = most_frequent_of_type(plan.items.form, gold, plan.n_fit)[plan.test]
    for kind, labels in predicted.items():
        rows.add_all((NO_SITE, None), kind, bootstrap.score(labels, gold[plan.test], n_classes))
    return {(NO_SITE, None, kind): labels == gold[plan.test] for kind, labels in predicted.items()}


def _coded(plan: _Plan, X: Float32Array, task: int) -> FloatArray:
    """Bits of each label of training and validation."""
    labels, n_classes = plan.code_labels(task)
    return online_code(X[: plan.n_fit], labels, block_ends(plan.items.sentence[: plan.n_fit]), n_classes)


def _code_rows(
    rows: Rows,
    plan: _Plan,
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


def _ridge_predictions(plan: _Plan, X: Float32Array) -> _Screened:
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
    plan: _Plan, bootstrap: ClusterBootstrap, X: Float32Array
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
    rows: Rows, plan: _Plan, bootstrap: ClusterBootstrap, key: Key, X: Float32Array
) -> tuple[RidgePath, npt.NDArray[np.bool_]]:
    screened, scores, control = _ridge_cells(plan, bootstrap, X)
    rows.add_validation(key, screened.validation)
    rows.add_all(key, "ridge", scores)
    rows.add(key, "control", "accuracy", control)
    if key[0] == "embed":
        rows.add_all(key, "embedding", scores)
    return screened.path, screened.predicted[0] == plan.labels[0, plan.test]


def _logistic_rows(
    rows: Rows, plan: _Plan, bootstrap: ClusterBootstrap, key: Key, X: Float32Array, path: RidgePath
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
    plan: _Plan,
    bootstrap: ClusterBootstrap,
    handle: Handle,
    keys: Sequence[Key],
    sites: Sequence[str] | str,
    seed: int,
    progress: bool,
    right: dict[Cell, npt.NDArray[np.bool_]],
    codes: Codes,
) -> Message | None:
    """Ridge and selectivity on an untrained model; a message where no such model can be made."""
    try:
        with random_weights(handle, seed) as untrained, FeatureStore(len(plan.items), len(keys)) as store:
            fill(store, untrained, plan.items, sites, "probe: random weights" if progress else None)
            for key in keys:
                X = store.standardise(key, plan.n_train)
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


def _notes(plan: _Plan, train: ProbeData, test: ProbeData | None) -> list[Message]:
    notes = []
    items = plan.items
    if test is not None and (shared := n_shared(train, test)):
        notes.append(Message(code="probe_shared_sentences", params={"n": shared, "n_test": len(test)}))
    if repeated := n_duplicates(train):
        notes.append(Message(code="probe_duplicates_kept_together", params={"n": repeated}))
    if items.n_without_tokens:
        notes.append(Message(code="probe_items_without_tokens", params={"n": items.n_without_tokens}))
    if items.n_truncated_texts:
        notes.append(Message(code="probe_truncated_texts", params={"n": items.n_truncated_texts}))
    unseen = int((~plan.known).sum())
    if unseen:
        notes.append(Message(code="probe_unseen_labels", params={"n": unseen}))
    if train.level == "word":
        notes.append(Message(code="probe_type_overlap", params={"share": _type_overlap(plan)}))
    else:
        notes.append(Message(code="probe_mean_pooling"))
        notes.append(Message(code="probe_control_is_capacity"))
    return notes


def _type_overlap(plan: _Plan) -> float:
    """The share of test words whose form stands in training or validation too."""
    seen = set(plan.items.form[: plan.n_fit])
    return float(np.mean([form in seen for form in plan.items.form[plan.n_fit :]]))
