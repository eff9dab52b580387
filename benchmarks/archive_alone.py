"""The archive by itself: frames in memory through its pure core into an embedded engine, in one process on one core.

    python -m benchmarks.archive_alone --rows 1000000 --data rich

`city` is CityJoin's mix: readings without extra fields, 1 % tickets with their text. `plain` is readings alone. `rich`
is CityJoin's mix with everything that costs: camera events with a track, a picture's address and a number plate's hash,
tickets with address, caller, telephone and urgency. What merges will cost comes apart: when all is in and the rate is
taken, one merge of everything, by CPU. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.cityjoin_data import SIDE, SOUTH, STEP_DEG, WEST, Records, json_records, make_records
from schemas.kinds import load_kinds
from schemas.sources import Source
from streams.archive_core import ArchiveSettings, Covered, Frame, ShardArchive, make_rows, open_frame
from streams.batches import RawBatch
from streams.clickhouse import Store, connect
from streams.decode import Decoder
from streams.locate_core import Locator
from streams.locate_settings import LocateSettings
from streams.migrations import apply_migrations
from streams.placing import Placer, WatermarkState
from streams.strings import StringTable
from topology.grid import Grid
from topology.shards import Shards

DATA: Final = ("plain", "city", "rich")
SHARDS: Final = 4
RECORDS_A_BATCH: Final = 2_000
NOW_MS: Final = 1_760_000_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", choices=DATA, default="city")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu", type=int, default=0)
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.cpu})
    frames = list(make_frames(make_records(given.rows, given.seed), given.data))
    with (
        tempfile.TemporaryDirectory(prefix="archive-alone-") as folder,
        connect(f"chdb://{Path(folder) / 'ch'}", request_timeout_s=600) as store,
    ):
        apply_migrations(store)
        archive(store, make_frames(make_records(20_000, given.seed + 1), given.data), "first")  # its own warm-up
        for table in ("observations", "tickets", "personal_fields", "observation_hours"):
            store.command(f"TRUNCATE TABLE {table}")
        began, cpu_began = time.perf_counter(), time.process_time()
        rows, inserts = archive(store, frames, "timed")
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        merge_cpu_s = -time.process_time()
        store.command("OPTIMIZE TABLE observations FINAL")
        merge_cpu_s += time.process_time()
        stored = stored_rows(store)
    result = {
        "data": given.data,
        "rows": rows,
        "rate": round(rows / wall_s),
        "cpu_us_per_row": round(cpu_s / rows * 1e6, 3),
        "rows_per_insert": round(rows / inserts),
        "merge_us_per_row": round(merge_cpu_s / rows * 1e6, 3),
        "frame_bytes_per_row": round(sum(len(data) for _, data in frames) / rows, 1),
        "stored": stored,
        "complete": stored["observations"] == rows == stored["rolled_up"]
        and stored["offsets"] == sum(n * (n - 1) // 2 for n in stored["by_partition"]),
    }
    print(json.dumps(result))
    return 0 if result["complete"] else 1


def archive(store: Store, frames: Iterator[tuple[int, bytes]] | list[tuple[int, bytes]], name: str) -> tuple[int, int]:
    """What a worker's frame lanes do, but for Kafka: batches of the usual size, every row once. Gives both counts."""
    shards = [ShardArchive(Covered(), 0) for _ in range(SHARDS)]
    settings = ArchiveSettings()
    archived: list[int] = []

    def write(shard: int) -> None:
        held = shards[shard]
        plan, pending = held.plan(f"{name}-{shard}-{held.next_offset}")
        covered = held.covered.copy()
        rows = make_rows(pending, covered)
        for table, batch in rows.tables.items():
            store.insert(table, batch, token=plan.token)
        held.finish(plan, covered)
        archived.append(rows.archived)

    for offset, (shard, payload) in enumerate(frames):
        frame: Frame = open_frame("observations", shard, offset, payload, NOW_MS)
        shards[shard].offer(frame)
        if shards[shard].full(settings):
            write(shard)
    for shard in range(SHARDS):
        if shards[shard].pending:
            write(shard)
    return sum(archived), len(archived)


