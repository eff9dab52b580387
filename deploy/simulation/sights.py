"""What a camera's analytics look for, when they see it, and how often they are wrong.

Confidences are drawn around `sure` for what is there, growing with how plain it is to see, and around `unsure` for what
is not: a reflection, a delivery van, steam. Each city's analytics differ; these are ordinary ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.simulation.fields import Quantity
from deploy.simulation.rhythms import Curve

Q = Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One event of the analytics."""

    event: str
    quantity: Quantity = Q.NOTHING
    from_value: float = 1.0  # seen from here on ...
    plain_value: float = 1.0  # ... and plainly from here on
    every_s: float = 60.0  # mean time between two events while it is plain
    sure: tuple[float, float] = (0.62, 0.93)  # at first sight, when plain
    counts: bool = False  # the event carries the quantity as its count
    ordinary_h: float = 0.0  # true events an hour and camera that belong to no incident
    curve: Curve = Curve.FLAT  # their rhythm
    false_h: float = 0.0  # false ones an hour and camera
    unsure: tuple[float, float] = (0.3, 0.66)
    wet: float = 1.0  # how many times more often it is wrong in heavy rain
    hides: bool = True  # heavy rain hides it


SIGHTS: Final = (
    Sight(
        event="waterlogging",
        quantity=Q.DEPTH_MM,
        from_value=50,
        plain_value=160,
        every_s=55,
        false_h=0.012,
        wet=5,
        hides=False,
    ),
    Sight(event="collision", quantity=Q.COLLISION, every_s=28, sure=(0.7, 0.9), false_h=0.002, unsure=(0.3, 0.62)),
    Sight(
        event="stopped_vehicle", quantity=Q.STOPPED_VEHICLES, plain_value=2, every_s=70, sure=(0.66, 0.92), false_h=0.06
    ),
    Sight(
        event="congestion",
        quantity=Q.QUEUE_M,
        from_value=120,
        plain_value=500,
        every_s=180,
        ordinary_h=0.05,
        curve=Curve.TRAFFIC,
    ),
    Sight(
        event="smoke",
        quantity=Q.FLAMES,
        from_value=0.06,
        plain_value=0.35,
        every_s=40,
        sure=(0.6, 0.94),
        false_h=0.01,
        wet=0.3,
    ),
    Sight(
        event="fire",
        quantity=Q.FLAMES,
        from_value=0.25,
        plain_value=0.7,
        every_s=40,
        sure=(0.64, 0.95),
        false_h=0.004,
        wet=0.3,
    ),
    Sight(event="crowding", quantity=Q.CROWD, from_value=150, plain_value=600, every_s=90, counts=True, false_h=0.008),
    Sight(event="manhole_missing", quantity=Q.COVER_OPEN, every_s=150, sure=(0.64, 0.88), false_h=0.006, wet=2),
    Sight(event="illegal_parking", ordinary_h=0.9, curve=Curve.PEOPLE, sure=(0.6, 0.95)),
    Sight(event="street_vending", ordinary_h=0.35, curve=Curve.PEOPLE),
    Sight(event="non_motor_on_highway", ordinary_h=0.2, curve=Curve.TRAFFIC),
    Sight(event="fire_lane_blocked", ordinary_h=0.12, curve=Curve.PEOPLE),
    Sight(event="garbage_overflow", ordinary_h=0.12, curve=Curve.FILLING),
    Sight(event="construction_dust", ordinary_h=0.05, curve=Curve.DAYLIGHT, wet=0.1),
    Sight(event="debris", ordinary_h=0.03, curve=Curve.TRAFFIC),
    Sight(event="ebike_in_lift", ordinary_h=0.08, curve=Curve.PEOPLE),
    Sight(event="intrusion", ordinary_h=0.02),
    Sight(event="camera_blocked", ordinary_h=0.004, sure=(0.8, 0.99)),
)
