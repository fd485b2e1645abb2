"""Base against tuned, part by part: each that can be had on both sides, and of each other one why not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from interpret.analyzers.comparison.activations import activation_rows
from interpret.analyzers.comparison.attention import attention_rows
from interpret.analyzers.comparison.outputs import compare_outputs, kl_bits
from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.comparison.preflight import Preflight, preflight
from interpret.analyzers.comparison.tokens import TokenOutputs, token_outputs, token_rows, word_gap_rows, words_at
from interpret.analyzers.comparison.weights import adapter_changes, weight_changes, weight_rows
from interpret.auditing.comparing_explanations import explanation_rows
from interpret.auditing.encoding import encode_examples, row_of
from interpret.auditing.examples import Examples
from interpret.auditing.predicting import probabilities_of
from interpret.errors import UsageError
from interpret.models.inputs import Encoded
from interpret.models.words import word_spans
from interpret.results.comparisons import PARTS, Comparison, ComparisonRow, MovedExample, NotCompared, Part
from interpret.results.record import Message

#: Tasks whose outputs stand at every token.
_AT_TOKENS: Final = ("causal-lm", "masked-lm", "token-classification")
#: Examples that are shown of those that moved.
N_MOVED: Final = 20


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """How many examples each part takes, at most; 0 leaves the part out. Outputs are compared on all of them."""

    activations: int = 1000
    attention: int = 100
    explanations: int = 40
    method: str = "auto"
    bootstraps: int = 1000


@dataclass
class _Run:
    """One comparison under way."""

    pair: Pair
    examples: Examples
    encoded: list[Encoded]
    config: CompareConfig
    seed: int
    flight: Preflight
    progress: bool

    def sample(self, size: int, stream: int) -> list[int]:
        """A random sample of the examples, in their order."""
        n = len(self.encoded)
        if size >= n:
            return list(range(n))
        return sorted(np.random.default_rng([self.seed, stream]).choice(n, size=size, replace=False).tolist())

    def bar(self, name: str) -> str | None:
        return name if self.progress and sys.stderr.isatty() else None


@dataclass(frozen=True)
class _Outputs:
    """What outputs came to: rows, and how far each example moved."""

    rows: list[ComparisonRow]
    moved: list[MovedExample]
    right: tuple[int | None, int | None, float | None] = (None, None, None)


def run_compare(
    pair: Pair,
    examples: Examples,
    *,
    config: CompareConfig | None = None,
    seed: int = 0,
    parts: Sequence[str] | None = None,
    progress: bool = False,
) -> Comparison:
    """The pre-flight, then every part that was asked for and that both models have.

    Args:
        pair: the two models, or one with its adapter off and on.
        examples: what both are run on.
        config: counts.
        seed: of every sample and bootstrap.
        parts: some of weights, activations, attention, outputs, explanations; None takes all.
        progress: show bars on a terminal.

    Raises:
        UsageError: a part that does not exist.
    """
    settings = config or CompareConfig()
    there = [part for part in PARTS if part != "probes"]
    if unknown := sorted(set(parts or ()) - set(there)):
        raise UsageError(f"there is no part {unknown[0]!r} to compare; the parts are {', '.join(there)}")
    encoded = encode_examples(pair.tuned, examples)
    changes = list(weight_changes(pair))
    flight = preflight(pair, changes, [row_of(pair.tuned, e) for e in encoded])
    run = _Run(pair, examples, encoded, settings, seed, flight, progress)
    rows: list[ComparisonRow] = []
    missing: list[NotCompared] = []
    outputs = _Outputs([], [])
    for part in there:
        if parts is not None and part not in parts:
            continue
        why = _why_not(run, part, bool(changes))
        if why is not None:
            missing.append(NotCompared(part=part, why=why))
        elif part == "weights":
            rows += weight_rows(changes)
        elif part == "activations":
            numbers = run.sample(settings.activations, 60)
            rows += activation_rows(pair, _rows(run, numbers), seed=seed, n_bootstrap=settings.bootstraps,
                                    progress=run.bar("activations"))  # fmt: skip
        elif part == "attention":
            numbers = run.sample(settings.attention, 62)
            rows += attention_rows(pair, _rows(run, numbers), seed=seed, n_bootstrap=settings.bootstraps,
                                   progress=run.bar("attention"))  # fmt: skip
        elif part == "outputs":
            outputs = _outputs(run)
            rows += outputs.rows
        else:
            numbers = run.sample(settings.explanations, 63)
            rows += explanation_rows(pair, [encoded[i] for i in numbers], method=settings.method, seed=seed,
                                     n_bootstrap=settings.bootstraps)  # fmt: skip
    return Comparison(
        base_name=pair.base_name,
        tuned_name=pair.tuned_name,
        rows=tuple(rows),
        only_base_right=outputs.right[0],
        only_tuned_right=outputs.right[1],
        p_value=outputs.right[2],
        notes=_notes(run, rows),
        preflight=flight.checks,
        not_compared=tuple(missing),
        moved=tuple(outputs.moved),
        changed=flight.changed,
    )


def _rows(run: _Run, numbers: Sequence[int]) -> list:  # type: ignore[type-arg]
    return [row_of(run.pair.tuned, run.encoded[i]) for i in numbers]


def _why_not(run: _Run, part: Part, weights: bool) -> Message | None:
    """Why a part cannot be had of these two models; None where it can."""
    pair, flight, task = run.pair, run.flight, run.pair.tuned.task

    def why(code: str, **params: str | int) -> Message:
        return Message(code=f"not_compared.{code}", params=params)

    if part == "weights":
        return None if weights else why("no_weights_shared")
    if part in ("activations", "attention", "explanations") and getattr(run.config, part) == 0:
        return why("none_asked")
    if part in ("activations", "attention"):
        if len(pair.tuned.stacks) > 1 or len(pair.base.stacks) > 1:
            return why("several_stacks")
        if not flight.same_tokens:
            return why("other_tokens")
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
    if task not in ("text-classification", *_AT_TOKENS) or (part == "explanations" and task == "token-classification"):
        return why("task", task=task)
    if task == "text-classification" and (
        len(pair.tuned.labels) < 2
        or getattr(pair.tuned.config, "problem_type", None) in ("regression", "multi_label_classification")
    ):
        return why("no_classes")
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
    if any(row.part == "activations" for row in rows):
        notes.append(Message(code="compare.cka_tokens"))
    return tuple(notes)


def _outputs(run: _Run) -> _Outputs:
    pair, examples = run.pair, run.examples
    if pair.tuned.task in _AT_TOKENS:
        found = token_outputs(pair, run.encoded, _rows(run, range(len(run.encoded))), progress=run.bar("outputs"))
        rows = token_rows(
            found, run.encoded, examples.slices, _namer(pair), seed=run.seed, n_bootstrap=run.config.bootstraps
        )
        kl = np.array([one.mean_kl for one in found])
        rows += word_gap_rows(kl, [set(words_at(e).values()) for e in run.encoded])
        return _Outputs(rows, _moved_tokens(run, found, kl))
    tuned = probabilities_of(pair.tuned, run.encoded)
    with pair.as_base() as base:
        before = probabilities_of(base, run.encoded if run.flight.same_tokens else encode_examples(base, examples))
    whole = compare_outputs(
        before,
        tuned,
        examples.gold,
        examples.slices,
        base_name=pair.base_name,
        tuned_name=pair.tuned_name,
        seed=run.seed,
        n_bootstrap=run.config.bootstraps,
    )
    kl = kl_bits(tuned, before)
    texts = [{text[a:b].casefold() for a, b in word_spans(text)} for text in examples.texts]
    labels = pair.tuned.labels
    moved = [
        MovedExample(
            row=examples.rows[i],
            kl_bits=float(kl[i]),
            base=labels[int(before[i].argmax())],
            tuned=labels[int(tuned[i].argmax())],
            slice=None if examples.slices is None else examples.slices[i],
            text=examples.texts[i],
        )
        for i in _furthest(kl)
    ]
    rows = [*whole.rows, *word_gap_rows(kl, texts)]
    return _Outputs(rows, moved, (whole.only_base_right, whole.only_tuned_right, whole.p_value))


def _furthest(kl: np.ndarray) -> list[int]:
    """The examples that moved, the furthest first; of equals the first."""
    order = sorted(range(len(kl)), key=lambda i: (-float(kl[i]), i))
    return [i for i in order[:N_MOVED] if kl[i] > 0]


def _namer(pair: Pair) -> Callable[[int], str]:
    """The words of an output: a class, or a piece of text."""
    tokenizer = pair.tuned.tokenizer
    names = pair.tuned.config.id2label if pair.tuned.task == "token-classification" else None

    def name(index: int) -> str:
        if names is not None:
            return str(names.get(index, index))
        return str(index) if tokenizer is None else str(tokenizer.decode([index]))

    return name


def _moved_tokens(run: _Run, found: Sequence[TokenOutputs], kl: np.ndarray) -> list[MovedExample]:
    name = _namer(run.pair)
    out = []
    for i in _furthest(kl):
        one, e = found[i], run.encoded[i]
        worst = int(one.kl_bits.argmax())
        start, end = e.char_spans[int(one.at[worst])]
        out.append(
            MovedExample(
                row=run.examples.rows[i],
                kl_bits=float(kl[i]),
                base=name(int(one.base[worst])),
                tuned=name(int(one.tuned[worst])),
                slice=None if run.examples.slices is None else run.examples.slices[i],
                after=e.text[start:end],
                text=e.text,
            )
        )
    return out
