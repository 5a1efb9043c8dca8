"""What earlier nights measured and trained: the one place that computes which problems a night must not use.

Every night records the items that it measures before anything is trained, and what it trained on. Nights of releases
that kept no record are recorded by the first night that finds them, from what the bucket still holds: frozen suites,
ladders, and the snapshots with the split of those releases.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.cycle.workspace import Workspace
from everlearn.data import suites
from everlearn.data.holdout import split_by_canonical_form
from everlearn.data.snapshot_store import load_snapshot, snapshots_of
from everlearn.data.used_problems import Use, UsedProblems, load_records, save_record, tips_of
from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import ladder_from
from everlearn.registry.events import EventKind
from tasks.night import LOG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from tasks.night import Night

ENDS = frozenset({EventKind.PUBLISHED, EventKind.REJECTED, EventKind.INSUFFICIENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierNights:
    """Equivalence keys of all suite items of earlier nights, and of what the published ones trained on.

    `tips` are the newest records of measured problems, which the next record names.
    """

    measured: frozenset[str]
    trained: frozenset[str]
    tips: frozenset[str] = frozenset()


def earlier_nights(night: Night) -> EarlierNights:
    """Return what the nights before this one used. What only an unpublished night trained on left no trace in a model."""
    domain = load_domain(night.settings.domain)
    _record_older_nights(night, domain)
    published = {entry.cycle_key for entry in night.registry.state().versions.values()}
    measured = _others(night, Use.MEASURED)
    trained = [record for record in _others(night, Use.TRAINED).values() if published.intersection(record.nights)]
    return EarlierNights(
        measured=frozenset[str]().union(*(record.keys(domain) for record in measured.values())),
        trained=frozenset[str]().union(*(record.keys(domain) for record in trained)),
        tips=frozenset(tips_of(measured)),
    )


def record_measured(night: Night, statements: Iterable[str], *, earlier: EarlierNights) -> None:
    """Record the suite items of this night, before anything is trained. A repeated call writes the same record."""
    domain = load_domain(night.settings.domain)
    record = UsedProblems.of(statements, nights=[night.key], domain=domain, before=earlier.tips)
    save_record(night.store, night.line, Use.MEASURED, record)


def record_trained(night: Night, statements: Iterable[str]) -> None:
    """Record what this night trained on, for the nights after it if it is published."""
    domain = load_domain(night.settings.domain)
    save_record(
        night.store, night.line, Use.TRAINED, UsedProblems.of(statements, nights=[night.key], domain=domain)
    )


def _others(night: Night, use: Use) -> dict[str, UsedProblems]:
    """Return the records of other nights: a resumed night finds its own, too."""
    records = load_records(night.store, night.line, use)
    return {digest: record for digest, record in records.items() if record.nights != (night.key,)}


def _record_older_nights(night: Night, domain: Domain) -> None:
    """Record the ended nights of which there is no record."""
    state = night.registry.state()
    ended = {key for key, event in state.cycles.items() if event.kind in ENDS}
    published = {entry.cycle_key for entry in state.versions.values()}
    for use, keys in ((Use.MEASURED, ended), (Use.TRAINED, published)):
        known = load_records(night.store, night.line, use)
        missing = keys - {key for record in known.values() for key in record.nights}
        if missing:
            found = set(_STATEMENTS[use](night, missing))
            older = UsedProblems.of(found, nights=missing, domain=domain, before=tips_of(known))
            save_record(night.store, night.line, use, older)
            LOG.info("recorded %d %s problems of %d earlier nights", len(found), use, len(missing))


def _measured_before(night: Night, nights: set[str]) -> Iterator[str]:
    """Yield the suite items that remain of these nights, and the problems that the old split held out."""
    for work in _works(night, nights, having="suites"):
        with tempfile.TemporaryDirectory() as folder:
            for path in sorted(work.get_tree("suites", Path(folder)).glob("*.jsonl")):
                yield from (item.statement for item in suites.load(path).problems)
    for digest, (_, held_out) in _old_splits(night).items():
        LOG.info("snapshot %s: %d problems were held out", digest[:12], len(held_out))
        yield from (problem.statement for problem in held_out)


def _trained_before(night: Night, nights: set[str]) -> Iterator[str]:
    """Yield the rungs that remain of these nights, and the problems of their snapshots that were not held out."""
    for work in _works(night, nights, having="ladder after"):
        yield from (rung.statement for rung in ladder_from(work.get("ladder after")).rungs.values())
    published = {entry.data_digest for entry in night.registry.state().versions.values() if entry.cycle_key in nights}
    for digest, (roots, _) in _old_splits(night).items():
        if digest in published:
            yield from (problem.statement for problem in roots)


def _works(night: Night, nights: set[str], *, having: str) -> Iterator[Workspace]:
    works = (Workspace(night.store, night.line, key) for key in sorted(nights))
    return (work for work in works if work.has(having))


def _old_splits(night: Night) -> dict[str, tuple[tuple[Problem, ...], tuple[Problem, ...]]]:
    """Return the roots and held-out problems of every snapshot in the bucket, by digest.

    The split is that of the share of its night. Of a night without a version the share is unknown: then the largest is
    taken, which holds out at least what was held out.
    """
    shares = _shares(night)
    largest = max(*shares.values(), night.settings.ingest.holdout_share, 0.0)
    parts = {}
    for digest in snapshots_of(night.store, night.line):
        entries = load_snapshot(night.store, night.line, digest).entries
        found = split_by_canonical_form(entries, share=shares.get(digest, largest))
        parts[digest] = found.roots, found.held_out
    return parts


def _shares(night: Night) -> dict[str, float]:
    """Return the share held out of each published snapshot, the largest where two nights used one."""
    shares: dict[str, float] = {}
    for entry in night.registry.state().versions.values():
        share = float(night.registry.manifest(entry.version).config["ingest"]["holdout_share"])
        shares[entry.data_digest] = max(share, shares.get(entry.data_digest, 0.0))
    return shares


_STATEMENTS = {Use.MEASURED: _measured_before, Use.TRAINED: _trained_before}
