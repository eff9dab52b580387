"""Frames of topic `placed-tickets` as locate would write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from schemas.observation import E7, NO_CELL, NO_PLACE_E7, OBSERVATION, Cover, FrameHeader, decode_frame, encode_frame
from schemas.sources import Source
from tests.support.raw_log import RawRow, frame


@dataclass(frozen=True, slots=True)
class PlacedTicket:
    ticket_id: str
    category: str = "noise"
    event_at_ms: int = 1_782_864_000_123
    cell: int = NO_CELL
    place: tuple[float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def ticket_frame(tickets: Sequence[PlacedTicket], *, partition: int, first: int) -> bytes:
    """One frame; the tickets have the raw offsets `first` and on."""
    rows = [
        RawRow(Source.TICKETS, partition, first + number, ticket.event_at_ms, ticket.cell, ticket.category,
               entity=ticket.ticket_id)
        for number, ticket in enumerate(tickets)
    ]  # fmt: skip
    last_ms = max((ticket.event_at_ms for ticket in tickets), default=0)
    cover = Cover(
        source=int(Source.TICKETS), partition=partition, first=first, last=first + len(tickets) - 1,
        watermark_ms=last_ms, max_event_ms=last_ms, idle=False, arrived_ms=last_ms,
    )  # fmt: skip
    _, batch = decode_frame(frame(rows, []))
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["extra"] = pa.array([msgspec.json.encode(ticket.extra).decode() for ticket in tickets], pa.utf8())
    for name, axis in (("lon_e7", 0), ("lat_e7", 1)):
        at = [NO_PLACE_E7 if ticket.place is None else round(ticket.place[axis] * E7) for ticket in tickets]
        columns[name] = pa.array(at, pa.int32())
    made = pa.RecordBatch.from_arrays(list(columns.values()), schema=OBSERVATION)
    return encode_frame(FrameHeader(shard=partition, covers=[cover]), made)
