"""Arguments and options, each worded once and used by every command that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Task(StrEnum):
    """What the model's head does."""

    CLASSIFICATION = "text-classification"
    TOKENS = "token-classification"
    ANSWERS = "question-answering"
    MASKED = "masked-lm"
    CAUSAL = "causal-lm"
    SEQ2SEQ = "seq2seq-lm"
    IMAGES = "image-classification"
    AUDIO = "audio-classification"
    CTC = "ctc"
    NONE = "none"


class Unit(StrEnum):
    """What gets one score."""

    WORD = "word"
    SENTENCE = "sentence"
    MESSAGE = "message"
    TOKEN = "token"


class LongText(StrEnum):
    """What becomes of a text that is longer than the model reads at once."""

    TRUNCATE = "truncate"
    WINDOWS = "windows"


class Locale(StrEnum):
    """Languages of the report."""

    EN = "en"
    ZH = "zh"


Model = Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of the model.")]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A .csv, .tsv, .jsonl or .parquet file, or a folder saved by datasets.",
    ),
]

Adapter = Annotated[
    str | None,
    typer.Option(metavar="ADAPTER", help="Folder or hub id of a PEFT adapter to put on the model."),
]
Revision = Annotated[str | None, typer.Option(metavar="NAME", help="Branch, tag or commit on the hub.")]
TaskOption = Annotated[
    Task | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="What the head does, such as text-classification, causal-lm, none; default: read off the model.",
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE", help="auto, float32, bfloat16, float16, float64; on the CPU half precision becomes float32."
    ),
]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run the Python code that comes with the model.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of everything that is drawn at random.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Use at most this many rows.")]

TextColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Column with the text; default: guessed by name.")]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column with the label; default: guessed by name.")
]
LabelMap = Annotated[
    str | None,
    typer.Option(metavar="MAP", help="Labels of the data to classes, as in 0=negative,1=positive."),
]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The file has no header row.")]
Columns = Annotated[str | None, typer.Option(metavar="A,B", help="Names for the columns of a file without header.")]
SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be read, and count them.")
]
LocaleOption = Annotated[Locale, typer.Option("--locale", help="Language of the report.")]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Also write the checks as JUnit XML, for build servers."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and warnings of libraries.")]


def names(columns: str | None) -> list[str] | None:
    """Split the names that --columns gives."""
    return None if columns is None else [name.strip() for name in columns.split(",")]


def listed(given: Sequence[str] | None) -> list[str]:
    """Names that were given again and again, or with commas."""
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()]
