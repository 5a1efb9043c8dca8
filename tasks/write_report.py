"""Write the report of a night: one HTML page, and the data that it was rendered from."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from everlearn.cycle.record import End
from everlearn.data.snapshot_store import load_counts
from everlearn.data.suites import of_domain
from everlearn.domains.contract import load_domain
from everlearn.domains.exact_proofs import prove_answers
from everlearn.gate.consequences import END_OF
from everlearn.ladder.tree import point_of
from everlearn.registry.base_identity import describe_base
from everlearn.registry.manifest import ObjectRef
from everlearn.reporting.context_comparison import context_rows
from everlearn.reporting.costs import cost_notes, retraining_notes, step_money
from everlearn.reporting.night_record import (
    IngestCounts,
    NightRecord,
    SolvedItem,
    domain_notes,
    item_sizes,
    ladder_notes,
    newly_solved,
    rates_by_size,
    refused_proposals,
    rung_sizes,
    steps_from_metrics,
    training_notes,
)
from everlearn.reporting.own_items import own_items
from everlearn.reporting.report import render
from tasks.certificate import certificate_notes
from tasks.compare_with_ancestors import ancestors_of, transfer_of
from tasks.compare_with_context import notes_about_context, results_in_context
from tasks.decide import decision_of, pseudo_metrics
from tasks.freeze_suites import item_metrics, load_suites, roots_of
from tasks.measure import pairs_of
from tasks.night import as_json, step_task, timed_step, times_of
from tasks.train import ladder_of

if TYPE_CHECKING:
    from everlearn.registry.manifest import Manifest
    from everlearn.reporting.night_record import StepTime
    from tasks.night import Night


PROVED_ITEMS = 5


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


def record_of(night: Night) -> NightRecord:
    """Return the data of the night's report."""
    work, decision = night.work, decision_of(night)
    ladder, domain = ladder_of(work, "ladder after"), load_domain(night.settings.domain)
    curve = tuple(point_of(point) for point in json.loads(work.get("curve")))
    end = END_OF[decision.outcome]
    steps, prices, ancestors = times_of(work), night.settings.prices, list(ancestors_of(night))
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
        notes=(
            *certificate_notes(night.settings),
            *domain_notes(domain),
            *supervised_notes(night),
            *pseudo_notes(night),
            *ladder_notes(ladder),
            *training_notes(curve),
            *notes_about_context(night),
            *cost_notes(steps, decision, prices=prices),
            *retraining_notes(steps, list(map(_steps_of, ancestors)), prices=prices),
        ),
        rates=rates_by_size(
            pairs_of(night, "parent", "parent"),
            sizes=item_sizes(of_domain(load_suites(night), domain.name), domain=domain),
        ),
        steps=steps,
        money=step_money(steps, prices),
        currency=prices.currency,
        contexts=context_rows(results_in_context(night)),
        ingest=_ingest_counts(night),
        solved=_solved_items(night),
        own_items=own_items(item_metrics(night)),
        policy=policy_of(night),
        base=describe_base(night.settings.model_dump(mode="json")),
        transfer=transfer_of(night, ancestors),
    )


def supervised_notes(night: Night) -> tuple[str, ...]:
    """Return a sentence about the reference answers that were learned; none where the settings asked for none."""
    if not night.work.has("schooling"):
        return ()
    facts = json.loads(night.work.get("schooling"))
    used, refused, losses = facts["used"], facts["refused"], facts["losses"]
    fell = f", from {losses[0]:.3f} to {losses[-1]:.3f} nats a token" if losses else ""
    return (
        f"Supervised first: {used} reference answers were learned{fell}; {refused} were not judged right, or too long.",
    )


def pseudo_notes(night: Night) -> tuple[str, ...]:
    """Return a sentence about rewarded answers that no verifier has judged; none where there are none."""
    return tuple(
        f"Rewarded by pseudo-labels: {count:.0f} answers to variants that only a reference could judge, each what at least "
        f"{night.settings.learn.pseudo_labels or 1:.0%} of its group agreed on, as set (learn.pseudo_labels). No verifier has judged "
        "them; no pass rate, suite or check counts them."
        for count in pseudo_metrics(night).values()
    )


def _steps_of(ancestor: Manifest | None) -> tuple[StepTime, ...]:
    return steps_from_metrics(ancestor.metrics) if ancestor else ()


def report_of(night: Night) -> ObjectRef:
    """Return the report's object."""
    return ObjectRef(**json.loads(night.work.get("report")))


def policy_of(night: Night) -> str | None:
    """Return which policy trained and why. None where an older revision trained."""
    return night.work.get("policy").decode() if night.work.has("policy") else None


def _solved_items(night: Night) -> tuple[SolvedItem, ...]:
    """Return newly solved target items with exact proofs. Kept under `proofs`: a time limit makes them irreproducible."""
    work = night.work
    if not work.has("proofs"):
        asked = {suite.name: {item.id: item for item in suite.problems} for suite in load_suites(night)}
        pairs = [
            (asked[pair.suite][measured.item], measured.answer)
            for pair in pairs_of(night, "parent", "parent")
            for measured in newly_solved([pair], limit=PROVED_ITEMS)
        ][:PROVED_ITEMS]
        proofs = prove_answers(night.settings.domain, pairs)
        items = [
            {"statement": problem.statement, "answer": answer, "status": proof.status, "canonical": proof.canonical}
            | {"derivative": proof.derivative, "difference": proof.difference}
            for (problem, answer), proof in zip(pairs, proofs, strict=True)
        ]
        work.put("proofs", as_json(items))
    return tuple(SolvedItem(**item) for item in json.loads(work.get("proofs")))


def _ingest_counts(night: Night) -> IngestCounts:
    counts: dict[str, Any] = load_counts(night.store, night.line, night.inputs.data_digest)
    _, held_out = roots_of(night)
    return IngestCounts(
        accepted=counts["accepted"],
        duplicates=counts["duplicates"],
        held_out=len(held_out),
        quarantined=counts["quarantined"],
    )
