"""Schedules: when something is due next, as pure functions of what time it is.

Times are seconds since 1970, as `Port.wall` has them. Nobody's safety rests on them: that a job runs once at a time,
and once for each time it is due, is seen to by leases and by what stands in the tree (`singleton_job.py`).

This module must not know what time it is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from math import floor
from typing import Protocol

from zkcore.errors import InvalidScheduleError

__all__ = ["Cron", "Every", "Schedule"]

_LONGEST = 366 * 86400.0

_FARTHEST_DAYS = 366 * 9
"""A day that does not come within so many, such as the 31st of February, never does: leap years are eight apart at
most."""

_NICKNAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


class Schedule(Protocol):
    """When something is due. Objects of yours will do; what they answer must depend on nothing but the question."""

    def next_after(self, time: float, /) -> float:
        """The first time it is due that is later than `time`."""


class Every:
    """Due every so many `seconds`, from 1970 on, so that everybody means the same times: `Every(3600)` is due at each
    full hour. Raises InvalidScheduleError."""

    def __init__(self, seconds: float) -> None:
        if not 0.001 <= seconds <= _LONGEST:
            raise InvalidScheduleError(f"every {seconds} seconds; give between 0.001 and {_LONGEST:.0f} (a year)")
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"Every({self.seconds})"

    def next_after(self, time: float, /) -> float:
        """See Schedule."""
        count = floor(time / self.seconds) + 1
        due = count * self.seconds
        return due if due > time else (count + 1) * self.seconds


class Cron:
    """Due as a line of a crontab says: minute, hour, day of the month, month and day of the week.

    ::

        Cron("*/5 * * * *")                                       # every five minutes
        Cron("30 2 * * mon-fri", zone=ZoneInfo("Europe/Berlin"))  # at half past two on working days

    Each field is `*`, a number, a range `1-5`, either with a step `*/15`, or several of them with commas; months and
    days of the week have names, too, and 7 is Sunday as well as 0. Where both the day of the month and that of the week
    are restricted, it is due when either fits, as ever in cron. There are `@hourly`, `@daily`, `@weekly`, `@monthly`
    and `@yearly`. In a `zone` (UTC by default) what a change to summer time leaves out is not due, and what comes twice
    when it ends is due the first time. Raises InvalidScheduleError for what is no such line, or is never due.
    """

    def __init__(self, line: str, *, zone: tzinfo = UTC) -> None:
        self.line = line
        self.zone = zone
        fields = _NICKNAMES.get(line.strip().lower(), line).split()
        if len(fields) != 5:
            raise InvalidScheduleError(
                f"{line!r} has {len(fields)} fields; give five: minute, hour, day of the month, month, day of the week"
            )
        self._minutes = _values(line, fields[0], "minute", 0, 59)
        self._hours = _values(line, fields[1], "hour", 0, 23)
        self._days = _values(line, fields[2], "day of the month", 1, 31)
        self._months = _values(line, fields[3], "month", 1, 12, _MONTHS)
        self._weekdays = frozenset(day % 7 for day in _values(line, fields[4], "day of the week", 0, 7, _DAYS))
        self._either = not (fields[2].startswith("*") or fields[4].startswith("*"))
        self.next_after(0)  # raises where it is never due

    def __repr__(self) -> str:
        return f"Cron({self.line!r})"

    def next_after(self, time: float, /) -> float:
        """See Schedule."""
        at = datetime.fromtimestamp(floor(time / 60) * 60 + 60, UTC)
        last = at + timedelta(days=_FARTHEST_DAYS)
        while at < last:
            local = at.astimezone(self.zone)
            if not self._is_day(local):
                at = self._later(at, local, hour=0, days=1)
            elif local.hour not in self._hours:
                at = self._later(at, local, hour=local.hour, hours=1)
            elif local.minute not in self._minutes or local.fold:
                at += timedelta(minutes=1)
            else:
                return at.timestamp()
        raise InvalidScheduleError(f"{self.line!r} is never due: there is no such day; choose another")

    def _later(self, at: datetime, local: datetime, *, hour: int, days: int = 0, hours: int = 0) -> datetime:
        """When the next day or hour begins; a minute later where the clocks are changed just then."""
        wall = local.replace(hour=hour, minute=0, fold=0) + timedelta(days=days, hours=hours)
        later = wall.astimezone(UTC)
        return later if at < later else at + timedelta(minutes=1)

    def _is_day(self, local: datetime) -> bool:
        if local.month not in self._months:
            return False
        by_date, by_week = local.day in self._days, local.isoweekday() % 7 in self._weekdays
        return by_date or by_week if self._either else by_date and by_week


def _values(
    line: str, text: str, what: str, first: int, last: int, names: list[str] | None = None
) -> frozenset[int]:
    """The numbers that a field stands for."""
    found: set[int] = set()
    for part in text.lower().split(","):
        span, has_step, step = part.partition("/")
        low, is_range, high = span.partition("-")
        try:
            if span == "*":
                begin, end = first, last
            else:
                begin = _number(low, first, names)
                end = _number(high, first, names) if is_range else last if has_step else begin
            by = int(step) if has_step else 1
            if not (first <= begin <= end <= last and by > 0):
                raise ValueError
        except ValueError:
            raise InvalidScheduleError(
                f"{line!r}: {part!r} is no {what}; give numbers from {first} to {last}, `*`, ranges and steps"
            ) from None
        found.update(range(begin, end + 1, by))
    return frozenset(found)


def _number(text: str, first: int, names: list[str] | None) -> int:
    if names is not None and text in names:
        return names.index(text) + first
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
