"""`report diff`, `check`, `verify` and `sign`: what can be asked of audits after they were saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interpret.cli import options as o
from interpret.cli.auditing import read_config, write_junit
from interpret.cli.models import load_model
from interpret.cli.shell import guarded, out_file, records, say, show, show_json
from interpret.errors import UsageError

DIFF_EPILOG = """
\b
Examples:
  interpret report diff audit-may/ audit-june/
  interpret report diff audit-may/ audit-june/ --out changes.html --locale zh

Exit codes: 0 no regression, 1 there is one, 2 the audits are of different data (--force compares what they
have in common), 4 too little in common to tell, with --force too.
"""

CHECK_EPILOG = """
\b
Examples:
  interpret report check audit/
  interpret report check audit/ --config audit.yaml --junit checks.xml

Criteria of --config that the audit was not declared with are added and marked post hoc; none of the audit's own
can be dropped or moved that way.

Exit codes: 0 all criteria met or none declared, 1 one is missed, 4 one could not be decided.
"""

VERIFY_EPILOG = """
\b
Examples:
  interpret report verify audit/
  interpret report verify audit/ --public-key key.pub.pem
  interpret report verify audit/ --model ./model --data reviews.csv --sample 50

Exit codes: 0 everything agrees, 1 something does not.
"""

SIGN_EPILOG = """
\b
Examples:
  openssl genpkey -algorithm ed25519 -out key.pem
  openssl pkey -in key.pem -pubout -out key.pub.pem
  interpret report sign audit/ --key key.pem

Writes SHA256SUMS.sig beside the SHA256SUMS that it signs. Needs the extra interpret-lm[sign].
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


@guarded
def check(
    audit_dir: AuditDir,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with criteria to hold the audit to besides its own.")
    ] = None,
    junit: o.Junit = None,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Hold a saved audit to its declared criteria again, without the model.

    A criterion is met only if the whole 95% interval lies on the right side, missed if it lies on the wrong side,
    else inconclusive.
    """
    settings = None if config is None else read_config(config)
    if junit is not None:
        out_file(junit, "--junit")
    from interpret.auditing.rechecking import changed_verdicts, check_again
    from interpret.results.audits import Audit, exit_code
    from reports.checks import check_text

    audit = Audit.load(audit_dir)
    checks = check_again(audit, settings)
    if junit is not None:
        write_junit(junit, checks, audit.title, locale)
    changed = changed_verdicts(audit, checks)
    if changed:
        say(
            f"warning: the numbers of this audit do not give the verdicts it was saved with ({', '.join(changed)}); "
            "it was changed, or made by another version"
        )
    code = exit_code(checks)
    if as_json:
        show_json({"exit_code": code, "changed": list(changed), "checks": [_plain(row) for row in checks]})
    else:
        show(check_text(checks, audit.title, locale.value).rstrip())
        if junit is not None:
            show(str(junit))
    raise typer.Exit(code)


@guarded
def sign(
    audit_dir: AuditDir,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Ed25519 private key in PEM, not encrypted.")],
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Sign a saved audit, after checking that nothing in it was changed."""
    from interpret.saved import signing

    path, fingerprint = signing.sign(audit_dir, key)
    if as_json:
        show_json({"path": str(path), "fingerprint": fingerprint})
    else:
        show(f"key           {fingerprint}")
        show(str(path))


@guarded
def verify(
    audit_dir: AuditDir,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ed25519 public key in PEM that must have signed the audit.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Folder or hub id of the model; with --data, a sample is measured again."),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DATA", help="The data that was audited; needs --model.")] = None,
    sample: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows to answer again, and cases to explain again, at most.")
    ] = 50,
    adapter: o.Adapter = None,
    revision: o.Revision = None,
    task: o.TaskOption = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.RemoteCode = False,
    seed: o.Seed = 0,
    no_header: o.NoHeader = False,
    columns: o.Columns = None,
    skip_bad_rows: o.SkipBadRows = False,
    locale: o.LocaleOption = o.Locale.EN,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Find out whether a saved audit is what was saved, and whether its model still answers the same.

    Sums, numbers and verdicts are checked, the report is rendered again and compared byte by byte, a signature is
    checked with --public-key. With --model and --data predictions and scores of a sample are computed again and
    deviations beyond tolerance are listed; the data are read as the audit read them, unless options say otherwise.
    """
    if (model is None) != (data is None):
        given, missing = ("--model", "--data") if data is None else ("--data", "--model")
        raise UsageError(f"{given} is given without {missing}; to measure a sample again give both, or neither")
    from interpret.results.verification import Verification
    from interpret.saved.verifying import examine
    from reports.verifying import report_finding, verification_text

    findings, audit = examine(audit_dir, public_key)
    found = Verification(title=audit_dir.absolute().name, findings=findings)
    if audit is not None:
        from interpret.auditing.rechecking import verdicts_finding

        findings = (*findings, verdicts_finding(audit), report_finding(audit_dir, audit))
        found = Verification(title=audit.title, findings=findings)
    if audit is not None and model is not None and data is not None:
        from interpret.auditing.remeasuring import measure_again
        from interpret.readers.tables import read_table
        from interpret.saved.reading import HowRead, how_read

        names = o.names(columns)
        how = HowRead(not no_header, None if names is None else tuple(names), skip_bad_rows)
        then = how_read(audit.command)
        if how == HowRead() and then is not None and then != how:
            how = then
            say(f"reading {data.name} as the audit did: {how.flags()}")
        table = read_table(data, **how._asdict())
        lm = load_model(
            model,
            adapter=adapter,
            revision=revision,
            task=task,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        say(f"measuring up to {sample} rows again")
        more, deviations = measure_again(lm.handle, table, audit, sample=sample, seed=seed)
        found = Verification(title=audit.title, findings=(*findings, *more), deviations=deviations)
    if as_json:
        show_json({"outcome": found.outcome, "exit_code": found.exit_code, **_plain(found)})
    else:
        show(verification_text(found, locale.value).rstrip())
    raise typer.Exit(found.exit_code)
