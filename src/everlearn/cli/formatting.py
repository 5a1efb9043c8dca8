"""Events, versions and consumers as facts (JSON) and as tables."""

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
from everlearn.registry.base_identity import describe_base, newest_digest
from everlearn.registry.eligibility import require_files
from everlearn.registry.line_summary import summarize
from everlearn.registry.night_lookup import SHOWN
from everlearn.reporting.own_items import ITEM_METRICS, describe_items, own_items
from everlearn.reporting.transfer import SHARE, SHARE_BEFORE

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from everlearn.gate.decision_record import Decision
    from everlearn.registry.acknowledgements import Acknowledgement, Replica
    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State, VersionEntry
    from everlearn.registry.manifest import Manifest
    from everlearn.registry.versions import Registry


def format_time(at: datetime) -> str:
    """Return a time in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def event_facts(event: Event) -> dict[str, Any]:
    """Return an event as it is stored, with its digest."""
    return event.to_content() | {"digest": event.digest}


def state_facts(state: State, *, line: str) -> dict[str, Any]:
    """Return the state of a line: champion, versions, last event."""
    summary = summarize(state)
    return {
        "line": line,
        "champion": state.champion,
        "serves": summary.served,
        "since": event_facts(summary.since) if summary.since else None,
        "versions": list(state.versions),
        "barred": list(state.barred),
        "flagged": list(state.flagged),
        "events": state.sequence,
        "last": event_facts(state.history[-1]) if state.history else None,
    }


def replica_facts(replica: Replica) -> dict[str, Any]:
    """Return a consumer and what it has acknowledged; None where the acknowledgement is damaged."""
    none = dict.fromkeys(("version", "manifest", "sequence", "at"))
    acknowledged = none if replica.acknowledged is None else _acknowledgement_facts(replica.acknowledged)
    return {"consumer": replica.consumer, "behind": replica.behind, **acknowledged}


def _acknowledgement_facts(acknowledged: Acknowledgement) -> dict[str, Any]:
    return {
        "version": acknowledged.version,
        "manifest": acknowledged.manifest,
        "sequence": acknowledged.sequence,
        "at": acknowledged.at.isoformat(),
    }


def replica_row(replica: Replica) -> tuple[object, ...]:
    """Return a table row: consumer, version, manifest, events seen, time, and whether it is behind."""
    status = Text("behind", style="bold red") if replica.behind else Text("up to date", style="green")
    last = replica.acknowledged
    if last is None:
        return (replica.consumer, "cannot be read", None, None, None, status)
    version = last.version or "the base model"
    return (
        replica.consumer,
        version,
        last.manifest and last.manifest[:12],
        last.sequence,
        format_time(last.at),
        status,
    )


def version_facts(entry: VersionEntry, manifest: Manifest, *, code: str | None) -> dict[str, Any]:
    """Return the manifest of a version together with its entry in the history and the commit of its code."""
    status = {
        "version": entry.version,
        "barred": entry.barred,
        "retired": entry.retired,
        "approved": entry.approved,
        "reason": entry.reason,
    }
    origin = {"manifest": entry.manifest, "actor": entry.actor, "at": entry.at.isoformat()}
    return status | manifest.to_content() | origin | {"code": code}


def version_table(entry: VersionEntry, manifest: Manifest, *, code: str | None) -> RenderableType:
    """Return a version for people: origin, files, and the gate's table with its reasons."""
    unknown = "its provenance was removed" if entry.retired else "not from a checkout"
    rows = [
        ("version", entry.version + (" (barred)" if entry.barred else "") + (" (retired)" if entry.retired else "")),
        ("published", f"{format_time(entry.at)} UTC by {entry.actor}"),
        ("why", entry.reason),
        ("parent", manifest.parent or "the base model"),
        (
            "base",
            ", ".join(filter(None, [describe_base(manifest.config), newest_digest(manifest.base_fingerprint)[:16]])),
        ),
        ("data", manifest.data_digest[:16]),
        ("measured on", describe_items(own_items(manifest.metrics))),
        ("cycle", entry.cycle_key[:SHOWN]),
        ("code", f"{manifest.code_version}, {f'commit {code}' if code else unknown}"),
        *((name, f"{ref.size:,} bytes, {ref.digest[:16]}") for name, ref in sorted(manifest.files.items())),
        *(
            (name, f"{value:.4g}")
            for name, value in sorted(manifest.metrics.items())
            if name not in ITEM_METRICS.values() and not name.startswith((SHARE, SHARE_BEFORE))
        ),
    ]
    parts: list[RenderableType] = [table("", "", rows=rows)]
    if manifest.decision:
        from everlearn.gate.decision_record import Decision

        parts += ["", decision_table(Decision.from_dict(manifest.decision))]
    return Group(*parts)


def short_cycle(event: Event) -> str | None:
    """Return the beginning of the cycle key of a night, which names it in commands; None for another event."""
    return None if event.cycle_key is None else event.cycle_key[:SHOWN]


def night_table(event: Event) -> RenderableType:
    """Return a night without a version for people: how it ended and why, and the gate's table, if it got that far."""
    decision = event.detail.get("decision")
    rows = [
        ("night", str(event.kind).replace("_", " ")),
        ("ended", f"{format_time(event.at)} UTC by {event.actor}"),
        ("why", event.reason),
        ("measured on", describe_items(own_items(event.detail.get("metrics", {})))),
        ("cycle", event.cycle_key),
        ("event", f"{event.sequence}, {event.digest[:16]}"),
        ("report", f"everlearn report {short_cycle(event)}" if event.detail.get("report") else "none: it ended early"),
    ]
    parts: list[RenderableType] = [table("", "", rows=rows)]
    if decision:
        from everlearn.gate.decision_record import Decision

        parts += ["", decision_table(Decision.from_dict(decision))]
    return Group(*parts)


def read_code(registry: Registry, entry: VersionEntry, manifest: Manifest) -> str | None:
    """Return the commit of the code that made a version; None if it was not recorded, or is gone with a retired version."""
    from everlearn.registry.provenance import recorded_code

    if manifest.provenance is None or entry.retired:
        return None
    return recorded_code(read_document(registry, entry, manifest, kind="provenance"))


def read_document(registry: Registry, entry: VersionEntry, manifest: Manifest, *, kind: str) -> dict[str, Any]:
    """Return the provenance, the bill of materials or the certificate of a version, its digest verified.

    Raises:
        NotFoundError: the version was published without that document.
        RegistryError: the version is retired.
    """
    ref = manifest.documents().get(kind)
    if ref is None:
        raise NotFoundError(f"{entry.version} was published without {kind}, by an earlier version of Everlearn")
    require_files(entry)
    return parse(registry.get_object(ref), name=f"{kind} of {entry.version}")


def indented_json(value: dict[str, Any]) -> str:
    """Return JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def decision_table(decision: Decision) -> RenderableType:
    """Return the outcome of the gate, its reasons, and a row for each suite and baseline."""
    rows = [
        (row.suite, row.against, row.n, f"{row.before:.1%}", f"{row.after:.1%}", row.won, row.lost, row.outcome)
        for row in decision.all_rows
    ]
    suites = table("suite", "against", "items", "before", "after", "won", "lost", "outcome", rows=rows)
    return Group(f"gate: [bold]{decision.outcome}[/]", *map(escape, decision.reasons), "", suites)
