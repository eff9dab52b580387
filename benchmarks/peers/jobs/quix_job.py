"""CityJoin in Quix Streams: filter and project, repartition by cell, tumbling windows that close by partition.

Quix closes windows when the highest timestamp of a partition passes their end plus a grace. The grace here is longer
than any skew, and watermarks (see city.py) are records stamped that much ahead: windows close by watermarks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from quixstreams import Application, State, message_context
from quixstreams.models import TopicConfig

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
)

GRACE_MS = 24 * 3_600_000
"""More than any skew of the backlog."""
WATERMARK = -1
"""In the place of the cell: [-1, watermark, raw partition, 0]. Other parts are [cell, time, kind, value]."""

Part = list[Any]


def main() -> None:
    given = arguments(__doc__ or "")
    app = Application(
        broker_address=given.bootstrap,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        state_dir=given.folder,
        consumer_poll_timeout=0.02,  # with the default of 1 s it idles whenever the queue runs dry for a moment
        commit_interval=5.0,
        processing_guarantee="exactly-once",  # at least once would count replayed parts twice
        loglevel="WARNING",
        consumer_extra_config={"fetch.message.max.bytes": 4 << 20, "queued.max.messages.kbytes": 65_536},
        producer_extra_config={"compression.type": "lz4", "linger.ms": 50, "batch.size": 1 << 20},
    )
    parts = app.topic(
        f"{given.group}-parts",
        key_serializer="str",
        key_deserializer="str",
        # timestamps are those of the events, a year old: the broker's usual seven days would delete them
        config=TopicConfig(num_partitions=PARTITIONS, replication_factor=1, extra_config={"retention.ms": "-1"}),
    )
    heartbeats = Heartbeats()
    for number, name in enumerate(given.topics):
        raw = app.dataframe(app.topic(name))
        raw = raw.apply(split(number, heartbeats), expand=True)
        raw = raw.set_timestamp(lambda part, _key, _timestamp, _headers: part[1])
        raw.to_topic(parts, key=key_of)

    alerts = app.topic(given.output)
    keyed = app.dataframe(parts)
    keyed = keyed.apply(hear, stateful=True, expand=True)
    keyed = keyed.set_timestamp(lambda part, _key, _timestamp, _headers: part[1])
    windows = keyed.tumbling_window(WINDOW_MS, grace_ms=GRACE_MS, name="minute").reduce(reducer=add, initializer=first)
    closed = windows.final(closing_strategy="partition")
    closed = closed.apply(finished, metadata=True)
    closed = closed.filter(lambda alert: alert is not None)
    closed.to_topic(alerts)
    app.run()


def split(topic: int, heartbeats: Heartbeats) -> Callable[[dict[str, Any]], Iterable[Part]]:
    """Of a raw record: the part that counts, and the watermark when it is time for one."""
    relevant = RELEVANT[topic]

    def parts(record: dict[str, Any]) -> Iterable[Part]:
        part = relevant(record)
        source = topic * PARTITIONS + message_context().partition
        watermark = heartbeats.due(source, record["ts"])
        found: list[Part] = [] if part is None else [list(part)]
        if watermark is not None:
            found += [[WATERMARK, watermark, source, partition] for partition in range(PARTITIONS)]
        return found

    return parts


def key_of(part: Part) -> str:
    return str(part[0]) if part[0] != WATERMARK else WATERMARK_KEYS[part[3]]


def hear(part: Part, state: State) -> Iterable[Part]:
    """Parts as they are; a watermark as the least of all, that much ahead, and only when it went on.

    What was heard is state: when a partition moves to another process, its clock moves along.
    """
    if part[0] != WATERMARK:
        return [part]
    watermark = Watermark(state.get("heard", {}))
    gone_on = watermark.hear(part[2], part[1])
    state.set("heard", watermark.heard)
    return [[WATERMARK, watermark.at_ms + GRACE_MS, part[2], 0]] if gone_on else []


def first(part: Part) -> Part:
    return add([-1.0, 0, 0], part)


def add(window: Part, part: Part) -> Part:
    """[m, c, t] with one part more. A watermark only moves the clock."""
    m, c, t = window
    _cell, _at_ms, kind, value = part
    if _cell == WATERMARK:
        return window
    if kind == LEVEL:
        return [max(m, value), c, t]
    return [m, c + 1, t] if kind == CAMERA else [m, c, t + 1]


def finished(result: dict[str, Any], key: str, _timestamp: int, _headers: Any) -> dict[str, float] | None:
    m, c, t = result["value"]
    return alert_of(int(key), result["start"], m, c, t)


def _murmur2(data: bytes) -> int:
    """Kafka's hash of keys, to know a key for each partition."""
    length, m = len(data), 0x5BD1E995
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    for at in range(0, length - length % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ k >> 24) * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ k
    if rest := data[length - length % 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return h ^ h >> 15


def _key_into(partition: int) -> str:
    """A watermark's key that goes to this partition; below zero, as no cell is."""
    return next(
        key for key in map(str, range(-1, -1000, -1)) if (_murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS == partition
    )


WATERMARK_KEYS = tuple(map(_key_into, range(PARTITIONS)))

if __name__ == "__main__":
    main()
