"""Urgent tickets: an alert from one record at once, without a window and past any sensor traffic.

locate puts a ticket that cannot wait (a fire, a trapped person) as a frame of one row on `urgent-tickets` as well. The
alert follows from that row alone, so it is the same however often it is made. It never clears by itself: a person does
that. The ticket also takes its ordinary way into the windows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import faust
import msgspec

from schemas.alert import Action, Alert, encode_alert, make_alert_id
from schemas.errors import FrameError
from schemas.kinds import KindRegistry
from schemas.observation import E7, NO_PLACE_E7, decode_frame
from schemas.privacy import mask_text
from schemas.sources import Source
from streams import metrics
from streams.agents import Event, Sender, build_agents
from streams.alert_places import place_of
from topology.jurisdictions import Jurisdictions

log = logging.getLogger(__name__)

DETECTOR: Final = "urgent_ticket"
VERSION: Final = 1
CRITICAL: Final = "critical"
TEXT_CHARS: Final = 60  # of the caller's words in a sentence

Sentence = Callable[[str], str]


class _Extra(msgspec.Struct):
    """What is read of a ticket's extra fields."""

    text: str = ""
    urgency: str = "normal"


_extra = msgspec.json.Decoder(_Extra)


def urgent_alerts(
    frame: bytes | memoryview, kinds: KindRegistry, topics: Mapping[Source, str], city: Jurisdictions
) -> list[Alert]:
    """One raise for each ticket in the frame; FrameError when it is none."""
    _, batch = decode_frame(frame)
    return [_alert(row, kinds, topics, city) for row in batch.to_pylist()]


def _alert(row: Mapping[str, Any], kinds: KindRegistry, topics: Mapping[Source, str], city: Jurisdictions) -> Alert:
    extra = _extra.decode(row["extra"] or "{}")
    at_ms = round(row["event_at"].timestamp() * 1000)
    point = (row["lon_e7"] / E7, row["lat_e7"] / E7) if row["lon_e7"] != NO_PLACE_E7 else None
    zh, en = (kinds.title(Source.TICKETS, row["kind"], language=language) for language in ("zh", "en"))
    words = mask_text(extra.text)[:TEXT_CHARS]
    record = f"{topics[Source.of_topic(row['source'])]}:{row['partition']}:{row['offset']}"
    return Alert(
        # two callers may report within one millisecond and cell: the record tells them apart
        alert_id=f"{make_alert_id(DETECTOR, VERSION, row['cell'], at_ms)}-{row['partition']}-{row['offset']}",
        revision=0,
        action=Action.RAISE,
        detector=DETECTOR,
        detector_version=VERSION,
        category=row["kind"],
        cell=row["cell"],
        lon=None if point is None else point[0],
        lat=None if point is None else point[1],
        onset_ms=at_ms,
        window_start_ms=at_ms,
        window_end_ms=at_ms + 1,
        severity=4 if extra.urgency == CRITICAL else 3,
        confidence=1.0,
        reason=extra.urgency,
        values={},
        thresholds={},
        evidence=[record],
        sentence_zh=f"紧急工单（{zh}）：{words}" if words else f"紧急工单（{zh}）",
        sentence_en=f"Urgent ticket ({en}): {words}" if words else f"Urgent ticket ({en})",
        **place_of(city, row["jurisdiction"], point, at_ms)._asdict(),
    )


def build_urgent(
    app: faust.App, *, names_urgent: str, names_alerts: str, kinds: KindRegistry, topics: Mapping[Source, str],
    city: Jurisdictions, sender: Sender,
) -> None:  # fmt: skip
    """Put the agent into a Faust app that has nothing else: a full buffer of another topic must not hold it up."""

    async def take(event: Event) -> None:
        try:
            alerts = urgent_alerts(event.value, kinds, topics, city)
        except (FrameError, msgspec.DecodeError) as error:
            log.error("urgent: passing over %s: %s", event.message.offset, error)
            metrics.BAD_FRAMES.inc()
            alerts = []
        for alert in alerts:
            await (await sender.send(names_alerts, encode_alert(alert), alert.key))
            metrics.ALERTS.labels(alert.detector, alert.action).inc()
            metrics.ALERT_LATENCY.labels("event").observe(max(0.0, time.time() - alert.onset_ms / 1000))
        event.ack()

    build_agents(app, {"urgent": names_urgent}, take)
