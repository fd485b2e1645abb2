"""An audit, two audits or two models compared, as one self-contained HTML file or as text: same input, same bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

from interpret.errors import UsageError
from interpret.results.audits import Audit
from interpret.results.comparisons import Comparison
from interpret.results.diffs import AuditDiff
from interpret.saved.diffing import compare_audits
from reports.html import comparison_page, diff_page, page
from reports.text import text

__all__ = ["diff", "render", "render_comparison", "render_diff", "text"]

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
    cases = f"the audit holds {len(audit.cases):,} cases and everything about them"
    return _write(page(audit, locale), path, f"{cases}; audit fewer (config errors_shown and random_shown)")


def diff(
    old: Audit | str | Path,
    new: Audit | str | Path,
    path: str | Path,
    locale: str = "en",
    *,
    force: bool = False,
    seed: int = 0,
) -> Path:
    """Compare two audits of the same data, write what changed as one HTML file, and return its path.

    Examples are paired by their content. `interpret.saved.diffing.compare_audits` gives the numbers alone.

    Args:
        old: the audit to compare with, or the folder it was saved to.
        new: the audit to judge, or its folder.
        path: the file to write; folders above it are made.
        locale: `en` or `zh`.
        force: compare the examples in common if the data differ, instead of refusing.
        seed: of the bootstraps.

    Raises:
        UsageError: the data differ and `force` is not given; it says how many examples are in common.
        InconclusiveError: fewer than five examples in common.

    """
    pair = [found if isinstance(found, Audit) else Audit.load(found) for found in (old, new)]
    return render_diff(compare_audits(*pair, force=force, seed=seed), path, locale)


def render_diff(found: AuditDiff, path: str | Path, locale: str = "en") -> Path:
    """Write a comparison of two audits as one HTML file that needs no network; returns its path.

    Args:
        found: what `compare_audits` returned.
        path: the file to write; folders above it are made.
        locale: `en` or `zh`.

    """
    return _write(diff_page(found, locale), path, "compare audits with fewer slices")


def render_comparison(found: Comparison, path: str | Path, locale: str = "en") -> Path:
    """Write what `interpret.compare` returned as one HTML file that needs no network; returns its path.

    Args:
        found: base against tuned.
        path: the file to write; folders above it are made.
        locale: `en` or `zh`.

    """
    return _write(comparison_page(found, locale), path, "compare on data with fewer slices")


def _write(content: str, path: str | Path, remedy: str) -> Path:
    made = content.encode("utf-8")
    size = len(made) / 1e6
    if len(made) > MAX_BYTES:
        raise UsageError(f"the report would be {size:.1f} MB and one file may have {MAX_BYTES / 1e6:.1f} MB: {remedy}")
    if len(made) > WARN_BYTES:
        warnings.warn(
            f"the report is {size:.1f} MB, more than {WARN_BYTES / 1e6:.1f} MB, and opens slowly: {remedy}",
            UserWarning,
            stacklevel=3,
        )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # As bytes: other line ends than these, and the policy's hashes would not match.
    target.write_bytes(made)
    return target
