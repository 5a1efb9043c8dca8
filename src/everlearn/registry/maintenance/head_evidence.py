"""What proves that an event was committed, that is, that HEAD once named it.

- An event was written on top of it: writers build only on what HEAD names, and sign what they build.
- The bucket holds an older content of HEAD that names it.
- A consumer has acknowledged it.

The last two are unsigned. They only point at an event; its own digest and signature are checked by whoever uses them.
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
class Witness:
    """Somebody who says that the event with that digest and number was committed."""

    event: str
    sequence: int
    says: str


def witnesses(store: Store, line: str, events: Iterable[Event]) -> tuple[Witness, ...]:
    """All that can be found for a line whose verified events are `events`; those for the newest event last."""
    found = [*_heads(store, line), *_consumers(store, line), *_followers(events)]
    return tuple(sorted(found, key=lambda each: each.sequence))


def _followers(events: Iterable[Event]) -> Iterator[Witness]:
    for event in events:
        if event.previous is not None:
            says = f"event {event.sequence} ({event.digest[:12]}) was written on top of it"
            yield Witness(event=event.previous, sequence=event.sequence - 1, says=says)


def _heads(store: Store, line: str) -> Iterator[Witness]:
    name = f"{line}/HEAD"
    for blob in store.versions(name):
        try:
            head = parse(blob.data, name=name)
        except IntegrityError:
            continue  # an older damage proves nothing
        event, sequence = head.get("event"), head.get("sequence")
        if isinstance(event, str) and isinstance(sequence, int):
            yield Witness(event=event, sequence=sequence, says="the bucket holds an older HEAD that names it")


def _consumers(store: Store, line: str) -> Iterator[Witness]:
    for name, said in acknowledgements(store, line).items():
        if said is not None and said.event is not None:
            yield Witness(event=said.event, sequence=said.sequence, says=f"{name} has acknowledged it")
