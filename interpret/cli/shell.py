"""What every command shares: errors in one sentence, output, and the command line to show again."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup

from interpret.cli.inputs import reading, refuse_input
from interpret.errors import InterpretError, UsageError
from interpret.results.messages import visible

P = ParamSpec("P")
R = TypeVar("R")

USAGE, RUN_TIME, INTERRUPTED = 2, 3, 130
#: Nobody reads the output any more: what a shell reports of a program that SIGPIPE ended, 128 + 13.
BROKEN_PIPE = 141


class OneLineErrors(TyperGroup):
    """Commands whose wrong usage is one sentence on stderr, like every other error."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command and exit with its code."""
        try:
            run: Callable[..., Any] = super().main
            code = run(*args, standalone_mode=False, **extra)
        except (typer.Exit, typer.Abort):
            raise
        except SystemExit as err:
            # Typer silences both streams and exits with 1, which is the code of a check that failed.
            if isinstance(err.__context__, BrokenPipeError):
                sys.exit(BROKEN_PIPE)
            raise
        except Exception as err:
            # Typer carries click within itself or beside itself, by its version: its errors are told by what they do.
            if not standalone_mode or not hasattr(err, "format_message"):
                raise
            if type(err).__name__ == "NoArgsIsHelpError":
                say(err.format_message())
            else:
                say(f"error: {_usage_sentence(err)}")
            sys.exit(USAGE)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _usage_sentence(err: Any) -> str:
    message = " ".join(err.format_message().split()).replace("Value error, ", "").rstrip(".?")
    # Two sentences become one: "Invalid value for '--limit': Input should be ..."
    message = re.sub(r"(^|: |\. )([A-Z])(?=[a-z])", lambda m: m[1].replace(". ", "; ") + m[2].lower(), message)
    context = getattr(err, "ctx", None)
    return message if context is None else f'{message}; see "{context.command_path} -h"'


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a command raises into one sentence on stderr and an exit code; `--debug` adds a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with reading(kwargs):
                return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as err:
            debug = bool(kwargs.get("debug"))
            if debug:
                traceback.print_exc(file=sys.stderr)
            say(f"error: {_sentence(err, debug)}")
            raise typer.Exit(err.exit_code if isinstance(err, InterpretError) else RUN_TIME) from None

    # Typer reads the signature, whose hints can only be resolved where the command was written.
    run.__signature__ = inspect.signature(command, eval_str=True)  # type: ignore[attr-defined]
    run.__annotations__ = inspect.get_annotations(command, eval_str=True)
    return run


def _sentence(err: Exception, debug: bool) -> str:
    if isinstance(err, InterpretError):
        return " ".join(str(err).split())
    first = next((line.strip() for line in str(err).splitlines() if line.strip()), "no message")
    if isinstance(err, OSError) and err.strerror:
        return f"{err.strerror}: {err.filename}" if err.filename else err.strerror
    hint = "" if debug else "; run it again with --debug for the traceback"
    return f"unexpected {type(err).__name__}: {first}{hint}"


def say(message: str) -> None:
    """Write a message to stderr; what would reorder or hide text, in a name of a file or a label, as its code point."""
    typer.echo(visible(message), err=True)


def show(text: str, *, coloured: bool = False) -> None:
    """Write a result to stdout; what would reorder or hide text, in any name from model or data, as its code point.

    With `coloured` the text holds a terminal's colours, and what came from data was made visible before.
    """
    typer.echo(text if coloured else visible(text))


def colours() -> bool:
    """Whether stdout is a terminal that may be coloured: a NO_COLOR that is not empty, or a dumb one, forbids it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout, in ASCII so that every terminal and pipe takes it."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


def records(frame: Any) -> list[dict[str, Any]]:
    """Turn a DataFrame into plain rows; missing values become null."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def out_folder(path: Path, *files: str) -> Path:
    """Make the output folder before the work starts, so that a wrong one costs nothing.

    Args:
        path: the folder.
        files: names of files that are written anew in it, whatever is there.

    Raises:
        UsageError: the path, or a part of it, is a file, nothing can be written there, or it is what is read.

    """
    if path.is_dir():
        for written in (path, *(path / name for name in files)):
            refuse_input(written)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (FileExistsError, NotADirectoryError) as err:
        raise UsageError(
            f"--out {path} must be a folder, but it, or a part of it, is a file; name another place"
        ) from err
    except OSError as err:
        raise UsageError(f"--out {path} cannot be written to ({err.strerror}); name another place") from err
    return path


def out_file(path: Path, option: str = "--out", *, renewed: bool = False) -> Path:
    """Make the folder of an output file before the work starts, so that a wrong one costs nothing.

    Args:
        path: the file.
        option: that named it.
        renewed: it is a part of what is read that the command is there to write anew.

    Raises:
        UsageError: the path is a folder, nothing can be written there, or it is what is read.

    """
    if path.is_dir():
        raise UsageError(f"{option} {path} must be a file, but it is a folder; name a file in it")
    if not renewed:
        refuse_input(path, option)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("ab").close()
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as err:
        raise UsageError(f"{option} {path} cannot be written ({err.strerror}); name another place") from err
    return path


def command_line(verb: str, *arguments: str | Path, **options: object) -> str:
    """Write the command as it would be typed beside the data: no folders, no options left alone.

    What is shown in a report must name no private place, and must not differ between two machines.
    """
    words = ["interpret", *verb.split(), *(_without_folder(a) for a in arguments)]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, list | tuple):
            words += [word for one in value for word in (flag, str(one))]
        elif value is not None and value is not False:
            words += [flag, _without_folder(value) if isinstance(value, str | Path) else str(value)]
    return shlex.join(words)


def _without_folder(value: str | Path) -> str:
    text = str(value)
    local = isinstance(value, Path) or text.startswith((".", "/", "~", "\\")) or ":\\" in text
    if not local:
        try:
            local = Path(text).exists()
        except OSError:
            # Too long for a file name, so it is none.
            local = False
    return Path(text).expanduser().absolute().name if local else text
