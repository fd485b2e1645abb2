"""What an audit is made of: stages, each of which knows when it applies, on how many examples, and what it costs.

    Stage("attention", sections=("attention",), result=AttentionSummary | None, run=..., count=..., cost=...)

The plan asks every stage before anything runs; the run asks them one after the other, and keeps what each hands over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.config import AuditConfig
from interpret.auditing.examples import Examples
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.words import word_spans
from interpret.results.audits import Coverage
from interpret.results.record import Message

#: Texts that are looked at to say how long texts are.
_LOOKED_AT = 200


class Cost(NamedTuple):
    """What a stage runs: texts forward, texts forward and back, texts captured, and seconds beside the model.

    A row is one text of the data, of mean length. A captured row is run with hooks that keep patterns or streams. Rows
    of `forward` are altered texts, which `models.kernels` may hasten; `plain` ones run as the model's owner would.
    """

    forward: float = 0.0
    backward: float = 0.0
    captured: float = 0.0
    seconds: float = 0.0
    plain: float = 0.0

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def __mul__(self, n: float) -> Cost:  # type: ignore[override]
        return Cost(*(n * a for a in self))


@dataclass
class Scope:
    """What is known before anything has run: the model, the examples, and what was asked."""

    handle: Handle
    examples: Examples
    config: AuditConfig
    seed: int = 0
    base: Handle | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def n_words(self) -> float:
        """Mean words of a text, from some texts that are evenly spread over the data."""
        step = max(1, len(self.examples) // _LOOKED_AT)
        counts = [len(word_spans(text)) for text in self.examples.texts[::step][:_LOOKED_AT]]
        return max(1.0, float(np.mean(counts)))

    @property
    def classifies(self) -> bool:
        """Whether each text gets one class out of several."""
        return self.handle.task == "text-classification"

    def sampled(self, key: str) -> int:
        """How many examples the count `key` of the configuration comes to."""
        return min(len(self.examples), int(getattr(self.config, key)))


@dataclass
class Run(Scope):
    """One audit under way: what every stage needs, what earlier stages found, and what has been covered so far.

    `scheduler` is a new one for every stage: rows remembered from one stage would change the batches of the next, and
    with them the last bits of its numbers, so that an audit which was interrupted would not end in the same bytes.
    """

    encoded: list[Encoded] = field(default_factory=list)
    progress: bool = False
    results: dict[str, Any] = field(default_factory=dict)
    covered: tuple[Coverage, ...] = ()
    lacking: tuple[Coverage, ...] = ()
    #: What the stage under way says of its sections, and of what they lack.
    coverage: dict[str, Coverage] = field(default_factory=dict)
    further: list[Coverage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.handle)

    def not_run(self, section: str, code: str, **params: Any) -> None:
        self.coverage[section] = Coverage(section=section, status="not_run", why=Message(code=code, params=params))

    def partial(self, section: str, code: str, **params: Any) -> None:
        self.coverage[section] = Coverage(section=section, status="partial", why=Message(code=code, params=params))

    def lacks(self, section: str, code: str, **params: Any) -> None:
        """A part of the section was left out, whatever the section says of itself."""
        self.further.append(Coverage(section=section, status="partial", why=Message(code=code, params=params)))

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


class Count(NamedTuple):
    """A count of the configuration that a budget may lower: not below `least`, or to none at all if `droppable`.

    `section` is the one that has less in it then.
    """

    key: str
    section: str
    least: int
    droppable: bool = True


def several_stacks(scope: Scope) -> Message | None:
    """Said where layers would have to be those of one stack, of a classifier with an encoder and a decoder."""
    return Message(code="section.several_stacks") if scope.classifies and len(scope.handle.stacks) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of an audit.

    `name` is unique. `sections` are the report sections that it covers (none for what serves other stages). `result`
    is the type of what `run` returns, which the store reads back after an interruption; a stage that does not apply
    hands over None. `why_not` says why it does not apply, None where it does. `count` is the number of examples,
    `cost` what it runs, and `counts` which keys of the configuration decide that, the first to be given up last.
    """

    name: str
    sections: tuple[str, ...]
    result: Any
    run: Callable[[Run], Any]
    count: Callable[[Scope], int] = len
    cost: Callable[[Scope], Cost] = lambda _: Cost()
    why_not: Callable[[Scope], Message | None] = lambda _: None
    counts: tuple[Count, ...] = ()
