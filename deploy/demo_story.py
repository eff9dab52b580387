"""The demo's city and its story: south-west Shanghai on a summer evening, and every hour a storm over two districts.

The rain has been falling for some minutes when the demo begins to look: records of those minutes are not sent. So the
first streets are flooded soon after the start, and nothing about them is arranged.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from deploy.demo_stage import CITY
from deploy.simulation.city_files import make_city_files
from deploy.simulation.pace import Pace
from deploy.simulation.rows import Ints
from deploy.simulation.settings import SimulationSettings, StormSettings
from deploy.simulation.simulation import Block, Simulation
from topology.city import BUILT_IN, DEFAULT_CITY, City

MINUTE_MS: Final = 60_000
ROUND_MINUTES: Final = 60.0
"""After so long the storm comes again, and other things happen."""
RAIN_BEFORE_MINUTES: Final = 6.0
"""The storm's middle is over the first district so long before the simulated hour begins ..."""
UNSEEN_MINUTES: Final = 5.5
"""... and so much of the hour has passed when the demo begins to look."""
LONGEST_DAYS: Final = 7
"""A demo that nobody ends is over after so many days of the city."""
ROLES: Final = "locate,join,dispatch,archive"
SECTIONS: Final = f"""\
[city]
folder = {msgspec.json.encode(CITY).decode()}

[dispatch]
# the demo writes the simulated city's time to topic `ticks`
ticker = false
"""


def story(*, seed: int, city_minutes: float | None) -> SimulationSettings:
    """What happens; `city_minutes` are those that are shown, None: as many as there are."""
    minutes = LONGEST_DAYS * 24 * 60.0 if city_minutes is None else UNSEEN_MINUTES + city_minutes
    return SimulationSettings(
        seed=seed,
        minutes=minutes,
        repeat_minutes=ROUND_MINUTES,
        storms=(StormSettings(begins_minute=-RAIN_BEFORE_MINUTES),),
        accidents=3,
        fires=1,
        gas_leaks=1,
        crowds=1,
        manholes=2,
    )


def build(folder: Path, settings: SimulationSettings) -> tuple[str, DemoCity]:
    """Write the shipped Shanghai with the simulated devices, addresses and streets into `folder`, which is made."""
    simulated = DemoCity(settings, City.load(DEFAULT_CITY))
    shutil.copytree(BUILT_IN / DEFAULT_CITY, folder)
    make_city_files(simulated, folder)
    return SECTIONS, simulated


class DemoCity(Simulation):
    """The simulation from the moment on that the demo begins to look."""

    @property
    def from_ms(self) -> int:
        return self.settings.start_ms + round(UNSEEN_MINUTES * MINUTE_MS)

    def blocks(self) -> Iterator[Block]:
        """Steps whose first record is sent before that moment are left out."""
        for block in super().blocks():
            if int(block.rows.send_ms[0]) >= self.from_ms:
                yield block


@dataclass(frozen=True, slots=True)
class DemoPace(Pace):
    """The pace of a city that is looked at from `unseen_ms` after its beginning on."""

    unseen_ms: int = round(UNSEEN_MINUTES * MINUTE_MS)

    def slices(self, send_ms: Ints, start_ms: int, sent: int) -> Iterator[tuple[Ints, float]]:
        return Pace.slices(self, send_ms, start_ms + self.unseen_ms, sent)
