"""References: what HEAD, the events and the manifests of a line name, for everything that removes, checks or restores.

    needed   must be there: the chain, its snapshots, the manifests and files of versions that stay
    reports  reports and evidence of nights without a version: kept, but no version and no history is broken without them
    named    any digest in a document that stays, in whatever field. A field that a later release adds, such as a suite
             or a report of another kind, is thus never garbage, even for a release that does not know the field

A retired version keeps its event and its manifest, whose decision counts for the levels of later nights. What only that
manifest names is free.
Suites are named by events and manifests, and name nothing themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.registry.events import Event, EventKind
from everlearn.registry.guarded_suites import changed_by
from everlearn.registry.line_keys import event_key, is_digest, manifest_key
from everlearn.storage.immutable_objects import object_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from everlearn.registry.manifest import Manifest


class References:
    """The keys that the documents of a line name, as far as these were added.

    needed   why a key must be there, by key
    reports  which event names a report or evidence, by key
    named    every key that a digest in one of the documents may stand for
    """

    def __init__(self, line: str) -> None:
        self._line = line
        self.needed: dict[str, str] = {}
        self.reports: dict[str, str] = {}
        self.named: set[str] = set()

    def add_head(self, event: str, *, why: str = "HEAD names it") -> None:
        """Add the event that HEAD names."""
        self.needed.setdefault(event_key(self._line, event), why)

    def add_event(self, event: Event) -> None:
        """Add everything that an event of any kind names."""
        self.add_chain(event)
        self.add_documents(event)

    def add_chain(self, event: Event) -> None:
        """Add what the history before an event is read from: the event before it, and its snapshot."""
        if event.previous is not None:
            self.add_head(event.previous, why=f"event {event.sequence} follows it")
        if event.snapshot is not None:
            self._need(event.snapshot, f"event {event.sequence} names it as the history before it")

    def add_documents(self, event: Event) -> None:
        """Add what else an event names, such as the report of a night without a version."""
        for name, what in (("report", "its report"), ("evidence", "the evidence of its decision")):
            digest = event.detail.get(name)
            if is_digest(digest):
                why = f"event {event.sequence} ({event.kind}) names it as {what}"
                self.reports.setdefault(object_key(self._line, str(digest)), why)
        for name, suite in changed_by(event).items():
            self._need(suite.digest, f"event {event.sequence} ({event.kind}) names it as the suite {name}")
        for record in event.detail.get("records", ()):
            why = f"event {event.sequence} ({event.kind}) names it as a record of what its night used"
            self.needed.setdefault(f"{self._line}/problems/{record}", why)
        self._name(event.detail)

    @property
    def keys(self) -> frozenset[str]:
        """All keys that are needed or named. Any other is unreferenced."""
        return frozenset(self.named | self.needed.keys() | self.reports.keys())

    def add_version(self, version: str, *, manifest: str) -> None:
        """Add the manifest of a version, by its digest."""
        self.needed[manifest_key(self._line, manifest)] = f"{version} needs it"

    def add_manifest(self, manifest: Manifest, *, version: str) -> None:
        """Add what the manifest of a version that stays names. Safe to call from several threads."""
        documents = {f"its {name}": ref for name, ref in manifest.documents().items()}
        for name, ref in (manifest.files | documents).items():
            self._need(ref.digest, f"{version} needs it ({name})")
        self._name(manifest.to_content())

    def _need(self, digest: str, why: str) -> None:
        self.needed.setdefault(object_key(self._line, digest), why)

    def _name(self, document: Any) -> None:
        for digest in digests_in(document):
            self.named.update((object_key(self._line, digest), manifest_key(self._line, digest)))


def published_versions(events: Iterable[Event]) -> list[tuple[Event, bool]]:
    """Return the events that published a version, and whether that version was retired in another of `events`."""
    known = list(events)
    retired = {name for event in known if event.kind is EventKind.RETIRED for name in event.detail.get("versions", ())}
    published = [
        event for event in known if event.kind is EventKind.PUBLISHED and {"version", "manifest"} <= event.detail.keys()
    ]
    return [(event, event.detail["version"] in retired) for event in published]


def digests_in(document: Any) -> Iterator[str]:
    """Yield every SHA-256 in a JSON value, at any depth, in keys as well."""
    if isinstance(document, str):
        if is_digest(document):
            yield document
    elif isinstance(document, dict):
        for name, value in document.items():
            yield from digests_in(name)
            yield from digests_in(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from digests_in(value)
