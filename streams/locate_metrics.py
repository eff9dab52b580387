"""What locate shows to Prometheus, added per batch and flush."""

from __future__ import annotations

from schemas.sources import Source
from streams import metrics
from streams.locate_core import Locator
from streams.placing import Origins, RawKey
from streams.topics import TopicNames

GAUGES_EVERY_MS = 1_000


class LocateMetrics:
    """Counters and gauges of one locate service."""

    def __init__(self) -> None:
        self._records = {source: metrics.RECORDS.labels(source.topic) for source in Source}
        self._bytes = {source: metrics.BYTES.labels(source.topic) for source in Source}
        self._late = {source: metrics.LATE_RECORDS.labels(source.topic, "locate") for source in Source}
        self._located = metrics.ROWS.labels("located")
        self._halo = metrics.ROWS.labels("halo")
        self._places = {
            source: [metrics.PLACES.labels(source.topic, origin) for origin in Origins._fields] for source in Source
        }
        self._gauged_ms = 0
        self._reading = False

    def read(self, source: Source, size: int) -> None:
        """Raw batches of `size` bytes have been fetched and are about to be decoded."""
        if not self._reading:
            self._reading = True
            metrics.READING_SINCE.set_to_current_time()
        self._bytes[source].inc(size)

    def flushed(self, locator: Locator, names: TopicNames, now_ms: int, *, level: bool) -> None:
        """A flush was handed to the sender."""
        counts = locator.take_counts()
        for source in Source:
            self._records[source].inc(counts.records[source])
            self._late[source].inc(counts.late[source])
            for place, rows in zip(self._places[source], counts.origins[source], strict=True):
                place.inc(rows)
        for (source, reason), count in counts.dead.items():
            metrics.DEAD_LETTERS.labels(source.topic, reason).inc(count)
        self._located.inc(counts.rows)
        self._halo.inc(counts.halo)
        if level and not 0 <= now_ms - self._gauged_ms < GAUGES_EVERY_MS:  # the host's clock may be put back
            self._gauged_ms = now_ms
            for key in locator.assigned:
                self._gauge(locator, key, names, now_ms)

    def forget(self, key: RawKey, names: TopicNames) -> None:
        """A partition is no longer ours: its gauges must not stand still here."""
        topic, partition = names.raw(Source(key[0])), str(key[1])
        for gauge, first in (
            (metrics.WATERMARK_DELAY, Source(key[0]).topic),
            (metrics.LAG_RECORDS, topic),
            (metrics.LAG_SECONDS, topic),
        ):
            gauge.remove(first, partition)

    @staticmethod
    def _gauge(locator: Locator, key: RawKey, names: TopicNames, now_ms: int) -> None:
        progress = locator.assigned[key]
        source, topic, partition = Source(key[0]), names.raw(Source(key[0])), str(key[1])
        watermark_ms = progress.state.watermark_ms(locator.settings.source(source).lateness_ms)
        if watermark_ms > 0:
            metrics.WATERMARK_DELAY.labels(source.topic, partition).set((now_ms - watermark_ms) / 1000)
        if progress.end >= 0:
            left = max(0, progress.end - progress.position)
            metrics.LAG_RECORDS.labels(topic, partition).set(left)
            lag_ms = now_ms - progress.arrived_ms if left and progress.arrived_ms else 0
            metrics.LAG_SECONDS.labels(topic, partition).set(max(0, lag_ms) / 1000)
