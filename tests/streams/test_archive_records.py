"""Alerts and dead letters are stored once by their ids, whatever the log repeats; on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.alert import Action, Alert, encode_alert
from schemas.dead_letter import DeadLetter, Reason, encode_dead_letter
from schemas.errors import BadRecord
from streams.archive_lane import Delivery
from streams.archive_records import insert_new, read_alert, read_dead_letter
from streams.clickhouse import Store
from tests.support.archive_frames import T0_MS, alert
from tests.support.stores import embedded_store


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with embedded_store(tmp_path_factory.mktemp("records") / "data") as made:
        yield made


@pytest.fixture
def store(engine: Store) -> Store:
    for table in ("alerts", "dead_letters"):
        engine.command(f"TRUNCATE TABLE {table}")
    return engine


def letter(offset: int, topic: str = "readings", partition: int = 0, payload: bytes = b"?") -> DeadLetter:
    return DeadLetter.of(
        BadRecord(Reason.BAD_JSON, "$", "expected an object"),
        topic=topic,
        partition=partition,
        offset=offset,
        payload=payload,
        received_at_ms=T0_MS,
    )


def delivery(value: bytes | None, offset: int = 5) -> Delivery:
    return Delivery(offset, value, T0_MS)


def test_alert_records_that_are_there_are_not_inserted_again(store: Store) -> None:
    raised, cleared = alert(0, Action.RAISE, 2), alert(1, Action.CLEAR, 2)
    far = alert(0, Action.RAISE, 1, alert_id="waterlogging-1-9-99", onset_ms=T0_MS - 40 * 86_400_000)
    insert_new(store, [raised], "a")
    insert_new(store, [raised, cleared, raised, far], "b")
    insert_new(store, [far, cleared], "c")
    found = store.rows("SELECT alert_id, revision FROM alerts ORDER BY alert_id, revision")
    assert found == [(raised.alert_id, 0), (raised.alert_id, 1), (far.alert_id, 0)]


def test_dead_letters_that_are_there_are_not_inserted_again(store: Store) -> None:
    insert_new(store, [letter(1), letter(2), letter(1, "tickets"), letter(1, partition=1)], "a")
    insert_new(store, [letter(2), letter(3), letter(3)], "b")
    found = store.rows("SELECT topic, partition, offset FROM dead_letters ORDER BY topic, partition, offset")
    assert found == [("readings", 0, 1), ("readings", 0, 2), ("readings", 0, 3), ("readings", 1, 1), ("tickets", 0, 1)]


def test_a_repeat_after_a_lost_answer_stores_nothing_twice(store: Store) -> None:
    records: list[Alert | DeadLetter] = [alert(0, Action.RAISE, 2), letter(1)]
    insert_new(store, records, "same")
    insert_new(store, records, "same")
    assert store.rows("SELECT (SELECT count() FROM alerts), (SELECT count() FROM dead_letters)") == [(1, 1)]


def test_messages_come_back_as_they_were_written(store: Store) -> None:
    raised, dead = alert(0, Action.RAISE, 2), letter(7, payload=b"\xff\x00")
    insert_new(store, [read_alert("alerts", 0, delivery(encode_alert(raised)))], "a")
    insert_new(store, [read_dead_letter("dead-letters", 0, delivery(encode_dead_letter(dead)))], "b")
    (row,) = store.query_arrow("SELECT * FROM alerts").to_pylist()
    assert row["sentence_zh"] == raised.sentence_zh and dict(row["thresholds"]) == raised.thresholds
    (row,) = store.query_arrow("SELECT * FROM dead_letters").to_pylist()
    assert (row["payload_b64"], row["payload_bytes"], row["reason"]) == (dead.payload_b64, 2, "bad_json")
    assert "payload_b64" not in store.query_arrow("SELECT * FROM v_dead_letters").column_names


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b"[1]"])
def test_bytes_that_are_no_alert_or_letter_become_a_dead_letter_of_that_topic(value: bytes | None) -> None:
    for read, topic in ((read_alert, "alerts"), (read_dead_letter, "dead-letters")):
        made = read(topic, 3, delivery(value))
        assert isinstance(made, DeadLetter)
        assert (made.topic, made.partition, made.offset, made.reason) == (topic, 3, 5, Reason.CORRUPT_BATCH)
