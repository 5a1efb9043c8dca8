"""Signing keys and signatures: Ed25519. The only module that imports cryptography.

    signer, verifier = signer_and_verifier(key_file=Path(".everlearn/signing.pem"))   # a publisher
    _, verifier = signer_and_verifier(trusted=("9f3a…",))                             # a consumer
    signer, verifier = signer_and_verifier(unsigned=True)                             # an unsigned line

The private key comes from the variable EVERLEARN_SIGNING_KEY (PEM) or from a file. A key is named by its public half in
hexadecimal. Verification fails closed: a missing signature, an untrusted key, another algorithm and a wrong value are
all refused, unless `unsigned=True`.
"""

from __future__ import annotations

import binascii
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from everlearn.errors import IntegrityError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ALGORITHM = "ed25519"
VARIABLE = "EVERLEARN_SIGNING_KEY"


class Ed25519Signer:
    """Signs with one private key. `key` is its public half in hexadecimal."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, message: bytes) -> dict[str, str]:
        """Return algorithm, public key and value of a signature over `message`."""
        return {"algorithm": ALGORITHM, "key": self.key, "value": self._private.sign(message).hex()}


class Ed25519Verifier:
    """Accepts signatures of the `trusted` public keys (hexadecimal). Raises SettingsError for an invalid key."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = {key.lower(): _public(key) for key in trusted}

    @property
    def keys(self) -> tuple[str, ...]:
        """The trusted public keys, without duplicates."""
        return tuple(self._trusted)

    def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
        """Raise IntegrityError unless a trusted key has signed `message`."""
        if not isinstance(signature, dict) or set(signature) != {"algorithm", "key", "value"}:
            raise IntegrityError(f"{name} is not signed; unsigned documents need signing.unsigned")
        if signature["algorithm"] != ALGORITHM or str(signature["key"]) not in self._trusted:
            raise IntegrityError(
                f"{name} is signed with a key that is not trusted here ({str(signature['key'])[:16]}…); "
                "if it is yours, add it to signing.trusted"
            )
        try:
            self._trusted[str(signature["key"])].verify(_value(signature["value"]), message)
        except (InvalidSignature, ValueError, TypeError):
            raise IntegrityError(f"{name} was changed after it was signed; restore it from a backup") from None


class Unsigned:
    """Accepts documents without a valid signature. Digests are still checked, but any writer can forge documents."""

    def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
        """Accept everything."""


def signer_and_verifier(
    *,
    key_file: Path | None = None,
    trusted: Iterable[str] = (),
    unsigned: bool = False,
    environ: Mapping[str, str] | None = None,
) -> tuple[Ed25519Signer | None, Ed25519Verifier | Unsigned]:
    """Return the signer of our private key, if there is one, and the verifier of its public half and the trusted keys.

    Raises:
        SettingsError: There is neither a private nor a trusted key, and `unsigned` is false; or a key is invalid.
    """
    if unsigned:
        return None, Unsigned()
    pem = (os.environ if environ is None else environ).get(VARIABLE)
    signer = None
    if pem:
        signer = read_key(pem.encode(), name=VARIABLE)
    elif key_file is not None and key_file.is_file():
        signer = read_key(key_file.read_bytes(), name=str(key_file))
    keys = [*trusted, *([signer.key] if signer else [])]
    if not keys:
        raise SettingsError(
            "no key to sign or to verify with: `everlearn up` creates one for a line on this machine; else create one with "
            f"`everlearn keys new {key_file or 'FILE'}` (signing.key_file, or its content in {VARIABLE}), list the public "
            "keys of others in signing.trusted, or set signing.unsigned to true"
        )
    return signer, Ed25519Verifier(keys)


def read_key(pem: bytes, *, name: str) -> Ed25519Signer:
    """Return the signer of a private key in PEM.

    Raises:
        SettingsError: It is not an unencrypted Ed25519 key. The message has `name`, never the content.
    """
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{name} holds no unencrypted private key in PEM; create a new one") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{name} holds a key of another type; Ed25519 is needed")
    return Ed25519Signer(private)


def create_key(path: Path, *, must_be_new: bool = False) -> Ed25519Signer:
    """Create a private key at `path`, readable by its owner only, or read the one that is there.

    Raises:
        SettingsError: `must_be_new`, and the file exists. It is never overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    try:
        os.link(draft, path)  # atomic, and fails if the file exists, unlike a rename
    except FileExistsError:
        if must_be_new:
            raise SettingsError(f"{path} exists and is not overwritten; choose another file") from None
        return read_key(path.read_bytes(), name=str(path))
    finally:
        draft.unlink()
    return Ed25519Signer(private)


def _value(written: str) -> bytes:
    """Return the bytes of a signature. Raises ValueError unless `written` is their one canonical spelling."""
    value = binascii.unhexlify(written)
    if value.hex() != written:  # capitals decode, too, but would make two documents with one meaning
        raise ValueError(written)
    return value


def _public(key: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(binascii.unhexlify(key))
    except ValueError:
        raise SettingsError(f"signing.trusted: {key!r} is not an Ed25519 public key (64 hexadecimal digits)") from None
