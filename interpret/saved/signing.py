"""Detached Ed25519 signatures of `SHA256SUMS`: who vouches for an audit.

The signature is the 64 bytes that RFC 8032 defines over the bytes of `SHA256SUMS`, so that other tools can check it:
`openssl pkeyutl -verify -pubin -inkey key.pub.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from interpret.errors import MissingFileError, StoreError, UsageError
from interpret.results.audits import Audit
from interpret.results.record import Message
from interpret.results.store import SIGNATURE, SUMS
from interpret.results.verification import Finding
from interpret.saved.sums import sums_findings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: Hexadecimal digits of a public key's SHA-256 by which people compare keys.
_FINGERPRINT = 32


def sign(folder: str | Path, key: str | Path) -> tuple[Path, str]:
    """Sign the sums of a saved audit that holds; returns the signature's path and the public key's fingerprint.

    Args:
        folder: of the saved audit.
        key: file with an unencrypted Ed25519 private key in PEM.

    Raises:
        UsageError: no such key, one that stands where the signature goes, or the package `cryptography` is missing.
        StoreError: the audit is damaged; nothing is signed that does not hold.
    """
    folder = Path(folder)
    private = _private_key(Path(key))
    Audit.load(folder)
    wrong = [f.subject or f.part for f in sums_findings(folder) if f.status == "differs"]
    if wrong:
        raise StoreError(f"{folder} is not signed: {', '.join(wrong)} does not agree with {SUMS}")
    path = folder / SIGNATURE
    if path.exists() and path.samefile(key):
        raise UsageError(f"the signature would replace the key {path}; keep the key in another place")
    path.write_bytes(private.sign((folder / SUMS).read_bytes()))
    return path, fingerprint(private.public_key())


def signature_finding(folder: Path, public_key: str | Path | None) -> Finding:
    """Whether the signature is valid under this key; without a key, whether there is one at all."""
    path = folder / SIGNATURE
    there = path.is_file()
    if public_key is None:
        code = "verify.signature_unchecked" if there else "verify.not_signed"
        return Finding(part="signature", status="skipped", why=Message(code=code))
    key = _public_key(Path(public_key))
    params = {"fingerprint": fingerprint(key)}
    if not there or not (folder / SUMS).is_file():
        return Finding(part="signature", status="differs", why=Message(code="verify.signature_missing"))
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(path.read_bytes(), (folder / SUMS).read_bytes())
    except InvalidSignature:
        return Finding(part="signature", status="differs", why=Message(code="verify.signature_wrong", params=params))
    return Finding(part="signature", status="holds", why=Message(code="verify.signature_valid", params=params))


def fingerprint(key: Ed25519PublicKey) -> str:
    """The beginning of the SHA-256 of the 32 bytes of a public key, in groups of four digits."""
    digits = hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_FINGERPRINT]
    return " ".join(digits[i : i + 4] for i in range(0, _FINGERPRINT, 4))


def _private_key(path: Path) -> Ed25519PrivateKey:
    content = _read(path, "--key")
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as err:
        raise UsageError(
            f"the key {path.name} is encrypted; decrypt it for this command, for example with "
            f"`openssl pkey -in {path.name} -out plain.pem`"
        ) from err
    except Exception as err:  # what the library raises on what is no key differs by its version
        raise UsageError(f"{path.name} is no private key in PEM; {_MAKE}") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path.name} holds a key of another kind ({type(key).__name__}), not Ed25519; {_MAKE}")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    content = _read(path, "--public-key")
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(content)
    except Exception as err:  # what the library raises on what is no key differs by its version
        raise UsageError(f"{path.name} is no public key in PEM; {_PUBLISH}") from err
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path.name} holds a key of another kind ({type(key).__name__}), not Ed25519; {_PUBLISH}")
    return key


_MAKE = "make one with `openssl genpkey -algorithm ed25519 -out key.pem`"
_PUBLISH = "make it from the private one with `openssl pkey -in key.pem -pubout -out key.pub.pem`"


def _read(path: Path, option: str) -> bytes:
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}, which {option} names")
    return path.read_bytes()


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as err:
        raise UsageError(
            "signatures need the package cryptography: install interpret-lm with its extra, interpret-lm[sign]"
        ) from err
