"""The whole list of cases as data that the page's script turns into the same elements as the first page of it.

All words are put together here, so that the script knows no language; strings that recur are pooled. What the
script may not decide again, heat and rounding, is written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from interpret.results.lower import SIGNS, badge_words, heat, inline_text
from interpret.results.messages import Words, visible
from interpret.results.record import Message
from interpret.results.tree import Badge, Code, Inline, Item, Listing, Node, Paragraph, Section, Tokens

#: Steps of heat as one character each, from -10 to 10; a piece without a score is "-".
_STEPS = "abcdefghijklmnopqrstu"
_MARK = re.compile("\0(\\d+)\0")
#: What could end the element, what a reader of the source could not see, and what UTF-8 cannot hold.
_ESCAPED = re.compile("[<>&\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
Entry = str | list[str]


def listing_of(sections: tuple[Section, ...]) -> Listing | None:
    """The list of cases, where there is one."""
    return next((node for section in sections for node in section.children if isinstance(node, Listing)), None)


def explorer_data(listing: Listing, say: Words) -> str:
    """JSON for a script element: `pool` of texts and marked texts, `columns`, and per case facets, title, body.

    It holds no character that could end the element, nor one that turns or hides text.
    """
    pool = _Pool(say)
    columns = list(listing.items[0].facets) if listing.items else []
    cases = [
        [item.key, [_facet(item, name) for name in columns], pool.all(item.title), [*map(pool.node, item.children)]]
        for item in listing.items
    ]
    plain = {"page": listing.page, "columns": columns, "pool": pool.entries, "cases": cases}
    made = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", made)


def _facet(item: Item, name: str) -> object:
    value = item.facets[name]
    return visible(value) if isinstance(value, str) else value


class _Pool:
    """Inline parts by number; equal ones share it."""

    def __init__(self, say: Words) -> None:
        self.say = say
        self.entries: list[Entry] = []
        self._known: dict[str | tuple[str, ...], int] = {}

    def put(self, entry: Entry) -> int:
        key = entry if isinstance(entry, str) else tuple(entry)
        if key not in self._known:
            self._known[key] = len(self.entries)
            self.entries.append(entry)
        return self._known[key]

    def all(self, parts: tuple[Inline, ...]) -> list[int]:
        return [self.put(self._entry(part)) for part in parts]

    def _entry(self, part: Inline) -> Entry:
        shown = inline_text(part, self.say)
        if isinstance(part, Badge):
            return ["badge", part.verdict, SIGNS[part.verdict], badge_words(part, self.say)]
        if isinstance(part, Code):
            return ["code", shown]
        return ["bdi", shown] if isinstance(part, str) and not shown.isascii() else shown

    def node(self, node: Node) -> list[object]:
        if isinstance(node, Tokens):
            return list(_tokens(node))
        if isinstance(node, Paragraph):
            return [node.kind, *self._sentence(node.parts)]
        raise TypeError(f"a case holds a {type(node).__name__}, which the page's script cannot show")

    def _sentence(self, parts: tuple[Inline, ...]) -> Iterator[int]:
        """The parts, and between them the gaps that the language wants."""
        joined = self.say.join((isinstance(part, Message), f"\0{i}\0") for i, part in enumerate(parts))
        for n, piece in enumerate(_MARK.split(joined)):
            if n % 2:
                yield self.put(self._entry(parts[int(piece)]))
            elif piece:
                yield self.put(piece)


def _units(text: str) -> int:
    """Length as the script counts it, in units of UTF-16."""
    return len(text) + sum(c > "\uffff" for c in text) if not text.isascii() else len(text)


def _tokens(node: Tokens) -> Iterator[object]:
    """Text, gaps and lengths of its scored pieces, their scores, their heat; the raw text where it looks otherwise."""
    raw, shown, places, scores, steps = "", "", [], [], ""
    for token in node.tokens:
        before, text = visible(token.before), visible(token.text)
        raw += token.before + token.text
        shown += before + text
        places += [_units(before), _units(text)]
        scores.append("" if token.score is None else f"{token.score:+.3g}")
        steps += "-" if token.score is None else _STEPS[heat(token.score, node.scale) + 10]
    # A lone surrogate is replaced in what is saved, too.
    raw, shown = _SURROGATE.sub("\ufffd", raw + node.after), shown + visible(node.after)
    yield from ("tokens", shown, places, " ".join(scores), steps)
    if raw != shown:
        yield raw
