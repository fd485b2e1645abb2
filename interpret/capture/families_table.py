"""Which site of which family can be had: measured on tiny models of every family by a test, and kept beside this file.

`works`: captured, and its shape, its independence of padding and the untouched model were tested. `not in this
architecture`: models of this kind have no such place. `not available`: they have it, and why it cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from interpret.sites import CROSS_SITES, SITES

if TYPE_CHECKING:
    from interpret.models.handle import Handle

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


def measured(models: Iterable[tuple[str, Handle, Collection[str]]]) -> dict[str, Any]:
    """One family's entry, from its models: (task, handle, sites that were captured)."""
    from interpret.capture.attention import resolve_mode
    from interpret.capture.points import absence

    listed = list(models)
    # The model with most stacks speaks for the family; a head may need only one of them.
    _, widest, captured = max(listed, key=lambda model: len(model[1].prefixes))
    stacks: dict[str, dict[str, list[str]]] = {}
    for prefix in widest.prefixes:
        sites = [site for site in SITES if site != "logits" and (prefix != "cross" or site in CROSS_SITES)]
        cells = {site: _cell(absence(widest, f"{prefix}.{site}" if prefix else site)) for site in sites}
        promised = {f"{prefix}.{site}" if prefix else site for site, cell in cells.items() if cell == [WORKS]}
        if not promised <= set(captured):
            raise AssertionError(f"promised but not captured: {', '.join(sorted(promised - set(captured)))}")
        stacks[prefix] = cells
    return {
        "attention": resolve_mode(dict(enumerate(widest.roles.attention)), "auto"),
        "heads": [task for task, _, _ in listed],
        "logits": [WORKS] if any("logits" in sites for _, _, sites in listed) else [NOT_AVAILABLE],
        "stacks": stacks,
    }


def _cell(found: Any) -> list[str]:
    if found is None:
        return [WORKS]
    return [NO_SUCH_PLACE if found.architectural else NOT_AVAILABLE, found.reason]


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
