"""Compiles (or loads from numba's cache) every kernel on the join's path, by sending made-up rows through shards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from detectors.contract import Detector
from detectors.features import Aggregate, Feature
from detectors.threshold import Threshold, ThresholdSettings
from schemas.observation import OBSERVATION, Cover, FrameHeader, encode_frame
from schemas.raw import MAX_EVENT_MS
from schemas.sources import Source
from streams.join_core import JoinSettings, JoinShard
from streams.snapshot_codec import open_parts

START_MS: Final = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000
MINUTES: Final = 3
ROWS: Final = 64


def warm_up(core: JoinShard, detectors: Iterable[Detector[Any]]) -> None:
    """Let a shard that is then thrown away take in rows for every feature and judge them."""
    core.jurisdictions.code_at(0.0, 0.0, MAX_EVENT_MS)
    features = [feature for detector in detectors for feature in detector.features]
    if not features:
        return
    _send(core, features)
    # what these detectors do not use today, a storm or a restart may ask for
    rules = [
        Threshold(
            ThresholdSettings(metric="any", raise_at=(0.5,), clear_at=0.1, window_minutes=minutes, aggregate=aggregate),
            name=f"warm_up_{minutes}",
        )
        for minutes, aggregate in ((1, Aggregate.MAX), (2, Aggregate.MEAN))
    ]
    other = JoinShard(core.shard, core.grid, rules, core.progress.partitions, JoinSettings())
    _send(other, [feature for rule in rules for feature in rule.features])
    for group in other.groups.values():
        group.seen((use, group.plan.window_ms) for use in group.plan.uses.values())


def _send(core: JoinShard, features: list[Feature]) -> None:
    partitions = sorted(core.progress.partitions)
    for minute in range(MINUTES + 1):
        at_ms = START_MS + minute * 60_000
        rows = [_row(features[i % len(features)], i, at_ms) for i in range(ROWS if minute < MINUTES else 0)]
        columns = [pa.array([row[field.name] for row in rows], field.type) for field in OBSERVATION]
        covers = [
            Cover(
                source=source, partition=partition, first=minute * ROWS, last=(minute + 1) * ROWS - 1,
                watermark_ms=at_ms, max_event_ms=at_ms, idle=False, arrived_ms=0,
            )
            for source, partition in partitions
        ]  # fmt: skip
        for group in core.groups.values():
            list(open_parts(group, everything=True))
        header = FrameHeader(shard=core.shard, covers=covers)
        core.process(encode_frame(header, pa.RecordBatch.from_arrays(columns, schema=OBSERVATION)))


def _row(feature: Feature, number: int, at_ms: int) -> dict[str, Any]:
    value = 1.0 if feature.value_at_least is None else feature.value_at_least
    return dict.fromkeys(OBSERVATION.names) | {
        "event_at": at_ms,
        "received_at": at_ms,
        "cell": number % 7,
        "source": Source(feature.source).topic,
        "partition": 0,
        "offset": number,
        "kind": feature.kind or "any",
        "entity": str(number),
        "value": value,
        "confidence": 1.0,
        "quality": 0,
        "flags": 0,
        "lon_e7": 0,
        "lat_e7": 0,
    }
