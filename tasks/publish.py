"""End a night: record one event in the history, a published version or the verdict that there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical
from everlearn.cycle.inputs import cycle_key
from everlearn.cycle.record import End
from everlearn.data.memory_suite import remember
from everlearn.domains.contract import load_domain
from everlearn.errors import StaleParentError
from everlearn.gate.baselines import SKILL_METRIC
from everlearn.gate.consequences import END_OF, EVENT_OF, becomes_champion, reason_of, skill_of
from everlearn.gate.decision_record import Outcome
from everlearn.gate.lifetime_error import IMPROVEMENT_ERROR
from everlearn.registry.bill_of_materials import bill, licence_of
from everlearn.registry.connect import open_registry
from everlearn.registry.manifest import Manifest
from everlearn.registry.provenance import BuildRun, code_of, commit_of, statement
from everlearn.registry.versions import EventKind
from everlearn.reporting.night_record import step_metrics
from everlearn.reporting.own_items import describe_items, own_items
from tasks.certificate import keep_certificates
from tasks.compare_with_ancestors import transfer_metrics
from tasks.compare_with_record import stored_record
from tasks.decide import decision_of, evidence_of, pseudo_metrics
from tasks.earlier_nights import records_of
from tasks.freeze_suites import held_out_items, item_metrics, load_memory
from tasks.measure import files_of
from tasks.night import ACTOR, Night, step_task, times_of
from tasks.open_base import base_folder
from tasks.open_night import abandon_night, end_night, inputs_of
from tasks.write_report import policy_of, report_of

if TYPE_CHECKING:
    from everlearn.registry.manifest import ObjectRef
    from everlearn.settings import Settings
    from tasks.ingest import ClaimedSnapshot


@step_task
def publish_night(night: Night, outcome: str) -> dict[str, str | None]:
    """Record one event: a published version, or the verdict that there is none. Return how the night ended."""
    end, reason = END_OF[Outcome(outcome)], reason_of(decision_of(night))
    version = None
    if end is End.PUBLISHED:
        version = _publish(night, reason=reason)
    else:
        _record_verdict(night, EVENT_OF[end], reason=reason)
    ended: dict[str, str | None] = {"end": str(end), "version": version, "reason": reason, "cycle_key": night.key}
    return ended | {"report": report_of(night).digest, "items": describe_items(own_items(item_metrics(night)))}


@step_task
def close_night(night: Night, end: str) -> None:
    """Close the night, so that the next one can start.

    This is the last step: a run that is killed before it resumes the same night and ends it the same way.
    """
    end_night(night, End(end))


@step_task
def record_nothing_to_learn(night: Night) -> dict[str, str | None]:
    """Record that all new problems are needed to measure. They stay available to the next night."""
    reason = "every new problem is held out or equivalent to a suite item, so there is nothing to train on; add more"
    detail = {
        "data_digest": night.inputs.data_digest,
        "records": records_of(night),
        IMPROVEMENT_ERROR: night.settings.gate.improvement_error,
    }
    night.registry.record(EventKind.INSUFFICIENT, cycle_key=night.key, reason=reason, actor=ACTOR, detail=detail)
    return {"end": str(End.INSUFFICIENT), "version": None, "reason": reason, "cycle_key": night.key, "report": None}


@step_task
def record_no_new_data(settings: Settings, claim: ClaimedSnapshot) -> dict[str, str | None]:
    """Record that the night found no new problem."""
    key = cycle_key(inputs_of(settings, data_digest=claim.data_digest))
    reason = "no problem that an earlier published night has not seen"
    open_registry(settings).record(
        EventKind.NO_NEW_DATA, cycle_key=key, reason=reason, actor=ACTOR, detail={"data_digest": claim.data_digest}
    )
    return {"end": str(End.NO_NEW_DATA), "version": None, "reason": reason, "cycle_key": key, "report": None}


def run_of(night: Night) -> BuildRun:
    """Return what provenance and bill of materials say about the night besides its manifest."""
    parent, card = night.inputs.parent, base_folder(night.settings) / "README.md"
    return BuildRun(
        line=night.line,
        started=datetime.fromisoformat(night.started),
        parent_manifest=night.registry.resolve(parent).manifest if parent else None,
        commit=commit_of(Path(__file__)),
        code=code_of(Path(__file__)),
        licence=licence_of(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None,
    )


def _publish(night: Night, *, reason: str) -> str:
    """Publish the candidate. Return its version. A night whose parent is no longer champion is abandoned."""
    champion = becomes_champion(night.settings.gate)
    try:
        entry = night.registry.publish(
            _manifest(night), make_champion=champion, actor=ACTOR, reason=reason, records=records_of(night)
        )
    except StaleParentError as error:
        abandon_night(night, why=str(error))
        raise
    return entry.version


def _record_verdict(night: Night, kind: EventKind, *, reason: str) -> None:
    """Record a night without a version. The event keeps the step times: the workspace is removed some day."""
    metrics = step_metrics(times_of(night.work)) | item_metrics(night) | pseudo_metrics(night) | transfer_metrics(night)
    about = {"report": report_of(night).digest, "parent": night.inputs.parent, "records": records_of(night)}
    about["base_fingerprint"] = night.inputs.base_fingerprint
    evidence = evidence_of(night)
    if evidence:
        about["evidence"] = evidence.digest
    detail = about | {"decision": decision_of(night).to_dict(), "metrics": metrics}
    night.registry.record(kind, cycle_key=night.key, reason=reason, actor=ACTOR, detail=detail)


def _manifest(night: Night) -> Manifest:
    """Return the signed description of the candidate. Repeated calls return equal bytes, so the time is kept."""
    decision, work = decision_of(night), night.work
    if not work.has("created"):
        work.put("created", datetime.now(tz=UTC).isoformat().encode())
    manifest = Manifest(
        files=files_of(night),
        base_fingerprint=night.inputs.base_fingerprint,
        parent=night.inputs.parent,
        cycle_key=night.key,
        data_digest=night.inputs.data_digest,
        config=night.settings.model_dump(mode="json"),
        code_version=night.inputs.code_version,
        created=datetime.fromisoformat(work.get("created").decode()),
        memory=_memory_of(night),
        record=stored_record(night),
        evidence=evidence_of(night),
        certificate=keep_certificates(night),
        metrics={
            SKILL_METRIC: skill_of(decision),
            **item_metrics(night),
            **pseudo_metrics(night),
            **step_metrics(times_of(work)),
            **transfer_metrics(night),
        },
        decision=decision.to_dict(),
        report=report_of(night),
        policy=policy_of(night),
    )
    run, keep = run_of(night), night.registry.put_object
    return replace(
        manifest,
        provenance=keep(canonical(statement(manifest, run=run))),
        bom=keep(canonical(bill(manifest, run=run))),
    )


def _memory_of(night: Night) -> ObjectRef | None:
    """Store the memory suite for the nights after this one. None where an older revision has frozen the suites."""
    if not item_metrics(night):
        return None
    settings = night.settings
    memory = remember(
        load_memory(night),
        held_out_items(night),
        cycle_key=night.key,
        domain=load_domain(settings.domain),
        per_night=settings.gate.memory_per_night,
        total=settings.gate.memory_items,
    )
    return night.registry.put_object(memory.to_jsonl().encode()) if memory else None
