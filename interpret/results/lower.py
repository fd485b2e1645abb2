"""The tree -> plain text, and the tree -> static HTML; all that came from data is escaped here, once."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator
from html import escape

from interpret.results import svg
from interpret.results.messages import Words, capital, visible
from interpret.results.record import Message
from interpret.results.tree import (
    Badge,
    Code,
    Details,
    Facts,
    Figure,
    Heading,
    Inline,
    Item,
    Listing,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    Text,
    Tiles,
    Tokens,
)

#: Steps of heat on either side of zero: ten up, ten down and none make 21 classes.
HEAT_STEPS = 10
_LINE = 100
#: Places after the point of a word's score in plain text; smaller ones are written with an exponent.
MOST_PLACES = 5
#: Tables of more columns are set closer together, so that they fit the page.
_MANY_COLUMNS = 9
SIGNS = {
    "pass": "✓",
    "done": "✓",
    "better_than_trivial": "✓",
    "better_than_random": "✓",
    "fail": "✗",
    "not_better": "✗",
    "inconclusive": "?",
    "partial": "◐",
    "not_run": "–",
    "not_measured": "–",
}


def inline_text(part: Inline, say: Words) -> str:
    """One inline part as plain text."""
    if isinstance(part, Number):
        if part.value is None and part.why is not None:
            return say.text(part.why)
        return say.interval(part.value, part.low, part.high, part.kind)
    if isinstance(part, Code):
        return visible(part.text)
    if isinstance(part, Badge):
        return f"{SIGNS[part.verdict]} {badge_words(part, say)}"
    return say.text(part)


def badge_words(badge: Badge, say: Words) -> str:
    """What stands beside the sign of a badge."""
    return say.text(badge.text) if badge.text is not None else say(f"verdict.{badge.verdict}")


def _has_interval(part: Inline) -> bool:
    return isinstance(part, Number) and None not in (part.value, part.low, part.high)


def _joined(parts: Iterable[Inline], shown: Iterable[str], say: Words) -> str:
    return say.join((isinstance(part, Message), text) for part, text in zip(parts, shown, strict=True))


def paragraph_text(parts: tuple[Inline, ...], say: Words) -> str:
    """Inline parts as one line of plain text."""
    shown = [inline_text(part, say) for part in parts]
    if len(parts) > 1:
        shown = [f"[{text}]" if isinstance(part, Badge) else text for part, text in zip(parts, shown, strict=True)]
    return _joined(parts, shown, say)


def heat(score: float, scale: float) -> int:
    """The class of a score, -10 to 10, relative to the largest absolute score of what is shown together."""
    if scale <= 0:
        return 0
    return max(-HEAT_STEPS, min(HEAT_STEPS, round(HEAT_STEPS * score / scale)))


def _name(part: Inline, say: Words) -> str:
    """What names a row or column: ours begins with a capital, data stays as it is."""
    shown = inline_text(part, say)
    return capital(shown) if isinstance(part, Message) else shown


# --- text


def text(node: Node, say: Words, *, colour: bool = False) -> str:
    """The node as plain text, at most 100 columns wide outside tables; `colour` adds a terminal's colours to words."""
    return "\n".join(_lines(node, say, colour)).rstrip() + "\n"


#: Colours of a terminal, for words towards and against: of those that read on black and on white alike.
_TOWARDS, _AGAINST, _PLAIN = "\x1b[1;38;5;32m", "\x1b[1;38;5;166m", "\x1b[0m"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _wide(text: str) -> int:
    # Of these characters only our own are left: those in data are written as code points.
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def _wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    """Fill lines; full-width characters may break anywhere, others at spaces."""
    lines, line, width = [], first, _wide(first)
    for word in text.split():
        pieces = [word] if _wide(word) == len(word) else list(_pieces(word))
        for i, piece in enumerate(pieces):
            gap = " " if i == 0 and line.strip() and line not in (first, rest) else ""
            if width + _wide(gap + piece) > _LINE and line.strip() and line not in (first, rest):
                lines.append(line)
                line, gap = rest, ""
                width = _wide(rest)
            line += gap + piece
            width += _wide(gap + piece)
    return [*lines, line]


def _pieces(word: str) -> Iterator[str]:
    run = ""
    for c in word:
        if unicodedata.east_asian_width(c) in "WF" and c not in "，。；：、）》」？！":
            if run:
                yield run
            run = c
        else:
            run += c
    if run:
        yield run


