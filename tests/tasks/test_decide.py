"""The log of a gate decision, and the second judgement of rewards."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.domains.contract import load_domain
from everlearn.gate.decision import judge
from everlearn.ladder.replay import Mastered, Reservoir
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import GateSettings
from tasks import decide
from tasks.decide import log_decision
from tests.support.paired_suites import IMPROVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


def test_the_log_warns_of_a_night_without_a_skill_suite(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    log_decision(judge([IMPROVED], settings=GateSettings()))
    levels = {record.message: record.levelname for record in caplog.records}
    [warned] = [message for message, level in levels.items() if level == "WARNING"]
    assert warned.startswith("gate: no skill suite was measured")
    assert levels["gate: PASS"] == "INFO"
    assert "gate: target against the parent, n = 100" in caplog.text


def test_rewards_are_judged_again_by_tonights_reference_where_an_earlier_night_had_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    domain = load_domain("integration")
    earlier = Mastered(statement="2*x", key="2*x", stratum="", night="one", reference="wrong")
    root = replace(domain.problem("2*x"), reference="right")

    def by_reference(pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        right = [Ruling.CORRECT if problem.reference == "right" else Ruling.WRONG for problem, _ in pairs]
        return [Verdict(ruling=ruling, reason="") for ruling in right]

    monkeypatch.setattr(decide, "reservoir_before", lambda _: Reservoir(problems=(earlier,)))
    monkeypatch.setattr(decide, "roots_of", lambda _: ((root,), ()))
    monkeypatch.setattr(decide, "second_judgement", lambda *_, **__: contextlib.nullcontext(by_reference))
    night: Any = type("Night", (), {"settings": type("Settings", (), {"verifiers": 0})})
    assert decide._recheck(night, [("2*x", "x^2")], domain=domain) == []
