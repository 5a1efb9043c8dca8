"""Make every decision of a line again, from its events and the evidence that they name, and say where they differ.

The levels of the line's error budget follow from the events before a decision. So the audit also finds a night that was judged
at a level that was not its own, such as one whose attempts before it were left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from everlearn.errors import IntegrityError
from everlearn.gate.lifetime_error import TESTS, headline_level_of_line, level_of_line, loss_level_of_line
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.registry.events import EventKind
from everlearn.registry.manifest import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.registry.events import Event
    from everlearn.registry.versions import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedDecision:
    """A decision of the line. `differences` is empty where the repeated decision is the stored one; None: not repeatable.

    `level` and `loss_level` are those that the events give; None where the night was judged at `gate.alpha`.
    """

    cycle_key: str
    version: str | None
    end: str
    level: float | None = None
    loss_level: float | None = None
    differences: tuple[str, ...] | None = None


def audit(registry: Registry) -> Iterator[AuditedDecision]:
    """Yield every decision of the line, oldest first. Those of retired versions and of older revisions cannot be repeated."""
    state = registry.state()
    for number, event in enumerate(state.history):
        if event.kind not in TESTS:
            continue
        version = event.detail.get("version") if event.kind is EventKind.PUBLISHED else None
        is_retired = version is not None and state.versions[version].retired
        audited = AuditedDecision(cycle_key=str(event.cycle_key), version=version, end=str(event.kind))
        try:
            stored, digest = (None, None) if is_retired else _stored(event, version, registry)
            if digest is None or not stored:
                yield audited
                continue
            evidence = StoredEvidence.from_json(registry.get_object(ObjectRef(digest=digest, size=0)))
        except IntegrityError as error:  # the other decisions can still be repeated
            yield replace(audited, differences=(str(error),))
            continue
        before = state.history[:number]
        level = level_of_line(before, settings=evidence.settings)
        loss_level = loss_level_of_line(before, settings=evidence.settings)
        headline_level = headline_level_of_line(before, settings=evidence.settings)
        judged = evidence.judge(level=level, loss_level=loss_level, headline_level=headline_level)
        again = json.loads(judged.to_json())
        differences = tuple(_differences(stored, again))
        yield replace(audited, level=level, loss_level=loss_level, differences=differences)


def _stored(event: Event, version: str | None, registry: Registry) -> tuple[dict[str, Any] | None, str | None]:
    """Return the decision as it was stored, and the digest of its evidence."""
    if version is None:
        return event.detail.get("decision"), event.detail.get("evidence")
    manifest = registry.manifest(version)
    return manifest.decision, manifest.evidence.digest if manifest.evidence else None


def _differences(stored: dict[str, Any], again: dict[str, Any]) -> Iterator[str]:
    for name in sorted(stored.keys() | again.keys()):
        if name in ("rows", "pools"):
            before, after = (
                {(row["suite"], row["against"]): row for row in each.get(name, ())} for each in (stored, again)
            )
            for suite, against in dict.fromkeys((*before, *after)):
                rows = before.get((suite, against), {}), after.get((suite, against), {})
                fields = [field for field in {**rows[0], **rows[1]} if rows[0].get(field) != rows[1].get(field)]
                yield from (f"{suite} against the {against}: {_said(field, *rows)}" for field in fields)
        elif stored.get(name) != again.get(name):
            yield _said(name, stored, again)


def _said(field: str, stored: dict[str, Any], again: dict[str, Any]) -> str:
    return f"{field} is stored as {stored.get(field)!r}, and repeated as {again.get(field)!r}"
