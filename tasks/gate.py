"""Prove the candidate: its very bytes, loaded afresh; parent and candidate on the same suites; every reward re-checked."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn import counters
from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError
from everlearn.gate.decision import Against, Check, Decision, Outcome
from everlearn.gate.evidence import Paired
from everlearn.gate.judgement import judge
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.registry.adapter_files import check_directory
from everlearn.registry.manifest import ObjectRef
from tasks.learn import load_suites
from tasks.night import LOG, as_json, clocked, step_task
from tasks.progress import progress

if TYPE_CHECKING:
    from everlearn.data.suites import Suite
    from tasks.night import Night

PROBES = 12
CANDIDATE = "candidate"


@step_task
def upload_candidate(night: Night) -> dict[str, str]:
    """The adapter's files as objects that nothing refers to yet; their digests by name."""
    with clocked(night, "upload") as work:
        if not work.has("files"):
            with tempfile.TemporaryDirectory() as folder:
                check_directory(work.get_tree("trained", Path(folder)))
                refs = {path.name: night.registry.put_file(path) for path in sorted(Path(folder).iterdir())}
            work.put("files", json.dumps({name: asdict(ref) for name, ref in refs.items()}).encode())
        return {name: ref.digest for name, ref in files_of(night).items()}


@step_task
def measure_suites(night: Night, who: str) -> None:
    """Answers of one policy (candidate, parent, base, or a version) to every item of every suite."""
    from everlearn.training.evaluation import measure  # imports torch

    name = f"measured/{who}"
    with clocked(night, f"measure {who}") as work, tempfile.TemporaryDirectory() as folder:
        if work.has(name):
            return
        adapter = adapter_of(night, who, Path(folder) / "adapter")
        for suite in load_suites(night):
            with progress(f"{who} on {suite.name}") as tell:
                found = measure(
                    night.settings.base.path, adapter, suite.problems, seed=night.settings.learn.seed,
                    threads=night.settings.threads, verifiers=night.settings.verifiers, progress=tell,
                )  # fmt: skip
            out = Path(folder) / "out" / f"{suite.name}.jsonl"
            out.parent.mkdir(exist_ok=True)
            out.write_text("".join(json.dumps(asdict(each)) + "\n" for each in found), encoding="utf-8")
        work.put_tree(name, Path(folder) / "out")


@step_task
def check_bytes(night: Night) -> None:
    """Load exactly the uploaded bytes in a fresh process, as a consumer would, against probes of what was trained."""
    with clocked(night, "fresh process") as work:
        if work.has("check/bytes"):
            return
        from everlearn.training.fresh_process import probe  # imports torch

        with tempfile.TemporaryDirectory() as folder:
            trained, base = work.get_tree("trained", Path(folder) / "trained"), night.settings.base.path
            problems = [problem for suite in load_suites(night) for problem in suite.problems[:PROBES]]
            probes = probe(base, trained, problems, domain=load_domain(night.settings.domain), seed=night.settings.learn.seed,
                           threads=night.settings.threads)  # fmt: skip
            asked = Path(folder) / "probes.jsonl"
            asked.write_text("".join(json.dumps(asdict(each)) + "\n" for each in probes))
            adapter = adapter_of(night, CANDIDATE, Path(folder) / "published")
            command = [
                sys.executable,
                "-m",
                "everlearn.training.fresh_process",
                str(base.absolute()),
                str(adapter),
                str(asked),
            ]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode < 0:
            raise ModelError(f"the fresh process was killed (signal {-done.returncode}); run the same command again")
        told = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failed": done.stderr[-2000:]}
        work.put("check/bytes", as_json(told))


@step_task
def recheck_rewards(night: Night) -> None:
    """Judge every rewarded answer of the night again, at 50 digits and by another way."""
    with clocked(night, "recheck") as work:
        if work.has("check/rewards"):
            return
        domain = load_domain(night.settings.domain)
        lines = [json.loads(line) for line in work.get("rewarded").decode().splitlines()]
        answers = sorted({(line["statement"], line["answer"]) for line in lines})
        doubted = []
        with progress("re-checking rewards at 50 digits") as tell:
            for done, (statement, answer) in enumerate(answers, start=1):
                verdict = domain.recheck(statement, answer)
                counters.increment("verdicts")
                if not verdict.is_correct:
                    doubted.append({"statement": statement, "answer": answer, **asdict(verdict)})
                tell(done, len(answers))
        told: dict[str, Any] = {"rewarded": len(lines), "checked": len(answers)}
        for ruling in (Ruling.WRONG, Ruling.UNDECIDED):
            told[ruling.lower()] = [row for row in doubted if row["ruling"] is ruling]
        work.put("check/rewards", as_json(told))


@step_task
def decide(night: Night, opponents: tuple[tuple[str, str], ...]) -> str:
    """Weigh suites and checks together; the outcome. `opponents` are (against, who) pairs beside the parent."""
    with clocked(night, "gate") as work:
        if not work.has("decision"):
            pairs = [
                pair for against, who in (("parent", "parent"), *opponents) for pair in pairs_of(night, who, against)
            ]
            decision = judge(pairs, settings=night.settings.gate, checks=_checks(night))
            work.put("decision", decision.to_json().encode())
        decision = decision_of(night)
        for row in decision.rows:
            LOG.info(
                "gate: %s against the %s, n = %d: %.1f %% to %.1f %%, margin %.1f points at power %.0f %%: %s, %s",
                row.suite, row.against, row.n, 100 * row.before, 100 * row.after, 100 * row.margin, 100 * row.power,
                row.outcome, row.sentence,
            )  # fmt: skip
        LOG.info("gate: %s", decision.outcome)
        return str(decision.outcome)


