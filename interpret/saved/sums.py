"""`SHA256SUMS` of a saved audit: what it lists, what holds, and the report's line in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from interpret.errors import StoreError, UsageError
from interpret.results.record import Message
from interpret.results.store import CONFIG, REPORT, RUN, SIGNATURE, SUMS, read_sums
from interpret.results.verification import Finding


def sums_findings(folder: Path) -> Iterator[Finding]:
    """Every file that is listed, every file that is not, and whether the list is whole."""
    path = folder / SUMS
    if not path.is_file():
        yield Finding(part="sums", status="differs", why=Message(code="verify.sums_missing"))
        return
    try:
        listed = read_sums(path)
    except StoreError:
        yield Finding(part="sums", status="differs", why=Message(code="verify.sums_unreadable"))
        return
    unlisted = sorted({"audit.json", CONFIG} - set(listed))
    if unlisted:
        why = Message(code="verify.sums_incomplete", params={"names": "\n".join(unlisted)})
        yield Finding(part="sums", status="differs", why=why)
    for name, digest in sorted(listed.items()):
        file = folder / name
        code = "file_missing"
        if file.is_file():
            code = "file_same" if hashlib.sha256(file.read_bytes()).hexdigest() == digest else "file_changed"
        status = "holds" if code == "file_same" else "differs"
        yield Finding(part="file", subject=name, status=status, why=Message(code=f"verify.{code}"))  # type: ignore[arg-type]
    for name in sorted(p.name for p in folder.iterdir() if p.name not in {*listed, SUMS, SIGNATURE}):
        code = "verify.run_not_covered" if name == RUN else "verify.file_not_covered"
        yield Finding(part="file", subject=name, status="not_covered", why=Message(code=code))


def list_report(folder: Path) -> None:
    """Enter `report.html` into the sums of the audit it was rendered from, or renew its line.

    Raises:
        UsageError: the audit is signed; another report than the signed one would break the signature.
    """
    refuse_if_signed(folder)
    path = folder / SUMS
    listed = read_sums(path) | {REPORT: hashlib.sha256((folder / REPORT).read_bytes()).hexdigest()}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items()))
    temporary = folder / f".{SUMS}.{os.getpid()}.tmp"
    temporary.write_bytes(lines.encode())
    os.replace(temporary, path)


def refuse_if_signed(folder: Path, what: str = "a report rendered anew") -> None:
    """Nothing that a signature covers is written anew.

    Raises:
        UsageError: there is a signature.
    """
    if (folder / SIGNATURE).exists():
        raise UsageError(
            f"{folder} is signed ({SIGNATURE}), and {what} would not be the signed one; "
            "write it to another place with --out, or remove the signature"
        )
