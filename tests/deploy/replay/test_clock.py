"""Event times as recorded sets write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.replay.clock import clock, number_of
from deploy.replay.mapping import TimeRule
from deploy.replay.tally import Note, Skip, Unusable


def rule(**words: Any) -> TimeRule:
    return TimeRule(columns=["t"], **words)


def local(zone: str = "America/New_York") -> TimeRule:
    return rule(form="local", format="%Y-%m-%d %H:%M:%S", zone=zone)


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "expected", "note"),
    [
        ("2011-07-01 01:32:33", "2011-07-01T01:32:33-04:00", None),  # summer
        ("2011-01-01 01:32:33", "2011-01-01T01:32:33-05:00", None),  # winter
        ("2011-11-06 01:30:00", "2011-11-06T01:30:00-04:00", Note.REPEATED_HOUR),  # twice that night: the first
        ("2011-11-06 02:00:00", "2011-11-06T02:00:00-05:00", None),
        ("2011-03-13 02:30:00", "2011-03-13T03:30:00-04:00", Note.SKIPPED_HOUR),  # never that night
        ("2011-03-13 03:00:00", "2011-03-13T03:00:00-04:00", None),
    ],
)
def test_local_times_follow_the_clocks_of_their_zone(text: str, expected: str, note: Note | None) -> None:
    assert clock(local())(text) == (at(expected), note)


@pytest.mark.parametrize(
    "text", ["", "2011-02-30 00:00:00", "2011-07-01", "01/07/2011 00:00:00", "1999-12-31 00:00:00"]
)
def test_a_text_that_is_no_time_of_ours_is_unusable(text: str) -> None:
    with pytest.raises(Unusable) as caught:
        clock(local())(text)
    assert caught.value.skip is Skip.BAD_TIME


@given(st.text("0123456789-: W+Z", min_size=19, max_size=19) | st.datetimes().map(lambda at: str(at)[:19]))
def test_the_fast_way_to_read_a_time_reads_what_the_format_says(text: str) -> None:
    def told(form: str, text: str) -> object:
        try:
            return clock(rule(form="local", format=form, zone="UTC"))(text)
        except Unusable:
            return None

    assert told("%Y-%m-%d %H:%M:%S", text) == told("%Y-%m-%d %H:%M:%S!", text + "!")


@pytest.mark.parametrize(
    ("time", "text", "expected"),
    [
        (rule(form="rfc3339"), "2018-09-12T17:20:38.026Z", "2018-09-12T17:20:38.026+00:00"),
        (rule(form="epoch_s"), "1607123962.082975", "2020-12-04T23:19:22.083+00:00"),
        (rule(form="epoch_ms"), "1607123962083", "2020-12-04T23:19:22.083+00:00"),
        (rule(form="epoch_s", until="-"), "1607123962.083-b69j73", "2020-12-04T23:19:22.083+00:00"),
        (rule(form="frames", per_second=25.0, start="2019-01-01T00:00:00Z"), "50", "2019-01-01T00:00:02+00:00"),
    ],
)
def test_other_forms(time: TimeRule, text: str, expected: str) -> None:
    assert clock(time)(text) == (at(expected), None)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1e999", "1_000", "0x10", "٣", "1,5", "--1", " "])
def test_what_python_alone_would_call_a_number_is_none(text: str) -> None:
    assert number_of(text) is None


@given(st.text())
def test_any_text_is_a_time_or_unusable(text: str) -> None:
    for time in (local(), rule(form="rfc3339"), rule(form="epoch_s"), rule(form="epoch_ms", until="-")):
        with suppress(Unusable):
            assert clock(time)(text)[0] > 0
