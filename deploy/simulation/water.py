"""Water on streets and in drains: rain runs off, inlets swallow what they can, pipes carry it to the river.

Two stores per node, in cubic metres: `surface` on the street, `pipe` below it. All flows of a step follow from the
stores before it and never take more than is there, so that water is neither made nor lost:

    rained = standing + in pipes + discharged

- Runoff: rain intensity x catchment x runoff coefficient.
- Inlets: as much as the pipe has room for, up to the drain's design intensity, less what leaves and litter clog.
- Pipes: a store empties into the next with its full-bore flow times the share it is filled (a linear reservoir); what
  the next has no room for stays: the drain backs up, and the low street above it floods.
- Surface: water runs downhill from street to street within minutes, into the river or a low spot, where it stays until
  the drain takes it.

A low spot is a bowl whose surface grows with its depth, so that V = a h^2 / 2, up to its rim; from there on water
spreads over the quarter. A plain street is an even sheet.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from deploy.simulation.chance import Floats, generator
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.streets import PAVED, Streets

SHEET_M2: Final = 4_500.0
"""A stretch of street with its pavements."""
RUNS_OFF_S: Final = 240.0
"""How fast a street sheds a film of water: about 250 m at 1 m/s."""
DEEPER_MM: Final = 25.0
"""Deeper water runs faster: by depth to the power 5/3 in all (Manning), from about here on."""
MOST_SHARE: Final = 0.5
PIPE_S: Final = 180.0
"""Time through a stretch of pipe that is half full, slow storage in branches included."""
INLET_FACTOR: Final = 1.3
"""Inlets are laid out somewhat larger than the pipe below them."""
RIM_M: Final = (0.5, 0.9)
BOWL_M: Final = (12_000.0, 24_000.0)
"""How much wider a low spot's water gets with its depth, square metres a metre: 40 cm cover some 7,000 m2."""
QUARTER_M2: Final = 60_000.0
"""What floods when a low spot is full to its rim."""
PUMP_MM_H: Final = (4.0, 16.0)
"""What an underpass's pump lifts, as rain over all the ground that drains to it."""


