"""Records of what nights measured and trained on, which each night reads before it freezes its suites.

Every night records the items that it measures before anything is trained, and what it trained on. Nights of releases
that kept no record are recorded by the first night that finds them, from what the bucket still holds: frozen suites,
ladders, and the snapshots with the split of those releases.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.cycle.workspace import Workspace
from everlearn.data import suites
from everlearn.data.holdout import split_by_canonical_form
from everlearn.data.snapshot_store import load_snapshot, snapshots_of
from everlearn.data.used_problems import (
    RECORDS,
    Use,
    UsedProblems,
    load_earlier_use,
    load_records,
    require_records,
    save_record,
    tips_of,
)
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Against
from everlearn.gate.lifetime_error import TESTS, decision_of
from everlearn.ladder.tree import parse_ladder
from tasks.night import LOG
from tasks.starting_point import begins_after

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from everlearn.data.holdout import Split
    from everlearn.data.used_problems import EarlierUse
    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from tasks.night import Night


def earlier_use(night: Night) -> EarlierUse:
    """Return what the nights before this one used."""
    state = night.registry.state()
    _record_older_nights(night, state)
    domain = load_domain(night.settings.domain)
    return load_earlier_use(
        night.store,
        night.line,
        night=night.key,
        published=_published(state),
        domain=domain,
        begun=begins_after(night),
        tested=_tests_against_parent(night, state),
    )


def record_measured(night: Night, statements: Iterable[str], *, earlier: EarlierUse) -> None:
    """Record the suite items of this night, before anything is trained. A repeated call writes the same record."""
    _save(night, Use.MEASURED, statements, nights=[night.key], before=earlier.tips)


def record_trained(night: Night, statements: Iterable[str]) -> None:
    """Record what this night trained on, for the nights after it if it is published, with what its adapter began with."""
    before = set(begins_after(night))
    records = load_records(night.store, night.line, Use.TRAINED).values() if before else ()
    carried = (text for record in records if before.intersection(record.nights) for text in record.problems)
    _save(night, Use.TRAINED, [*statements, *carried], nights=[night.key])


def records_of(night: Night) -> list[str]:
    """Return the names of the records that this night wrote, such as `measured/<digest>`, for the event that ends it.

    A record that the event names and the bucket lacks is found by `everlearn fsck`. Empty where an older revision froze
    the suites.
    """
    return sorted({part.decode() for part in night.work.parts(RECORDS)})


def _save(
    night: Night, use: Use, statements: Iterable[str], *, nights: Collection[str], before: Collection[str] = ()
) -> None:
    domain = load_domain(night.settings.domain)
    record = UsedProblems.of(statements, nights=nights, domain=domain, before=before)
    digest = save_record(night.store, night.line, use, record)
    night.work.append(RECORDS, f"{use}/{digest}".encode())


def _record_older_nights(night: Night, state: State) -> None:
    """Record the ended nights of which there is no record. Raises IntegrityError if one that an event names is lost."""
    require_records(night.store, night.line, state.records)
    ended = {key for key, event in state.cycles.items() if event.kind in TESTS}
    for use, nights in ((Use.MEASURED, ended), (Use.TRAINED, _published(state))):
        known = load_records(night.store, night.line, use)
        missing = nights.difference(*(record.nights for record in known.values()))
        if missing:
            read = _measured_before if use is Use.MEASURED else _trained_before
            statements = set(read(night, state, missing))
            _save(night, use, statements, nights=missing, before=tips_of(known))
            LOG.info("recorded %d %s problems of %d earlier nights", len(statements), use, len(missing))


def _measured_before(night: Night, state: State, nights: set[str]) -> Iterator[str]:
    """Yield the suite items that remain of these nights, and the problems that the old split held out."""
    for work in _works(night, nights, having="suites"):
        with tempfile.TemporaryDirectory() as folder:
            for path in sorted(work.get_tree("suites", Path(folder)).glob("*.jsonl")):
                of_line = suites.of_domain([suites.load(path)], night.settings.domain)
                yield from (item.statement for suite in of_line for item in suite.problems)
    for parts in _old_splits(night, state).values():
        yield from (problem.statement for problem in parts.held_out)


def _trained_before(night: Night, state: State, nights: set[str]) -> Iterator[str]:
    """Yield the rungs that remain of these nights, and the problems of their snapshots that were not held out."""
    for work in _works(night, nights, having="ladder after"):
        yield from (rung.statement for rung in parse_ladder(work.get("ladder after")).rungs.values())
    published = {entry.data_digest for entry in state.versions.values() if entry.cycle_key in nights}
    for digest, parts in _old_splits(night, state).items():
        if digest in published:
            yield from (problem.statement for problem in parts.roots)


def _works(night: Night, nights: set[str], *, having: str) -> Iterator[Workspace]:
    works = (Workspace(night.store, night.line, key) for key in sorted(nights))
    return (work for work in works if work.has(having))


def _old_splits(night: Night, state: State) -> dict[str, Split]:
    """Return the split of every snapshot in the bucket by the rule of release 0.1.0.

    The share is that of its night. A night without a version left none: then the largest known one is taken, which
    holds out at least what was held out.
    """
    usual = night.settings.ingest.holdout_share
    shares: dict[str, float] = {}
    for entry in state.versions.values():
        ingest = night.registry.manifest(entry.version).config.get("ingest", {})
        share = float(ingest.get("holdout_share", usual))
        shares[entry.data_digest] = max(share, shares.get(entry.data_digest, 0.0))
    largest = max(usual, *shares.values(), 0.0)
    return {
        digest: split_by_canonical_form(
            load_snapshot(night.store, night.line, digest).entries, share=shares.get(digest, largest)
        )
        for digest in snapshots_of(night.store, night.line)
    }


def _tests_against_parent(night: Night, state: State) -> set[str]:
    """Return the nights that compared a candidate with tonight's parent, where the line has a budget for false improvements.

    The parent's luck on their problems is known, so that a p-value from them is not valid given what happened before.
    """
    if night.settings.gate.improvement_error == "night":
        return set()
    tests = {key: event for key, event in state.cycles.items() if event.kind in TESTS}
    return {key for key, event in tests.items() if _has_measured(night.inputs.parent, event, night.registry)}


def _has_measured(parent: str | None, event: Event, registry: Registry) -> bool:
    """Return whether a test measured this parent on its target: as its parent, or the base besides. One that does not say so has."""
    if parent is not None or event.detail.get("parent") is None:
        return bool(event.detail.get("parent", parent) == parent)
    decision = decision_of(event, registry)
    return not decision or any(row["against"] == Against.BASE for row in decision.get("rows", ()))


def _published(state: State) -> set[str]:
    return {entry.cycle_key for entry in state.versions.values()}
