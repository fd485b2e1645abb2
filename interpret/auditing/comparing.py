"""Base against tuned, part by part: each that can be had on both sides, and of each other one why not.

`run_compare` is the verb; an audit takes `compare_models` for one stage and `compare_explanations` for another, which
has the tuned model's explanations already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.comparison.activations import activation_rows
from interpret.analyzers.comparison.adapters import adapter_changes
from interpret.analyzers.comparison.attention import attention_rows
from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.comparison.preflight import N_LOOKED_AT, Preflight, preflight
from interpret.analyzers.comparison.weights import weight_changes, weight_rows
from interpret.auditing.comparing_explanations import ComparedExplanations, compare_explanations
from interpret.auditing.comparing_outputs import AT_TOKENS, Outputs, furthest, outputs_of
from interpret.auditing.comparing_probes import ProbeRequest, probe_rows, probes_of
from interpret.auditing.encoding import encode_examples, rows_of
from interpret.auditing.examples import Examples, summarise
from interpret.auditing.identity import versions
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.fingerprints import weights_sha256
from interpret.models.inputs import Encoded
from interpret.results.comparisons import (
    PARTS,
    ComparedOn,
    Comparison,
    ComparisonRow,
    MovedExample,
    NotCompared,
    Part,
)
from interpret.results.record import Message

FloatArray = npt.NDArray[np.float64]
#: Examples that are shown of those whose output moved, and further ones of those whose explanation did.
N_MOVED: Final = 20
N_EXPLAINED_MOVED: Final = 10
#: A change of an explanation below this is rounding.
_LEAST_CHANGE: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """How many examples each part takes, at most; 0 leaves the part out. Outputs are compared on all of them."""

    activations: int = 1000
    attention: int = 100
    explanations: int = 40
    method: str = "auto"
    bootstraps: int = 1000


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison without its explanations, and what it knows of each example.

    `kl_bits` [example] is how far outputs moved, `base_answers` the base's class of each text; None where they were not
    compared, or are no classes.
    """

    record: Comparison
    kl_bits: FloatArray | None = None
    base_answers: tuple[str, ...] | None = None

    @property
    def explains(self) -> bool:
        """Whether explanations of both models can be compared."""
        return all(one.part != "explanations" for one in self.record.not_compared)


class Whole(NamedTuple):
    """What `compare_models` found, and any example in words by its number."""

    compared: Compared
    moved: Callable[[int], MovedExample] | None


@dataclass
class _Run:
    """One comparison under way."""

    pair: Pair
    examples: Examples
    encoded: Sequence[Encoded]
    config: CompareConfig
    seed: int
    flight: Preflight
    progress: bool
    #: Texts that the tuned model reads further than the base can.
    n_too_long: int = 0

    def sample(self, size: int, stream: int) -> list[int]:
        return drawn(len(self.encoded), size, self.seed, stream)

    def rows(self, size: int, stream: int) -> list[Row]:
        numbers = self.sample(size, stream)
        return rows_of(self.pair.tuned, self.examples.take(numbers), [self.encoded[i] for i in numbers])

    def bar(self, name: str) -> str | None:
        return name if self.progress and sys.stderr.isatty() else None


def drawn(n: int, size: int, seed: int, stream: int) -> list[int]:
    """A random sample of `n` examples, in their order."""
    if size >= n:
        return list(range(n))
    return sorted(np.random.default_rng([seed, stream]).choice(n, size=size, replace=False).tolist())


