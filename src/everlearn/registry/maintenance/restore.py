"""Put back what a walk has found lost, and only from proof.

    plan = plan_repair(store, findings, verifier=verifier)     # what would be changed, and why
    carry_out(store, plan)

HEAD goes back to the newest event that surely was committed (witness.py says how that can be known), and an immutable
object to an older content of the bucket with the very digest that its name says. An orphan tip is taken for a lost
race: somebody who knows that it was committed says so by `plan_adoption`. Nobody's guess moves HEAD.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of
from everlearn.errors import BadInputError, ConflictError, IntegrityError, NotFoundError
from everlearn.registry.event_log import Chain

if TYPE_CHECKING:
    from everlearn.registry.events import State
    from everlearn.registry.maintenance.fsck import Findings
    from everlearn.registry.maintenance.head_evidence import Witness
    from everlearn.registry.sealed_document import Verifier
    from everlearn.storage.protocol import Store

SHORTEST = 8  # digits of a digest that are enough to name an event


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPlan:
    """What to change. `head` is None where HEAD stays; `etag` None where there is none to write over.

    `sequence`, `event` and `champion` are those that HEAD will show, `because` the proof. `put_back` are the keys whose
    right bytes an older content of the bucket holds.
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
    """What can be put back. IntegrityError if HEAD is lost and nothing proves where it was, or the proofs contradict."""
    lost = [fault.key for fault in (*findings.damaged, *findings.missing)]
    put_back = tuple(key for key in lost if _older(store, key) is not None)
    if not findings.head or put_back:
        return RepairPlan(
            line=findings.line, put_back=put_back
        )  # HEAD afterwards: what it rests on must be readable first
    if not findings.witnesses:
        raise IntegrityError(f"nothing proves where {findings.line}/HEAD was; {_choice(findings)}")
    proof = findings.witnesses[-1]
    state = _chain(store, findings, verifier).at(proof.event)
    history = {event.digest for event in state.history}
    others = [each for each in findings.witnesses if each.event not in history]
    if others:
        raise IntegrityError(
            f"line {findings.line} has two histories: event {proof.sequence} ({proof.event[:12]}) was committed "
            f"({proof.says}), and event {others[-1].sequence} ({others[-1].event[:12]}) was, too ({others[-1].says}); "
            "decide which one holds, and say so with --adopt DIGEST"
        )
    if findings.named is not None and findings.named not in history:
        raise IntegrityError(
            f"{findings.line}/HEAD names event {findings.named[:12]}, but nothing else proves that it was committed; "
            f"if you know it, say so with --adopt {findings.named[:12]}"
        )
    return _plan(store, findings, state, because=proof.says, verifier=verifier)


def plan_adoption(store: Store, findings: Findings, digest: str, *, verifier: Verifier) -> RepairPlan:
    """Let HEAD name the event whose digest begins with `digest`, because somebody knows that it was committed.

    Raises BadInputError for an event that is unknown, in the history already, or lost to another that was committed.
    """
    found = _choose(findings, digest)
    state = _chain(store, findings, verifier).at(found)
    history = {event.digest for event in state.history}
    if findings.trail and not findings.head:
        newest = findings.trail[0]
        if newest.digest not in history:
            at = min(newest.sequence, state.sequence)
            raise BadInputError(f"event {found[:12]} lost its race: another event {at} was committed; nothing to adopt")
        if newest.digest == found:
            raise BadInputError(f"HEAD names event {found[:12]} already; nothing to adopt")
    later = [each for each in findings.witnesses if each.sequence > state.sequence]
    if later and found in _before(store, findings, later[-1], verifier=verifier):
        raise BadInputError(f"event {later[-1].sequence}, which follows on it, was committed, too; use --repair")
    return _plan(store, findings, state, because="adopted by hand", verifier=verifier)


def carry_out(store: Store, plan: RepairPlan) -> None:
    """Do what was planned. ConflictError if HEAD has moved since it was looked at."""
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
        raise ConflictError(f"{name} was moved by somebody else meanwhile; run `everlearn fsck` again") from None


def _plan(store: Store, findings: Findings, state: State, *, because: str, verifier: Verifier) -> RepairPlan:
    head = canonical(_chain(store, findings, verifier).head(state))
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
    known |= {each.event for each in findings.witnesses}
    found = [each for each in known if len(digest) >= SHORTEST and each.startswith(digest)]
    if len(found) != 1:
        raise BadInputError(f"{digest!r} names no event that could be adopted; {_choice(findings)}")
    return found[0]


def _choice(findings: Findings) -> str:
    tips = ", ".join(f"{tip.digest[:12]} (event {tip.sequence}, {tip.kind})" for tip in findings.orphan_tips)
    return f"orphan tips that you could --adopt: {tips or 'none'}"


def _before(store: Store, findings: Findings, witness: Witness, *, verifier: Verifier) -> set[str]:
    try:
        return {event.digest for event in _chain(store, findings, verifier).at(witness.event).history}
    except IntegrityError:
        return set()  # what cannot be read any more cannot be gone back to


def _chain(store: Store, findings: Findings, verifier: Verifier) -> Chain:
    return Chain(store, findings.line, clock=lambda: datetime.now(tz=UTC), signer=None, verifier=verifier)


def _older(store: Store, key: str) -> bytes | None:
    """The right bytes of an immutable object among the older contents of its key."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return next((blob.data for blob in store.versions(key) if digest_of(blob.data) == name), None)


def _put_back(store: Store, key: str) -> None:
    data, etag = _older(store, key), _etag(store, key)
    if data is None:
        raise IntegrityError(f"{key}: the older content that held the right bytes is gone; run `everlearn fsck` again")
    if etag is None:
        store.create(key, data)
    else:
        store.replace(key, data, etag=etag)


def _etag(store: Store, key: str) -> str | None:
    try:
        return store.head(key).etag
    except NotFoundError:
        return None
