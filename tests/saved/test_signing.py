"""Signatures: valid under the right key only, checked against OpenSSL, and never over what does not hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interpret.errors import MissingFileError, StoreError, UsageError
from interpret.results.store import SIGNATURE, SUMS
from interpret.results.verification import Verification
from interpret.saved.signing import sign, signature_finding
from interpret.saved.verifying import examine
from tests.saved.test_verifying import consistent

pytest.importorskip("cryptography", reason="the extra interpret-lm[sign] is not installed")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

PLAIN = serialization.NoEncryption()


def write_keys(folder: Path, name: str = "key", encryption: serialization.KeySerializationEncryption = PLAIN) -> Path:
    folder.mkdir(exist_ok=True)
    key = ed25519.Ed25519PrivateKey.generate()
    return _write(folder / f"{name}.pem", key, encryption)


def _write(path: Path, key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, encryption=PLAIN) -> Path:  # type: ignore[no-untyped-def]
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, pkcs8, encryption))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub.pem").write_bytes(public)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return consistent().save(tmp_path / "audit")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys")


def public(key: Path) -> Path:
    return key.with_suffix(".pub.pem")


def test_a_signed_audit_is_authenticated_under_its_key_alone(saved: Path, key: Path) -> None:
    path, fingerprint = sign(saved, key)
    assert path == saved / SIGNATURE
    assert len(path.read_bytes()) == 64
    findings, _ = examine(saved, public(key))
    assert Verification(title="t", findings=findings).outcome == "authentic"
    (valid,) = [f for f in findings if f.part == "signature"]
    assert valid.why.params == {"fingerprint": fingerprint}
    other = write_keys(key.parent, "other")
    findings, _ = examine(saved, public(other))
    found = Verification(title="t", findings=findings)
    assert (found.outcome, found.exit_code) == ("differs", 1)
    assert [f.why.code for f in findings if f.status == "differs"] == ["verify.signature_wrong"]
    # Without a key nothing is claimed.
    findings, _ = examine(saved)
    assert Verification(title="t", findings=findings).outcome == "consistent"
    assert [f.why.code for f in findings if f.part == "signature"] == ["verify.signature_unchecked"]


def test_openssl_finds_it_valid_too(saved: Path, key: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl on this machine")
    sign(saved, key)
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(public(key)), "-rawin", "-in", str(saved / SUMS)]
    command += ["-sigfile", str(saved / SIGNATURE)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    made = subprocess.run(
        [openssl, "pkeyutl", "-sign", "-inkey", str(key), "-rawin", "-in", str(saved / SUMS)],
        capture_output=True,
        check=True,
    )
    # Ed25519 is deterministic: the same key and content give the same 64 bytes.
    assert made.stdout == (saved / SIGNATURE).read_bytes()
    (saved / SUMS).write_bytes((saved / SUMS).read_bytes() + b"\n")
    assert subprocess.run(command, capture_output=True).returncode != 0
    assert signature_finding(saved, public(key)).status == "differs"


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw + b"\n", lambda raw: bytes([raw[0] ^ 1]) + raw[1:]],
    ids=["cut", "empty", "longer", "one bit"],
)
def test_a_damaged_signature_is_not_valid(saved: Path, key: Path, damage) -> None:  # type: ignore[no-untyped-def]
    path, _ = sign(saved, key)
    path.write_bytes(damage(path.read_bytes()))
    assert signature_finding(saved, public(key)).why.code == "verify.signature_wrong"


def test_a_file_changed_after_signing_is_found_whether_or_not_the_sums_were_renewed(saved: Path, key: Path) -> None:
    from tests.saved.test_verifying import renew_sums

    sign(saved, key)
    path = saved / "audit.json"
    path.write_bytes(path.read_bytes().replace(b"480", b"481", 1))
    codes = {f.why.code for f in examine(saved, public(key))[0] if f.status == "differs"}
    assert "verify.file_changed" in codes
    assert "verify.signature_wrong" not in codes
    renew_sums(saved)
    codes = {f.why.code for f in examine(saved, public(key))[0] if f.status == "differs"}
    assert "verify.signature_wrong" in codes


def test_a_key_that_is_asked_for_must_have_signed(saved: Path, key: Path) -> None:
    findings, _ = examine(saved, public(key))
    assert [f.why.code for f in findings if f.status == "differs"] == ["verify.signature_missing"]


def test_nothing_is_signed_that_does_not_hold(saved: Path, key: Path) -> None:
    (saved / "audit.resolved.yaml").write_text("a: 1\n")
    with pytest.raises(StoreError, match=r"audit\.resolved\.yaml"):
        sign(saved, key)
    assert not (saved / SIGNATURE).exists()
    folder = consistent().save(saved.parent / "other")
    (folder / "report.html").write_text("<p>another report")
    (folder / SUMS).write_text((folder / SUMS).read_text() + f"{'0' * 64}  report.html\n")
    with pytest.raises(StoreError, match=r"report\.html does not agree"):
        sign(folder, key)


def test_wrong_keys_say_what_is_wanted(saved: Path, tmp_path: Path, key: Path) -> None:
    other = _write(tmp_path / "rsa.pem", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with pytest.raises(UsageError, match=r"another kind.*not Ed25519; make one with `openssl genpkey"):
        sign(saved, other)
    with pytest.raises(UsageError, match=r"another kind.*not Ed25519"):
        signature_finding(saved, public(other))
    locked = write_keys(tmp_path, "locked", serialization.BestAvailableEncryption(b"secret"))
    with pytest.raises(UsageError, match="is encrypted"):
        sign(saved, locked)
    with pytest.raises(UsageError, match="no private key in PEM"):
        sign(saved, public(key))
    with pytest.raises(UsageError, match="no public key in PEM"):
        signature_finding(saved, key)
    with pytest.raises(MissingFileError, match="--key"):
        sign(saved, tmp_path / "nowhere.pem")
    assert not (saved / SIGNATURE).exists()


def test_a_missing_package_is_named(saved: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(UsageError, match=r"needs? the package cryptography.*interpret-lm\[sign\]"):
        sign(saved, key)
    with pytest.raises(UsageError, match=r"interpret-lm\[sign\]"):
        signature_finding(saved, public(key))
    # What needs no signature needs no package.
    assert signature_finding(saved, None).status == "skipped"
