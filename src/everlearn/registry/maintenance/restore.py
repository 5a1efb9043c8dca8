"""Restore what a consistency check found lost, and only from proof.

    plan = plan_repair(store, findings, verifier=verifier)     # what would change, and why
    carry_out(store, plan)

HEAD is set to the newest event that was certainly committed (head_evidence.py), and an immutable object to an older
version in the bucket whose digest is the one in its name. An orphan tip counts as a lost race; a user who knows that it
was committed restores it with `plan_adoption`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of
from everlearn.errors import BadInputError, ConflictError, IntegrityError, NotFoundError
from everlearn.registry.event_log import EventLog

if TYPE_CHECKING:
    from everlearn.registry.line_state import State
    from everlearn.registry.maintenance.fsck import Findings
    from everlearn.registry.maintenance.head_evidence import HeadEvidence
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

MIN_PREFIX = 8  # hexadecimal digits of a digest that are enough to name an event


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPlan:
    """What to change. `head` None leaves HEAD as it is; `etag` None means that there is no HEAD to replace.

    sequence, event, champion   what HEAD will show
    because                     the proof
    put_back                    keys whose right bytes are in an older version in the bucket
    """

    line: str
    head: bytes | None = None
    etag: str | None = None
    sequence: int = 0
    event: str = ""
    champion: str | None = None
    because: str = ""
    put_back: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.head is None and not self.put_back


def plan_repair(store: Store, findings: Findings, *, verifier: Verifier) -> RepairPlan:
    """Return what can be restored with proof.

    Raises:
        IntegrityError: HEAD is lost and nothing proves where it was, or the proofs contradict each other.
    """
    lost = [fault.key for fault in (*findings.damaged, *findings.missing, *findings.lost)]
    put_back = tuple(key for key in lost if _older(store, key) is not None)
    if not findings.head or put_back:
        # HEAD is repaired by a second plan: the events that it depends on must be readable first.
        return RepairPlan(line=findings.line, put_back=put_back)
    if not findings.evidence:
        raise IntegrityError(f"nothing proves where {findings.line}/HEAD was; {_adoptable(findings)}")
    proof = findings.evidence[-1]
    state = _log(store, findings, verifier).at(proof.event)
    history = {event.digest for event in state.history}
    others = [each for each in findings.evidence if each.event not in history]
    if others:
        raise IntegrityError(
            f"line {findings.line} has two histories: event {proof.sequence} ({proof.event[:12]}) was committed "
            f"({proof.proof}), and so was event {others[-1].sequence} ({others[-1].event[:12]}; {others[-1].proof}); "
            "decide which one is right, and name it with --adopt DIGEST"
        )
    if findings.named is not None and findings.named not in history:
        raise IntegrityError(
            f"{findings.line}/HEAD names event {findings.named[:12]}, but nothing else proves that it was committed; "
            f"if you know that it was, run --adopt {findings.named[:12]}"
        )
    return _plan(store, findings, state, because=proof.proof, verifier=verifier)


def plan_adoption(store: Store, findings: Findings, digest: str, *, verifier: Verifier) -> RepairPlan:
    """Return the plan that sets HEAD to the event whose digest begins with `digest`, on the user's word.

    Raises:
        BadInputError: The event is unknown, in the history already, or lost its race to a committed one.
    """
    adopted = _choose(findings, digest)
    state = _log(store, findings, verifier).at(adopted)
    history = {event.digest for event in state.history}
    if findings.trail and not findings.head:
        newest = findings.trail[0]
        if newest.digest not in history:
            at = min(newest.sequence, state.sequence)
            raise BadInputError(
                f"event {adopted[:12]} lost its race: another event {at} was committed; nothing to adopt"
            )
        if newest.digest == adopted:
            raise BadInputError(f"HEAD names event {adopted[:12]} already; nothing to adopt")
    later = [each for each in findings.evidence if each.sequence > state.sequence]
    if later and adopted in _history_of(store, findings, later[-1], verifier=verifier):
        raise BadInputError(f"event {later[-1].sequence}, which follows it, was committed, too; use --repair")
    return _plan(store, findings, state, because="adopted by hand", verifier=verifier)


def carry_out(store: Store, plan: RepairPlan) -> None:
    """Restore what the plan names. Raises ConflictError if HEAD has moved since it was planned."""
    for key in plan.put_back:
        _put_back(store, key)
    if plan.head is None:
        return
    name = f"{plan.line}/HEAD"
    try:
        if plan.etag is None:
            store.create(name, plan.head)
        else:
            store.replace(name, plan.head, etag=plan.etag)
    except ConflictError:
        raise ConflictError(f"{name} was moved by another process meanwhile; run `everlearn fsck` again") from None


def _plan(store: Store, findings: Findings, state: State, *, because: str, verifier: Verifier) -> RepairPlan:
    head = canonical(_log(store, findings, verifier).head(state))
    return RepairPlan(
        line=findings.line,
        head=head,
        etag=_etag(store, f"{findings.line}/HEAD"),
        sequence=state.sequence,
        event=str(state.tip),
        champion=state.champion,
        because=because,
    )


def _choose(findings: Findings, digest: str) -> str:
    known = {event.digest for event in (*findings.orphan_tips, *findings.trail)}
    known |= {each.event for each in findings.evidence}
    matching = [each for each in known if len(digest) >= MIN_PREFIX and each.startswith(digest)]
    if len(matching) != 1:
        raise BadInputError(f"{digest!r} names no event that could be adopted; {_adoptable(findings)}")
    return matching[0]


def _adoptable(findings: Findings) -> str:
    tips = ", ".join(f"{tip.digest[:12]} (event {tip.sequence}, {tip.kind})" for tip in findings.orphan_tips)
    return f"orphan tips that you could --adopt: {tips or 'none'}"


def _history_of(store: Store, findings: Findings, evidence: HeadEvidence, *, verifier: Verifier) -> set[str]:
    try:
        return {event.digest for event in _log(store, findings, verifier).at(evidence.event).history}
    except IntegrityError:
        return set()  # unreadable, so HEAD cannot be set to it either


def _log(store: Store, findings: Findings, verifier: Verifier) -> EventLog:
    return EventLog(store, findings.line, clock=lambda: datetime.now(tz=UTC), signer=None, verifier=verifier)


def _older(store: Store, key: str) -> bytes | None:
    """Return the right bytes of an immutable object from the bucket's older versions; None if there are none."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return next((blob.data for blob in store.versions(key) if digest_of(blob.data) == name), None)


def _put_back(store: Store, key: str) -> None:
    data, etag = _older(store, key), _etag(store, key)
    if data is None:
        raise IntegrityError(f"{key}: the older version with the right bytes is gone; run `everlearn fsck` again")
    if etag is None:
        store.create(key, data)
    else:
        store.replace(key, data, etag=etag)


def _etag(store: Store, key: str) -> str | None:
    try:
        return store.head(key).etag
    except NotFoundError:
        return None
