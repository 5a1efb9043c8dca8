"""Make every decision of a line again, from its events and the evidence that they name, and say where they differ.

The levels of the line's error budget follow from the events before a decision. So the audit also finds a night that was
judged at a level that was not its own, such as one whose attempts before it were left out; one that ended otherwise
than it was decided; a version that was judged by other settings than those of its night; a suite that guarded the line
and was not compared, or not with all of its items; and a record in the evidence of a night that is not the one that its
parent left.

What happened between a decision and its event, such as that a version was found to have leaked, is left out, as the
decision names the newest event that it knew; attempts are counted in any case. A decision of an older revision names
neither that event nor its rule: where its level is the one of an older rule, it is repeated at that level, and said to
be by an older rule. Comparisons with the record by an older rule of the looks cannot be repeated, nor decisions by an
older rule about several targets of which some had no room to improve.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from math import isclose
from typing import TYPE_CHECKING, Any

from everlearn.data.suites import SuiteKind, parse
from everlearn.errors import IntegrityError
from everlearn.gate.consequences import END_OF, EVENT_OF
from everlearn.gate.decision_of_line import judge_by_line
from everlearn.gate.decision_record import Against
from everlearn.gate.evidence import compare
from everlearn.gate.lifetime_error import RULE, SAME_LOOKS, SAME_TARGETS, TESTS, loss_level, older_levels
from everlearn.gate.record_of_line import WHOLE_MEMORY, guarded_suites, item_key, record_after
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.registry.events import EventKind
from everlearn.registry.guarded_suites import after_event
from everlearn.registry.manifest import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.data.suites import Suite
    from everlearn.gate.decision_record import Decision
    from everlearn.gate.record_of_line import RecordedItem
    from everlearn.registry.events import Event
    from everlearn.registry.guarded_suites import Suites
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

OUTCOME_OF = {EVENT_OF.get(end, EventKind.PUBLISHED): outcome for outcome, end in END_OF.items()}
"""The outcome that a night has to have for each event that can end it."""
_ROUNDING = 1e-9
"""Largest relative difference of numbers that count as equal."""
_RESOLUTION = 1e-8
"""Largest absolute difference of two bounds that count as equal: bisection finds them to 2e-9."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedDecision:
    """A decision of the line. `differences` is empty where the repeated decision is the stored one; None: not repeatable.

    `level` and `loss_level` are those at which it was repeated; None where the night was judged at `gate.alpha`.
    `by_older_rule` means that the level is not the one of the present rule, but of one before decisions stored the
    number of their rule.
    """

    cycle_key: str
    version: str | None
    end: str
    level: float | None = None
    loss_level: float | None = None
    by_older_rule: bool = False
    differences: tuple[str, ...] | None = None


def audit(registry: Registry) -> Iterator[AuditedDecision]:
    """Yield every decision of the line, oldest first. Those of retired versions and of older revisions cannot be repeated."""
    state = registry.state()
    suites: Suites = {}
    for number, event in enumerate(state.history):
        if event.kind is EventKind.SUITE_CHANGED:
            suites = after_event(suites, event)
        if event.kind in TESTS:
            yield _audited(event, state.history[:number], state=state, suites=suites, registry=registry)


