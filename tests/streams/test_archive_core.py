"""Which rows a batch of frames inserts, and what a shard remembers about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.errors import BrokerError
from schemas.observation import Flag
from schemas.sources import Source
from streams.archive_core import (
    ArchiveSettings,
    Checkpoint,
    Covered,
    CoveredOffsets,
    Frame,
    ShardArchive,
    decode_checkpoint,
    encode_checkpoint,
    make_rows,
    open_frame,
)
from streams.archive_rows import observation_rows
from tests.support.archive_frames import T0_MS, batch, cover, frame, reading_frame, row

R, C, K = Source.READINGS, Source.CAMERA_EVENTS, Source.TICKETS


def opened(*payloads: bytes, first: int = 0) -> list[Frame]:
    return [open_frame("observations", 0, first + at, payload, T0_MS) for at, payload in enumerate(payloads)]


def offsets(rows: dict[str, pa.Table]) -> list[int]:
    table = rows.get("observations")
    return [] if table is None else sorted(table["offset"].to_pylist())


def test_rows_of_a_first_frame_are_all_new() -> None:
    covered = Covered()
    rows = make_rows(opened(reading_frame(0, 4)), covered)
    assert offsets(dict(rows.tables)) == [0, 1, 2, 3, 4]
    assert covered.encode() == [CoveredOffsets(int(R), 0, [(0, 4)])]


def test_raw_offsets_sent_again_in_other_frames_are_left_out() -> None:
    rows = make_rows(opened(reading_frame(0, 4), reading_frame(2, 7), reading_frame(1, 7)), Covered())
    assert offsets(dict(rows.tables)) == list(range(8))
    assert rows.duplicates == 3 + 7


def test_the_same_offsets_of_another_source_or_partition_are_other_rows() -> None:
    mixed = frame([row(R, 0, 1), row(R, 1, 1), row(C, 0, 1)], [cover(R, 0, 1, 1), cover(R, 1, 1, 1), cover(C, 0, 1, 1)])
    covered = Covered()
    make_rows(opened(reading_frame(0, 3)), covered)
    rows = make_rows(opened(mixed), covered)
    table = rows.tables["observations"]
    assert list(zip(table["source"].to_pylist(), table["partition"].to_pylist(), strict=True)) == [
        ("readings", 1),
        ("camera-events", 0),
    ]
    assert rows.duplicates == 1


def test_halo_rows_are_never_archived_and_not_counted_as_duplicates() -> None:
    payload = frame(
        [row(R, 0, 0), row(R, 0, 1, flags=int(Flag.HALO)), row(R, 0, 2, flags=int(Flag.HALO | Flag.LATE))],
        [cover(R, 0, 0, 2)],
    )
    rows = make_rows(opened(payload, payload), Covered())
    assert offsets(dict(rows.tables)) == [0]
    assert (rows.halo, rows.duplicates, rows.archived) == (4, 1, 1)


def test_late_and_unplaced_rows_are_archived() -> None:
    payload = frame([row(R, 0, 0, flags=int(Flag.LATE)), row(R, 0, 1, cell=-1, flags=128)], [cover(R, 0, 0, 1)])
    assert offsets(dict(make_rows(opened(payload), Covered()).tables)) == [0, 1]


def test_header_frames_cover_offsets_and_insert_nothing() -> None:
    covered = Covered()
    rows = make_rows(opened(frame([], [cover(R, 0, 0, 9), cover(R, 1, 5, 4)])), covered)
    assert not rows.tables
    assert covered.encode() == [CoveredOffsets(int(R), 0, [(0, 9)]), CoveredOffsets(int(R), 1, [])]


def test_bytes_that_are_no_frame_become_a_dead_letter_beside_the_good_frames() -> None:
    rows = make_rows(opened(reading_frame(0, 1), b"not a frame", b"", reading_frame(2, 2), first=40), Covered())
    assert offsets(dict(rows.tables)) == [0, 1, 2]
    letters = rows.tables["dead_letters"].to_pylist()
    assert [(letter["topic"], letter["offset"], letter["payload_bytes"]) for letter in letters] == [
        ("observations", 41, 11),
        ("observations", 42, 0),
    ]


def test_a_cover_of_an_unknown_source_is_no_frame() -> None:
    strange = frame([], [cover(R, 0, 0, 1)]).replace(b'"source":0', b'"source":9')
    assert opened(strange)[0].letter is not None


def test_ticket_fields_and_personal_fields_leave_extra_for_their_own_tables() -> None:
    extra = {
        "text": "王小明说漕溪北路积水，电话13800138000",
        "address": "漕溪北路398号3幢1502室",
        "caller_name": "王小明",
        "caller_phone": "13800138000",
        "urgency": "urgent",
        "weather": "rain",
    }
    payload = frame(
        [
            row(
                K, 2, 5, extra=json.dumps(extra, ensure_ascii=False, separators=(",", ":")), entity="T-5", kind="flood"
            ),
            row(C, 0, 6, extra='{"track_id":7,"plate_hash":"b3c1","snapshot_url":"https://m/1.jpg"}'),
            row(C, 0, 7, extra='{"note":"says \\"plate_hash\\": nothing"}'),
            row(R, 0, 8),
            row(K, 2, 9),
        ],
        [cover(K, 2, 5, 9), cover(C, 0, 6, 7), cover(R, 0, 8, 8)],
    )
    tables = make_rows(opened(payload), Covered()).tables
    assert {entry["offset"]: entry["extra"] for entry in tables["observations"].to_pylist()} == {
        5: '{"weather":"rain"}',
        6: '{"track_id":7}',
        7: '{"note":"says \\"plate_hash\\": nothing"}',
        8: None,
        9: None,
    }
    first, second = tables["tickets"].to_pylist()
    assert (first["ticket_id"], first["category"], first["urgency"], first["text"]) == (
        *("T-5", "flood", "urgent"),
        extra["text"],
    )
    assert first["text_masked"] == "王**说漕溪北路积水，电话138****8000"
    assert first["address_masked"] == "漕溪北路398号3幢****室"
    assert (second["urgency"], second["text"], second["address"], second["address_masked"]) == (
        *("normal", "积水"),
        *(None, None),
    )
    personal = {(entry["topic"], entry["offset"], entry["field"]): entry["value"] for entry in
                tables["personal_fields"].to_pylist()}  # fmt: skip
    assert personal == {
        ("tickets", 5, "caller_name"): "王小明",
        ("tickets", 5, "caller_phone"): "13800138000",
        ("camera-events", 6, "plate_hash"): "b3c1",
        ("camera-events", 6, "snapshot_url"): "https://m/1.jpg",
    }


def test_a_reading_that_carries_a_caller_is_treated_as_personal_too() -> None:
    payload = frame([row(R, 0, 0, extra='{"caller_phone":13800138000,"text":null,"x":1}')], [cover(R, 0, 0, 0)])
    tables = make_rows(opened(payload), Covered()).tables
    assert tables["observations"]["extra"].to_pylist() == ['{"x":1}']
    assert [entry["value"] for entry in tables["personal_fields"].to_pylist()] == ["13800138000"]
    assert "tickets" not in tables


def test_frames_with_different_dictionaries_become_one_table() -> None:
    one = batch([row(R, 0, 0, kind="a", unit=None), row(R, 0, 1, kind="b", unit="mm")])
    two = batch([row(C, 0, 0, kind="c"), row(R, 0, 2, kind="a", unit="cm")])
    table = observation_rows([one, two]).observations
    assert table["kind"].to_pylist() == ["a", "a", "b", "c"]  # in the order of their table
    assert table["offset"].to_pylist() == [0, 2, 1, 0]
    assert table["unit"].to_pylist() == [None, "cm", "mm", None]
    assert table["source"].to_pylist() == ["readings", "readings", "readings", "camera-events"]
    assert all(column.num_chunks == 1 for column in table.columns)


@pytest.mark.parametrize(
    ("extra", "due", "confidence", "rest"),
    [
        ({"due_ms": T0_MS + 5, "place_confidence": 0.75}, T0_MS + 5, 0.75, None),
        ({"place_confidence": 1}, None, 1.0, None),
        # frames of version 1 may hold anything that a producer called so: it stays where it was
        ({"due_ms": "soon", "place_confidence": -3}, None, None, {"due_ms": "soon", "place_confidence": -3}),
        ({"due_ms": 5, "place_confidence": True}, None, None, {"due_ms": 5, "place_confidence": True}),
    ],
)
def test_a_ticket_is_stored_with_its_jurisdiction_its_promise_and_how_sure_its_place_is(
    extra: dict[str, object], due: int | None, confidence: float | None, rest: dict[str, object] | None
) -> None:
    words = json.dumps({"text": "积水", **extra})
    payload = frame([row(K, 0, 1, extra=words, jurisdiction=None), row(K, 0, 2)], [cover(K, 0, 1, 2)])
    tables = make_rows(opened(payload), Covered()).tables
    observed = sorted(tables["observations"].to_pylist(), key=lambda entry: entry["offset"])
    assert [entry["jurisdiction"] for entry in observed] == [None, "310104003"]
    first, second = tables["tickets"].to_pylist()
    assert (first["jurisdiction"], second["jurisdiction"]) == (None, "310104003")
    assert first["due_at"] == (None if due is None else datetime.fromtimestamp(due / 1000, UTC))
    assert first["place_confidence"] == confidence
    kept = observed[0].get("extra")  # a column that is null in every row is left out
    assert (None if kept is None else json.loads(kept)) == rest


cuts = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60), st.integers(0, 25)), min_size=1, max_size=12))
@settings(deadline=None)
def test_any_overlapping_frames_insert_each_row_once_whatever_the_batches(spans: list[tuple[int, int, int]]) -> None:
    frames = opened(*(reading_frame(first, first + more, partition=p) for p, first, more in spans))
    expected = {(p, offset) for p, first, more in spans for offset in range(first, first + more + 1)}
    for size in (1, 3, len(frames)):
        covered, got = Covered(), []
        for at in range(0, len(frames), size):
            table = make_rows(frames[at : at + size], covered).tables.get("observations")
            if table is not None:
                got += list(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))
            covered = Covered(covered.encode())  # as if the worker had been restarted here
        assert len(got) == len(set(got)) and set(got) == expected


def test_a_planned_batch_made_again_gives_the_same_tables() -> None:
    shard = ShardArchive(Covered([CoveredOffsets(int(R), 0, [(0, 3)])]), 10)
    for item in opened(reading_frame(2, 6), reading_frame(5, 9), first=10):
        shard.offer(item)
    plan, frames = shard.plan("token")
    assert (plan.first, plan.last, plan.frames, plan.done) == (10, 11, 2, False)
    stored = decode_checkpoint(encode_checkpoint(plan))
    once = make_rows(frames, Covered(stored.covered)).tables
    again = make_rows(frames, Covered(stored.covered)).tables
    assert once["observations"].equals(again["observations"])
    assert offsets(dict(once)) == [4, 5, 6, 7, 8, 9]


def test_what_is_known_or_pending_is_not_taken_twice() -> None:
    shard = ShardArchive(Covered(), 3)
    assert shard.knows(2) and not shard.knows(3)
    shard.offer(opened(reading_frame(0, 1), first=7)[0])
    assert shard.knows(7) and shard.knows(3) and not shard.knows(8)


def test_a_batch_is_full_by_rows_or_by_bytes() -> None:
    shard = ShardArchive(Covered(), 0)
    shard.offer(opened(reading_frame(0, 9))[0])
    assert shard.full(ArchiveSettings(batch_rows=10)) and not shard.full(ArchiveSettings(batch_rows=11))
    assert shard.full(ArchiveSettings(batch_bytes=1024))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"{}", encode_checkpoint(
    Checkpoint(version=99, first=0, last=0, frames=1, token="t", done=True, covered=[]))])  # fmt: skip
def test_a_checkpoint_that_cannot_be_read_is_refused(payload: bytes) -> None:
    with pytest.raises(BrokerError, match="archive-state"):
        decode_checkpoint(payload)


def test_settings_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="batch_row\n"):
        ArchiveSettings.model_validate({"batch_row": 1})
