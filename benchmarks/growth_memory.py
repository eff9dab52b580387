"""The join's memory with everything full: each cell has a value of each feature in each bucket of the longest window.

Eight features (five aggregates of one metric, three of another) over windows of 60 buckets of a minute, judged by six
rules. Frames are made here column by column, for 120 million records of JSON would take longer than they tell;
snapshots are taken once a minute, as memory for them is memory. Alerts are held against running aggregates of the
same numbers: no bucket leaves a window of 60 here, so a rule raises once, in the first minute that reaches its level.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.growth_data import CitySpec, cell_ids, mixed
from benchmarks.growth_path import DroppingLog
from benchmarks.growth_point import forget_peak, memory_mib
from detectors.features import MINUTE_MS, Aggregate
from detectors.threshold import Threshold, ThresholdSettings
from schemas.observation import OBSERVATION, Cover, FrameHeader, write_frame
from schemas.sources import Source
from streams.join_core import JoinSettings, JoinShard
from streams.shard_store import ShardStore
from streams.snapshots import Snapshots
from topology.jit import kernel

FIRST_MS: Final = 1_750_000_020_000 // MINUTE_MS * MINUTE_MS
MINUTES: Final = 60
FEATURES: Final = 8
FRAME_CELLS: Final = 32_768
KINDS: Final = ("water_level_mm", "rainfall_mm_h")
SPIKE: Final = 150.0
SUM: Final = 3_900.0  # of 60 values between 0 and 100: four standard deviations above what is usual
_RARE: Final = 1_000_000
_CODED: Final = pa.dictionary(pa.int32(), pa.utf8())

Raise = tuple[str, int, int]
"""(rule, cell, end of the window)"""


def fill(cells: int, values: Literal["tenths", "doubles"]) -> dict[str, Any]:
    """Memory and CPU of `cells` cells with all eight features in all 60 buckets; "wrong" as in growth_point."""
    spec = CitySpec(cells=cells, devices=cells, period_s=60)
    ids = cell_ids(spec)
    noise = 0.0 if values == "tenths" else 0.05
    shard = JoinShard(0, spec.grid, _rules(), [(0, 0)], JoinSettings())
    features = {feature.identity for rule in _rules() for feature in rule.features}
    assert len(features) == FEATURES, features
    log = DroppingLog()
    snapshots = Snapshots(0, ShardStore("state", log), log, open_topic="open", blocks_topic="blocks")
    base_mib = memory_mib("VmRSS")
    forget_peak()
    alerts, join_s, snapshots_s, snapshot_bytes = [], 0.0, 0.0, 0
    for minute in range(MINUTES + 1):  # the last one closes the one before, and is not judged itself
        for frame in _frames(ids, minute, noise, 2 * cells * minute):
            began = time.process_time()
            alerts += shard.process(frame)
            join_s += time.process_time() - began
        began = time.process_time()
        captured = snapshots.capture(shard, minute)
        asyncio.run(snapshots.write(captured))
        snapshots_s += time.process_time() - began
        snapshot_bytes += captured.size
    rows = 2 * cells * MINUTES
    peak_mib = memory_mib("VmHWM")
    got = {(a.detector, a.cell, a.window_end_ms) for a in alerts}
    want = _raises(ids, noise)
    wrong = ""
    if got != want or len(alerts) != len(got) or not want:
        wrong = f"{len(want - got)} of {len(want)} raises are missing, {len(got - want)} should not be there"
    return {
        "cpu_us": {"join": round(1e6 * join_s / rows, 4), "snapshots": round(1e6 * snapshots_s / rows, 4)},
        "memory_mib": round(peak_mib - base_mib, 1),
        "process_mib": round(peak_mib, 1),
        "arrays_mib": {
            name: round(size / 2**20, 1) for group in shard.groups.values() for name, size in group.nbytes.items()
        },
        "snapshot_mib": round(snapshot_bytes / 2**20, 1),
        "rows": rows,
        "alerts": len(alerts),
        "wrong": wrong,
    }


def _rules() -> tuple[Threshold, ...]:
    def rule(name: str, kind: str, aggregate: Aggregate, level: float) -> Threshold:
        above = level > 0
        return Threshold(
            ThresholdSettings(
                metric=kind, aggregate=aggregate, raise_at=(level,), clear_at=-1e6 if above else 1e6,
                comparison="above" if above else "below", window_minutes=MINUTES, min_samples=1,
            ),
            name=name,
        )  # fmt: skip

    first, second = KINDS
    return (
        rule("most", first, Aggregate.MAX, SPIKE),
        rule("least", first, Aggregate.MIN, -SPIKE),
        rule("mean", first, Aggregate.MEAN, SPIKE),
        rule("last", first, Aggregate.LAST, SPIKE),
        rule("most_rain", second, Aggregate.MAX, SPIKE),
        rule("rain", second, Aggregate.SUM, SUM),
    )


def _frames(ids: npt.NDArray[np.int64], minute: int, noise: float, offset: int) -> Iterator[memoryview]:
    """The frames of one minute, in the order in which the cells happen to speak; after the last a header alone."""
    end_ms = FIRST_MS + (minute + 1) * MINUTE_MS
    if minute == MINUTES:
        yield write_frame(_header(offset, offset - 1, end_ms + MINUTE_MS), None)
        return
    order = np.random.default_rng(minute).permutation(len(ids))
    for begin in range(0, len(ids), FRAME_CELLS):
        numbers = order[begin : begin + FRAME_CELLS]
        count = 2 * len(numbers)
        at_ms = np.full(count, FIRST_MS + minute * MINUTE_MS + begin * (MINUTE_MS - 1_000) // len(ids))
        at_ms += np.arange(count) % 1_000
        value = np.empty(count)
        _fill(numbers, minute, noise, value)
        last = offset + count - 1
        header = _header(offset, last, int(at_ms[0]) - 5_000)
        yield write_frame(header, _batch(np.repeat(ids[numbers], 2), at_ms, value, offset))
        offset = last + 1


def _header(first: int, last: int, watermark_ms: int) -> FrameHeader:
    cover = Cover(
        source=0, partition=0, first=first, last=last, watermark_ms=watermark_ms, max_event_ms=watermark_ms + 5_000,
        idle=False, arrived_ms=0,
    )  # fmt: skip
    return FrameHeader(shard=0, covers=[cover])


def _batch(
    cells: npt.NDArray[np.int64], at_ms: npt.NDArray[np.int64], value: npt.NDArray[np.float64], offset: int
) -> pa.RecordBatch:
    count = len(cells)
    time_ = pa.array(at_ms, pa.timestamp("ms", tz="UTC"))
    known: dict[str, pa.Array] = {
        "event_at": time_,
        "received_at": time_,
        "cell": pa.array(cells),
        "source": pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(count, dtype=np.int8)), pa.array([Source.READINGS.topic])
        ),
        "offset": pa.array(np.arange(offset, offset + count)),
        "kind": pa.DictionaryArray.from_arrays(
            pa.array(np.tile(np.array([0, 1], dtype=np.int32), count // 2)), pa.array(KINDS)
        ),
        "entity": pa.array(["e"] * count),
        "value": pa.array(value),
        "confidence": pa.array(np.ones(count, dtype=np.float32)),
    }
    columns = []
    for column in OBSERVATION:
        if column.name in known:
            columns.append(known[column.name].cast(column.type))
        elif column.nullable:
            columns.append(pa.nulls(count, column.type))
        else:
            columns.append(pa.array(np.zeros(count, dtype=np.int8)).cast(column.type))
    return pa.RecordBatch.from_arrays(columns, schema=OBSERVATION)


def _raises(ids: npt.NDArray[np.int64], noise: float) -> set[Raise]:
    """What must be raised, by running aggregates minute by minute."""
    count = len(ids)
    numbers = np.arange(count)
    both = np.empty(2 * count)
    most, least, total = np.full(count, -np.inf), np.full(count, np.inf), np.zeros(count)
    most_rain, rain = np.full(count, -np.inf), np.zeros(count)
    raised: dict[str, npt.NDArray[np.bool_]] = {}
    found: set[Raise] = set()
    for minute in range(MINUTES):
        _fill(numbers, minute, noise, both)
        value, other = both[0::2], both[1::2]
        np.maximum(most, value, out=most)
        np.minimum(least, value, out=least)
        total += value
        np.maximum(most_rain, other, out=most_rain)
        rain += other
        reached = {
            "most": most >= SPIKE, "least": least <= -SPIKE, "mean": total / (minute + 1) >= SPIKE,
            "last": value >= SPIKE, "most_rain": most_rain >= SPIKE, "rain": rain >= SUM,
        }  # fmt: skip
        for name, now in reached.items():
            before = raised.setdefault(name, np.zeros(count, dtype=np.bool_))
            end_ms = FIRST_MS + (minute + 1) * MINUTE_MS
            found |= {(name, int(ids[number]), end_ms) for number in np.flatnonzero(now & ~before)}
            before |= now
    return found


@kernel
def _fill(numbers: npt.NDArray[np.int64], minute: int, noise: float, out: npt.NDArray[np.float64]) -> None:
    """Two values for each cell: in tenths from 0 to 99.9, rarely 200 more or less; `noise` fills the digits behind."""
    for i in range(numbers.shape[0]):
        for kind in range(2):
            place = (numbers[i] * 64 + minute) * 2 + kind
            value = mixed(place, 11) % 1_000 / 10.0
            if noise > 0:
                value += noise * (mixed(place, 13) % (1 << 40)) / float(1 << 40)
            chance = mixed(place, 12) % _RARE
            if chance == 0:
                value += 200.0
            elif chance == 1 and kind == 0:
                value -= 400.0
            out[2 * i + kind] = value