def stored_rows(store: Store) -> dict[str, Any]:
    """What the engine has: counts, the roll-up's count, and the raw offsets, which are running integers."""
    observations, offsets = store.rows("SELECT count(), sum(offset) FROM v_observations")[0]
    return {
        "observations": observations,
        "offsets": offsets,
        "by_partition": [
            row[0] for row in store.rows("SELECT count() FROM v_observations GROUP BY source, partition ORDER BY 1")
        ],
        "rolled_up": store.rows("SELECT sum(records) FROM observation_hours")[0][0],
        "tickets": store.rows("SELECT count() FROM v_tickets")[0][0],
        "personal_fields": store.rows("SELECT count() FROM personal_fields FINAL")[0][0],
        "disk_bytes_per_row": round(
            store.rows(
                "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND table = 'observations'"
            )[0][0],
            1,
        ),
    }


def make_frames(records: Records, data: str) -> Iterator[tuple[int, bytes]]:
    """(shard, frame) as locate makes them of the records."""
    if data == "plain":
        records.source[:] = Source.READINGS
        records.value[:] = np.round(records.value, 1)
    grid = Grid.degrees(WEST, SOUTH, WEST + SIDE * STEP_DEG, SOUTH + SIDE * STEP_DEG, STEP_DEG)
    settings = LocateSettings()
    tables = (StringTable(), StringTable(), StringTable())
    decoder = Decoder(*tables, settings.zones())
    placer = Placer(
        Shards(grid=grid, count=SHARDS, reach_rings=0), tables[0], tables[1], load_kinds(), settings.rules()
    )
    locator = Locator(settings, placer, SHARDS, *tables)
    read: dict[tuple[Source, int], int] = {}
    waiting: dict[tuple[Source, int], list[bytes]] = {}

    def feed(key: tuple[Source, int], values: list[bytes]) -> None:
        source, partition = key
        first = read.get(key, 0)
        if key not in read:
            locator.assign((int(source), partition), 0, WatermarkState(), NOW_MS)
        read[key] = first + len(values)
        batch = RawBatch(first, read[key], len(values), NOW_MS, True, packed(values), skip_before=first)
        decoded = decoder.decode(source, source.topic, partition, [batch])
        locator.feed(decoded.columns, decoded.letters, read[key], NOW_MS, lambda _: {})

    for source, partition, value in json_records(records):
        values = waiting.setdefault((source, partition), [])
        values.append(enriched(source, value, len(values)) if data == "rich" else value)
        if len(values) == RECORDS_A_BATCH:
            feed((source, partition), waiting.pop((source, partition)))
            if locator.due(NOW_MS):
                yield from ((frame.shard, bytes(frame.data)) for frame in locator.flush(NOW_MS, level=False).frames)
    for key, values in waiting.items():
        feed(key, values)
    yield from ((frame.shard, bytes(frame.data)) for frame in locator.flush(NOW_MS, level=True).frames)


def enriched(source: Source, value: bytes, number: int) -> bytes:
    """The record with the fields that cost the archive most."""
    if source is Source.CAMERA_EVENTS:
        more = (
            f',"track_id":{number},"snapshot_url":"https://media.example/cam/{number}.jpg","plate_hash":"{number:08x}"'
        )
    elif source is Source.TICKETS:
        more = (
            f',"urgency":"urgent","address":"漕溪北路{number % 900}号3幢1502室","caller_name":"王小明",'
            f'"caller_phone":"138{number % 10**8:08d}"'
        )
    else:
        return value
    return value[:-1] + more.encode() + b"}"


def packed(values: list[bytes]) -> bytes:
    """The records of a Kafka batch, format v2, without keys or headers."""
    out = bytearray()
    for index, value in enumerate(values):
        body = b"\x00\x00" + varint(index) + b"\x01" + varint(len(value)) + value + b"\x00"
        out += varint(len(body)) + body
    return bytes(out)


def varint(number: int) -> bytes:
    left, out = number << 1, bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


if __name__ == "__main__":
    sys.exit(main())
