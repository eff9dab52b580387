"""Deadlines: the clock of each stage, when it reminds, when it is due, and how it stands still while suspended.

A stage's clock starts when the incident enters the stage, for the department that has it then: an incident that is
returned and dispatched again, or that failed verification, is on a new clock. What was promised to the citizen does
not move: each ticket keeps the deadline that it came with.

    accept   discovered or returned until dispatched, dispatched until accepted
    handle   dispatched until handled
    verify   handled until closed

Due means the last moment that is still in time. Working time is the city's, calendar time counts day and night.
"""

from __future__ import annotations

from schemas.incident import State
from streams.loop_incident import Incident, Stage, StageClock
from streams.loop_settings import DispatchSettings
from streams.loop_states import WAITING
from topology.city import City
from topology.deadlines import Deadline


class Clocks:
    """Starts, stops and moves the clocks of incidents; pure but for the incident it is given."""

    def __init__(self, city: City, settings: DispatchSettings) -> None:
        self._city = city
        self._settings = settings

    def deadline(self, category: str, type: str, severity: int) -> Deadline:
        """The city's line for the category, else for the type of incident, else for everything."""
        row = self._city.deadlines.find(category, severity)
        if row.category != category:
            of_type = self._city.deadlines.find(type, severity)
            if of_type.category == type:
                return of_type
        return row

    def ticket_due(self, category: str, type: str, severity: int, event_at_ms: int) -> int | None:
        """The deadline of a ticket that brings none."""
        if not self._settings.ticket_deadlines:
            return None
        row = self.deadline(category, type, severity)
        return self.after(event_at_ms, row.handle_ms, working=row.clock == "working")

    def after(self, start_ms: int, duration_ms: int, *, working: bool) -> int:
        return self._city.calendar.add_working_ms(start_ms, duration_ms) if working else start_ms + duration_ms

    def between(self, start_ms: int, end_ms: int, *, working: bool) -> int:
        return self._city.calendar.working_ms_between(start_ms, end_ms) if working else end_ms - start_ms

    # --- an incident changes its state --------------------------------------------------------------------------------

    def enter(self, incident: Incident, before: State, at_ms: int) -> None:
        """Set the clocks for the state that the incident has come into from `before`."""
        state = incident.state
        if state is State.SUSPENDED:
            self._pause(incident, at_ms)
        elif before is State.SUSPENDED and not state.ended:
            self._go_on(incident, at_ms)
        elif state is State.FILED and before is State.DISCOVERED:
            pass  # still the duty desk's, on the same clock
        elif state in WAITING:
            self._stop(incident, at_ms, "handle", "verify")
            self._start(incident, at_ms, "accept")
        elif state is State.DISPATCHED:
            self._stop(incident, at_ms, "verify")
            self._start(incident, at_ms, "accept", "handle")
        elif state is State.ACCEPTED:
            self._stop(incident, at_ms, "accept")
        elif state is State.HANDLING and before is State.HANDLED:
            self._stop(incident, at_ms, "verify")
            self._start(incident, at_ms, "handle")
        elif state is State.HANDLED:
            self._stop(incident, at_ms, "accept", "handle")
            self._start(incident, at_ms, "verify")
        elif state.ended:
            self._stop(incident, at_ms, "accept", "handle", "verify")

    def severity_changed(self, incident: Incident) -> None:
        """Work out the deadlines of the running stages anew, from where they started."""
        row = self.deadline(incident.category, incident.type, incident.severity)
        for stage, clock in incident.clocks():
            if clock.running and not clock.overdue:
                clock.duration_ms, clock.working = _duration(row, stage), row.clock == "working"
                self._set(clock)

    def _start(self, incident: Incident, at_ms: int, *stages: Stage) -> None:
        row = self.deadline(incident.category, incident.type, incident.severity)
        for stage in stages:
            clock = StageClock(row.clock == "working", _duration(row, stage), at_ms, 0, 0)
            self._set(clock)
            setattr(incident, stage, clock)

    def _set(self, clock: StageClock) -> None:
        left_ms = max(0, clock.duration_ms - clock.used_ms)
        remind_ms = max(0, round(clock.duration_ms * self._settings.remind_share) - clock.used_ms)
        clock.due_ms = self.after(clock.start_ms, left_ms, working=clock.working)
        clock.remind_ms = self.after(clock.start_ms, remind_ms, working=clock.working)

    def _stop(self, incident: Incident, at_ms: int, *stages: Stage) -> None:
        """The stage is done at `at_ms`. That decides: a tick that came before the news may have judged otherwise."""
        for stage, clock in incident.clocks():
            if stage in stages and clock.running:
                clock.running = False
                clock.overdue = at_ms > clock.due_ms

    def _pause(self, incident: Incident, at_ms: int) -> None:
        for _, clock in incident.clocks():
            if clock.running and not clock.overdue:
                clock.used_ms += max(0, self.between(clock.start_ms, at_ms, working=clock.working))

    def _go_on(self, incident: Incident, at_ms: int) -> None:
        paused_ms = at_ms if incident.suspended_ms is None else incident.suspended_ms
        for _, clock in incident.clocks():
            if not clock.running:
                continue
            if not clock.overdue:
                clock.start_ms = at_ms
                self._set(clock)
            elif clock.escalate_ms is not None:
                left_ms = max(0, self.between(paused_ms, clock.escalate_ms, working=clock.working))
                clock.escalate_ms = self.after(at_ms, left_ms, working=clock.working)

    def escalate_next(self, clock: StageClock, at_ms: int) -> int:
        """When the level after the one that was just told is told."""
        return self.after(at_ms, round(clock.duration_ms * self._settings.escalate_share), working=clock.working)


def _duration(row: Deadline, stage: Stage) -> int:
    durations = {"accept": row.accept_ms, "handle": row.handle_ms, "verify": row.verify_ms}
    return durations[stage]
