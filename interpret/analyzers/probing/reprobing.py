"""Probes on activations as they are and after an erasure, on the same items, with intervals that pair."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.baselines import majority, most_frequent_of_type
from interpret.analyzers.probing.logistic import fit_logistic_path
from interpret.analyzers.probing.nonlinear import hidden_layer, nearest_neighbours
from interpret.analyzers.probing.parts import Parts
from interpret.analyzers.probing.ridge import choose, moments, ridge_path
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval
from interpret.results.erasure import ErasureCondition, ErasureMeasure, ErasureRow

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: Test items that neighbours are looked up for, at most.
MAX_NEIGHBOUR_ITEMS: Final = 10_000


class Reprobing:
    """Trains probes on the activations as they are and as they are after the erasure."""

    def __init__(self, plan: Parts, bootstrap: ClusterBootstrap, seed: int) -> None:
        self.plan, self.bootstrap, self.seed = plan, bootstrap, seed
        self.gold = plan.labels[0]
        self.predicted: dict[tuple[str, str], IntArray] = {}
        self.rows: list[ErasureRow] = []
        self.n_not_converged = 0
        #: Of the ridge probe on the activations as they are, [unit, class].
        self.weights: FloatArray = np.zeros((0, 0))
        self.floor = majority(self.gold, plan.n_fit)[plan.test]
        self._add("majority", "original", self.floor)
        if any(plan.items.form):
            self._add("type", "original", most_frequent_of_type(plan.items.form, self.gold, plan.n_fit)[plan.test])

    def read(self, condition: ErasureCondition, Z: Float32Array) -> None:
        """Ridge, logistic, neighbours and one hidden layer with its control, on standardised activations."""
        plan, gold = self.plan, self.gold
        n_classes, fit, held = len(plan.classes), slice(0, plan.n_train), slice(plan.n_train, plan.n_fit)
        task = plan.labels[:1]
        sums = moments(Z[fit], task[:, fit], n_classes)
        (lam,) = choose(ridge_path(sums).accuracies(Z[held], task[:, held]))
        path = ridge_path(sums + moments(Z[held], task[:, held], n_classes))
        if condition == "original":
            self.weights = path.weights(lam, 0)[0]
        self._add("ridge", condition, path.predict(Z[plan.test], lam, 0))
        found, _ = fit_logistic_path(Z[: plan.n_fit], gold[: plan.n_fit], plan.n_train, path)
        self.n_not_converged += not found.converged
        self._add("logistic", condition, found.log_probabilities(Z[plan.test]).argmax(axis=1))
        test = np.arange(plan.n_fit, len(Z))
        if len(test) > MAX_NEIGHBOUR_ITEMS:
            test = np.sort(np.random.default_rng([self.seed, 3]).choice(test, MAX_NEIGHBOUR_ITEMS, replace=False))
        near = nearest_neighbours(Z[: plan.n_fit], gold[: plan.n_fit], Z[test], n_classes)
        self._add("nearest_neighbours", condition, near, test)
        for measure, labels in (("hidden_layer", gold), ("hidden_layer_control", plan.labels[1])):
            said = hidden_layer(Z[: plan.n_fit], labels[: plan.n_fit], plan.n_train, Z[plan.test], n_classes, self.seed)
            self._add(measure, condition, said, labels=labels)  # type: ignore[arg-type]

    def _add(
        self,
        measure: ErasureMeasure,
        condition: ErasureCondition,
        predicted: IntArray,
        items: IntArray | None = None,
        labels: IntArray | None = None,
    ) -> None:
        self.predicted[measure, condition] = predicted
        gold = self.gold if labels is None else labels
        bootstrap = self.bootstrap
        if items is not None and len(items) < len(self.floor):
            bootstrap = ClusterBootstrap(self.plan.cluster[items], bootstrap.n_bootstrap, self.seed)
        right = predicted == (gold[self.plan.test] if items is None else gold[items])
        found = bootstrap.exact_end(bootstrap.mean(right.astype(np.float64)))
        self.rows.append(row("probe", measure, condition, found, len(right)))

    def gain(self, condition: str) -> tuple[Interval, Interval]:
        """Accuracy and balanced accuracy of the logistic probe less those of the majority, paired."""
        predicted, n_classes = self.predicted["logistic", condition], len(self.plan.classes)
        gold = self.gold[self.plan.test]
        hits = (self.bootstrap.counts(gold, n_classes, said == gold) for said in (predicted, self.floor))
        totals = np.concatenate([*hits, self.bootstrap.counts(gold, n_classes)], axis=1)

        def accuracy(sums: FloatArray) -> FloatArray:
            ours, floor, n = np.split(sums, 3, axis=-1)
            return np.asarray((ours.sum(-1) - floor.sum(-1)) / n.sum(-1))

        def balanced(sums: FloatArray) -> FloatArray:
            ours, floor, n = np.split(sums, 3, axis=-1)
            there = n > 0
            return np.asarray(((ours - floor) / np.where(there, n, 1.0)).sum(-1) / there.sum(-1))

        return self.bootstrap.of(totals, accuracy), self.bootstrap.of(totals, balanced)


def row(part: str, measure: ErasureMeasure, condition: ErasureCondition, found: Interval, n: int) -> ErasureRow:
    """One cell of the record."""
    return ErasureRow(
        part="probe" if part == "probe" else "model",
        measure=measure,
        condition=condition,
        value=found.value,
        ci_low=found.low,
        ci_high=found.high,
        n=n,
    )
