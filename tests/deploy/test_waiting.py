"""Waiting for a dependency: told once per reason, ended by success or by being asked to stop."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from deploy.console import UsageProblem
from deploy.options import Lang, lang_or_terminal, moment_ms
from deploy.waiting import wait_until
from schemas.errors import SettingsError
from streams.topic_admin import BrokerAway


def test_it_is_told_once_per_reason_and_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    failures = iter([BrokerAway("refused"), BrokerAway("refused"), BrokerAway("timed out")])

    def check() -> None:
        for error in failures:
            raise error

    assert wait_until(check, stop=threading.Event(), first_pause_s=0.001)
    told = capsys.readouterr().err
    assert told.count("refused") == 1
    assert told.count("timed out") == 1
    assert "answers again" in told


def test_nothing_is_told_when_it_answers_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert wait_until(lambda: None, stop=threading.Event())
    assert capsys.readouterr().err == ""


def test_being_asked_to_stop_ends_the_wait() -> None:
    stop = threading.Event()

    def check() -> None:
        stop.set()
        raise BrokerAway("refused")

    assert not wait_until(check, stop=stop)


def test_what_waiting_cannot_mend_is_raised() -> None:
    def check() -> None:
        raise SettingsError("missing topics")

    with pytest.raises(SettingsError):
        wait_until(check, stop=threading.Event())


NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
NOW_MS = 1_782_878_400_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", NOW_MS - 30_000),
        ("10m", NOW_MS - 600_000),
        ("2h", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("2026-07-01T12:00", NOW_MS),  # without a zone: the city's
        ("2026-07-01 12:00:00", NOW_MS),
        ("2026-07-01T04:00:00Z", NOW_MS),
    ],
)
def test_moment_is_a_span_before_now_or_a_time(text: str, expected: int) -> None:
    assert moment_ms(text, zone=ZoneInfo("Asia/Shanghai"), now=NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "10", "-5m", "10 minutes", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageProblem, match="30s, 10m"):
        moment_ms(text, zone=ZoneInfo("Asia/Shanghai"), now=NOW)


@pytest.mark.parametrize(("locale", "lang"), [("zh_CN.UTF-8", Lang.ZH), ("en_GB", Lang.EN), ("C", Lang.EN)])
def test_language_follows_the_terminal_unless_said(locale: str, lang: Lang, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    assert lang_or_terminal(None) is lang
    assert lang_or_terminal(Lang.ZH) is Lang.ZH
