"""Frames of more rows than are gathered at a time give what small ones give, whatever is missing in the middle."""

from __future__ import annotations

import random

from detectors.features import Aggregate
from detectors.threshold import Threshold, ThresholdSettings
from schemas.alert import Alert
from schemas.sources import Source
from streams.bucket_rows import AT_ONCE
from streams.join_core import JoinSettings, JoinShard
from tests.support.probe import Probe, ProbeSettings
from tests.support.raw_log import RawRow, closing_frame, frames_of
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)
CELLS = GRID.neighbours(GRID.cell(121.1, 31.1), 8).tolist()  # more than a track first has room for
PARTITIONS = [(Source.READINGS, 0), (Source.CAMERA_EVENTS, 0)]
START_MS = 1_700_000_040_000
COUNT = AT_ONCE + 900  # in each raw partition
KINDS = ("level", "heat", "wind", "nobody asks for it")


def rows_of(seed: int) -> list[RawRow]:
    """Five minutes of a city; cells and kinds that nobody has seen before come up to the end."""
    chance = random.Random(seed)
    rows = []
    for source, partition in PARTITIONS:
        for offset in range(COUNT):
            seen = max(1, len(CELLS) * offset // COUNT)
            rows.append(
                RawRow(
                    source, partition, offset,
                    START_MS + 60 * offset + chance.randint(0, 4_000),
                    CELLS[chance.randrange(seen)],
                    "flood" if source is Source.CAMERA_EVENTS else chance.choice(KINDS[: 2 + 3 * offset // COUNT]),
                    chance.randint(-50, 1_000) / 10,
                    chance.choice((0.5, 0.6, 1.0)),
                    entity=f"e{chance.randint(0, 50)}",
                )
            )  # fmt: skip
    return rows


def alerts_of(frames: list[bytes]) -> tuple[list[Alert], int]:
    """All alerts in one order, and how many rows were joined."""
    rules = [
        Threshold(
            ThresholdSettings(metric=metric, raise_at=(95.0,), clear_at=50.0, aggregate=aggregate, window_minutes=2),
            name=f"{metric}_{aggregate}",
        )
        for metric in ("heat", "wind")
        for aggregate in (Aggregate.MAX, Aggregate.LAST, Aggregate.QUANTILE)
    ]
    core = JoinShard(
        0, GRID, (Probe(ProbeSettings(rings=0)), *rules), [(int(s), p) for s, p in PARTITIONS], JoinSettings()
    )
    alerts = [alert for frame in frames for alert in core.process(frame)]
    alerts += core.process(closing_frame(PARTITIONS, START_MS + 900_000))
    alerts.sort(key=lambda alert: (alert.window_end_ms, alert.detector, alert.cell))
    return alerts, core.take_counts().joined


def test_large_frames_give_what_small_ones_give() -> None:
    rows = rows_of(1)
    small = alerts_of(frames_of(rows, PARTITIONS, 1, biggest=300))
    frames = frames_of(rows, PARTITIONS, 1, biggest=1_000_000)
    assert len(frames) <= 2 * len(PARTITIONS), "hardly cut at all"
    large = alerts_of(frames)
    assert large[1] == small[1] == len(rows)
    assert len({alert.detector for alert in large[0]}) == 7
    assert large[0] == small[0]
