"""P9: thirty-five minutes or more at twenty thousand records a second, and nothing grows after the first fifteen.

One worker with all roles and the detectors that it has by itself, sensors of a small city at an even rate in the
present, tickets now and then, people who close every incident, which is not kept then. (CityJoin's detector would not
do: its alerts never end.) After a warm-up of a quarter of an hour, while windows fill (the longest has 13 minutes),
caches do and allocators find their size, the resident memory is fitted by a straight line: its slope must be near zero
beside its error. Files, threads and tasks must be as many at the end as at the beginning. In the end every record must
be in the history, once.

Memory goes up and down by itself, more so on a machine that does other things, too. Where the slope's error is still
above the bound after the twenty minutes, the soak goes on until it is not. How long it lasts depends on the error
alone, never on the slope: nobody waits here for a slope that pleases.

A short run is two minutes and notices a hundred bytes lost with each record, no less: what a start takes is no trend.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from benchmarks.cityjoin_data import PARTITIONS, SIDE, SOUTH, STEP_DEG, WEST
from deploy.store import open_store
from schemas.incident_types import BUILT_IN
from schemas.sources import Source
from streams.tasks import end
from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.lives import complaints
from tests.chaos.probe import EVERY_S, Samples, slope
from tests.chaos.promises import Given, Outcome
from tests.chaos.soak_load import People, Traffic

RATE: Final = 20_000
SHARDS: Final = 4
INCIDENT_PARTITIONS: Final = 2
CATCH_UP_WITHIN_S: Final = 120.0
SAY_EVERY_S: Final = 60.0

OFFSETS: Final = """SELECT source, partition, count() AS n, min(offset) AS first, max(offset) AS last,
    sum(toUInt64(offset)) AS total, sum(toUInt128(offset) * offset) AS squares
    FROM observations GROUP BY source, partition"""
ONCE_EACH: Final = """first = 0 AND last = n - 1 AND total * 2 = n * (n - 1)
    AND squares * 6 = toUInt128(n) * (n - 1) * (2 * n - 1)"""
"""Tens of millions of offsets, none missing and none twice, without a table of all: by their sum and sum of squares."""


@dataclass(frozen=True, slots=True)
class Bounds:
    warm_up_s: float
    measured_s: float
    measured_at_most_s: float
    block_s: float
    mb_per_h: float
    """The most that the slope may be, its error taken off, and that the error may be: 20 MB/h are 28 bytes for each
    hundred records."""

    def enough(self, measured: Samples) -> bool:
        """Whether these samples, taken since the warm-up, are all that is needed."""
        if not measured.at_s or (lasted_s := measured.at_s[-1] - measured.at_s[0]) < self.measured_s:
            return False
        return lasted_s >= self.measured_at_most_s or self.slope_of(measured)[1] <= self.mb_per_h

    def slope_of(self, measured: Samples) -> tuple[float, float]:
        """(MB an hour, its error)."""
        return slope(measured.at_s, measured.rss_mb, block_s=self.block_s)


FULL: Final = Bounds(warm_up_s=900, measured_s=1_200, measured_at_most_s=3_000, block_s=30, mb_per_h=20)
SHORT: Final = Bounds(warm_up_s=60, measured_s=60, measured_at_most_s=60, block_s=6, mb_per_h=6_000)
MORE: Final = {"files": 4, "threads": 2, "tasks": 20}
"""At the end than at the beginning, by the greatest of a sixth of the time each."""


class SoakCity(ChaosCity):
    """The city of CityJoin, with settings as they are by default."""

    @property
    def settings(self) -> dict[str, Any]:
        made = super().settings
        return {
            **{section: made[section] for section in ("data_dir", "clickhouse")},
            "kafka": {"bootstrap": self.bootstrap},
            "city": {"west": WEST, "south": SOUTH, "cell_deg": STEP_DEG, "east": WEST + SIDE * STEP_DEG,
                     "north": SOUTH + SIDE * STEP_DEG},
            "topics": {"prefix": f"{self.name}.", "shards": SHARDS, "alerts_partitions": INCIDENT_PARTITIONS,
                       "readings_partitions": PARTITIONS, "camera_events_partitions": PARTITIONS,
                       "tickets_partitions": PARTITIONS, "replication": 1},
            "dispatch": {"keep_hours": 0, "reopen_hours": 0, "types_files": [str(self.forgetful_types)]},
        }  # fmt: skip

    @property
    def forgetful_types(self) -> Path:
        """The types of incidents that there are, none of which is kept when it has ended. As they come, ended ones are
        kept for up to a month: what the loop holds would rise all day."""
        path = self.directory / "types.yaml"
        if not path.exists():
            path.write_text(re.sub(r"reopen_hours: \d+", "reopen_hours: 0", BUILT_IN.read_text("utf-8")), "utf-8")
        return path


def run(given: Given) -> Outcome:
    return run_seeds(given, "P9", trial, at_once=1)


async def trial(stage: Stage, seed: int) -> list[str]:
    bounds = SHORT if stage.given.short else FULL
    base = stage.city(seed)
    city = SoakCity(base.bootstrap, base.clickhouse_url, base.name, base.directory, zygote=None)
    await asyncio.to_thread(city.set_up, stop_merges=False)
    told = base.directory / "tasks.json"
    worker = city.chaos_worker(executed=True, probe=told, configured=True)
    traffic = Traffic(city.bootstrap, city.names, rate=RATE, seed=seed)
    desk = city.config.load_city().duty_desk
    people = People(city.bootstrap, city.names, partitions=INCIDENT_PARTITIONS, desk=desk)
    samples = Samples()
    with worker:
        await worker.reads()
        began = time.monotonic()
        next_word = began + SAY_EVERY_S
        tasks = [asyncio.create_task(work) for work in (traffic.run(), people.run())]
        try:
            while not bounds.enough(samples.since(began + bounds.warm_up_s)):
                await asyncio.sleep(EVERY_S)
                if not worker.running:
                    return [f"the worker ended by itself:\n{worker.log[-4_000:]}"]
                samples.take(worker.pid, told)
                if time.monotonic() >= next_word:
                    next_word += SAY_EVERY_S
                    stage.given.progress(
                        f"seed {seed}: {(time.monotonic() - began) / 60:.0f} min, "
                        f"{samples.rss_mb[-1]:.0f} MB, {samples.files[-1]} files, {samples.threads[-1]} threads"
                    )
                for task in tasks:
                    if task.done():
                        task.result()
            traffic.stop()
            await tasks[0]
            problems = _growth(samples.since(began + bounds.warm_up_s), bounds, stage.outcome)
            await _through(city)
        finally:
            for task in tasks:
                await end(task)
        problems += await asyncio.to_thread(_history_problems, city, traffic, people, stage.outcome)
        problems += complaints(worker)
    chart = (stage.given.results or stage.given.folder) / "soak.svg"
    draw(samples, began + bounds.warm_up_s, chart)
    return problems


def _growth(measured: Samples, bounds: Bounds, outcome: Outcome) -> list[str]:
    per_hour, error = bounds.slope_of(measured)
    outcome.figures |= {
        "records_per_s": RATE,
        "minutes": round((measured.at_s[-1] - measured.at_s[0]) / 60, 1),
        "rss_mb": round(measured.rss_mb[-1]),
        "rss_mb_per_h": round(per_hour, 1),
        "its_error": round(error, 1),
    }
    problems = []
    if per_hour - 2 * error > bounds.mb_per_h:
        problems.append(
            f"resident memory grows by {per_hour:.1f} +- {error:.1f} MB an hour (bound {bounds.mb_per_h} MB)"
        )
    if error > bounds.mb_per_h:
        problems.append(f"a slope of {per_hour:.1f} +- {error:.1f} MB an hour says nothing")
    part = max(1, len(measured.at_s) // 6)
    for name, more in MORE.items():
        values: list[int] = getattr(measured, name)
        first, last = max(values[:part]), max(values[-part:])
        outcome.figures[name] = f"{first} -> {last}"
        if last > first + more:
            problems.append(f"{first} {name} at the beginning, {last} at the end")
    return problems


async def _through(city: ChaosCity) -> None:
    """Until the archive has what was sent."""
    places = [TopicPartition(city.names.raw(source), p) for source in Source for p in range(PARTITIONS)]
    frames = [TopicPartition(city.names.observations, shard) for shard in range(SHARDS)]
    await city._committed(f"{city.names.prefix}locate", places, CATCH_UP_WITHIN_S)
    with contextlib.suppress(AssertionError):  # header frames go on for ever; rows are what is asked for next
        await city._committed(f"{city.names.prefix}tongguan-archive", frames, 10.0)


def _history_problems(city: ChaosCity, traffic: Traffic, people: People, outcome: Outcome) -> list[str]:
    give_up_at = time.monotonic() + CATCH_UP_WITHIN_S
    with open_store(city.config) as store:
        while True:
            rows, whole = store.rows(f"SELECT sum(n), min({ONCE_EACH}) FROM ({OFFSETS})")[0]
            alerts, incidents, closed = store.rows(
                "SELECT (SELECT uniqExact(alert_id) FROM alerts), uniqExact(incident_id),"
                " uniqExactIf(incident_id, state = 'closed') FROM incidents"
            )[0]
            if (rows == traffic.sent and whole) or time.monotonic() > give_up_at:
                break
            time.sleep(1.0)
    outcome.figures |= {"records": traffic.sent, "alerts": alerts, "incidents": incidents, "closed": closed}
    problems = []
    if rows != traffic.sent or not whole:
        problems.append(f"{rows} rows in the history, {traffic.sent} were sent; each offset once: {bool(whole)}")
    if not alerts or not closed or people.worked < 1:
        problems.append(f"{alerts} alerts, {closed} incidents closed: this was no city")
    return problems


def draw(samples: Samples, measured_from_s: float, path: Path) -> None:
    """Memory above; files, threads and tasks below."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    minutes = [(at - samples.at_s[0]) / 60 for at in samples.at_s]
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(9, 6), layout="constrained")
    above.plot(minutes, samples.rss_mb, linewidth=0.8)
    above.axvspan(0, (measured_from_s - samples.at_s[0]) / 60, color="0.92")
    above.set(ylabel="resident memory, MB", ylim=(0, None), title=f"One worker, {RATE:,} records a second")
    for name in ("files", "threads", "tasks"):
        below.plot(minutes, getattr(samples, name), linewidth=0.8, label=name)
    below.axvspan(0, (measured_from_s - samples.at_s[0]) / 60, color="0.92", label="warm-up")
    below.set(xlabel="minutes", ylim=(0, None))
    below.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
