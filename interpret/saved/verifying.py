"""A saved audit examined for changes: files, record, numbers, signature. What needs a model or a renderer is added."""

from __future__ import annotations

from pathlib import Path

from interpret.errors import InterpretError, MissingFileError
from interpret.results.audits import Audit
from interpret.results.record import Message
from interpret.results.store import SUMS
from interpret.results.verification import Finding
from interpret.saved.consistency import consistency_finding
from interpret.saved.signing import signature_finding
from interpret.saved.sums import sums_findings


def examine(folder: str | Path, public_key: str | Path | None = None) -> tuple[tuple[Finding, ...], Audit | None]:
    """All that can be found out without model and renderer, and the audit if it can still be read.

    Args:
        folder: of the saved audit.
        public_key: file with the Ed25519 public key in PEM that must have signed it.

    Raises:
        MissingFileError: nothing is stored there.
        UsageError: the key is none, or the package `cryptography` is missing.
    """
    folder = Path(folder)
    there = (folder / "audit.json").is_file()
    if not there and not (folder / SUMS).is_file():
        raise MissingFileError(f"asked to verify the audit in {folder}, but there is no audit.json; name its folder")
    findings = [*sums_findings(folder)]
    audit = None
    if not there:
        # The sums say that there was an audit here: it is no wrong folder, its record was taken away.
        findings.append(Finding(part="record", status="differs", why=Message(code="verify.record_missing")))
        return (*findings, signature_finding(folder, public_key)), None
    try:
        audit = Audit.load(folder)
    except InterpretError as err:
        why = Message(code="verify.record_unreadable", params={"why": str(err)})
        findings.append(Finding(part="record", status="differs", why=why))
    else:
        findings.append(Finding(part="record", status="holds", why=Message(code="verify.record_read")))
        findings.append(consistency_finding(audit, folder))
    findings.append(signature_finding(folder, public_key))
    return tuple(findings), audit
