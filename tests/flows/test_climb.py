"""The order of the steps in which a candidate is made and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from everlearn.gate.baselines import Baseline
from everlearn.gate.decision_record import Against
from flows import climb

if TYPE_CHECKING:
    import pytest

    from tasks.night import Night

STEPS = (
    *(
        "learn_reference_answers",
        "grow_ladder",
        "answer_anchors",
        "train_adapter",
        "upload_candidate",
        "measure_suites",
    ),
    *("measure_contexts", "complete_record", "look_at_candidate", "renew_record", "check_bytes"),
)


def test_no_policy_answers_a_suite_before_the_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a night whose parent was measured cannot be given up for nothing."""
    called: list[tuple[Any, ...]] = []
    for step in STEPS:
        monkeypatch.setattr(climb, step, lambda _, *rest, step=step: called.append((step, *rest)))
    base = Baseline(against=Against.BASE, policy="base")
    monkeypatch.setattr(climb, "name_baselines", lambda _: (base,))
    climb.train_candidate(cast("Night", None))
    trained = called.index(("upload_candidate",))
    assert not {"measure_suites", "complete_record", "measure_contexts"} & {step for step, *_ in called[:trained]}
    assert called[trained + 1] == ("measure_suites", "candidate", None)
    assert {step for step, *_ in called} == set(STEPS), "every step has been called"
    assert [policy for step, policy, *_ in (call for call in called if len(call) > 1)] == [
        "candidate",
        "parent",
        "base",
    ]
