"""The physical city: weather, water, traffic and incidents, moved on together step by step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from deploy.simulation.chance import Floats
from deploy.simulation.fields import Fields, Quantity
from deploy.simulation.floods import Floods
from deploy.simulation.incidents import Incident, Manhole, plan_incidents
from deploy.simulation.rhythms import local_hour
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.sites import Sites
from deploy.simulation.streets import Streets
from deploy.simulation.traffic import Traffic
from deploy.simulation.water import Water
from deploy.simulation.weather import RainCell, Weather

LIFTS_AT_FILL: Final = 0.995
TIDE_H: Final = 12.42
SOOT_RUNS_M: Final = 600.0


class World:
    """State of everything but devices and people. `now_ms` is the end of the last step."""

    def __init__(
        self, settings: SimulationSettings, streets: Streets, sites: Sites, tracks: list[list[tuple[float, float]]]
    ) -> None:
        cells = [
            RainCell.over(replace(storm, begins_minute=storm.begins_minute + turn * settings.round_minutes), track)
            for storm, track in zip(settings.storms, tracks, strict=True)
            for turn in range(settings.rounds)
        ]
        self._settings = settings
        self._streets = streets
        self.now_ms = settings.start_ms
        self.weather = Weather(settings.seed, cells, streets.x, streets.y)
        self.water = Water(settings, streets)
        self.traffic = Traffic(settings, streets)
        self.floods = Floods()
        self.planned = plan_incidents(settings, streets, sites)
        self.fields = Fields(streets.count)
        self._soot_at: list[tuple[int, np.ndarray, Floats]] = [
            self._reach(i.node) for i in self.planned if i.kind == "fire"
        ]
        self._discharged_m3 = 0.0

    @property
    def incidents(self) -> list[Incident]:
        return [*self.planned, *self.floods.all]

    def step(self) -> list[Incident]:
        """Move on by one step; returns the incidents that have begun by themselves."""
        dt_s = float(self._settings.step_s)
        self.now_ms += self._settings.step_s * 1000
        hour = local_hour(self.now_ms)
        self.weather.step((self.now_ms - self._settings.start_ms) / 60_000, dt_s)
        rain = self.weather.rain_mm_h
        self.water.step(rain, dt_s)
        depth = self.water.depth_mm
        self._lift_covers()
        open_share: Floats = np.ones(self._streets.count)
        fields = self.fields
        fields.clear_incidents()
        begun: list[Incident] = [*self.floods.step(self.now_ms, depth)]
        for incident in self.incidents:
            incident.step(self.now_ms, dt_s, fields, open_share)
        self._spread_soot()
        stalled = np.clip(np.floor((depth - 320.0) / 60.0), 0.0, 4.0)
        fields[Quantity.STOPPED_VEHICLES] = np.maximum(fields[Quantity.STOPPED_VEHICLES], stalled)
        self.traffic.step(hour, rain, depth, open_share, dt_s)
        self._fill(hour, depth, dt_s)
        return begun

    def _fill(self, hour: float, depth: Floats, dt_s: float) -> None:
        weather, water, traffic, fields = self.weather, self.water, self.traffic, self.fields
        fields[Quantity.RAIN_MM_H] = weather.rain_mm_h
        fields[Quantity.TEMPERATURE_C] = weather.temperature_c(hour)
        fields[Quantity.HUMIDITY_PERCENT] = weather.humidity_percent(hour)
        fields[Quantity.WIND_MS] = weather.wind_ms()
        fields[Quantity.WIND_DEG] = weather.wind_deg()
        fields[Quantity.PRESSURE_HPA] = weather.pressure_hpa()
        fields[Quantity.VISIBILITY_M] = weather.visibility_m()
        fields[Quantity.DEPTH_MM] = depth
        fields[Quantity.PIPE_FILL] = water.pipe_fill
        fields[Quantity.INLET_M3_S] = water.inlet_m3_s
        flow_m3_s = (water.discharged_m3 - self._discharged_m3) / dt_s
        self._discharged_m3 = water.discharged_m3
        tide_m = 0.6 * math.cos(2 * math.pi * (self.now_ms / 3_600_000) / TIDE_H)
        fields[Quantity.RIVER_M] = 2.4 + tide_m + 0.012 * flow_m3_s
        fields[Quantity.RIVER_M3_S] = 25.0 + flow_m3_s
        fields[Quantity.SPEED_KMH] = traffic.speed_kmh
        fields[Quantity.FLOW_VEH_MIN] = traffic.flow_veh_min
        fields[Quantity.OCCUPANCY_PERCENT] = traffic.occupancy_percent
        fields[Quantity.QUEUE_M] = traffic.queue_m

    def _lift_covers(self) -> None:
        """A pipe that runs full lifts a cover that was to come off later anyway."""
        for incident in self.planned:
            waits = isinstance(incident, Manhole) and incident.begins_ms > self.now_ms
            if waits and self.water.pipe_fill[incident.node] >= LIFTS_AT_FILL:
                incident.begins_ms = self.now_ms
                incident.notes["lifted_by_water"] = 1.0

    def _reach(self, node: int) -> tuple[int, np.ndarray, Floats]:
        streets = self._streets
        near = streets.near(node, SOOT_RUNS_M)
        near = near[near != node]
        far = np.hypot(streets.x[near] - streets.x[node], streets.y[near] - streets.y[node])
        return node, near, 0.6 * np.exp(-far / 250.0)

    def _spread_soot(self) -> None:
        for node, near, share in self._soot_at:
            source = self.fields.data[Quantity.SOOT_UGM3, node]
            if source > 0.0:
                self.fields.data[Quantity.SOOT_UGM3, near] += source * share
