"""Decide about a candidate: re-check every rewarded answer, choose the baselines, and run the gate."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from everlearn import counters
from everlearn.domains.contract import load_domain
from everlearn.domains.pool import second_judgement
from everlearn.gate.baselines import Baseline, choose_baselines, eligible_versions, shares_of
from everlearn.gate.checks import run_checks
from everlearn.gate.decision_of_line import judge_by_line
from everlearn.gate.decision_record import Against, Decision, SuiteRow
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.problem import Ruling
from everlearn.training.job import PSEUDO
from tasks.compare_with_record import guards_of
from tasks.freeze_suites import load_suites, roots_of
from tasks.measure import CANDIDATE, has_guards, pairs_of
from tasks.night import LOG, as_json, step_task, timed_step
from tasks.progress import progress
from tasks.train import reservoir_before

if TYPE_CHECKING:
    from everlearn.cycle.workspace import Workspace
    from everlearn.domains.contract import Domain
    from everlearn.registry.manifest import ObjectRef
    from tasks.night import Night

PSEUDO_METRIC = "rewards/pseudo-labelled"
AT_ONCE = 64
"""Answers that are judged a second time between two reports of progress."""


@step_task
def recheck_rewards(night: Night) -> None:
    """Judge every rewarded answer of the night again by the domain's independent method, if it has one.

    Integration's is a judgement at 50 digits. Answers that a pseudo-label rewarded are counted apart.
    """
    with timed_step(night, "recheck") as work:
        if work.has("check/rewards"):
            return
        every = [json.loads(line) for line in work.get("rewarded").decode().splitlines()]
        rows = [row for row in every if PSEUDO not in row]
        answers = sorted({(row["statement"], row["answer"]) for row in rows})
        domain = load_domain(night.settings.domain)
        report: dict[str, Any] = {"rewarded": len(rows), "checked": len(answers) if domain.has_recheck else 0}
        doubted = _recheck(night, answers, domain=domain) if domain.has_recheck else []
        if len(rows) < len(every):
            report["pseudo"] = len(every) - len(rows)
        if not domain.has_recheck:
            report["no_recheck"] = domain.name
        report["wrong"] = [row for row in doubted if row["ruling"].is_not_right]
        report["undecided"] = [row for row in doubted if row["ruling"] is Ruling.UNDECIDED]
        work.put("check/rewards", as_json(report))


@step_task
def name_baselines(night: Night) -> tuple[Baseline, ...]:
    """Return the policies to compare with besides the parent. Chosen once, since they are measured before they are used."""
    work = night.work
    if night.inputs.parent is None or has_guards(night):
        return ()
    if not work.has("baselines"):
        has_measured = work.has("check/bytes")  # by an older revision, which compared on every suite
        chosen = _measured_baselines(work) if has_measured else _choose_baselines(night)
        work.put("baselines", as_json([asdict(baseline) for baseline in chosen]))
    return tuple(_baseline(row) for row in json.loads(work.get("baselines")))


@step_task
def decide(night: Night, baselines: tuple[Baseline, ...]) -> str:
    """Weigh suites and checks together. Return the outcome. `baselines` are compared besides the parent."""
    with timed_step(night, "gate") as work:
        if not work.has("decision"):
            compared = (Baseline(against=Against.PARENT, policy="parent"), *baselines)
            pairs = [pair for each in compared for pair in pairs_of(night, each.policy, each.against, each.suites)]
            checks = run_checks(json.loads(work.get("check/bytes")), json.loads(work.get("check/rewards")))
            evidence = StoredEvidence(
                pairs=tuple(pairs),
                guards=tuple(guards_of(night)),
                checks=tuple(checks),
                settings=night.settings.gate,
                base=_base_of(night, baselines),
            )
            work.put("evidence", evidence.to_json())
            decision = judge_by_line(evidence, night.registry.state().history, registry=night.registry)
            work.put("decision", decision.to_json().encode())
        decision = decision_of(night)
        log_decision(decision)
        return str(decision.outcome)


def decision_of(night: Night) -> Decision:
    """Return the stored decision of the gate."""
    return Decision.from_dict(json.loads(night.work.get("decision")))


def pseudo_metrics(night: Night) -> dict[str, float]:
    """Return how many rewarded answers no verifier has judged; nothing where there are none."""
    if night.settings.learn.pseudo_labels is None:
        return {}
    count = json.loads(night.work.get("check/rewards")).get("pseudo", 0)
    return {PSEUDO_METRIC: count} if count else {}


def evidence_of(night: Night) -> ObjectRef | None:
    """Store what the decision was made from; None where an older revision decided."""
    return night.registry.put_object(night.work.get("evidence")) if night.work.has("evidence") else None


def _base_of(night: Night, baselines: tuple[Baseline, ...]) -> Against | None:
    """Return as what the base model was measured on the target; None where it was not."""
    if night.inputs.parent is None:
        return Against.PARENT
    return Against.BASE if any(each.against is Against.BASE for each in baselines) else None


def _choose_baselines(night: Night) -> tuple[Baseline, ...]:
    registry = night.registry
    manifests = {version: registry.manifest(version) for version in eligible_versions(registry.state())}
    shares = {version: shares_of(version, manifest.decision) for version, manifest in manifests.items()}
    return choose_baselines(load_suites(night), shares, parent=night.inputs.parent)


def _measured_baselines(work: Workspace) -> tuple[Baseline, ...]:
    names = [name.removeprefix("measured/") for name in work.names() if name.startswith("measured/")]
    return tuple(
        Baseline(against=Against.BASE if name == "base" else Against.BEST, policy=name)
        for name in names
        if name not in ("parent", CANDIDATE)
    )


def _baseline(row: dict[str, Any]) -> Baseline:
    suites = None if row["suites"] is None else tuple(row["suites"])
    return Baseline(against=Against(row["against"]), policy=row["policy"], suites=suites)


def _recheck(night: Night, answers: list[tuple[str, str]], *, domain: Domain) -> list[dict[str, Any]]:
    """Return the answers that the independent check does not find correct, with its verdict."""
    # Tonight's roots last: a training judges by their references, where earlier nights had others.
    trained = (*reservoir_before(night).allowed(domain=domain, forbidden=()), *roots_of(night)[0])
    known, doubted = {problem.statement: problem for problem in trained}, []
    pairs = [(known.get(statement) or domain.stated(statement), answer) for statement, answer in answers]
    judging = second_judgement(domain.name, workers=night.settings.verifiers)
    with progress("re-checking rewards") as report_progress, judging as judge:
        for done in range(0, len(pairs), AT_ONCE):
            batch = pairs[done : done + AT_ONCE]
            for (problem, answer), verdict in zip(batch, judge(batch), strict=True):
                if not verdict.is_correct:
                    doubted.append({"statement": problem.statement, "answer": answer, **asdict(verdict)})
            counters.increment("verdicts", by=len(batch))
            report_progress(done + len(batch), len(pairs))
    return doubted


def log_decision(decision: Decision) -> None:
    """Log each comparison, what the decision does not cover, and the outcome."""
    for row in decision.all_rows:
        _log_row(row)
    for warning in decision.warnings:
        LOG.warning("gate: %s", warning)
    LOG.info("gate: %s", decision.outcome)


def _log_row(row: SuiteRow) -> None:
    shares = f"{100 * row.before:.1f} % to {100 * row.after:.1f} %"
    size = f"margin {100 * row.margin:.1f} points at power {100 * row.power:.0f} %"
    LOG.info(
        "gate: %s against the %s, n = %d: %s, %s: %s, %s",
        row.suite,
        row.against,
        row.n,
        shares,
        size,
        row.outcome,
        row.sentence,
    )
