"""What the records are for: the detectors find the truth's incidents in them, and nothing on a quiet day."""

from __future__ import annotations

import shutil
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.config import TongguanConfig
from deploy.simulation.city_files import DEVICES, make_city_files
from deploy.simulation.settings import SimulationSettings, preset
from deploy.simulation.simulation import Simulation
from schemas.alert import Action, Alert
from schemas.sources import Source
from tests.support.pipeline import Pipeline
from topology.city import BUILT_IN, City
from topology.grid import ring_distance

PARTITIONS: Final = {Source.READINGS: 4, Source.CAMERA_EVENTS: 2, Source.TICKETS: 1}
FLUSH_MS: Final = 20_000
NEAR_RINGS: Final = 2
WITHIN_MS: Final = 600_000
URGENT: Final = "urgent_ticket"


@dataclass
class Judged:
    """What became of a run."""

    truth: list[dict[str, Any]]
    raised: list[Alert]
    letters: int
    rows: int

    @property
    def expected(self) -> list[dict[str, Any]]:
        return [entry for entry in self.truth if entry["entry"] == "incident" and entry["should_raise"]]

    def found(self, entry: dict[str, Any], *, within_ms: int = WITHIN_MS) -> bool:
        """Whether an alert of the right category came in time, here or next to it."""
        return any(
            alert.category == entry["should_raise"] and alert.detector != URGENT
            and 0 <= ring_distance(alert.cell, entry["cell"]) <= NEAR_RINGS
            and entry["begin_ms"] <= alert.window_end_ms <= entry["onset_ms"] + within_ms
            for alert in self.raised
        )  # fmt: skip

    @property
    def false(self) -> list[Alert]:
        """Alerts that no incident explains, minor floods and queues included; callers may have the wrong place."""
        incidents = [entry for entry in self.truth if entry["entry"] == "incident"]
        return [
            alert for alert in self.raised
            if alert.detector != URGENT
            and not any(0 <= ring_distance(alert.cell, entry["cell"]) <= 2 * NEAR_RINGS for entry in incidents)
        ]  # fmt: skip


def judge(settings: SimulationSettings, folder: Path) -> Judged:
    simulated = Simulation(settings, City.load("shanghai"))
    shutil.copytree(BUILT_IN / "shanghai", folder)
    make_city_files(simulated, folder)
    city = City.load(folder)
    config = TongguanConfig.model_validate(
        {
            "city": {"devices": str(folder / DEVICES)},
            "topics": {"shards": 4},
            "locate": {"idle_after_ms": 86_400_000},
        }
    )
    pipeline = Pipeline(config, PARTITIONS, city=city, addresses=city.addresses)
    portion: list[tuple[Source, int, bytes]] = []
    end_ms = settings.start_ms + FLUSH_MS
    for record in simulated.records():
        if record.send_ms >= end_ms:
            pipeline.now_ms = end_ms
            pipeline.take(portion)
            portion.clear()
            end_ms = record.send_ms - record.send_ms % FLUSH_MS + FLUSH_MS
        portion.append((record.source, zlib.crc32(record.partition_key) % PARTITIONS[record.source], record.payload))
    pipeline.now_ms = end_ms
    pipeline.take([*portion, *closers(end_ms + 200_000)])
    raised = [alert for alert in pipeline.alerts if alert.action is Action.RAISE]
    return Judged(list(simulated.truth()), raised, len(pipeline.letters), len(pipeline.rows))


def closers(at_ms: int) -> Sequence[tuple[Source, int, bytes]]:
    """One late record for each partition: the windows before it close."""
    place = b',"ts":%d,"lon":121.44,"lat":31.19}' % at_ms
    payloads = {
        Source.READINGS: b'{"device_id":"closer","metric":"noise_db","value":50' + place,
        Source.CAMERA_EVENTS: b'{"camera_id":"closer","event":"debris","confidence":0.1' + place,
        Source.TICKETS: b'{"ticket_id":"closer","category":"other","text":""' + place,
    }
    return [(source, p, payloads[source]) for source, count in PARTITIONS.items() for p in range(count)]


def in_words(judged: Judged) -> str:
    missed = [entry["id"] for entry in judged.expected if not judged.found(entry)]
    return f"missed {missed}, false {Counter(alert.detector for alert in judged.false)}"


def test_the_incidents_of_a_mixed_half_hour_are_found(tmp_path: Path) -> None:
    judged = judge(preset("mixed").with_changes(seed=2, minutes=30.0, devices=700, cameras=168), tmp_path / "city")
    kinds = Counter(entry["type"] for entry in judged.expected)
    assert kinds["flood"] >= 3 and kinds["accident"] >= 2 and len(kinds) == 6, kinds
    well_watched = [entry for entry in judged.expected if entry["sensors"] and entry["cameras"]]
    assert len(well_watched) >= 8
    assert all(judged.found(entry, within_ms=360_000) for entry in well_watched), in_words(judged)
    # without an instrument of its own an incident waits for callers who know where they are, and may be missed
    assert len([entry for entry in judged.expected if not judged.found(entry)]) <= 1, in_words(judged)
    assert not judged.false, in_words(judged)


def test_a_quiet_time_raises_nothing_and_loses_nothing(tmp_path: Path) -> None:
    judged = judge(preset("quiet").with_changes(seed=5, minutes=20.0, devices=500, cameras=400), tmp_path / "city")
    assert judged.raised == []
    counts = judged.truth[0]["counts"]
    spoilt = sum(count for name, count in counts.items() if name.startswith("malformed"))
    assert spoilt <= judged.letters <= spoilt + counts["duplicate"]
    assert judged.rows + judged.letters == counts["sent"] + sum(PARTITIONS.values())
