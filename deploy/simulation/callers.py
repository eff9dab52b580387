"""People: who notices something calls after a while, says where in words, and calls again when nobody comes.

Every incident and the ordinary business of the day have a stream of chance each. A call is a ticket; the operator
types for some seconds before it reaches the bus.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np

from deploy.simulation.chance import generator
from deploy.simulation.fleet import DATUM_TITLES
from deploy.simulation.floods import Flood
from deploy.simulation.incidents import Incident
from deploy.simulation.rhythms import LOCAL_OFFSET_H, bumps, local_hour, people_out
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.streets import Streets
from deploy.simulation.words import AGAIN, GIVEN, INCIDENT_WORDS, SURNAMES, TOPICS, depth_words
from schemas.datums import Datum
from topology.datum import convert

TYPES_MS: Final = (2_000, 24_000)
"""How long until a call is on the bus; the join waits 30 s for tickets."""
SEES_M: Final = 45.0
"""How far from the middle of it people are who call."""
MAP_SHARE: Final = 0.4
"""Of telephones give the place off a Chinese map, in GCJ-02."""
CALLS_AGAIN: Final = 0.22
AGAIN_AFTER_MINUTES: Final = (6.0, 18.0)
NAMES_A_PHONE: Final = 0.12
NAMES_AN_IDENTITY: Final = 0.02
POSITION: Final = ("lon", "lat", "datum")
CRITICAL: Final = {"fire": "critical", "gas_leak": "urgent", "accident": "urgent"}


@dataclass(frozen=True, slots=True)
class Ticket:
    """One call as it reaches the bus."""

    ticket_id: str
    event_ms: int
    send_ms: int
    payload: bytes
    incident: str | None  # name of the incident it is about


@dataclass(order=True, slots=True)
class _Call:
    """A call that somebody is going to make."""

    at_ms: int
    number: int
    fields: dict[str, Any] = field(compare=False)
    incident: str | None = field(compare=False)
    form: str = field(compare=False)  # "phone", "app" or "web"
    types_ms: int = field(compare=False)


class Callers:
    """The people of the city."""

    def __init__(self, settings: SimulationSettings, streets: Streets) -> None:
        self._settings = settings
        self._streets = streets
        self._calls: list[_Call] = []
        self._made = 0
        self._numbered = 0
        self._ordinary = generator(settings.seed, "callers")
        self._streams: dict[str, np.random.Generator] = {}
        # people do not know the city's numbers by heart: who calls about what is far from even
        self._lively = generator(settings.seed, "neighbourhoods").gamma(2.0, 0.5, streets.count)
        self._lively /= self._lively.sum()

    def step(self, from_ms: int, dt_s: float, incidents: Sequence[Incident]) -> list[Ticket]:
        """Tickets of the calls made in the step that begins at from_ms."""
        hour = local_hour(from_ms)
        about = 0.25 + 0.75 * people_out(hour)
        for incident in incidents:
            if incident.severity > 0.0 and incident.end_ms is None:
                chance = self._stream(incident.name)
                for _ in range(chance.poisson(dt_s * about * incident.severity / incident.caller_every_s)):
                    self._notices(chance, incident, from_ms + int(chance.uniform(0, dt_s * 1000)))
        self._talk(from_ms, dt_s, hour)
        end_ms = from_ms + round(dt_s * 1000)
        return list(self._due(end_ms))

    def _stream(self, name: str) -> np.random.Generator:
        if name not in self._streams:
            self._streams[name] = generator(self._settings.seed, "callers", name)
        return self._streams[name]

    def _notices(self, chance: np.random.Generator, incident: Incident, at_ms: int) -> None:
        place, fields = self._where(chance, incident.node)
        texts = INCIDENT_WORDS[incident.kind]
        depth = depth_words(incident.depth_mm) if isinstance(incident, Flood) else ""
        text = texts[int(chance.integers(len(texts)))].format(place=place, depth=depth)
        fields |= {"category": incident.category, "text": text}
        if chance.random() < (0.9 if incident.kind == "fire" else 0.3) and incident.kind in CRITICAL:
            fields["urgency"] = CRITICAL[incident.kind]
        calls_ms = at_ms + round(1000 * chance.exponential(incident.hesitates_s))
        self._plan(chance, calls_ms, fields, incident.name, place)

    def _talk(self, from_ms: int, dt_s: float, hour: float) -> None:
        """The ordinary calls of a step."""
        chance, settings = self._ordinary, self._settings
        rhythm = np.array([topic.weight * (0.25 + bumps(hour, *topic.peaks)) for topic in TOPICS])
        awake = 0.08 + 0.92 * min(1.0, people_out(hour) + bumps(hour, (10.0, 3.0, 0.5), (21.0, 1.5, 0.3)))
        usual_s = settings.people / 100_000 * settings.tickets_per_100k_h / 3600.0
        for _ in range(chance.poisson(dt_s * usual_s * awake)):
            topic = TOPICS[int(chance.choice(len(TOPICS), p=rhythm / rhythm.sum()))]
            node = int(chance.choice(self._streets.count, p=self._lively))
            place, fields = self._where(chance, node)
            text = topic.texts[int(chance.integers(len(topic.texts)))].format(place=place)
            fields |= {"category": topic.category, "text": text}
            self._plan(chance, from_ms + int(chance.uniform(0, dt_s * 1000)), fields, None, place)

    def _plan(
        self, chance: np.random.Generator, at_ms: int, fields: dict[str, Any], incident: str | None, place: str
    ) -> None:
        """Put one call, and perhaps a second of the same person, on the list."""
        form = str(chance.choice(("phone", "app", "web"), p=(0.7, 0.22, 0.08)))
        fields["caller_name"] = SURNAMES[int(chance.integers(len(SURNAMES)))] + GIVEN[int(chance.integers(len(GIVEN)))]
        fields["caller_phone"] = f"1380000{int(chance.integers(10_000)):04d}"
        told = chance.random()
        if told < NAMES_A_PHONE:
            fields["text"] += f"，我姓{fields['caller_name'][0]}，电话{fields['caller_phone']}"
        elif told < NAMES_A_PHONE + NAMES_AN_IDENTITY:
            fields["text"] += f"，身份证31010419000101{int(chance.integers(10_000)):04d}"
        if form == "phone":  # only a telephone with a map knows where it is
            for name in POSITION:
                fields.pop(name, None)
        types_ms = int(chance.integers(*TYPES_MS)) if form == "phone" else int(chance.integers(300, 3_000))
        first = self._push(at_ms, fields, incident, form, types_ms)
        if chance.random() < CALLS_AGAIN and incident is not None:
            again = {name: value for name, value in fields.items() if name not in ("urgency", *POSITION)}
            again["text"] = AGAIN[int(chance.integers(len(AGAIN)))].format(place=place)
            again["parent"] = first.number
            later_ms = at_ms + round(60_000 * chance.uniform(*AGAIN_AFTER_MINUTES))
            self._push(later_ms, again, incident, "phone", int(chance.integers(*TYPES_MS)))

    def _push(self, at_ms: int, fields: dict[str, Any], incident: str | None, form: str, types_ms: int) -> _Call:
        self._made += 1
        call = _Call(at_ms, self._made, fields, incident, form, types_ms)
        heapq.heappush(self._calls, call)
        return call

    def _due(self, end_ms: int) -> Iterator[Ticket]:
        while self._calls and self._calls[0].at_ms < end_ms:
            call = heapq.heappop(self._calls)
            local = datetime.fromtimestamp(call.at_ms // 1000, UTC) + timedelta(hours=LOCAL_OFFSET_H)
            # a call's number is that of its being planned, so that a second call can name the first
            fields = {
                "ticket_id": _ticket_id(self._settings.start_ms, call.number),
                **call.fields,
                "channel": call.form,
            }
            if "parent" in fields:
                fields["parent_ticket_id"] = _ticket_id(self._settings.start_ms, fields.pop("parent"))
            event_ms = call.at_ms
            if call.form == "phone":  # the hotline's system writes local times without a zone
                fields["ts"] = f"{local:%Y-%m-%d %H:%M:%S}"
                event_ms = event_ms // 1000 * 1000
            else:
                fields["ts"] = event_ms
            payload = msgspec.json.encode(fields)
            yield Ticket(fields["ticket_id"], event_ms, call.at_ms + call.types_ms, payload, call.incident)

    def _where(self, chance: np.random.Generator, node: int) -> tuple[str, dict[str, Any]]:
        """(place as said, fields address, lon, lat, datum as far as given); sometimes vague, sometimes wrong."""
        streets = self._streets
        offset, side = chance.uniform(-SEES_M, SEES_M), int(chance.integers(2))
        road, number, lon, lat = streets.address(node, offset, side=side)
        district = streets.district[node]
        said, kind = chance.random(), chance.random()
        if kind < 0.06:  # somewhere else on the same road
            road, number, _, _ = streets.address(node, float(chance.uniform(-900.0, 900.0)), side=side)
        if said < 0.66:
            place = f"{road}{number}号{('门口', '附近', '对面')[int(chance.integers(3))]}"
            address: str | None = f"{district}{road}{number}号"
        elif said < 0.78:
            other = streets.near(node, 400.0)
            crossing = streets.roads[int(streets.road[other[int(chance.integers(len(other)))]])].name
            place = f"{road}{crossing}路口" if crossing != road else f"{road}中间"
            address = f"{district}{place}"
        elif said < 0.93:
            place = f"{road}附近"
            address = f"{district}{road}"
        else:
            place, address = ("我们小区门口", "地铁站旁边", "家附近")[int(chance.integers(3))], None
        fields: dict[str, Any] = {}
        if address is not None and chance.random() < 0.88:
            fields["address"] = address
        if chance.random() < 0.85:
            off_lon, off_lat = chance.normal(0.0, 12.0, 2).tolist()
            undeclared = chance.random() < self._settings.faults.caller_undeclared_share
            lon, lat = lon + off_lon / streets.metres_lon, lat + off_lat / streets.metres_lat
            fields |= _position(lon, lat, shifted=undeclared or chance.random() < MAP_SHARE, named=not undeclared)
        return f"{district}{place}" if chance.random() < 0.35 else place, fields


def _position(lon: float, lat: float, *, shifted: bool, named: bool) -> dict[str, Any]:
    """Coordinates as a telephone gives them: by satellite, off a Chinese map, or off one that does not say so."""
    datum = Datum.GCJ02 if shifted else Datum.WGS84
    there = convert(lon, lat, Datum.WGS84, datum)
    place: dict[str, Any] = {"lon": round(there[0], 6), "lat": round(there[1], 6)}
    return place | {"datum": DATUM_TITLES[datum]} if shifted and named else place


def _ticket_id(start_ms: int, number: int) -> str:
    day = datetime.fromtimestamp(start_ms // 1000, UTC) + timedelta(hours=LOCAL_OFFSET_H)
    return f"12345-{day:%Y%m%d}-{number:06d}"
