"""A record -> the tree that shows it; notebooks and reports show the same tree.

No attribution is shown without its measured quality: where there is none the view says so, and where the
explanation did no better than random words the view says that it failed.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from functools import singledispatch
from importlib import import_module

from interpret.results.battery_views import battery_nodes, is_drop
from interpret.results.explanations import (
    Attribution,
    ExampleAttribution,
    ExampleQuality,
    Faithfulness,
    FaithfulnessRow,
    TargetRecord,
    Verdict,
)
from interpret.results.lower import Html, text
from interpret.results.messages import words
from interpret.results.record import Message, Record
from interpret.results.style import SCOPE, component_css
from interpret.results.tree import (
    Badge,
    Column,
    Details,
    Fact,
    Facts,
    Figure,
    Inline,
    IntervalPlot,
    IntervalRow,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    Token,
    Tokens,
    say,
)

#: Examples of a batch that a notebook view shows; the heading says how many there are.
N_SHOWN = 10
#: Beyond this a notebook output is cut, so that a saved notebook stays openable.
MAX_HTML = 200_000
#: Words of one text that a notebook view shows.
N_WORDS = 400
#: Words that are shown on each side of what was read of a text, and what stands around words that were not read.
_N_AROUND = 10
_NOT_READ = ("[[", "]]")
#: Words of one text that are drawn as bars.
N_BARS = 12


@singledispatch
def view(record: object) -> Node:
    """The tree that shows a record.

    Raises:
        TypeError: no view is defined for this type.

    """
    raise TypeError(f"no view is defined for {type(record).__name__}")


def to_text(record: Record, *, locale: str = "en", colour: bool = False) -> str:
    """The record's view as plain text; with `colour` scored words are coloured for a terminal, signs stay."""
    return text(_viewed(record), words(locale), colour=colour)


