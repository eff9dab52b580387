"""Working time: which moments count when a deadline runs in working hours.

A moment counts when its local wall time lies in a span of working hours of its local date, and that date is a working
day: by the State Council's notice for the year (节假日安排通知) where there is one, which also turns weekend days into
working days (调休), else by the plain week. Daylight saving needs no rule of its own: an hour that the clocks leave out
cannot be worked, an hour that they repeat counts twice, for its wall time is within the hours both times.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from schemas.errors import SettingsError
from topology.city_table import FileReport, parse_date, read_text

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000
DAY_MINUTES: Final = 1440
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FIRST_YEAR: Final = 1950
LAST_YEAR: Final = 2200
"""Moments outside these years are refused: no event is there, and a deadline that ends there is a mistake."""

Span = tuple[int, int]
"""Working time within a day: first minute and the minute after the last, from 0 to 1440, local wall time."""


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """Spans of working hours of each weekday, Monday first, and of a weekend day that a notice makes a working day."""

    days: tuple[tuple[Span, ...], ...]
    make_up: tuple[Span, ...]

    def __post_init__(self) -> None:
        problems: list[str] = []
        if len(self.days) != len(WEEKDAYS):
            problems.append(f"working hours: expected 7 days, got {len(self.days)}")
        for name, spans in (*zip(WEEKDAYS, self.days, strict=False), ("make_up", self.make_up)):
            end_before = 0
            for start, end in spans:
                if not 0 <= start < end <= DAY_MINUTES:
                    problems.append(f"working hours: {name}: {span_text(start, end)} does not end after it starts")
                elif start < end_before:
                    problems.append(
                        f"working hours: {name}: {span_text(start, end)} starts before the span before ends"
                    )
                end_before = end
        if not problems and not any(self.days):
            problems.append("working hours: no day of the week has any; a deadline in working time would never end")
        if problems:
            raise SettingsError(problems)

    @classmethod
    def plain(cls, *spans: Span) -> WeeklyHours:
        """The same spans from Monday to Friday, and on days that a notice adds."""
        return cls((spans,) * 5 + ((),) * 2, spans)

    @property
    def day_ms(self) -> int:
        """What one working day is worth: the mean of the week's working days, in whole minutes."""
        lengths = [sum(end - start for start, end in spans) for spans in self.days if spans]
        return sum(lengths) // len(lengths) * MINUTE_MS


CIVIL_SERVICE: Final = WeeklyHours.plain((9 * 60, 17 * 60 + 30))
"""09:00 to 17:30, what Shanghai's offices keep towards citizens."""


@dataclass(frozen=True, slots=True)
class Notices:
    """What the holiday notices say: dates that are off (True) or working days (False), and the years they are for."""

    off: Mapping[date, bool] = field(default_factory=lambda: MappingProxyType({}))
    years: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _Year:
    """Working spans of one UTC year, closed-open, in order, and how much working time lies before each in the year."""

    starts: list[int]
    ends: list[int]
    before: list[int]
    total: int

    def until(self, at_ms: int) -> int:
        """Working time of the year before `at_ms`."""
        i = bisect_right(self.starts, at_ms) - 1
        return 0 if i < 0 else self.before[i] + min(at_ms, self.ends[i]) - self.starts[i]


