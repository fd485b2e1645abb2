"""The cells of a probing run, and the paired tests between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval
from interpret.results.probes import ProbeKind, ProbeMetric, ProbeRow, ProbeTest
from interpret.statistics.multiple import holm, sign_flip_p

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Cell = tuple[str, int | None, ProbeKind]
#: `site` of rows that look at no activation.
NO_SITE: Final = "none"


class FittedProbe(NamedTuple):
    """A linear probe: (x - mean) / deviation, times `weights` [d, class], plus `intercept` [class]."""

    weights: Float32Array
    intercept: Float32Array
    mean: Float32Array
    deviation: Float32Array


class Rows:
    """Collects the cells of the result.

    `right` says for each probe and baseline which test items [item] it hits, `fitted` is the probe itself.
    """

    def __init__(self, model: str, task: str, n: int, n_validation: int, seed: int) -> None:
        self.model, self.task, self.n, self.n_validation, self.seed = model, task, n, n_validation, seed
        self.kept: list[ProbeRow] = []
        self.validation: list[ProbeRow] = []
        self.right: dict[Cell, npt.NDArray[Any]] = {}
        self.fitted: dict[Cell, FittedProbe] = {}
        self.n_not_converged = 0

    def fresh(self) -> Rows:
        """Nothing yet, of the same run."""
        return Rows(self.model, self.task, self.n, self.n_validation, self.seed)

    def join(self, other: Rows) -> None:
        """Take over what another has collected."""
        self.kept += other.kept
        self.validation += other.validation
        self.right |= other.right
        self.fitted |= other.fitted
        self.n_not_converged += other.n_not_converged

    def keep_probe(self, cell: Cell, weights: FloatArray, intercept: FloatArray, scaling: Sequence[FloatArray]) -> None:
        """Keep a fitted probe; `scaling` are mean and deviation [d] of the features it was fitted to."""
        self.fitted[cell] = FittedProbe(*(a.astype(np.float32) for a in (weights, intercept, *scaling)))

    def packed(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Everything as named arrays and as what JSON holds."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        cells: dict[str, list[list[Any]]] = {"right": [], "fitted": []}
        for number, (cell, values) in enumerate(self.right.items()):
            cells["right"].append(list(cell))
            arrays[f"right/{number}"] = np.asarray(values)
        for number, (cell, probe) in enumerate(self.fitted.items()):
            cells["fitted"].append(list(cell))
            arrays |= {f"fitted/{number}/{name}": array for name, array in probe._asdict().items()}
        facts = {
            "kept": [asdict(row) for row in self.kept],
            "validation": [asdict(row) for row in self.validation],
            "n_not_converged": self.n_not_converged,
            **cells,
        }
        return arrays, facts

    def unpack(self, arrays: dict[str, npt.NDArray[Any]], facts: dict[str, Any]) -> None:
        """Take over what `packed` gave."""
        self.kept += [ProbeRow(**row) for row in facts["kept"]]
        self.validation += [ProbeRow(**row) for row in facts["validation"]]
        self.n_not_converged += int(facts["n_not_converged"])
        for number, (site, layer, probe) in enumerate(facts["right"]):
            self.right[site, layer, probe] = arrays[f"right/{number}"]
        for number, (site, layer, probe) in enumerate(facts["fitted"]):
            found = {name: arrays[f"fitted/{number}/{name}"] for name in FittedProbe._fields}
            self.fitted[site, layer, probe] = FittedProbe(**found)

    def add_validation(
        self, key: tuple[str, int | None], accuracies: FloatArray, measure: ProbeMetric = "accuracy"
    ) -> None:
        """Accuracy and selectivity of the ridge screen on validation, by which layers are chosen; [task] as labels."""
        task, control = float(accuracies[0]), float(accuracies[1:].mean())
        found: tuple[tuple[ProbeMetric, float], ...] = ((measure, task), ("selectivity", task - control))
        for metric, value in found:
            self.validation.append(self._row(key, "ridge", metric, value, None, None, self.n_validation))

    def _row(
        self,
        key: tuple[str, int | None],
        probe: ProbeKind,
        metric: ProbeMetric,
        value: float | None,
        low: float | None,
        high: float | None,
        n: int,
    ) -> ProbeRow:
        return ProbeRow(
            model=self.model,
            site=key[0],
            layer=key[1],
            task=self.task,
            probe=probe,
            metric=metric,
            value=value,
            ci_low=low,
            ci_high=high,
            n=n,
        )

    def add(
        self,
        key: tuple[str, int | None],
        probe: ProbeKind,
        metric: str,
        found: Interval,
        n: int | None = None,
    ) -> None:
        """One cell."""
        if metric not in get_args(ProbeMetric):
            raise ValueError(f"unknown metric {metric}")
        known: ProbeMetric = metric  # type: ignore[assignment]
        self.kept.append(self._row(key, probe, known, found.value, found.low, found.high, self.n if n is None else n))

    def add_all(self, key: tuple[str, int | None], probe: ProbeKind, scores: dict[str, Interval]) -> None:
        """A cell for each score."""
        for metric, found in scores.items():
            self.add(key, probe, metric, found)


def paired_tests(
    right: Mapping[Cell, npt.NDArray[Any]], bootstrap: ClusterBootstrap, seed: int, metric: ProbeMetric = "accuracy"
) -> tuple[ProbeTest, ...]:
    """Accuracy of every trained probe minus that of what it must beat, on the same test items.

    A probe is compared with the best baseline that looks at no activation (forms, else the bag of words), with the
    same probe on the embedding layer, and the ridge probe with itself on random weights. P-values flip the signs of
    sentences; Holm's correction is over all tests of the run.

    Args:
        right: for each cell, which test items [item] its prediction hits; or what else has the measure as its mean.
        bootstrap: over the test items' sentences.
        seed: of the flips.
        metric: the mean of `right`.
    """
    best = next((kind for kind in ("type", "bag_of_words", "majority", "mean") if (NO_SITE, None, kind) in right), None)
    trivial = [cell for cell in right if cell[2] == best]
    pairs: list[tuple[Cell, Cell]] = []
    for cell in right:
        site, layer, probe = cell
        if probe not in ("ridge", "logistic", "mlp"):
            continue
        pairs += [(cell, other) for other in trivial]
        embed: Cell = ("embed", None, probe)
        if embed in right and embed != cell:
            pairs.append((cell, embed))
        untrained: Cell = (site, layer, "random_weights")
        if probe == "ridge" and untrained in right:
            pairs.append((cell, untrained))
    if not pairs:
        return ()
    differences = np.stack([right[a].astype(np.float64) - right[b] for a, b in pairs], axis=1)
    p = sign_flip_p(bootstrap.totals(differences), seed=seed)
    tests = []
    for number, (((site, layer, probe), (other, _, baseline)), adjusted) in enumerate(
        zip(pairs, holm(p).tolist(), strict=True)
    ):
        found = bootstrap.mean(differences[:, number])
        tests.append(
            ProbeTest(
                site=site,
                layer=layer,
                probe=probe,
                against="embedding" if other == "embed" and baseline == probe else baseline,
                metric=metric,
                difference=float(found.value or 0.0),
                ci_low=float(found.low or 0.0),
                ci_high=float(found.high or 0.0),
                p=float(p[number]),
                p_holm=adjusted,
                n=len(differences),
            )
        )
    return tuple(tests)