def run_compare(
    pair: Pair,
    examples: Examples,
    *,
    config: CompareConfig | None = None,
    seed: int = 0,
    parts: Sequence[str] | None = None,
    probes: ProbeRequest | None = None,
    progress: bool = False,
) -> Comparison:
    """The pre-flight, then every part that was asked for and that both models have.

    Args:
        pair: the two models, or one with its adapter off and on.
        examples: what both are run on.
        config: counts.
        seed: of every sample and bootstrap.
        parts: some of weights, activations, attention, outputs, explanations; None takes all.
        probes: data for probes of both models, which come besides; None asks for none.
        progress: show bars on a terminal.

    Raises:
        UsageError: a part that does not exist.
    """
    settings = config or CompareConfig()
    there = [part for part in PARTS if part != "probes" or probes is not None]
    if unknown := sorted(set(parts or ()) - set(there)):
        raise UsageError(f"there is no part {unknown[0]!r} to compare; the parts are {', '.join(there)}")
    encoded = encode_examples(pair.tuned, examples)
    whole = compare_models(pair, examples, encoded, config=settings, seed=seed, parts=parts, progress=progress)
    compared, moved = whole
    furthest_moved = [] if compared.kl_bits is None else furthest(compared.kl_bits, N_MOVED)
    explained = None
    if compared.explains and (parts is None or "explanations" in parts):
        explained = compare_explanations(
            pair,
            encoded,
            drawn(len(encoded), settings.explanations, seed, 63),
            furthest_moved,
            method=settings.method,
            seed=seed,
            n_bootstrap=settings.bootstraps,
        )
    record = compared.record if explained is None else with_explanations(compared.record, explained.changes.rows)
    if probes is not None:
        bars = progress and sys.stderr.isatty()
        read = probes_of(pair, probes, seed=seed, n_bootstrap=settings.bootstraps, progress=bars)
        if isinstance(read, NotCompared):
            record = replace(record, not_compared=(*record.not_compared, read))
        else:
            record = replace(record, probes=read, rows=(*record.rows, *probe_rows(read)))
    record = replace(record, about=_about(pair, examples, encoded, seed))
    return record if moved is None else replace(record, moved=_moved(furthest_moved, moved, explained))


def _about(pair: Pair, examples: Examples, encoded: Sequence[Encoded], seed: int) -> ComparedOn:
    return ComparedOn(
        data=examples.name,
        n=len(examples),
        n_rows=examples.n_rows,
        seed=seed,
        data_sha256=summarise(examples, encoded).sha256,
        base_sha256=None if pair.switched else weights_sha256(pair.base.model),
        tuned_sha256=weights_sha256(pair.tuned.model),
        versions=versions(),
    )


def with_explanations(record: Comparison, rows: Sequence[ComparisonRow]) -> Comparison:
    """The comparison with the rows about explanations, which come last."""
    return replace(record, rows=(*record.rows, *rows))


def _moved(
    numbers: Sequence[int], moved: Callable[[int], MovedExample], explained: ComparedExplanations | None
) -> tuple[MovedExample, ...]:
    """Those whose output moved furthest, the furthest first, then others whose explanation did, likewise."""
    if explained is None:
        return tuple(moved(i) for i in numbers)
    changes = explained.changes
    by_change = [
        (change, i)
        for i in changes.numbers
        if i not in set(numbers) and (change := changes.of(i)) is not None and change > _LEAST_CHANGE
    ]
    order = [*numbers, *(i for _, i in sorted(by_change, key=lambda one: (-one[0], one[1]))[:N_EXPLAINED_MOVED])]
    out = []
    for i in order:
        place = changes.numbers.index(i)
        out.append(
            replace(
                moved(i),
                explanation_change=changes.of(i),
                explained_base=explained.base[place],
                explained_tuned=explained.tuned[place],
            )
        )
    return tuple(out)


def compare_models(
    pair: Pair,
    examples: Examples,
    encoded: Sequence[Encoded],
    *,
    config: CompareConfig,
    seed: int,
    parts: Sequence[str] | None = None,
    progress: bool = False,
    tuned_probabilities: FloatArray | None = None,
) -> Whole:
    """Everything but the rows about explanations; whether those can be had stands in `Comparison.not_compared`.

    `encoded` are the examples as the tuned model reads them, `tuned_probabilities` its classes' where they are known.
    """
    changes = list(weight_changes(pair))
    read = [number for number, e in enumerate(encoded) if pair.switched or len(e.ids) <= pair.base.max_length]
    first = read[:N_LOOKED_AT]
    flight = preflight(pair, changes, rows_of(pair.tuned, examples.take(first), [encoded[i] for i in first]))
    run = _Run(pair, examples, encoded, config, seed, flight, progress, n_too_long=len(encoded) - len(read))
    rows: list[ComparisonRow] = []
    missing: list[NotCompared] = []
    outputs: Outputs | None = None
    for part in PARTS:
        if part == "probes" or (parts is not None and part not in parts):
            continue
        why = _why_not(run, part, bool(changes))
        if why is not None:
            missing.append(NotCompared(part=part, why=why))
        elif part == "weights":
            rows += weight_rows(changes)
        elif part == "activations":
            rows += activation_rows(
                pair, run.rows(config.activations, 60), seed=seed, n_bootstrap=config.bootstraps,
                progress=run.bar("activations"),
            )  # fmt: skip
        elif part == "attention":
            rows += attention_rows(
                pair, run.rows(config.attention, 62), seed=seed, n_bootstrap=config.bootstraps,
                progress=run.bar("attention"),
            )  # fmt: skip
        elif part == "outputs":
            outputs = outputs_of(
                pair, examples, encoded, same_tokens=flight.same_tokens and not run.n_too_long,
                seed=seed, n_bootstrap=config.bootstraps, tuned=tuned_probabilities, progress=run.bar("outputs"),
            )  # fmt: skip
            rows += outputs.rows
    right = (None, None, None) if outputs is None else outputs.right
    record = Comparison(
        base_name=pair.base_name,
        tuned_name=pair.tuned_name,
        rows=tuple(rows),
        only_base_right=right[0],
        only_tuned_right=right[1],
        p_value=right[2],
        notes=_notes(run, rows),
        preflight=flight.checks,
        not_compared=tuple(missing),
        changed=flight.changed,
    )
    if outputs is None:
        return Whole(Compared(record=record), None)
    return Whole(Compared(record=record, kl_bits=outputs.kl_bits, base_answers=outputs.base_answers), outputs.moved)


