"""What the command of an audit says of how its table was read, held against the commands that are written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interpret.auditing.config import AuditConfig
from interpret.cli.shell import command_line
from interpret.facade.auditing import _Asked
from interpret.saved.reading import HowRead, how_read

HOW = [
    HowRead(),
    HowRead(False),
    HowRead(False, ("label", "text")),
    HowRead(False, ("the label", 'it\'s "text"', "文本"), True),
    HowRead(True, None, True),
]


@pytest.mark.parametrize("how", HOW)
def test_of_a_command_line(how: HowRead) -> None:
    line = command_line(
        "audit",
        "m",
        Path("d.csv"),
        title="--header 'x",
        no_header=not how.header,
        columns=None if how.columns is None else ",".join(how.columns),
        skip_bad_rows=how.skip_bad_rows,
    )
    assert how_read(line) == how
    assert line.endswith(how.flags())


@pytest.mark.parametrize("how", HOW)
def test_of_a_call(how: HowRead) -> None:
    options = {**how._asdict(), "columns": None if how.columns is None else list(how.columns), "seed": 3, "limit": None}
    named: Any = SimpleNamespace(name="m")
    assert how_read(_Asked(named, named, None, AuditConfig(), 3, options).call()) == how


@pytest.mark.parametrize(
    "command",
    ["", "interpret audit m 'd", "interpret.audit(", "f(0, header=False)", "interpret.audit(0, columns=x)"],
)
def test_of_anything_else_nothing_is_known(command: str) -> None:
    assert how_read(command) is None
