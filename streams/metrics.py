"""Every Prometheus metric Tongguan exports, and the one port they are served on.

All metrics live here so that names, labels and units are decided once. Callers take a child once
(`records = metrics.RECORDS.labels("readings")`) and add per *batch*, never per record: the sum is the same and
`labels()` costs more than decoding a record does.
"""

from __future__ import annotations

import errno
from bisect import bisect_left
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from schemas.errors import TongguanError

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

DEFAULT_HOST: Final = "127.0.0.1"
"""Loopback: the counts say how a city is watched, so nobody outside the machine sees them unasked."""
DEFAULT_PORT: Final = 9464
"""The port OpenTelemetry's Prometheus exporters use."""

REGISTRY: Final = CollectorRegistry()
"""Our own registry: Faust and other libraries register theirs in the default one, and their names are not ours."""
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

ALERT_LATENCY_BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
"""Seconds. Fine around the promised 0.5 s from arrival, coarse up to an hour: from event time a full window, the
lateness bound and a late uplink of a device all count."""


class ManyHistogram(Histogram):
    """A histogram that takes many equal observations at once: one frame seldom brings more than one value."""

    def observe_many(self, amount: float, count: int) -> None:
        """As `observe`, `count` times."""
        self._sum.inc(amount * count)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(count)


# -- locate: raw records in -------------------------------------------------------------------------------------

RECORDS: Final = Counter("tongguan_records", "Raw records read, good or bad.", ["source"], registry=REGISTRY)
BYTES: Final = Counter(
    "tongguan_bytes", "Bytes of raw record batches read, as they came from the broker.", ["source"], registry=REGISTRY
)
READING_SINCE: Final = Gauge(
    "tongguan_reading_since_seconds", "When this worker took in its first raw batch, epoch seconds.", registry=REGISTRY
)
DEAD_LETTERS: Final = Counter(
    "tongguan_dead_letters",
    "Raw records that could not be used, by reason; each one is on the dead-letters topic.",
    ["source", "reason"],
    registry=REGISTRY,
)
LATE_RECORDS: Final = Counter(
    "tongguan_late_records",
    "Records behind the watermark: of their raw partition (where=locate), of their shard (where=join).",
    ["source", "where"],
    registry=REGISTRY,
)
PLACES: Final = Counter(
    "tongguan_places",
    "Rows located, by where their place came from: own, register, address, unplaced; and among them those outside, "
    "which are placed but in none of the city's jurisdictions.",
    ["source", "origin"],
    registry=REGISTRY,
)
WATERMARK_DELAY: Final = Gauge(
    "tongguan_watermark_delay_seconds",
    "Wall clock minus the watermark of a raw partition: how far event time lags behind.",
    ["source", "partition"],
    registry=REGISTRY,
)
LAG_RECORDS: Final = Gauge(
    "tongguan_lag_records", "End offset minus position of the consumer.", ["topic", "partition"], registry=REGISTRY
)
LAG_SECONDS: Final = Gauge(
    "tongguan_lag_seconds",
    "Wall clock minus the broker's append time of the newest record read; 0 when nothing is left to read.",
    ["topic", "partition"],
    registry=REGISTRY,
)

# -- join: rows in, alerts out ----------------------------------------------------------------------------------

