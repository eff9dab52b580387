"""`tongguan simulate`: a simulated city's records into Kafka or a file, and the truth about it beside them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from rich.progress import BarColumn, Progress, TextColumn

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import UsageProblem, err, out, say
from deploy.endpoints import bootstrap_of, with_endpoints
from deploy.options import moment_ms
from deploy.replay.log_time import log_time_ms
from deploy.simulation.city_files import ADDRESSES, DEVICES, NETWORKS, make_city_files
from deploy.simulation.fitting import changed, fitted
from deploy.simulation.pace import Pace
from deploy.simulation.settings import SimulationSettings, preset
from deploy.simulation.simulation import Simulation
from deploy.simulation.sinks import RECORDS, FileSink, KafkaSink, NullSink, Sent, Sink
from schemas.sources import Source
from streams.topic_admin import partition_counts

TRUTH: Final = "truth.jsonl"
TELL_EVERY_S: Final = 10.0
TOO_FAR_AHEAD_MS: Final = 240_000
"""Records timed later than this after their arrival become dead letters before long; see locate.future_bound_ms."""


class SinkName(StrEnum):
    """Where the records go."""

    KAFKA = "kafka"
    FILE = "file"
    NULL = "null"

    @classmethod
    def of(cls, text: str) -> SinkName:
        """The sink of that name. Raises UsageProblem."""
        try:
            return cls(text)
        except ValueError:
            raise UsageProblem(f"--sink {text!r} is unknown; choose one of {', '.join(cls)}") from None


def run(
    path: Path | None, *, preset_name: str, assignments: list[str], seed: int | None, minutes: float | None,
    devices: int | None, cameras: int | None, start: str | None, sink_name: SinkName, folder: Path | None,
    speed: float | None, rate: float, describe: bool,
) -> None:  # fmt: skip
    """Run a simulation. Raises SettingsError, UsageProblem, BrokerError."""
    config = with_endpoints(load_config(path).config)
    given = {"seed": seed, "minutes": minutes, "devices": devices, "cameras": cameras}
    if start is not None:
        given["start_ms"] = moment_ms(start, zone=config.city.zone_info, now=datetime.now(UTC))
    settings = preset(preset_name).with_changes(**{name: value for name, value in given.items() if value is not None})
    settings = changed(fitted(settings, config.city.grid()), assignments)
    if describe:
        for name, value in settings.described():
            out.print(f"{name} = {value}")
        return
    if (
        speed is None
    ):  # a file is written at once; Kafka sees the city at sixty times its pace, or at the rate asked for
        speed = 60.0 if sink_name is SinkName.KAFKA and not rate else 0.0
    sink = _sink(config, sink_name, folder)
    if sink_name is SinkName.KAFKA:
        _check_time(config, settings, speed)
    say(f"建造城市 building the city: seed {settings.seed}, {settings.devices:,} devices, {settings.cameras:,} cameras")
    simulated = Simulation(settings, config.load_city())
    if folder is None and sink_name is not SinkName.NULL:
        folder = config.data_dir / "simulation"
    if folder is not None:
        make_city_files(simulated, folder)
    try:
        with _Bar(settings) as bar:
            sent = sink.run(simulated, Pace(speed=speed, rate=rate), bar.tell)
    finally:  # also of a run that was interrupted: so far it is true
        if folder is not None:
            write_truth(simulated, folder / TRUTH)
    _sum_up(simulated, sent, sink_name, folder)


def write_truth(simulated: Simulation, path: Path) -> None:
    """The truth as JSON lines."""
    with path.open("wb") as file:
        for entry in simulated.truth():
            file.write(msgspec.json.encode(entry) + b"\n")


def _sink(config: TongguanConfig, name: SinkName, folder: Path | None) -> Sink:
    topics = {source: config.topic_names.raw(source) for source in Source}
    match name:
        case SinkName.NULL:
            return NullSink()
        case SinkName.FILE:
            if folder is None:
                raise UsageProblem("--sink file needs --out, the directory to write into")
            return FileSink(folder, topics)
        case SinkName.KAFKA:
            bootstrap = bootstrap_of(config)
            existing = partition_counts(bootstrap, options=config.kafka.kafka_python_options())
            missing = [topic for topic in topics.values() if topic not in existing]
            if missing:
                raise UsageProblem(
                    f"topic {', '.join(missing)} does not exist at {bootstrap}; `tongguan topics apply` makes it"
                )
            partitions = {source: existing[topic] for source, topic in topics.items()}
            return KafkaSink(bootstrap, topics, partitions, options=config.kafka.aiokafka_options())


def _check_time(config: TongguanConfig, settings: SimulationSettings, speed: float) -> None:
    """Say so when the records will count as late, or as of the future."""
    reached = log_time_ms(
        bootstrap_of(config), config.topic_names, list(Source), options=config.kafka.kafka_python_options()
    )
    if reached is not None and settings.start_ms < reached:
        shown = datetime.fromtimestamp(reached / 1000, config.city.zone_info).isoformat(timespec="seconds")
        say(
            f"注意：日志的事件时间已到 {shown}，更早的记录将视为迟到，只归档不研判；可用 --start 从更晚的时间开始。\n"
            f"note: event time in this log has come to {shown}; earlier records count as late and raise no alerts. "
            "Begin later with --start, or use a fresh stack.",
            style="yellow",
        )
    lasts_ms = (settings.end_ms - settings.start_ms) / speed if speed else 0
    if settings.end_ms > time.time() * 1000 + lasts_ms + TOO_FAR_AHEAD_MS:
        say(
            "注意：记录的时间将超前于当前时间，会成为死信；请用更早的 --start 或更低的 --speed。\n"
            "note: these records' times will run ahead of the clock and become dead letters; use an earlier --start "
            "or a lower --speed.",
            style="yellow",
        )


class _Bar:
    """Progress on standard error: a bar on a terminal, else a line now and then."""

    def __init__(self, settings: SimulationSettings) -> None:
        self._settings = settings
        self._began = self._told = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[clock]}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task = self._bar.add_task("", total=settings.end_ms - settings.start_ms, clock="", count="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tell(self, send_ms: int, records: int, _bytes: int) -> None:
        now = time.monotonic()
        if not err.is_terminal and now - self._told < TELL_EVERY_S:
            return
        self._told = now
        clock = f"{(send_ms - self._settings.start_ms) / 60_000:.1f} / {self._settings.minutes:g} min"
        count = f"{records:,} 条 records, {records / max(now - self._began, 1e-6):,.0f}/s"
        if err.is_terminal:
            self._bar.update(self._task, completed=send_ms - self._settings.start_ms, clock=clock, count=count)
        else:
            say(f"{clock}, {count}")


def _sum_up(simulated: Simulation, sent: Sent, sink: SinkName, folder: Path | None) -> None:
    rate = sent.records / max(sent.seconds, 1e-9)
    entries = [entry for entry in simulated.truth() if entry["entry"] == "incident" and entry["onset_ms"] is not None]
    out.print(
        f"{sent.records:,} 条记录 records, {sent.payload_bytes / 1e6:,.1f} MB, {sent.seconds:,.1f} s, "
        f"{rate:,.0f} 条/秒 records/s -> {sink.value}"
    )
    for entry in entries:
        minute = (entry["onset_ms"] - simulated.settings.start_ms) / 60_000
        raises = entry["should_raise"] or "-"
        out.print(f"  {minute:5.1f} min  {entry['id']:<12} {entry['place']}  -> {raises}")
    if folder is not None:
        files = [TRUTH, DEVICES, ADDRESSES, NETWORKS] + ([RECORDS] if sink is SinkName.FILE else [])
        out.print(f"{folder}: {', '.join(files)}")
