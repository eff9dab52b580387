"""What the world is like at each node: one row of numbers per quantity, read by devices, cameras and callers."""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np

from deploy.simulation.chance import Floats


class Quantity(IntEnum):
    """Rows of the fields. The unit is in the name."""

    NOTHING = 0
    RAIN_MM_H = auto()
    TEMPERATURE_C = auto()
    HUMIDITY_PERCENT = auto()
    WIND_MS = auto()
    WIND_DEG = auto()
    PRESSURE_HPA = auto()
    VISIBILITY_M = auto()
    DEPTH_MM = auto()
    PIPE_FILL = auto()
    INLET_M3_S = auto()
    RIVER_M = auto()
    RIVER_M3_S = auto()
    SPEED_KMH = auto()
    FLOW_VEH_MIN = auto()
    OCCUPANCY_PERCENT = auto()
    QUEUE_M = auto()
    COLLISION = auto()  # 1 while the crash itself can be seen
    STOPPED_VEHICLES = auto()
    SMOKE_PERCENT_M = auto()
    HEAT_K = auto()  # above the room's temperature
    FLAMES = auto()  # 0 to 1
    SOOT_UGM3 = auto()
    GAS_LEL = auto()
    GAS_DROP_KPA = auto()
    CROWD = auto()  # people above the usual
    COVER_OPEN = auto()  # 0 or 1
    COVER_TILT_DEG = auto()


class Fields:
    """float64[quantity, node]; incidents add to the rows of theirs, which are emptied before each step."""

    def __init__(self, nodes: int) -> None:
        self.data: Floats = np.zeros((len(Quantity), nodes))

    def __getitem__(self, quantity: Quantity) -> Floats:
        row: Floats = self.data[quantity]
        return row

    def __setitem__(self, quantity: Quantity, values: Floats | float) -> None:
        self.data[quantity] = values

    def clear_incidents(self) -> None:
        self.data[Quantity.COLLISION :] = 0.0