@step_task
def name_opponents(night: Night) -> tuple[tuple[str, str], ...]:
    """Whom to compare with beside the parent, so that a slow decline is seen: the base, and the best version ever."""
    if night.inputs.parent is None:
        return ()
    registry = night.registry
    fit = [entry.version for entry in registry.state().versions.values() if not entry.barred]
    best = max(fit, key=lambda version: registry.manifest(version).metrics.get("skill", 0.0), default=None)
    others = [(Against.BASE, "base")]
    if best is not None and best != night.inputs.parent:
        others.append((Against.BEST, best))
    return tuple((str(against), who) for against, who in others)


def files_of(night: Night) -> dict[str, ObjectRef]:
    """The uploaded files of the candidate."""
    return {name: ObjectRef(**ref) for name, ref in json.loads(night.work.get("files")).items()}


def adapter_of(night: Night, who: str, to: Path) -> Path | None:
    """A policy's adapter in a directory, verified; None for the base alone."""
    if who == CANDIDATE:
        to.mkdir(parents=True)
        for name, ref in files_of(night).items():
            (to / name).write_bytes(night.registry.get_object(ref))
        return to
    version = night.inputs.parent if who == "parent" else None if who == "base" else who
    return night.registry.pull(version, to=to) if version else None


def measured(night: Night, who: str) -> dict[str, tuple[Measurement, ...]]:
    """What `measure_suites` found, by suite."""
    with tempfile.TemporaryDirectory() as folder:
        place = night.work.get_tree(f"measured/{who}", Path(folder))
        return {path.stem: tuple(_measurement(line) for line in path.read_text(encoding="utf-8").splitlines())
                for path in sorted(place.iterdir())}  # fmt: skip


def pairs_of(night: Night, who: str, against: str) -> list[Paired]:
    """Every suite, answered by `who` and by the candidate."""
    before, after = measured(night, who), measured(night, CANDIDATE)
    return [
        Paired(
            suite=suite.name,
            kind=suite.kind,
            before=before[suite.name],
            after=after[suite.name],
            against=Against(against),
        )
        for suite in load_suites(night)
    ]


def decision_of(night: Night) -> Decision:
    """What the gate said."""
    return Decision.from_dict(json.loads(night.work.get("decision")))


def skill_of(decision: Decision) -> float:
    """Mean share of the skill suites that the candidate answers correctly."""
    shares = [row.after for row in decision.rows if row.kind == "skill" and row.against is Against.PARENT]
    return sum(shares) / len(shares) if shares else 0.0


def may_publish(outcome: str) -> bool:
    """Whether the gate let the candidate pass."""
    return outcome == Outcome.PASS


def _checks(night: Night) -> list[Check]:
    work = night.work
    smoke, rewards = json.loads(work.get("check/bytes")), json.loads(work.get("check/rewards"))
    rewards_true = Check(
        name="rewards are true", passed=not rewards["wrong"],
        sentence=f"{len(rewards['wrong'])} of {rewards['checked']} different rewarded answers are false at 50 digits, "
        f"{len(rewards['undecided'])} undecided",
    )  # fmt: skip
    if "failed" in smoke:
        why = f"the uploaded bytes cannot be loaded in a fresh process: {smoke['failed'].strip().splitlines()[-1]}"
        return [Check(name="same bytes, same answers", passed=False, sentence=why), rewards_true]
    longest = 1.5 * max(smoke["length_before"], 1.0) + 8
    return [
        Check(name="same bytes, same answers", passed=smoke["same_answers"] == smoke["probes"] and smoke["worst_gap"] <= 1e-3,
              sentence=f"{smoke['same_answers']} of {smoke['probes']} answers of the uploaded bytes in a fresh process equal "
              f"the trainer's; log-probabilities within {smoke['worst_gap']:.1e} nats a token"),
        Check(name="changes the output", passed=smoke["changed"],
              sentence=f"the answers to {smoke['probes']} probes {'differ from' if smoke['changed'] else 'are'} the base's"),
        Check(name="finite", passed=smoke["finite"],
              sentence="all logits are finite" if smoke["finite"] else "there is NaN or infinity in the logits"),
        Check(name="length", passed=smoke["length_after"] <= longest,
              sentence=f"mean answer {smoke['length_after']:.0f} tokens, before {smoke['length_before']:.0f}"),
        rewards_true,
    ]  # fmt: skip


def _measurement(line: str) -> Measurement:
    plain = json.loads(line)
    verdict = Verdict(ruling=Ruling(plain["verdict"]["ruling"]), reason=plain["verdict"]["reason"])
    return Measurement(**plain | {"verdict": verdict})


def sizes_of(night: Night, suites: tuple[Suite, ...]) -> dict[str, int]:
    """The size of every suite item, by its id."""
    domain, sizes = load_domain(night.settings.domain), defaultdict(int)
    for suite in suites:
        for problem in suite.problems:
            sizes[problem.id] = domain.size(problem.statement)
    return dict(sizes)
