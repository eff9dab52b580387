"""A whole log, cut into flushes and crashed at random: rows, flags and letters are those of one calm run."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.observation import Flag
from streams.locate_settings import LocateSettings
from streams.placing import RawKey, WatermarkState
from tests.support.city_locator import READINGS_0, READINGS_1, TICKETS_0, City
from tests.support.decoded_rows import SHARDS, T0, DecodedRow
from tests.support.shard_reader import ShardReader

Log = dict[RawKey, list[DecodedRow]]


def random_log(chance: random.Random) -> Log:
    log: Log = {}
    for key in (READINGS_0, READINGS_1, TICKETS_0):
        offset, rows = 0, []
        for i in range(chance.randint(0, 60)):
            offset += chance.choice((1, 1, 1, 3))
            lon = chance.choice((121.2005, 121.0 + 0.4 * chance.random(), 0.0))
            at = T0 + 500 * i - chance.randint(0, 12_000) + chance.choice((0, 0, 0, 10_000_000))
            rows.append(DecodedRow(offset, event_at_ms=at, lon=lon, received_at_ms=T0 + 500 * i, kind="flood"))
        log[key] = rows
    return log


def run(log: Log, chance: random.Random, *, crashes: int) -> tuple[list[ShardReader], set[bytes]]:
    """Feed the log in random slices and flushes; a crash loses the locator and the end of its last flush.

    The readers are those of the shards and, last, the one of placed-tickets.
    """
    readers = [ShardReader() for _ in range(SHARDS.count + 1)]
    letters: set[bytes] = set()
    committed = {key: (0, WatermarkState().encode()) for key in log}
    config = LocateSettings(max_frame_rows=chance.choice((1, 3, 65_536)), header_interval_ms=50)
    while True:
        city = City(config)
        for key, (offset, metadata) in committed.items():
            state = WatermarkState.decode(metadata)
            assert state is not None
            city.assign(key, offset=offset, state=state)
        queues = {key: [row for row in rows if row.offset >= committed[key][0]] for key, rows in log.items()}
        crash_after = chance.randint(0, 12) if crashes else -1
        while any(queues.values()) and crash_after != 0:
            crash_after -= 1
            for key in chance.sample(list(queues), k=2):
                some = queues[key][: chance.randint(0, 8)]
                del queues[key][: len(some)]
                if some:
                    city.feed(key, *some)
            if chance.random() < 0.5:
                continue
            flush = city.at(chance.random()).flush(level=chance.random() < 0.3)
            lost = chance.randint(1, 5) if crash_after == 0 else 0
            for frame in flush.frames[: len(flush.frames) - lost]:
                readers[frame.shard].read(frame.data)
            for frame in flush.tickets[: len(flush.tickets) - chance.randint(0, lost)]:
                readers[-1].read(frame.data)
            if not lost:
                letters |= {dead.key for dead in flush.dead_letters}
                committed |= {key: (commit.offset, commit.metadata) for key, commit in flush.commits.items()}
        if not any(queues.values()) and crash_after != 0:
            flush = city.flush(level=True)
            for frame in flush.frames:
                readers[frame.shard].read(frame.data)
            for frame in flush.tickets:
                readers[-1].read(frame.data)
            return readers, letters | {dead.key for dead in flush.dead_letters}
        crashes -= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_crashes_and_cuts_change_neither_rows_nor_flags_nor_letters(seed: int) -> None:
    log = random_log(random.Random(seed))
    plain, plain_letters = run(log, random.Random(seed + 1), crashes=0)
    rough, rough_letters = run(log, random.Random(seed + 2), crashes=3)
    assert [reader.taken for reader in rough] == [reader.taken for reader in plain]
    assert rough_letters == plain_letters
    everything = {(key, row.offset) for key, rows in log.items() for row in rows}
    seen = {at for reader in plain for at in reader.taken}
    dead = {
        (key, row.offset)
        for key, rows in log.items()
        for row in rows
        if row.lon == 0.0 or row.event_at_ms > T0 + 5_000_000
    }
    assert seen | dead == everything
    assert not seen & dead
    tickets = plain[-1].taken
    assert set(tickets) == {at for at in seen if at[0] == TICKETS_0}
    owned = {at: told for reader in plain[:-1] for at, told in reader.taken.items() if not told[1] & Flag.HALO}
    assert tickets == {at: owned[at] for at in tickets}
