"""A night measures what its parent does with solved examples in the prompt, beside the candidate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.contract import load_domain
from everlearn.reporting.context_comparison import context_rows
from everlearn.training.models.policy import load_policy
from tasks import compare_with_context
from tasks.compare_with_context import measure_contexts, notes_about_context, results_in_context
from tasks.freeze_suites import freeze_suites
from tasks.measure import upload_candidate
from tasks.night import hold_line, times_of
from tasks.open_night import open_night
from tests.support.night import LONG, SHORT, stored_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.reporting.costs import Cost
    from everlearn.settings import Settings
    from tasks.night import Night


def trained(settings: Settings, folder: Path, *, examples: tuple[int, ...], solved: list[str]) -> Night:
    """Return a night whose candidate is the base model, with these problems solved."""
    context = settings.context.model_copy(update={"examples": examples})
    with hold_line(settings) as token:
        night = open_night.fn(settings.model_copy(update={"context": context}), token, stored_snapshot(settings, LONG))
    assert freeze_suites.fn(night)
    assert settings.base.path
    folder.mkdir()
    load_policy(settings.base.path).save(folder)
    night.work.put_tree("trained", folder)
    domain = load_domain(settings.domain)
    rows = [{"statement": text, "answer": domain.solve(domain.stated(text))} for text in solved]
    night.work.put("rewarded", "".join(json.dumps(row) + "\n" for row in rows).encode())
    upload_candidate.fn(night)
    return night


def test_context_and_weights_stand_side_by_side_and_are_measured_once(settings: Settings, tmp_path: Path) -> None:
    night = trained(settings, tmp_path / "adapter", examples=(2,), solved=SHORT)
    measure_contexts.fn(night)
    kept = night.work.get("in context")
    rows = json.loads(kept)
    assert [(row["policy"], row["examples"], row["choice"]) for row in rows] == [
        ("parent", 2, "random"),
        ("parent", 2, "similar"),
        ("candidate", 0, "none"),
    ]
    assert rows[0]["prompt_tokens"] > rows[2]["prompt_tokens"]
    assert rows[2]["accuracy"] > 0, "the base solves sums of three terms"
    [note] = notes_about_context(night)
    assert note.startswith("Context or weights, on the target: ")
    table = context_rows(results_in_context(night))
    assert [(row.policy, row.examples, row.choice, row.n) for row in table] == [
        (row["policy"], row["examples"], row["choice"], len(row["right"])) for row in rows
    ]
    measure_contexts.fn(night)
    assert night.work.get("in context") == kept
    assert [step.name for step in times_of(night.work)].count("in context") == 1


def test_what_the_comparison_costs_is_no_cost_of_the_adapter(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = trained(settings, tmp_path / "adapter", examples=(2,), solved=SHORT)
    measure_contexts.fn(night)
    paid: list[Cost] = []
    monkeypatch.setattr(compare_with_context, "context_notes", lambda *_, **given: paid.append(given["paid"]))
    notes_about_context(night)
    steps = times_of(night.work)
    assert paid[0].cpu_seconds == sum(step.cpu_seconds for step in steps if step.name != "in context")
    assert paid[0].cpu_seconds < sum(step.cpu_seconds for step in steps)


@pytest.mark.parametrize(("examples", "notes"), [((), 0), ((50,), 1)])
def test_the_report_says_why_contexts_were_not_measured(
    settings: Settings, tmp_path: Path, examples: tuple[int, ...], notes: int
) -> None:
    night = trained(settings, tmp_path / "adapter", examples=examples, solved=SHORT[:3])
    measure_contexts.fn(night)
    said = notes_about_context(night)
    assert len(said) == notes
    assert all("solved fewer problems" in each for each in said)
