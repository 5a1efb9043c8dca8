"""End a night: its report, then one event in the line's history, then what the dashboard shows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from everlearn.canonical_json import canonical
from everlearn.cycle.record import End, cycle_key
from everlearn.domains.contract import load_domain
from everlearn.errors import StaleParentError
from everlearn.ladder.tree import point_of
from everlearn.registry.bill_of_materials import bill, licence_of
from everlearn.registry.connect import open_patiently, open_registry, open_store
from everlearn.registry.manifest import Manifest, ObjectRef
from everlearn.registry.provenance import BuildRun, commit_of, statement
from everlearn.registry.versions import EventKind
from everlearn.reporting.night_record import IngestCounts, NightRecord, rates_by_size
from everlearn.reporting.report import gate_rows, headline, plain, render, summary_markdown
from everlearn.storage.objects import object_key
from tasks.artifact import artifact_key
from tasks.gate import decision_of, files_of, may_publish, pairs_of, sizes_of, skill_of
from tasks.ingest import load_counts
from tasks.learn import ladder_of, load_suites, roots_of
from tasks.night import Night, clocked, step_task, times_of
from tasks.open import end_night, inputs_of

if TYPE_CHECKING:
    from everlearn.gate.decision import Decision
    from everlearn.settings import Settings
    from tasks.ingest import ClaimedSnapshot

ACTOR = "night"
SHOWN = 50
ENDS = {"PASS": End.PUBLISHED, "FAIL": End.REJECTED, "INSUFFICIENT": End.INSUFFICIENT}
KINDS = {End.REJECTED: EventKind.REJECTED, End.INSUFFICIENT: EventKind.INSUFFICIENT}


@step_task
def write_report(night: Night) -> str:
    """The night as one HTML page, kept as an object; its digest."""
    with clocked(night, "report") as work:
        if not work.has("report"):
            record = record_of(night)
            page = night.registry.put_object(render(record).encode())
            work.put("record", record.to_json().encode())
            work.put("report", json.dumps({"digest": page.digest, "size": page.size}).encode())
        return report_of(night).digest


@step_task
def publish_night(night: Night, outcome: str) -> dict[str, str | None]:
    """One event: a version that becomes the champion, or the verdict that there is none."""
    end, decision = ENDS[outcome], decision_of(night)
    reason, version = reason_of(decision), None
    if may_publish(outcome):
        try:
            champion = not night.settings.gate.require_approval
            version = night.registry.publish(
                _manifest(night), make_champion=champion, actor=ACTOR, reason=reason
            ).version
        except StaleParentError:
            end_night(night, None)
            raise
    else:
        detail = {"report": report_of(night).digest, "decision": decision.to_dict(), "metrics": spent_on(night)}
        night.registry.record(KINDS[end], cycle_key=night.key, reason=reason, actor=ACTOR, detail=detail)
    return {
        "end": str(end), "version": version, "reason": reason, "cycle_key": night.key, "report": report_of(night).digest,
    }  # fmt: skip


@step_task
def close_night(night: Night, end: str) -> None:
    """Let the next night begin. Last of all, so that a run that is cut short before it ends the same way again."""
    end_night(night, End(end))


@step_task
def record_nothing_to_learn(night: Night) -> dict[str, str | None]:
    """All that is new is needed to measure: the gate could not tell. The problems stay available to the next night."""
    reason = "every new problem is held out or kin to a suite item, so there is nothing to learn from; bring more"
    detail = {"data_digest": night.inputs.data_digest}
    night.registry.record(EventKind.INSUFFICIENT, cycle_key=night.key, reason=reason, actor=ACTOR, detail=detail)
    return {"end": str(End.INSUFFICIENT), "version": None, "reason": reason, "cycle_key": night.key, "report": None}


@step_task
def record_no_new_data(settings: Settings, claim: ClaimedSnapshot) -> dict[str, str | None]:
    """The night found nothing that no other had seen: that is an event, too."""
    key = cycle_key(inputs_of(settings, data_digest=claim.data_digest))
    reason = "no problem that an earlier published night has not seen"
    open_registry(settings).record(
        EventKind.NO_NEW_DATA, cycle_key=key, reason=reason, actor=ACTOR, detail={"data_digest": claim.data_digest}
    )
    return {"end": str(End.NO_NEW_DATA), "version": None, "reason": reason, "cycle_key": key, "report": None}


@step_task
def show_night(night: Night) -> None:
    """The artifacts of the run: summary, gate table, link to the report."""
    record = NightRecord.from_json(night.work.get("record"))
    create_markdown_artifact(
        key=artifact_key("night", line=night.line), markdown=summary_markdown(record), description=headline(record)
    )
    create_table_artifact(
        key=artifact_key("gate", line=night.line),
        table=gate_rows(decision_of(night)),
        description="What the gate measured",
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
    """The newest events of the line, as a table in the dashboard that is always the same one."""
    line, store = settings.store.line, open_patiently(settings.store)
    state = open_registry(settings, store=store).state()
    rows = [
        f"| {event.sequence} | {event.at:%Y-%m-%d %H:%M} | {plain(event.sentence)} | {plain(event.actor)} |"
        for event in reversed(state.history[-SHOWN:])
    ]
    head = f"**{state.champion or 'The base model'}** serves line {line}.\n\n| # | when (UTC) | what and why | who |\n"
    create_markdown_artifact(
        key=artifact_key("history", line=line),
        markdown=head + "| --- | --- | --- | --- |\n" + "\n".join(rows),
        description=f"What happened to line {line}",
    )


def record_of(night: Night) -> NightRecord:
    """Everything that the report shows."""
    work, decision, suites = night.work, decision_of(night), load_suites(night)
    ladder, domain = ladder_of(work, "ladder after"), load_domain(night.settings.domain)
    counts: dict[str, Any] = load_counts(night.store, night.line, night.inputs.data_digest)
    _, held_out = roots_of(night)
    end = ENDS[decision.outcome]
    sizes = sizes_of(night, suites)
    curve = tuple(point_of(point) for point in json.loads(work.get("curve")))
    return NightRecord(
        line=night.line,
        end=str(end),
        started=datetime.fromisoformat(night.started),
        cycle_key=night.key,
        version=night.registry.state().next_version if end is End.PUBLISHED else None,
        parent=night.inputs.parent,
        decision=decision,
        ladder=tuple(ladder.rungs.values()),
        sizes={rung.digest: domain.size(rung.statement) for rung in ladder.rungs.values()},
        refused={name: count for name, count in ladder.counts.items() if name not in {"accepted", "root"}},
        curves=curve,
        notes=tuple(f"The training stopped itself after step {p.step}: {p.stopped}." for p in curve if p.stopped),
        rates=rates_by_size(pairs_of(night, "parent", "parent"), sizes=sizes),
        steps=times_of(work),
        ingest=IngestCounts(
            accepted=counts["accepted"], duplicates=counts["duplicates"], held_out=len(held_out),
            quarantined=counts["quarantined"],
        ),
    )  # fmt: skip


def spent_on(night: Night) -> dict[str, float]:
    """What each step took, as it is kept for as long as the line: the work of the night itself is not."""
    steps = times_of(night.work)
    cpu = {f"cpu_seconds/{step.name}": step.cpu_seconds for step in steps}
    return cpu | {f"seconds/{step.name}": step.seconds for step in steps}


def reason_of(decision: Decision) -> str:
    """The sentence for the history: what improved, or what was in the way."""
    improved = [row for row in decision.rows if row.p_value is not None and decision.passed]
    return f"{improved[0].suite} {improved[0].sentence}" if improved else decision.reasons[0]


def report_of(night: Night) -> ObjectRef:
    """The report's object."""
    return ObjectRef(**json.loads(night.work.get("report")))


