"""The log of a gate decision."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from everlearn.gate.decision import judge
from everlearn.settings import GateSettings
from tasks.decide import log_decision
from tests.support.paired_suites import IMPROVED

if TYPE_CHECKING:
    import pytest


def test_the_log_warns_of_a_night_without_a_skill_suite(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    log_decision(judge([IMPROVED], settings=GateSettings()))
    levels = {record.message: record.levelname for record in caplog.records}
    [warned] = [message for message, level in levels.items() if level == "WARNING"]
    assert warned.startswith("gate: no skill suite was measured")
    assert levels["gate: PASS"] == "INFO"
    assert "gate: target against the parent, n = 100" in caplog.text
