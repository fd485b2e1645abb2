"""An audit as one self-contained HTML file, or as text: same audit and locale, same bytes."""

from __future__ import annotations

from pathlib import Path

from interpret.errors import UsageError
from interpret.results.audits import Audit
from reports.html import MAX_BYTES, page
from reports.text import text

__all__ = ["render", "text"]


def render(audit: Audit, path: str | Path, locale: str = "en") -> Path:
    """Write the report as one HTML file that needs no network; returns its path.

    Args:
        audit: a whole audit, as `interpret.audit` returns it or `Audit.load` reads it.
        path: the file to write; folders above it are made.
        locale: `en` or `zh`.

    Raises:
        UsageError: a locale without catalogue, or a report too large for one file.
        InterpretError: the audit holds a message code without words.

    """
    made = page(audit, locale).encode("utf-8")
    if len(made) > MAX_BYTES:
        raise UsageError(
            f"the report would be {len(made) / 1e6:.0f} MB and one file may have {MAX_BYTES / 1e6:.0f} MB; "
            "audit fewer cases (config errors_shown and random_shown)"
        )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # As bytes: other line ends than these, and the policy's hashes would not match.
    target.write_bytes(made)
    return target
