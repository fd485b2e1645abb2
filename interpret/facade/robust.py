"""Robustness and sentence pairs as verbs of their own, without a whole audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interpret.auditing.examples import select_examples
from interpret.auditing.robustness.measure import measure_robustness
from interpret.auditing.robustness.pairs import pair_scores
from interpret.errors import UsageError
from interpret.facade.attaching import as_model
from interpret.facade.auditing import require_classes
from interpret.readers.tables import Table, read_table
from interpret.results.robustness import PairScores, Robustness


def robustness(
    model: Any,
    dataset: Any,
    text: str | None = None,
    seed: int = 0,
    limit: int | None = 200,
    *,
    swap_terms: str | None = None,
    explained: int = 20,
    method: str = "auto",
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
) -> Robustness:
    """What becomes of predictions and explanations when texts are written otherwise, or are about another group.

    Perturbations are made by rules for English and Chinese, and that the right answer stays the same is assumed: look
    at the examples in the record before you rely on a rate.

    Args:
        model: attached model, path, hub id or pipeline; a classifier or a masked language model.
        dataset: path, DataFrame, `datasets.Dataset` or list of dicts.
        text: text column; None guesses by name.
        seed: of all that is drawn.
        limit: look at a random sample of at most so many rows; texts that stand twice count once.
        swap_terms: further words to exchange, as `"nurse=doctor, he=she"`.
        explained: pairs of a text and its changed version whose explanations are compared.
        method: of the explanations.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: leave out bad rows instead of stopping at the first.

    Raises:
        UsageError: the model does not choose one of several classes, or options that mean nothing.
    """
    table = read_table(dataset, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    handle = as_model(model).handle
    require_classes(handle)
    if explained < 0:
        raise UsageError(f"explained={explained} must be 0 or more: it is a number of pairs")
    # Without labels: what is right has no part in this.
    examples = select_examples(table, id2label=None, text=text, limit=limit, seed=seed)
    first = {text: n for n, text in reversed(list(enumerate(examples.texts)))}
    numbers = sorted(first.values())
    return measure_robustness(
        handle,
        [examples.texts[n] for n in numbers],
        rows=[examples.rows[n] for n in numbers],
        swap_terms=swap_terms,
        explained=explained,
        method=method,
        seed=seed,
    )


def sentence_pairs(
    model: Any,
    pairs: Any,
    first: str = "first",
    second: str = "second",
    category: str | None = None,
    *,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
) -> PairScores:
    """Which of two sentences a masked language model takes for likelier, by the tokens that both share.

    With the CrowS-Pairs data: `sentence_pairs(model, "crows_pairs.csv", "sent_more", "sent_less", "bias_type")`; the
    share of the first row is then the published metric. It shows what the model would write, not what it decides.

    Args:
        model: attached model, path, hub id or pipeline; a masked language model.
        pairs: a table with one pair in each row, or a sequence of two texts each.
        first: column of the first sentences, for example of the stereotypes.
        second: column of the second sentences.
        category: column of the kinds of pairs, which get rows of their own.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: leave out bad rows instead of stopping at the first.

    Raises:
        UsageError: another task, a column that is not there, or a row without one of its sentences.

    Reference: Nangia et al. 2020, arXiv 2010.00133, equation 1.
    """
    from interpret.facade import as_model

    if isinstance(pairs, Sequence) and not isinstance(pairs, str) and pairs and not isinstance(pairs[0], dict):
        found = [_two(n, pair) for n, pair in enumerate(pairs)]
        return pair_scores(as_model(model, task="masked-lm").handle, found, first=first, second=second)
    table = read_table(pairs, header=header, columns=columns, skip_bad_rows=skip_bad_rows)
    sides = [_column(table, name) for name in (first, second)]
    for n, row in enumerate(zip(*sides, strict=True)):
        if not all(text.strip() for text in row):
            raise UsageError(f"row {n} of {table.name} has an empty sentence; leave the row out")
    names = None if category is None else _column(table, category)
    handle = as_model(model, task="masked-lm").handle
    return pair_scores(handle, list(zip(*sides, strict=True)), names, first=first, second=second)


def _two(number: int, pair: Any) -> tuple[str, str]:
    if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
        raise UsageError(f"pair {number} is {pair!r}; give two sentences for each pair")
    return pair[0], pair[1]


def _column(table: Table, name: str) -> list[str]:
    if name not in table.columns:
        raise UsageError(f"{table.name} has no column {name!r}; its columns are {table.shown_columns}")
    return [row[name] for row in table.rows]
