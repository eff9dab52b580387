"""Cameras: what each has in view, and the events its analytics send, true and false, some time after the fact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from shapely import STRtree, points

from deploy.simulation.chance import Floats, Ints, Keys, keys_of, uniforms
from deploy.simulation.fields import Fields, Quantity
from deploy.simulation.fleet import Lane, Placement, beside, place_text, placements
from deploy.simulation.incidents import Incident
from deploy.simulation.rhythms import Curve, curves_at, local_hour
from deploy.simulation.rows import ABSENT, NO_BLOB, Pieces, Rows, empty_rows
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.sights import SIGHTS
from deploy.simulation.sites import Sites
from deploy.simulation.streets import Index, Streets
from schemas.sources import Source
from topology.grid import Grid

RANGE_M: Final = (70.0, 160.0)
ANGLE_DEG: Final = (60.0, 110.0)
LATENCY_S: Final = (15.0, 150.0)
"""From when a thing can be seen until the analytics are sure enough to say so."""
SEND_MS: Final = (300, 2_600)
HEAVY_RAIN_MM_H: Final = 60.0
SITE_ORDER: Final = ("low", "junction", "plaza", "building", "gas", "manhole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """All cameras; arrays have one element per camera. `sees_*` are the pairs (camera, node in its field of view)."""

    ids: tuple[str, ...]
    node: Index
    lon: Floats
    lat: Floats
    keys: Keys
    placements: tuple[Placement, ...]
    latency_s: Floats
    sees_camera: Index
    sees_node: Index

    @property
    def count(self) -> int:
        return len(self.ids)

    def seeing(self, node: int) -> Index:
        """The cameras that have a node in view."""
        cameras: Index = self.sees_camera[self.sees_node == node]
        return cameras


def build_cameras(settings: SimulationSettings, streets: Streets, sites: Sites, grid: Grid) -> Cameras:
    keys = keys_of(settings.seed, "camera", count=settings.cameras)
    zero = np.zeros(len(keys), dtype=np.int64)
    chance = [uniforms(keys, zero, lane) for lane in range(Lane.BASE)]
    node = np.floor(chance[Lane.PLACE] * streets.count).astype(np.int32)
    known = _round_robin([sites[kind] for kind in SITE_ORDER])[: len(node)]
    node[: len(known)] = known
    lon, lat = beside(streets, grid, node, chance[Lane.EAST], chance[Lane.NORTH])
    pairs = _in_view(streets, node, lon, lat, chance[Lane.FAULT], chance[Lane.FAULT_SIZE])
    return Cameras(
        ids=tuple(f"CAM-{number:05d}" for number in range(1, len(keys) + 1)), node=node, lon=lon, lat=lat, keys=keys,
        placements=placements(settings, chance[Lane.REGISTERED], chance[Lane.DATUM]),
        latency_s=LATENCY_S[0] + (LATENCY_S[1] - LATENCY_S[0]) * chance[Lane.FAULT_START] ** 2,
        sees_camera=pairs[0], sees_node=pairs[1],
    )  # fmt: skip


class Analytics:
    """Makes the camera events of step after step. Entities are numbered from `first_entity`."""

    def __init__(self, settings: SimulationSettings, cameras: Cameras, pieces: Pieces, first_entity: int) -> None:
        self._settings = settings
        self._cameras = cameras
        self._first_entity = first_entity
        self._seen_s: Floats = np.zeros((len(SIGHTS), cameras.count))  # for how long each has been in view
        self._step = 0
        self.false = 0
        ids = cameras.ids
        self._who = np.array([pieces.add(f'{{"camera_id":"{name}",') for name in ids], dtype=np.int32)
        self._what = np.array(
            [pieces.add(f'"event":"{sight.event}","confidence":') for sight in SIGHTS], dtype=np.int32
        )
        self._middle = pieces.add(',"ts":')
        where = [
            place_text(float(cameras.lon[i]), float(cameras.lat[i]), cameras.placements[i]) + "}"
            for i in range(len(ids))
        ]
        self._where = np.array([pieces.add(text) for text in where], dtype=np.int32)

    def step(
        self, from_ms: int, dt_s: float, fields: Fields, incidents: Sequence[Incident]
    ) -> tuple[Rows, dict[str, list[int]]]:
        """(rows, track ids of the events that show an incident, by its name)."""
        cameras = self._cameras
        self._step += 1
        if cameras.count == 0:
            return empty_rows(), {}
        rain = fields[Quantity.RAIN_MM_H][cameras.node] / HEAVY_RAIN_MM_H
        wet = np.clip(rain, 0.0, 1.0)
        curve = curves_at(local_hour(from_ms))
        quantities = sorted({int(s.quantity) for s in SIGHTS} - {0})
        found: list[Rows] = []
        shows: dict[str, list[int]] = {}
        views = {q: self._in_view(fields.data[q]) for q in quantities}
        for number, sight in enumerate(SIGHTS):
            seen = views[int(sight.quantity)] if sight.quantity else np.zeros(cameras.count)
            counter = np.full(cameras.count, self._step * len(SIGHTS) + number, dtype=np.int64)
            there = seen >= sight.from_value if sight.quantity else np.zeros(cameras.count, dtype=np.bool_)
            self._seen_s[number] = np.where(there, self._seen_s[number] + dt_s, 0.0)
            waits = cameras.latency_s if sight.event != "collision" else 0.1 * cameras.latency_s
            plain = np.clip((seen - sight.from_value) / max(sight.plain_value - sight.from_value, 1e-9), 0.0, 1.0)
            plain = np.where(sight.plain_value <= sight.from_value, 1.0, plain)
            visible = 1.0 - 0.4 * wet if sight.hides else np.ones(cameras.count)
            true_rate = (
                np.where(there & (self._seen_s[number] > waits), (0.35 + 0.65 * plain) / sight.every_s, 0.0) * visible
            )
            true_rate = true_rate + sight.ordinary_h / 3600.0 * _rhythm(sight.curve, curve)
            false_rate = sight.false_h / 3600.0 * (1.0 + (sight.wet - 1.0) * wet)
            hit = uniforms(cameras.keys, counter, 0) < 1.0 - np.exp(-dt_s * (true_rate + false_rate))
            if not hit.any():
                continue
            who = np.flatnonzero(hit)
            wrong = uniforms(cameras.keys[who], counter[who], 1) * (true_rate + false_rate)[who] >= true_rate[who]
            self.false += int(wrong.sum())
            spread = uniforms(cameras.keys[who], counter[who], 2)
            low, high = sight.sure
            sure = (
                low + (high - low) * plain[who] + 0.12 * (spread - 0.5)
                if sight.quantity
                else low + (high - low) * spread
            )
            unsure = sight.unsure[0] + (sight.unsure[1] - sight.unsure[0]) * spread
            confidence = np.clip(np.where(wrong, unsure, sure), 0.05, 0.99)
            rows = self._rows(who, counter[who], from_ms, dt_s, number, confidence)
            if sight.counts:
                rows.count = np.where(
                    wrong, 20 + np.floor(60 * spread), np.rint(seen[who] * (0.9 + 0.2 * spread))
                ).astype(np.int64)
            if sight.quantity:
                self._tell(shows, who[~wrong], rows.track[~wrong], sight.event, incidents)
            found.append(rows)
        return (Rows.joined(found) if found else empty_rows()), shows

    def _in_view(self, row: Floats) -> Floats:
        """The highest value among the nodes that each camera sees."""
        highest: Floats = np.zeros(self._cameras.count)
        np.maximum.at(highest, self._cameras.sees_camera, row[self._cameras.sees_node])
        return highest

    def _rows(self, who: Ints, counter: Ints, from_ms: int, dt_s: float, sight: int, confidence: Floats) -> Rows:
        keys, n = self._cameras.keys[who], len(who)
        event_ms = from_ms + np.floor(uniforms(keys, counter, 3) * dt_s * 1000).astype(np.int64)
        send_ms = (
            event_ms + SEND_MS[0] + np.floor(uniforms(keys, counter, 4) * (SEND_MS[1] - SEND_MS[0])).astype(np.int64)
        )
        return Rows(
            source=np.full(n, int(Source.CAMERA_EVENTS), dtype=np.int8),
            entity=(self._first_entity + who).astype(np.int32),
            fate=keys + counter.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), event_ms=event_ms, send_ms=send_ms,
            who=self._who[who], what=np.full(n, self._what[sight], dtype=np.int32),
            middle=np.full(n, self._middle, dtype=np.int32), where=self._where[who],
            number=np.rint(confidence * 100).astype(np.int64), decimals=np.full(n, 2, dtype=np.int8),
            time_form=np.zeros(n, dtype=np.int8), count=np.full(n, ABSENT, dtype=np.int64),
            # one number per camera, step and event: unique, and the same when cameras are added
            track=(who.astype(np.int64) + 1) * 10_000_000 + counter, blob=np.full(n, NO_BLOB, dtype=np.int64),
        )  # fmt: skip

    def _tell(
        self, shows: dict[str, list[int]], who: Ints, tracks: Ints, event: str, incidents: Sequence[Incident]
    ) -> None:
        """Note which incident each true event shows."""
        cameras = self._cameras
        for incident in incidents:
            if incident.end_ms is not None or incident.severity <= 0.0:
                continue
            seeing = cameras.seeing(incident.node)
            mine = tracks[np.isin(who, seeing)]
            if len(mine) and event in EVENTS_OF[incident.kind]:
                shows.setdefault(incident.name, []).extend(mine.tolist())


EVENTS_OF: Final = {
    "flood": ("waterlogging", "stopped_vehicle", "congestion"),
    "accident": ("collision", "stopped_vehicle", "congestion"),
    "fire": ("smoke", "fire"),
    "gas_leak": (),
    "crowd": ("crowding",),
    "manhole": ("manhole_missing",),
}
"""Which sights belong to which kind of incident."""


def _rhythm(curve: Curve, curves: Floats) -> float:
    return 1.0 if curve is Curve.FLAT else float(curves[curve])


def _round_robin(lists: Sequence[Index]) -> npt.NDArray[np.int32]:
    """First of each, second of each, ..."""
    longest = max(len(one) for one in lists)
    return np.array([one[i] for i in range(longest) for one in lists if i < len(one)], dtype=np.int32)


def _in_view(
    streets: Streets, node: Index, lon: Floats, lat: Floats, turn: Floats, size: Floats
) -> tuple[Index, Index]:
    """Pairs (camera, node): a camera looks at its own stretch of street, and sees what else lies in that direction."""
    x, y = (lon - streets.west) * streets.metres_lon, (lat - streets.lat.min()) * streets.metres_lat
    nodes_y = (streets.lat - streets.lat.min()) * streets.metres_lat
    range_m = RANGE_M[0] + (RANGE_M[1] - RANGE_M[0]) * size
    half = np.radians(ANGLE_DEG[0] + (ANGLE_DEG[1] - ANGLE_DEG[0]) * turn) / 2
    heading = np.arctan2(nodes_y[node] - y, streets.x[node] - x)
    camera, other = STRtree(points(streets.x, nodes_y)).query(points(x, y), predicate="dwithin", distance=range_m)
    away = np.arctan2(nodes_y[other] - y[camera], streets.x[other] - x[camera]) - heading[camera]
    off = np.abs((away + math.pi) % (2 * math.pi) - math.pi)
    seen = (off <= half[camera]) | (other == node[camera])
    order = np.lexsort((other[seen], camera[seen]))
    return camera[seen][order].astype(np.int32), other[seen][order].astype(np.int32)
