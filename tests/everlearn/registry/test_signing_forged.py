"""An attacker with write access but without the signing key: every forged document is refused by name.

The forgeries have correct digests and a matching HEAD, so that only the signatures can expose them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.errors import IntegrityError
from everlearn.registry.sealed_document import seal
from everlearn.registry.signing import Ed25519Signer, Ed25519Verifier, Unsigned
from everlearn.registry.versions import Registry
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.sealed_document import Signer, Verifier

UNTRUSTED = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))
OTHER = "another"
Document = dict[str, Any]


def opened(
    store: MemoryStore, *, signer: Signer | None = SIGNER, verifier: Verifier = VERIFIER, line: str = LINE
) -> Registry:
    return Registry(store, line, clock=Clock(), signer=signer, verifier=verifier)


@pytest.fixture
def store() -> MemoryStore:
    """Publish one version on two lines, signed with the same key."""
    store = MemoryStore()
    for line in (LINE, OTHER):
        publish(opened(store, line=line), "one")
    return store


def tip_of(store: MemoryStore, line: str = LINE) -> str:
    return str(parse(store.get(f"{line}/HEAD").data, name="HEAD")["event"])


def plant_event(store: MemoryStore, data: bytes) -> str:
    """Store an event under its digest, let HEAD name it, and return its key."""
    digest = digest_of(data)
    name = f"{LINE}/events/{digest}.json"
    store.put(name, data)
    head = parse(store.get(f"{LINE}/HEAD").data, name="HEAD")
    store.put(f"{LINE}/HEAD", canonical(head | {"event": digest}))
    return name


def event_of(store: MemoryStore, line: str = LINE) -> bytes:
    return store.get(f"{line}/events/{tip_of(store, line)}.json").data


def manifest_of(store: MemoryStore, line: str = LINE) -> bytes:
    entry = opened(store, line=line).resolve("champion")
    return store.get(f"{line}/manifests/{entry.manifest}.json").data


def resealed(data: bytes, **place: Any) -> bytes:
    """Seal the same content again, for another place or with another key."""
    content = parse(data, name="it")["content"]
    return seal(content, **{"purpose": content["purpose"], "line": content["line"], "signer": SIGNER} | place)


def stripped(data: bytes) -> bytes:
    return canonical(parse(data, name="it") | {"signature": None})


def without(data: bytes) -> bytes:
    return canonical({"content": parse(data, name="it")["content"]})


def renumbered(data: bytes) -> bytes:
    """Return an event with a changed place in the chain and its old signature."""
    document = parse(data, name="it")
    return canonical(document | {"content": document["content"] | {"sequence": 2, "previous": "0" * 64}})


FORGERIES: dict[str, tuple[Callable[[MemoryStore], bytes], str]] = {
    "from another line": (lambda store: event_of(store, OTHER), "belongs elsewhere"),
    "of another purpose": (lambda store: resealed(event_of(store), purpose="manifest"), "belongs elsewhere"),
    "a manifest": (manifest_of, "belongs elsewhere"),
    "by a wrong key": (lambda store: resealed(event_of(store), signer=UNTRUSTED), "key that is not trusted here"),
    "never signed": (lambda store: resealed(event_of(store), signer=None), "is not signed"),
    "signature stripped": (lambda store: stripped(event_of(store)), "is not signed"),
    "no field for a signature": (lambda store: without(event_of(store)), "is not a registry document"),
    "put elsewhere in the chain": (lambda store: renumbered(event_of(store)), "was changed after it was signed"),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_forged_event_is_refused(store: MemoryStore, how: str) -> None:
    forge, why = FORGERIES[how]
    name = plant_event(store, forge(store))
    with pytest.raises(IntegrityError, match=why) as caught:
        opened(store).state()
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (lambda store: manifest_of(store, OTHER), "belongs elsewhere"),
        (lambda store: resealed(manifest_of(store), purpose="event"), "belongs elsewhere"),
        (event_of, "belongs elsewhere"),
        (lambda store: resealed(manifest_of(store), signer=UNTRUSTED), "key that is not trusted here"),
        (lambda store: resealed(manifest_of(store), signer=None), "is not signed"),
        (lambda store: stripped(manifest_of(store)), "is not signed"),
    ],
    ids=["another line", "another purpose", "an event", "wrong key", "never signed", "stripped"],
)
def test_forged_manifest_is_refused_even_if_an_event_names_it(
    store: MemoryStore, forge: Callable[[MemoryStore], bytes], why: str
) -> None:
    data = forge(store)
    name = f"{LINE}/manifests/{digest_of(data)}.json"
    store.put(name, data)
    content = parse(event_of(store), name="it")["content"]
    content["detail"]["manifest"] = digest_of(data)
    plant_event(store, seal(content, purpose="event", line=LINE, signer=SIGNER))
    with pytest.raises(IntegrityError, match=why) as caught:
        opened(store).manifest("champion")
    assert str(caught.value).startswith(name)


def test_signature_covers_line_purpose_and_predecessor(store: MemoryStore) -> None:
    first = tip_of(store)
    publish(opened(store), "two")
    content = parse(event_of(store), name="it")["content"]
    assert (content["line"], content["purpose"]) == (LINE, "event")
    assert (content["sequence"], content["previous"]) == (2, first)
    head = parse(store.get(f"{LINE}/HEAD").data, name="HEAD")
    assert (head["sequence"], head["event"]) == (2, digest_of(event_of(store)))


def test_unsigned_line_needs_an_unsigned_verifier() -> None:
    store = MemoryStore()
    publish(opened(store, signer=None, verifier=Unsigned()), "one")
    assert opened(store, signer=None, verifier=Unsigned()).state().champion == "v0001"
    with pytest.raises(IntegrityError, match=f"{LINE}/events/.* is not signed"):
        opened(store).state()


def test_line_continues_under_a_new_key() -> None:
    store, new = MemoryStore(), UNTRUSTED
    publish(open_line(store), "one")
    both = Ed25519Verifier([SIGNER.key, new.key])
    publish(opened(store, signer=new, verifier=both), "two")
    line = opened(store, signer=new, verifier=both)
    assert [line.manifest(version).parent for version in ("v0001", "v0002")] == [None, "v0001"]
    assert line.rollback(None, reason="as before", actor="ada").to == "v0001"
    with pytest.raises(IntegrityError, match="key that is not trusted here"):
        opened(store, signer=new, verifier=Ed25519Verifier([new.key])).state()
