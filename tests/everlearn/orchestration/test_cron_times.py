"""Start times of cron schedules: one night for each local day, with the exceptions that are stated."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.orchestration.cron_times import days_without_night, next_times, parse_schedule
from tests.support.night import ROOT

LOSING = dict.fromkeys(
    [
        *("Africa/Cairo", "Egypt", "America/Havana", "Cuba", "America/Santiago", "Chile/Continental"),
        *("Asia/Beirut", "Atlantic/Azores"),
    ],
    "30 0 * * *",
) | {"Antarctica/Troll": "30 1 * * *"}
NOW = datetime(2026, 11, 28, tzinfo=UTC)
LATER = datetime(2035, 12, 31, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "UTC")
MIDNIGHT_ZONES = ("Africa/Cairo", "America/Santiago", "America/Havana", "Asia/Beirut")


@given(
    zone=st.sampled_from(ZONES + MIDNIGHT_ZONES),
    minutes=st.integers(0, 24 * 60 - 1),
    start=st.integers(0, 9 * 365).map(lambda days: NOW + timedelta(days=days)),
)
def test_each_local_day_has_one_night_or_is_reported(zone: str, minutes: int, start: datetime) -> None:
    schedule = parse_schedule(f"{minutes % 60} {minutes // 60} * * *", zone)
    nights = next_times(schedule, n=15, start=start)
    assert nights == tuple(sorted(set(nights)))
    reported = days_without_night(schedule, start=nights[0] - timedelta(days=2), until=nights[-1] + timedelta(days=2))
    days = [night.date() for night in nights]
    expected = [days[0] + timedelta(days=number) for number in range((days[-1] - days[0]).days + 1)]
    assert sorted(set(expected) - set(days)) == [day for day in reported if days[0] < day <= days[-1]]
    assert [day for day in days if days.count(day) > 1] == [
        day - timedelta(days=1) for day in reported for _ in range(2) if day - timedelta(days=1) in days[:-1]
    ]


@pytest.mark.parametrize("zone", ZONES)
def test_zones_without_midnight_changes_miss_no_day(zone: str) -> None:
    assert days_without_night(parse_schedule("30 0 * * *", zone), start=NOW, until=LATER) == ()


@pytest.mark.parametrize("zone", LOSING)
def test_zones_whose_clocks_go_forward_over_midnight_lose_one_night_a_year(zone: str) -> None:
    for cron, lost in ((LOSING[zone], 1), ("0 3 * * *", 0)):
        assert (
            len(days_without_night(parse_schedule(cron, zone), start=NOW, until=datetime(2027, 12, 31, tzinfo=UTC)))
            == lost
        )


def test_the_zones_that_the_docs_name_are_zones_that_lose_a_night() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Z]\w+/\w+)`", page[page.index("Exceptions to one night") :].split("\n\n")[0])
    assert named
    assert set(named) <= set(LOSING)


def test_the_days_that_lose_their_night_are_known() -> None:
    cairo = days_without_night(parse_schedule("30 0 * * *", "Africa/Cairo"), start=NOW, until=LATER)
    assert (cairo[0], len(cairo)) == (date(2027, 4, 30), 9)
    assert days_without_night(parse_schedule("0 1 * * *", "Africa/Cairo"), start=NOW, until=LATER) == ()
    fridays = days_without_night(parse_schedule("30 0 * * 5", "Africa/Cairo"), start=NOW, until=LATER)
    assert fridays == cairo, "clocks change on Fridays"
    assert days_without_night(parse_schedule("30 0 * * 1", "Africa/Cairo"), start=NOW, until=LATER) == ()


def test_times_are_in_the_zone_of_the_schedule() -> None:
    schedule = parse_schedule("30 2 * * *", "Europe/Berlin")
    first, second = next_times(schedule, n=2, start=datetime(2027, 3, 27, 12, tzinfo=UTC))
    assert first == datetime(2027, 3, 28, 1, 30, tzinfo=ZoneInfo("Europe/Berlin")), "02:30 is skipped"
    assert second == datetime(2027, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
