"""What earlier nights taught is guarded: their held-out problems are frozen, forbidden to the ladder, and measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.workspace import Workspace
from everlearn.data.memory_suite import remember
from everlearn.data.suites import SuiteKind
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.gate.baselines import Baseline
from everlearn.gate.decision_record import Against, Outcome
from everlearn.gate.record_of_line import memory_after
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from everlearn.registry.line_keys import manifest_key
from everlearn.reporting.transfer import shares_in, transfer_in
from tasks import write_report
from tasks.compare_with_ancestors import ancestors_of, transfer_metrics, transfer_of
from tasks.decide import decide, decision_of, name_baselines
from tasks.freeze_suites import forbidden_keys, freeze_suites, load_suites, roots_of
from tasks.measure import measured, pairs_of
from tasks.night import hold_line
from tasks.open_night import inputs_of, open_night
from tasks.publish import publish_night
from tests.support.line import candidate
from tests.support.manifests import DECISION
from tests.support.night import stored_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from everlearn.settings import Settings
    from tasks.night import Night

DOMAIN = load_domain("integration")
TAUGHT = [f"{a}*tan({a}*x) + x^{b}" for a in range(1, 9) for b in range(2, 10)]
TONIGHT = [f"{a}*sinh({b}*x) - sqrt({a}*x + {b})" for a in range(1, 8) for b in range(1, 15)]


def publish_one(settings: Settings) -> None:
    """Publish a version whose night has left problems of a family in the memory of the line."""
    registry = open_registry(settings)
    base = inputs_of(settings, data_digest="").base_fingerprint
    made = replace(candidate(registry, "one", base=base), decision=DECISION.to_dict())
    own = [DOMAIN.problem(text) for text in TAUGHT]
    memory = remember((), own, cycle_key=made.cycle_key, domain=DOMAIN, per_night=100, total=500)
    assert memory is not None
    made = replace(made, memory=registry.put_object(memory.to_jsonl().encode()))
    registry.publish(made, make_champion=True, actor="night", reason="better")


def frozen(settings: Settings, *, problems: Iterable[str] = TONIGHT) -> Night:
    """Return a night on these problems that begins from v0001, with its suites frozen."""
    with hold_line(settings) as token:
        publish_one(settings)
        night = open_night.fn(settings, token, stored_snapshot(settings, problems))
        assert freeze_suites.fn(night)
    return night


def measure(night: Night, policy: str, folder: Path, solves: Callable[[SuiteKind], bool]) -> None:
    """Keep the answers of a policy that solves all or nothing of each kind of suite, as measuring would."""
    out = folder / policy
    out.mkdir()
    for suite in load_suites(night):
        ruling = Ruling.CORRECT if solves(suite.kind) else Ruling.WRONG
        rows = [
            Measurement(item=item.id, root=item.id, verdict=Verdict(ruling=ruling, reason=""), answer="x")
            for item in suite.problems
        ]
        text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        (out / f"{suite.name}.jsonl").write_text(text, encoding="utf-8")
    night.work.put_tree(f"measured/{policy}", out)


def judged(night: Night, folder: Path, *, remembers: bool) -> Outcome:
    """Decide about a candidate that has learned tonight's problems, and remembers those of earlier nights or does not."""
    measure(night, "base", folder, lambda kind: kind is SuiteKind.SKILL)
    measure(night, "parent", folder, lambda kind: kind in (SuiteKind.SKILL, SuiteKind.MEMORY))
    measure(night, "candidate", folder, lambda kind: kind is not SuiteKind.MEMORY or remembers)
    night.work.put("check/rewards", json.dumps({"rewarded": 1, "checked": 1, "wrong": [], "undecided": []}).encode())
    same = {"probes": 9, "worst_logprob": 0.0, "answers": [], "finite": True}
    night.work.put("check/bytes", json.dumps(same).encode())
    return Outcome(decide.fn(night, name_baselines.fn(night)))


@pytest.fixture(autouse=True)
def _no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks of the candidate's bytes: there are none, and the test is about the suites."""
    monkeypatch.setattr("tasks.decide.run_checks", lambda *_: [])


