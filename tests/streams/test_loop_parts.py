"""The loop's state in parts: only what changed is written, a restored core is the same core, damage is told."""

from __future__ import annotations

import msgspec
import pytest

from schemas.errors import BrokerError
from schemas.incident import IncidentChange
from schemas.loop_record import decode_loop_record
from streams import loop_timers
from streams.loop_core import LoopCore
from streams.loop_incident import ACTIONS_KEPT, BUCKETS, bucket_of
from streams.loop_parts import BUCKET_NAMES, HEAD
from tests.support.loop_city import FAR_IN_WEST, HOUR, IN_EAST, IN_WEST, MINUTE
from tests.support.loop_log import LoopLog, as_bytes, new_core


def a_day() -> LoopLog:
    log = LoopLog()
    for number, place in enumerate([IN_WEST, IN_EAST, FAR_IN_WEST, None]):
        log.ticket(f"T-{number}", "flood", place)
        log.alert(f"A-{number}", place=place, evidence=[f"tickets:0:{number}"])
        log.now_ms += 20 * MINUTE
        log.tick()
    log.close()
    return log


def restored(parts: dict[str, bytes]) -> LoopCore:
    core = new_core()
    core.restore(parts)
    return core


def test_all_parts_have_stable_names_and_an_empty_state_has_them_too() -> None:
    assert set(new_core().parts()) == {HEAD, *BUCKET_NAMES} and len(BUCKET_NAMES) == BUCKETS


def test_dirty_parts_are_the_head_and_the_buckets_of_what_changed() -> None:
    log = a_day()
    log.core.parts()
    assert set(log.core.dirty_parts()) == {HEAD}
    log.act("remind", "operator", on=log.ids[1])
    assert set(log.core.dirty_parts()) == {HEAD, BUCKET_NAMES[bucket_of(log.ids[1])]}
    assert set(log.core.dirty_parts()) == {HEAD}


def test_a_restored_core_is_the_same_in_state_indexes_and_timers() -> None:
    log = a_day()
    twin = restored(log.core.parts())
    ours, theirs = log.core.incidents, twin.incidents
    assert theirs.by_id == ours.by_id
    for index in ("by_ticket", "by_alert", "by_record"):
        mine, other = getattr(ours, index), getattr(theirs, index)
        assert {key: i.incident_id for key, i in mine.items()} == {key: i.incident_id for key, i in other.items()}
    assert theirs.by_action.keys() == ours.by_action.keys() and theirs.timer_of == ours.timer_of
    assert twin.clock_ms == log.core.clock_ms and twin.parts() == log.core.parts()
    log.core, expected = twin, len(log.out)
    log.now_ms += 5 * HOUR
    assert log.tick() and len(log.out) > expected


def test_a_ticket_named_by_several_alerts_goes_to_the_first_before_and_after_a_restart() -> None:
    log = LoopLog()
    for number in range(12):  # enough that in some pair the first comes later by the order of buckets
        log.alert(f"A-{number}", "waterlogging", None, evidence=[f"tickets:9:{number}"])
        log.alert(f"B-{number}", "gas_leak", None, evidence=[f"tickets:9:{number}"])
    twin = restored(log.core.parts())
    for number in range(12):
        ticket = log.a_ticket(f"T-{number}", "flood", None, source=f"tickets:9:{number}")
        (attached,) = log.tickets(ticket)
        assert isinstance(attached, IncidentChange) and attached.alert_ids == [f"A-{number}"]
        assert twin.apply(decode_loop_record(log.records[-1]), len(log.records) - 1) == [attached]


def test_stored_dirty_parts_over_older_ones_are_the_whole_state() -> None:
    log = LoopLog()
    stored = log.core.parts()
    for number in range(30):
        log.ticket(f"T-{number}", "gas_leak", (IN_WEST, IN_EAST, FAR_IN_WEST)[number % 3])
        log.now_ms += 7 * MINUTE
        log.tick()
        stored |= log.core.dirty_parts()
    assert stored == log.core.parts()


@pytest.mark.parametrize("name", [HEAD, BUCKET_NAMES[5]])
@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x93abc", b"\x81\xa1x"])
def test_a_damaged_part_is_told_and_not_taken(name: str, damage: bytes) -> None:
    with pytest.raises(BrokerError, match="loop snapshot: damaged"):
        restored(new_core().parts() | {name: damage})


def test_a_state_of_another_version_says_what_to_do() -> None:
    parts = new_core().parts()
    head = msgspec.msgpack.decode(parts[HEAD]) | {"version": 99}
    with pytest.raises(BrokerError, match=r"version 99, this program reads 1 - start the version that wrote it"):
        restored(parts | {HEAD: msgspec.msgpack.encode(head)})


def test_repeats_of_very_many_actions_are_known_as_far_as_is_kept() -> None:
    log = LoopLog()
    log.alert()
    for number in range(ACTIONS_KEPT + 10):
        log.act("remind", "operator", action_id=f"r-{number}")
    incident = log.incident()
    assert len(incident.actions) == ACTIONS_KEPT == len(log.core.incidents.by_action)
    assert restored(log.core.parts()).incidents.by_action.keys() == log.core.incidents.by_action.keys()


def test_one_tick_does_a_bounded_amount_of_work_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_timers, "LOOKS_PER_TICK", 50)
    log = LoopLog()
    many = 70
    log.tickets(*(log.a_ticket(f"T-{number}", "gas_leak", None) for number in range(many)))
    log.now_ms += 20 * 24 * HOUR
    first = {one.incident_id for one in log.tick()}
    twin = restored(log.core.parts())
    log.now_ms += 5_000
    second = log.tick()
    assert len(first) == 50 and len({one.incident_id for one in second}) == 20
    log.core = twin
    log.counts["ticks"] -= 1
    assert as_bytes(log.tick()) == [
        text.replace(f'"{len(log.records) - 2}-'.encode(), f'"{len(log.records) - 1}-'.encode())
        for text in as_bytes(second)
    ]


def test_times_that_were_replaced_do_not_pile_up() -> None:
    log = LoopLog()
    log.alert()
    for number in range(3000):
        log.act("correct", "operator", severity=1 + number % 4, action_id=f"c-{number}")
    assert len(log.core.incidents.timers) < 1100
