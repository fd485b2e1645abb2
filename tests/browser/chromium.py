"""A page opened from a file, without network, and what it said and asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Opened(NamedTuple):
    page: Any
    console: list[str]
    requests: list[str]
    dialogs: list[str]


def opened(browser: Any, path: Path, *, fragment: str = "", **options: Any) -> Opened:
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    found = Opened(page, [], [], [])
    page.on("console", lambda message: found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))

    def dismiss(dialog: Any) -> None:
        found.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(path.as_uri() + fragment)
    return found


def is_silent(found: Opened, path: Path) -> bool:
    """Nothing on the console, no dialog, and no request but for the file itself."""
    return (found.console, found.dialogs, found.requests) == ([], [], [path.as_uri()])
