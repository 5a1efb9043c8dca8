"""List the daily schedules that leave local days without a night, in every time zone until the end of 2035.

    python -m bench.schedule_days [--step 30] [--json]

Each time of day, every `step` minutes, is a daily schedule in each zone of the machine's time zone database. A night is
lost for a local day when clocks go forward over its time at midnight: it starts before the change, on the day before.
Zones with the same clock changes are computed once. Tomorrow is the first day.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.schemas.schedules import CronSchedule

from everlearn.orchestration.cron_times import LAST_YEAR, days_of_skipped_hours, days_without_night

if TYPE_CHECKING:
    from collections.abc import Iterable

SAMPLED = timedelta(hours=6)
UNTIL = datetime(LAST_YEAR, 12, 31, tzinfo=UTC)


def main() -> None:
    """Print the zones and times that lose days, and how many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=30, metavar="MINUTES")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = datetime.now(tz=UTC) + timedelta(days=1)
    groups = zones_by_changes(sorted(available_timezones()), start=start)
    lost = [row for zones in groups for row in lost_days(zones, start=start, step=options.step)]
    facts = {
        "zones": sum(map(len, groups)),
        "groups": len(groups),
        "schedules": len(groups) * (24 * 60 // options.step),
    }
    if options.json:
        print(json.dumps(facts | {"lost": lost}))
        return
    for row in lost:
        print(f"{row['time']}: {row['days']} days, the first {row['first']}: {', '.join(row['zones'])}")
    print(f"{facts['zones']} zones in {facts['groups']} groups, {facts['schedules']} schedules", file=sys.stderr)


def zones_by_changes(zones: Iterable[str], *, start: datetime) -> list[list[str]]:
    """Return the zones in groups with the same offset from UTC every six hours from `start` to the end."""
    moments = [start + number * SAMPLED for number in range(int((UNTIL - start) / SAMPLED))]
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for zone in zones:
        info = ZoneInfo(zone)
        groups[tuple(moment.astimezone(info).utcoffset() for moment in moments)].append(zone)
    return list(groups.values())


def lost_days(zones: list[str], *, start: datetime, step: int) -> list[dict[str, Any]]:
    """Return a row for each time of day that loses days in these zones."""
    rows: list[dict[str, Any]] = []
    if not any(days_of_skipped_hours(ZoneInfo(zones[0]), start=start, until=UNTIL)):
        return rows
    for minutes in range(0, 24 * 60, step):
        schedule = CronSchedule(cron=f"{minutes % 60} {minutes // 60} * * *", timezone=zones[0])
        days = days_without_night(schedule, start=start, until=UNTIL)
        if days:
            time = f"{minutes // 60:02}:{minutes % 60:02}"
            rows.append({"time": time, "days": len(days), "first": str(days[0]), "zones": zones})
            print(rows[-1], file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
