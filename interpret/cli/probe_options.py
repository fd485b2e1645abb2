"""Options that say what in a table is probed, and an early look at the data before a model is loaded."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from interpret.cli.models import say_bad_rows


class Level(StrEnum):
    """What has a label."""

    WORD = "word"
    SENTENCE = "sentence"
    SPAN = "span"
    PAIR = "pair"


class Kind(StrEnum):
    """What a label is."""

    CLASS = "class"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"


LevelOption = Annotated[
    Level | None,
    typer.Option("--level", help="What a label stands on; default: what the columns say."),
]
KindOption = Annotated[
    Kind | None,
    typer.Option("--kind", help="What a label is; default: multilabel where labels are lists, else class."),
]
SpansColumn = Annotated[
    str | None,
    typer.Option(
        "--spans-column",
        metavar="NAME",
        help="Column with spans [start, end) in characters of the text, or in words of tokens; default: spans.",
    ),
]
SecondColumn = Annotated[
    str | None, typer.Option("--second-column", metavar="NAME", help="Column with the second texts of pairs.")
]
SplitColumn = Annotated[
    str | None,
    typer.Option("--split-column", metavar="NAME", help="Column with train, validation or test; default: split."),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        metavar="NAME",
        help="Column with what a row comes from, such as a document or a speaker: a group stays together in splits, "
        "and intervals are drawn over groups; default: group.",
    ),
]


def _no_store(given: list[Path] | None) -> None:
    if given:
        from interpret.models.sources import TAKES_A_STORE

        raise typer.BadParameter(f"{TAKES_A_STORE}; give MODEL")


#: Of commands that run the model: not shown, and looked at before what is missing is missed.
NoStore = Annotated[
    list[Path] | None, typer.Option("--store", metavar="DIR", hidden=True, is_eager=True, callback=_no_store)
]

#: The options of which `reading` makes arguments.
READING: Final = ("level", "kind", "spans_column", "second_column", "split_column", "group_column")


def reading(
    level: Level | str | None,
    kind: Kind | str | None,
    spans: str | None,
    second: str | None,
    split: str | None,
    group: str | None,
) -> dict[str, Any]:
    """What was given of these options, as `interpret.probe` takes it."""
    given = {
        "level": None if level is None else str(level),
        "kind": None if kind is None else str(kind),
        "spans": spans,
        "second": second,
        "split": split,
        "group": group,
    }
    return {name: value for name, value in given.items() if value is not None}


def look_at(data: Path, test: Path | None, label: str | None, **how: Any) -> str:
    """Read the data only to say at once what is wrong with it, treebanks are only looked for; the name of the label."""
    from interpret.facade.probing import read_parts
    from interpret.readers.iob import IOB_SUFFIXES
    from interpret.readers.tables import read_table, require

    paths = [data] if test is None else [data, test]
    for path in paths:
        require(path)
        if how.get("skip_bad_rows") and path.is_file() and path.suffix.lower() not in (".conllu", *IOB_SUFFIXES):
            say_bad_rows(read_table(path, header=how["header"], columns=how["columns"], skip_bad_rows=True))
    if any(path.suffix.lower() not in (".conllu", *IOB_SUFFIXES) for path in paths):
        return read_parts(data, test, label, **how)[0].task
    return label or ("upos" if data.suffix.lower() == ".conllu" else "tag")
