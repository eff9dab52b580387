"""CityJoin in Pathway: three tables, filtered, put together, grouped by cell and minute; all of it in its Rust engine.

Pathway keeps every result up to date instead of closing windows by watermarks: an alert that came from an unfinished
window is taken back (diff -1) when a later record changes it, and sent anew. What stands at the end is exact. Its
temporal behaviours (delay, cutoff) go by the highest time in the table, which a backlog drives minutes ahead.
"""

from __future__ import annotations

import pathway as pw

from benchmarks.peers.jobs.city import CELLS_PER_DEG, CONFIDENCE, RAISE_AT_MM, SIDE, SOUTH, WEST, WINDOW_MS, arguments

COMMIT_MS = 1_500
"""The default. Shorter ones take more alerts back, longer ones hold alerts up."""


class Reading(pw.Schema):
    metric: str
    value: float
    ts: int
    lon: float
    lat: float
    quality: str


class Camera(pw.Schema):
    event: str
    confidence: float
    ts: int
    lon: float
    lat: float


class Ticket(pw.Schema):
    category: str
    ts: int
    lon: float
    lat: float


def main() -> None:
    given = arguments(__doc__ or "")
    settings = {
        "bootstrap.servers": given.bootstrap,
        "group.id": given.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
        "fetch.message.max.bytes": str(4 << 20),
    }
    readings, cameras, tickets = (
        pw.io.kafka.read(
            settings,
            topic=topic,
            schema=schema,
            format="json",
            autocommit_duration_ms=COMMIT_MS,
            parallel_readers=given.cores,
        )
        for topic, schema in zip(given.topics, (Reading, Camera, Ticket), strict=True)
    )
    levels = readings.filter((pw.this.metric == "water_level_mm") & (pw.this.quality == "good"))
    levels = levels.select(cell=cell(), start=start(), m=pw.this.value, c=0, t=0)
    seen = cameras.filter((pw.this.event == "waterlogging") & (pw.this.confidence >= CONFIDENCE))
    seen = seen.select(cell=cell(), start=start(), m=-1.0, c=1, t=0)
    called = tickets.filter(pw.this.category == "flood")
    called = called.select(cell=cell(), start=start(), m=-1.0, c=0, t=1)
    parts = pw.Table.concat_reindex(levels, seen, called)
    windows = parts.groupby(pw.this.cell, pw.this.start).reduce(
        pw.this.cell,
        window_start_ms=pw.this.start,
        m=pw.reducers.max(pw.this.m),
        c=pw.reducers.sum(pw.this.c),
        t=pw.reducers.sum(pw.this.t),
    )
    alerts = windows.filter((pw.this.m >= RAISE_AT_MM) & (pw.this.c + pw.this.t >= 1))
    pw.io.kafka.write(alerts, {"bootstrap.servers": given.bootstrap}, given.output, format="json")
    pw.run(monitoring_level=pw.MonitoringLevel.NONE, terminate_on_error=True)


def cell() -> pw.ColumnExpression:
    row = pw.cast(int, (pw.this.lat - SOUTH) * CELLS_PER_DEG)
    column = pw.cast(int, (pw.this.lon - WEST) * CELLS_PER_DEG)
    return row * SIDE + column


def start() -> pw.ColumnExpression:
    return pw.this.ts // WINDOW_MS * WINDOW_MS


if __name__ == "__main__":
    main()
