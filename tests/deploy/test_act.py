"""`tongguan act` before anything is sent: what the words of the command line become, and how answers are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from deploy.act import Request, action_of
from deploy.config import TongguanConfig
from deploy.console import UsageProblem
from deploy.options import Lang
from deploy.render import Style
from deploy.render_loop import render_action, render_incident, render_notification
from schemas.action import ActionName, Role, decode_action, encode_action
from schemas.examples import ACTION, INCIDENT, NOTIFICATION
from schemas.incident import encode_incident
from schemas.notification import NotificationKind, encode_notification

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
NOW_MS = 1_782_878_400_000
EN, ZH = (Style(lang, ZoneInfo("Asia/Shanghai")) for lang in (Lang.EN, Lang.ZH))


def request(**words: Any) -> Request:
    return Request(**({"incident": "i-1", "action": "accept", "actor": "a", "role": "handler"} | words))


def test_an_action_is_what_was_said_at_this_moment_with_an_id_of_its_own() -> None:
    first, second = (action_of(request(), TongguanConfig(), NOW) for _ in range(2))
    assert (first.incident_id, first.action, first.role, first.ts) == ("i-1", ActionName.ACCEPT, Role.HANDLER, NOW_MS)
    assert first.action_id != second.action_id
    assert decode_action(encode_action(first)) == first


@pytest.mark.parametrize("word", ["verify_pass", "verify-pass", " Verify_Pass ", "核查通过"])
def test_actions_and_roles_are_understood_in_both_languages(word: str) -> None:
    action = action_of(request(action=word, role="核查员"), TongguanConfig(), NOW)
    assert (action.action, action.role) == (ActionName.VERIFY_PASS, Role.VERIFIER)


def test_a_ticket_names_its_incident() -> None:
    action = action_of(request(by_ticket=True), TongguanConfig(), NOW)
    assert (action.incident_id, action.ticket_id) == (None, "i-1")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ({"at": "10m"}, "ts", NOW_MS - 600_000),
        ({"at": "2026-07-01T11:00"}, "ts", NOW_MS - 3_600_000),
        ({"until": "2h"}, "until_ts", NOW_MS + 7_200_000),
        ({"until": "2026-07-02T12:00"}, "until_ts", NOW_MS + 86_400_000),
        ({"into": "i-2"}, "into_incident_id", "i-2"),
        ({"departments": ["a", "b"]}, "departments", ["a", "b"]),
        ({"action_id": "mine"}, "action_id", "mine"),
    ],
)
def test_each_option_has_its_field(words: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(action_of(request(**words), TongguanConfig(), NOW), field) == value


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"action": "explode"}, "unknown action 'explode'; choose from file, dispatch, accept"),
        ({"role": "boss"}, "unknown role 'boss'; choose from system, operator"),
        ({"lon": 121.4}, "expected lon and lat together"),
        ({"actor": ""}, "length >= 1"),
        ({"reason": "x" * 5_000}, "length <="),
        ({"at": "yesterday"}, "cannot read 'yesterday' as a moment"),
    ],
)
def test_what_the_loop_could_not_read_is_said_before_it_is_sent(words: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageProblem, match=re.escape(told)):
        action_of(request(**words), TongguanConfig(), NOW)


def record(value: bytes | None) -> Any:
    return SimpleNamespace(value=value, topic="t", partition=0, offset=7, timestamp=NOW_MS)


def test_a_change_is_shown_with_state_sentence_and_who_made_it() -> None:
    (shown,) = render_incident(record(encode_incident(INCIDENT)), EN)
    for words in ("handled", INCIDENT.incident_id, "r6", INCIDENT.sentence_en, "handler xh-water-017"):
        assert words in shown.line.plain
    (shown,) = render_incident(record(encode_incident(INCIDENT)), ZH)
    assert "已处置" in shown.line.plain and INCIDENT.sentence_zh in shown.line.plain
    assert (shown.severity, shown.cell) == (INCIDENT.severity, INCIDENT.cell)


def test_the_kind_of_a_notification_is_not_said_twice() -> None:
    told = msgspec.structs.replace(
        NOTIFICATION, kind=NotificationKind.TO_VERIFY, sentence_en="[to verify] look", sentence_zh="【待核查】请看"
    )
    (english,), (chinese,) = (render_notification(record(encode_notification(told)), style) for style in (EN, ZH))
    assert f"to_verify -> {told.to} look" in english.line.plain
    assert f"待核查 -> {told.to} 请看" in chinese.line.plain


def test_what_people_wrote_into_an_action_is_masked() -> None:
    action = msgspec.structs.replace(ACTION, reason="打 13812345678", result="沪A12345 已移走")
    for style in (EN, ZH):
        (shown,) = render_action(record(encode_action(action)), style)
        for secret in ("13812345678", "沪A12345"):
            assert secret not in shown.line.plain and secret not in str(shown.document)


@pytest.mark.parametrize("render", [render_incident, render_notification, render_action])
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b'{"a":1}'])
def test_anything_else_on_these_topics_is_shown_as_unreadable(render: Any, value: bytes | None) -> None:
    (shown,) = render(record(value), EN)
    assert shown.trouble and "t:0:7" in shown.line.plain
