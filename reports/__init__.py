"""An audit as one self-contained HTML file, or as text: same audit and locale, same bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

from interpret.errors import UsageError
from interpret.results.audits import Audit
from reports.html import page
from reports.text import text

__all__ = ["render", "text"]

#: One file of a size that browsers, mail and reviewers can take.
WARN_BYTES = 10_000_000
MAX_BYTES = 25_000_000


def render(audit: Audit, path: str | Path, locale: str = "en") -> Path:
    """Write the report as one HTML file that needs no network; returns its path.

    Args:
        audit: a whole audit, as `interpret.audit` returns it or `Audit.load` reads it.
        path: the file to write; folders above it are made.
        locale: `en` or `zh`.

    Warns over 10 MB, because such a page opens slowly, and refuses over 25 MB.

    Raises:
        UsageError: a locale without catalogue, or a report too large for one file.
        InterpretError: the audit holds a message code without words.

    """
    made = page(audit, locale).encode("utf-8")
    size = len(made) / 1e6
    if len(made) > MAX_BYTES:
        raise UsageError(
            f"the report would be {size:.1f} MB and one file may have {MAX_BYTES / 1e6:.1f} MB: the audit holds "
            f"{len(audit.cases):,} cases and everything about them; audit fewer (config errors_shown and random_shown)"
        )
    if len(made) > WARN_BYTES:
        warnings.warn(
            f"the report is {size:.1f} MB, more than {WARN_BYTES / 1e6:.1f} MB, and opens slowly; show fewer of the "
            f"{len(audit.cases):,} cases (config errors_shown and random_shown)",
            UserWarning,
            stacklevel=2,
        )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # As bytes: other line ends than these, and the policy's hashes would not match.
    target.write_bytes(made)
    return target
