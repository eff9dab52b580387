"""Working time: equal to a count minute by minute, over holidays, make-up days, clock changes and missing notices."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsError
from topology.city_table import FileReport
from topology.work_calendar import (
    CIVIL_SERVICE,
    DAY_MS,
    MINUTE_MS,
    Notices,
    WeeklyHours,
    WorkCalendar,
    parse_span,
    read_notices,
)

HOUR_MS = 60 * MINUTE_MS
SHIPPED = Path(__file__).parents[2] / "topology" / "cities" / "shanghai" / "calendar"

# The week of 1 May 2024: off from Wednesday 1 to Sunday 5, and the Sundays 28 April and 11 May (a Saturday) are worked.
MAY_2024 = Notices(
    {date(2024, 4, 28): False, date(2024, 5, 11): False} | {date(2024, 5, day): True for day in range(1, 6)},
    frozenset({2024}),
)
ODD_HOURS = WeeklyHours(
    days=(
        ((0, 90), (150, 210), (1380, 1440)),  # over the hours at which clocks change, and up to midnight
        (),
        ((540, 720), (780, 1050)),
        ((0, 1440),),
        ((1, 2),),
        ((540, 720),),
        ((0, 240),),
    ),
    make_up=((600, 660),),
)
ZONES = ("Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "America/Havana", "UTC")


def shanghai(notices: Notices = MAY_2024) -> WorkCalendar:
    return WorkCalendar("Asia/Shanghai", notices=notices)


def ms(text: str, zone: str = "Asia/Shanghai") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def works(calendar: WorkCalendar, at_ms: int) -> bool:
    """The definition, told slowly: the local wall time of the moment is in a span of its local date."""
    local = datetime.fromtimestamp(at_ms // 1000, ZoneInfo(calendar.zone))
    minute = local.hour * 60 + local.minute
    off = calendar.notices.off.get(local.date())
    spans = calendar.hours.days[local.weekday()]
    if off is not None:
        spans = () if off else spans or calendar.hours.make_up
    return any(start <= minute < end for start, end in spans)


def count(calendar: WorkCalendar, start_ms: int, end_ms: int) -> int:
    """Working ms of whole minutes, one by one."""
    return sum(works(calendar, at) for at in range(start_ms, end_ms, MINUTE_MS)) * MINUTE_MS


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_deadline_of_the_eve_of_a_holiday_runs_on_after_it() -> None:
    # Tuesday 30 April 16:30 has one hour left; Monday 6 May is the next working day
    assert shanghai().add_working_ms(ms("2024-04-30T16:30"), 2 * HOUR_MS) == ms("2024-05-06T10:00")


def test_weekend_day_that_the_notice_makes_a_working_day_counts() -> None:
    assert shanghai().is_working(ms("2024-04-28T10:00"))  # a Sunday
    assert shanghai().add_working_ms(ms("2024-05-10T17:00"), HOUR_MS) == ms("2024-05-11T09:30")  # a Saturday
    assert not shanghai(Notices()).is_working(ms("2024-04-28T10:00"))


def test_start_outside_hours_begins_with_the_next_working_moment() -> None:
    calendar = shanghai()
    for start in ("2024-05-01T12:00", "2024-05-05T23:59", "2024-05-06T08:59"):
        assert calendar.add_working_ms(ms(start), HOUR_MS) == ms("2024-05-06T10:00")
        assert calendar.add_working_ms(ms(start), 0) == ms("2024-05-06T09:00")


def test_duration_that_fills_the_day_ends_with_the_day() -> None:
    calendar = shanghai()
    assert calendar.add_working_ms(ms("2024-05-06T09:00"), calendar.working_day_ms) == ms("2024-05-06T17:30")
    assert calendar.add_working_ms(ms("2024-05-06T09:00"), calendar.working_day_ms + 1) == ms("2024-05-07T09:00") + 1
    assert calendar.add_working_ms(ms("2024-12-31T09:00"), calendar.working_day_ms) == ms("2024-12-31T17:30")
    assert calendar.add_working_ms(ms("2024-12-31T09:00"), calendar.working_day_ms + 1) == ms("2025-01-01T09:00") + 1


def test_hours_are_closed_at_their_start_and_open_at_their_end() -> None:
    calendar = shanghai()
    assert calendar.is_working(ms("2024-05-06T09:00"))
    assert not calendar.is_working(ms("2024-05-06T09:00") - 1)
    assert calendar.is_working(ms("2024-05-06T17:30") - 1)
    assert not calendar.is_working(ms("2024-05-06T17:30"))


def test_fifteen_working_days_end_at_the_same_time_of_day() -> None:
    calendar = shanghai()
    due = calendar.add_working_ms(ms("2024-04-25T10:15"), 15 * calendar.working_day_ms)
    # 26, 28, 29, 30 April, 6 to 11 May (with the Saturday), 13 to 17 May
    assert due == ms("2024-05-17T10:15")


def test_hour_that_clocks_leave_out_is_not_worked_and_one_they_repeat_counts_twice() -> None:
    hours = WeeklyHours.plain((0, 360))
    calendar = WorkCalendar("America/New_York", WeeklyHours((*hours.days[:6], ((0, 360),)), ()))
    start, end = ms("2024-03-10T00:00", "America/New_York"), ms("2024-03-11T00:00", "America/New_York")
    assert calendar.working_ms_between(start, end) == 5 * HOUR_MS
    start, end = ms("2024-11-03T00:00", "America/New_York"), ms("2024-11-04T00:00", "America/New_York")
    assert calendar.working_ms_between(start, end) == 7 * HOUR_MS


def test_office_hours_stay_local_wall_time_when_clocks_change() -> None:
    calendar = WorkCalendar("America/New_York")
    friday, monday = ms("2024-03-08T17:00", "America/New_York"), ms("2024-03-11T09:30", "America/New_York")
    assert calendar.add_working_ms(friday, HOUR_MS) == monday
    assert monday - friday == 64 * HOUR_MS + 30 * MINUTE_MS - HOUR_MS


def test_year_without_notice_counts_plain_weeks_and_is_named() -> None:
    calendar = shanghai()
    assert calendar.is_working(ms("2025-05-01T10:00"))
    assert calendar.years_without_notice(2023, 2026) == (2023, 2025, 2026)
    assert calendar.years_without_notice(2024, 2024) == ()


def test_moments_that_no_event_can_have_are_refused() -> None:
    for at in (-(1 << 62), 1 << 62, ms("2201-01-02T00:00"), ms("1949-12-01T00:00")):
        with pytest.raises(ValueError, match="outside"):
            shanghai().is_working(at)
    with pytest.raises(ValueError, match="outside"):
        shanghai().add_working_ms(0, 1 << 60)
    with pytest.raises(ValueError, match="must not be negative"):
        shanghai().add_working_ms(0, -1)


# --- against the slow count -------------------------------------------------------------------------------------------


@st.composite
def calendars(draw: st.DrawFn) -> tuple[WorkCalendar, int]:
    """A calendar with some odd days around a moment, which is often near a change of clocks or of the year."""
    zone = draw(st.sampled_from(ZONES))
    around = draw(
        st.sampled_from(("2024-03-09", "2024-11-02", "2024-04-06", "2024-10-05", "2023-12-31", "2024-02-28"))
        | st.dates(date(2019, 12, 1), date(2025, 2, 1)).map(str)
    )
    first = date.fromisoformat(around)
    off = draw(
        st.dictionaries(st.integers(-2, 9).map(lambda days: first + timedelta(days=days)), st.booleans(), max_size=6)
    )
    hours = draw(st.sampled_from((CIVIL_SERVICE, ODD_HOURS)))
    start = ms(around, zone) + draw(st.integers(0, 3 * 1440)) * MINUTE_MS
    return WorkCalendar(zone, hours, Notices(off, frozenset({2024}))), start


@given(calendars(), st.integers(0, 8 * 1440))
@settings(max_examples=80, deadline=None)
def test_working_time_between_two_moments_equals_the_count_of_minutes(
    case: tuple[WorkCalendar, int], minutes: int
) -> None:
    calendar, start = case
    end = start + minutes * MINUTE_MS
    assert calendar.working_ms_between(start, end) == count(calendar, start, end)
    assert calendar.working_ms_between(end, start) == -count(calendar, start, end)


@given(calendars(), st.integers(0, 2 * 8 * 60 * 60_000))
@settings(max_examples=80, deadline=None)
@example((WorkCalendar("Asia/Shanghai", notices=MAY_2024), ms("2024-04-30T17:29")), 90 * MINUTE_MS)
def test_added_working_time_is_there_and_not_a_moment_too_late(case: tuple[WorkCalendar, int], duration: int) -> None:
    calendar, start = case
    end = calendar.add_working_ms(start, duration)
    assert calendar.working_ms_between(start, end) == duration
    if duration:
        assert calendar.working_ms_between(start, end - 1) == duration - 1
        assert calendar.is_working(end - 1)
    else:
        assert calendar.is_working(end)
    assert (
        count(calendar, start - start % MINUTE_MS, end - end % MINUTE_MS) + end % MINUTE_MS * works(calendar, end)
        == duration
    )


@given(calendars(), st.integers(-3 * DAY_MS, 8 * DAY_MS))
@settings(max_examples=100, deadline=None)
def test_a_moment_is_working_time_when_its_wall_time_is(case: tuple[WorkCalendar, int], later: int) -> None:
    calendar, start = case
    assert calendar.is_working(start + later) == works(calendar, start + later)


@given(calendars(), st.lists(st.integers(1, 10 * HOUR_MS), min_size=2, max_size=2))
@settings(max_examples=100, deadline=None)
def test_adding_in_two_steps_is_adding_at_once(case: tuple[WorkCalendar, int], parts: list[int]) -> None:
    calendar, start = case
    assert calendar.add_working_ms(calendar.add_working_ms(start, parts[0]), parts[1]) == calendar.add_working_ms(
        start, sum(parts)
    )


@given(st.integers(2007, 2024), st.integers(0, 366 * 1440), st.integers(0, 500))
@settings(max_examples=60, deadline=None)
def test_shipped_notices_over_long_spans_equal_a_count_of_days(year: int, minute: int, days: int) -> None:
    report = FileReport()
    calendar = shanghai(read_notices(sorted(SHIPPED.glob("*.json")), report))
    assert report.problems == []
    start = ms(f"{year}-01-01T00:00") + minute * MINUTE_MS
    start -= (start - ms(f"{year}-01-01T00:00")) % DAY_MS
    first = datetime.fromtimestamp(start // 1000, ZoneInfo("Asia/Shanghai")).date()
    worked = sum(calendar.is_working_day(first + timedelta(days=day)) for day in range(days))
    assert calendar.working_ms_between(start, start + days * DAY_MS) == worked * calendar.working_day_ms


# --- files and hours --------------------------------------------------------------------------------------------------


def notices_of(*files: Path) -> tuple[Notices, list[str]]:
    report = FileReport()
    return read_notices(files, report), report.problems


def test_shipped_notices_know_the_make_up_days() -> None:
    notices, problems = notices_of(*sorted(SHIPPED.glob("*.json")))
    assert problems == []
    assert notices.years == frozenset(range(2007, 2025)) - {2020}
    assert notices.off[date(2024, 2, 4)] is False  # a Sunday before the Spring Festival
    assert notices.off[date(2024, 2, 12)] is True


def test_each_fault_of_a_notice_is_named_with_its_line(tmp_path: Path) -> None:
    bad = tmp_path / "2024.json"
    bad.write_text(
        '{"year": 2024, "days": [\n{"date": "2024-05-01", "isOffDay": true},\n{"date": "2024-5-2", "isOffDay": true},\n'
        '{"date": "2021-05-01", "isOffDay": true},\n{"date": "2024-05-03", "isOffDay": true},\n'
        '{"date": "2024-05-03", "isOffDay": false}]}',
        encoding="utf-8",
    )
    again = tmp_path / "again.json"
    again.write_text('{"year": 2024, "days": []}', encoding="utf-8")
    broken = tmp_path / "broken.json"
    broken.write_text('{"year": "2024", "days": []}', encoding="utf-8")
    cut = tmp_path / "cut.json"
    cut.write_text('{"year": 2025,\n"days": [}', encoding="utf-8")
    missing = tmp_path / "missing.json"
    _, problems = notices_of(bad, again, broken, cut, missing)
    assert problems == [
        f"{bad}:3: $.days[1].date: expected a date such as 2024-07-01, got '2024-5-2'",
        f"{bad}:4: $.days[2].date: 2021-05-01 is not near the notice's year 2024",
        f"{bad}:6: 2024-05-03 is a working day here and off in {bad}",
        f"{again}:1: the notice for 2024 is also in {bad}",
        f"{broken}:1: not a holiday notice: Expected `int`, got `str` - at `$.year`",
        f"{cut}:2: not a holiday notice: JSON is malformed: invalid character (byte 24)",
        f"{missing}: cannot be read: no such file or directory",
    ]


@pytest.mark.parametrize("text", ["9:00-17:30", "09:00", "09:00-17:60", "09:00-24:01", "a-b", "", "09:00-17:30-18:00"])
def test_hours_that_are_none_are_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected hours such as 09:00-17:30"):
        parse_span(text)


def test_weeks_that_cannot_be_worked_are_refused() -> None:
    assert parse_span("00:00-24:00") == (0, 1440)
    with pytest.raises(SettingsError, match="no day of the week has any"):
        WeeklyHours(((),) * 7, ())
    with pytest.raises(SettingsError, match="does not end after it starts"):
        WeeklyHours.plain((600, 600))
    with pytest.raises(SettingsError, match="starts before the span before ends"):
        WeeklyHours.plain((540, 720), (700, 800))


def test_working_day_is_the_mean_of_the_weeks_working_days() -> None:
    assert CIVIL_SERVICE.day_ms == 8 * HOUR_MS + 30 * MINUTE_MS
    half_saturday = WeeklyHours((*CIVIL_SERVICE.days[:5], ((540, 720),), ()), ())
    assert half_saturday.day_ms == (5 * 510 + 180) // 6 * MINUTE_MS


def test_epoch_is_utc_on_every_machine() -> None:
    assert ms("1970-01-01T08:00") == 0
    assert datetime.fromtimestamp(0, UTC).year == 1970
