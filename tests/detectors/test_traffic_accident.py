"""Traffic accident: tables of one cell's story, minute by minute, and what its sentences say."""

from typing import Any

import numpy as np
import pytest

from detectors.testing import FIRST_END_MS, ArrayView, tell
from detectors.traffic_accident import SLOW_SINCE_MS, USUAL_KMH, TrafficAccident, TrafficAccidentSettings
from schemas.errors import SettingsError

RULE = TrafficAccident(TrafficAccidentSettings(clear_after=2, lower_after=2, stale_after=3, slow_at_most_minutes=5))

Minute = dict[str, float | None]
COLLISION: Minute = {"collision": 1}
STOPPED: Minute = {"stopped": 1}
CALLER: Minute = {"tickets": 1}
CALLER_NEXT_DOOR: Minute = {"tickets near": 1}
CAMERA_NEXT_DOOR: Minute = {"collision near": 1}


def at(now: float | None, usual: float | None, *signs: Minute) -> Minute:
    """A minute with these mean speeds (km/h; 2 readings now, 10 before; None without readings) and these signs."""
    minute: Minute = {
        "speed_now": 2.0 * (now or 0.0),
        "readings_now": 0.0 if now is None else 2.0,
        "speed_long": 2.0 * (now or 0.0) + 10.0 * (usual or 0.0),
        "readings_long": (0.0 if now is None else 2.0) + (0.0 if usual is None else 10.0),
    }
    for sign in signs:
        minute |= sign
    return minute


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([at(None, None)], "-"),  # nothing known
        ([at(50, 50)], "-"),  # traffic flows
        ([at(10, 50)], "-"),  # slow traffic alone is congestion
        ([at(50, 50, COLLISION)], "-"),  # one event may be a shadow
        ([at(50, 50, STOPPED)], "-"),  # a delivery
        ([at(50, 50, CALLER)], "-"),  # perhaps the wrong corner
        # two of three
        ([at(10, 50, STOPPED)], "raise 1 camera_and_slow"),
        ([at(10, 50, COLLISION)], "raise 2 camera_and_slow"),  # a collision is worse by one
        ([at(10, 50, CALLER)], "raise 1 slow_and_tickets"),
        ([at(50, 50, COLLISION, CALLER)], "raise 2 camera_and_tickets"),
        ([at(None, None, COLLISION, CALLER)], "raise 2 camera_and_tickets"),  # no loop in this road
        ([at(50, 50, STOPPED, CALLER_NEXT_DOOR)], "raise 1 camera_and_tickets"),  # callers are off by a block
        # three of three, and a standstill
        ([at(10, 50, STOPPED, CALLER)], "raise 2 camera_slow_and_tickets"),
        ([at(10, 50, COLLISION, CALLER)], "raise 3 camera_slow_and_tickets"),
        ([at(3, 50, COLLISION, CALLER)], "raise 4 camera_slow_and_tickets"),
        # repeated collision events are believed alone
        ([at(50, 50, {"collision": 2})], "raise 1 collision_repeated"),
        ([at(50, 50, {"stopped": 9})], "-"),  # a bus stop
        # what is a drop
        ([at(25, 50, STOPPED)], "raise 1 camera_and_slow"),  # half of the usual counts
        ([at(25.1, 50, STOPPED)], "-"),
        ([at(5, 19, STOPPED)], "-"),  # a road that was slow anyway
        ([at(5, None, STOPPED)], "-"),  # no usual speed known
        # one accident, one cell: where a camera sees it, the caller next to it only confirms
        ([at(10, 50, CALLER, CAMERA_NEXT_DOOR)], "-"),
        ([at(10, 50, CALLER_NEXT_DOOR)], "-"),  # a slow cell beside the caller's
        # it gets worse as signs come in, at once
        (
            [at(10, 50, STOPPED), at(10, 40, STOPPED, CALLER), at(2, 30, COLLISION, CALLER)],
            "raise 1 camera_and_slow, update 2 camera_slow_and_tickets, update 4 camera_slow_and_tickets",
        ),
        # the queue soon looks usual, but the speed from before is remembered
        ([at(10, 50, COLLISION), at(10, 11), at(10, 10), at(10, 10)], "raise 2 camera_and_slow, -, -, -"),
        # it clears when traffic is back at 80 % of that, for two minutes
        ([at(10, 50, COLLISION), at(39, 10), at(39, 10), at(39, 10)], "raise 2 camera_and_slow, -, -, -"),
        ([at(10, 50, COLLISION), at(40, 10), at(40, 20)], "raise 2 camera_and_slow, -, clear 2 normal"),
        ([at(10, 50, COLLISION), at(40, 10), at(40, 20, STOPPED), at(45, 40)], "raise 2 camera_and_slow, -, -, -"),
        # or when it has been slow for so long that this is the usual speed now
        (
            [at(10, 50, COLLISION), *[at(10, 10)] * 6],
            "raise 2 camera_and_slow, -, -, -, -, -, clear 2 normal",
        ),
        # missing data is unknown, neither slow nor recovered
        ([at(10, 50, COLLISION), at(None, 50), at(None, 50)], "raise 2 camera_and_slow, -, -"),
        ([at(10, 50, COLLISION), at(None, 50), at(None, 40), at(12, 30)], "raise 2 camera_and_slow, -, -, -"),
        (
            [at(10, 50, COLLISION), at(None, None), at(None, None), at(None, None)],
            "raise 2 camera_and_slow, -, -, clear 2 no_data",
        ),
    ],
)
def test_a_story_gives_these_changes(story: list[Minute], expected: str) -> None:
    assert ", ".join(tell(RULE, story)) == expected