def test_a_night_that_forgets_an_earlier_family_is_not_passed(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    assert judged(night, tmp_path, remembers=False) is Outcome.FAIL
    assert any(reason.startswith("memory-v0001 against the parent: got worse") for reason in decision_of(night).reasons)


def test_a_night_that_remembers_the_earlier_family_passes(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    assert judged(night, tmp_path, remembers=True) is Outcome.PASS
    rows = {(row.suite, row.against): row.n for row in decision_of(night).rows}
    assert rows["memory-v0001", Against.PARENT] == rows["memory-v0001", Against.BASE] == len(TAUGHT)


def test_a_night_keeps_what_it_measured_of_earlier_nights(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    judged(night, tmp_path, remembers=False)
    found = transfer_of(night, list(ancestors_of(night)))
    assert found is not None
    assert (found.suites, found.nights) == (3, 2)
    assert found.average == pytest.approx(2 / 3)
    assert (found.backward, found.forgetting) == (-0.5, 0.5), "all of one of two guarded suites"
    metrics = transfer_metrics(night)
    assert transfer_in(metrics) == found
    assert shares_in(metrics) == {"memory-v0001": (1.0, 0.0)}


def test_an_ancestor_that_cannot_be_read_is_passed_over(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    judged(night, tmp_path, remembers=True)
    [manifest] = [each for each in ancestors_of(night) if each]
    undecided = replace(manifest, decision={"outcome": "of another release"})
    assert transfer_of(night, [undecided]) == transfer_of(night, [manifest])
    night.store.delete(manifest_key(night.line, night.registry.resolve("v0001").manifest))
    assert list(ancestors_of(replace(night))) == [None], "read afresh"
    found = transfer_of(night, [None])
    assert found is not None
    assert (found.nights, found.backward) == (1, 0.0)


def test_problems_in_memory_are_forbidden_to_later_ladders(settings: Settings, tmp_path: Path) -> None:
    ingest = settings.ingest.model_copy(update={"min_target_items": 160})
    asking = settings.model_copy(update={"ingest": ingest})
    night = frozen(asking, problems=[*TONIGHT, *(f"7*({text})" for text in TAUGHT)])
    taught = {DOMAIN.equivalence(text) for text in TAUGHT}
    assert taught <= forbidden_keys(night)
    roots, _ = roots_of(night)
    assert not taught & {DOMAIN.equivalence(root.statement) for root in roots}
    fillers = [item for suite in load_suites(night) if suite.kind is SuiteKind.GENERATED for item in suite.problems]
    assert fillers
    assert not taught & {DOMAIN.equivalence(item.statement) for item in fillers}


def test_a_published_night_adds_its_held_out_problems(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    own = next(suite for suite in load_suites(night) if suite.kind is SuiteKind.TARGET)
    registry = open_registry(settings)
    two = candidate(registry, "two", report=True)
    night.work.put("files", json.dumps({name: asdict(ref) for name, ref in two.files.items()}).encode())
    night.work.put("report", json.dumps(asdict(two.report) if two.report else {}).encode())
    night.work.put("decision", DECISION.to_json().encode())
    night.work.put("policy", b"hub policy: transformers in bfloat16 on cuda:0 (on a GPU)")
    ended = publish_night.fn(night, "PASS")
    assert publish_night.fn(night, "PASS") == ended, "as after a crash before the night is closed"
    assert registry.manifest("v0002").policy == "hub policy: transformers in bfloat16 on cuda:0 (on a GPU)"
    memory = registry.manifest("v0002").memory
    assert memory is not None
    lines = [json.loads(line) for line in registry.get_object(memory).decode().splitlines()[1:]]
    assert len(lines) == len(TAUGHT) + len(own.problems)
    assert {line["statement"] for line in lines} == {*TAUGHT, *(item.statement for item in own.problems)}


def test_a_shipped_target_with_the_ids_of_new_rows_does_not_enter_the_memory(
    settings: Settings, tmp_path: Path
) -> None:
    lines = [{"id": f"p{number}", "problem": f"{number + 2}*cosh(x) - log(x)"} for number in range(len(TONIGHT))]
    shipped = tmp_path / "data" / "suites" / "hard.jsonl"
    shipped.write_text("".join(json.dumps(line) + "\n" for line in lines))
    night = frozen(settings)
    made = candidate(night.registry, "two", report=True)
    night.work.put("files", json.dumps({name: asdict(ref) for name, ref in made.files.items()}).encode())
    night.work.put("report", json.dumps(asdict(made.report) if made.report else {}).encode())
    night.work.put("decision", DECISION.to_json().encode())
    publish_night.fn(night, "PASS")
    own = next(suite for suite in load_suites(night) if suite.name == "target")
    memory = memory_after("v0002", night.registry)
    assert memory is not None
    assert {item.statement for item in memory.problems} == {*TAUGHT, *(item.statement for item in own.problems)}


def test_a_report_shows_each_answer_with_the_problem_of_its_own_suite(settings: Settings, tmp_path: Path) -> None:
    lines = [{"id": f"p{number}", "problem": f"{number + 2}*cosh(x) - log(x)"} for number in range(len(TONIGHT))]
    shipped = tmp_path / "data" / "suites" / "hard.jsonl"
    shipped.write_text("".join(json.dumps(line) + "\n" for line in lines))
    night = frozen(settings)
    measure(night, "parent", tmp_path, lambda _: False)
    measure(night, "candidate", tmp_path, lambda _: True)
    shown = write_report._solved_items(night)
    assert len(shown) == write_report.PROVED_ITEMS
    assert {item.statement for item in shown} <= {line["problem"] for line in lines}, "its answers come first"


def test_the_history_says_what_guards_the_line(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    freeze_suites.fn(night)
    registry = open_registry(settings)
    [event] = [event for event in registry.state().history if event.kind is EventKind.SUITE_CHANGED]
    assert event.actor == "night"
    assert f"memory-v0001 added ({len(TAUGHT)} items)" in event.reason
    guarding = {suite.name: suite for suite in load_suites(night) if not suite.kind.is_of_tonight}
    assert {name: suite.digest for name, suite in registry.state().suites.items()} == {
        name: suite.digest for name, suite in guarding.items()
    }
    assert (
        registry.get_object(registry.state().suites["memory-v0001"].ref).decode() == guarding["memory-v0001"].to_jsonl()
    )


def test_no_memory_is_kept_where_it_is_switched_off(settings: Settings, tmp_path: Path) -> None:
    gate = settings.gate.model_copy(update={"memory_items": 0})
    night = frozen(settings.model_copy(update={"gate": gate}))
    assert SuiteKind.MEMORY not in {suite.kind for suite in load_suites(night)}


def test_a_suite_may_not_have_the_name_of_a_nights_own(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data" / "suites" / "own.jsonl").write_text(
        '{"suite": "memory-v0001", "kind": "skill"}\n{"problem": "x"}\n'
    )
    with pytest.raises(BadInputError, match="'memory-v0001', as a night names its own suites; rename it"):
        frozen(settings)


def test_baselines_are_chosen_once(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    assert name_baselines.fn(night) == (Baseline(against=Against.BASE, policy="base"),)
    stored = [{"against": "best", "policy": "v0001", "suites": ["short"]}]
    night.work.put("baselines", json.dumps(stored).encode())
    [best] = name_baselines.fn(night)
    measure(night, "v0001", tmp_path, lambda _: True)
    measure(night, "candidate", tmp_path, lambda _: True)
    assert [pair.suite for pair in pairs_of(night, best.policy, best.against, best.suites)] == ["short"]


def test_a_night_measured_by_an_older_revision_keeps_its_baselines(settings: Settings, tmp_path: Path) -> None:
    night = frozen(settings)
    for policy in ("parent", "candidate", "base", "v0001"):
        measure(night, policy, tmp_path, lambda _: True)
    night.work.put("check/bytes", b"{}")
    assert name_baselines.fn(night) == (
        Baseline(against=Against.BASE, policy="base"),
        Baseline(against=Against.BEST, policy="v0001"),
    )
    assert len(pairs_of(night, "v0001", "best")) == len(measured(night, "v0001")) == len(load_suites(night))
    assert Workspace(night.store, night.line, night.key).has("baselines")