def _audited(
    event: Event, before: tuple[Event, ...], *, state: State, suites: Suites, registry: Registry
) -> AuditedDecision:
    """Make the decision of one event again. `suites` guarded the line then, `before` holds the events before it."""
    version = event.detail.get("version") if event.kind is EventKind.PUBLISHED else None
    is_retired = version is not None and state.versions[version].retired
    audited = AuditedDecision(cycle_key=str(event.cycle_key), version=version, end=str(event.kind))
    try:
        stored, digest = (None, None) if is_retired else _stored(event, version, registry)
        wrong_end = tuple(_wrong_end(event, stored or {}))
        if digest is None or not stored:
            return replace(audited, differences=wrong_end or None)
        evidence = StoredEvidence.from_json(registry.get_object(ObjectRef(digest=digest, size=0)))
        if _was_judged_otherwise(evidence, rule=stored.get("rule") or 0):
            return replace(audited, differences=wrong_end or None)
        others = (
            *_other_settings(evidence, version, registry),
            *_other_items(evidence, suites),
            *_other_record(evidence, event, state=state, suites=suites, registry=registry),
        )
        again, has_older_level = _repeated(evidence, stored, before, registry=registry)
    except IntegrityError as error:  # the other decisions can still be repeated
        return replace(audited, differences=(str(error),))
    differences = (*wrong_end, *_differences(stored, again), *others)
    return replace(
        audited,
        level=again.get("level"),
        loss_level=again.get("loss_level"),
        by_older_rule=has_older_level,
        differences=differences,
    )


def _was_judged_otherwise(evidence: StoredEvidence, *, rule: int) -> bool:
    """Return whether these answers may have another outcome today than by that rule."""
    of_parent = [pair for pair in evidence.pairs if pair.kind is SuiteKind.TARGET and pair.against is Against.PARENT]
    have_room = {compare(pair).has_room(ceiling=evidence.settings.ceiling) for pair in of_parent}
    return (bool(evidence.guards) and rule < SAME_LOOKS) or (len(have_room) > 1 and rule < SAME_TARGETS)


def _repeated(
    evidence: StoredEvidence, stored: dict[str, Any], before: tuple[Event, ...], *, registry: Registry
) -> tuple[dict[str, Any], bool]:
    """Return the decision made again as plain values, and whether it needed a level of an older rule."""
    rule, seen = stored.get("rule"), stored.get("seen", 0)
    if rule is not None:
        if rule > RULE:
            raise IntegrityError(
                f"it was decided by rule {rule} of the gate, and this Everlearn knows rule {RULE}: audit it with a newer one"
            )
        known = [event for event in before if event.sequence <= seen or event.kind in TESTS]
        return _plain(replace(judge_by_line(evidence, known, registry=registry), rule=rule)), False
    made = replace(judge_by_line(evidence, before, registry=registry), rule=None, seen=None)
    level = stored.get("level")
    older = older_levels(before, settings=evidence.settings, registry=registry)
    if _is_equal(level, made.level) or not any(_is_equal(level, each) for each in older):
        return _plain(made), False
    headline_level = loss_level(sum(event.kind in TESTS for event in before) + 1, alpha=evidence.settings.alpha)
    at_level = evidence.judge(level=level, loss_level=made.loss_level, headline_level=headline_level)
    return _plain(at_level), True


def _plain(decision: Decision) -> dict[str, Any]:
    """Return a decision as it is read from a manifest or an event."""
    return dict(json.loads(decision.to_json()))


def _stored(event: Event, version: str | None, registry: Registry) -> tuple[dict[str, Any] | None, str | None]:
    """Return the decision as it was stored, and the digest of its evidence."""
    if version is None:
        return event.detail.get("decision"), event.detail.get("evidence")
    manifest = registry.manifest(version)
    return manifest.decision, manifest.evidence.digest if manifest.evidence else None


def _wrong_end(event: Event, stored: dict[str, Any]) -> Iterator[str]:
    """Yield how a night ended where that does not follow from its stored outcome."""
    outcome = stored.get("outcome")
    if outcome not in (None, OUTCOME_OF[event.kind]):
        yield f"the night ended as {event.kind}, and its outcome is stored as {outcome!r}"


def _other_settings(evidence: StoredEvidence, version: str | None, registry: Registry) -> Iterator[str]:
    """Yield the settings of the gate with which a version was not decided as its manifest says. Events of other nights say none."""
    stated = registry.manifest(version).config.get("gate", {}) if version else {}
    for name, used in evidence.settings.model_dump(mode="json").items():
        if name in stated and stated[name] != used:
            yield f"gate.{name} was {stated[name]!r} by the settings of the night, and {used!r} in its evidence"


