"""Events and versions as sentences for people and as facts for programs."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from everlearn.canonical_json import parse
from everlearn.cli.output import table
from everlearn.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from everlearn.gate.decision import Decision
    from everlearn.registry.acknowledgements import Acknowledgement, Replica
    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State, VersionEntry
    from everlearn.registry.manifest import Manifest
    from everlearn.registry.versions import Registry


def moment(at: datetime) -> str:
    """Seconds are enough for people."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def of_event(event: Event) -> dict[str, Any]:
    """An event as it was sealed, with its digest."""
    return event.to_content() | {"digest": event.digest}


def of_state(state: State, *, line: str) -> dict[str, Any]:
    """The line at a glance."""
    return {
        "line": line,
        "champion": state.champion,
        "versions": list(state.versions),
        "barred": list(state.barred),
        "flagged": list(state.flagged),
        "events": state.sequence,
        "last": of_event(state.history[-1]) if state.history else None,
    }


def of_acknowledgement(said: Acknowledgement) -> dict[str, Any]:
    """What a consumer has said, without its name."""
    return {"version": said.version, "manifest": said.manifest, "sequence": said.sequence, "at": said.at.isoformat()}


def of_replica(replica: Replica) -> tuple[object, ...]:
    """A row: consumer, version, manifest, events seen, when, and whether it is behind."""
    sign = Text("behind", style="bold red") if replica.behind else Text("up to date", style="green")
    said = replica.acknowledged
    if said is None:
        return (replica.consumer, "cannot be read", None, None, None, sign)
    serves = said.version or "the base model"
    return (replica.consumer, serves, said.manifest and said.manifest[:12], said.sequence, moment(said.at), sign)


def of_version(entry: VersionEntry, manifest: Manifest) -> dict[str, Any]:
    """The history's entry and the manifest in one."""
    told = {"version": entry.version, "barred": entry.barred, "approved": entry.approved, "reason": entry.reason}
    return told | manifest.to_content() | {"manifest": entry.manifest, "actor": entry.actor, "at": entry.at.isoformat()}


def portrait(entry: VersionEntry, manifest: Manifest) -> RenderableType:
    """A version for people: origin, files, the gate's table and reasons."""
    rows = [
        ("version", entry.version + (" (barred)" if entry.barred else "")),
        ("published", f"{moment(entry.at)} UTC by {entry.actor}"),
        ("why", entry.reason),
        ("parent", manifest.parent or "the base model"),
        ("base", manifest.base_fingerprint[:16]),
        ("data", manifest.data_digest[:16]),
        ("cycle", entry.cycle_key[:16]),
        ("code", manifest.code_version),
        *((name, f"{ref.size:,} bytes, {ref.digest[:16]}") for name, ref in sorted(manifest.files.items())),
        *((name, f"{value:.4g}") for name, value in sorted(manifest.metrics.items())),
    ]
    parts: list[RenderableType] = [table("", "", rows=rows)]
    if manifest.decision:
        from everlearn.gate.decision import Decision

        parts += ["", gate(Decision.from_dict(manifest.decision))]
    return Group(*parts)


def document(registry: Registry, version: str, manifest: Manifest, *, wanted: str) -> dict[str, Any]:
    """The provenance or the bill of materials of a version, its digest checked. NotFoundError if it has none."""
    ref = manifest.documents().get(wanted)
    if ref is None:
        raise NotFoundError(f"{version} was published without {wanted}, by an earlier version of Everlearn")
    return parse(registry.get_object(ref), name=f"{wanted} of {version}")


def pretty(value: dict[str, Any]) -> str:
    """JSON that people can read."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def gate(decision: Decision) -> RenderableType:
    """What the gate said: one row a suite and comparison, then its reasons."""
    rows = [
        (row.suite, row.against, row.n, f"{row.before:.1%}", f"{row.after:.1%}", row.won, row.lost, row.outcome)
        for row in decision.rows
    ]
    suites = table("suite", "against", "items", "before", "after", "won", "lost", "outcome", rows=rows)
    return Group(f"gate: [bold]{decision.outcome}[/]", *map(escape, decision.reasons), "", suites)
