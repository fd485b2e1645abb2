"""Views of words that a model leans on: what was found, what changing texts showed, and what was not."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.record import Message
from interpret.results.shortcuts import CausalRow, ErrorWord, ErrorWords, Shortcuts, ShortcutWord, ShortcutWords
from interpret.results.tree import (
    Column,
    Details,
    Heading,
    Inline,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import difference_line, headline_row, quality_note, verdict_of, view

#: Rows of each table; those that are named are always first.
N_ROWS = 15


def _columns(*names: str) -> tuple[Column, ...]:
    """Columns by their codes; a name that starts with `#` holds numbers."""
    return tuple(Column(say(f"column.{name.lstrip('#')}"), numeric=name.startswith("#")) for name in names)


def word_table(record: ShortcutWords, rows: Sequence[ShortcutWord], *, sliced: bool = False) -> Table:
    """One row per word and class, with what the labels say beside it where labels were given."""
    names = ["word", "class_name", "#texts_with", "#predicted_share", "#mass_ratio", "#log_odds_predicted", "#p_leans"]
    if record.gold_given:
        names[4:4] = ["#gold_share"]
        names[7:7] = ["#log_odds_gold", "#excess"]
        names += ["#p_more"]
    names += ["slice"] if sliced else ["#top_share"]
    cells = tuple(_word_cells(record, r, sliced) for r in rows[:N_ROWS])
    title = say("shortcuts.slice_table") if sliced else say("shortcuts.word_table")
    return Table((*_columns(*names), Column(say("column.verdict"))), cells, title, len(rows))


def _word_cells(record: ShortcutWords, r: ShortcutWord, sliced: bool) -> tuple[Inline, ...]:
    cells: list[Inline] = [r.form, r.label, Number(r.n, "count"), Number(r.n_predicted / r.n, "percent")]
    if r.n_gold is not None:
        cells.append(Number(r.n_gold / r.n, "percent"))
    cells.append("–" if r.mass_ratio is None else Number(r.mass_ratio, "tenth"))
    cells.append(Number(r.log_odds_predicted, "signed", r.log_odds_predicted_low, r.log_odds_predicted_high))
    if record.gold_given:
        cells.append(Number(r.log_odds_gold, "signed", r.log_odds_gold_low, r.log_odds_gold_high))
        cells.append(Number(r.excess, "points", r.excess_low, r.excess_high))
    cells.append(Number(r.p_leans_holm, "p"))
    if record.gold_given:
        cells.append(Number(r.p_more_holm, "p"))
    stable = r.excess_top_share if r.verdict == "more_than_labels" else r.top_share
    last: Inline = "–" if stable is None else Number(stable, "percent")
    cells.append((r.slice or "–") if sliced else last)
    return (*cells, say(f"shortcut_verdict.{r.verdict}"))


def word_nodes(record: ShortcutWords) -> tuple[Node, ...]:
    """How many words are named, the table over all texts, and what is named in slices."""
    named, more = len(record.leans_on), len(record.more_than_labels)
    found: Message = say("shortcuts.found_none", tests=record.n_tests, n=record.n_texts)
    if named and record.gold_given:
        found = say("shortcuts.found", leans=named, more=more, tests=record.n_tests, n=record.n_texts)
    elif named:
        found = say("shortcuts.found_without_labels", leans=named, tests=record.n_tests, n=record.n_texts)
    children: list[Node] = [Paragraph((found,), "lead")]
    if record.notes:
        children.append(Note("warning", record.notes))
    rows = [r for r in record.rows if r.slice is None]
    if rows:
        children.append(word_table(record, rows))
        reading = say("shortcuts.reading", alpha=record.alpha, min_count=record.min_count, top=record.top)
        children.append(Paragraph((reading,), "small"))
    in_slices = [r for r in record.rows if r.slice is not None and r.verdict != "not_named"]
    if in_slices:
        children.append(Details(say("shortcuts.in_slices"), (word_table(record, in_slices, sliced=True),)))
    caution = "shortcuts.argmax_exaggerates" if record.gold_given else "shortcuts.no_labels"
    children.append(Paragraph((say("shortcuts.not_causal"), say(caution)), "small"))
    return tuple(children)


def error_nodes(record: ErrorWords) -> tuple[Node, ...]:
    """Words of wrongly classified texts."""
    rows = [r for r in record.rows if r.slice is None]
    counts = {"n_wrong": record.n_wrong, "n": record.n_texts, "tests": record.n_tests}
    named = len(record.over_represented)
    found = say("shortcuts.errors_found", named=named, **counts) if named else say("shortcuts.errors_none", **counts)
    children: list[Node] = [Paragraph((found,))]
    if rows:
        children.append(_error_table(rows))
    in_slices = [r for r in record.rows if r.slice is not None and r.verdict != "not_named"]
    if in_slices:
        children.append(Details(say("shortcuts.in_slices"), (_error_table(in_slices, sliced=True),)))
    children.append(Paragraph((say("shortcuts.errors_reading"),), "small"))
    return tuple(children)


def _error_table(rows: Sequence[ErrorWord], *, sliced: bool = False) -> Table:
    names = ("word", "#texts_with", "#wrong_with", "#log_odds_wrong", "#share_wrong", "#share_right", "#p_holm")
    cells: list[tuple[Inline, ...]] = []
    for r in rows[:N_ROWS]:
        last: Inline = "–" if r.top_share is None else Number(r.top_share, "percent")
        cells.append(
            (
                r.word,
                Number(r.n, "count"),
                Number(r.n_wrong, "count"),
                Number(r.log_odds, "signed", r.log_odds_low, r.log_odds_high),
                "–" if r.share_wrong is None else Number(r.share_wrong, "percent"),
                "–" if r.share_right is None else Number(r.share_right, "percent"),
                Number(r.p_holm, "p"),
                (r.slice or "–") if sliced else last,
                say(f"shortcut_verdict.{r.verdict}"),
            )
        )
    columns = _columns(*names, "slice" if sliced else "#top_share", "verdict")
    return Table(columns, tuple(cells), say("shortcuts.error_table"), len(rows))


def causal_line(row: CausalRow) -> Message:
    """One change of texts in a sentence."""
    if row.flip_rate is None:
        return say(f"shortcuts.{row.kind}_too_few", word=row.word, label=row.label, n=row.n)
    return say(
        f"shortcuts.{row.kind}",
        word=row.word,
        label=row.label,
        n=row.n,
        rate=row.flip_rate,
        low=row.flip_low,
        high=row.flip_high,
        other=row.control_flip_rate,
    )


def causal_nodes(rows: Sequence[CausalRow], n_held_out: int) -> tuple[Node, ...]:
    """What inserting and removing the first words did to held-out texts."""
    if not rows:
        return (Paragraph((say("shortcuts.nothing_checked"),)),)
    children: list[Node] = [Paragraph((causal_line(r),)) for r in rows if r.verdict == "confirmed"]
    cells: list[tuple[Inline, ...]] = []
    for r in rows:
        measured = r.flip_rate is not None
        cells.append(
            (
                r.word,
                r.label,
                say(f"causal_kind.{r.kind}"),
                Number(r.n, "count"),
                Number(r.flip_rate, "percent", r.flip_low, r.flip_high) if measured else "–",
                Number(r.control_flip_rate, "percent", r.control_flip_low, r.control_flip_high) if measured else "–",
                Number(r.difference, "points", r.difference_low, r.difference_high) if measured else "–",
                Number(r.probability_change, "signed", r.probability_change_low, r.probability_change_high)
                if measured
                else "–",
                say(f"causal_verdict.{r.verdict}"),
            )
        )
    columns = _columns(
        "word", "class_name", "change", "#examples", "#flips", "#flips_other", "#flip_difference",
        "#probability_change", "verdict",
    )  # fmt: skip
    children.append(Table(columns, tuple(cells), say("shortcuts.causal_table", n=n_held_out), row_headers=False))
    children.append(Paragraph((say("shortcuts.causal_reading"),), "small"))
    return tuple(children)


def shortcut_nodes(record: Shortcuts) -> tuple[Node, ...]:
    """The quality of the explanations first: everything below is read from them."""
    quality = record.quality
    headline = None if quality is None else headline_row(quality)
    head: tuple[Inline, ...] = (verdict_of(quality), say("shortcuts.from", method=record.words.method))
    if headline is not None and headline.difference is not None:
        head += (difference_line(headline),)
    children: list[Node] = [Paragraph(head), *quality_note(None if quality is None else quality.verdict)]
    counts = say(
        "shortcuts.counts", explained=record.n_explained, held_out=record.n_held_out, duplicates=record.n_duplicates
    )
    children.append(Paragraph((counts,), "small"))
    children += word_nodes(record.words)
    children += [Heading(say("shortcuts.causal_heading")), *causal_nodes(record.causal, record.n_held_out)]
    if record.errors is not None:
        children += [Heading(say("shortcuts.errors_heading")), *error_nodes(record.errors)]
    return tuple(children)


@view.register
def _(record: ShortcutWords) -> Node:
    return Section(say("view.shortcut_words", method=record.method, n=record.n_texts), word_nodes(record))


@view.register
def _(record: ErrorWords) -> Node:
    return Section(say("view.error_words", n=record.n_texts), error_nodes(record))


@view.register
def _(record: Shortcuts) -> Node:
    return Section(say("view.shortcuts", model=record.model, data=record.data), shortcut_nodes(record))
