"""Probes of several labels at once and of numbers: a ridge column for each, from the same streamed moments.

Labels that hold together are told by a threshold of one half on the ridge column of each, or by a logistic probe for
each; numbers are predicted by ridge alone. What a probe has to beat is what classes have: the commonest answer or the
mean, the mean by form or a bag of words, the same task with meaningless labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.logistic import fit_logistic_path
from interpret.analyzers.probing.parts import Parts, Probe
from interpret.analyzers.probing.ridge import LAMBDAS, Moments, RidgePath, blocks, choose, ridge_path
from interpret.analyzers.probing.rows import NO_SITE, Cell, Rows
from interpret.analyzers.probing.surface import word_features
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws
from interpret.analyzers.probing.value_scores import closeness, micro_f1, number_scores, r2, set_scores
from interpret.results.probes import ProbeKind, ProbeMetric, ProbeRow
from interpret.sites import Key

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
#: For each probe, a value [item] whose mean over the test items is what probes are compared by.
Right = dict[Cell, FloatArray]


def value_moments(X: Float32Array, values: FloatArray) -> Moments:
    """Second moments of features X [item, d] and values [task, item, column], as `moments` has them of classes."""
    d, (n_tasks, _, k) = X.shape[1], values.shape
    x, xx, y, xy = np.zeros(d), np.zeros((d, d)), np.zeros((n_tasks, k)), np.zeros((d, n_tasks, k))
    for part in blocks(X):
        block = X[part].astype(np.float64)
        x += block.sum(axis=0)
        xx += block.T @ block
        y += values[:, part].sum(axis=1)
        xy += np.einsum("nd,tnk->dtk", block, values[:, part], optimize=True)
    return Moments(len(X), x, xx, y, xy)


class Linear(NamedTuple):
    """A probe of standardised features: weights [d, column] and intercept [column].

    Its outputs are numbers; of labels, above one half for ridge and above zero (log odds) for logistic says yes.
    """

    weights: FloatArray
    intercept: FloatArray


class Trained(NamedTuple):
    """The probes of one place: how right each is, what each is, and how many fits did not arrive."""

    right: Right
    fitted: dict[Cell, Linear]
    n_not_converged: int


class Screened(NamedTuple):
    """Test predictions [task, item, column] of the task and of each control, lambdas, scores on validation [task]."""

    path: RidgePath
    predicted: FloatArray
    lambdas: list[float]
    validation: FloatArray


def screen(parts: Parts, X: Float32Array) -> Screened:
    """Ridge for the task and every control: lambda chosen on validation, refitted on training and validation.

    Lambda is the one with the best micro-F1, of numbers the best R squared. The score for choosing layers is that of
    the chosen lambda: accuracy over all labels, of numbers R squared.
    """
    values = _values(parts)
    fit, held = slice(0, parts.n_train), slice(parts.n_train, parts.n_fit)
    sums = value_moments(X[fit], values[:, fit])
    path = ridge_path(sums)
    gold = values[:, held]
    scores, measured = (np.zeros((len(values), len(LAMBDAS))) for _ in range(2))
    for i, lam in enumerate(LAMBDAS.tolist()):
        outputs = _outputs(path, X[held], [lam] * len(values))
        for task in range(len(values)):
            answers = _answers(parts, outputs[task])
            if parts.kind == "regression":
                scores[task, i] = measured[task, i] = r2(answers[:, 0], gold[task, :, 0])
            else:
                scores[task, i] = micro_f1(answers, gold[task])
                measured[task, i] = float((answers == gold[task]).mean())
    lambdas = choose(scores)
    chosen = [int(np.flatnonzero(lam == LAMBDAS)[0]) for lam in lambdas]
    path = ridge_path(sums + value_moments(X[held], values[:, held]))
    outputs = _outputs(path, X[parts.test], lambdas)
    predicted = np.stack([_answers(parts, one) for one in outputs])
    return Screened(path, predicted, lambdas, measured[np.arange(len(values)), chosen])


def trivial_rows(rows: Rows, parts: Parts, bootstrap: ClusterBootstrap) -> Right:
    """Baselines without activations, and how right they are.

    They learn from training and validation, as the probes finally do.
    """
    values = _values(parts)
    fitted, gold = values[0, : parts.n_fit], values[0, parts.test]
    mean = np.broadcast_to(_answers(parts, fitted.mean(axis=0)[None]), gold.shape)
    found: dict[ProbeKind, FloatArray] = {"mean" if parts.kind == "regression" else "majority": mean}
    if any(parts.items.form):
        found["type"] = _by_form(parts, fitted, mean[0])
    else:
        with word_features(parts) as (_, X):
            found["bag_of_words"] = screen(parts, X).predicted[0]
    right: Right = {}
    for kind, predicted in found.items():
        rows.add_all((NO_SITE, None), kind, _scores(parts, bootstrap, predicted, gold))
        right[NO_SITE, None, kind] = _right(parts, predicted, gold)
    return right


def trained_rows(
    rows: Rows, parts: Parts, bootstrap: ClusterBootstrap, key: Key, X: Float32Array, probes: Sequence[Probe]
) -> Trained:
    """Every probe at one place of the model."""
    gold = _values(parts)[0, parts.test]
    screened = screen(parts, X)
    measure: ProbeMetric = "r2" if parts.kind == "regression" else "accuracy"
    rows.add_validation(key, screened.validation, measure)
    scores, control = _with_control(parts, bootstrap, screened)
    rows.add_all(key, "ridge", scores)
    rows.add(key, "control", measure, control)
    if key[0] == "embed":
        rows.add_all(key, "embedding", scores)
    _label_rows(rows, parts, bootstrap, key, "ridge", screened.predicted[0])
    right: Right = {(*key, "ridge"): _right(parts, screened.predicted[0], gold)}
    fitted: dict[Cell, Linear] = {(*key, "ridge"): Linear(*screened.path.weights(screened.lambdas[0], 0))}
    if "logistic" not in probes or parts.kind == "regression":
        return Trained(right, fitted, 0)
    found = _logistic(parts, X, screened.path)
    rows.add_all(key, "logistic", _scores(parts, bootstrap, found.predicted, gold))
    if found.n_learnt:
        rows.add(key, "logistic", "v_information_bits", bootstrap.mean(found.gain))
    _label_rows(rows, parts, bootstrap, key, "logistic", found.predicted)
    right[*key, "logistic"] = _right(parts, found.predicted, gold)
    fitted[*key, "logistic"] = found.probe
    return Trained(right, fitted, found.n_not_converged)


def random_rows(rows: Rows, parts: Parts, bootstrap: ClusterBootstrap, key: Key, X: Float32Array) -> Right:
    """Ridge and selectivity at one place of an untrained model."""
    screened = screen(parts, X)
    rows.add_all(key, "random_weights", _with_control(parts, bootstrap, screened)[0])
    return {(*key, "random_weights"): _right(parts, screened.predicted[0], _values(parts)[0, parts.test])}


def _values(parts: Parts) -> FloatArray:
    if parts.values is None:
        raise ValueError("these parts have classes, not values")
    return parts.values


def _outputs(path: RidgePath, X: Float32Array, lambdas: Sequence[float]) -> FloatArray:
    """Ridge outputs [task, item, column], each task with its lambda."""
    out = []
    for task, lam in enumerate(lambdas):
        weights, intercept = path.weights(lam, task)
        rows = [X[part] @ weights.astype(np.float32) + intercept for part in blocks(X)]
        out.append(np.concatenate(rows).astype(np.float64))
    return np.stack(out)


def _answers(parts: Parts, outputs: FloatArray) -> FloatArray:
    """Numbers as they are, labels as 1 where the output is above one half."""
    return outputs if parts.kind == "regression" else (outputs > 0.5).astype(np.float64)


def _scores(parts: Parts, bootstrap: ClusterBootstrap, predicted: FloatArray, gold: FloatArray) -> dict[str, Interval]:
    if parts.kind == "regression":
        return number_scores(bootstrap, predicted[:, 0], gold[:, 0])
    return set_scores(bootstrap, predicted, gold)


def _right(parts: Parts, predicted: FloatArray, gold: FloatArray) -> FloatArray:
    if parts.kind == "regression":
        return closeness(predicted[:, 0], gold[:, 0])
    found: FloatArray = (predicted == gold).mean(axis=1)
    return found


def _with_control(
    parts: Parts, bootstrap: ClusterBootstrap, screened: Screened
) -> tuple[dict[str, Interval], Interval]:
    """The scores with selectivity, and the mean score of the controls.

    Each control is scored against its own labels. Selectivity is the difference of two such scores; its interval
    resamples items for the task and holds the spread between controls.
    """
    gold = _values(parts)[:, parts.test]
    right = np.stack([_right(parts, p, g) for p, g in zip(screened.predicted, gold, strict=True)])
    scores = _scores(parts, bootstrap, screened.predicted[0], gold[0])
    draws, control = right[1:].mean(axis=1), right[1:].mean(axis=0)
    scores["selectivity"] = over_draws(bootstrap.mean(right[0] - control), draws, fresh=True)
    found = bootstrap.mean(control)
    if parts.kind == "regression" or found.value is None:
        return scores, found
    return scores, over_draws(found, draws, fresh=False)


def _by_form(parts: Parts, fitted: FloatArray, mean: FloatArray) -> FloatArray:
    """The mean over the training items of the same form, of unseen forms over all."""
    seen: dict[str, list[int]] = defaultdict(list)
    for i, form in enumerate(parts.items.form[: parts.n_fit]):
        seen[form].append(i)
    found = {form: _answers(parts, fitted[rows].mean(axis=0)[None])[0] for form, rows in seen.items()}
    return np.stack([found.get(form, mean) for form in parts.items.form[parts.n_fit :]])


class _Logistic(NamedTuple):
    """Answers [item, label], the gain in bits [item] over knowing frequencies, and how the fits went."""

    predicted: FloatArray
    gain: FloatArray
    probe: Linear
    n_learnt: int
    n_not_converged: int


def _logistic(parts: Parts, X: Float32Array, path: RidgePath) -> _Logistic:
    """A logistic probe for each label.

    A label that training and validation always or never show is answered so, and is left out of the gain.
    """
    values = _values(parts)[0]
    gold = values[parts.test]
    predicted, gain = np.zeros_like(gold), np.zeros(len(gold))
    probe = Linear(np.zeros((X.shape[1], gold.shape[1])), np.zeros(gold.shape[1]))
    # Of the path only the eigenbasis serves, and that there are two classes.
    two = replace(path, mean_y=np.zeros((1, 2)))
    n_learnt = n_not_converged = 0
    for column in range(gold.shape[1]):
        own = values[: parts.n_fit, column].astype(np.int64)
        share = own.mean()
        if share in (0.0, 1.0):
            predicted[:, column] = share
            probe.intercept[column] = np.inf if share else -np.inf
            continue
        fitted, _ = fit_logistic_path(X[: parts.n_fit], own, parts.n_train, two)
        log_p = fitted.log_probabilities(X[parts.test])
        predicted[:, column] = log_p.argmax(axis=1)
        probe.weights[:, column] = fitted.weights[:, 1] - fitted.weights[:, 0]
        probe.intercept[column] = fitted.intercept[1] - fitted.intercept[0]
        held = gold[:, column].astype(np.int64)
        gain += (log_p[np.arange(len(held)), held] - np.log(np.where(held == 1, share, 1 - share))) / np.log(2)
        n_learnt += 1
        n_not_converged += not fitted.converged
    return _Logistic(predicted, gain, probe, n_learnt, n_not_converged)


def _label_rows(
    rows: Rows, parts: Parts, bootstrap: ClusterBootstrap, key: Key, probe: ProbeKind, predicted: FloatArray
) -> None:
    """Accuracy and F1 of each label by itself, under the task "task=label"."""
    gold = _values(parts)[0, parts.test]
    for column, name in enumerate(parts.classes):
        one = slice(column, column + 1)
        scores = set_scores(bootstrap, predicted[:, one], gold[:, one])
        for metric in ("accuracy", "macro_f1"):
            found = scores[metric]
            rows.kept.append(
                ProbeRow(
                    model=rows.model,
                    site=key[0],
                    layer=key[1],
                    task=f"{rows.task}={name}",
                    probe=probe,
                    metric="accuracy" if metric == "accuracy" else "f1",
                    value=found.value,
                    ci_low=found.low,
                    ci_high=found.high,
                    n=rows.n,
                )
            )
