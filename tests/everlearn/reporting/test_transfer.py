"""Continual-learning metrics: worked examples, lines that change, and laws that hold for any history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against, SuiteRow
from everlearn.reporting.transfer import MeasuredNight, Transfer, share_metrics, shares_in, transfer, transfer_in
from tests.support.manifests import row


def measured(
    suite: str, kind: SuiteKind, before: float, after: float, *, against: Against = Against.PARENT, n: int = 200
) -> SuiteRow:
    return replace(row(against), suite=suite, kind=kind, before=before, after=after, n=n)


def target(before: float, after: float, *, against: Against = Against.PARENT, n: int = 200) -> SuiteRow:
    return measured("target", SuiteKind.TARGET, before, after, against=against, n=n)


def night(*rows: SuiteRow, **memory: tuple[float, float]) -> MeasuredNight:
    return MeasuredNight(rows=rows, memory={f"memory-{version}": shares for version, shares in memory.items()})


FIRST = night(target(0.0, 0.8), measured("sums", SuiteKind.SKILL, 0.9, 1.0))
SECOND = night(
    target(0.3, 0.7),
    target(0.1, 0.7, against=Against.BASE),
    measured("fillers", SuiteKind.GENERATED, 0.3, 0.9),
    measured("sums", SuiteKind.SKILL, 1.0, 0.95, against=Against.RECORD),
    v0001=(0.75, 0.6),
)
THIRD = night(
    target(0.5, 0.5),
    target(0.2, 0.5, against=Against.BASE),
    measured("sums", SuiteKind.SKILL, 1.0, 0.97),
    v0001=(0.6, 0.9),
    v0002=(0.7, 0.65),
)


def test_the_first_night_has_an_average_and_no_forward_transfer() -> None:
    found = transfer([FIRST])
    assert found is not None
    assert (found.suites, found.nights, found.forward, found.intransigence) == (2, 1, None, 0.0)
    assert found.average == pytest.approx((0.8 + 1.0) / 2)
    assert found.backward == pytest.approx(0.1)
    assert found.forgetting == pytest.approx(-0.1)


def test_three_nights_give_the_metrics_of_their_definitions() -> None:
    found = transfer([FIRST, SECOND, THIRD])
    assert found is not None
    assert (found.suites, found.nights) == (4, 3)
    assert found.average == pytest.approx((0.97 + 0.9 + 0.65 + 0.5) / 4)
    assert found.backward == pytest.approx(((0.97 - 0.9) + (0.9 - 0.75) + (0.65 - 0.7)) / 3)
    assert found.forgetting == pytest.approx(((1.0 - 0.97) + (0.75 - 0.9) + (0.7 - 0.65)) / 3)
    assert found.forward == pytest.approx(((0.3 - 0.1) + (0.5 - 0.2)) / 2)
    assert found.intransigence == pytest.approx(((0.9 - 0.75) + 0.0 + 0.0) / 3)


def test_a_night_with_only_a_target_has_nothing_to_forget() -> None:
    found = transfer([night(target(0.4, 0.3), target(0.5, 0.3, against=Against.BEST))])
    assert found == Transfer(suites=1, nights=1, average=0.3, intransigence=0.5 - 0.3)


def test_without_a_measurement_there_is_nothing_to_say() -> None:
    assert transfer([]) is None
    assert transfer([FIRST, night()]) is None


def test_several_targets_count_as_one_by_their_items() -> None:
    found = transfer([night(target(0.0, 0.5, n=300), replace(target(0.0, 1.0, n=100), suite="target-two"))])
    assert found is not None
    assert found.average == pytest.approx(0.625)


def test_a_thinned_memory_goes_on_and_a_changed_skill_suite_begins_again() -> None:
    def skill(n: int) -> SuiteRow:
        return measured("sums", SuiteKind.SKILL, 0.5, 0.5, n=n)

    found = transfer([FIRST, SECOND, replace(THIRD, rows=(skill(150),))])
    assert found is not None
    assert found.backward == pytest.approx((0.0 + (0.9 - 0.75) + (0.65 - 0.7)) / 3)


def test_a_retired_suite_counts_no_longer() -> None:
    found = transfer([FIRST, SECOND, night(target(0.5, 0.6))])
    assert found is not None
    assert (found.suites, found.backward, found.forgetting) == (1, None, None)


def test_memory_of_an_older_release_is_read_from_its_rows_where_each_is_of_one_night() -> None:
    rows = [measured(f"memory-{name}", SuiteKind.MEMORY, 0.8, 0.4) for name in ("v0001", "older", "all")]
    later = night(target(0.1, 0.2), v0001=(0.4, 0.5))
    found = transfer([FIRST, night(target(0.1, 0.2), *rows), later])
    assert found is not None
    assert found.suites == 2
    assert found.backward == pytest.approx(0.5 - 0.8)


def test_a_version_without_measurements_in_between_is_passed_over() -> None:
    found, without = transfer([FIRST, night(), SECOND]), transfer([FIRST, SECOND])
    assert found is not None
    assert without is not None
    assert replace(found, nights=2) == without


shares = st.floats(0, 1)
pairs = st.tuples(shares, shares)


@given(st.lists(st.tuples(pairs, pairs), min_size=1, max_size=6))
def test_forgetting_bounds_the_loss_and_intransigence_is_never_negative(
    history: list[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    nights = [night(measured("sums", SuiteKind.SKILL, *skill), v0001=memory) for skill, memory in history]
    found = transfer(nights)
    assert found is not None
    assert found.backward is not None
    assert found.forgetting is not None
    assert found.intransigence is not None
    assert found.forgetting >= -found.backward - 1e-9
    assert found.intransigence >= max(0.0, min(0.0, found.backward))
    assert found.forward is None


@given(st.dictionaries(st.sampled_from(["memory-v0001", "memory-v0002"]), pairs))
def test_metrics_of_a_manifest_give_the_same_metrics_and_shares(memory: dict[str, tuple[float, float]]) -> None:
    found = transfer([FIRST, SECOND])
    assert found is not None
    stored = share_metrics(memory) | found.metrics() | {"skill": 0.9}
    assert transfer_in(stored) == found
    assert shares_in(stored) == memory


def test_a_night_that_stored_no_metrics_has_none() -> None:
    assert transfer_in({"skill": 0.9, "items/own": 3.0}) is None
    first = transfer([FIRST])
    assert first is not None
    assert transfer_in(first.metrics()) == first


def test_words_leave_out_what_is_not_known() -> None:
    found = Transfer(suites=1, nights=2, average=0.812, forward=0.04, forgetting=-0.001)
    words = "over 1 suite and 2 nights: average accuracy 81.2 %, forward transfer +4.0, forgetting -0.1"
    assert found.in_words == words
