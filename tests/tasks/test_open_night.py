"""A repeated night has a key of its own, and its frozen settings say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.cycle.inputs import cycle_key, freeze_settings, restore_settings
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from tasks.ingest import ClaimedSnapshot
from tasks.open_night import find_ended_night, inputs_of, vary_seed

if TYPE_CHECKING:
    import pytest

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
    assert find_ended_night.fn(settings, CLAIM) is not None
    for seed in (1, 2):
        varied = vary_seed.fn(settings, CLAIM)
        assert varied.learn.seed == seed
        assert varied.root == settings.root
        assert find_ended_night.fn(varied, CLAIM) is None
        assert restore_settings(freeze_settings(varied), current=settings).learn.seed == seed
        keys.append(end_night(varied))
    assert len({*keys}) == 3
    assert "ended as rejected before; this one has learn.seed 2, not 0" in caplog.text


def test_without_problems_no_seed_is_varied(settings: Settings) -> None:
    end_night(settings)
    assert vary_seed.fn(settings, ClaimedSnapshot(data_digest=CLAIM.data_digest, problems=0)) == settings
