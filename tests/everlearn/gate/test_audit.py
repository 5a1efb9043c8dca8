"""The audit of a line: an honest history repeats, and a changed decision, an unearned level or lost evidence is named."""

from __future__ import annotations

from dataclasses import replace
from math import nextafter
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data.suites import Suite, SuiteKind
from everlearn.gate.audit import audit
from everlearn.gate.decision_of_line import judge_by_line
from everlearn.gate.decision_record import Against
from everlearn.gate.lifetime_error import RULE, TESTS, improvement_level, loss_level
from everlearn.gate.record_of_line import RecordedItem, item_key, to_json
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.problem import Problem
from everlearn.registry import eligibility
from everlearn.registry.events import EventKind
from everlearn.registry.guarded_suites import SuiteContent
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.everlearn.gate.test_guard import SETTINGS, guard, looked
from tests.support.line import candidate, open_line
from tests.support.paired_suites import IMPROVED, pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.decision_record import Decision
    from everlearn.registry.events import Event
    from everlearn.registry.versions import Registry

BY_LINE = SETTINGS.model_copy(update={"improvement_error": "line"})
EVIDENCE = StoredEvidence(pairs=(IMPROVED,), guards=(looked(guard(), share=0.9),), checks=(), settings=BY_LINE)
WITHOUT_RECORD = replace(EVIDENCE, guards=())
WORSE = replace(EVIDENCE, pairs=(pair("+" * 60 + "-" * 40, "-" * 60 + "-" * 40),))


@pytest.fixture
def registry() -> Registry:
    return open_line(MemoryStore())


def levels(attempts: int, labels: list[bool]) -> dict[str, float]:
    level = improvement_level(labels, alpha=0.05)
    return {"level": level, "loss_level": loss_level(attempts + 1, alpha=0.05)}


def numbered(decision: Decision, history: Sequence[Event]) -> Decision:
    """Return the decision as a night after these events stores it."""
    return replace(decision, rule=RULE, seen=len(history))


def publish(registry: Registry, name: str, *, decision: dict[str, Any] | None = None, **documents: Any) -> str:
    """Publish a version that was judged by the evidence at the level of its attempt, or with another decision."""
    history = registry.state().history
    labels = [event.kind is EventKind.PUBLISHED for event in history if event.kind in TESTS]
    made = numbered(EVIDENCE.judge(**levels(len(labels), labels)), history)
    manifest = candidate(registry, name, parent=registry.state().champion)
    manifest = replace(
        manifest,
        config={"gate": EVIDENCE.settings.model_dump(mode="json")},
        decision=made.to_dict() | (decision or {}),
        **{"evidence": registry.put_object(EVIDENCE.to_json())} | documents,
    )
    return registry.publish(manifest, make_champion=True, actor="night", reason="better").version


def reject(registry: Registry, *, key: str, kind: EventKind = EventKind.REJECTED) -> None:
    history = registry.state().history
    made = WORSE.judge(**levels(len(history), [event.kind is EventKind.PUBLISHED for event in history]))
    made = numbered(made, history)
    ref = registry.put_object(WORSE.to_json())
    detail = {"decision": made.to_dict(), "evidence": ref.digest}
    registry.record(kind, cycle_key=key * 64, reason="worse", actor="night", detail=detail)


def test_an_honest_history_repeats_with_the_levels_of_its_events(registry: Registry) -> None:
    publish(registry, "one")
    reject(registry, key="8")
    publish(registry, "two")
    registry.rollback(reason="slow", actor="me", keep=True)
    decisions = list(audit(registry))
    assert [decision.differences for decision in decisions] == [(), (), ()]
    assert [decision.end for decision in decisions] == ["published", "rejected", "published"]
    assert [decision.loss_level for decision in decisions] == [loss_level(n, alpha=0.05) for n in (1, 2, 3)]


def test_lost_evidence_is_named_and_the_other_decisions_are_repeated(registry: Registry) -> None:
    publish(registry, "one")
    reject(registry, key="8")
    lost = registry.state().history[-1].detail["evidence"]
    registry.store.delete(object_key(registry.line, lost))
    publish(registry, "two")
    one, rejected, two = audit(registry)
    assert (one.differences, two.differences) == ((), ())
    assert rejected.differences is not None
    assert lost[:12] in rejected.differences[0]


def test_a_changed_decision_is_named(registry: Registry) -> None:
    publish(registry, "one", decision={"warnings": ["none"]})
    [decision] = audit(registry)
    assert decision.differences == ("warnings is stored as ['none'], and repeated as []",)


