"""How the table of a saved audit was read: what its command, which is shown to run it again, says of it."""

from __future__ import annotations

import ast
import shlex
from itertools import pairwise
from typing import NamedTuple

_OPTIONS = ("header", "columns", "skip_bad_rows")


class HowRead(NamedTuple):
    """The options of `interpret.readers.tables.read_table`."""

    header: bool = True
    columns: tuple[str, ...] | None = None
    skip_bad_rows: bool = False

    def flags(self) -> str:
        """The options as they are given on the command line; empty where none needs to be."""
        words = [] if self.header else ["--no-header"]
        words += [] if self.columns is None else ["--columns", shlex.quote(",".join(self.columns))]
        return " ".join([*words, *(["--skip-bad-rows"] if self.skip_bad_rows else [])])


def how_read(command: str) -> HowRead | None:
    """What an audit's command says of how its table was read; None where it is none that this package writes."""
    if command.startswith("interpret audit "):
        return _of_words(command)
    return _of_call(command)


def _of_words(command: str) -> HowRead | None:
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    columns = next((value for word, value in pairwise(words) if word == "--columns"), None)
    return HowRead(
        "--no-header" not in words,
        None if columns is None else tuple(name.strip() for name in columns.split(",")),
        "--skip-bad-rows" in words,
    )


def _of_call(command: str) -> HowRead | None:
    try:
        call = ast.parse(command, mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "interpret.audit":
            return None
        given = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg in _OPTIONS}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    columns = given.get("columns")
    if columns is not None and not (isinstance(columns, list) and all(isinstance(name, str) for name in columns)):
        return None
    names = None if columns is None else tuple(columns)
    return HowRead(bool(given.get("header", True)), names, bool(given.get("skip_bad_rows", False)))
