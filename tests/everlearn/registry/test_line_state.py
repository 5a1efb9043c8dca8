"""Laws of the fold from events to state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError
from everlearn.registry.events import Event, EventKind
from everlearn.registry.line_state import State, champion_after_each, fold, version_name, version_number
from tests.support.line import WHEN


def after(state: State, kind: EventKind, *, cycle_key: str | None = None, **detail: Any) -> Event:
    """Return the next event of a history."""
    number = state.sequence + 1
    return Event(
        sequence=number,
        previous=state.tip,
        kind=kind,
        actor="ada",
        reason="because",
        at=WHEN,
        cycle_key=cycle_key,
        detail=detail,
        digest=f"digest {number}",
    )


def published(state: State, *, champion: bool = True, parent: str | None = None) -> Event:
    version = state.next_version
    detail: dict[str, Any] = {"version": version, "champion": champion, "manifest": f"m {version}"}
    detail |= {"data_digest": f"d {version}", "base_fingerprint": "b", "parent": parent}
    return after(state, EventKind.PUBLISHED, cycle_key=f"c {state.sequence}", **detail)


def rolled_back(state: State, to: str | None, *, barred: bool = True) -> Event:
    detail: dict[str, Any] = {"from": state.champion, "to": to, "barred": barred}
    return after(state, EventKind.ROLLED_BACK, **detail)


def line_of(count: int) -> State:
    state = State()
    for _ in range(count):
        state = fold([published(state)], start=state)
    return state


def add(state: State, event: Event) -> State:
    return fold([event], start=state)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Return any history that the rules allow."""
    state, events = State(), []
    for _ in range(draw(st.integers(min_value=0, max_value=12))):
        there = [each for each in state.versions if not state.versions[each].retired]
        good = [each for each in there if each not in state.barred]
        spare = [each for each in there if each not in state.ever_champion]
        choices = ["published", "rejected", "suite"]
        choices += ["promoted"] if good else []
        choices += ["approved", "barred", "unbarred"] if state.versions else []
        choices += ["retired"] if spare else []
        choices += ["rolled back"] if state.champion else []
        match draw(st.sampled_from(choices)):
            case "published":
                parent = draw(st.sampled_from([None, *good]))
                event = published(state, champion=draw(st.booleans()), parent=parent)
            case "rejected":
                event = after(state, EventKind.REJECTED, cycle_key=f"c {state.sequence}")
            case "suite":
                event = after(state, EventKind.SUITE_CHANGED, suite="skill")
            case "rolled back":
                event = rolled_back(
                    state,
                    draw(st.sampled_from([None, *(each for each in good if each != state.champion)])),
                    barred=draw(st.booleans()),
                )
            case "retired":
                event = after(state, EventKind.RETIRED, versions=draw(st.lists(st.sampled_from(spare), unique=True)))
            case "promoted":
                event = after(state, EventKind.PROMOTED, version=draw(st.sampled_from(good)))
            case kind:
                event = after(state, EventKind(kind), version=draw(st.sampled_from(list(state.versions))))
        state = add(state, event)
        events.append(event)
    return events


@given(events=histories(), cut=st.integers(min_value=0, max_value=12))
def test_fold_in_two_parts_equals_one_fold(events: list[Event], cut: int) -> None:
    assert fold(events[cut:], start=fold(events[:cut])) == fold(events)


@given(events=histories())
def test_fold_does_not_change_earlier_states(events: list[Event]) -> None:
    states = [fold(events[:count]) for count in range(len(events) + 1)]
    for number, event in enumerate(events):
        before = states[number]
        assert fold([event], start=before) == states[number + 1]
        assert before == fold(events[:number])


@given(events=histories())
def test_history_is_whole_and_versions_have_no_gap(events: list[Event]) -> None:
    state = fold(events)
    assert state.history == tuple(events)
    assert list(state.versions) == [version_name(number + 1) for number in range(len(state.versions))]
    assert [state.tip_at(event.sequence) for event in events] == [event.digest for event in events]
    assert state.tip_at(0) is None


@given(events=histories())
def test_last_good_is_neither_barred_nor_champion(events: list[Event]) -> None:
    state = fold(events)
    assert state.last_good is None or state.last_good not in {state.champion, *state.barred}
    assert state.champions[0] is None
    assert state.champions[-1] == state.champion


@given(events=histories())
def test_repeated_rollbacks_end_at_the_base_model(events: list[Event]) -> None:
    state = fold(events)
    while state.champion is not None:
        further = add(state, rolled_back(state, state.last_good, barred=False))
        assert len(further.champions) < len(state.champions)
        state = further


@given(events=histories())
def test_watermark_is_the_data_of_published_nights(events: list[Event]) -> None:
    kept = [event.detail["data_digest"] for event in events if event.kind is EventKind.PUBLISHED]
    assert list(fold(events).claimed) == kept


@given(events=histories())
def test_ever_champion_has_each_champion_once(events: list[Event]) -> None:
    seen = [fold(events[:count]).champion for count in range(len(events) + 1)]
    state = fold(events)
    assert list(state.ever_champion) == list(dict.fromkeys(each for each in seen if each))
    assert not [each for each in state.ever_champion if state.versions[each].retired]
    assert {each for each in state.champions if each} <= set(state.ever_champion)


@given(events=histories())
def test_retired_version_never_returns(events: list[Event]) -> None:
    state = fold(events)
    named = [each for event in events if event.kind is EventKind.RETIRED for each in event.detail["versions"]]
    assert [each for each in state.versions if state.versions[each].retired] == sorted(named)
    for version in named:
        ways = [after(state, EventKind.PROMOTED, version=version), published(state, parent=version)]
        ways += [after(state, EventKind.RETIRED, versions=[version])]
        ways += [rolled_back(state, version)] if state.champion else []
        for event in ways:
            with pytest.raises(IntegrityError, match=rf"{version} (is retired|is barred|was retired before)"):
                add(state, event)


