"""Gradient methods, taken at the output of the embedding (site `embed`): captum's, and our integrated gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from torch import Tensor

from interpret.analyzers.attribution.job import Job, Scores, relative_delta
from interpret.analyzers.attribution.paths import (
    Found,
    Point,
    along,
    embed,
    gradient_tokens,
    gradients_on,
    lots,
    one_at_a_time,
    padded,
    path_of,
    summed,
    target_of_embedding,
)
from interpret.analyzers.scheduler import removal
from interpret.errors import UsageError
from interpret.models.batching import Row, run_batches
from interpret.results.explanations import FloatArray
from interpret.results.record import Scalar

TOLERANCE: Final = 0.01
MAX_STEPS: Final = 200

#: Gauss-Lobatto of five nodes on [0, 1], exact for polynomials of degree 7. It holds both ends, where the next
#: segment begins and the target's value is wanted anyway, and the middle, where a segment is halved.
_NODES: Final = (0.0, 0.5 - (3 / 28) ** 0.5, 0.5, 0.5 + (3 / 28) ** 0.5, 1.0)
_WEIGHTS: Final = (1 / 20, 49 / 180, 16 / 45, 49 / 180, 1 / 20)
#: Segments that every path begins with.
_SEGMENTS: Final = 2
#: A completeness error below this share of the target's range on the path is rounding, whatever the difference.
_ROUNDING: Final = 1e-5


def gradient_x_input(job: Job) -> Scores:
    """Gradient of the target times the embedding, summed over its width: one forward, one backward.

    It shows the slope at the text itself. It does not sum to any difference of outputs, and where the model
    is saturated it is close to zero for words that decide.

    Reference: Shrikumar et al. 2016, arXiv 1605.01713; through captum's `InputXGradient`.
    """
    from captum.attr import InputXGradient

    scores: list[FloatArray] = [np.zeros(0)] * len(job.encoded)
    for lot in lots(job):
        full = [job.full_row(i) for i in lot]
        embedded = embed(job.handle, full)

        def step(batch: dict[str, Tensor], rows: list[int], lot: list[int] = lot, of: Any = embedded) -> FloatArray:
            forward, extra = target_of_embedding(job, batch, [lot[r] for r in rows])
            with gradients_on():
                # Laid out in here: what a caller in inference mode makes can never ask for a gradient.
                inputs = padded([of[r] for r in rows])
                found = InputXGradient(forward).attribute(inputs.requires_grad_(), additional_forward_args=extra)
            return summed(found)

        for rows, found in _batches(job, full, step):
            for r, line in zip(rows, found, strict=True):
                scores[lot[r]] = line[: len(job.encoded[lot[r]].ids)]
    values = job.score([job.full_row(i) for i in range(len(scores))], range(len(scores))).logit.tolist()
    nothing: list[float | None] = [None] * len(scores)
    return Scores(scores, values, nothing, nothing, {"layer": "embed"})


def integrated_gradients(
    job: Job,
    *,
    n_steps: int | None = None,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
    baseline: str | None = None,
) -> Scores:
    """Integrated gradients from a text of removed tokens to the text, summed over the embedding's width.

    The scores of one text sum to F(text) - F(baseline) up to the recorded convergence delta. Special tokens are
    equal in both texts and score exactly 0.

    The sum is *completeness-controlled*: over any segment of the path the integral must equal the difference of
    the target at its two ends, so the error of each segment is known exactly. Segments of five Gauss-Lobatto nodes
    are halved, those with the largest error first, until the errors of all of them, taken without sign, are below
    `tolerance` of |F(text) - F(baseline)|. That controls the sum and not each word: two opposite terms may both be
    wrong and cancel within a segment.

    Args:
        job: texts and targets.
        n_steps: so many Gauss-Legendre nodes over the whole path instead, the same for every text.
        max_steps: the most gradient evaluations for one text.
        tolerance: relative completeness error that is let be.
        baseline: the token that content becomes: "mask_token", "pad_token", "eos_token", "unk_token",
            "bos_token"; None takes the model's removal operator.

    Reference: Sundararajan et al. 2017, arXiv 1703.01365, equation 1; with `n_steps` through captum's
    `IntegratedGradients`.
    """
    if n_steps is not None and n_steps < 1:
        raise UsageError(f"n_steps is {n_steps}; integrated gradients needs at least 1")
    if not tolerance >= 0:
        raise UsageError(f"tolerance is {tolerance}; give a share of the difference of outputs, such as {TOLERANCE}")
    operator = removal(job.handle, baseline)
    n = len(job.encoded)
    scores: list[FloatArray] = [np.zeros(0)] * n
    values: list[float | None] = [None] * n
    baseline_values: list[float | None] = [None] * n
    deltas: list[float | None] = [None] * n
    evaluations: list[int] = []
    for lot in lots(job):
        full = [job.full_row(i) for i in lot]
        empty = [job.empty_row(i, operator) for i in lot]
        if n_steps is None:
            done: Iterator[_Integral] | Sequence[_Integral] = _controlled(job, lot, full, empty, tolerance, max_steps)
        else:
            done = _uniform(job, lot, full, empty, n_steps)
        for i, integral in zip(lot, done, strict=True):
            scores[i], values[i], baseline_values[i] = integral.scores, integral.end, integral.start
            deltas[i] = relative_delta(float(integral.scores.sum()), integral.end, integral.start)
            evaluations.append(integral.evaluations)
    options: dict[str, Scalar] = {
        "layer": "embed",
        "baseline": operator.name,
        "quadrature": "completeness-controlled Gauss-Lobatto" if n_steps is None else "Gauss-Legendre",
        "evaluations_mean": float(np.mean(evaluations)) if evaluations else 0.0,
        "evaluations_max": max(evaluations, default=0),
    }
    options |= {"tolerance": tolerance, "max_steps": max_steps} if n_steps is None else {"n_steps": n_steps}
    return Scores(scores, values, baseline_values, deltas, options)


class _Integral(NamedTuple):
    """Of one path: its scores [token], the target at both ends, gradient evaluations."""

    scores: FloatArray
    start: float
    end: float
    evaluations: int


class _Segment(NamedTuple):
    """What the integral over [start, end] came to [token], and by how much its sum misses the difference."""

    start: float
    end: float
    scores: FloatArray
    error: float


class _Adaptive:
    """One path, cut where its error is largest; `wanted` are the segments that are evaluated next."""

    def __init__(self, tolerance: float, max_steps: int) -> None:
        self.tolerance, self.max_steps = tolerance, max_steps
        self.points: dict[float, Found] = {}
        self.done: list[_Segment] = []
        self.wanted = [(k / _SEGMENTS, (k + 1) / _SEGMENTS) for k in range(_SEGMENTS)]

    def missing(self) -> list[float]:
        places = (place for segment in self.wanted for place in _places(*segment))
        return [place for place in dict.fromkeys(places) if place not in self.points]

    def settle(self) -> None:
        """Take in what was evaluated, and cut what must be: those that leave the smaller errors within tolerance."""
        for start, end in self.wanted:
            found = [self.points[place] for place in _places(start, end)]
            scores = (end - start) * np.einsum("n,nt->t", _WEIGHTS, np.stack([one.slopes for one in found]))
            self.done.append(_Segment(start, end, scores, float(scores.sum()) - (found[-1].value - found[0].value)))
        self.wanted = []
        values = [one.value for one in self.points.values()]
        allowed = self.tolerance * abs(self.points[1.0].value - self.points[0.0].value)
        allowed = max(allowed, _ROUNDING * (max(values) - min(values)))
        kept, total = [], 0.0
        room = self.max_steps - len(self.points)
        by_error = sorted(self.done, key=lambda segment: (abs(segment.error), segment.start))
        for position, segment in enumerate(by_error):
            total += abs(segment.error)
            if total > allowed:
                # The largest first, as far as evaluations are left: cutting one takes six new points.
                cut = by_error[position:][::-1][: max(0, room // 6)]
                kept += by_error[position : len(by_error) - len(cut)]
                self.wanted = [half for one in cut for half in _halves(one.start, one.end)]
                break
            kept.append(segment)
        self.done = kept

    def result(self) -> _Integral:
        # In the order of the path, so that the sum does not depend on which segment was cut first.
        parts = [segment.scores for segment in sorted(self.done, key=lambda segment: segment.start)]
        return _Integral(np.sum(parts, axis=0), self.points[0.0].value, self.points[1.0].value, len(self.points))


def _places(start: float, end: float) -> list[float]:
    """The nodes of a segment; ends and middles are exact in binary, so that neighbours share them."""
    return [start + (end - start) * node for node in _NODES]


def _halves(start: float, end: float) -> list[tuple[float, float]]:
    middle = (start + end) / 2
    return [(start, middle), (middle, end)]


def _controlled(
    job: Job, lot: Sequence[int], full: Sequence[Row], empty: Sequence[Row], tolerance: float, max_steps: int
) -> list[_Integral]:
    """Open segments of all texts run together, round by round."""
    paths = path_of(job, full, empty)
    states = [_Adaptive(tolerance, max_steps) for _ in lot]
    while points := [Point(n, place) for n, state in enumerate(states) for place in state.missing()]:
        for point, found in zip(points, along(job, paths, lot, points), strict=True):
            states[point.example].points[point.at] = found
        for state in states:
            if state.wanted:
                state.settle()
    return [state.result() for state in states]


def _uniform(
    job: Job, lot: Sequence[int], full: Sequence[Row], empty: Sequence[Row], n_steps: int
) -> Iterator[_Integral]:
    """captum's, with as many nodes for every text."""
    from captum.attr import IntegratedGradients

    budget = gradient_tokens(job.handle)
    paths = path_of(job, full, empty)
    scored = job.score([*full, *empty], [*lot, *lot]).logit
    values, baseline_values = scored[: len(lot)].tolist(), scored[len(lot) :].tolist()
    found: list[FloatArray] = [np.zeros(0)] * len(lot)

    def step(batch: dict[str, Tensor], rows: list[int]) -> FloatArray:
        forward, extra = target_of_embedding(job, batch, [lot[r] for r in rows])
        start = padded([paths[r].start for r in rows])
        end = start + padded([paths[r].step for r in rows])
        n_rows, length = end.shape[:2]
        # captum rounds a chunk down to whole steps of all examples, and to no less than one step.
        chunk = n_rows if one_at_a_time(job.handle) else max(n_rows, budget // length // n_rows * n_rows)
        with gradients_on():
            return summed(
                IntegratedGradients(forward).attribute(
                    end,
                    baselines=start,
                    additional_forward_args=extra,
                    n_steps=n_steps,
                    method="gausslegendre",
                    internal_batch_size=None if n_rows * n_steps <= chunk else chunk,
                )
            )

    for rows, lines in _batches(job, full, step, n_steps):
        for r, line in zip(rows, lines, strict=True):
            found[r] = line[: len(job.encoded[lot[r]].ids)]
    for line, value, baseline_value in zip(found, values, baseline_values, strict=True):
        yield _Integral(line, baseline_value, value, n_steps)


def _batches(job: Job, rows: Sequence[Row], step: Any, per_row: int = 1) -> Iterator[tuple[list[int], FloatArray]]:
    """Rows whose step keeps the activations of `per_row` forwards each for its backward."""
    budget = max(1, gradient_tokens(job.handle) // per_row)
    yield from run_batches(job.handle, rows, step, token_budget=budget, even=job.even)
