"""Keys and signatures: Ed25519. The only module that knows cryptography.

    signer, verifier = trust(key_file=Path(".everlearn/signing.pem"), trusted=())     # a line of one's own
    _, verifier = trust(trusted=("9f3a…",))                                           # a consumer
    signer, verifier = trust(unsigned=True)                                           # said out loud

The private key comes from the variable EVERLEARN_SIGNING_KEY (PEM) or from a file. A key's name is its public half in
hexadecimal. Verification fails closed: no signature, a key that nobody trusts, another algorithm, a wrong value are
all refused, and only `unsigned=True` gives that up.
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
    """Signs with one private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, message: bytes) -> dict[str, str]:
        """Algorithm, public key and signature."""
        return {"algorithm": ALGORITHM, "key": self.key, "value": self._private.sign(message).hex()}


class Ed25519Verifier:
    """Counts only signatures by one of the `trusted` public keys (hexadecimal). SettingsError if one is no key."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = {key.lower(): _public(key) for key in trusted}

    @property
    def keys(self) -> tuple[str, ...]:
        """The trusted public keys, each once."""
        return tuple(self._trusted)

    def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
        """Raise IntegrityError unless one of the trusted keys has signed `message`."""
        if not isinstance(signature, dict) or set(signature) != {"algorithm", "key", "value"}:
            raise IntegrityError(f"{name} is not signed; only a line that is set to be unsigned may be read like that")
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
    """Asks for no signature: digests and the chain still hold, but anybody who can write can also forge."""

    def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
        """Let everything pass."""


def trust(
    *,
    key_file: Path | None = None,
    trusted: Iterable[str] = (),
    unsigned: bool = False,
    environ: Mapping[str, str] | None = None,
) -> tuple[Ed25519Signer | None, Ed25519Verifier | Unsigned]:
    """Who signs, and whose signatures count: our own key's and the `trusted` ones'.

    Raises SettingsError when there is neither a key nor a trusted one, and unsigned lines were not allowed.
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
            "no key to sign or to verify with: `everlearn up` draws one for a line on this machine; else draw one with "
            f"`everlearn keys new {key_file or 'FILE'}` (signing.key_file, or its content in {VARIABLE}), name the public "
            "keys of others in signing.trusted, or set signing.unsigned to true"
        )
    return signer, Ed25519Verifier(keys)


def read_key(pem: bytes, *, name: str) -> Ed25519Signer:
    """The signer of a PEM text. SettingsError, naming its source and never its content, if it is none."""
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{name} holds no unencrypted private key in PEM; write a new one") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{name} holds a key of another kind; Ed25519 is needed")
    return Ed25519Signer(private)


def create_key(path: Path, *, anew: bool = False) -> Ed25519Signer:
    """Draw a key and write it to `path`, readable by its owner only. What is there is never overwritten.

    An existing key is read instead, unless it was to be a new one: then SettingsError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    try:
        os.link(draft, path)  # whole or not at all, and never over a key that is there
    except FileExistsError:
        if anew:
            raise SettingsError(f"{path} is there already and is not overwritten; name another file") from None
        return read_key(path.read_bytes(), name=str(path))
    finally:
        draft.unlink()
    return Ed25519Signer(private)


def _value(written: str) -> bytes:
    """A signature as its signer wrote it. ValueError for the same in capitals, too: no byte of a document is free."""
    value = binascii.unhexlify(written)
    if value.hex() != written:
        raise ValueError(written)
    return value


def _public(key: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(binascii.unhexlify(key))
    except ValueError:
        raise SettingsError(f"signing.trusted: {key!r} is no Ed25519 public key (64 hexadecimal digits)") from None