def view_of(minute: Minute, state: Any = None) -> ArrayView:
    own = {name: value for name, value in minute.items() if not name.endswith(" near") and value is not None}
    return ArrayView(RULE, 1, own, state=state)


@pytest.mark.parametrize(
    ("minute", "confidence"),
    [
        (at(10, 50, STOPPED), 0.64),
        (at(10, 50, COLLISION), 0.76),
        (at(10, 50, COLLISION, CALLER), 0.856),
        (at(50, 50, {"collision": 2}), 0.84),
        (at(50, 50, {"collision": 20}), 0.84),  # the third event shows the same picture
        (at(50, 50), 0.7),  # that there is none
        (at(None, None), 0.0),
    ],
)
def test_more_signs_make_it_surer(minute: Minute, confidence: float) -> None:
    assert RULE.judge(view_of(minute)).confidence[0] == pytest.approx(confidence)


def test_the_lanes_remember_the_usual_speed_only_while_traffic_is_slow_and_watched() -> None:
    begun = [[50.0], [FIRST_END_MS - 60_000.0]]
    cases: list[tuple[Minute, Any, Any, Any]] = [
        (at(10, 50), None, np.nan, np.nan),  # nobody saw anything: congestion is not followed
        (at(10, 50, STOPPED), None, 50.0, FIRST_END_MS),
        (at(30, 50, STOPPED), None, np.nan, np.nan),  # not slow
        (at(12, 30), begun, 50.0, begun[1][0]),  # still slow, whatever has become usual
        (at(10, 30, STOPPED), begun, 50.0, begun[1][0]),  # a second drop does not move the mark
        (at(None, None), begun, 50.0, begun[1][0]),  # silence is no recovery
        (at(40, 30), begun, np.nan, np.nan),  # recovered
        (at(12, 30), [[50.0], [FIRST_END_MS - 3_600_000.0]], np.nan, np.nan),  # an hour without data: forgotten
    ]
    for minute, before, usual, since in cases:
        state = RULE.judge(view_of(minute, before)).state
        assert state is not None
        np.testing.assert_array_equal(state[[USUAL_KMH, SLOW_SINCE_MS], 0], np.ravel([usual, since]))


@pytest.mark.parametrize(
    ("minute", "zh", "en"),
    [
        (
            at(12, 52, COLLISION, {"tickets": 2}),
            "疑似交通事故（重大）：近 10 分钟有 1 次疑似碰撞识别、2 件事故工单，车速由约 52 降至 12 公里/小时。",
            "Likely traffic accident (major): 1 collision event and 2 tickets within 10 min; "
            "traffic slowed from about 52 to 12 km/h.",
        ),
        (
            at(None, None, COLLISION, STOPPED, CALLER),
            "疑似交通事故（较大）：近 10 分钟有 1 次疑似碰撞识别、1 次异常停车识别、1 件事故工单。",
            "Likely traffic accident (moderate): 1 collision event, 1 stopped-vehicle event and 1 ticket "
            "within 10 min.",
        ),
        (
            at(48, 50),
            "近 10 分钟无新的事故迹象，当前车速 48 公里/小时，通行已恢复。",
            "No further sign of an accident within 10 min; traffic moves at 48 km/h.",
        ),
    ],
)
def test_the_sentences_say_what_an_operator_needs(minute: Minute, zh: str, en: str) -> None:
    view = view_of(minute)
    explanation = RULE.explain(view, 0, RULE.judge(view))
    assert (explanation.sentence_zh, explanation.sentence_en) == (zh, en)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"drop_to_share": 0.8}, "below recover_to_share"),  # no gap
        ({"drop_to_share": 50.0}, "not percent"),
        ({"recover_to_share": 1.2}, "at most 1"),
        ({"standstill_kmh": 30.0}, "usual_at_least_kmh"),
        ({"usual_at_least_kmh": float("inf")}, "usual_at_least_kmh"),
        ({"usual_readings": 0}, "usual_readings=0"),
        ({"camera_confidence_at_least": 60.0}, "not percent"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        TrafficAccidentSettings(**changes)
