"""Models that are known in closed form, in place of a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from interpret.analyzers.attribution.job import Job
from interpret.analyzers.scheduler import Scored, features
from interpret.analyzers.target import Target
from interpret.models.batching import Row
from interpret.models.inputs import encode
from tests import planted


class Known:
    """A model whose logit is a given function of a row's ids; it keeps every call's rows."""

    max_rows = 10_000

    def __init__(self, of: Callable[[tuple[int, ...]], float]) -> None:
        self.of = of
        self.calls: list[list[Row]] = []

    def score_targets(self, rows: Sequence[Row], targets: object) -> Scored:
        self.calls.append(list(rows))
        logit = np.array([self.of(row.ids) for row in rows])
        return Scored(logit, logit)


def additive(weights: dict[int, float]) -> Known:
    """A bag of words: the logit is the sum of the weights of the tokens that are still there."""
    return Known(lambda ids: sum(weights.get(i, 0.0) for i in ids))


def job_of(texts: Sequence[str], known: Known, seed: int = 0) -> Job:
    handle = planted.handle()
    encoded = encode(handle, texts)
    return Job(
        handle=handle,
        encoded=encoded,
        targets=[Target("class", 0) for _ in encoded],
        groups=[features(e) for e in encoded],
        scheduler=known,  # type: ignore[arg-type]
        seed=seed,
    )