@given(events=histories())
def test_retiring_changes_no_champion_or_watermark(events: list[Event]) -> None:
    state = fold(events)
    for version, entry in state.versions.items():
        if entry.retired or version in state.ever_champion:
            continue
        later = add(state, after(state, EventKind.RETIRED, versions=[version]))
        assert (later.champions, later.claimed, later.next_version) == (
            state.champions,
            state.claimed,
            state.next_version,
        )
        assert later.versions == {**state.versions, version: replace(entry, retired=True)}


@given(events=histories())
def test_every_event_of_a_history_survives_json(events: list[Event]) -> None:
    for event in events:
        content = parse(canonical(event.to_content()), name="it")
        assert Event.from_content(content, digest=event.digest) == event


@given(events=histories())
def test_champion_after_each_event_is_that_of_the_fold(events: list[Event]) -> None:
    assert list(champion_after_each(events)) == [fold(events[: n + 1]).champion for n in range(len(events))]


def test_rollback_bars_the_version_and_flags_its_data() -> None:
    state = line_of(2)
    after_it = add(state, rolled_back(state, "v0001"))
    assert (after_it.champion, after_it.barred, after_it.flagged) == ("v0001", ("v0002",), ("d v0002",))
    assert add(state, rolled_back(state, "v0001", barred=False)).barred == ()


def test_next_rollback_goes_further_back_without_barring() -> None:
    state = line_of(3)
    state = add(state, rolled_back(state, "v0002", barred=False))
    assert state.last_good == "v0001"


def test_rollback_to_a_new_champion_keeps_earlier_ones() -> None:
    state = line_of(1)
    state = add(state, published(state, champion=False))
    state = add(state, published(state))
    assert add(state, rolled_back(state, "v0002")).champions == (None, "v0001", "v0002")


def test_promotion_can_be_rolled_back() -> None:
    state = line_of(2)
    state = add(state, after(state, EventKind.PROMOTED, version="v0001"))
    assert (state.champion, state.last_good) == ("v0001", "v0002")


def test_barred_and_approved_are_recorded() -> None:
    state = line_of(1)
    state = add(state, after(state, EventKind.BARRED, version="v0001"))
    state = add(state, after(state, EventKind.APPROVED, version="v0001"))
    assert (state.versions["v0001"].barred, state.versions["v0001"].approved) == (True, True)
    assert not add(state, after(state, EventKind.UNBARRED, version="v0001")).versions["v0001"].barred


def test_cycle_is_found_by_its_key() -> None:
    state = line_of(1)
    state = add(state, after(state, EventKind.REJECTED, cycle_key="other"))
    assert state.version_of("c 0") == state.versions["v0001"]
    assert state.version_of("other") is None
    assert state.version_of("unknown") is None
    assert state.cycles["other"].kind is EventKind.REJECTED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sequence": 7}, "expected number 3"),
        ({"previous": "another"}, "it does not follow the event before it"),
        ({"cycle_key": "c 0"}, "its cycle ended before"),
        ({"kind": "vanished"}, "of the unknown kind 'vanished'"),
        ({"kind": EventKind.PUBLISHED, "detail": {"version": "v0009"}}, "expected version v0003"),
        ({"kind": EventKind.PUBLISHED, "detail": {"version": "v0003"}}, "it names no cycle"),
        ({"kind": EventKind.PUBLISHED, "detail": {"version": "v0003"}, "cycle_key": "x"}, "lacks 'parent'"),
        ({"kind": EventKind.PROMOTED, "detail": {"version": "v0009"}}, "v0009 does not exist"),
        ({"kind": EventKind.BARRED, "detail": {"version": "v0009"}}, "v0009 does not exist"),
        ({"kind": EventKind.BARRED, "detail": {"version": []}}, "lacks"),
        ({"kind": EventKind.RETIRED, "detail": {}}, "lacks 'versions'"),
        ({"kind": EventKind.RETIRED, "detail": {"versions": ["v0009"]}}, "v0009 does not exist"),
        ({"kind": EventKind.RETIRED, "detail": {"versions": ["v0001"]}}, "v0001 was champion once, so it is kept"),
        ({"kind": EventKind.ROLLED_BACK, "detail": {"from": "v0001", "to": None}}, "v0001 was not the champion"),
        ({"kind": EventKind.ROLLED_BACK, "detail": {"from": None, "to": None}}, "None was not the champion"),
        ({"kind": EventKind.ROLLED_BACK, "detail": {"from": "v0002", "to": None}}, "lacks 'barred'"),
        (
            {"kind": EventKind.ROLLED_BACK, "detail": {"from": "v0002", "to": "v0002", "barred": True}},
            "v0002 is barred",
        ),
    ],
)
def test_history_that_breaks_a_rule_is_refused(change: dict[str, Any], why: str) -> None:
    state = line_of(2)
    event = replace(after(state, EventKind.SUITE_CHANGED), **change)
    with pytest.raises(IntegrityError, match=why):
        add(state, event)


@given(number=st.integers(min_value=0, max_value=10**6))
def test_a_version_name_gives_its_number(number: int) -> None:
    assert version_number(version_name(number)) == number


@pytest.mark.parametrize("name", ["champion", "v7", "v00007", "v0007 ", "0007", "v\u0660\u0660\u0660\u0667"])
def test_another_name_has_no_version_number(name: str) -> None:
    assert version_number(name) is None
