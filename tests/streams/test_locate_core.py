"""The promises of frame headers and commits, on a hand-moved clock. Crashes are in test_locate_crashes.py."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from pydantic import ValidationError

from schemas.dead_letter import DeadLetter, Reason
from schemas.errors import BadRecord
from schemas.observation import Cover, Flag, decode_frame
from schemas.sources import Source
from streams.flush import Flush
from streams.locate_settings import LocateSettings, SourceSettings
from streams.placing import Origins, RawKey, WatermarkState
from tests.support.city_locator import READINGS_0, READINGS_1, TICKETS_0, City, no_payloads
from tests.support.decoded_rows import SHARDS, T0, DecodedRow, nowhere


def letter(offset: int, source: Source = Source.READINGS) -> DeadLetter:
    error = BadRecord(Reason.BAD_JSON, "$", "not JSON")
    return DeadLetter.of(error, topic=source.topic, partition=0, offset=offset, payload=b"{", received_at_ms=T0)


def covers(flush: Flush, key: RawKey) -> dict[int, list[Cover]]:
    """By shard, what a flush says of one raw partition."""
    found: dict[int, list[Cover]] = defaultdict(list)
    for frame in flush.frames:
        header, _ = decode_frame(frame.data)
        assert header.shard == frame.shard
        found[frame.shard] += [c for c in header.covers if (c.source, c.partition) == key]
    return found


def the_cover(flush: Flush, key: RawKey) -> Cover:
    """The cover that all shards are told alike."""
    told = [cover for shard in covers(flush, key).values() for cover in shard]
    assert len(told) == SHARDS.count
    assert len(set(map(str, told))) == 1
    return told[0]


# --- covers and watermarks -----------------------------------------------------------------------------------------


def test_a_level_flush_tells_every_shard_the_same_progress() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(5), DecodedRow(7, event_at_ms=T0 + 10), upto=9)
    flush = city.flush(level=True)
    cover = the_cover(flush, READINGS_0)
    assert (cover.first, cover.last) == (0, 8)
    assert (cover.max_event_ms, cover.watermark_ms) == (T0 + 10, T0 - 4_990)
    assert cover.arrived_ms == T0 + 1_000
    assert not cover.idle
    assert flush.rows == 2


def test_the_first_level_flush_speaks_of_partitions_that_have_no_records_yet() -> None:
    cover = the_cover(City().assign(READINGS_0).flush(level=True), READINGS_0)
    assert cover.last < cover.first
    assert (cover.watermark_ms, cover.max_event_ms) == (0, 0)


def test_a_flush_between_level_ones_bothers_only_shards_with_rows() -> None:
    city = City().assign(READINGS_0)
    city.flush(level=True)
    row = DecodedRow(0)
    city.at(0.05).feed(READINGS_0, row)
    flush = city.flush()
    assert {frame.shard for frame in flush.frames} == {SHARDS.shard_of(SHARDS.grid.cell(row.lon, row.lat))}
    assert not flush.commits
    quiet = city.at(0.1).flush()  # the header interval has passed
    assert len(quiet.frames) == SHARDS.count - 1
    assert quiet.rows == 0
    assert quiet.commits[READINGS_0].offset == 1


def test_shards_that_know_all_are_left_in_peace() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0))
    city.flush(level=True)
    again = city.at(1).flush()
    assert again.level
    assert not again.frames
    assert not again.commits


def test_offsets_without_records_are_covered_and_committed() -> None:
    city = City().assign(READINGS_0, offset=40)
    city.locator.advance(READINGS_0, 50)
    flush = city.flush(level=True)
    assert (the_cover(flush, READINGS_0).first, the_cover(flush, READINGS_0).last) == (40, 49)
    assert flush.commits[READINGS_0].offset == 50


def test_the_watermark_of_a_cut_partition_waits_for_its_last_piece() -> None:
    city = City(LocateSettings(max_frame_rows=2)).assign(READINGS_0, READINGS_1)
    rows = [DecodedRow(i, event_at_ms=T0 + i) for i in range(3)]
    city.feed(READINGS_0, *rows)
    city.feed(READINGS_1, DecodedRow(0, event_at_ms=T0 + 50))
    flush = city.flush()
    first, second = (decode_frame(frame.data)[0].covers for frame in flush.frames if frame.rows)
    assert [(c.partition, c.first, c.last, c.max_event_ms, c.watermark_ms) for c in first] == [(0, 0, 1, 0, 0)]
    assert [(c.partition, c.first, c.last, c.max_event_ms) for c in second] == [(0, 2, 2, T0 + 2), (1, 0, 0, T0 + 50)]


# --- commits ---------------------------------------------------------------------------------------------------------


def test_a_commit_carries_the_watermark_state_at_its_offset() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0, event_at_ms=T0 + 77, received_at_ms=T0 + 99), upto=4)
    commit = city.flush(level=True).commits[READINGS_0]
    assert commit.offset == 4
    assert WatermarkState.decode(commit.metadata) == WatermarkState(T0 + 77, T0 + 99)


def test_dead_letters_leave_with_the_flush_that_lets_their_offsets_be_committed() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0), DecodedRow(2, lon=0.0), letters=[letter(1)])
    flush = city.flush(level=True)
    assert [(dead.offset, dead.reason) for dead in flush.dead_letters] == [
        (1, Reason.BAD_JSON),
        (2, Reason.OUTSIDE_CITY),
    ]
    assert flush.dead_letters[1].payload == b"raw 2"
    assert flush.commits[READINGS_0].offset == 3
    assert not city.flush(level=True).dead_letters
    assert city.locator.take_counts().dead == {
        (Source.READINGS, "bad_json"): 1,
        (Source.READINGS, "outside_city"): 1,
    }


def test_a_revoked_partition_leaves_nothing_behind() -> None:
    city = City().assign(READINGS_0, READINGS_1)
    city.feed(READINGS_0, DecodedRow(0))
    city.feed(READINGS_1, DecodedRow(0))
    city.locator.revoke([READINGS_0])
    flush = city.flush(level=True)
    assert not any(covers(flush, READINGS_0).values())
    assert flush.rows == 1
    assert set(flush.commits) == {READINGS_1}
    city.assign(READINGS_0, offset=0)  # and it may come back


def test_letters_of_a_revoked_partition_are_left_to_its_next_owner() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, letters=[letter(0)])
    city.locator.revoke([READINGS_0])
    assert not city.flush(level=True).dead_letters


# --- idle sources ----------------------------------------------------------------------------------------------------


def idle(city: City) -> bool:
    """What the shards have been told last."""
    told = {progress.told[shard][2] for progress in city.locator.assigned.values() for shard in range(SHARDS.count)}
    assert len(told) == 1
    return told.pop()


def test_a_source_is_idle_when_read_to_its_end_and_quiet_for_long_enough() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0))
    city.at(4.9).locator.seen_end(READINGS_0, 1, city.now_ms)
    city.flush(level=True)
    assert not idle(city)
    city.at(5.0).locator.seen_end(READINGS_0, 1, city.now_ms)
    assert the_cover(city.flush(level=True), READINGS_0).idle


def test_new_rows_wake_an_idle_source() -> None:
    city = City().assign(READINGS_0)
    city.at(6).locator.seen_end(READINGS_0, 0, city.now_ms)
    city.flush(level=True)
    assert idle(city)
    city.at(7).feed(READINGS_0, DecodedRow(0))
    city.flush(level=True)
    assert not idle(city)


def test_a_source_with_records_left_to_read_is_not_idle() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0))
    city.at(60).locator.seen_end(READINGS_0, 2, city.now_ms)
    city.flush(level=True)
    assert not idle(city)


def test_a_broker_that_does_not_answer_makes_no_source_idle() -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0))
    city.locator.seen_end(READINGS_0, 1, city.now_ms)
    city.at(600).flush(level=True)
    assert not idle(city)


@pytest.mark.parametrize(
    "row",
    [
        DecodedRow(1, event_at_ms=T0 - 60_000),  # late
        DecodedRow(1, event_at_ms=T0 - 60_000, received_at_ms=T0 + 5_000),  # late, and has only now arrived
        DecodedRow(1, event_at_ms=T0),  # the same time again
        DecodedRow(1, event_at_ms=T0 + 10_000_000),  # a future time
        DecodedRow(1, lon=0.0, event_at_ms=T0 + 1),  # outside the city
    ],
)
def test_rows_that_do_not_move_event_time_on_do_not_keep_a_source_awake(row: DecodedRow) -> None:
    city = City().assign(READINGS_0)
    city.feed(READINGS_0, DecodedRow(0))
    city.at(4).feed(READINGS_0, row)
    city.at(5).locator.seen_end(READINGS_0, 2, city.now_ms)
    city.flush(level=True)
    assert idle(city)


# --- urgent tickets --------------------------------------------------------------------------------------------------


def ticket(offset: int, urgency: str = "normal", **changes: object) -> DecodedRow:
    extra = msgspec.json.encode({"text": "水", "urgency": urgency})
    return DecodedRow(offset, kind="flood", entity=f"T-{offset}", extra=extra, **changes)  # type: ignore[arg-type]


def test_an_urgent_ticket_is_handed_back_at_once_as_a_frame_of_its_own() -> None:
    city = City().assign(TICKETS_0)
    rows = [ticket(0), ticket(1, "critical"), ticket(2, "urgent"), ticket(3)]
    rows[3].kind = "fire"
    columns = city.tables.columns(rows, source=Source.TICKETS)
    urgent = city.locator.feed(columns, [], 4, T0, no_payloads)
    assert [u.key for u in urgent] == [b"T-1", b"T-3"]
    header, batch = decode_frame(urgent[0].data)
    assert batch.column("offset").to_pylist() == [1]
    assert [(c.first, c.last) for c in header.covers] == [(1, 1)]
    assert city.flush(level=True).rows == 4  # they are in the ordinary frames, too


def test_an_urgent_ticket_without_a_place_is_urgent_all_the_same() -> None:
    city = City().assign(TICKETS_0)
    row = nowhere(0, kind="trapped_person", entity="T-0", extra=b'{"text":"","urgency":"normal"}')
    assert city.feed(TICKETS_0, row) == 1


def test_an_urgent_ticket_that_is_refused_is_a_dead_letter_only() -> None:
    city = City().assign(TICKETS_0)
    assert city.feed(TICKETS_0, ticket(0, "critical", lon=0.0)) == 0
    assert len(city.flush(level=True).dead_letters) == 1


def test_a_reading_is_never_urgent() -> None:
    city = City().assign(READINGS_0)
    assert city.feed(READINGS_0, DecodedRow(0, kind="fire")) == 0


# --- placed tickets, for the loop ------------------------------------------------------------------------------------


def placed(flush: Flush) -> list[tuple[int, list[int], tuple[int, int]]]:
    """Of each frame for placed-tickets: its raw partition, the offsets of its rows, and its cover."""
    found = []
    for frame in flush.tickets:
        header, batch = decode_frame(frame.data)
        (cover,) = header.covers
        assert (header.shard, cover.source, cover.partition) == (frame.shard, int(Source.TICKETS), frame.shard)
        assert frame.rows == batch.num_rows
        found.append((frame.shard, batch.column("offset").to_pylist(), (cover.first, cover.last)))
    return found


def test_each_flush_has_one_frame_of_the_tickets_of_each_raw_partition() -> None:
    other = (2, 1)
    city = City().assign(TICKETS_0, other, READINGS_0, offset=10)
    border = DecodedRow(12, kind="flood", lon=121.0005 + 0.016, lat=31.2005)  # it has copies in other shards
    late = DecodedRow(13, kind="flood", event_at_ms=T0 - 600_000)
    city.feed(READINGS_0, DecodedRow(10))
    city.feed(TICKETS_0, nowhere(11, kind="flood"), border, late, DecodedRow(14, lon=0.0))
    city.feed(TICKETS_0, ticket(16), upto=18)
    city.feed(other, ticket(10))
    flush = city.flush()
    assert placed(flush) == [(0, [11, 12, 13, 16], (10, 17)), (1, [10], (10, 10))]
    flags = decode_frame(flush.tickets[0].data)[1].column("flags").to_pylist()
    assert [bool(flag & Flag.LATE) for flag in flags] == [False, False, True, False]
    assert not any(flag & Flag.HALO for flag in flags)
    assert not city.flush(level=True).tickets  # nothing new


def test_ticket_offsets_without_a_row_are_covered_before_they_are_committed() -> None:
    city = City().assign(TICKETS_0)
    city.flush(level=True)
    city.feed(TICKETS_0, letters=[letter(0, Source.TICKETS)])
    assert not city.flush().tickets
    flush = city.flush(level=True)
    assert placed(flush) == [(0, [], (0, 0))]
    assert flush.commits[TICKETS_0].offset == 1


def test_many_tickets_are_cut_into_frames_whose_covers_follow_each_other() -> None:
    city = City(LocateSettings(max_frame_rows=2)).assign(TICKETS_0)
    city.feed(TICKETS_0, *(ticket(offset) for offset in range(5)), upto=7)
    assert placed(city.flush()) == [(0, [0, 1], (0, 1)), (0, [2, 3], (2, 3)), (0, [4], (4, 6))]


def test_where_places_come_from_is_counted_by_source() -> None:
    city = City().assign(READINGS_0, TICKETS_0)
    city.feed(READINGS_0, DecodedRow(0), nowhere(1), DecodedRow(2, lon=0.0))
    city.feed(READINGS_0, DecodedRow(3))
    city.feed(TICKETS_0, nowhere(0, kind="flood"))
    origins = city.locator.take_counts().origins
    assert origins[Source.READINGS] == Origins(own=2, unplaced=1)
    assert origins[Source.TICKETS] == Origins(unplaced=1)
    assert city.locator.take_counts().origins[Source.READINGS] == Origins()


# --- when to flush ---------------------------------------------------------------------------------------------------


def test_a_flush_is_due_after_its_interval_or_when_much_has_come() -> None:
    city = City(LocateSettings(max_flush_rows=3)).assign(READINGS_0)
    city.flush(level=True)
    assert not city.at(0.099).locator.due(city.now_ms)
    city.at(0.01).feed(READINGS_0, DecodedRow(0))
    assert not city.locator.due(city.now_ms)
    assert city.at(0.04).locator.due(city.now_ms)
    city.at(0.01).feed(READINGS_0, DecodedRow(1), DecodedRow(2))
    assert city.locator.due(city.now_ms)
    city.flush()
    assert not city.locator.due(city.now_ms)
    assert city.at(0.1).locator.due(city.now_ms)  # headers


def test_what_is_far_behind_is_flushed_by_rows_or_after_a_longer_interval() -> None:
    city = City(LocateSettings(max_flush_rows=3, backlog_interval_ms=250)).assign(READINGS_0, READINGS_1)
    city.flush(level=True)
    city.feed(READINGS_0, DecodedRow(0))
    city.locator.seen_end(READINGS_0, 3, city.now_ms)  # two wait
    assert city.at(0.1).locator.due(city.now_ms)
    city.locator.seen_end(READINGS_1, 1, city.now_ms)  # three in all
    assert not city.locator.due(city.now_ms)
    assert city.locator.due_in_ms(city.now_ms, 1_000) == 150
    assert city.at(0.25).locator.due(city.now_ms)
    city.feed(READINGS_0, DecodedRow(1))
    assert city.at(0.1).locator.due(city.now_ms)  # two again
    city.locator.seen_end(READINGS_0, 9, city.now_ms)
    assert not city.locator.due(city.now_ms)
    city.feed(READINGS_0, DecodedRow(2))
    assert city.locator.due(city.now_ms)  # as many as a flush takes


def test_a_flush_is_due_when_many_bytes_wait() -> None:
    city = City(LocateSettings(max_flush_bytes=1 << 16)).assign(READINGS_0)
    city.flush(level=True)
    city.feed(READINGS_0, DecodedRow(0, extra=b'"' + b"x" * (1 << 16) + b'"'))
    assert city.locator.due(city.now_ms)


def test_without_partitions_nothing_is_due() -> None:
    city = City()
    assert not city.at(100).locator.due(city.now_ms)
    assert not city.flush(level=True).frames


def test_string_tables_that_a_producer_fills_are_emptied_after_a_flush() -> None:
    city = City().assign(READINGS_0)
    city.tables.kinds.crowded_at = 3
    for n in range(3):
        city.feed(READINGS_0, *(DecodedRow(4 * n + i, kind=f"made-up-{n}-{i}") for i in range(4)))
        flush = city.flush(level=True)
        kinds = [kind for frame in flush.frames for kind in decode_frame(frame.data)[1].column("kind").to_pylist()]
        assert kinds == [f"made-up-{n}-{i}" for i in range(4)]
        assert len(city.tables.kinds) == 0


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"zone": "../etc/passwd"}, "passwd"),
        ({"datum": "EPSG:4326"}, "EPSG:4326"),
        ({"lateness_ms": -1}, "lateness_ms"),
        ({"latness_ms": 1}, "latness_ms"),
    ],
)
def test_bad_source_settings_are_refused_by_name(bad: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        SourceSettings(**bad)  # type: ignore[arg-type]