def _other_items(evidence: StoredEvidence, suites: Suites) -> Iterator[str]:
    """Yield the suites that were not compared with as many items as guarded the line; nothing where its history names no suite."""
    guarded, compared = Counter[str](), Counter[str]()
    by_record = evidence.settings.loss_error == "line"
    for name, suite in suites.items():
        guarded[WHOLE_MEMORY if by_record and suite.kind == SuiteKind.MEMORY else name] += suite.items
    for guard in evidence.guards:
        compared[guard.suite] += len(guard.recorded)
    for pair in evidence.pairs:
        if pair.against is Against.PARENT and not pair.kind.is_of_tonight:
            compared[pair.suite] += len(pair.before)
    for name in sorted(guarded | compared) if suites else ():
        if compared[name] != guarded[name]:
            yield f"{name}: {guarded[name]} items guarded the line, and {compared[name]} were compared"


def _other_record(
    evidence: StoredEvidence, event: Event, *, state: State, suites: Suites, registry: Registry
) -> Iterator[str]:
    """Yield the guarded suites whose recorded answers are not those that the record of the parent holds.

    Items that this record lacks were answered in the night itself, and those of a retired parent may be gone. Of items
    that the night asked in another way, only the policy is compared.
    """
    parent = state.versions.get(event.detail.get("parent", ""))
    if not evidence.guards or parent is None or parent.retired:
        return
    record, guarded = record_after(parent.version, registry), _items_of(suites, registry)
    for guard in evidence.guards:
        items = guarded[guard.suite].problems if guard.suite in guarded else ()
        others = sum(
            not _is_as_known(used, known)
            for known, used in zip((record.get(item_key(item)) for item in items), guard.recorded, strict=False)
            if known is not None
        )
        if others:
            yield f"{guard.suite}: {others} of {len(items)} recorded items are not as in the record of {parent.version}"


def _is_as_known(used: RecordedItem, known: RecordedItem) -> bool:
    """Return whether a night may have used an item so, whose record was known."""
    if used.asked not in ("", known.asked):
        return used.policy == known.policy
    return replace(used, asked=known.asked) == known


def _items_of(suites: Suites, registry: Registry) -> dict[str, Suite]:
    """Return what was compared with the record, by name, in the order in which a night reads its suites."""
    texts = {name: registry.get_object(suite.ref).decode() for name, suite in sorted(suites.items())}
    items = [parse(text, name=name, where=f"the suite {name}") for name, text in texts.items()]
    return {suite.name: suite for suite in guarded_suites(items)}


def _differences(stored: dict[str, Any], again: dict[str, Any]) -> Iterator[str]:
    for name in sorted(stored.keys() | again.keys()):
        if name in ("rows", "pools"):
            before, after = (
                {(row["suite"], row["against"]): row for row in each.get(name, ())} for each in (stored, again)
            )
            for suite, against in dict.fromkeys((*before, *after)):
                rows = before.get((suite, against), {}), after.get((suite, against), {})
                for field in {**rows[0], **rows[1]}:
                    if not _is_equal(*(row.get(field) for row in rows), within=_RESOLUTION):
                        yield f"{suite} against the {against}: {_said(field, *rows)}"
        elif not _is_equal(stored.get(name), again.get(name)):
            yield _said(name, stored, again)


def _is_equal(one: Any, other: Any, *, within: float = 0.0) -> bool:
    """Return whether two values are equal, numbers up to their rounding: the last digits depend on processor and libraries."""
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=_ROUNDING, abs_tol=within)
    return bool(one == other)


def _said(field: str, stored: dict[str, Any], again: dict[str, Any]) -> str:
    return f"{field} is stored as {stored.get(field)!r}, and repeated as {again.get(field)!r}"
