"""Incidents, notifications and actions are stored once, and the views tell them as they were; on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from schemas.action import encode_action
from schemas.dead_letter import DeadLetter, Reason
from schemas.examples import ACTION, INCIDENT, NOTIFICATION
from schemas.incident import IncidentChange, State, Step, TicketOutcome, WhistleCall, encode_incident
from schemas.notification import Notification, NotificationKind, RefusalReason, encode_notification
from streams.archive_lane import Delivery
from streams.archive_loop_records import LoopRecord, insert_new, read_action, read_incident, read_notification
from streams.archive_loop_rows import StoredAction, StoredChange
from streams.clickhouse import Store
from streams.loop_hash import sealed, verify_payloads
from tests.support.stores import embedded_store

OPENED_MS = INCIDENT.opened_ms
insert = insert_new(ZoneInfo("Asia/Shanghai"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with embedded_store(tmp_path_factory.mktemp("loop-records") / "data") as made:
        yield made


@pytest.fixture
def store(engine: Store) -> Store:
    for table in ("incidents", "notifications", "actions", "personal_fields", "dead_letters"):
        engine.command(f"TRUNCATE TABLE {table}")
    return engine


def change(revision: int, step: Step, state: State, after_s: int, **fields: Any) -> IncidentChange:
    given = {"incident_id": INCIDENT.incident_id, "action_id": None, "cause": f"loop:0:{revision}"} | fields
    return msgspec.structs.replace(
        INCIDENT, revision=revision, action=step, state=state, at_ms=OPENED_MS + after_s * 1000, **given
    )


def stored(change_: IncidentChange) -> StoredChange:
    read = read_incident("incidents", 0, Delivery(0, encode_incident(change_), 0))
    assert isinstance(read, StoredChange)
    return read


def action(offset: int, *, partition: int = 0, **fields: Any) -> StoredAction:
    payload = encode_action(msgspec.structs.replace(ACTION, **fields))
    read = read_action("x.actions", partition, Delivery(offset, payload, OPENED_MS + offset))
    assert isinstance(read, StoredAction)
    return read


def notification(number: int, **fields: Any) -> Notification:
    return msgspec.structs.replace(NOTIFICATION, notification_id=f"{number}-0", **fields)


WORKED = [
    change(0, Step.DISCOVER, State.DISCOVERED, 0),
    change(1, Step.DISPATCH, State.DISPATCHED, 60),
    change(2, Step.OVERDUE, State.DISPATCHED, 500, accept_overdue=True),
    change(3, Step.ACCEPT, State.ACCEPTED, 660, accept_overdue=True, action_id="a-3", cause="x.actions:0:3"),
    change(4, Step.FINISH, State.HANDLED, 3_660, accept_overdue=True),
    change(5, Step.VERIFY_PASS, State.VERIFIED, 5_000, accept_overdue=True),
    change(6, Step.CLOSE, State.CLOSED, 5_060, accept_overdue=False, handle_due_ms=None),
]


def test_records_that_are_there_are_not_inserted_again(store: Store) -> None:
    changes = [stored(one) for one in WORKED]
    insert(store, changes[:3], "a")
    insert(store, [*changes[1:], changes[2]], "b")
    told = [notification(n, at_ms=OPENED_MS + n * 40 * 86_400_000) for n in range(3)]
    insert(store, told[:2], "c")
    insert(store, [told[2], told[1], told[2]], "d")
    actions = [action(0), action(1), action(1, partition=1)]
    insert(store, actions[:2], "e")
    insert(store, [*actions, actions[2]], "f")
    counts = (
        "SELECT (SELECT count() FROM incidents), (SELECT count() FROM notifications), (SELECT count() FROM actions)"
    )
    assert store.rows(counts) == [(len(WORKED), 3, 3)]
    assert store.rows("SELECT count() FROM personal_fields") == [(3,)]


def test_a_repeat_after_a_lost_answer_stores_nothing_twice(store: Store) -> None:
    records: list[LoopRecord] = [stored(WORKED[0]), notification(1), action(5)]
    insert(store, records, "same")
    insert(store, records, "same")
    for table in ("incidents", "notifications", "actions", "personal_fields"):
        assert store.rows(f"SELECT count() FROM {table}") == [(1,)], table


def test_every_field_of_a_change_comes_back_as_it_was(store: Store) -> None:
    call = WhistleCall(department="d", called_ms=OPENED_MS, due_ms=OPENED_MS + 1, responded_ms=None, overdue=True)
    full = msgspec.structs.replace(INCIDENT, whistles=[call], escalated_level=1, suspended_until_ms=OPENED_MS + 7)
    insert(store, [stored(full)], "a")
    (row,) = store.query_arrow("SELECT * EXCEPT payload FROM incidents").to_pylist()

    def plain(value: Any) -> Any:
        match value:
            case datetime():
                return round(value.replace(tzinfo=UTC).timestamp() * 1000)
            case list():
                return [plain(item) for item in value]
            case dict():
                return {name: plain(item) for name, item in value.items()}
        return value

    def column(name: str) -> str:
        ours = {"at_ms": "at", "event_at_ms": "event_at"}
        return ours.get(name, name.removesuffix("_ms") + "_at" if name.endswith("_ms") else name)

    def columns(fields: dict[str, Any]) -> dict[str, Any]:
        return {
            column(name): [columns(item) if isinstance(item, dict) else item for item in value]
            if isinstance(value, list)
            else value
            for name, value in fields.items()
        }

    assert plain(row) == columns(msgspec.to_builtins(full))
    (shown,) = store.query_arrow("SELECT * FROM v_incident_history").to_pylist()
    assert plain(shown) == plain(row)


def test_the_latest_state_tells_how_long_each_stage_took(store: Store) -> None:
    insert(store, [stored(one) for one in WORKED], "a")
    insert(store, [stored(change(0, Step.DISCOVER, State.DISCOVERED, 0, incident_id="other"))], "b")
    latest = {row["incident_id"]: row for row in store.query_arrow("SELECT * FROM v_incidents").to_pylist()}
    done, open_ = latest[INCIDENT.incident_id], latest["other"]
    assert (done["revision"], done["state"], done["overdue"], done["on_time"]) == (6, "closed", False, False)
    seconds = {name: done[name] for name in ("dispatch_s", "accept_s", "handle_s", "close_s")}
    assert seconds == {"dispatch_s": 60.0, "accept_s": 600.0, "handle_s": 3000.0, "close_s": 5060.0}
    assert done["overdue_count"] == 1
    assert (open_["dispatched_at"], open_["dispatch_s"], open_["closed_at"], open_["on_time"]) == (None,) * 4


def test_a_field_that_became_empty_is_empty_in_the_latest_state(store: Store) -> None:
    """argMax passes over nulls unless it is told not to."""
    insert(store, [stored(change(0, Step.DISPATCH, State.DISPATCHED, 0, accept_due_ms=OPENED_MS, lead="a"))], "a")
    insert(store, [stored(change(1, Step.RETURN, State.RETURNED, 1, accept_due_ms=None, lead=None))], "b")
    assert store.rows("SELECT accept_due_at, lead FROM v_incidents") == [(None, None)]


def test_the_stored_records_prove_their_chain_and_a_changed_one_is_found(store: Store) -> None:
    chain, before = [], ""
    for one in WORKED:
        chain.append(sealed(msgspec.structs.replace(one, previous_hash=before)))
        before = chain[-1].hash
    insert(store, [stored(one) for one in chain], "a")
    payloads = [row[0].encode() for row in store.rows("SELECT payload FROM incidents FINAL ORDER BY revision")]
    assert verify_payloads(payloads) == []
    payloads[3] = payloads[3].replace(b"2026", b"2027", 1)
    assert verify_payloads(payloads)


def test_each_ticket_has_one_outcome_that_of_where_it_went(store: Store) -> None:
    def outcome(ticket_id: str, *, on_time: bool | None) -> TicketOutcome:
        return TicketOutcome(
            ticket_id=ticket_id, category="noise", event_at_ms=OPENED_MS, due_ms=OPENED_MS + 5, on_time=on_time,
            done_ms=None if on_time is None else OPENED_MS + 4,
        )  # fmt: skip

    first = change(0, Step.DISCOVER, State.DISCOVERED, 0, tickets=[outcome("t1", on_time=None)])
    merged = change(1, Step.MERGE, State.MERGED, 90, tickets=[outcome("t1", on_time=None)], merged_into="b")
    other = change(
        0, Step.DISCOVER, State.CLOSED, 50, incident_id="b",
        tickets=[outcome("t1", on_time=True), outcome("t2", on_time=False)],
    )  # fmt: skip
    insert(store, [stored(one) for one in (first, merged, other)], "a")
    found = store.rows("SELECT ticket_id, incident_id, on_time FROM v_ticket_outcomes ORDER BY ticket_id")
    assert found == [("t1", "b", True), ("t2", "b", False)]


def test_an_action_is_shown_masked_with_what_came_of_it(store: Store) -> None:
    insert(
        store,
        [action(3, reason="打 13812345678"), action(4, result=None), action(5), action(6, ts="2026-02-30T08:00:00")],
        "a",
    )
    insert(store, [stored(WORKED[3])], "b")
    refused = {"to_actor": True, "action_id": "web", "refusal": RefusalReason.STALE}
    insert(
        store,
        [
            notification(1, cause="x.actions:0:4", **refused),
            notification(2, cause="x.actions:0:5", to_actor=True, refusal=None, kind=NotificationKind.REPEATED),
            notification(3, cause="x.actions:0:3", to_actor=False, action_id=None, refusal=None),
        ],
        "c",
    )
    rows = store.query_arrow("SELECT * FROM v_actions ORDER BY offset").to_pylist()
    assert [row["outcome"] for row in rows] == ["accepted", "stale", "repeated", ""]
    assert rows[0]["reason"] == "打 138****5678" and rows[0]["acted_at"] is not None
    assert rows[3]["acted_at"] is None
    given = store.rows("SELECT value FROM personal_fields WHERE topic = 'x.actions' AND field = 'reason'")
    assert given == [("打 13812345678",)]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b"[1]"])
def test_bytes_that_are_no_change_or_notification_become_a_dead_letter_of_that_topic(value: bytes | None) -> None:
    for read, topic in ((read_incident, "incidents"), (read_notification, "notifications")):
        made = read(topic, 3, Delivery(5, value, OPENED_MS))
        assert isinstance(made, DeadLetter)
        assert (made.topic, made.partition, made.offset, made.reason) == (topic, 3, 5, Reason.CORRUPT_BATCH)
    assert read_action("actions", 3, Delivery(5, value, OPENED_MS)) is None, "the intake makes the letter about it"


def test_a_dead_letter_among_the_records_is_stored_with_them(store: Store) -> None:
    letter = read_incident("incidents", 3, Delivery(5, b"{}", OPENED_MS))
    insert(store, [letter, stored(WORKED[0]), None], "a")
    assert store.rows("SELECT topic FROM v_dead_letters") == [("incidents",)]


def test_a_notification_comes_back_as_it_was(store: Store) -> None:
    read = read_notification("notifications", 0, Delivery(0, encode_notification(NOTIFICATION), 0))
    insert(store, [read], "a")
    (row,) = store.query_arrow("SELECT * FROM v_notifications").to_pylist()
    assert (row["kind"], row["to"], row["refusal"], row["legal"]) == (
        NOTIFICATION.kind, NOTIFICATION.to, NOTIFICATION.refusal, NOTIFICATION.legal,
    )  # fmt: skip