def to_html(record: Record, *, locale: str = "en", prefix: str | None = None) -> str:
    """The record's view as static HTML: escaped, without script, network or style attributes.

    `prefix` starts every id; without one it is drawn afresh, so that two outputs can share a page.
    """
    prefix = f"ilm{uuid.uuid4().hex[:8]}-" if prefix is None else prefix
    say_in = words(locale)
    node = _viewed(record)
    body = Html(say_in, prefix, heading=2).nodes((node,))
    if len(body.encode()) > MAX_HTML and isinstance(node, Section):
        children = node.children
        while len(body.encode()) > MAX_HTML - 2_000 and len(children) > 1:
            children = children[: max(1, len(children) // 2)]
            cut = Note("note", (say("view.cut", kept=len(children), n=len(node.children)),))
            body = Html(say_in, prefix).nodes((Section(node.title, (*children, cut), node.key),))
    style = f"<style>{component_css(notebook=True)}</style>"
    return f'<div class="{SCOPE}" lang="{say_in.language}">{style}{body}</div>'


#: Modules that register views here, and import this one to do so.
_VIEWS = (
    "attention_views",
    "audit_views",
    "comparison_views",
    "concept_views",
    "diff_views",
    "erasure_views",
    "intervention_views",
    "matrix_views",
    "patch_sweeps_views",
    "probe_comparison_views",
    "probe_views",
    "quality_views",
    "robustness_views",
    "shortcut_views",
    "subject_views",
    "verification_views",
)


def _viewed(record: Record) -> Node:
    for name in _VIEWS:
        import_module(f"interpret.results.{name}")
    return view(record)


# --- attribution


def verdict_of(quality: Faithfulness | ExampleQuality | None) -> Badge:
    """The badge that stands beside every explanation."""
    return Badge("not_measured") if quality is None else Badge(quality.verdict)


def target_words(target: TargetRecord) -> Message:
    """What was explained, in a sentence."""
    label = target.label if target.label is not None else str(target.index)
    if target.kind == "contrast":
        foil = target.foil_label if target.foil_label is not None else str(target.foil_index)
        return say("target.contrast", label=label, foil=foil)
    if target.kind == "external":
        return say("target.external")
    if target.kind in ("sequence", "function"):
        return say(f"target.{target.kind}", label=label)
    if target.kind in ("token_class", "start", "end", "span"):
        return say(f"target.{target.kind}.{target.chosen}", label=label, word=target.word or "…")
    return say(f"target.{target.kind}.{target.chosen}", label=label)


def tokens_of(example: ExampleAttribution, limit: int = N_WORDS, scale: float | None = None) -> Tokens:
    """The text with its words' scores; what no word covers (spaces, punctuation left out) stays as it was.

    Words that the model did not read have no score and stand between `[[` and `]]`. Of a long text that begins or ends
    with many of them only the nearest few are shown.
    """
    every = example.words()
    read = example.words_read(every).tolist()
    first, stop = _shown(read, limit)
    found = every[first:stop]
    biggest = max((abs(word.score) for word in found), default=0.0)
    placed = all(word.char_end > word.char_start for word in found)
    tokens: list[Token] = []
    end, apart = 0, False
    for word, known in zip(found, read[first:stop], strict=True):
        before = example.text[end : word.char_start] if placed else " "
        if first and not tokens:
            before = "… "
        if known == apart:
            before = f"{_NOT_READ[1]}{before}" if known else f"{before}{_NOT_READ[0]}"
            apart = not known
        tokens.append(Token(word.word, word.score if known else None, before))
        end = max(end, word.char_end)
    after = example.text[end : end + 200] if placed and stop == len(every) else ""
    if len(example.text) > end + len(after):
        after += " …"
    return Tokens(tuple(tokens), biggest if scale is None else scale, _NOT_READ[1] * apart + after)


def _shown(read: Sequence[bool], limit: int) -> tuple[int, int]:
    """Which words are shown, the end excluded: those that were read, with a little of what stands around them."""
    known = [place for place, there in enumerate(read) if there]
    first = max(0, min(known, default=0) - _N_AROUND)
    return first, min(first + limit, max(known, default=len(read)) + 1 + _N_AROUND, len(read))


def example_quality(quality: ExampleQuality | None) -> tuple[Inline, ...]:
    """One line: the verdict, and where this explanation stands among random rankings of the same words."""
    if quality is None:
        return (Badge("not_measured"), say("quality.not_measured"))
    if quality.percentile is None:
        only = "quality.one_word" if quality.n_words == 1 else "quality.one_ranking"
        return (Badge(quality.verdict), say(only, n=quality.n_words))
    line = say("quality.example", percentile=quality.percentile, n_random=quality.n_random, n_words=quality.n_words)
    return (Badge(quality.verdict), line)


def quality_note(verdict: Verdict | None) -> tuple[Node, ...]:
    """The warning that goes with a verdict, when there is one to give."""
    if verdict is None:
        return (Note("warning", (say("quality.unmeasured_warning"),)),)
    if verdict == "not_better":
        return (Note("failure", (say("quality.failed_warning"),)),)
    if verdict == "inconclusive":
        return (Note("warning", (say("quality.inconclusive_warning"),)),)
    return ()


def strongest_words(example: ExampleAttribution, limit: int = N_BARS) -> tuple[Figure, ...]:
    """The words with the largest scores as bars, from the most towards to the most against; none where all are 0.

    A word that stands in the text several times is followed by its place among the words.
    """
    found = list(enumerate(example.words(), 1))
    most = sorted((item for item in found if item[1].score != 0), key=lambda item: (-abs(item[1].score), item[0]))
    if not most:
        return ()
    shown = sorted(most[:limit], key=lambda item: (-item[1].score, item[0]))
    times = Counter(word.word for _, word in found)
    rows, cells = [], []
    for place, word in shown:
        name = word.word if times[word.word] == 1 else f"{word.word} ({place})"
        rows.append(IntervalRow(name, word.score))
        cells.append((word.word, Number(float(place), "count"), Number(word.score, "signed")))
    columns = (
        Column(say("column.word")),
        Column(say("column.place"), numeric=True),
        Column(say("column.score"), numeric=True),
    )
    own_units = example.target.kind == "function"
    plot = IntervalPlot(tuple(rows), say("axis.function" if own_units else "axis.logits"), bars=True)
    caption = say("words.function_table" if own_units else "words.table")
    table = Table(columns, tuple(cells), caption, len(most))
    alt = say("words.figure_alt", n=len(shown))
    return (Figure(plot, alt, table, say("words.figure", n=len(shown), total=len(found))),)


@view.register
def _(record: ExampleAttribution) -> Node:
    children: list[Node] = [
        Paragraph((target_words(record.target),)),
        Paragraph(example_quality(record.quality)),
    ]
    children += quality_note(None if record.quality is None else record.quality.verdict)
    children.append(tokens_of(record))
    children.append(Paragraph((say("tokens.legend"),), "small"))
    children += strongest_words(record)
    cautions = _cautions(record)
    children += [Paragraph(cautions, "small")] if cautions else []
    return Section(say("view.attribution", method=record.method), tuple(children))


def _cautions(example: ExampleAttribution) -> tuple[Inline, ...]:
    facts: list[Inline] = []
    if example.convergence_delta is not None:
        facts.append(say("quality.completeness", delta=float(example.convergence_delta)))
    if example.n_truncated:
        facts.append(say("quality.truncated", n=example.n_truncated))
    if example.windows is not None:
        read = example.windows
        facts.append(say("quality.windows", n=len(read), size=read.size, stride=read.stride))
        if read.n_explained < len(read):
            facts.append(say("quality.windows_explained", n=read.n_explained, total=len(read)))
    return tuple(facts)


@view.register
def _(record: Attribution) -> Node:
    quality = record.quality
    children: list[Node] = []
    head: tuple[Inline, ...] = (verdict_of(quality),)
    headline = None if quality is None else headline_row(quality)
    if headline is not None and headline.difference is not None:
        head += (difference_line(headline, quality),)
    elif quality is None:
        head += (say("quality.not_measured"),)
    children.append(Paragraph(head))
    children += quality_note(None if quality is None else quality.verdict)
    for example in record.examples[:N_SHOWN]:
        under = (*example_quality(example.quality), target_words(example.target), *_cautions(example))
        children += [tokens_of(example), Paragraph(under, "small")]
    if len(record) == 1:
        children += strongest_words(record[0])
    if len(record) > N_SHOWN:
        children.append(Paragraph((say("list.cut", shown=N_SHOWN, n=len(record)),), "small"))
    children.append(Paragraph((say("tokens.legend"), say("attribution.not_causal")), "small"))
    if quality is not None:
        children.append(Details(say("quality.details"), (faithfulness_table(quality), *battery_nodes(quality))))
    return Section(say("view.attributions", method=record.method, n=len(record)), tuple(children))


# --- faithfulness


def headline_row(record: Faithfulness) -> FaithfulnessRow | None:
    """The row of AOPC comprehensiveness, whose verdict is the explanation's."""
    return next((row for row in record.rows if row.metric == "aopc_comprehensiveness"), None)


def of_function(record: Faithfulness) -> bool:
    """Whether what falls is the value of a function of the output, not a probability."""
    return record.options.get("quantity") == "function"


def difference_line(row: FaithfulnessRow, record: Faithfulness | None = None) -> Message:
    """The paired difference to random rankings in a sentence; without an interval when there is none."""
    code = "quality.function_difference" if record is not None and of_function(record) else "quality.difference"
    if row.difference_ci_low is None or row.difference_ci_high is None:
        return say(code, difference=row.difference, n=row.n)
    return say(
        f"{code}_interval",
        difference=row.difference,
        low=row.difference_ci_low,
        high=row.difference_ci_high,
        n=row.n,
    )


def _metric(name: str) -> Message:
    """The words of a faithfulness metric; `comprehensiveness@0.2` is at one share of removed words."""
    metric, at, fraction = name.partition("@")
    if not at:
        return say("metric.named", name=name)
    return say("metric.at", metric=metric, fraction=f"{float(fraction):.0%}" if fraction else "")


def faithfulness_table(record: Faithfulness) -> Table:
    """AOPC and its fractions under every operator against random rankings and the best trivial baseline."""
    columns = (
        Column(say("column.metric")),
        Column(say("column.operator")),
        Column(say("column.explanation"), numeric=True),
        Column(say("column.random"), numeric=True),
        Column(say("column.difference"), numeric=True),
        Column(say("column.trivial")),
        Column(say("column.trivial_difference"), numeric=True),
        Column(say("column.n"), numeric=True),
        Column(say("column.verdict")),
    )
    rows = []
    for r in filter(is_drop, record.rows):
        trivial: Inline = say("none") if r.trivial_name is None else say("trivial.named", name=r.trivial_name)
        rows.append(
            (
                _metric(r.metric),
                say("operator.named", name=r.operator),
                Number(r.value, "signed", r.ci_low, r.ci_high),
                Number(r.random_mean, "signed", r.random_ci_low, r.random_ci_high),
                Number(r.difference, "signed", r.difference_ci_low, r.difference_ci_high),
                trivial,
                Number(r.trivial_difference, "signed", r.trivial_difference_ci_low, r.trivial_difference_ci_high),
                Number(r.n, "count"),
                Badge(r.verdict),
            )
        )
    return Table(columns, tuple(rows), say("quality.function_table" if of_function(record) else "quality.table"))


def faithfulness_figure(records: Sequence[Faithfulness]) -> Figure | None:
    """AOPC of explanation against random, one row per metric, operator and method."""
    rows, table = [], []
    for record in records:
        several = len({r.operator for r in record.rows if is_drop(r)}) > 1
        for r in filter(is_drop, record.rows):
            if r.value is None or (len(records) > 1 and not r.metric.startswith("aopc_")):
                continue
            name = say("quality.plot_row", metric=r.metric.removeprefix("aopc_"), method=record.method)
            if len(records) == 1:
                name = _metric(r.metric)
            if several:
                # Of several operators, at each fraction of words, a figure would be all rows.
                if not r.metric.startswith("aopc_"):
                    continue
                metric = r.metric.removeprefix("aopc_")
                name = say("quality.plot_operator", metric=metric, operator=r.operator, method=record.method)
            rows.append(
                IntervalRow(name, r.value, r.ci_low, r.ci_high, r.random_mean, r.random_ci_low, r.random_ci_high)
            )
            shown = Number(r.value, "signed", r.ci_low, r.ci_high)
            table.append((name, shown, Number(r.random_mean, "signed", r.random_ci_low, r.random_ci_high)))
    if not rows:
        return None
    plot = IntervalPlot(
        tuple(rows),
        say("axis.function_drop" if all(map(of_function, records)) else "axis.probability_drop"),
        "decimal",
        say("column.explanation"),
        say("column.random"),
    )
    columns = (
        Column(say("column.metric")),
        Column(say("column.explanation"), numeric=True),
        Column(say("column.random"), numeric=True),
    )
    return Figure(plot, say("quality.figure_alt", n=len(rows)), Table(columns, tuple(table)), say("quality.figure"))


@view.register
def _(record: Faithfulness) -> Node:
    row = headline_row(record)
    line: tuple[Inline, ...] = () if row is None or row.difference is None else (difference_line(row, record),)
    children: list[Node] = [Paragraph((Badge(record.verdict), *line)), *quality_note(record.verdict)]
    children.append(share_line(record))
    figure = faithfulness_figure([record])
    if figure is not None:
        children.append(figure)
    children += [faithfulness_table(record), *battery_nodes(record)]
    children.append(Paragraph((say("quality.not_plausibility"),), "small"))
    return Section(say("view.faithfulness", method=record.method), tuple(children))


def share_line(record: Faithfulness) -> Paragraph:
    """How many single explanations stand above the 95th percentile of random rankings."""
    measured = sum(q is not None and q.percentile is not None for q in record.per_example)
    if record.above_95_share is None:
        return Paragraph((say("quality.share_not_measured"),))
    return Paragraph((say("quality.share", share=record.above_95_share, n=measured, n_random=record.n_random),))


@view.register
def _(record: ExampleQuality) -> Node:
    facts = Facts(
        (
            Fact(say("column.percentile"), Number(record.percentile, "percent")),
            Fact(say("metric.comprehensiveness"), Number(record.comprehensiveness, "signed")),
            Fact(say("fact.random_comprehensiveness"), Number(record.random_comprehensiveness, "signed")),
            Fact(say("metric.sufficiency"), Number(record.sufficiency, "signed")),
            Fact(say("fact.random_sufficiency"), Number(record.random_sufficiency, "signed")),
        )
    )
    children = (Paragraph(example_quality(record)), *quality_note(record.verdict), facts)
    return Section(say("view.example_quality"), children)
