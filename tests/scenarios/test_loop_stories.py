"""Stories of the loop as a duty desk would tell them; every line is one thing that happened.

Parking in the West lies with the traffic police on working time: 2 h to accept, two days (16 h) to handle, a day (8 h)
to verify. Water lies with the district's bureau day and night: 30 min to accept, 4 h to handle, 8 h to verify.
Offices work from 9 to 17; 1 to 7 October are holidays, Saturday 10 October is worked. 2026-07-03 is a Friday.
"""

from __future__ import annotations

from schemas.alert import Action
from schemas.incident import State
from schemas.notification import RefusalReason
from tests.scenarios.loop_timeline import LoopStory, moment
from tests.support.loop_city import DESK, FAR_IN_WEST, IN_EAST, IN_WEST


def test_a_flooded_underpass_from_the_sensor_to_the_closed_case() -> None:
    story = LoopStory()
    story.at("07-03 08:00").alert("A-1", severity=2)
    story.at("07-03 08:05").ticket("T-1", "flood")  # a caller sees it too
    story.at("07-03 08:10").act("accept", "handler", "ww-1", department="west-water")
    story.at("07-03 08:30").act("start", "handler", "ww-1")
    story.at("07-03 08:40").alert("A-1", action=Action.UPDATE, severity=3, revision=1)
    story.at("07-03 09:30").alert("A-1", action=Action.CLEAR, revision=2)  # drained; the case is still open
    story.at("07-03 09:40").act("finish", "handler", "ww-1", result="已抽干")
    story.at("07-03 10:00").act("verify_pass", "verifier", "desk-7", department=DESK)
    story.at("07-03 10:01").act("close", "operator", "desk-2")
    story.on("07-03 08:00").expect(
        "discover: discovered", "file: filed", "dispatch: dispatched",
        "dispatched to west-water", "assist to west-roads", "assist to west-police",
    )  # fmt: skip
    story.on("07-03 08:05").expect("attach: dispatched")
    story.between("07-03 08:06", "07-03 08:40").expect("accept: accepted", "start: handling")
    story.on("07-03 08:40").expect("worsen: handling", "worsened to west-water")
    story.between("07-03 08:41", "07-03 09:40").expect("alert_clear: handling")
    story.between("07-03 09:40", "07-03 11:00").expect(
        "finish: handled", f"to_verify to {DESK}", "verify_pass: verified", "close: closed", "closed to west-water"
    )
    (ticket,) = story.now.tickets
    assert ticket.on_time and ticket.done_ms == moment("07-03 09:40")
    assert story.now.severity == 3 and story.now.result == "已抽干"


def test_the_wrong_department_returns_the_order_and_the_dispatcher_sends_it_on() -> None:
    story = LoopStory()
    story.at("07-03 09:00").ticket("T-1", "parking")
    story.at("07-03 09:30").act("return", "handler", "wp-1", department="west-police", reason="道路塌陷，非停车问题")
    story.at("07-03 09:40").act("dispatch", "dispatcher", "d-1", to_department="west-roads")
    story.at("07-03 09:50").act("accept", "handler", "wp-1", department="west-police")  # no longer theirs
    story.at("07-03 09:55").act("accept", "handler", "wr-1", department="west-roads")
    story.on("07-03 09:30").expect("return: returned", f"returned to {DESK}")
    story.on("07-03 09:40").expect("dispatch: dispatched", "dispatched to west-roads")
    story.on("07-03 09:50").expect("refused to wp-1")
    assert story.log.notifications[-1].refusal is RefusalReason.WRONG_DEPARTMENT
    story.on("07-03 09:55").expect("accept: accepted")
    assert story.now.hand_overs == 1 and story.now.lead == "west-roads"


def test_a_returned_order_that_nobody_sends_on_does_not_rot() -> None:
    story = LoopStory()
    story.at("07-03 09:00").ticket("T-1", "parking")
    story.at("07-03 10:00").act("return", "handler", "wp-1", reason="不归我管")
    story.at("07-03 13:00")
    # two working hours for the duty desk: reminded at four fifths, overdue after them, nobody above to tell
    story.between("07-03 10:01", "07-03 12:00").expect("remind: returned", f"reminder to {DESK}")
    story.between("07-03 12:00", "07-03 13:01").expect("overdue: returned", f"overdue to {DESK}")


