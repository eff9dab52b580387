"""The settings of the loop, section `dispatch` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.incident_types import MAX_HOURS, MAX_MINUTES, MAX_RINGS, IncidentType

MAX_MEMBERS: Final = 1_000
"""Alerts and tickets that an incident can hold, however they came to it: every record of it names them all, and must
stay below the megabyte that a Kafka message may have."""


class DispatchSettings(BaseModel):
    """How alerts and tickets become incidents, and how their deadlines are watched."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    merge: bool = True
    """Whether alerts and tickets of one type, place and time share an incident. Without it each opens its own; only a
    ticket that names its parent joins that one's incident."""
    merge_rings: Annotated[int, Field(ge=0, le=MAX_RINGS)] = 1
    """Cells around an incident within which others belong to it, for types that do not say."""
    merge_minutes: Annotated[int, Field(ge=0, le=MAX_MINUTES)] = 120
    """How long after its last sign, for types that do not say. 0: no merging by place and time."""
    merge_limit: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = 200
    """Alerts and tickets that one incident gathers by type, place and time; the next one opens another."""
    merge_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A ticket whose place is less sure than this is not merged by place."""
    reopen_hours: Annotated[int, Field(ge=0, le=MAX_HOURS)] = 72
    """How long a closed incident is kept, so that a recurrence opens it again, for types that do not say."""
    keep_hours: Annotated[int, Field(ge=0, le=MAX_HOURS)] = 72
    """How long an ended incident can at least be opened again by a person, and answers repeated actions."""
    auto_file: bool = True
    """Whether the system files what was discovered at once; otherwise it waits for an operator."""
    auto_dispatch: bool = True
    """Whether the system dispatches by the list of responsibilities at once; otherwise it waits for a dispatcher."""
    ticket_deadlines: bool = True
    """Whether a ticket that brings no deadline gets the city's; otherwise it has none and is always on time."""
    remind_share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of a deadline after which who has the incident is reminded."""
    escalate_share: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Share of a deadline, after it passed, after which the next level but one is told, and so on up to the city."""
    hand_over_limit: Annotated[int, Field(ge=1, le=100)] = 3
    """From this return or transfer of one incident on each is told to the next level."""
    whistle_response_minutes: Annotated[int, Field(ge=1, le=10_080)] = 30
    """How soon a department that is called must answer, day or night."""
    clock_skew_s: Annotated[int, Field(ge=0, le=3600)] = 300
    """How far behind what was done before, or ahead of now, the time of an action may be."""
    tick_every_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """Seconds between two ticks of the clock by which deadlines are judged."""
    ticker: bool = True
    """Whether the worker ticks by itself; a replay or a simulation writes ticks of its own time instead."""
    snapshot_every_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between snapshots of the loop's state; a restart replays about as much."""
    types_files: tuple[Path, ...] = ()
    """Files of incident types besides the built-in ones; a later entry replaces an earlier one of its name."""

    def rings_of(self, kind: IncidentType) -> int:
        return self.merge_rings if kind.merge_rings is None else kind.merge_rings

    def merge_ms_of(self, kind: IncidentType) -> int:
        return (self.merge_minutes if kind.merge_minutes is None else kind.merge_minutes) * 60_000

    def reopen_ms_of(self, kind: IncidentType) -> int:
        return (self.reopen_hours if kind.reopen_hours is None else kind.reopen_hours) * 3_600_000

    def keep_ms_of(self, kind: IncidentType) -> int:
        """How long an ended incident stays in the state."""
        return max(self.keep_hours * 3_600_000, self.reopen_ms_of(kind))
