"""Section 10's patterns as data that the page's script draws from: rounded to 1/255, deflated, base64."""

from __future__ import annotations

import base64
import json
import zlib
from typing import NamedTuple

from interpret.results.attention import AttentionMap
from interpret.results.attention_views import N_PAIRS, most_effective
from interpret.results.audits import Audit
from interpret.results.messages import Words, visible
from interpret.results.tree import say


class Choice(NamedTuple):
    """One entry of a drop-down list."""

    value: int
    name: str
    chosen: bool


class Patterns(NamedTuple):
    """What the script needs: the choices, and `data`, JSON with tokens and weights of every case."""

    cases: tuple[Choice, ...]
    heads: tuple[Choice, ...]
    data: str
    n_pairs: int


def patterns_of(audit: Audit, words: Words) -> Patterns | None:
    """The patterns that a reader can choose from; None where the audit has none."""
    summary = audit.attention
    if summary is None or summary.maps is None or not summary.maps.maps:
        return None
    maps = summary.maps
    first = most_effective(summary) or maps.heads[0]
    effects = {(row.layer, row.head): row.effect for row in summary.ablations}
    heads = []
    for number, head in enumerate(maps.heads):
        effect = effects.get((head.layer, head.head))
        if effect is None:
            name = words("explorer.head", layer=head.layer, head=head.head)
        else:
            name = words("explorer.head_effect", layer=head.layer, head=head.head, effect=effect)
        heads.append(Choice(number, name, head == first))
    cases = tuple(Choice(n, words.text(say("case.row", row=shown.row)), n == 0) for n, shown in enumerate(maps.maps))
    data = json.dumps([_case(shown) for shown in maps.maps], ensure_ascii=False, separators=(",", ":"))
    return Patterns(cases, tuple(heads), data, N_PAIRS)


def _case(shown: AttentionMap) -> dict[str, object]:
    packed = zlib.compress(shown.weights.tobytes(), 9)
    return {"tokens": [visible(token) for token in shown.tokens], "z": base64.b64encode(packed).decode("ascii")}