def test_it_happens_again_within_the_window_and_opens_the_closed_case() -> None:
    story = LoopStory()
    story.at("07-03 08:00").ticket("T-1", "flood")
    for minute, (action, role, actor) in enumerate(
        [("accept", "handler", "h"), ("start", "handler", "h"), ("finish", "handler", "h"),
         ("verify_pass", "verifier", "v"), ("close", "operator", "o")]
    ):  # fmt: skip
        story.at(f"07-03 08:1{minute}").act(action, role, actor)
    story.at("07-03 12:00").ticket("T-2", "flood")  # four hours later, the same place
    story.on("07-03 12:00").expect("reopen: dispatched", "reopened to west-water")
    first, second = story.now.tickets
    assert first.on_time is True and first.done_ms == moment("07-03 08:12"), "what was done stays done"
    assert second.done_ms is None and story.now.reopenings == 1 and story.now.handled_by is None
    story.at("07-03 12:05").act("accept", "handler", "h")
    story.at("07-03 12:06").act("start", "handler", "h")
    story.at("07-03 12:07").act("finish", "handler", "h2")
    story.at("07-03 12:08").act("verify_pass", "supervisor", "h")  # finished by h2 this time, but h worked on it
    story.on("07-03 12:08").expect("refused to h")
    story.at("07-03 12:09").act("verify_pass", "verifier", "v").act("close", "operator", "o")
    story.at("07-04 13:00").ticket("T-3", "flood")  # after 24 hours it is another case
    assert len(story.log.ids) == 2


def test_a_sign_from_between_verification_and_closing_opens_the_case_again_from_its_closing_on() -> None:
    story = LoopStory()
    story.at("07-03 08:00").ticket("T-1", "flood")
    story.at("07-03 08:10").act("accept", "handler", "h").act("start", "handler", "h").act("finish", "handler", "h")
    story.at("07-03 08:20").act("verify_pass", "verifier", "v")
    story.at("07-03 08:40").act("close", "operator", "o")
    story.at("07-03 08:45").ticket("T-2", "flood", event_at_ms=moment("07-03 08:30"))
    assert story.now.state is State.DISPATCHED and story.now.accept_due_ms == moment("07-03 09:10")


def test_a_case_that_fails_verification_is_handled_again_and_its_tickets_are_open_again() -> None:
    story = LoopStory()
    story.at("07-03 08:00").ticket("T-1", "flood", due_ms=moment("07-03 10:00"))
    story.at("07-03 08:10").act("accept", "handler", "h").act("start", "handler", "h")
    story.at("07-03 09:00").act("finish", "handler", "h")
    assert [one.on_time for one in story.now.tickets] == [True]
    story.at("07-03 09:30").act("verify_fail", "verifier", "v", reason="仍有积水")
    story.on("07-03 09:30").expect("verify_fail: handling", "rework to west-water")
    assert [(one.done_ms, one.on_time) for one in story.now.tickets] == [(None, None)]
    assert story.now.handle_due_ms == moment("07-03 13:30"), "a clock of its own for the rework"
    story.at("07-03 10:30")  # what was promised to the caller has not moved
    story.on("07-03 10:10").expect("overdue: handling", "overdue to west-water")
    story.at("07-03 11:00").act("finish", "handler", "h").act("verify_pass", "verifier", "v")
    (ticket,) = story.now.tickets
    assert (ticket.on_time, story.now.reopenings) == (False, 1)


def test_the_caller_is_not_content_and_the_closed_case_is_opened_again() -> None:
    story = LoopStory()
    story.at("07-03 08:00").ticket("T-1", "flood", due_ms=moment("07-05 08:00"))
    story.at("07-03 08:10").act("accept", "handler", "h").act("start", "handler", "h").act("finish", "handler", "h")
    story.at("07-03 08:20").act("verify_pass", "verifier", "v").act("close", "operator", "o")
    story.at("07-03 15:00").act("reopen", "operator", "o", ticket_id="T-1", reason="回访不满意")
    story.on("07-03 15:00").expect("reopen: dispatched", "reopened to west-water")
    assert story.now.tickets[0].on_time is None and story.now.lead == "west-water"


def test_departments_that_pass_a_case_round_are_found_and_told_on() -> None:
    story = LoopStory()
    story.at("07-03 09:00").ticket("T-1", "parking")
    story.at("07-03 09:10").act("transfer", "handler", "wp-1", to_department="west-roads", reason="归市政")
    story.on("07-03 09:10").expect("transfer: dispatched", "dispatched to west-roads")
    story.at("07-03 09:20").act("transfer", "handler", "wr-1", to_department="west-police", reason="归交警")
    # back with who gave it away: that is passing the buck, whatever the count
    story.on("07-03 09:20").expect(
        "transfer: dispatched", "dispatched to west-police", "escalate: dispatched", f"escalated to {DESK}"
    )
    assert "2 次" in story.now.sentence_zh and story.now.escalated_to == DESK
    story.at("07-03 09:30").act("return", "handler", "wp-1", reason="不归我管")
    story.on("07-03 09:30").expect(
        "return: returned", f"returned to {DESK}", "escalate: returned", f"escalated to {DESK}"
    )
    assert story.now.hand_overs == 3


