"""End a night: write its report, record one event in the history, and show the result in the dashboard."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from everlearn.canonical_json import canonical
from everlearn.cycle.inputs import cycle_key
from everlearn.cycle.record import End
from everlearn.domains.contract import load_domain
from everlearn.errors import StaleParentError
from everlearn.gate.baselines import SKILL_METRIC
from everlearn.gate.decision import Outcome
from everlearn.gate.publication import END_OF, EVENT_OF, becomes_champion, reason_of, skill_of
from everlearn.ladder.tree import point_of
from everlearn.registry.bill_of_materials import bill, licence_of
from everlearn.registry.connect import open_patiently, open_registry, open_store
from everlearn.registry.manifest import Manifest, ObjectRef
from everlearn.registry.provenance import BuildRun, commit_of, statement
from everlearn.registry.versions import EventKind
from everlearn.reporting.night_record import (
    IngestCounts,
    NightRecord,
    item_sizes,
    rates_by_size,
    refused_proposals,
    rung_sizes,
    step_metrics,
    training_notes,
)
from everlearn.reporting.report import gate_rows, headline, plain, render, summary_markdown
from everlearn.storage.objects import object_key
from tasks.artifact import artifact_key
from tasks.decide import decision_of
from tasks.ingest import load_counts
from tasks.learn import ladder_of, load_suites, roots_of
from tasks.measure import files_of, pairs_of
from tasks.night import Night, step_task, timed_step, times_of
from tasks.open_night import end_night, inputs_of

if TYPE_CHECKING:
    from everlearn.settings import Settings
    from tasks.ingest import ClaimedSnapshot

ACTOR = "night"
SHOWN_EVENTS = 50


@step_task
def write_report(night: Night) -> str:
    """Render the night as one HTML page and keep it as an object. Return its digest."""
    with timed_step(night, "report") as work:
        if not work.has("report"):
            record = record_of(night)
            page = night.registry.put_object(render(record).encode())
            work.put("record", record.to_json().encode())
            work.put("report", json.dumps({"digest": page.digest, "size": page.size}).encode())
        return report_of(night).digest


@step_task
def publish_night(night: Night, outcome: str) -> dict[str, str | None]:
    """Record one event: a published version, or the verdict that there is none. Return how the night ended."""
    end, reason = END_OF[Outcome(outcome)], reason_of(decision_of(night))
    version = None
    if end is End.PUBLISHED:
        version = _publish(night, reason=reason)
    else:
        _record_verdict(night, EVENT_OF[end], reason=reason)
    report = report_of(night).digest
    return {"end": str(end), "version": version, "reason": reason, "cycle_key": night.key, "report": report}


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
    detail = {"data_digest": night.inputs.data_digest}
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


@step_task
def show_night(night: Night) -> None:
    """Show the night in the dashboard: summary, gate table, and a link to the report."""
    record = NightRecord.from_json(night.work.get("record"))
    create_markdown_artifact(
        key=artifact_key("night", line=night.line), markdown=summary_markdown(record), description=headline(record)
    )
    create_table_artifact(
        key=artifact_key("gate", line=night.line),
        table=gate_rows(decision_of(night)),
        description="Measurements of the gate",
    )
    key = object_key(night.line, report_of(night).digest)
    link = open_store(night.settings.store).presigned_url(key, content_type="text/html")
    create_link_artifact(
        key=artifact_key("report", line=night.line),
        link=link,
        link_text="The night's report",
        description="Valid for 7 days",
    )


@step_task
def show_history(settings: Settings) -> None:
    """Show the newest events of the line as a table in the dashboard. The table keeps its key from night to night."""
    line, store = settings.store.line, open_patiently(settings.store)
    state = open_registry(settings, store=store).state()
    rows = [
        f"| {event.sequence} | {event.at:%Y-%m-%d %H:%M} | {plain(event.sentence)} | {plain(event.actor)} |"
        for event in reversed(state.history[-SHOWN_EVENTS:])
    ]
    champion = f"**{state.champion or 'The base model'}** serves line {line}."
    head = f"{champion}\n\n| # | when (UTC) | event and reason | actor |\n| --- | --- | --- | --- |\n"
    create_markdown_artifact(
        key=artifact_key("history", line=line),
        markdown=head + "\n".join(rows),
        description=f"History of line {line}",
    )


def record_of(night: Night) -> NightRecord:
    """Return the data of the night's report."""
    work, decision = night.work, decision_of(night)
    ladder, domain = ladder_of(work, "ladder after"), load_domain(night.settings.domain)
    curve = tuple(point_of(point) for point in json.loads(work.get("curve")))
    end = END_OF[decision.outcome]
    return NightRecord(
        line=night.line,
        end=str(end),
        started=datetime.fromisoformat(night.started),
        cycle_key=night.key,
        version=night.registry.state().next_version if end is End.PUBLISHED else None,
        parent=night.inputs.parent,
        decision=decision,
        ladder=tuple(ladder.rungs.values()),
        sizes=rung_sizes(ladder, domain=domain),
        refused=refused_proposals(ladder),
        curves=curve,
        notes=training_notes(curve),
        rates=rates_by_size(pairs_of(night, "parent", "parent"), sizes=item_sizes(load_suites(night), domain=domain)),
        steps=times_of(work),
        ingest=_ingest_counts(night),
    )


def report_of(night: Night) -> ObjectRef:
    """Return the report's object."""
    return ObjectRef(**json.loads(night.work.get("report")))


def run_of(night: Night) -> BuildRun:
    """Return what provenance and bill of materials say about the night besides its manifest."""
    parent, card = night.inputs.parent, night.settings.base_directory / "README.md"
    return BuildRun(
        line=night.line,
        started=datetime.fromisoformat(night.started),
        parent_manifest=night.registry.resolve(parent).manifest if parent else None,
        commit=commit_of(Path(__file__)),
        licence=licence_of(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None,
    )


def _publish(night: Night, *, reason: str) -> str:
    """Publish the candidate. Return its version. A night whose parent is no longer champion is abandoned."""
    champion = becomes_champion(night.settings.gate)
    try:
        entry = night.registry.publish(_manifest(night), make_champion=champion, actor=ACTOR, reason=reason)
    except StaleParentError:
        end_night(night, None)
        raise
    return entry.version


def _record_verdict(night: Night, kind: EventKind, *, reason: str) -> None:
    """Record a night without a version. The event keeps the step times: the workspace is removed some day."""
    metrics = step_metrics(times_of(night.work))
    detail = {"report": report_of(night).digest, "decision": decision_of(night).to_dict(), "metrics": metrics}
    night.registry.record(kind, cycle_key=night.key, reason=reason, actor=ACTOR, detail=detail)


def _ingest_counts(night: Night) -> IngestCounts:
    counts: dict[str, Any] = load_counts(night.store, night.line, night.inputs.data_digest)
    _, held_out = roots_of(night)
    return IngestCounts(
        accepted=counts["accepted"],
        duplicates=counts["duplicates"],
        held_out=len(held_out),
        quarantined=counts["quarantined"],
    )


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
        metrics={SKILL_METRIC: skill_of(decision), **step_metrics(times_of(work))},
        decision=decision.to_dict(),
        report=report_of(night),
    )
    run, keep = run_of(night), night.registry.put_object
    return replace(
        manifest,
        provenance=keep(canonical(statement(manifest, run=run))),
        bom=keep(canonical(bill(manifest, run=run))),
    )