def rounded_otherwise(plain: Any) -> Any:
    """Return the values as a processor or library may compute them whose last digits are others."""
    match plain:
        case float():
            return nextafter(nextafter(plain, 2.0), 2.0)
        case dict():
            return {name: rounded_otherwise(value) for name, value in plain.items()}
        case list():
            return [rounded_otherwise(value) for value in plain]
    return plain


def test_a_decision_of_another_processor_is_the_same(registry: Registry) -> None:
    publish(registry, "one", decision=rounded_otherwise(EVIDENCE.judge(**levels(0, [])).to_dict()))
    assert [decision.differences for decision in audit(registry)] == [()]


@pytest.mark.parametrize(("field", "most"), [("bound", 1e-7), ("power", 1e-6)])
def test_a_number_that_no_rounding_explains_is_named(registry: Registry, field: str, most: float) -> None:
    rows = EVIDENCE.judge(**levels(0, [])).to_dict()["rows"]
    rows[0][field] += most
    publish(registry, "one", decision={"rows": rows})
    [decision] = audit(registry)
    assert decision.differences
    assert decision.differences[0].startswith(f"target against the parent: {field} is stored as")


def test_a_night_that_ended_otherwise_than_it_was_decided_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reject(registry, key="8", kind=EventKind.INSUFFICIENT)
    monkeypatch.setattr(eligibility, "PASSED", "FAIL")  # as a registry that checks nothing
    made = replace(candidate(registry, "old"), decision={"outcome": "FAIL"})
    registry.publish(made, make_champion=True, actor="night", reason="by an earlier release")
    assert [decision.differences for decision in audit(registry)] == [
        ("the night ended as insufficient, and its outcome is stored as 'FAIL'",),
        ("the night ended as published, and its outcome is stored as 'FAIL'",),
    ]


def guard_suite(registry: Registry, name: str, problems: list[Problem]) -> None:
    suite = Suite(name=name, kind=SuiteKind.SKILL, problems=tuple(problems))
    content = SuiteContent(kind="skill", items=len(problems), data=suite.to_jsonl().encode())
    registry.guard_suites({name: content}, actor="night")


def test_a_record_that_is_not_the_parents_is_named(registry: Registry) -> None:
    [compared] = EVIDENCE.guards
    problems = [Problem(id=str(n), domain="integration", statement=f"{n}*x") for n in range(len(compared.recorded))]
    recorded = dict(zip(map(item_key, problems), compared.recorded, strict=True))
    del recorded[item_key(problems[-1])]  # such items are answered in the night itself
    better = RecordedItem(right=16, undecided=0, samples=16, policy="v0001")
    guard_suite(registry, "short", problems)
    publish(registry, "one", record=registry.put_object(to_json(recorded)))
    publish(registry, "two", record=registry.put_object(to_json(recorded | {item_key(problems[0]): better})))
    publish(registry, "three", record=registry.put_object(to_json(recorded)))
    guard_suite(registry, "new", problems[:1])
    publish(registry, "four")
    differ = ("short: 1 of 700 recorded items are not as in the record of v0002",)
    unlike = (
        "new: 1 items guarded the line, and 0 were compared",
        "short: 0 items guarded the line, and 700 were compared",
    )
    assert [decision.differences for decision in audit(registry)] == [(), (), differ, unlike]


def test_a_version_that_was_judged_by_other_settings_is_named(registry: Registry) -> None:
    loose = replace(EVIDENCE, settings=BY_LINE.model_copy(update={"alpha": 0.2}))
    made = judge_by_line(loose, registry.state().history, registry=registry)
    publish(registry, "one", decision=made.to_dict(), evidence=registry.put_object(loose.to_json()))
    [decision] = audit(registry)
    assert decision.differences == ("gate.alpha was 0.05 by the settings of the night, and 0.2 in its evidence",)


def guard_memory(registry: Registry, *sizes: int) -> None:
    """Guard the line by the memory of so many nights."""
    suites = [
        Suite(
            name=f"memory-v000{night}",
            kind=SuiteKind.MEMORY,
            problems=tuple(Problem(id=str(n), domain="integration", statement=f"{n}*x^{night}") for n in range(size)),
        )
        for night, size in enumerate(sizes, start=1)
    ]
    contents = {
        suite.name: SuiteContent(kind="memory", items=len(suite.problems), data=suite.to_jsonl().encode())
        for suite in suites
    }
    registry.guard_suites(contents, actor="night")


