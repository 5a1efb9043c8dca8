"""`gate plan`: what the suites can decide is said before a night. `gate audit`: the decisions of a line, made again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from everlearn.data.memory_suite import remember
from everlearn.data.suites import Suite, SuiteKind, load_directory
from everlearn.domains.contract import load_domain
from everlearn.gate.lifetime_error import improvement_level, loss_level
from everlearn.gate.record_of_line import record_answers, to_json
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.problem import Problem
from everlearn.registry.events import EventKind
from everlearn.settings import GateSettings
from tests.support.line import BASE_MODEL, candidate
from tests.support.paired_suites import IMPROVED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


DOMAIN = load_domain("integration")


def write(folder: Path, name: str, count: int, *, kind: SuiteKind = SuiteKind.SKILL) -> None:
    items = tuple(Problem(id=f"{name}{n}", domain="integration", statement=f"{n + 1}*x") for n in range(count))
    Suite(name=name, kind=kind, problems=items).save(folder / "data" / "suites" / f"{name}.jsonl")


def write_general(folder: Path, name: str, count: int) -> None:
    write(folder, name, count, kind=SuiteKind.GENERAL)
    (folder / "data" / "suites" / f"{name}.jsonl").rename(folder / "general" / f"{name}.jsonl")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "suites").mkdir(parents=True)
    (tmp_path / "general").mkdir()


def test_suites_are_planned_together_and_alone(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    write(tmp_path, "large", 3000)
    write(tmp_path, "small", 100)
    facts = everlearn("gate", "plan", "--json").facts
    together, large, small = facts["guards"]
    assert (together["suites"], together["items"], together["is_decided"]) == ("all skill suites", 3100, True)
    assert large["is_decided"]
    assert not small["is_decided"]
    assert small["items_needed"] > 100
    assert facts["gains"]["6"] > facts["gains"]["100"] > facts["gains"]["500"]
    shown = everlearn("gate", "plan").out
    assert "small" in shown
    assert "at the level 0.05" in shown


def test_without_a_suite_it_says_that_nothing_is_guarded(everlearn: Callable[..., Ended]) -> None:
    assert "nothing shows that the model keeps what it can" in " ".join(everlearn("gate", "plan").out.split())


def test_a_misspelt_domain_is_refused_by_the_plan(everlearn: Callable[..., Ended], params: Path) -> None:
    params.write_text("domain: integratoin\n", encoding="utf-8")
    ended = everlearn("gate", "plan")
    assert ended.code == 2
    assert "unknown domain 'integratoin': use one of" in ended.err


def test_a_line_with_an_error_budget_names_its_next_level(
    everlearn: Callable[..., Ended], params: Path, registry: Registry, publish: Callable[..., str]
) -> None:
    publish()
    manifest = candidate(registry, "one", parent=registry.state().champion, base="f" * 64)
    manifest = replace(manifest, decision={"outcome": "PASS", "level": 0.01}, config={"gate": {"alpha": 0.05}})
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    registry.record(EventKind.REJECTED, cycle_key="8" * 64, reason="worse", actor="night", detail={})
    params.write_text(params.read_text() + "gate: {improvement_error: line}\n")
    facts = everlearn("gate", "plan", "--json").facts
    assert facts["level"] == improvement_level([True, False], alpha=0.05), "the first version had no budget"
    assert (facts["attempts"], facts["tests"], facts["labels"]) == (3, 2, 1)
    assert facts["gains"]["6"] is None, "six items never show p = 0.01"
    assert facts["budgets"].keys() == {"improvements", "headlines"}
    left = facts["budgets"]["improvements"]["left"]
    said = " ".join(everlearn("gate", "plan").out.split())
    assert "the next attempt of the line is number 4" in said
    assert "its budget for improvements has judged 2 nights, and 1 of them earn for the next one" in said
    assert f"of the error budget for improvements, {0.05 - left:.2g} is spent and {left:.2g} is left" in said


def test_a_budget_that_a_voided_label_had_paid_is_said_to_be_overdrawn(
    everlearn: Callable[..., Ended], params: Path, registry: Registry
) -> None:
    made = replace(
        candidate(registry, "one"), decision={"outcome": "PASS", "level": 0.01}, config={"gate": {"alpha": 0.05}}
    )
    registry.publish(made, make_champion=True, actor="night", reason="better")
    detail = {"decision": {"outcome": "FAIL", "level": 0.02}}
    registry.record(EventKind.REJECTED, cycle_key="8" * 64, reason="worse", actor="night", detail=detail)
    registry.rollback(reason="it saw the target", actor="ada")
    registry.bar("v0001", reason="it saw the target", actor="ada", leaked=True)
    params.write_text(params.read_text() + "gate: {improvement_error: line}\n")
    budget = everlearn("gate", "plan", "--json").facts["budgets"]["improvements"]
    assert budget == {"spent": pytest.approx(0.03), "left": 0, "overdrawn": pytest.approx(0.005)}
    said = " ".join(everlearn("gate", "plan").out.split())
    assert "0.03 is spent and 0 is left: it is overdrawn by 0.005" in said


def test_a_line_with_a_budget_for_losses_says_what_its_looks_decide(
    everlearn: Callable[..., Ended], params: Path, registry: Registry, publish: Callable[..., str], tmp_path: Path
) -> None:
    write(tmp_path, "large", 3000)
    write(tmp_path, "small", 100)
    publish()
    params.write_text(params.read_text() + "gate: {loss_error: line}\n")
    facts = everlearn("gate", "plan", "--json").facts
    assert facts["loss_level"] == loss_level(2, alpha=0.05)
    large, small = facts["guards"]
    assert large["is_decided"]
    assert not small["is_decided"]
    assert small["items_needed"] == large["items_needed"] > 100
    assert facts["answers"] == {
        "record": 16 * 3000,  # items of both suites are recorded once
        "look": 3100,
        "candidate": 8 * 3100,
        "renewal": 16 * 3100,
        "least": 16 * 3000 + 3100,
        "most": 16 * 3000 + 24 * 3100,
    }
    assert facts["budgets"] == {
        "losses": {"spent": loss_level(1, alpha=0.05), "left": 0.05 - loss_level(1, alpha=0.05), "overdrawn": 0}
    }
    said = " ".join(everlearn("gate", "plan").out.split())
    assert (
        "needs 51100 to 122400 answers: 48000 for the record, 3100 to 24800 of the candidate, and at most 49600 more"
        in said
    )
    assert "the next attempt of the line is number 2; of the error budget for losses" in said


def test_before_a_line_has_a_key_the_plan_is_about_its_first_night(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path
) -> None:
    params.write_text(f"signing: {{key_file: {tmp_path / 'none.pem'}}}\ngate: {{improvement_error: line}}\n")
    said = " ".join(everlearn("gate", "plan").out.split())
    assert "the line has no key on this machine yet, so this is about its first night" in said
    assert everlearn("gate", "plan", "--json").facts["level"] == improvement_level([], alpha=0.05)
    params.write_text(params.read_text() + "store: {endpoint_url: 'http://127.0.0.1:9'}\n")
    assert "no key to sign or to verify with" in everlearn("gate", "plan").err, "a line elsewhere may have had nights"


def test_the_plan_is_about_the_line_of_the_profile(
    everlearn: Callable[..., Ended], params: Path, publish: Callable[..., str]
) -> None:
    publish()
    params.write_text(
        params.read_text() + "gate: {improvement_error: line}\nprofiles: {other: {store: {line: another}}}\n"
    )
    assert everlearn("gate", "plan", "--json").facts["attempts"] == 1
    assert everlearn("gate", "plan", "--profile", "other", "--json").facts["attempts"] == 0


def test_the_plan_counts_general_suites(everlearn: Callable[..., Ended], params: Path, tmp_path: Path) -> None:
    write(tmp_path, "skilled", 400)
    write_general(tmp_path, "asked", 300)
    params.write_text(params.read_text() + "data: {general: general}\n")
    facts = everlearn("gate", "plan", "--json").facts
    assert {guard["items"] for guard in facts["guards"]} >= {300, 400}


def test_general_suites_count_for_a_model_of_a_hub_that_is_not_here_yet(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path
) -> None:
    write_general(tmp_path, "asked", 300)
    lines = [line for line in params.read_text().splitlines() if not line.startswith("base:")]
    params.write_text("\n".join([*lines, "base: {model: Qwen/Qwen3-0.6B}", "data: {general: general}", ""]))
    assert [guard["items"] for guard in everlearn("gate", "plan", "--json").facts["guards"]] == [300]


def test_general_suites_do_not_count_for_a_model_that_is_not_addressed_in_words(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path
) -> None:
    write_general(tmp_path, "asked", 300)
    params.write_text(params.read_text() + "data: {general: general}\nformat: {name: marked}\n")
    assert everlearn("gate", "plan", "--json").facts["guards"] == []


@pytest.mark.parametrize(("kept", "sizes"), [(500, [40]), (0, [])])
def test_the_plan_counts_what_earlier_nights_taught(
    everlearn: Callable[..., Ended], params: Path, registry: Registry, kept: int, sizes: list[int]
) -> None:
    own = [DOMAIN.problem(f"{n}*x^2 + sin({n}*x)") for n in range(2, 42)]
    memory = remember((), own, cycle_key="c" * 64, domain=DOMAIN, per_night=100, total=500)
    assert memory
    manifest = candidate(registry, "one", base=BASE_MODEL)
    manifest = replace(manifest, memory=registry.put_object(memory.to_jsonl().encode()))
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    params.write_text(params.read_text() + f"gate: {{loss_error: line, memory_items: {kept}}}\n")
    facts = everlearn("gate", "plan", "--json").facts
    assert [guard["items"] for guard in facts["guards"]] == sizes
    assert facts["answers"]["record"] == 16 * sum(sizes)


def test_the_plan_reads_the_record_of_the_champion(
    everlearn: Callable[..., Ended], params: Path, registry: Registry, tmp_path: Path
) -> None:
    write(tmp_path, "noisy", 400)
    items = load_directory(tmp_path / "data" / "suites", domain="integration")[0].problems
    record = record_answers(items, ["1" * 400, "0" * 400], policy="base", asked="")
    manifest = candidate(registry, "one", base=BASE_MODEL)
    manifest = replace(manifest, record=registry.put_object(to_json(record)))
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    params.write_text(params.read_text() + "gate: {loss_error: line}\n")
    facts = everlearn("gate", "plan", "--json").facts
    [noisy] = facts["guards"]
    assert noisy["decided"] > 0.05, "answers that are right half of the time decide less"
    assert facts["answers"]["record"] == 0
    params.write_text(params.read_text().replace("loss_error: line", "loss_error: line, look_temperature: 0.5"))
    assert everlearn("gate", "plan", "--json").facts["answers"]["record"] == 16 * 400, "it was asked otherwise"


def test_an_audit_names_decisions_that_differ_and_those_that_cannot_be_repeated(
    everlearn: Callable[..., Ended], registry: Registry, publish: Callable[..., str]
) -> None:
    old = publish()
    base = registry.state().versions[old].base_fingerprint
    assert "1 cannot be repeated" in " ".join(everlearn("gate", "audit").out.split())
    evidence = StoredEvidence(pairs=(IMPROVED,), guards=(), checks=(), settings=GateSettings())
    made = replace(
        candidate(registry, "two", parent=registry.state().champion, base=base),
        decision=evidence.judge(level=None, loss_level=None).to_dict() | {"warnings": ["none"]},
        evidence=registry.put_object(evidence.to_json()),
    )
    version = registry.publish(made, make_champion=True, actor="night", reason="better").version
    ended = everlearn("gate", "audit")
    assert ended.code == 1
    assert f"{version}: warnings is stored as ['none'], and repeated as" in " ".join(ended.out.split())
    assert everlearn("gate", "audit", "--json").facts["differ"] == 1


def test_an_audit_of_decisions_that_are_all_the_same_says_just_that(
    everlearn: Callable[..., Ended], registry: Registry
) -> None:
    evidence = StoredEvidence(pairs=(IMPROVED,), guards=(), checks=(), settings=GateSettings())
    made = candidate(registry, "one")
    made = replace(
        made,
        decision=evidence.judge(level=None, loss_level=None).to_dict(),
        evidence=registry.put_object(evidence.to_json()),
    )
    registry.publish(made, make_champion=True, actor="night", reason="better")
    ended = everlearn("gate", "audit")
    assert ended.code == 0
    assert "1 of 1 decisions are as they were stored" in ended.out
    assert "cannot be repeated" not in ended.out


def test_an_audit_names_a_decision_by_an_older_rule_and_finds_no_fault_in_it(
    everlearn: Callable[..., Ended], registry: Registry, publish: Callable[..., str]
) -> None:
    old = publish()
    base = registry.state().versions[old].base_fingerprint
    by_line = GateSettings(improvement_error="line")
    evidence = StoredEvidence(pairs=(IMPROVED,), guards=(), checks=(), settings=by_line)
    made = replace(
        candidate(registry, "two", parent=registry.state().champion, base=base),
        decision=evidence.judge(level=improvement_level([True], alpha=0.05), loss_level=None).to_dict(),
        evidence=registry.put_object(evidence.to_json()),
    )
    registry.publish(made, make_champion=True, actor="night", reason="better")
    ended = everlearn("gate", "audit")
    assert ended.code == 0
    assert "the same, by an older rule" in ended.out
    assert "1 by an older rule of the level" in " ".join(ended.out.split())
    assert everlearn("gate", "audit", "--json").facts["by_older_rule"] == 1
