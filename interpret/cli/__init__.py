"""The command line: arguments to calls, results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
import warnings


def main() -> None:
    """Run `interpret` with the arguments of this process and exit with its code."""
    # Set before the libraries are imported, which is when they read it.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if "--debug" not in sys.argv:
        _show_own_warnings_only()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets an escape instead of a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from interpret.cli.app import app

    app(prog_name="interpret")


def _show_own_warnings_only() -> None:
    def in_one_line(message: Warning | str, *_: object, **__: object) -> str:
        return f"warning: {message}\n"

    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"interpret|reports")
    warnings.formatwarning = in_one_line
