"""What the stages of one audit share: model, examples, counts, and the coverage they report into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.config import AuditConfig
from interpret.auditing.examples import Examples
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.results.audits import Coverage
from interpret.results.record import Message


@dataclass
class Run:
    """One audit under way: what every stage needs, and what has been covered so far."""

    handle: Handle
    examples: Examples
    encoded: list[Encoded]
    config: AuditConfig
    seed: int
    scheduler: Scheduler
    progress: bool
    coverage: dict[str, Coverage] = field(default_factory=dict)

    def not_run(self, section: str, code: str, **params: Any) -> None:
        self.coverage[section] = Coverage(section=section, status="not_run", why=Message(code=code, params=params))

    def partial(self, section: str, code: str, **params: Any) -> None:
        self.coverage[section] = Coverage(section=section, status="partial", why=Message(code=code, params=params))

    def done(self, section: str, of: int | None = None) -> None:
        """The section is filled; from `of` examples, where that is not all of them."""
        if of is not None and of < len(self.examples):
            self.partial(section, "section.sampled", n=of, of=len(self.examples))
        else:
            self.coverage[section] = Coverage(section=section, status="done")

    def sample(self, of: Sequence[int], size: int, stream: int) -> list[int]:
        """A random sample of `of` in its order; every stream draws its own, and the seed fixes them all.

        Cutting the front off another sample would not do: samples are in the order of the rows, and files are often
        sorted by label.
        """
        rng = np.random.default_rng([self.seed, stream])
        return [of[i] for i in sorted(rng.choice(len(of), size=min(len(of), size), replace=False).tolist())]
