"""`report diff`, `check`, `verify` and `sign`: what can be asked of audits after they were saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.shell import guarded, out_file, records, show, show_json

DIFF_EPILOG = """
\b
Examples:
  interpret report diff audit-may/ audit-june/
  interpret report diff audit-may/ audit-june/ --out changes.html --locale zh

Exit codes: 0 no regression, 1 there is one, 2 the audits are of different data (--force compares what they
have in common), 4 too little in common.
"""

AuditDir = Annotated[Path, typer.Argument(metavar="AUDIT_DIR", help="Folder of a saved audit.")]


@guarded
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Folder of the audit to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of the audit to judge.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Page to write.")] = Path("diff.html"),
    force: Annotated[
        bool, typer.Option("--force", help="Compare the examples in common if the data differ, instead of refusing.")
    ] = False,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Compare two saved audits on the same examples, with intervals, and name regressions.

    Examples are paired by their content. What got worse with its whole interval (widened for how much is looked at)
    is a regression; what got better likewise an improvement; the rest is inconclusive.
    """
    import reports
    from interpret.results.audits import Audit
    from interpret.saved.diffing import compare_audits
    from reports.diffs import diff_text

    found = compare_audits(Audit.load(old), Audit.load(new), force=force)
    path = reports.render_diff(found, out_file(out), locale=locale.value)
    if as_json:
        facts: dict[str, Any] = {
            "path": str(path),
            "exit_code": found.exit_code,
            "n_common": found.n_common,
            "forced": found.forced,
            "changes": records(found.to_frame()),
            "checks": [_plain(row) for row in found.checks],
            "identity": [_plain(row) for row in found.identity],
        }
        show_json(facts)
    else:
        show(diff_text(found, locale.value, brief=True).rstrip())
        show(str(path))
    raise typer.Exit(found.exit_code)


def _plain(record: object) -> Any:
    from interpret.results.store import to_plain

    return to_plain(record)
