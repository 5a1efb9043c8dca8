"""A line with every kind of event: nights of every result, rollbacks, a promotion, and one open night."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.record import open_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.gate.decision import Against, Check, Decision, PairedSuite, SuiteKind, judge
from everlearn.ladder.tree import CurvePoint, Rung
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.registry.versions import EventKind, Registry
from everlearn.reporting.night_record import IngestCounts, NightRecord, SizeRate, StepTime, rates_by_size
from everlearn.reporting.report import render
from everlearn.reporting.transfer import MeasuredNight, transfer
from everlearn.settings import GateSettings
from tests.support.line import SIGNER, VERIFIER, candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.storage.protocol import Store

EVIL = "<script>alert(1)</script>"
STEPS = {"ingest": 4, "ladder": 95, "train": 240, "measure": 70, "fresh process": 17, "recheck": 6, "gate": 1}


@dataclass(slots=True)
class Calendar:
    """A clock that advances a minute per call and a day per night."""

    now: datetime = datetime(2026, 10, 28, 2, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now

    def sleep(self) -> None:
        """Advance to the next night."""
        self.now = (self.now + timedelta(days=1)).replace(hour=2, minute=10)


@dataclass(slots=True)
class Eventful:
    """Builds the history of a line, one night per call."""

    store: Store
    line: str = "integration"
    items: int = 300
    calendar: Calendar = field(default_factory=Calendar)
    count: int = 0
    measured: dict[str | None, tuple[MeasuredNight, ...]] = field(default_factory=dict)

    @property
    def registry(self) -> Registry:
        return Registry(self.store, self.line, clock=self.calendar, signer=SIGNER, verifier=VERIFIER)

    def night(
        self,
        *,
        target: tuple[float, float],
        skills: dict[str, tuple[float, float]],
        champion: bool = True,
        work: bool = True,
        metrics: bool = True,
    ) -> Decision:
        """Run a night with these pass rates (before, after); skills are (base, after). The gate decides its result."""
        self.calendar.sleep()
        self.count += 1
        registry, state = self.registry, self.registry.state()
        decision, rates = self._judged(target, skills, first=state.champion is None)
        manifest = candidate(registry, f"night {self.count}", parent=state.champion)
        measured_so_far = (*self.measured.get(state.champion, ()), MeasuredNight(rows=decision.rows))
        kept = transfer(measured_so_far)
        assert kept is not None
        record = replace(self._record(decision, manifest.cycle_key, state.champion), rates=rates, transfer=kept)
        if work:
            workspace = Workspace(self.store, self.line, manifest.cycle_key, token=1)
            workspace.fence()
            workspace.put("record", record.to_json().encode())
        spent = {f"cpu_seconds/{step.name}": step.cpu_seconds for step in record.steps}
        spent |= {f"seconds/{step.name}": step.seconds for step in record.steps}
        spent |= kept.metrics()
        page = registry.put_object(render(record).encode())
        reason = f"target {target[0]:.1%} to {target[1]:.1%}" if decision.passed else decision.reasons[0]
        if decision.passed:
            manifest = replace(manifest, decision=decision.to_dict(), metrics=spent if metrics else {}, report=page)
            entry = registry.publish(manifest, make_champion=champion, actor="night", reason=reason)
            self.measured[entry.version] = measured_so_far
        else:
            kind = EventKind.REJECTED if decision.outcome == "FAIL" else EventKind.INSUFFICIENT
            detail = {"decision": decision.to_dict(), "report": page.digest} | ({"metrics": spent} if metrics else {})
            registry.record(kind, cycle_key=manifest.cycle_key, reason=reason, actor="night", detail=detail)
        return decision

    def quiet(self) -> None:
        """Run a night without new data."""
        self.calendar.sleep()
        self.count += 1
        key = digest_of(f"cycle night {self.count}".encode())
        reason = "no problem that an earlier published night has not seen"
        self.registry.record(EventKind.NO_NEW_DATA, cycle_key=key, reason=reason, actor="night", detail={})

    def open(self) -> None:
        """Open a night and leave it unfinished."""
        inputs = CycleInputs(
            data_digest="d",
            config_digest="c",
            parent=self.registry.state().champion,
            base_fingerprint="b",
            code_version="0.1.0",
        )
        opened = open_cycle(self.store, self.line, inputs, clock=self.calendar)
        work = Workspace(self.store, self.line, opened.key, token=1)
        work.fence()
        for step in ("ingest", "ladder"):
            work.put(f"time/{step}", b"{}")

    def _judged(
        self, target: tuple[float, float], skills: dict[str, tuple[float, float]], *, first: bool
    ) -> tuple[Decision, tuple[SizeRate, ...]]:
        draw = random.Random(self.count)
        hard = paired("target", SuiteKind.TARGET, target, n=200, draw=draw)
        pairs = [hard]
        for name, (base, after) in skills.items():
            old = paired(name, SuiteKind.SKILL, (base, after), n=self.items, draw=draw)
            pairs += [old] if first else [replace(old, before=old.after), replace(old, against=Against.BASE)]
        sizes = {f"target {number}": 4 + number % 6 for number in range(200)}
        checks = [Check(name="bytes", passed=True, sentence="the uploaded files are those that were measured")]
        decision = judge(pairs, settings=GateSettings(skill_margin=0.03, widest_margin=0.05), checks=checks)
        return decision, rates_by_size([hard], sizes=sizes)

    def _record(self, decision: Decision, key: str, parent: str | None) -> NightRecord:
        draw = random.Random(self.count)
        ends = {"PASS": "PUBLISHED", "FAIL": "REJECTED", "INSUFFICIENT": "INSUFFICIENT"}
        state = self.registry.state()
        rungs = tuple(ladder(draw))
        times = {name: seconds * draw.uniform(0.7, 1.3) for name, seconds in STEPS.items()}
        return NightRecord(
            line=self.line,
            end=ends[decision.outcome],
            started=self.calendar.now,
            cycle_key=key,
            version=state.next_version if decision.passed else None,
            parent=parent,
            decision=decision,
            ladder=rungs,
            sizes={rung.digest: rung.statement.count("+") + 1 for rung in rungs},
            refused={"duplicate": 8, "leak": 38},
            curves=tuple(point(step, draw) for step in range(1, 25)),
            steps=tuple(
                StepTime(name=name, seconds=seconds * 1.2, cpu_seconds=seconds) for name, seconds in times.items()
            ),
            ingest=IngestCounts(accepted=220, duplicates=6, held_out=31, quarantined={"grammar": 4}),
        )


def paired(name: str, kind: SuiteKind, shares: tuple[float, float], *, n: int, draw: random.Random) -> PairedSuite:
    """Return a suite of n items with these shares correct before and after, mostly the same items."""
    order = draw.sample(range(n), n)
    before, after = (
        tuple(measured(name, number, right=order[number] < share * n) for number in range(n)) for share in shares
    )
    return PairedSuite(suite=name, kind=kind, before=before, after=after)


def measured(name: str, number: int, *, right: bool) -> Measurement:
    """Return the measurement of one item."""
    ruling = Ruling.CORRECT if right else Ruling.WRONG
    item = f"{name} {number}"
    return Measurement(item=item, root=item, verdict=Verdict(ruling=ruling, reason=""), answer="")


def ladder(draw: random.Random, *, roots: int = 6) -> Sequence[Rung]:
    """Return roots of nine terms, each with a chain of easier variants."""
    made = []
    for root in range(roots):
        terms = [
            f"{draw.randint(2, 9)}*{draw.choice(['x^2', 'sin(x)', 'exp(2*x)', 'cos(3*x)', 'x*exp(x)'])}"
            for _ in range(9)
        ]
        above: str | None = None
        for depth in range(8):
            statement = " + ".join(terms[: 9 - depth])
            name = digest_of(f"{root} {depth} {statement}".encode())
            before = min(8, max(0, depth - 2 + draw.randint(-1, 1)))
            made.append(
                Rung(
                    digest=name,
                    statement=statement,
                    parent=above,
                    depth=depth,
                    move="drop a term" if depth else None,
                    rollouts=8,
                    passed=before,
                    rollouts_after=8,
                    passed_after=min(8, before + draw.randint(1, 4)),
                )
            )
            above = name
    return made


def point(step: int, draw: random.Random) -> CurvePoint:
    """Return the statistics of one training step."""
    return CurvePoint(
        step=step,
        cpu_seconds=10.0 * step,
        reward=min(1.0, 0.2 + 0.03 * step + draw.uniform(-0.05, 0.05)),
        groups_used=14,
        groups_sampled=24,
        kl=0.01,
        loss=0.1,
        pass_by_size={size: min(1.0, step / 24 + 0.9 / size) for size in range(2, 9)},
    )


def fill(store: Store, *, line: str = "integration", items: int = 300, reason: str = EVIL) -> Eventful:
    """Build two weeks of a line's history; `reason` is untrusted text in a rollback's reason."""
    made = Eventful(store=store, line=line, items=items)
    made.night(target=(0.0, 0.85), skills={"short sums": (0.99, 0.99), "powers": (0.95, 0.95)})
    made.night(target=(0.31, 0.78), skills={"short sums": (0.99, 0.985), "powers": (0.95, 0.96)})
    made.night(target=(0.42, 0.71), skills={"short sums": (0.99, 0.85), "powers": (0.95, 0.9)})
    made.night(target=(0.5, 0.52), skills={"short sums": (0.99, 0.98), "powers": (0.95, 0.96)})
    made.night(target=(0.4, 0.8), skills={"short sums": (0.99, 0.985), "powers": (0.95, 0.97)})
    made.quiet()
    made.night(target=(0.55, 0.86), skills={"short sums": (0.99, 0.98), "powers": (0.95, 0.965)}, champion=False)
    made.calendar()
    made.registry.promote("v0004", reason="looked at by hand: the long answers are right", actor="ada")
    made.night(target=(0.52, 0.9), skills={"short sums": (0.99, 0.978), "powers": (0.95, 0.975)})
    made.registry.rollback(reason="wrong signs in 3 of 40 tickets since this morning", actor="ada")
    made.night(target=(0.52, 0.83), skills={"short sums": (0.99, 0.985), "powers": (0.95, 0.98)})
    made.night(target=(0.61, 0.63), skills={"short sums": (0.99, 0.982), "powers": (0.95, 0.98)}, metrics=False)
    made.night(target=(0.6, 0.91), skills={"short sums": (0.99, 0.98), "powers": (0.95, 0.985)})
    made.registry.rollback("v0003", reason=f"a customer saw {reason} in an answer", actor="grace", keep=True)
    made.night(
        target=(0.45, 0.88),
        skills={"short sums": (0.99, 0.985), "powers": (0.95, 0.98), "logs": (0.9, 0.92)},
        work=False,
    )
    made.open()
    return made
