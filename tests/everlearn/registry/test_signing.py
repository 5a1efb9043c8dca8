from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from everlearn.errors import IntegrityError, SettingsError
from everlearn.registry.signing import (
    VARIABLE,
    Ed25519Signer,
    Ed25519Verifier,
    Unsigned,
    create_key,
    read_key,
    signer_and_verifier,
)
from tests.support.line import SIGNER, VERIFIER

if TYPE_CHECKING:
    from pathlib import Path

UNTRUSTED = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))


def test_signature_of_a_trusted_key_is_accepted() -> None:
    VERIFIER.check(b"message", SIGNER.sign(b"message"), name="it")


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (None, "it is not signed"),
        ({}, "it is not signed"),
        ({"algorithm": "ed25519", "key": SIGNER.key}, "it is not signed"),
        (UNTRUSTED.sign(b"message"), "not trusted here"),
        (SIGNER.sign(b"message") | {"algorithm": "none"}, "not trusted here"),
        (SIGNER.sign(b"message") | {"key": SIGNER.key.upper()}, "not trusted here"),
        (SIGNER.sign(b"message") | {"key": [SIGNER.key]}, "not trusted here"),
        (SIGNER.sign(b"another"), "it was changed after it was signed"),
        (SIGNER.sign(b"message") | {"value": SIGNER.sign(b"message")["value"].upper()}, "it was changed after"),
        (SIGNER.sign(b"message") | {"value": "zz"}, "it was changed after it was signed"),
        (SIGNER.sign(b"message") | {"value": ""}, "it was changed after it was signed"),
    ],
)
def test_invalid_signatures_are_refused(signature: Any, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        VERIFIER.check(b"message", signature, name="it")


def test_signature_value_must_be_text() -> None:
    signature: dict[str, object] = {**SIGNER.sign(b"message"), "value": 7}
    with pytest.raises(IntegrityError, match="was changed"):
        VERIFIER.check(b"message", signature, name="it")  # type: ignore[arg-type]


def test_unsigned_lines_need_an_explicit_setting() -> None:
    signer, verifier = signer_and_verifier(unsigned=True)
    assert signer is None
    assert isinstance(verifier, Unsigned)
    verifier.check(b"message", None, name="it")
    with pytest.raises(SettingsError, match=r"set signing\.unsigned to true"):
        signer_and_verifier(environ={})


def test_key_is_created_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    first, again = create_key(path), create_key(path)
    assert first.key == again.key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["signing.pem"]
    signer, verifier = signer_and_verifier(key_file=path, environ={})
    assert signer is not None
    verifier.check(b"message", signer.sign(b"message"), name="it")


def test_new_key_never_overwrites_a_file(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    create_key(path, must_be_new=True)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match=r"signing\.pem exists and is not overwritten"):
        create_key(path, must_be_new=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_rotated_key_is_accepted_while_trusted(tmp_path: Path) -> None:
    old, new = create_key(tmp_path / "old.pem"), create_key(tmp_path / "new.pem")
    signer, both = signer_and_verifier(key_file=tmp_path / "new.pem", trusted=(old.key.upper(),), environ={})
    assert signer is not None
    assert signer.key == new.key
    assert isinstance(both, Ed25519Verifier)
    assert both.keys == (old.key, new.key)
    for key in (old, new):
        both.check(b"message", key.sign(b"message"), name="it")
    _, later = signer_and_verifier(key_file=tmp_path / "new.pem", environ={})
    with pytest.raises(IntegrityError, match="it is signed with a key that is not trusted here"):
        later.check(b"message", old.sign(b"message"), name="it")


def test_key_of_the_environment_precedes_the_file(tmp_path: Path) -> None:
    create_key(tmp_path / "file.pem")
    other = create_key(tmp_path / "other.pem")
    signer, _ = signer_and_verifier(
        key_file=tmp_path / "file.pem", environ={VARIABLE: (tmp_path / "other.pem").read_text()}
    )
    assert signer is not None
    assert signer.key == other.key


def test_consumer_needs_no_private_key(tmp_path: Path) -> None:
    signer, verifier = signer_and_verifier(key_file=tmp_path / "none", trusted=(SIGNER.key,), environ={})
    assert signer is None
    verifier.check(b"message", SIGNER.sign(b"message"), name="it")


@pytest.mark.parametrize("key", ["", "zz", "ab" * 31, "not a key"])
def test_invalid_public_key_is_reported(key: str) -> None:
    with pytest.raises(SettingsError, match=r"signing\.trusted: .* is not an Ed25519 public key"):
        Ed25519Verifier([key])


def test_invalid_key_file_is_named_but_never_shown() -> None:
    with pytest.raises(SettingsError, match=r"key\.pem holds no unencrypted private key") as caught:
        read_key(b"secret words", name="key.pem")
    assert "secret words" not in str(caught.value)


def test_key_of_another_type_is_refused() -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(SettingsError, match="Ed25519 is needed"):
        read_key(pem, name="key.pem")