class WorkCalendar:
    """Working time of a city: holiday notices, weekly hours, zone. A year without notice has plain weeks.

    Pure functions of their arguments; the spans of a year are worked out when the year is first asked for (some
    milliseconds) and kept, a question takes microseconds after that. Moments are epoch milliseconds and must lie from
    1950 to 2200, else ValueError.
    """

    def __init__(self, zone: str, hours: WeeklyHours = CIVIL_SERVICE, notices: Notices | None = None) -> None:
        self.zone = zone
        self.hours = hours
        self.notices = notices or Notices()
        self._zone = ZoneInfo(zone)
        self._years: dict[int, _Year] = {}

    @property
    def zone_info(self) -> ZoneInfo:
        return self._zone

    @property
    def working_day_ms(self) -> int:
        """What "one working day" in a list of deadlines is worth."""
        return self.hours.day_ms

    def is_working(self, at_ms: int) -> bool:
        year = self._year(_year_of(at_ms))
        i = bisect_right(year.starts, at_ms) - 1
        return i >= 0 and at_ms < year.ends[i]

    def next_working(self, at_ms: int) -> int:
        """`at_ms` where that is working time, else the start of the next."""
        number = _year_of(at_ms)
        while True:
            year = self._year(number)
            i = bisect_right(year.ends, at_ms)
            if i < len(year.starts):
                return max(at_ms, year.starts[i])
            number += 1

    def add_working_ms(self, start_ms: int, duration_ms: int) -> int:
        """The first moment by which `duration_ms` of working time have passed since `start_ms`.

        Counting starts with the next working moment where `start_ms` is not one, also for a duration of 0. A duration
        that fills a day ends with it (17:30), not with the next morning.
        """
        if duration_ms < 0:
            raise ValueError(f"duration_ms={duration_ms} must not be negative")
        start_ms = self.next_working(start_ms)
        number = _year_of(start_ms)
        year = self._year(number)
        wanted = year.until(start_ms) + duration_ms  # working time from the start of the year on
        if duration_ms == 0:
            return start_ms
        while wanted > year.total:
            wanted -= year.total
            number += 1
            year = self._year(number)
        i = bisect_left(year.before, wanted) - 1
        return year.starts[i] + wanted - year.before[i]

    def working_ms_between(self, start_ms: int, end_ms: int) -> int:
        """Working time in [start_ms, end_ms); negative where the end comes first."""
        if end_ms < start_ms:
            return -self.working_ms_between(end_ms, start_ms)
        first, last = _year_of(start_ms), _year_of(end_ms)
        whole = sum(self._year(number).total for number in range(first, last))
        return whole + self._year(last).until(end_ms) - self._year(first).until(start_ms)

    def is_working_day(self, day: date) -> bool:
        """Whether a local date has any working hours."""
        return bool(self._spans(day))

    def years_without_notice(self, first: int, last: int) -> tuple[int, ...]:
        """Years from `first` to `last`, both included, that count plain weeks because no notice is there."""
        return tuple(year for year in range(first, last + 1) if year not in self.notices.years)

    # --- the spans of a year ----------------------------------------------------------------------------------------

    def _spans(self, day: date) -> tuple[Span, ...]:
        off = self.notices.off.get(day)
        if off is None:
            return self.hours.days[day.weekday()]
        if off:
            return ()
        return self.hours.days[day.weekday()] or self.hours.make_up

    def _year(self, number: int) -> _Year:
        known = self._years.get(number)
        if known is None:
            if not FIRST_YEAR <= number <= LAST_YEAR:
                raise ValueError(f"the year {number} is outside {FIRST_YEAR} to {LAST_YEAR}")
            known = self._years[number] = self._work_out(number)
        return known

    def _work_out(self, number: int) -> _Year:
        """Local spans, moved to UTC piece by piece: within a piece the zone's offset does not change."""
        starts: list[int] = []
        ends: list[int] = []
        for piece_start, piece_end, offset_ms in self._pieces(number):
            day = _utc(piece_start + offset_ms).date()
            last = _utc(piece_end - 1 + offset_ms).date()
            while day <= last:
                midnight = (day.toordinal() - _EPOCH_DAY) * DAY_MS - offset_ms
                for span_start, span_end in self._spans(day):
                    start = max(midnight + span_start * MINUTE_MS, piece_start)
                    end = min(midnight + span_end * MINUTE_MS, piece_end)
                    if start < end:
                        starts.append(start)
                        ends.append(end)
                day += timedelta(days=1)
        before: list[int] = []
        total = 0
        for start, end in zip(starts, ends, strict=True):
            before.append(total)
            total += end - start
        return _Year(starts, ends, before, total)

    def _pieces(self, number: int) -> list[tuple[int, int, int]]:
        """(start, end, offset from UTC), all ms: the UTC year cut where the offset changes.

        Offsets are compared once a day: two changes that undo each other within a day do not occur in any zone.
        """
        start, end = _year_start(number), _year_start(number + 1)
        pieces: list[tuple[int, int, int]] = []
        piece_start, offset = start, self._offset_ms(start)
        for day in range(start, end, DAY_MS):
            if self._offset_ms(day + DAY_MS) == offset:
                continue
            low, high = day, day + DAY_MS  # the offset is the old one at low, the new one at high
            while high - low > 1000:
                middle = (low + high) // 2000 * 1000
                low, high = (middle, high) if self._offset_ms(middle) == offset else (low, middle)
            cut = min(high, end)
            pieces.append((piece_start, cut, offset))
            piece_start, offset = cut, self._offset_ms(high)
        if piece_start < end:
            pieces.append((piece_start, end, offset))
        return pieces

    def _offset_ms(self, at_ms: int) -> int:
        offset = _utc(at_ms).astimezone(self._zone).utcoffset() or timedelta()
        return round(offset.total_seconds() * 1000)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()


