"""Outputs of base against tuned on all examples, with how far each of them moved, for every task that has outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.comparison.outputs import compare_outputs, kl_bits
from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.comparison.tokens import TokenOutputs, token_outputs, token_rows, word_gap_rows, words_at
from interpret.auditing.encoding import encode_examples, rows_of, target_ids
from interpret.auditing.examples import Examples
from interpret.auditing.predicting import probabilities_of
from interpret.models.inputs import Encoded
from interpret.models.words import word_spans
from interpret.results.comparisons import ComparisonRow, MovedExample

FloatArray = npt.NDArray[np.float64]
#: Tasks whose outputs stand at every token.
AT_TOKENS: Final = ("causal-lm", "masked-lm", "token-classification", "seq2seq-lm")


@dataclass(frozen=True)
class Outputs:
    """What outputs came to: rows, how far each example moved [example], and an example in words by its number.

    `right` are McNemar's counts and p-value; `base_answers` the base's class of each text, where there are classes.
    """

    rows: list[ComparisonRow]
    kl_bits: FloatArray
    moved: Callable[[int], MovedExample]
    right: tuple[int | None, int | None, float | None] = (None, None, None)
    base_answers: tuple[str, ...] | None = None


def outputs_of(
    pair: Pair,
    examples: Examples,
    encoded: Sequence[Encoded],
    *,
    same_tokens: bool,
    seed: int,
    n_bootstrap: int,
    tuned: FloatArray | None = None,
    progress: str | None = None,
) -> Outputs:
    """Compare all outputs; `tuned` are the tuned model's class probabilities where they are known already."""
    if pair.tuned.task in AT_TOKENS:
        return _at_tokens(pair, examples, encoded, seed, n_bootstrap, progress)
    after = probabilities_of(pair.tuned, encoded) if tuned is None else tuned
    with pair.as_base() as base:
        before = probabilities_of(base, encoded if same_tokens else encode_examples(base, examples))
    whole = compare_outputs(
        before,
        after,
        examples.gold,
        examples.slices,
        base_name=pair.base_name,
        tuned_name=pair.tuned_name,
        seed=seed,
        n_bootstrap=n_bootstrap,
    )
    kl = kl_bits(after, before)
    texts = [{text[a:b].casefold() for a, b in word_spans(text)} for text in examples.texts]
    labels = pair.tuned.labels
    answers = [[labels[best] for best in side.argmax(axis=1).tolist()] for side in (before, after)]

    def moved(i: int) -> MovedExample:
        return MovedExample(
            row=examples.rows[i],
            kl_bits=float(kl[i]),
            base=answers[0][i],
            tuned=answers[1][i],
            slice=None if examples.slices is None else examples.slices[i],
            text=examples.texts[i],
        )

    right = whole.only_base_right, whole.only_tuned_right, whole.p_value
    return Outputs([*whole.rows, *word_gap_rows(kl, texts)], kl, moved, right, tuple(answers[0]))


def furthest(kl: FloatArray, n: int) -> list[int]:
    """The `n` examples that moved furthest, the furthest first; of equals the first. None that did not move."""
    order = sorted(range(len(kl)), key=lambda i: (-float(kl[i]), i))
    return [i for i in order[:n] if kl[i] > 0]


def _at_tokens(
    pair: Pair, examples: Examples, encoded: Sequence[Encoded], seed: int, n_bootstrap: int, progress: str | None
) -> Outputs:
    responses = None
    if pair.tuned.task == "seq2seq-lm":
        responses = [target_ids(pair.tuned, text) for text in examples.references or ()]
    rows_run = rows_of(pair.tuned, examples, encoded)
    found = token_outputs(pair, encoded, rows_run, responses, progress=progress)
    name = _namer(pair)
    rows = token_rows(
        found, encoded, examples.slices, name, seed=seed, n_bootstrap=n_bootstrap, in_text=responses is None
    )
    kl = np.array([one.mean_kl for one in found])
    there = [number for number, one in enumerate(found) if len(one.at)]
    rows += word_gap_rows(kl[there], [set(words_at(encoded[number]).values()) for number in there])

    def moved(i: int) -> MovedExample:
        return _moved_token(found[i], encoded[i], examples, i, name, None if responses is None else responses[i])

    return Outputs(rows, kl, moved)


def _moved_token(
    one: TokenOutputs,
    e: Encoded,
    examples: Examples,
    i: int,
    name: Callable[[int], str],
    response: Sequence[int] | None,
) -> MovedExample:
    """The place at which both models differ most stands for the example."""
    worst = int(one.kl_bits.argmax())
    if response is None:
        start, end = e.char_spans[int(one.at[worst])]
        after = e.text[start:end]
    else:
        place = int(one.at[worst])
        after = "" if place == 0 else name(int(response[place - 1]))
    return MovedExample(
        row=examples.rows[i],
        kl_bits=one.mean_kl,
        base=name(int(one.base[worst])),
        tuned=name(int(one.tuned[worst])),
        slice=None if examples.slices is None else examples.slices[i],
        after=after,
        text=e.text,
    )


def _namer(pair: Pair) -> Callable[[int], str]:
    """The words of an output: a class, or a piece of text."""
    tokenizer = pair.tuned.tokenizer
    names = pair.tuned.config.id2label if pair.tuned.task == "token-classification" else None

    def name(index: int) -> str:
        if names is not None:
            return str(names.get(index, index))
        return str(index) if tokenizer is None else str(tokenizer.decode([index]))

    return name