@pytest.mark.parametrize(
    ("loss_error", "sizes", "differences"),
    [
        ("line", (300, 400), ()),
        ("line", (300, 401), ("memory-all: 701 items guarded the line, and 700 were compared",)),
        ("night", (60, 40), ()),
        ("night", (60, 40, 9), ("memory-v0003: 9 items guarded the line, and 0 were compared",)),
        ("night", (61, 40), ("memory-v0001: 61 items guarded the line, and 60 were compared",)),
    ],
)
def test_a_suite_that_was_not_compared_or_not_whole_is_named(
    registry: Registry, loss_error: str, sizes: tuple[int, ...], differences: tuple[str, ...]
) -> None:
    settings = BY_LINE.model_copy(update={"loss_error": loss_error})
    same = [
        pair("+" * n, "+" * n, suite=f"memory-v000{night}", kind=SuiteKind.MEMORY, against=against)
        for night, n in ((1, 60), (2, 40))
        for against in (Against.PARENT, Against.BASE)
    ]
    whole = replace(EVIDENCE.guards[0], suite="memory-all", kind=SuiteKind.MEMORY)
    by_pairs = replace(WORSE, pairs=(*WORSE.pairs, *same), guards=(), settings=settings)
    evidence = by_pairs if loss_error == "night" else replace(WORSE, guards=(whole,))
    guard_memory(registry, *sizes)
    made = judge_by_line(evidence, registry.state().history, registry=registry)
    detail = {"decision": made.to_dict(), "evidence": registry.put_object(evidence.to_json()).digest}
    registry.record(EventKind.REJECTED, cycle_key="8" * 64, reason="worse", actor="night", detail=detail)
    [decision] = audit(registry)
    assert decision.differences == differences


