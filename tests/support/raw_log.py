"""A small raw log and ways of cutting it into frames: what the join's tests feed on.

`RawRow` is a record after locate. `frames_of` cuts the rows of several raw partitions into frames as some locate might
have: any interleaving, any sizes, offsets in order within a partition, covers and watermarks right.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from schemas.observation import NO_PLACE_E7, OBSERVATION, Cover, Flag, FrameHeader, encode_frame
from schemas.sources import Source

LATENESS_MS = 5_000


@dataclass(frozen=True, slots=True)
class RawRow:
    source: Source
    partition: int
    offset: int
    event_at_ms: int
    cell: int
    kind: str
    value: float = 1.0
    confidence: float = 1.0
    quality: int = 0
    entity: str = "e"
    flags: int = 0


def late_rows(rows: Sequence[RawRow], lateness_ms: int = LATENESS_MS) -> set[tuple[Source, int, int]]:
    """(source, partition, offset) of the rows behind their own partition's watermark."""
    newest: dict[tuple[Source, int], int] = {}
    late = set()
    for row in sorted(rows, key=lambda r: (r.source, r.partition, r.offset)):
        key = (row.source, row.partition)
        if row.event_at_ms < newest.get(key, 0) - lateness_ms:
            late.add((row.source, row.partition, row.offset))
        newest[key] = max(newest.get(key, 0), row.event_at_ms)
    return late


def frame(
    rows: Sequence[RawRow],
    covers: Iterable[Cover],
    late: set[tuple[Source, int, int]] = frozenset(),  # type: ignore[assignment]
    *,
    shard: int = 0,
) -> bytes:
    """One frame of these rows."""
    coded = pa.dictionary(pa.int32(), pa.utf8())
    none = pa.DictionaryArray.from_arrays(pa.array([None] * len(rows), pa.int32()), pa.array([], pa.utf8()))
    flags = [row.flags | (Flag.LATE if (row.source, row.partition, row.offset) in late else 0) for row in rows]
    columns = [
        pa.array([row.event_at_ms for row in rows], pa.timestamp("ms", tz="UTC")),
        pa.array([row.event_at_ms for row in rows], pa.timestamp("ms", tz="UTC")),
        pa.array([row.cell for row in rows], pa.int64()),
        pa.array([row.source.topic for row in rows], pa.utf8())
        .dictionary_encode()
        .cast(OBSERVATION.field("source").type),
        pa.array([row.partition for row in rows], pa.int32()),
        pa.array([row.offset for row in rows], pa.int64()),
        pa.array([row.kind for row in rows], pa.utf8()).dictionary_encode().cast(coded),
        pa.array([row.entity for row in rows], pa.utf8()),
        pa.array([row.value for row in rows], pa.float64()),
        pa.array([row.confidence for row in rows], pa.float32()),
        pa.array([row.quality for row in rows], pa.uint8()),
        pa.array(flags, pa.uint16()),
        pa.array([NO_PLACE_E7] * len(rows), pa.int32()),
        pa.array([NO_PLACE_E7] * len(rows), pa.int32()),
        none,
        none,
        pa.array([None] * len(rows), pa.utf8()),
        none,
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=OBSERVATION) if rows else None
    return encode_frame(FrameHeader(shard=shard, covers=list(covers)), batch)


def frames_of(
    rows: Sequence[RawRow], partitions: Iterable[tuple[Source, int]], seed: int, *, biggest: int = 7
) -> list[bytes]:
    """The rows as frames, cut and interleaved by `seed`; every partition is heard of from the first frame on."""
    chance = random.Random(seed)
    late = late_rows(rows)
    queues = {key: [r for r in rows if (r.source, r.partition) == key] for key in partitions}
    for queue in queues.values():
        queue.sort(key=lambda row: row.offset)
    newest = dict.fromkeys(queues, 0)
    reached = dict.fromkeys(queues, -1)
    frames = []
    while any(queues.values()):
        taken: list[RawRow] = []
        covers = []
        for key in chance.sample(list(queues), k=chance.randint(1, len(queues))):
            some = queues[key][: chance.randint(0, biggest)]
            del queues[key][: len(some)]
            first = reached[key] + 1
            if some:
                reached[key] = some[-1].offset
                newest[key] = max(newest[key], *(row.event_at_ms for row in some))
            covers.append(_cover(key, first, reached[key], newest[key]))
            taken += some
        frames.append(frame(taken, covers, late))
    return frames


def closing_frame(partitions: Iterable[tuple[Source, int]], at_ms: int) -> bytes:
    """A header frame that moves every partition's watermark to `at_ms`."""
    return frame([], [_cover(key, 1, 0, at_ms + LATENESS_MS) for key in partitions])


def _cover(key: tuple[Source, int], first: int, last: int, newest_ms: int) -> Cover:
    return Cover(
        source=int(key[0]), partition=key[1], first=first, last=last, watermark_ms=max(0, newest_ms - LATENESS_MS),
        max_event_ms=newest_ms, idle=False, arrived_ms=newest_ms,
    )  # fmt: skip
