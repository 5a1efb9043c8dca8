"""A repeated night has a key of its own, and its frozen settings say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import digest_of
from everlearn.cycle.inputs import cycle_key, freeze_settings, restore_settings
from everlearn.cycle.record import current_cycle
from everlearn.gate.abandonment import charge
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from everlearn.training.models.fingerprint import fingerprint
from tasks.ingest import ClaimedSnapshot
from tasks.night import hold_line
from tasks.open_night import abandon_night, find_ended_night, inputs_of, open_night, resume_night, vary_seed
from tests.support.line import publish

if TYPE_CHECKING:
    from everlearn.settings import Settings

CLAIM = ClaimedSnapshot(data_digest=digest_of(b"data"), problems=25)


def end_night(settings: Settings) -> str:
    key = cycle_key(inputs_of(settings, data_digest=CLAIM.data_digest))
    open_registry(settings).record(EventKind.REJECTED, cycle_key=key, reason="worse", actor="night", detail={})
    return key


def test_repeated_nights_take_the_next_free_seed(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="everlearn.night")
    assert vary_seed.fn(settings, CLAIM) == settings, "nothing has ended, so nothing is varied"
    keys = [end_night(settings)]
    ended = find_ended_night.fn(settings, CLAIM)
    assert ended is not None
    assert "--again" not in str(ended["reason"])
    for seed in (1, 2):
        varied = vary_seed.fn(settings, CLAIM)
        assert varied.learn.seed == seed
        assert varied.root == settings.root
        assert find_ended_night.fn(varied, CLAIM) is None
        assert restore_settings(freeze_settings(varied), current=settings).learn.seed == seed
        keys.append(end_night(varied))
    assert len({*keys}) == 3
    assert "ended as rejected before; this one has learn.seed 2, not 0" in caplog.text


@pytest.mark.parametrize("is_measured", [True, False])
def test_a_measured_night_that_can_no_longer_publish_is_an_attempt(settings: Settings, *, is_measured: bool) -> None:
    registry = open_registry(settings)
    publish(registry, "one", base=fingerprint(settings.base_directory))
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, CLAIM)
        night.work.put("measured/candidate" if is_measured else "ladder", b"{}")
        registry.rollback(reason="wrong signs", actor="ada")
        assert resume_night.fn(settings, token) is None
    ends = [event for event in registry.state().history if event.cycle_key == night.key]
    assert [event.kind for event in ends] == [EventKind.INSUFFICIENT] * is_measured
    assert all("v0001, which was barred since" in event.reason for event in ends)


def test_a_night_that_was_given_up_but_not_closed_is_not_resumed(settings: Settings) -> None:
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, CLAIM)
        night.work.put("decision", b"{}")
        cycle = current_cycle(night.store, night.line)
        assert cycle is not None
        charge(night.registry, cycle, actor="ada", why="it hangs")
        assert resume_night.fn(settings, token) is None
        assert current_cycle(night.store, night.line) is None
        abandon_night(night, why="again")
    ended = find_ended_night.fn(settings, CLAIM)
    assert ended is not None
    assert "given up after its candidate was measured" in str(ended["reason"])
    assert str(ended["reason"]).endswith("`everlearn cycle --again` begins another one with the same data")


def test_without_problems_no_seed_is_varied(settings: Settings) -> None:
    end_night(settings)
    assert vary_seed.fn(settings, ClaimedSnapshot(data_digest=CLAIM.data_digest, problems=0)) == settings
