"""A story of records on a hand-moved clock and what must come of it: `at(1).reading(...)`, `between(2, 3).expect(...)`.

Minutes count from the start of the story. A record arrives at the minute of its `at`, and happened then too unless
`ago_s` says otherwise. The whole pure path runs underneath: decoder, locate, join, with the clock moved in steps of
a second, so idle sources and arrival are judged as on that day. An alert "comes" at the clock's minute, not at its
window's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from deploy.config import DetectorChoice, TongguanConfig
from schemas.alert import Action, Alert
from schemas.sources import Source
from streams.topics import TopicsSettings
from tests.support.kafka_bytes import T0
from tests.support.pipeline import Pipeline

START_MS = T0 - T0 % 60_000
STEP_MS = 1_000
PARTITIONS = {Source.READINGS: 2, Source.CAMERA_EVENTS: 1, Source.TICKETS: 1}


@dataclass(frozen=True)
class Seen:
    """An alert and the minute in which it came."""

    minute: float
    alert: Alert


@dataclass
class Story:
    """Tell it with `at`, then `run`, then ask with `between`. The stretch asked about must hold just what is named."""

    detectors: Mapping[str, Mapping[str, Any]]
    events: list[tuple[float, Source, int, dict[str, Any]]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    tickets: list[tuple[float, bytes | memoryview]] = field(default_factory=list)  # minute and frame, for the loop
    minute: float = 0.0

    def at(self, minute: float) -> Self:
        self.minute = minute
        return self

    def reading(
        self, device: str, place: tuple[float, float], *, partition: int = 0, ago_s: float = 0, **given: Any
    ) -> Self:
        return self._add(Source.READINGS, partition, ago_s, device_id=device, lon=place[0], lat=place[1], **given)

    def camera(self, event: str, place: tuple[float, float], *, ago_s: float = 0, **given: Any) -> Self:
        fields = {"camera_id": "C-1", "confidence": 0.9} | given
        return self._add(Source.CAMERA_EVENTS, 0, ago_s, event=event, lon=place[0], lat=place[1], **fields)

    def ticket(self, category: str, place: tuple[float, float], *, ago_s: float = 0, **given: Any) -> Self:
        fields = {"ticket_id": f"T-{len(self.events)}", "text": "请尽快处理"} | given
        return self._add(Source.TICKETS, 0, ago_s, category=category, lon=place[0], lat=place[1], **fields)

    def call(self, category: str, address: str, **given: Any) -> Self:
        """A ticket whose place is only told in words."""
        fields = {"ticket_id": f"T-{len(self.events)}", "text": "请尽快处理", "address": address} | given
        return self._add(Source.TICKETS, 0, 0, category=category, **fields)

    def _add(self, source: Source, partition: int, ago_s: float, **fields: Any) -> Self:
        fields["ts"] = START_MS + round(self.minute * 60_000) - round(ago_s * 1000)
        self.events.append((self.minute, source, partition, fields))
        return self

    def run(self, until: float) -> Self:
        """Play everything up to minute `until`."""
        config = TongguanConfig(
            topics=TopicsSettings(shards=4),
            detectors=tuple(DetectorChoice(name=name, settings=dict(s)) for name, s in self.detectors.items()),
        )
        path = Pipeline(config, PARTITIONS, now_ms=START_MS)
        waiting = sorted(self.events, key=lambda event: event[0])
        for now_ms in range(START_MS, START_MS + round(until * 60_000) + 1, STEP_MS):
            path.now_ms = now_ms
            come = [event for event in waiting if START_MS + event[0] * 60_000 <= now_ms]
            waiting = waiting[len(come) :]
            path.take([(source, partition, json.dumps(fields).encode()) for _, source, partition, fields in come])
            self.seen += [Seen((now_ms - START_MS) / 60_000, alert) for alert in path.alerts]
            path.alerts.clear()
            self.tickets += [((now_ms - START_MS) / 60_000, frame) for frame in path.ticket_frames]
            path.ticket_frames.clear()
        assert path.letters == [], "the story holds records that cannot be used"
        return self

    def between(self, first: float, last: float) -> Stretch:
        return Stretch([s.alert for s in self.seen if first <= s.minute < last])


@dataclass(frozen=True)
class Stretch:
    """The alerts of a stretch of the story."""

    alerts: list[Alert]

    def expect(self, *wanted: tuple[Action, str, int]) -> None:
        """Exactly these (action, reason, severity), in this order."""
        assert [(a.action, a.reason, a.severity) for a in self.alerts] == list(wanted)

    def expect_nothing(self) -> None:
        self.expect()