class Water:
    """The stores, and what follows from them. Arrays have one element per node of the streets."""

    def __init__(self, settings: SimulationSettings, streets: Streets) -> None:
        chance = generator(settings.seed, "water")
        count, low = streets.count, streets.low_spots
        self._streets = streets
        self.surface_m3: Floats = np.zeros(count)
        self.pipe_m3: Floats = np.zeros(count)
        self.rained_m3 = 0.0
        self.discharged_m3 = 0.0
        self._rim_m: Floats = np.full(count, np.inf)
        self._rim_m[low] = chance.uniform(*RIM_M, len(low))
        self._bowl_m2_per_m: Floats = np.zeros(count)
        self._bowl_m2_per_m[low] = chance.uniform(*BOWL_M, len(low))
        self._is_low: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self._is_low[low] = True
        self.clogged: Floats = np.zeros(count)
        clogged = chance.random(len(low)) < settings.clogged_share
        self.clogged[low] = np.where(clogged, chance.uniform(0.5, 0.9, len(low)), chance.uniform(0.0, 0.2, len(low)))

        local_m3_s = streets.design_mm_h / 3.6e6 * streets.area_m2 * PAVED
        upstream_m2 = streets.area_m2.copy()
        for node in streets.drain_order.tolist():
            if streets.drain[node] >= 0:
                upstream_m2[streets.drain[node]] += upstream_m2[node]
        # one storm never covers a large catchment with its full strength: larger ones are built for less
        areal = np.clip(1.0 - 0.16 * np.log10(np.maximum(upstream_m2 / 30_000.0, 1.0)), 0.55, 1.0)
        self.full_m3_s: Floats = streets.design_mm_h / 3.6e6 * upstream_m2 * PAVED * areal
        self._inlet_m3_s: Floats = local_m3_s * INLET_FACTOR * (1.0 - self.clogged)
        pump_mm_h = chance.uniform(*PUMP_MM_H, len(low))
        pump_m3_s = pump_mm_h / 3.6e6 * streets.basin_m2[low] * PAVED
        self._inlet_m3_s[low] += pump_m3_s * (1.0 - self.clogged[low])
        self.full_m3_s[low] += pump_m3_s
        self.room_m3: Floats = self.full_m3_s * PIPE_S
        self.inlet_m3_s: Floats = np.zeros(count)  # what went down in the last step
        self._has_next: npt.NDArray[np.bool_] = streets.drain >= 0
        self._next: npt.NDArray[np.int32] = np.where(self._has_next, streets.drain, 0).astype(np.int32)
        self._runs: npt.NDArray[np.bool_] = streets.downhill >= 0
        self._into_river: npt.NDArray[np.bool_] = ~self._runs & ~self._is_low
        self._down: npt.NDArray[np.int32] = np.where(self._runs, streets.downhill, 0).astype(np.int32)

    @property
    def depth_mm(self) -> Floats:
        """How deep the water stands on each street."""
        low = np.flatnonzero(self._is_low)
        depth_m = self.surface_m3 / SHEET_M2
        rim_m, a, volume = self._rim_m[low], self._bowl_m2_per_m[low], self.surface_m3[low]
        over_m3 = np.maximum(volume - a * rim_m**2 / 2.0, 0.0)
        depth_m[low] = np.minimum(np.sqrt(2.0 * volume / a), rim_m) + over_m3 / QUARTER_M2
        return 1000.0 * depth_m

    @property
    def pipe_fill(self) -> Floats:
        """0 to 1: how full each pipe is."""
        return self.pipe_m3 / self.room_m3

    @property
    def imbalance_m3(self) -> float:
        """Water made or lost: zero but for rounding."""
        return float(self.rained_m3 - self.surface_m3.sum() - self.pipe_m3.sum() - self.discharged_m3)

    def step(self, rain_mm_h: Floats, dt_s: float) -> None:
        streets = self._streets
        runoff = rain_mm_h / 3.6e6 * dt_s * streets.area_m2 * PAVED
        self.surface_m3 += runoff
        self.rained_m3 += float(runoff.sum())
        self._flow_in_pipes(dt_s)
        self._flow_into_inlets(dt_s)
        self._flow_on_streets(dt_s)

    def _flow_in_pipes(self, dt_s: float) -> None:
        wanted = np.minimum(self.full_m3_s * dt_s * self.pipe_fill, self.pipe_m3)
        out = wanted.copy()
        coming = np.bincount(self._next[self._has_next], wanted[self._has_next], minlength=len(wanted))
        free = np.maximum(self.room_m3 - self.pipe_m3, 0.0)
        accepted = np.minimum(1.0, free / np.maximum(coming, 1e-12))
        out[self._has_next] *= accepted[self._next[self._has_next]]
        self.discharged_m3 += float(out[~self._has_next].sum())
        self.pipe_m3 -= out
        self.pipe_m3 += np.bincount(self._next[self._has_next], out[self._has_next], minlength=len(out))

    def _flow_into_inlets(self, dt_s: float) -> None:
        free = np.maximum(self.room_m3 - self.pipe_m3, 0.0)
        down = np.minimum(np.minimum(self.surface_m3, self._inlet_m3_s * dt_s), free)
        self.surface_m3 -= down
        self.pipe_m3 += down
        self.inlet_m3_s = down / dt_s

    def _flow_on_streets(self, dt_s: float) -> None:
        sheet_mm = 1000.0 * self.surface_m3 / SHEET_M2
        share = np.minimum(dt_s / RUNS_OFF_S * (1.0 + sheet_mm / DEEPER_MM) ** (5.0 / 3.0), MOST_SHARE)
        leaving = np.where(self._is_low, 0.0, self.surface_m3 * share)
        self.surface_m3 -= leaving
        self.discharged_m3 += float(leaving[self._into_river].sum())
        self.surface_m3 += np.bincount(self._down[self._runs], leaving[self._runs], minlength=len(leaving))
