"""Cron expressions of five fields, and the forms that each service takes instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

from reward_finetuning.config import UserError

_NAMES = ("minute", "hour", "day of month", "month", "day of week")
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_WORDS = {3: dict(zip(_MONTHS, range(1, 13), strict=True)), 4: dict(zip(_DAYS, range(7), strict=True))}
_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>\w{1,4})(?:-(?P<last>\w{1,4}))?)(?:/(?P<step>\d{1,4}))?", re.ASCII)
_LEAP_CYCLE = 366 * 8
"""Days within which the rarest date, 29 February, comes for sure (1896, 1904)."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Five checked fields: minute, hour, day of month, month, day of week."""

    fields: tuple[str, str, str, str, str]
    """In digits, Sunday being 0; a field that begins with `*` restricts nothing or every n-th."""

    values: tuple[frozenset[int], ...]
    """What each field admits."""

    def __str__(self) -> str:
        """Five fields."""
        return " ".join(self.fields)

    def for_kfp(self) -> str:
        """Six fields, seconds first, as robfig/cron 1.2 reads them; it knows no time zone and no Sunday 7."""
        return f"0 {self}"

    def for_vertex(self, timezone: str) -> str:
        """Five fields and the time zone in front."""
        return f"TZ={timezone} {self}"

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`, in its time zone; None where none ever comes.

        Wall times that a change to summer time leaves out do not count.
        """
        zone = moment.tzinfo
        assert zone is not None
        for day in range(_LEAP_CYCLE):
            for time in self._times(moment.date() + timedelta(days=day), zone):
                exists = time.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == time.replace(tzinfo=None)
                if exists and time.astimezone(UTC) > moment.astimezone(UTC):
                    return time
        return None

    def _times(self, day: date, zone: tzinfo) -> Iterator[datetime]:
        if self._on(day):
            for hour in sorted(self.values[1]):
                for minute in sorted(self.values[0]):
                    yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)

    def _on(self, day: date) -> bool:
        """Cron's rule: where both kinds of day are restricted, either is enough."""
        of_month, of_week = day.day in self.values[2], day.isoweekday() % 7 in self.values[4]
        either = not self.fields[2].startswith("*") and not self.fields[4].startswith("*")
        return day.month in self.values[3] and (of_month or of_week if either else of_month and of_week)


def parse_cron(text: str) -> Cron:
    """Read five fields.

    Raises:
        UserError: the field that is wrong, and what it may hold.
    """
    words = text.split()
    if len(words) != len(_NAMES):
        fields = ", ".join(_NAMES)
        raise UserError(f"cron {text!r} has {len(words)} fields; five are needed: {fields}, e.g. '0 3 * * 1'")
    values = tuple(_values(field, at, text) for at, field in enumerate(words))
    minute, hour, day, month, weekday = (_canonical(f, v) for f, v in zip(words, values, strict=True))
    cron = Cron((minute, hour, day, month, weekday), values)
    if cron.next_after(datetime(2024, 1, 1, tzinfo=UTC)) is None:
        raise UserError(f"cron {text!r} never comes: none of its months has that day")
    return cron


def check_cron(text: str, timezone: str | None) -> Cron:
    """Read five fields and a time zone, if one is given.

    Raises:
        UserError: either is wrong.
    """
    if timezone is not None:
        parse_timezone(timezone)
    return parse_cron(text)


def from_kfp(cron: str) -> str:
    """The five fields of `Cron.for_kfp`; anything else as it is."""
    return cron.removeprefix("0 ") if len(cron.split()) == 6 else cron


def from_vertex(cron: str) -> tuple[str, str]:
    """Five fields and the time zone of `Cron.for_vertex`; Vertex' own time zone is UTC."""
    match = re.fullmatch(r"(?:CRON_)?TZ=(\S+)\s+(.*)", cron)
    return (match.group(2), match.group(1)) if match else (cron, "UTC")


def parse_timezone(name: str) -> tzinfo:
    """A time zone of the IANA database.

    Raises:
        UserError: there is none of that name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UserError(f"no time zone {name!r}; write it as the IANA does, e.g. Europe/Berlin or UTC") from None


def _values(field: str, at: int, text: str) -> frozenset[int]:
    low, high = _BOUNDS[at]
    numbers: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        first, last = _ends(match, at) if match else (-1, -1)
        step = int(match["step"] or 1) if match else 0
        if not low <= first <= last <= high or step == 0:
            raise _wrong(field, at, text)
        numbers |= set(range(first, last + 1, step))
    return frozenset(value % 7 for value in numbers) if at == 4 else frozenset(numbers)


def _ends(match: re.Match[str], at: int) -> tuple[int, int]:
    """First and last value of one part; (-1, -1) for what is none."""
    low, high = _BOUNDS[at]
    if match["star"]:
        return low, 6 if at == 4 else high
    if match["step"] and match["last"] is None:
        return -1, -1  # `5/15`: implementations differ on what that means
    first = _number(match["first"], at)
    if match["last"] is None:
        return first, first
    last = _number(match["last"], at)
    return first, 7 if at == 4 and last == 0 < first else last  # FRI-SUN


def _number(word: str, at: int) -> int:
    number = int(word) if word.isascii() and word.isdigit() else -1
    return _WORDS.get(at, {}).get(word.upper(), number)


def _canonical(field: str, values: frozenset[int]) -> str:
    """A field with `*` in front as it is, because it has a special meaning; another in digits, runs as ranges."""
    if field.startswith("*"):
        return field
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in _runs(sorted(values)))


def _runs(values: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers together; runs of two stay apart."""
    runs = [[values[0]]]
    for before, value in pairwise(values):
        if value == before + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return [part for run in runs for part in ([[value] for value in run] if len(run) == 2 else [run])]


def _wrong(field: str, at: int, text: str) -> UserError:
    low, high = _BOUNDS[at]
    names = {3: " or JAN-DEC", 4: " (0 and 7: Sunday) or SUN-SAT"}.get(at, "")
    return UserError(
        f"cron {text!r}: {field!r} is no {_NAMES[at]}; it holds numbers {low}-{high}{names}, "
        f"written 1, 1-3, 1,3, * or */2"
    )
