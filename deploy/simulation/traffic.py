"""Traffic: speed and flow by the hour, slowed by rain and water, and stopped by what blocks a lane.

Each node is a stretch of one road. Demand is the share of capacity that wants to pass. Where less can pass, cars queue
and the queue grows backwards, at the speed at which cars are added to its tail: (demand - capacity) x saturation flow
x space per car; when the lane is free again it dissolves. Queued traffic crawls. Free traffic follows the BPR curve
(US Bureau of Public Roads, 1964). Speeds follow with the inertia of a platoon, about a minute.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from deploy.simulation.chance import Floats, generator
from deploy.simulation.rhythms import rush
from deploy.simulation.settings import SimulationSettings
from deploy.simulation.streets import NODE_EVERY_M, Streets

SATURATION_VEH_S: Final = 0.5
"""Cars that one free lane passes a second: 1,800 an hour."""
CAR_M: Final = 7.0
"""Length of a queued car with its gap."""
CRAWL_KMH: Final = 6.0
SETTLES_S: Final = 50.0
LONGEST_QUEUE_M: Final = 3_000.0


class Traffic:
    """Speed, flow, occupancy and queue of each node."""

    def __init__(self, settings: SimulationSettings, streets: Streets) -> None:
        chance = generator(settings.seed, "traffic")
        roads = streets.roads
        self._before = streets.before
        self._free_kmh: Floats = np.array([road.free_kmh for road in roads])[streets.road]
        self._free_kmh = self._free_kmh * chance.uniform(0.85, 1.1, streets.count)
        self._lanes: Floats = np.array([road.lanes / 2 for road in roads])[streets.road]
        self._busy: Floats = chance.uniform(0.75, 1.1, len(roads))[streets.road]
        self.queue_m: Floats = np.zeros(streets.count)  # its tail, measured back from the node that causes it
        self.queued: npt.NDArray[np.bool_] = np.zeros(streets.count, dtype=np.bool_)
        self.demand: Floats = np.zeros(streets.count)
        self.speed_kmh: Floats = self._free_kmh.copy()

    @property
    def flow_veh_min(self) -> Floats:
        """Cars a minute."""
        passing = np.where(self.queued, 0.35, self.demand)
        return 60.0 * SATURATION_VEH_S * self._lanes * passing

    @property
    def occupancy_percent(self) -> Floats:
        """Share of time that a car stands over the loop: density x length of car and loop."""
        per_km = 60.0 * self.flow_veh_min / self._lanes / np.maximum(self.speed_kmh, 1.0)
        return np.clip(per_km * 0.65, 0.0, 100.0)

    def step(self, hour: float, rain_mm_h: Floats, depth_mm: Floats, open_share: Floats, dt_s: float) -> None:
        """`open_share` 0..1 is what incidents leave of each node's capacity."""
        self.demand = np.clip(rush(hour) * self._busy, 0.02, 0.95)
        passable = np.clip(1.0 - (depth_mm - 80.0) / 320.0, 0.1, 1.0)  # cars slow in water and stall in 40 cm of it
        capacity = np.minimum(open_share, passable)
        growth_m_s = (self.demand - capacity) * SATURATION_VEH_S * CAR_M
        self.queue_m = np.clip(self.queue_m + growth_m_s * dt_s, 0.0, LONGEST_QUEUE_M)
        self.queued = self._covered(capacity < 1.0)
        free = self._free_kmh / (1.0 + 0.5 * self.demand**4)
        free = free * (1.0 - 0.22 * np.clip(rain_mm_h / 80.0, 0.0, 1.0)) * passable
        wanted = np.where(self.queued, np.minimum(CRAWL_KMH, free), free)
        self.speed_kmh += (wanted - self.speed_kmh) * min(dt_s / SETTLES_S, 1.0)

    def _covered(self, narrowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The nodes on which a queue stands: its cause while it narrows the road, and what lies behind it."""
        covered = np.zeros(len(self.queue_m), dtype=np.bool_)
        for cause in np.flatnonzero(self.queue_m > 0.0).tolist():
            left, node = float(self.queue_m[cause]), cause
            covered[cause] |= bool(narrowed[cause]) or left > NODE_EVERY_M / 2
            while node >= 0 and left > 0.0:
                covered[node] |= left > NODE_EVERY_M / 2
                left -= NODE_EVERY_M
                node = int(self._before[node])
        return covered