ROWS: Final = Counter(
    "tongguan_rows",
    "Rows written to or taken from observations: located, halo (copies for a neighbour shard), joined, archived.",
    ["step"],
    registry=REGISTRY,
)
DUPLICATE_ROWS: Final = Counter(
    "tongguan_duplicate_rows",
    "Rows dropped because their raw offset was already covered, which a restart or take-over makes happen.",
    registry=REGISTRY,
)
GONE_MESSAGES: Final = Counter(
    "tongguan_gone_messages",
    "Messages that retention took before they were taken in: lost; raise the topic's retention.",
    ("topic",),
    registry=REGISTRY,
)
BAD_FRAMES: Final = Counter(
    "tongguan_bad_frames",
    "Messages on observations, placed-tickets or loop that are not what belongs there; passed over.",
    registry=REGISTRY,
)
ACTIVE_CELLS: Final = Gauge(
    "tongguan_active_cells", "Cells that hold state in a shard's join.", ["shard"], registry=REGISTRY
)
ALERTS: Final = Counter("tongguan_alerts", "Alert records written.", ["detector", "action"], registry=REGISTRY)
ALERT_LATENCY: Final = ManyHistogram(
    "tongguan_alert_latency_seconds",
    "From the newest record behind an alert to the alert: since=event counts from the record's own time, "
    "since=arrival from the broker's append time.",
    ["since"],
    buckets=ALERT_LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SNAPSHOT_AGE: Final = Gauge(
    "tongguan_snapshot_age_seconds",
    "Seconds since the last durable snapshot of a shard; a restart replays about this much.",
    ["shard"],
    registry=REGISTRY,
)
SNAPSHOT_BYTES: Final = Gauge(
    "tongguan_snapshot_bytes", "Size of the last snapshot of a shard.", ["shard"], registry=REGISTRY
)
SNAPSHOT_SECONDS: Final = Histogram(
    "tongguan_snapshot_seconds",
    "Time to make one snapshot durable.",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
    registry=REGISTRY,
)

# -- all roles ---------------------------------------------------------------------------------------------------

STUCK_CONSUMERS: Final = Counter(
    "tongguan_stuck_consumers",
    "Consumers of this worker that stood still although messages waited; the worker ends after the first.",
    ["role"],
    registry=REGISTRY,
)

# -- dispatch: incidents ----------------------------------------------------------------------------------------

LOOP_INPUTS: Final = Counter(
    "tongguan_loop_inputs",
    "Alerts, tickets, actions and ticks that the intake read, by kind; what it could not read is a dead letter.",
    ["kind"],
    registry=REGISTRY,
)
LOOP_LAG_SECONDS: Final = Gauge(
    "tongguan_loop_lag_seconds",
    "Wall clock minus the arrival of the newest input that the loop has worked through; with the ticker on it is never "
    "much above a tick.",
    registry=REGISTRY,
)
CLOCK_STEP_SECONDS: Final = Gauge(
    "tongguan_clock_step_seconds",
    "How far the host's clock has jumped ahead of the loop's time since this worker started; 0 while it has not.",
    registry=REGISTRY,
)
LOOP_OUTCOMES: Final = Counter(
    "tongguan_loop_outcomes",
    "What became of the inputs that the loop read; duplicate: its place in its topic was read before.",
    ["outcome"],
    registry=REGISTRY,
)
INCIDENTS: Final = Gauge(
    "tongguan_incidents", "Incidents that the loop holds, by type and state.", ["type", "state"], registry=REGISTRY
)
OVERDUE_INCIDENTS: Final = Gauge(
    "tongguan_overdue_incidents", "Incidents past a deadline that runs.", registry=REGISTRY
)
INCIDENT_CHANGES: Final = Counter(
    "tongguan_incident_changes", "Changes of incidents written, by what made them.", ["step"], registry=REGISTRY
)
OVERDUE: Final = Counter("tongguan_overdue", "Deadlines that passed.", ["type"], registry=REGISTRY)
NOTIFICATIONS: Final = Counter("tongguan_notifications", "Notifications written.", ["kind"], registry=REGISTRY)
ACTIONS: Final = Counter(
    "tongguan_actions",
    "Actions that the loop answered: accepted, repeated, or the reason why it refused.",
    ["outcome"],
    registry=REGISTRY,
)
TIME_TO_DISPATCH: Final = Histogram(
    "tongguan_time_to_dispatch_seconds",
    "From the record that opened an incident to its first dispatch, in event time.",
    buckets=(1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 86400),
    registry=REGISTRY,
)

# -- archive: rows into ClickHouse ------------------------------------------------------------------------------

CLICKHOUSE_INSERT_SECONDS: Final = Histogram(
    "tongguan_clickhouse_insert_seconds",
    "Time of one insert, refused ones included.",
    buckets=(0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    registry=REGISTRY,
)
CLICKHOUSE_ROWS: Final = Counter(
    "tongguan_clickhouse_rows", "Rows ClickHouse acknowledged.", ["table"], registry=REGISTRY
)
CLICKHOUSE_UP: Final = Gauge(
    "tongguan_clickhouse_up", "1 when the last insert or ping was answered, else 0.", registry=REGISTRY
)


class PortTaken(TongguanError):
    """The metrics port cannot be listened on."""


class MetricsServer:
    """The running endpoint; `port` is the real one when 0 was asked for. Close it, or use it as a context manager."""

    def __init__(self, server: WSGIServer, thread: Thread) -> None:
        self._server = server
        self._thread = thread
        self.host = str(server.server_address[0])
        self.port = int(server.server_address[1])

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop serving and free the port. A second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> MetricsServer:
    """Serve `REGISTRY` in a thread of its own. Port 0 takes any free one. Raises PortTaken."""
    try:
        server, thread = start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = "another worker or program listens there; set metrics.port to a free port, or 0 for any"
        elif error.errno == errno.EACCES:
            hint = "ports below 1024 need rights this process does not have; set metrics.port to a higher one"
        else:
            hint = "set metrics.host to an address of this machine, such as 127.0.0.1"
        raise PortTaken(
            f"metrics: cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; {hint}"
        ) from error
    return MetricsServer(server, thread)