def _why_not(run: _Run, part: Part, weights: bool) -> Message | None:
    """Why a part cannot be had of these two models; None where it can."""
    pair, flight, task = run.pair, run.flight, run.pair.tuned.task

    def why(code: str, **params: str | int) -> Message:
        return Message(code=f"not_compared.{code}", params=params)

    # A text that one of them reads further than the other is not the same input.
    too_long = why("base_reads_less", n=run.n_too_long, of=len(run.encoded), limit=pair.base.max_length)
    if part == "weights":
        return None if weights else why("no_weights_shared")
    if part in ("activations", "attention", "explanations") and getattr(run.config, part) == 0:
        return why("none_asked")
    if part in ("activations", "attention"):
        if task != "seq2seq-lm" and (len(pair.tuned.stacks) > 1 or len(pair.base.stacks) > 1):
            return why("several_stacks")
        if not flight.same_tokens:
            return why("other_tokens")
        if run.n_too_long:
            return too_long
        if not flight.same_depth:
            return why("other_depth", base=pair.base.n_layers, tuned=pair.tuned.n_layers)
        if part == "attention" and not flight.same_heads:
            return why("other_heads", base=pair.base.n_heads, tuned=pair.tuned.n_heads)
        return None
    if task == "none" or pair.base.task == "none":
        return why("no_head", name=pair.tuned_name if task == "none" else pair.base_name)
    if pair.base.task != task:
        return why("other_task", base=pair.base.task, tuned=task)
    if not flight.same_outputs:
        return why("other_outputs")
    if task not in ("text-classification", *AT_TOKENS) or (part == "explanations" and task == "token-classification"):
        return why("task", task=task)
    if task == "text-classification" and (
        len(pair.tuned.labels) < 2
        or getattr(pair.tuned.config, "problem_type", None) in ("regression", "multi_label_classification")
    ):
        return why("no_classes")
    if part == "outputs" and task == "seq2seq-lm" and run.examples.references is None:
        return why("no_references")
    if run.n_too_long and flight.same_tokens and (part == "explanations" or task in AT_TOKENS):
        return too_long
    if part == "explanations":
        if not flight.same_tokens:
            return why("other_tokens")
        if task == "masked-lm" and not all(pair.tuned.mask_id in e.ids for e in run.encoded):
            return why("no_mask")
    return None


def _notes(run: _Run, rows: Sequence[ComparisonRow]) -> tuple[Message, ...]:
    pair, notes = run.pair, []
    if pair.switched:
        notes.append(Message(code="compare.switched", params={"adapter": pair.tuned.adapter}))
    elif pair.base.saved_dtype != pair.tuned.saved_dtype:
        params = {"base": pair.base.saved_dtype, "tuned": pair.tuned.saved_dtype}
        notes.append(Message(code="compare.rounding_floor", params=params))
    else:
        notes.append(Message(code="compare.one_dtype", params={"dtype": pair.tuned.saved_dtype}))
    unknown = adapter_changes(pair.tuned)[1]
    if unknown:
        notes.append(Message(code="compare.adapter_weights_unknown", params={"n": len(unknown)}))
    cut = sum(e.n_truncated > 0 for e in run.encoded)
    if cut:
        notes.append(Message(code="compare.truncated", params={"n": cut, "of": len(run.encoded)}))
    decodes = pair.tuned.task == "seq2seq-lm" and any(row.part in ("activations", "attention") for row in rows)
    if decodes and run.examples.references is None:
        notes.append(Message(code="compare.start_only"))
    if any(row.part == "activations" for row in rows):
        notes.append(Message(code="compare.cka_tokens"))
    return tuple(notes)