def _lines(node: Node, say: Words, colour: bool) -> Iterator[str]:
    if isinstance(node, Section):
        title = say.text(node.title) if node.number is None else f"{node.number}. {say.text(node.title)}"
        yield from (title, "=" * _wide(title), "")
        for child in node.children:
            yield from _lines(child, say, colour)
    elif isinstance(node, Heading):
        title = say.text(node.text)
        yield from (title, "-" * _wide(title), "")
    elif isinstance(node, Paragraph):
        yield from _wrap(paragraph_text(tuple(_in_text(part, say) for part in node.parts), say))
        yield ""
    elif isinstance(node, Note):
        mark = say(f"note.{node.kind}")
        yield from _wrap(paragraph_text(node.parts, say), "! " + say("text.named", name=mark, value=""), "  ")
        yield ""
    elif isinstance(node, Facts):
        names = [_name(fact.name, say) for fact in node.facts]
        width = max(map(_wide, names), default=0)
        for name, fact in zip(names, node.facts, strict=True):
            note = "" if fact.note is None else "  " + say("text.note", note=say.text(fact.note))
            blank = "_" * 32 if node.kind == "form" else inline_text(fact.value, say)
            yield f"  {name}{' ' * (width - _wide(name))}  {blank}{note}"
        yield ""
    elif isinstance(node, Tiles):
        for tile in node.tiles:
            badge = "" if tile.badge is None else f"  [{inline_text(tile.badge, say)}]"
            yield "* " + say("text.named", name=_name(tile.label, say), value=inline_text(tile.value, say)) + badge
            if tile.detail is not None:
                yield from _wrap(say.text(tile.detail), "  ", "  ")
        yield ""
    elif isinstance(node, Table):
        yield from _table_lines(node, say)
    elif isinstance(node, Tokens):
        yield from _wrap(_tokens_text(node, colour), "  ", "  ")
        yield ""
    elif isinstance(node, Figure):
        yield from _wrap(say.text(node.alt), f"[{say('figure.word')}] ", "  ")
        yield ""
        yield from _lines(node.table, say, colour)
    elif isinstance(node, Details):
        yield from (say("text.named", name=_name(node.summary, say), value="").rstrip(), "")
        for child in node.children:
            yield from _lines(child, say, colour)
    elif isinstance(node, Listing):
        shown = node.items[: node.text_limit]
        for item in shown:
            yield "* " + say("list.clause").join(inline_text(part, say) for part in item.title)
            for child in item.children:
                yield from textwrap.indent("\n".join(_lines(child, say, colour)), "  ").split("\n")
        if node.n_total > len(shown):
            yield from _wrap(say("list.text_limit", shown=len(shown), n=node.n_total))
            yield ""
    else:
        yield from (inline_text(node, say), "")


def _in_text(part: Inline, say: Words) -> Inline:
    """What explains colours and lines has other words where there are none."""
    if isinstance(part, Message) and f"{part.code}_text" in say:
        return Message(code=f"{part.code}_text", params=part.params)
    return part