def test_a_night_that_asks_in_another_way_records_anew_and_for_the_same_policies(registry: Registry) -> None:
    [compared] = EVIDENCE.guards
    problems = [Problem(id=str(n), domain="integration", statement=f"{n}*x") for n in range(len(compared.recorded))]
    recorded = dict(zip(map(item_key, problems), compared.recorded, strict=True))
    cold = tuple(replace(item, right=item.right // 2, asked="a cold way") for item in compared.recorded)
    other = (replace(cold[0], policy="night 0123456789ab"), *cold[1:])
    guard_suite(registry, "short", problems)
    publish(registry, "one", record=registry.put_object(to_json(recorded)))
    for name, used in (("two", cold), ("three", other)):
        evidence = replace(EVIDENCE, guards=(replace(compared, recorded=used),))
        made = judge_by_line(evidence, registry.state().history, registry=registry)
        publish(registry, name, decision=made.to_dict(), evidence=registry.put_object(evidence.to_json()))
    differ = ("short: 1 of 700 recorded items are not as in the record of v0002",)
    assert [decision.differences for decision in audit(registry)][1:] == [(), differ]


def test_a_decision_at_a_level_that_was_not_its_own_is_named(registry: Registry) -> None:
    publish(registry, "one")
    reject(registry, key="7")
    made = EVIDENCE.judge(level=0.05, loss_level=loss_level(1, alpha=0.05)).to_dict()
    publish(registry, "two", decision=made)
    differences = list(audit(registry))[-1].differences
    assert differences
    assert {difference.split(" is stored")[0] for difference in differences} >= {"level", "loss_level", "reasons"}
    assert any("against the record" in difference for difference in differences)


def test_a_version_that_no_budget_judged_has_earned_nothing(registry: Registry) -> None:
    registry.publish(candidate(registry, "old"), make_champion=True, actor="night", reason="by its own alpha")
    for name, earned in (("one", levels(1, [])), ("two", levels(2, [True, True]))):
        publish(registry, name, decision=numbered(EVIDENCE.judge(**earned), registry.state().history).to_dict())
    _, one, two = audit(registry)
    assert (one.differences, one.level) == ((), improvement_level([], alpha=0.05))
    assert two.level == improvement_level([True], alpha=0.05)
    assert any(each.startswith("level is stored as") for each in two.differences or ()), "it counted the old version"


def publish_unnumbered(registry: Registry, name: str, made: Decision) -> None:
    """Publish a version, compared with no record, as revisions did that stored no number of a rule."""
    manifest = replace(
        candidate(registry, name, parent=registry.state().champion),
        config={"gate": EVIDENCE.settings.model_dump(mode="json")},
        decision=made.to_dict(),
        evidence=registry.put_object(WITHOUT_RECORD.to_json()),
    )
    registry.publish(manifest, make_champion=True, actor="night", reason="better")


def test_a_decision_by_an_older_rule_is_repeated_at_its_level_and_is_no_difference(registry: Registry) -> None:
    for night in range(20):
        made_by_night = candidate(registry, str(night), parent=registry.state().champion)
        registry.publish(made_by_night, make_champion=True, actor="night", reason="by its own alpha")
    made = WITHOUT_RECORD.judge(**rounded_otherwise(levels(20, [True] * 20)))
    assert made.level is not None
    assert made.level > 3 * improvement_level([], alpha=0.05)
    publish_unnumbered(registry, "one", made)
    publish_unnumbered(registry, "two", WITHOUT_RECORD.judge(**levels(21, [True])))
    *_, one, two = audit(registry)
    assert (one.differences, one.level, one.by_older_rule) == ((), made.level, True)
    assert (two.differences, two.by_older_rule) == ((), False), "it would be made so today"


def test_an_older_rule_explains_its_own_level_only(registry: Registry) -> None:
    publish(registry, "one")
    publish_unnumbered(registry, "two", WITHOUT_RECORD.judge(level=0.05, loss_level=loss_level(2, alpha=0.05)))
    *_, two = audit(registry)
    assert not two.by_older_rule
    assert any(each.startswith("level is stored as 0.05") for each in two.differences or ())


def test_a_leak_found_between_a_decision_and_its_publication_changes_nothing(registry: Registry) -> None:
    publish(registry, "one")
    publish(registry, "two")
    decided = numbered(EVIDENCE.judge(**levels(2, [True, True])), registry.state().history)
    registry.bar("v0001", reason="it saw the target", actor="ada", leaked=True)
    publish(registry, "three", decision=decided.to_dict())
    publish(registry, "four", decision=judge_by_line(EVIDENCE, registry.state().history, registry=registry).to_dict())
    *_, three, four = audit(registry)
    assert (three.differences, three.level) == ((), improvement_level([True, True], alpha=0.05))
    assert (four.differences, four.level) == ((), improvement_level([False, True, True], alpha=0.05))


def test_attempts_that_a_decision_did_not_know_are_named(registry: Registry) -> None:
    decided = numbered(EVIDENCE.judge(**levels(0, [])), registry.state().history)
    reject(registry, key="7")
    publish(registry, "one", decision=decided.to_dict())
    *_, one = audit(registry)
    named = {difference.split(" is stored")[0] for difference in one.differences or ()}
    assert named >= {"level", "loss_level", "seen"}


def test_a_rule_that_is_not_known_is_named_with_the_remedy(registry: Registry) -> None:
    publish(registry, "one", decision={"rule": RULE + 1})
    [one] = audit(registry)
    said = f"it was decided by rule {RULE + 1} of the gate, and this Everlearn knows rule {RULE}: audit it with a newer one"
    assert one.differences == (said,)


def test_a_record_of_another_version_is_named(registry: Registry) -> None:
    [compared] = EVIDENCE.guards
    problems = [Problem(id=str(n), domain="integration", statement=f"{n}*x") for n in range(len(compared.recorded))]
    other = RecordedItem(right=16, undecided=0, samples=16, policy="v0001")
    guard_suite(registry, "short", problems)
    made = numbered(EVIDENCE.judge(**levels(0, [])), registry.state().history)
    record = registry.put_object(to_json({item_key(problem): other for problem in problems}))
    publish(registry, "one", decision=made.to_dict(), record=record)
    publish(registry, "two", decision=judge_by_line(EVIDENCE, registry.state().history, registry=registry).to_dict())
    _, two = audit(registry)
    assert two.differences == ("short: 700 of 700 recorded items are not as in the record of v0001",)


def test_only_comparisons_with_the_record_cannot_be_repeated_by_an_older_rule_of_the_looks(registry: Registry) -> None:
    publish(registry, "compared", decision={"rule": 1})
    made = replace(WITHOUT_RECORD.judge(**levels(1, [True])), rule=1, seen=len(registry.state().history))
    plain = {"loss_level": None} | made.to_dict()
    publish(registry, "other", decision=plain, evidence=registry.put_object(WITHOUT_RECORD.to_json()))
    assert [decision.differences for decision in audit(registry)] == [None, ()]


def test_targets_without_room_cannot_be_repeated_by_a_rule_that_did_not_count_them(registry: Registry) -> None:
    full = pair("+" * 495 + "-" * 5, "+" * 500, suite="full")
    for name, other, rule in (("one", full, 2), ("two", full, RULE), ("three", replace(IMPROVED, suite="other"), 2)):
        evidence = replace(WITHOUT_RECORD, pairs=(IMPROVED, other))
        made = judge_by_line(evidence, registry.state().history, registry=registry)
        plain = {"loss_level": None} | replace(made, rule=rule).to_dict()
        publish(registry, name, decision=plain, evidence=registry.put_object(evidence.to_json()))
    assert [decision.differences for decision in audit(registry)] == [None, (), ()]


def test_what_cannot_be_repeated_is_told_apart(registry: Registry) -> None:
    registry.publish(candidate(registry, "old"), make_champion=True, actor="night", reason="by an earlier release")
    registry.record(EventKind.INSUFFICIENT, cycle_key="9" * 64, reason="few", actor="night", detail={})
    assert [decision.differences for decision in audit(registry)] == [None, None]
