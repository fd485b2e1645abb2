"""The console command. This module's name is unique to interpret-lm; the package `interpret` is not.

InterpretML also installs a package called `interpret`, and whichever is installed last overwrites files of
the other. So the package is asked whose it is before anything of it is used.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> None:
    """Run the command line, or say in one sentence why it cannot run."""
    try:
        import interpret
    except Exception as err:  # whatever another package of that name raises on import
        _refuse(f"cannot be imported ({type(err).__name__}: {err})")
    if getattr(interpret, "__distribution__", None) != "interpret-lm":
        _refuse(f"at {getattr(interpret, '__file__', None) or 'an unknown place'} belongs to another distribution")
    from interpret.cli import main as run

    run()


def _refuse(problem: str) -> NoReturn:
    sys.stderr.write(
        f"error: the package `interpret` {problem}: InterpretML installs a package of the same name over "
        "interpret-lm, one environment cannot hold both; install interpret-lm in one of its own\n"
    )
    raise SystemExit(3)


if __name__ == "__main__":
    main()
