"""A whole night with an error budget of the line: its record, its decision, and an audit that makes the decision again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.gate.audit import audit
from everlearn.gate.decision_record import Against
from everlearn.gate.lifetime_error import loss_level
from everlearn.registry.connect import open_registry

if TYPE_CHECKING:
    import pytest

    from tests.support.prefect import Nights


def test_a_guarded_night_ends_with_a_decision_that_an_audit_repeats(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = {"loss_error": "line", "improvement_error": "line", "record_samples": 2, "most_looks": 2}
    ran = nights.run(gate=gate)
    assert ran.code == 0, ran.stderr[-3000:]

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    registry = open_registry(nights.settings(gate=gate))
    [decision] = audit(registry)
    assert decision.differences == ()
    assert decision.loss_level == loss_level(1, alpha=0.05)
    rows = registry.state().history[0].detail["decision"]["rows"]
    assert {row["suite"]: row["against"] for row in rows} == {
        "target": Against.PARENT,
        "fillers": Against.PARENT,
        "short": Against.RECORD,
    }
