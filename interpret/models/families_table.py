"""Which site of which family can be had: measured on tiny models of every family by a test, and kept beside this file.

`works`: captured, and its shape, its independence of padding and the untouched model were tested. `not in this
architecture`: models of this kind have no such place. `not available`: they have it, and why it cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from interpret.sites import SITES

TABLE: Final = Path(__file__).with_name("families.json")

WORKS: Final = "works"
#: What a cell says where the site cannot be had; the reason stands behind it.
NO_SUCH_PLACE: Final = "not in this architecture"
NOT_AVAILABLE: Final = "not available"
#: How the columns are headed, and what a cell shows.
_HEADS: Final = {
    "resid_pre": "pre",
    "resid_mid": "mid",
    "resid_post": "post",
    "attn_scores": "scores",
    "attn_pattern": "pattern",
    "final_norm": "norm",
}
_SHOWN: Final = {WORKS: "yes", NO_SUCH_PLACE: "-", NOT_AVAILABLE: "no"}


def dumped(table: Mapping[str, Any]) -> str:
    """The table as it is kept."""
    return json.dumps(table, indent=1) + "\n"


def read_table() -> dict[str, Any]:
    """Family to its heads, how attention patterns are had, and for each stack the cells of its sites."""
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def as_lines(table: Mapping[str, Any]) -> list[str]:
    """The table for a terminal, with the reasons below it."""
    reasons: dict[str, int] = {}
    rows = [["family", *(_HEADS.get(site, site) for site in SITES)]]
    for family, entry in table.items():
        for prefix, cells in entry["stacks"].items():
            row = [f"{family} {prefix}".strip()]
            for site in SITES:
                last = prefix == list(entry["stacks"])[-1]
                cell = entry["logits"] if site == "logits" and last else cells.get(site)
                row.append(_marked(cell, reasons))
            rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", "yes: works   -: not in this architecture   no: not available   blank: belongs to another stack", ""]
    lines += [f"{number:>2}  {reason}" for reason, number in reasons.items()]
    lines += ["", "Heads and attention:"]
    width = max(map(len, table))
    lines += [
        f"{family:<{width}}  {entry['attention']:<6}  {', '.join(entry['heads'])}" for family, entry in table.items()
    ]
    return lines


def _marked(cell: list[str] | None, reasons: dict[str, int]) -> str:
    if cell is None:
        return ""
    if len(cell) == 1:
        return _SHOWN[cell[0]]
    return f"{_SHOWN[cell[0]]}{reasons.setdefault(cell[1], len(reasons) + 1)}"