def run_of(night: Night) -> BuildRun:
    """What is told of the night in provenance and bill of materials, beside its manifest."""
    parent, card = night.inputs.parent, night.settings.base.path / "README.md"
    return BuildRun(
        line=night.line,
        started=datetime.fromisoformat(night.started),
        parent_manifest=night.registry.resolve(parent).manifest if parent else None,
        commit=commit_of(Path(__file__)),
        licence=licence_of(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None,
    )


def _manifest(night: Night) -> Manifest:
    decision, work = decision_of(night), night.work
    if not work.has("created"):
        work.put("created", datetime.now(tz=UTC).isoformat().encode())
    made = Manifest(
        files=files_of(night), base_fingerprint=night.inputs.base_fingerprint, parent=night.inputs.parent,
        cycle_key=night.key, data_digest=night.inputs.data_digest, config=night.settings.model_dump(mode="json"),
        code_version=night.inputs.code_version, created=datetime.fromisoformat(work.get("created").decode()),
        metrics={"skill": skill_of(decision), **spent_on(night)}, decision=decision.to_dict(), report=report_of(night),
    )  # fmt: skip
    run, keep = run_of(night), night.registry.put_object
    return replace(
        made,
        provenance=keep(canonical(statement(made, run=run))),
        bom=keep(canonical(bill(made, run=run))),
    )
