"""Continual-learning metrics: worked examples, and laws that hold for any history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against, Decision, Outcome, SuiteRow
from everlearn.registry.events import Event, EventKind
from everlearn.reporting.site.read_model import NightView
from everlearn.reporting.site.transfer import transfer
from tests.support.line import WHEN
from tests.support.manifests import row

EVENT = Event(sequence=1, previous=None, kind=EventKind.PUBLISHED, actor="night", reason="better", at=WHEN)


def measured(
    suite: str, kind: SuiteKind, before: float, after: float, *, against: Against = Against.PARENT
) -> SuiteRow:
    return replace(row(against), suite=suite, kind=kind, before=before, after=after)


def night(version: str, *rows: SuiteRow) -> NightView:
    return NightView(
        event=EVENT, name=version, version=version, decision=Decision(outcome=Outcome.PASS, reasons=(), rows=rows)
    )


FIRST = night(
    "v0001",
    measured("target", SuiteKind.TARGET, 0.0, 0.8),
    measured("sums", SuiteKind.SKILL, 0.9, 1.0),
)
SECOND = night(
    "v0002",
    measured("target", SuiteKind.TARGET, 0.3, 0.7),
    measured("fillers", SuiteKind.GENERATED, 0.3, 0.9),
    measured("target", SuiteKind.TARGET, 0.1, 0.7, against=Against.BASE),
    measured("memory-v0001", SuiteKind.MEMORY, 0.8, 0.6),
    measured("sums", SuiteKind.SKILL, 1.0, 0.95, against=Against.RECORD),
)


def test_two_nights_give_the_metrics_of_their_definitions() -> None:
    found = transfer([FIRST, SECOND])
    assert found is not None
    assert (found.suites, found.versions) == (2, 2)
    assert found.average == pytest.approx((0.6 + 0.95) / 2)
    assert found.backward == pytest.approx(((0.6 - 0.8) + (0.95 - 0.9)) / 2)
    assert found.forgetting == pytest.approx(((0.8 - 0.6) + (1.0 - 0.95)) / 2)
    assert found.forward == pytest.approx(0.3 - 0.1)


def test_without_a_guarded_suite_or_a_night_there_is_nothing_to_say() -> None:
    assert transfer([]) is None
    assert transfer([night("v0001", measured("target", SuiteKind.TARGET, 0.0, 0.8))]) is None


shares = st.floats(0, 1)


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=6))
def test_forgetting_is_never_negative_and_bounds_the_loss(history: list[tuple[float, float]]) -> None:
    nights = [night(f"v{n}", measured("sums", SuiteKind.SKILL, *pair)) for n, pair in enumerate(history)]
    found = transfer(nights)
    assert found is not None
    assert found.forgetting >= 0
    assert found.backward >= -found.forgetting - 1e-9
    assert found.forward is None
