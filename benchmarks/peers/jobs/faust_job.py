"""CityJoin in stock Faust: an agent decodes batches of raw events and sends what counts on, another keeps windows.

Faust's own windowed tables expire by the wall clock and never tell of a closed window, so windows are plain
dictionaries here, closed by the watermarks that come along (see city.py). To send a record costs Faust more than to
receive one, so a batch of 5,000 raw events goes on as one record per partition of the cells.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faust
import orjson
import uvloop

from benchmarks.peers.jobs.city import (
    CAMERA,
    LEVEL,
    PARTITIONS,
    RELEVANT,
    WINDOW_MS,
    Heartbeats,
    Watermark,
    alert_of,
    arguments,
    window_of,
)

BATCH_EVENTS = 5_000
WAIT_S = 0.05


def build(bootstrap: str, names: list[str], group: str, output: str, folder: Path, processes: int) -> faust.App:
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=str(folder),
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        stream_wait_empty=False,
        stream_buffer_maxsize=4 * BATCH_EVENTS,
        stream_publish_on_commit=False,
        broker_max_poll_records=BATCH_EVENTS,
        broker_commit_interval=5.0,
        consumer_max_fetch_size=4 << 20,
        consumer_auto_offset_reset="earliest",
        producer_linger=0.02,
        producer_compression_type="lz4",
        producer_max_request_size=8 << 20,
    )
    raw = app.topic(*names, value_serializer="raw", value_type=bytes)
    parts = app.topic(f"{group}-parts", value_serializer="raw", value_type=bytes, partitions=PARTITIONS, internal=True)
    alerts = app.topic(output, value_serializer="raw")
    topics = {name: number for number, name in enumerate(names)}
    heartbeats = Heartbeats()
    everyone_here = asyncio.Event()
    windows: dict[int, Windows] = defaultdict(Windows)

    @app.on_partitions_assigned.connect
    async def assigned(_app: Any, /, *values: Any, **_rest: Any) -> None:
        partitions: set[Any] = values[0]
        # windows do not move between processes, so nothing is read before each has its share
        if sum(one.topic in topics for one in partitions) <= len(names) * PARTITIONS // processes:
            everyone_here.set()

    @app.agent(raw)
    async def split(stream: Any) -> None:
        """Raw events into what counts, by partition of the cells."""
        await everyone_here.wait()
        async for events in stream.take_events(BATCH_EVENTS, within=WAIT_S):
            found: list[list[Any]] = [[] for _ in range(PARTITIONS)]
            said: dict[int, int] = {}
            for event in events:
                topic = topics[event.message.topic]
                record = orjson.loads(event.value)
                part = RELEVANT[topic](record)
                if part is not None:
                    found[part.cell % PARTITIONS].append(list(part))
                source = topic * PARTITIONS + event.message.partition
                watermark = heartbeats.due(source, record["ts"])
                if watermark is not None:
                    said[source] = watermark
            heard = list(said.items())
            for partition, some in enumerate(found):
                if some or heard:
                    await parts.send(partition=partition, value=orjson.dumps([some, heard]))

    @app.agent(parts)
    async def join(stream: Any) -> None:
        """What counts into windows, and closed windows into alerts."""
        async for event in stream.events():
            some, heard = orjson.loads(event.value)
            mine = windows[event.message.partition]
            mine.add(some)
            for alert in mine.closed(heard):
                await alerts.send(value=orjson.dumps(alert))

    return app


class Windows:
    """The open windows of one partition of the cells."""

    def __init__(self) -> None:
        self._open: dict[int, dict[int, list[Any]]] = {}
        self._watermark = Watermark()

    def add(self, parts: Iterable[list[Any]]) -> None:
        for cell, at_ms, kind, value in parts:
            cells = self._open.setdefault(window_of(at_ms), {})
            window = cells.setdefault(cell, [-1.0, 0, 0])
            if kind == LEVEL:
                window[0] = max(window[0], value)
            else:
                window[1 if kind == CAMERA else 2] += 1

    def closed(self, heard: Iterable[list[int]]) -> Iterable[dict[str, float]]:
        """Take in watermarks, and give the alerts of the windows that they close."""
        gone_on = [self._watermark.hear(source, at_ms) for source, at_ms in heard]  # all of them are to be heard
        if not any(gone_on):
            return
        for start in sorted(start for start in self._open if start + WINDOW_MS <= self._watermark.at_ms):
            for cell, (m, c, t) in self._open.pop(start).items():
                if alert := alert_of(cell, start, m, c, t):
                    yield alert


def main() -> None:
    given = arguments(__doc__ or "")
    uvloop.install()
    app = build(given.bootstrap, given.topics, given.group, given.output, given.folder, given.cores)
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