def _table_lines(table: Table, say: Words) -> Iterator[str]:
    grid = [[_name(column.title, say) for column in table.columns]]
    for cells_of in table.rows:
        named = [_name(cell, say) for cell in cells_of[:1]] if table.row_headers else []
        grid.append([cell.replace("\n", " ") for cell in named + [inline_text(c, say) for c in cells_of[len(named) :]]])
    widths = [max(_wide(row[i]) for row in grid) for i in range(len(table.columns))]
    if table.caption is not None:
        yield from _wrap(say.text(table.caption))
    for n, row in enumerate(grid):
        cells = [
            " " * (width - _wide(cell)) + cell if column.numeric else cell + " " * (width - _wide(cell))
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        yield ("  " + "  ".join(cells)).rstrip()
        if n == 0:
            yield "  " + "  ".join("-" * width for width in widths)
    if table.n_total is not None and table.n_total > len(table.rows):
        yield "  " + say("list.cut", shown=len(table.rows), n=table.n_total)
    yield ""


def _tokens_text(node: Tokens, colour: bool) -> str:
    """The text with the score of every word that is at least a fifth of the strongest one, with two places or more.

    Scores of long texts and of some methods are far below 1: the least that is shown has a digit that is not 0.
    """
    # Up to rounding: 0.2 is a fifth of 1.
    least = node.scale / 5 * (1 - 1e-9)
    places = 2 if least <= 0 else max(2, math.ceil(-math.log10(least)))
    form = f"+.{places}f" if places <= MOST_PLACES else "+.1e"
    out = []
    for token in node.tokens:
        shown = visible(token.text)
        if token.score is not None and abs(token.score) >= least > 0:
            shown += f"[{token.score:{form}}]"
            if colour:
                shown = (_TOWARDS if token.score > 0 else _AGAINST) + shown + _PLAIN
        out.append(visible(token.before) + shown)
    return "".join(out) + visible(node.after)


# --- HTML


class Html:
    """Lowers nodes of one page; `prefix` starts every id, so that several outputs can share a document."""

    def __init__(self, say: Words, prefix: str, *, heading: int = 2) -> None:
        self.say = say
        self.prefix = prefix
        self.heading = heading
        self._n_figures = 0

    def text(self, text: Text) -> str:
        """A sentence of ours, or data set apart so that it cannot reorder what stands around it."""
        shown = escape(self.say.text(text))
        return shown if not isinstance(text, str) or text.isascii() else f"<bdi>{shown}</bdi>"

    def name(self, part: Inline) -> str:
        """What names a row or column."""
        return escape(_name(part, self.say)) if isinstance(part, Message) else self.inline(part)

    def inline(self, part: Inline) -> str:
        """One inline part as markup."""
        shown = escape(inline_text(part, self.say))
        if isinstance(part, Badge):
            sign, _, words = shown.partition(" ")
            return f'<span class="badge {part.verdict}"><span aria-hidden="true">{sign}</span> {words}</span>'
        if isinstance(part, Code):
            return f"<code>{shown}</code>"
        if isinstance(part, Number):
            value, interval = self._parted(shown)
            gap = " " if " (" in shown else ""
            return f'<span class="num">{value}<span class="ci">{gap}{interval}</span></span>' if interval else shown
        return self.text(part)

    def _inlines(self, parts: tuple[Inline, ...]) -> str:
        return _joined(parts, [self.inline(part) for part in parts], self.say)

    def nodes(self, nodes: tuple[Node, ...], level: int | None = None) -> str:
        """Several nodes, one after the other."""
        return "".join(self.node(node, self.heading if level is None else level) for node in nodes)

    def node(self, node: Node, level: int | None = None) -> str:
        """One node; `level` is the heading level a section in it would take."""
        level = self.heading if level is None else level
        if isinstance(node, Section):
            return self._section(node, level)
        if isinstance(node, Heading):
            return f"<h{level}>{self.text(node.text)}</h{level}>"
        if isinstance(node, Paragraph):
            kind = "" if node.kind == "body" else f' class="{node.kind}"'
            return f"<p{kind}>{self._inlines(node.parts)}</p>"
        if isinstance(node, Note):
            mark = escape(self.say(f"note.{node.kind}"))
            body = self._inlines(node.parts)
            return f'<p class="note {node.kind}" role="note"><strong>{mark}</strong> {body}</p>'
        if isinstance(node, Facts):
            return self._facts(node)
        if isinstance(node, Tiles):
            return self._tiles(node)
        if isinstance(node, Table):
            return self._table(node)
        if isinstance(node, Tokens):
            return self._tokens(node)
        if isinstance(node, Figure):
            return self._figure(node)
        if isinstance(node, Details):
            body = self.nodes(node.children, level)
            return f"<details><summary>{self.name(node.summary)}</summary>{body}</details>"
        if isinstance(node, Listing):
            items = "".join(self._item(item, level) for item in node.items[: node.page])
            return f'<div class="listing" data-list="{escape(node.name)}">{items}</div>'
        return f"<p>{self.inline(node)}</p>"

    def _section(self, node: Section, level: int) -> str:
        number = "" if node.number is None else f'<span class="sec-no">{node.number}</span> '
        name = f"{self.prefix}{node.key}" if node.key else ""
        mark = f' id="{escape(name)}" aria-labelledby="{escape(name)}-h"' if name else ""
        head = f' id="{escape(name)}-h"' if name else ""
        kind = ' class="muted-section"' if node.muted else ""
        title = f"<h{level}{head}>{number}{self.text(node.title)}</h{level}>"
        return f"<section{mark}{kind}>{title}{self.nodes(node.children, min(level + 1, 6))}</section>"

    def _facts(self, node: Facts) -> str:
        rows = []
        for fact in node.facts:
            note = "" if fact.note is None else f'<span class="hint">{self.text(fact.note)}</span>'
            rows.append(f"<div><dt>{self.name(fact.name)}</dt><dd>{self.inline(fact.value)}{note}</dd></div>")
        kind = "facts" if node.kind == "plain" else f"facts {node.kind}"
        return f'<dl class="{kind}">{"".join(rows)}</dl>'

    def _tiles(self, node: Tiles) -> str:
        out = []
        for tile in node.tiles:
            rest = "" if tile.badge is None else f'<p class="tile-badge">{self.inline(tile.badge)}</p>'
            rest += "" if tile.detail is None else f'<p class="hint">{self.text(tile.detail)}</p>'
            value = f'<p class="tile-value">{self._tile_value(tile.value)}</p>'
            label = f'<p class="tile-label">{self.name(tile.label)}</p>'
            out.append(f'<li>{label}{value}<div class="tile-rest">{rest}</div></li>')
        return f'<ul class="tiles">{"".join(out)}</ul>'

    def _tile_value(self, value: Inline) -> str:
        """A number keeps its interval on a line of its own."""
        if not isinstance(value, Number) or value.low is None or value.high is None or value.value is None:
            return self.name(value)
        low, high = self.say.number(value.low, value.kind), self.say.number(value.high, value.kind)
        shown = escape(self.say.number(value.value, value.kind))
        return f'{shown} <span class="ci">{escape(self.say("format.tile_interval", low=low, high=high))}</span>'

    def _table(self, node: Table, *, named: bool = True) -> str:
        """A table; intervals stand in a column of their own, so that the numbers before them are aligned."""
        caption = "" if node.caption is None else self.text(node.caption)
        if caption:
            caption = (
                f"<caption><span>{caption}</span></caption>" if named else f'<caption class="sr">{caption}</caption>'
            )
        kinds = [' class="n"' if column.numeric else "" for column in node.columns]
        double = [any(_has_interval(row[i]) for row in node.rows) for i in range(len(node.columns))]
        head = ""
        for column, kind, two in zip(node.columns, kinds, double, strict=True):
            span = ' colspan="2"' if two else ""
            head += f'<th scope="col"{kind}{span}>{self.name(column.title)}</th>'
        rows = []
        for row in node.rows:
            cells = [self._cells(*cell) for cell in zip(row, kinds, double, strict=True)]
            if cells and node.row_headers:
                cells[0] = f'<th scope="row"{kinds[0]}>{self.name(row[0])}</th>'
            rows.append(f"<tr>{''.join(cells)}</tr>")
        cut = ""
        if node.n_total is not None and node.n_total > len(node.rows):
            cut = f'<p class="hint">{escape(self.say("list.cut", shown=len(node.rows), n=node.n_total))}</p>'
        dense = ' class="dense"' if len(node.columns) > _MANY_COLUMNS else ""
        table = f"<table{dense}>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        return self._scroll(self._table_name(node), table) + cut

    def _cells(self, cell: Inline, kind: str, double: bool) -> str:
        if not double:
            return f"<td{kind}>{self.inline(cell)}</td>"
        shown = escape(inline_text(cell, self.say)) if isinstance(cell, Number) else self.inline(cell)
        value, interval = self._parted(shown) if _has_interval(cell) else (shown, "")
        return f'<td class="n v">{value}</td><td class="n ci">{interval}</td>'

    @staticmethod
    def _parted(shown: str) -> tuple[str, str]:
        """A number and the interval in brackets after it."""
        value, bracket, rest = shown.partition(" (" if " (" in shown else "（")
        return value, (bracket + rest).strip()

    def _scroll(self, name: str, content: str) -> str:
        """Content that may be wider than the page; the focus lets a keyboard scroll it."""
        return f'<div class="scroll" tabindex="0" role="group" aria-label="{name}">{content}</div>'

    def _table_name(self, table: Table) -> str:
        title = table.columns[0].title if table.caption is None else table.caption
        return escape(self.say("table.named", name=self.say.text(title)))

    def _tokens(self, node: Tokens) -> str:
        out = []
        for token in node.tokens:
            shown = escape(visible(token.text))
            out.append(escape(visible(token.before)))
            if token.score is None:
                out.append(f'<span class="sp">{shown}</span>' if shown else "")
                continue
            step = heat(token.score, node.scale)
            kind = "z" if step == 0 else f"{'p' if step > 0 else 'n'}{abs(step)}"
            out.append(f'<span class="{kind}" title="{token.score or 0.0:+.3g}">{shown}</span>')
        return f'<p class="tokens" dir="auto">{"".join(out)}{escape(visible(node.after))}</p>'

    def _figure(self, node: Figure) -> str:
        self._n_figures += 1
        drawing = svg.draw(node.plot, self.say, prefix=f"{self.prefix}f{self._n_figures}-", alt=self.say.text(node.alt))
        caption = "" if node.caption is None else f"<figcaption>{self.text(node.caption)}</figcaption>"
        numbers = self._table(node.table, named=not node.table_open or node.caption is None)
        if not node.table_open:
            numbers = f"<details><summary>{escape(self.say('figure.table'))}</summary>{numbers}</details>"
        scroll = f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(self.say("figure.word"))}">'
        return f"<figure>{scroll}{drawing}</div>{caption}{numbers}</figure>"

    def _item(self, item: Item, level: int) -> str:
        name = escape(self.prefix + item.key)
        first, *others = (self.inline(part) for part in item.title)
        link = f'<a class="permalink" href="#{name}">{first}</a>'
        title = link + "".join(f"<span>{other}</span>" for other in others)
        head = f'<h{level} class="item-title">{title}</h{level}>'
        return f'<article id="{name}">{head}{self.nodes(item.children, min(level + 1, 6))}</article>'
