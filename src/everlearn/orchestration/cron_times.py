"""Start times of a cron schedule, computed by Prefect's own scheduler, and the refusal of schedules that cannot work.

    schedule = parse_schedule("30 2 * * *", "Europe/Berlin")
    next_times(schedule, n=5, start=now)                       # in the schedule's time zone
    days_without_night(schedule, start=now, until=in_2035)     # local days that lose their night to a clock change

In the hour that is repeated when clocks go back, a night starts once. A time that is skipped when clocks go forward
becomes the same time before the change, which is an hour earlier: a night of 02:30 starts at 01:30. Where clocks go
forward at midnight, the night of 00:30 starts at 23:30, so that the day itself has none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as ServerSchedule
from pydantic import ValidationError

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = ("minute", "hour", "day of month", "month", "day of week")
SHOWN = 5
LAST_YEAR = 2035
DAY = timedelta(days=1)


def parse_schedule(cron: object, timezone: object) -> CronSchedule:
    """Return a cron schedule of five fields in a time zone.

    Raises:
        BadInputError: the expression or the time zone is invalid, has seconds, or matches no date. A schedule that
            matches no date would stop the server's scheduler for other deployments, too.
    """
    given = f"{cron!r} in {timezone!r} is not a valid schedule"
    try:
        schedule = CronSchedule.model_validate({"cron": cron, "timezone": timezone})
    except ValidationError as error:
        raise BadInputError(f"{given}: {error.errors()[0]['msg']}") from None
    try:
        times = ", ".join(f"{each:%Y-%m-%d %H:%M:%S}" for each in next_times(schedule, n=SHOWN))
    except ValueError:
        raise BadInputError(f"{given}: no date matches it; correct the day of month or the month") from None
    if not schedule.timezone:
        raise BadInputError(f"{given}: the time zone is empty; name one. In UTC the next times are {times}")
    if len(schedule.cron.split()) > len(FIELDS):
        fields = ", ".join(FIELDS)
        raise BadInputError(f"{given}: it has seconds, so that the next times are {times}; give five fields: {fields}")
    return schedule


def next_times(schedule: CronSchedule, *, n: int, start: datetime | None = None) -> tuple[datetime, ...]:
    """Return the first `n` times at or after `start` (now), in the schedule's time zone. ValueError if there is none."""
    return _times(schedule, n=n, start=start or datetime.now(tz=UTC))


def midnight_warning(schedule: CronSchedule) -> str | None:
    """Return a warning if local days get no night until LAST_YEAR, because clocks go forward over midnight."""
    days = days_without_night(schedule, start=datetime.now(tz=UTC), until=datetime(LAST_YEAR, 12, 31, tzinfo=UTC))
    if not days:
        return None
    return (
        f"clocks in {schedule.timezone} go forward over this time at night: on {len(days)} days until {LAST_YEAR}, the "
        f"first {days[0]}, the night starts on the day before; from 03:00 on, each day has its night"
    )


def days_without_night(schedule: CronSchedule, *, start: datetime, until: datetime) -> tuple[date, ...]:
    """Return the local days that match the schedule, but whose night a clock change moves to the day before."""
    zone = ZoneInfo(schedule.timezone or "UTC")
    clockless = schedule.model_copy(update={"timezone": "UTC"})
    return tuple(
        day
        for day in days_of_skipped_hours(zone, start=start, until=until)
        if _has_night(clockless, day) and not _has_night(schedule, day)
    )


def days_of_skipped_hours(zone: ZoneInfo, *, start: datetime, until: datetime) -> Iterator[date]:
    """Yield the local days that may contain the moment when clocks go forward."""
    midnight = datetime(start.year, start.month, start.day, tzinfo=zone)
    while midnight <= until:
        offsets = (midnight - DAY).utcoffset(), (midnight + DAY).utcoffset()
        if offsets[0] is not None and offsets[1] is not None and offsets[0] < offsets[1]:
            yield midnight.date()
        midnight += DAY


def _has_night(schedule: CronSchedule, day: date) -> bool:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(schedule.timezone or "UTC"))
    return any(each.date() == day for each in _times(schedule, start=noon - DAY, end=noon + DAY))


def _times(
    schedule: CronSchedule, *, n: int | None = None, start: datetime, end: datetime | None = None
) -> tuple[datetime, ...]:
    scheduler = ServerSchedule(cron=schedule.cron, timezone=schedule.timezone, day_or=schedule.day_or)
    zone = ZoneInfo(schedule.timezone or "UTC")
    # `get_dates` is this generator behind a coroutine; Prefect's own dates are pendulum's.
    times = scheduler._get_dates_generator(n=n, start=start, end=end)  # noqa: SLF001 - see above
    return tuple(datetime.fromtimestamp(each.timestamp(), tz=zone) for each in times)