def test_a_case_that_is_sent_back_to_who_returned_it_is_told_on_and_so_is_every_return_after_the_third() -> None:
    story = LoopStory()
    story.at("07-03 09:00").alert("A-1")
    story.at("07-03 09:05").act("return", "handler", "ww-1", reason="不归我管")
    story.at("07-03 09:06").act("dispatch", "dispatcher", "d-1", to_department="west-water")
    story.on("07-03 09:05").expect("return: returned", f"returned to {DESK}")
    story.on("07-03 09:06").expect(
        "dispatch: dispatched", "dispatched to west-water", "escalate: dispatched", "escalated to city-water"
    )
    story.at("07-03 09:07").act("return", "handler", "ww-1", reason="不归我管")
    story.at("07-03 09:08").act("dispatch", "dispatcher", "d-1", to_department="east-water")
    story.at("07-03 09:09").act("return", "handler", "ew-1", reason="不在东区")
    story.on("07-03 09:07").expect("return: returned", f"returned to {DESK}")
    story.on("07-03 09:08").expect("dispatch: dispatched", "dispatched to east-water")
    story.on("07-03 09:09").expect(
        "return: returned", f"returned to {DESK}", "escalate: returned", "escalated to city-water"
    )


def test_working_time_stands_still_over_a_weekend() -> None:
    story = LoopStory()
    story.at("07-03 16:00").ticket("T-1", "parking")  # Friday, an hour before the offices close
    assert story.now.accept_due_ms == moment("07-06 10:00")
    story.at("07-06 12:00")
    story.between("07-03 16:01", "07-06 09:00").expect_nothing()
    story.on("07-06 09:40").expect("remind: dispatched", "reminder to west-police")  # 96 of 120 working minutes
    story.on("07-06 10:10").expect(
        "overdue: dispatched", "overdue to west-police", "escalate: dispatched", f"escalated to {DESK}"
    )
    story.between("07-06 10:11", "07-06 12:01").expect_nothing()
    assert story.now.accept_overdue and not story.now.handle_overdue


def test_working_time_stands_still_over_the_national_holiday_and_a_worked_saturday_counts() -> None:
    story = LoopStory()
    story.at("09-30 16:00").ticket("T-1", "parking")  # Wednesday; off until Wednesday 7 October
    story.at("09-30 16:30").act("accept", "handler", "wp-1").act("start", "handler", "wp-1")
    assert story.now.handle_due_ms == moment("10-09 16:00"), "1 h on 30 September, 8 h on the 8th, 7 h on the 9th"
    story.at("10-10 09:00")
    story.between("09-30 16:31", "10-08 09:00").expect_nothing()
    story.between("10-08 09:00", "10-09 16:00").expect("remind: handling", "reminder to west-police")
    # the ticket's own deadline ends with the same working hour
    story.on("10-09 16:10").expect(
        "overdue: handling", "overdue to west-police", "escalate: handling", f"escalated to {DESK}",
        "overdue: handling", "overdue to west-police",
    )  # fmt: skip
    story.at("10-10 09:30").act("finish", "handler", "wp-1")
    assert story.now.verify_due_ms == moment("10-12 09:30"), "7.5 h of the worked Saturday, half an hour on Monday"


def test_a_case_that_nobody_takes_on_goes_up_to_the_city_level_by_level() -> None:
    story = LoopStory()
    story.at("07-03 22:00").alert("A-1", place=(121.5505, 31.2505))  # the subdistrict's; water counts day and night
    story.at("07-03 23:30")
    story.between("07-03 22:01", "07-03 22:31").expect("remind: dispatched", "reminder to north-street")
    story.on("07-03 22:40").expect(
        "overdue: dispatched", "overdue to north-street", "escalate: dispatched", "escalated to east-water"
    )
    story.on("07-03 22:50").expect("escalate: dispatched", "escalated to city-water")
    story.on("07-03 23:00").expect("escalate: dispatched", f"escalated to {DESK}")
    story.between("07-03 23:01", "07-03 23:31").expect_nothing()
    assert (story.now.lead, story.now.escalated_to, story.now.escalated_level) == ("north-street", DESK, 1)


