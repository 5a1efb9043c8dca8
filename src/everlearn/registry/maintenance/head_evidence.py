"""HEAD evidence: proofs that an event was committed, that is, that HEAD named it once.

- A later event refers to it: writers append only to the event that HEAD names, and sign what they append.
- The bucket keeps an older version of HEAD that names it.
- A consumer has acknowledged it.

The last two are unsigned: they only point at an event, whose own digest and signature have to be verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.canonical_json import parse
from everlearn.errors import IntegrityError
from everlearn.registry.acknowledgements import acknowledgements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from everlearn.registry.events import Event
    from everlearn.storage.protocol import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEvidence:
    """Proof that the event with this digest and number was committed. `proof` is a clause for messages."""

    event: str
    sequence: int
    proof: str


def collect_evidence(store: Store, line: str, events: Iterable[Event]) -> tuple[HeadEvidence, ...]:
    """Return all evidence for a line, sorted by event number. `events` are its verified events."""
    evidence = [*_from_old_heads(store, line), *_from_consumers(store, line), *_from_successors(events)]
    return tuple(sorted(evidence, key=lambda each: each.sequence))


def _from_successors(events: Iterable[Event]) -> Iterator[HeadEvidence]:
    for event in events:
        if event.previous is not None:
            proof = f"event {event.sequence} ({event.digest[:12]}) was appended to it"
            yield HeadEvidence(event=event.previous, sequence=event.sequence - 1, proof=proof)


def _from_old_heads(store: Store, line: str) -> Iterator[HeadEvidence]:
    name = f"{line}/HEAD"
    for blob in store.versions(name):
        try:
            head = parse(blob.data, name=name)
        except IntegrityError:
            continue  # a damaged old HEAD proves nothing
        event, sequence = head.get("event"), head.get("sequence")
        if isinstance(event, str) and isinstance(sequence, int):
            yield HeadEvidence(event=event, sequence=sequence, proof="the bucket holds an older HEAD that names it")


def _from_consumers(store: Store, line: str) -> Iterator[HeadEvidence]:
    for name, note in acknowledgements(store, line).items():
        if note is not None and note.event is not None:
            yield HeadEvidence(event=note.event, sequence=note.sequence, proof=f"{name} has acknowledged it")
