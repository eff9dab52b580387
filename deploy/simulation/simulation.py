"""A simulated city, run: records in the order in which they reach the bus, and the truth about what happened.

    simulated = Simulation(preset("storm").with_changes(seed=7))
    for record in simulated.records():
        print(record.source, record.event_ms, record.send_ms, record.payload)
    for entry in simulated.truth():
        print(entry)

The world moves in steps of some seconds. Each step's records are made as columns and kept until the moment they are
sent has come; what is sent in one step is one `Block`. Memory holds one step and what is under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from deploy.config import CitySettings
from deploy.simulation.callers import Callers
from deploy.simulation.cameras import Analytics, Cameras, build_cameras
from deploy.simulation.chance import key_of
from deploy.simulation.fleet import Devices, build_devices
from deploy.simulation.incidents import Incident
from deploy.simulation.mishaps import Mishaps
from deploy.simulation.readings import Readings
from deploy.simulation.rows import Bytes, Ints, Pieces, Renderer, Rows, empty_rows
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.sites import Sites, build_sites
from deploy.simulation.streets import Streets, build_streets
from deploy.simulation.truth import device_counts, faulty_device_entries, incident_entry, summary_entry
from deploy.simulation.world import World
from schemas.errors import SettingsError
from schemas.sources import Source
from topology.city import City
from topology.grid import Grid
from topology.jurisdictions import Level

TICKET_KEYS: Final = 32
"""Tickets come from so many desks of the hotline; those of one desk keep their order."""


class SimulatedRecord(NamedTuple):
    """One record as it reaches the bus. Times in epoch ms."""

    source: Source
    partition_key: bytes
    event_ms: int  # as a good record says it
    send_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """The records of one step, in order of sending; payload i is data[starts[i]:starts[i + 1]]."""

    rows: Rows
    data: Bytes
    starts: Ints

    def __len__(self) -> int:
        return len(self.rows)


class Simulation:
    """One run of one city. `records()` or `blocks()` may be gone through once; the truth is whole afterwards."""

    def __init__(self, settings: SimulationSettings, city: City | None = None) -> None:
        """With a city, its grid counts and its districts are in the addresses. Raises SettingsError."""
        self.settings = settings
        self.city = city
        self.grid: Grid = city.grid if city is not None else CitySettings().grid()
        self.streets: Streets = build_streets(settings, self.grid, self._district_of if city is not None else None)
        if (self.streets.cell < 0).any():
            raise SettingsError(
                f"simulation: the box {settings.west}..{settings.east}, {settings.south}..{settings.north} is not "
                "wholly inside the city's grid"
            )
        self.sites: Sites = build_sites(settings, self.streets)
        self.devices: Devices = build_devices(settings, self.streets, self.sites, self.grid)
        self.cameras: Cameras = build_cameras(settings, self.streets, self.sites, self.grid)
        self.world = World(settings, self.streets, self.sites, self._tracks())
        pieces = Pieces()
        self._readings = Readings(settings, self.devices, pieces)
        self._analytics = Analytics(settings, self.cameras, pieces, self.devices.count)
        self._callers = Callers(settings, self.streets)
        self._renderer = Renderer(pieces)
        self._mishaps = Mishaps(settings.faults, self._renderer)
        self._tickets: dict[str, list[str]] = {}
        self._events: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._began = False

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """The partition key of each entity: devices, cameras, desks of the hotline."""
        desks = tuple(f"hotline-{number:02d}".encode() for number in range(TICKET_KEYS))
        return tuple(name.encode() for name in (*self.devices.ids, *self.cameras.ids)) + desks

    def records(self) -> Iterator[SimulatedRecord]:
        """All records in the order of `send_ms`."""
        keys, sources = self.keys, tuple(Source)
        for block in self.blocks():
            rows, data, starts = block.rows, block.data.tobytes(), block.starts.tolist()
            columns = zip(
                rows.source.tolist(), rows.entity.tolist(), rows.event_ms.tolist(), rows.send_ms.tolist(), strict=True
            )
            for i, (source, entity, event_ms, send_ms) in enumerate(columns):
                payload = data[starts[i] : starts[i + 1]]
                yield SimulatedRecord(sources[source], keys[entity], event_ms, send_ms, payload)

    def blocks(self) -> Iterator[Block]:
        """The same records, a step at a time, as columns and bytes; a step in which nothing is sent gives none."""
        if self._began:
            raise RuntimeError("a simulation runs once; make another one with the same settings")
        self._began = True
        settings, world = self.settings, self.world
        step_ms = settings.step_s * 1000
        waiting = empty_rows()
        blobs: list[bytes] = []
        from_ms = settings.start_ms
        while from_ms < settings.end_ms:
            to_ms = min(from_ms + step_ms, settings.end_ms)
            world.step()
            made = self._mishaps.apply(self._make(from_ms, to_ms, blobs), blobs)
            last = to_ms >= settings.end_ms
            waiting = Rows.joined((waiting, made))
            due = np.ones(len(waiting), dtype=np.bool_) if last else waiting.send_ms < to_ms
            sent, waiting = waiting.take(due), waiting.take(~due)
            if len(sent):
                yield self._block(sent, blobs)
            blobs = _kept(waiting, blobs)
            from_ms = to_ms

    def truth(self) -> Iterator[dict[str, Any]]:
        """What happened, entry by entry: the run and its counts, every incident, every faulty device."""
        counts = Counter(self._counts)
        counts.update(self._mishaps.counts)
        counts["spikes"] = self._readings.spikes
        counts["readings kept silent"] = self._readings.kept_silent
        counts["false camera events"] = self._analytics.false
        counts.update(device_counts(self.devices))
        yield summary_entry(self.settings, counts)
        for incident in sorted(self.world.incidents, key=lambda one: (one.begins_ms, one.name)):
            if incident.begins_ms < self.world.now_ms:
                yield incident_entry(self, incident, self._tickets, self._events)
        yield from faulty_device_entries(self.devices)

    def _make(self, from_ms: int, to_ms: int, blobs: list[bytes]) -> Rows:
        """All records whose moment lies in the step, before anything happens to them."""
        world, dt_s = self.world, (to_ms - from_ms) / 1000.0
        readings = self._readings.step(from_ms, to_ms, world.fields)
        current: list[Incident] = [one for one in world.incidents if one.severity > 0.0 and one.end_ms is None]
        events, shows = self._analytics.step(from_ms, dt_s, world.fields, current)
        for name, tracks in shows.items():
            self._events.setdefault(name, []).extend(tracks)
        tickets = self._callers.step(from_ms, dt_s, current)
        first = len(blobs)
        blobs.extend(ticket.payload for ticket in tickets)
        for ticket in tickets:
            if ticket.incident is not None:
                self._tickets.setdefault(ticket.incident, []).append(ticket.ticket_id)
        fates = [key_of(self.settings.seed, "ticket", ticket.ticket_id) for ticket in tickets]
        desks = self.devices.count + self.cameras.count
        calls = Rows.blobs(
            [int(Source.TICKETS)] * len(tickets), [desks + fate % TICKET_KEYS for fate in fates], fates,
            [ticket.event_ms for ticket in tickets], [ticket.send_ms for ticket in tickets],
            range(first, first + len(tickets)),
        )  # fmt: skip
        made = Rows.joined((readings, events, calls))
        for source, count in zip(Source, np.bincount(made.source, minlength=len(Source)).tolist(), strict=True):
            self._counts[f"made {source.topic}"] += count
        return made

    def _block(self, sent: Rows, blobs: list[bytes]) -> Block:
        rows = sent.take(np.argsort(sent.send_ms, kind="stable"))
        data, starts = self._renderer.render(rows, blobs)
        self._counts["sent"] += len(rows)
        return Block(rows, data, starts)

    def _district_of(self, lon: float, lat: float) -> str:
        """The district's name, "" where there is none."""
        assert self.city is not None
        places, at_ms = self.city.jurisdictions, self.settings.start_ms
        code = places.code_at(lon, lat, at_ms)
        if code is None:
            return ""
        names = [one.name_zh for one in places.chain(code, at_ms) if one.level is Level.DISTRICT]
        return names[0] if names else ""

    def _tracks(self) -> list[list[tuple[float, float]]]:
        """The storms' ways in metres."""
        streets, tracks = self.streets, []
        for storm in self.settings.storms:
            places = [self._middle(over) for over in storm.over] or self._two_districts()
            tracks.append(
                [
                    ((lon - streets.west) * streets.metres_lon, (lat - streets.south) * streets.metres_lat)
                    for lon, lat in places
                ]
            )
        return tracks

    def _middle(self, over: str | tuple[float, float]) -> tuple[float, float]:
        """A point, or the middle of a district's streets."""
        if not isinstance(over, str):
            return over
        mine = np.array([name == over for name in self.streets.district])
        if not mine.any():
            known = ", ".join(sorted(set(self.streets.district) - {""})) or "none"
            raise SettingsError(f"simulation: a storm over {over!r}: no such district in the box; there are {known}")
        return float(self.streets.lon[mine].mean()), float(self.streets.lat[mine].mean())

    def _two_districts(self) -> list[tuple[float, float]]:
        """The middles of the two largest districts of the box; without districts, two points on the way across."""
        largest = Counter(name for name in self.streets.district if name).most_common(2)
        if len(largest) == 2:
            return sorted(self._middle(name) for name, _ in largest)
        s = self.settings
        width, height = s.east - s.west, s.north - s.south
        return [(s.west + share * width, s.south + share * height) for share in (0.4, 0.65)]


def _kept(waiting: Rows, blobs: list[bytes]) -> list[bytes]:
    """The blobs that waiting rows still need, renumbered in place: what was sent is let go."""
    needed = np.flatnonzero(waiting.blob >= 0)
    kept: list[bytes] = []
    numbers: dict[int, int] = {}
    for row in needed.tolist():
        old = int(waiting.blob[row])
        if old not in numbers:
            numbers[old] = len(kept)
            kept.append(blobs[old])
        waiting.blob[row] = numbers[old]
    return kept
