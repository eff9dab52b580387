"""What the worker says of itself: a few figures out of its Prometheus page, for the board."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from schemas.sources import Source

WITHIN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one moment."""

    at_s: float  # monotonic
    records: Mapping[Source, int]
    dead: int
    unread_s: float  # how long the oldest record that locate has not read has waited
    located: int  # rows that locate wrote, without the copies for neighbours
    archived: int  # rows of them that the archive has in ClickHouse
    alerts: int  # alerts whose time was taken ...
    alerts_s: float  # ... and the sum of those times, from the arrival of the newest record behind it
    loop_s: float  # wall clock minus arrival of the newest input that the loop has worked through

    def lag_s(self, before: Measured) -> dict[str, float]:
        """Seconds by step: an alert's is the mean of those so far, the archive's what its waiting rows took to come."""
        per_s = (self.located - before.located) / (self.at_s - before.at_s)
        waiting = max(0, self.located - self.archived)
        found = {"locate": self.unread_s, "loop": self.loop_s, "archive": waiting / per_s if per_s > 0 else 0.0}
        return found | {"alert": self.alerts_s / self.alerts} if self.alerts else found


def measure(url: str) -> Measured:
    """Ask the worker. Raises OSError when it does not answer."""
    with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
        page = answer.read().decode()
    return read(page, time.monotonic())


def read(page: str, at_s: float) -> Measured:
    """The figures of a page; a metric that is not there yet counts 0."""
    records = dict.fromkeys(Source, 0)
    topics = {source.topic: source for source in Source}
    figures = dict.fromkeys(("dead", "unread", "located", "archived", "loop", "alerts", "alerts_s"), 0.0)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name, labels, value = sample.name, sample.labels, sample.value
            if name == "tongguan_records_total" and labels["source"] in topics:
                records[topics[labels["source"]]] = int(value)
            elif name == "tongguan_dead_letters_total":
                figures["dead"] += value
            elif name == "tongguan_lag_seconds":
                figures["unread"] = max(figures["unread"], value)
            elif name == "tongguan_rows_total" and labels["step"] in figures:
                figures[labels["step"]] = value
            elif name == "tongguan_alert_latency_seconds_count" and labels["since"] == "arrival":
                figures["alerts"] = value
            elif name == "tongguan_alert_latency_seconds_sum" and labels["since"] == "arrival":
                figures["alerts_s"] = value
            elif name == "tongguan_loop_lag_seconds":
                figures["loop"] = value
    return Measured(
        at_s=at_s,
        records=records,
        dead=int(figures["dead"]),
        unread_s=figures["unread"],
        located=int(figures["located"]),
        archived=int(figures["archived"]),
        alerts=int(figures["alerts"]),
        alerts_s=figures["alerts_s"],
        loop_s=figures["loop"],
    )