def _utc(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def _year_of(at_ms: int) -> int:
    """The UTC year of a moment. Raises ValueError."""
    try:
        return _utc(at_ms).year
    except OverflowError:
        raise ValueError(f"the moment {at_ms} ms is outside the years {FIRST_YEAR} to {LAST_YEAR}") from None


def _year_start(number: int) -> int:
    return (date(number, 1, 1).toordinal() - _EPOCH_DAY) * DAY_MS


def span_text(start: int, end: int) -> str:
    return f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"


def parse_span(text: str) -> Span:
    """ "09:00-17:30" -> (540, 1050). Raises ValueError with words."""
    parts = text.split("-")
    try:
        if len(parts) != 2:
            raise ValueError
        start, end = (_minute(part.strip()) for part in parts)
    except ValueError:
        raise ValueError(f"expected hours such as 09:00-17:30, got {text!r}") from None
    return start, end


def _minute(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not (
        colon and len(hour) == 2 and len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdecimal()
    ):
        raise ValueError
    of_day = int(hour) * 60 + int(minute)
    if int(minute) > 59 or of_day > DAY_MINUTES:
        raise ValueError
    return of_day


# --- files ------------------------------------------------------------------------------------------------------------


class _Day(msgspec.Struct, rename={"off": "isOffDay"}):
    date: str
    off: bool
    name: str = ""


class _Notice(msgspec.Struct):
    year: int
    days: list[_Day]


def read_notices(files: Sequence[Path], report: FileReport) -> Notices:
    """The holiday notices of all files, in the form of NateScarlet/holiday-cn: one file a year, `days` with `date`,
    `name` and `isOffDay`. Problems go to the report.
    """
    off: dict[date, bool] = {}
    said_in: dict[date, Path] = {}
    years: dict[int, Path] = {}
    for path in files:
        text = read_text(path, report)
        if text is None:
            continue
        try:
            notice = msgspec.json.decode(text, type=_Notice)
        except (msgspec.DecodeError, RecursionError) as error:
            byte = re.search(r"byte (\d+)", str(error))
            line = text.encode().count(b"\n", 0, int(byte[1])) + 1 if byte else 1
            report.problem(path, line, f"not a holiday notice: {error}")
            continue
        if notice.year in years:
            report.problem(path, 1, f"the notice for {notice.year} is also in {years[notice.year]}")
            continue
        years[notice.year] = path
        at = 0  # the days stand in the text in the order of the list
        for i, entry in enumerate(notice.days):
            found = text.find(f'"{entry.date}"', at)
            line = 1 if found < 0 else text.count("\n", 0, found) + 1  # 1: written in another way, with escapes
            at = max(at, found + 1)
            try:
                day = parse_date(entry.date)
            except ValueError as error:
                report.problem(path, line, f"$.days[{i}].date: {error}")
                continue
            if abs(day.year - notice.year) > 1:
                # the days before New Year and after it are often in the neighbour's notice
                report.problem(path, line, f"$.days[{i}].date: {day} is not near the notice's year {notice.year}")
            elif off.setdefault(day, entry.off) != entry.off:
                words = ("a working day", "off")
                report.problem(path, line, f"{day} is {words[entry.off]} here and {words[off[day]]} in {said_in[day]}")
            else:
                said_in.setdefault(day, path)
    return Notices(MappingProxyType(off), frozenset(years))
