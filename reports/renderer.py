"""Which renderer made a page: only the same one gives the same bytes for the same audit."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import interpret.results

_NAME = "interpret-lm renderer"
#: What besides our own files decides the bytes of a page.
_LIBRARIES = ("jinja2", "markupsafe", "matplotlib", "numpy")
_MARK = re.compile(rb'<meta name="generator" content="([^"<>&]{1,200})">')
_KINDS = frozenset({".py", ".json", ".html", ".css", ".js"})


@lru_cache(maxsize=1)
def renderer() -> str:
    """The name that every page carries: a digest over the code, words, templates and libraries that made it."""
    made = hashlib.sha256()
    for folder in (Path(interpret.results.__file__).parent, Path(__file__).parent):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _KINDS):
            content = path.read_bytes().replace(b"\r\n", b"\n")
            made.update(f"{path.relative_to(folder.parent).as_posix()}\n{len(content)}\n".encode() + content)
    for library in _LIBRARIES:
        made.update(f"{library}=={version(library)}\n".encode())
    return f"{_NAME} {made.hexdigest()[:16]}"


def renderer_of(page: bytes) -> str | None:
    """The renderer that a page says it was made by; None if it does not say."""
    found = _MARK.search(page[:20_000])
    return None if found is None else found[1].decode("utf-8", "replace")
