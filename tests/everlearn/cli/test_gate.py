"""`gate plan`: what the suites can decide is said before a night."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.data.suites import Suite, SuiteKind
from everlearn.gate.lifetime_error import improvement_level
from everlearn.problem import Problem
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


def write(folder: Path, name: str, count: int, *, kind: SuiteKind = SuiteKind.SKILL) -> None:
    items = tuple(Problem(id=f"{name}{n}", domain="integration", statement=f"{n + 1}*x") for n in range(count))
    Suite(name=name, kind=kind, problems=items).save(folder / "data" / "suites" / f"{name}.jsonl")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "suites").mkdir(parents=True)


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


def test_a_line_with_an_error_budget_names_its_next_level(
    everlearn: Callable[..., Ended], params: Path, registry: Registry, publish: Callable[..., str]
) -> None:
    publish()
    registry.record(EventKind.REJECTED, cycle_key="8" * 64, reason="worse", actor="night", detail={})
    params.write_text(params.read_text() + "gate: {improvement_error: line}\n")
    facts = everlearn("gate", "plan", "--json").facts
    assert facts["level"] == improvement_level([True, False], alpha=0.05)
    assert (facts["tests"], facts["labels"]) == (2, 1)
    assert facts["gains"]["6"] is None, "six items never show p = 0.01"
    assert "the next test of the line is number 3, and 1 so far gave a version" in " ".join(
        everlearn("gate", "plan").out.split()
    )