def test_another_department_starts_with_a_clean_slate() -> None:
    story = LoopStory()
    story.at("07-03 22:00").alert("A-1")
    story.at("07-03 22:40")
    before = story.now
    assert (before.escalated_to, before.accept_overdue) == ("city-water", True)
    story.act("transfer", "dispatcher", "d-1", to_department="west-roads", reason="道路塌陷")
    assert (story.now.escalated_to, story.now.accept_overdue) == (None, False)
    story.at("07-03 23:20")
    story.on("07-03 23:20").expect(
        "overdue: dispatched", "overdue to west-roads", "escalate: dispatched", f"escalated to {DESK}"
    )


def test_a_suspended_case_keeps_its_working_time_and_goes_on_by_itself() -> None:
    story = LoopStory()
    story.at("07-03 08:00").alert("A-1")
    story.at("07-03 08:10").act("accept", "handler", "h").act("start", "handler", "h")
    story.at("07-03 09:00").act("suspend", "supervisor", "s", reason="等待停电", until_ts="2026-07-04 09:00:00")
    assert story.now.state is State.SUSPENDED and story.now.handle_due_ms is None
    story.at("07-04 11:00").act("finish", "handler", "h")
    story.between("07-03 09:01", "07-04 09:00").expect_nothing()
    story.on("07-04 09:00").expect("resume: handling", "resumed to west-water")
    resumed = next(change for change in story.log.changes if change.action == "resume")
    assert resumed.handle_due_ms == moment("07-04 12:00"), "one of four hours was used before"
    assert not story.now.handle_overdue


def test_the_front_line_whistles_and_the_departments_come_together() -> None:
    story = LoopStory()
    story.at("07-03 08:00").ticket("T-1", "noise")  # nobody is responsible by the list: it waits at the desk
    story.at("07-03 08:10").act(
        "whistle", "front_line", "grid-3", to_department="west-police", departments=["west-roads", "west-water"]
    )
    story.on("07-03 08:10").expect(
        "whistle: dispatched", "dispatched to west-police", "whistle to west-roads", "whistle to west-water"
    )
    assert story.now.lead == "west-police" and story.now.assisting == ["west-roads", "west-water"]
    story.at("07-03 08:20").act("respond", "handler", "wr-1", department="west-roads")
    story.at("07-03 09:00")
    story.on("07-03 08:20").expect("respond: dispatched")
    # half an hour to answer: the water bureau has not come, its superior hears of it
    story.on("07-03 08:50").expect("overdue: dispatched", "overdue to west-water", "escalated to city-water")
    roads, water = story.now.whistles
    assert (roads.overdue, water.overdue) == (False, True)
    story.at("07-03 09:10").act("respond", "handler", "ww-1", department="west-water")
    assert [(call.responded_ms is not None, call.overdue) for call in story.now.whistles] == [
        (True, False),
        (True, True),
    ]


def test_tickets_attach_to_the_open_case_and_a_child_to_its_parents() -> None:
    story = LoopStory()
    story.at("07-03 08:00").ticket("T-1", "flood", IN_WEST)
    story.at("07-03 08:20").ticket("T-2", "flood", IN_WEST)
    story.at("07-03 08:30").ticket("T-3", "flood", IN_EAST)  # elsewhere: its own case
    story.at("07-03 08:40").ticket("T-4", "noise", FAR_IN_WEST, parent_ticket_id="T-1")  # the same caller, once more
    story.at("07-03 08:50").ticket("T-5", "flood", None, parent_ticket_id="T-3")
    assert [story.log.latest(one).ticket_ids for one in story.log.ids] == [["T-1", "T-2", "T-4"], ["T-3", "T-5"]]
    story.at("07-03 09:00").act("accept", "handler", "h", ticket_id="T-4")
    assert story.now.state is State.ACCEPTED


def test_after_a_night_without_ticks_everything_is_caught_up_in_order_and_once() -> None:
    story = LoopStory()
    story.at("07-03 22:00").alert("A-1")
    story.without_ticks_until("07-04 08:00")
    # no reminder of what is past; both clocks in their order, and each level once
    story.on("07-04 08:00").expect(
        "overdue: dispatched", "overdue to west-water", "escalate: dispatched", "escalated to city-water",
        "escalate: dispatched", f"escalated to {DESK}",
        "overdue: dispatched", "overdue to west-water",
    )  # fmt: skip
    story.without_ticks_until("07-04 08:00")
    assert len(story.on("07-04 08:00").outputs) == 8
