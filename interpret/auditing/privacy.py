"""What an audit keeps of the texts: whole, masked, or nothing but row numbers.

Masks are all alike, never one per word: a text in which equal words have equal masks is a cipher that frequent words
break. The words of sections 5 and 7 are numbered by rank for the same reason, those of 7 class by class. Token ids are
text in another alphabet and go with it. What stays are numbers, names of classes, slices and columns, values of the
columns that were named to be probed (no column of texts is taken for that), and the digest of the data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from interpret.results.audits import AttentionSummary, Audit, Case, Texts, WordImportance
from interpret.results.comparisons import Comparison, ComparisonRow, MovedExample
from interpret.results.explanations import ExampleAttribution, TargetRecord
from interpret.results.robustness import Robustness
from interpret.results.shortcuts import Shortcuts
from interpret.results.slices import Finding

#: Stands for a word; its length says nothing.
MASK: Final = "•••"
#: Fields of `Audit` of which it is known what they hold of the texts. Whoever adds one decides about it here.
REVIEWED: Final = frozenset(
    "title identity data performance comparison global_attribution explanation_quality cases attention probes "
    "check_rows coverage config seed command intended_use run robustness shortcuts found_slices findings "
    "examples concepts".split()
)
#: Kinds of target whose label is a class; the labels of all others are pieces of text.
_CLASSES: Final = ("class", "contrast")


def withhold(audit: Audit, texts: Texts) -> Audit:
    """The audit with its texts whole, masked, or left out; which of them is recorded in its data section."""
    audit = replace(audit, data=replace(audit.data, texts=texts))
    if texts == "full":
        return audit
    classes = audit.identity.task == "text-classification"
    ranks = _ranks(audit.shortcuts)
    return replace(
        audit,
        comparison=None if audit.comparison is None else comparison_without_words(audit.comparison, classes=classes),
        global_attribution=_numbered(audit.global_attribution, classes=classes),
        cases=tuple(_case(case, texts, classes=classes) for case in audit.cases),
        shortcuts=None if audit.shortcuts is None else _shortcuts(audit.shortcuts, ranks),
        robustness=None if audit.robustness is None else _robustness(audit.robustness),
        attention=None if audit.attention is None else _attention(audit.attention, audit.cases, texts),
        findings=tuple(_finding(one, ranks) for one in audit.findings),
    )


def _ranks(shortcuts: Shortcuts | None) -> dict[str, str]:
    """A number for each word that the audit found: the same in every table, in the order of the first."""
    if shortcuts is None:
        return {}
    words = [row.word for row in shortcuts.words.rows]
    words += [row.word for row in shortcuts.errors.rows] if shortcuts.errors is not None else []
    words += [row.word for row in shortcuts.causal]
    ranks = {word: f"{MASK} {n}" for n, word in enumerate(dict.fromkeys(words), 1)}
    # As it is mostly written.
    return ranks | {row.form: ranks[row.word] for row in shortcuts.words.rows}


def _shortcuts(found: Shortcuts, ranks: Mapping[str, str]) -> Shortcuts:
    rows = tuple(replace(row, word=ranks[row.word], form=ranks[row.word]) for row in found.words.rows)
    causal = tuple(replace(row, word=ranks[row.word]) for row in found.causal)
    errors = found.errors
    if errors is not None:
        errors = replace(errors, rows=tuple(replace(row, word=ranks[row.word]) for row in errors.rows))
    return replace(found, words=replace(found.words, rows=rows), causal=causal, errors=errors)


def comparison_without_words(found: Comparison, *, classes: bool) -> Comparison:
    """Numbers for the words that rows are about, the same in every table, and no text of an example that moved."""
    ranks: dict[str, str] = {}

    def named(row: ComparisonRow) -> ComparisonRow:
        # Weights, sites and methods are names of ours or of the model.
        if row.item is None or row.part not in ("outputs", "explanations") or row.name == "rank_correlation":
            return row
        return replace(row, item=ranks.setdefault(row.item, f"{MASK} {len(ranks) + 1}"))

    def moved(one: MovedExample) -> MovedExample:
        one = one if classes else replace(one, base=MASK, tuned=MASK)
        return replace(one, text=None, after=None, explained_base=None, explained_tuned=None)

    return replace(found, rows=tuple(map(named, found.rows)), moved=tuple(map(moved, found.moved)))


def _robustness(found: Robustness) -> Robustness:
    """Without the texts that changed most, and without pairs of texts; of both the numbers stay."""
    return replace(
        found,
        rows=tuple(replace(row, largest=None) for row in found.rows),
        groups=tuple(replace(row, largest=None) for row in found.groups),
        pairs=tuple(replace(scores, pairs=()) for scores in found.pairs),
    )


def _attention(found: AttentionSummary, cases: Sequence[Case], texts: Texts) -> AttentionSummary:
    """Patterns with masks for tokens, of which only the special ones keep their names; without texts no patterns."""
    if found.maps is None or texts == "ids":
        return replace(found, maps=None)
    special = {case.row: case.attribution.special.tolist() for case in cases}
    maps = tuple(
        replace(
            one,
            tokens=tuple(token if added else MASK for token, added in zip(one.tokens, special[one.row], strict=True)),
        )
        for one in found.maps.maps
    )
    return replace(found, maps=replace(found.maps, maps=maps))


def _finding(one: Finding, ranks: Mapping[str, str]) -> Finding:
    if "word" not in one.message.params:
        return one
    word = ranks.get(str(one.message.params["word"]), MASK)
    return replace(one, message=replace(one.message, params={**one.message.params, "word": word}))


def _numbered(rows: tuple[WordImportance, ...], *, classes: bool) -> tuple[WordImportance, ...]:
    """The words of each class as `••• 1`, `••• 2` in their order; a class that is a piece of text likewise."""
    labels = {label: f"{MASK} {n}" for n, label in enumerate(dict.fromkeys(row.label for row in rows), 1)}
    ranks: dict[str, int] = defaultdict(int)
    out = []
    for row in rows:
        ranks[row.label] += 1
        label = row.label if classes else labels[row.label]
        out.append(replace(row, word=f"{MASK} {ranks[row.label]}", label=label))
    return tuple(out)


def _case(case: Case, texts: Texts, *, classes: bool) -> Case:
    attribution = masked(case.attribution) if texts == "masked" else emptied(case.attribution)
    if classes:
        return replace(case, attribution=attribution)
    base = None if case.base_prediction is None else MASK
    return replace(
        case,
        attribution=attribution,
        prediction=MASK,
        label=None if case.label is None else MASK,
        base_prediction=base,
    )


def masked(example: ExampleAttribution) -> ExampleAttribution:
    """Scores word by word, every word a mask and one space between them; names of special tokens stay."""
    words = example.words()
    spans = np.zeros_like(example.char_spans)
    text = ""
    for word in words:
        second = example.pair_start is not None and word.char_start >= example.pair_start and "\n" not in text
        text += ("\n" if second else " ") if text else ""
        spans[list(word.positions)] = (len(text), len(text) + len(MASK))
        text += MASK
    pairs = zip(example.tokens, example.special.tolist(), strict=True)
    return replace(
        example,
        text=text,
        tokens=tuple(token if special else MASK for token, special in pairs),
        token_ids=np.full_like(example.token_ids, -1),
        char_spans=spans,
        target=_target(example.target),
        pair_start=None if example.pair_start is None else text.find("\n") + 1,
    )


def emptied(example: ExampleAttribution) -> ExampleAttribution:
    """Only what was measured about the explanation as a whole: no text, no tokens, no scores."""
    return replace(
        example,
        text="",
        tokens=(),
        token_ids=example.token_ids[:0],
        scores=example.scores[:0],
        word_index=example.word_index[:0],
        char_spans=example.char_spans[:0],
        special=example.special[:0],
        target=_target(example.target),
        pair_start=None,
    )


def _target(target: TargetRecord) -> TargetRecord:
    if target.kind in _CLASSES:
        return target
    return replace(
        target,
        index=None,
        label=None if target.label is None else MASK,
        foil_index=None,
        foil_label=None if target.foil_label is None else MASK,
        response=(),
        word=None if target.word is None else MASK,
    )
