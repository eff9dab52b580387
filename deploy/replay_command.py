"""`tongguan replay`: a recorded data set into the raw topics at a multiple of its pace, event times kept.

The whole set is read once before anything is sent: a set whose columns changed, or a file that is cut short, is named
and leaves nothing half done. deploy/replay/ does the work; this file is what the user sees of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import UsageProblem, err, out, safe, say
from deploy.endpoints import bootstrap_of, with_endpoints
from deploy.options import moment_ms
from deploy.replay.dataset import DataSet, Survey
from deploy.replay.log_time import log_time_ms
from deploy.replay.mapping import SetMapping
from deploy.replay.mapping_file import find_mapping
from deploy.replay.records import Record
from deploy.replay.sending import Sent, Target, check_topics, send
from deploy.replay.tally import NOTES, SKIPS_ZH, Note
from schemas.privacy import mask_payload
from schemas.sources import Source

FIRST_RECORDS: Final = 5
"""How many records a dry run shows when no limit says otherwise."""
TELL_EVERY_S: Final = 10.0
"""How often a line of progress is written where no bar can be drawn."""
INTERRUPTED: Final = 130


def run(
    path: Path | None,
    wanted: str,
    *,
    folder: Path | None,
    speed: float,
    limit: int | None,
    since: str | None,
    until: str | None,
    dry_run: bool,
    anywhere: bool,
    as_json: bool,
) -> None:
    """Replay a set. Raises SettingsError, UsageProblem, BrokerAway; ends with 130 when interrupted."""
    config = with_endpoints(load_config(path).config)
    mapping = find_mapping(wanted)
    span = _span(mapping, since, until)
    data = DataSet(mapping, folder)
    survey = _survey(data)
    chosen = _chosen(data.records(survey), span, limit)
    if dry_run:
        for record in islice(chosen, limit or FIRST_RECORDS):
            out.print(f"{_shown_time(record.at_ms)} {record.source.topic} {safe(mask_payload(record.payload))}")
        _sum_up(data, survey, None, as_json=as_json)
        return
    _check_ground(config, mapping, survey, anywhere=anywhere)
    target = Target(
        bootstrap=bootstrap_of(config),
        options=config.kafka.aiokafka_options(),
        topics={source: config.topic_names.raw(source) for source in Source},
    )
    sources = sorted({record.source for rule in mapping.inputs for record in rule.records})
    partitions = check_topics(target, sources)
    _check_time(config, survey, sources)
    sent = Sent()
    try:
        with _Bar(survey, limit) as bar:
            asyncio.run(send(chosen, target, partitions, speed=speed, sent=sent, progress=bar.tell))
    except KeyboardInterrupt:
        say(f"已停止 stopped: {sent.acknowledged:,} 条已送达 records were delivered", style="yellow")
        raise typer.Exit(INTERRUPTED) from None
    _sum_up(data, survey, sent, as_json=as_json)


def _span(mapping: SetMapping, since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """[from, until) in epoch ms; times without zone are in that of the set."""
    zones = [rule.time.zone for rule in mapping.inputs if rule.time is not None and rule.time.zone]
    zone = ZoneInfo(zones[0] if zones else "UTC")
    now = datetime.now(UTC)
    start, end = (None if text is None else moment_ms(text, zone=zone, now=now) for text in (since, until))
    if start is not None and end is not None and start >= end:
        raise UsageProblem(f"--from {since} must be before --until {until}: the span is empty")
    return start, end


def _chosen(records: Iterator[Record], span: tuple[int | None, int | None], limit: int | None) -> Iterator[Record]:
    start, end = span
    inside = (
        record for record in records if (start is None or record.at_ms >= start) and (end is None or record.at_ms < end)
    )
    return islice(inside, limit)


def _survey(data: DataSet) -> Survey:
    """Read the set once, and say so while it takes long."""
    began = told = time.monotonic()

    def progress(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            say(f"检查数据 reading the set: {rows:,} 行 rows, {told - began:.0f} s")

    return data.survey(progress)


def _check_ground(config: TongguanConfig, mapping: SetMapping, survey: Survey, *, anywhere: bool) -> None:
    """Refuse a set that lies wholly outside the city: every record of it would become a dead letter."""
    bounds, grid = survey.tally.bounds, config.city.grid()
    east, north = grid.origin_lon + grid.nx * grid.step_lon_deg, grid.origin_lat + grid.ny * grid.step_lat_deg
    apart = (
        bounds.east < grid.origin_lon or bounds.west > east or bounds.north < grid.origin_lat or bounds.south > north
    )
    if not bounds.count or not apart or anywhere:
        return
    box = mapping.city
    hint = ""
    if box is not None:
        hint = "; a city for it: " + " ".join(
            f"TONGGUAN_CITY__{name.upper()}={getattr(box, name):g}" for name in ("west", "south", "east", "north")
        )
    raise UsageProblem(
        f"{mapping.name} lies at {bounds.west:.2f}..{bounds.east:.2f} E, {bounds.south:.2f}..{bounds.north:.2f} N, "
        f"outside the configured city: all of it would become dead letters{hint} (--anywhere sends it all the same)"
    )


def _check_time(config: TongguanConfig, survey: Survey, sources: list[Source]) -> None:
    """Say so when the log has come further than the set: what is late is archived, but joined no more."""
    options = config.kafka.kafka_python_options()
    reached = log_time_ms(bootstrap_of(config), config.topic_names, sources, options=options)
    if reached is not None and survey.first_ms is not None and survey.first_ms < reached:
        say(
            f"注意：日志的事件时间已到 {_shown_time(reached)}，早于它的记录将被视为迟到，只归档不研判。\n"
            f"note: event time in this log has come to {_shown_time(reached)}; earlier records will count as "
            "late: they are archived and raise no alerts. A fresh stack (another data_dir "
            "or topics.prefix) has no such past.",
            style="yellow",
        )


class _Bar:
    """Progress on standard error: a bar on a terminal, else a line now and then."""

    def __init__(self, survey: Survey, limit: int | None) -> None:
        self._total = survey.tally.records if limit is None else min(limit, survey.tally.records)
        self._drawn = err.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"), console=err
        )
        self._task = self._progress.add_task("回放 replay", total=self._total)
        self._told = time.monotonic()

    def __enter__(self) -> _Bar:
        if self._drawn:
            self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._drawn:
            self._progress.stop()

    def tell(self, at_ms: int, count: int) -> None:
        if self._drawn:
            self._progress.update(self._task, completed=count, description=_shown_time(at_ms))
        elif time.monotonic() - self._told >= TELL_EVERY_S:
            self._told = time.monotonic()
            say(f"{_shown_time(at_ms)}  {count:,}/{self._total:,}")


def _sum_up(data: DataSet, survey: Survey, sent: Sent | None, *, as_json: bool) -> None:
    """What became of every row of the set."""
    if as_json:
        out.print(msgspec.json.encode(_summary(data, survey, sent)).decode())
        return
    mapping, tally = data.mapping, survey.tally
    out.print(f"{mapping.title.zh}  {mapping.title.en}  ({mapping.licence})")
    if survey.first_ms is not None and survey.last_ms is not None:
        out.print(f"  时间 span            {_shown_time(survey.first_ms)} .. {_shown_time(survey.last_ms)}")
    out.print(f"  文件 files           {len(data.files)}")
    out.print(f"  读取行 rows read     {tally.rows:,}")
    out.print(f"  可用记录 records     {tally.records:,}")
    if sent is not None:
        rate = sent.acknowledged / sent.seconds if sent.seconds else 0.0
        out.print(f"  已送达 delivered     {sent.acknowledged:,}  ({sent.seconds:.1f} s, {rate:,.0f}/s)")
    for reason, count in tally.skipped.most_common():
        out.print(f"  未成记录 no record   {count:,}  {SKIPS_ZH[reason]} {reason.value}")
    for why, count in tally.not_records.most_common():
        out.print(f"    {count:,}  {why}")
    for note, count in tally.notes.most_common():
        zh, en = NOTES[note]
        if note is Note.EARLIER:
            order = (
                ("按录制顺序发送", "sent as recorded") if mapping.order == "recorded" else ("发送前已排序", "sorted")
            )
            zh, en = f"{zh}，{order[0]}", f"{en}: {order[1]}"
        out.print(f"  注意 note            {count:,}  {zh}  {en}")
    for why, count in tally.not_here.most_common():
        out.print(f"    {count:,}  {why}")
    for trap in mapping.traps:
        out.print(f"  特点 trap            {trap.zh}\n                       {trap.en}")
    if tally.places:
        out.print("  不能使用的行（每类前几行） rows that cannot be used, the first of each kind:")
        for place in tally.places:
            out.print(f"    {safe(place)}")


def _summary(data: DataSet, survey: Survey, sent: Sent | None) -> Mapping[str, Any]:
    tally = survey.tally
    told: dict[str, Any] = {
        "set": data.mapping.name,
        "files": [str(file.path) for file in data.files],
        "first": None if survey.first_ms is None else _shown_time(survey.first_ms),
        "last": None if survey.last_ms is None else _shown_time(survey.last_ms),
        "rows": tally.rows,
        "records": tally.records,
        "skipped": {reason.value: count for reason, count in tally.skipped.items()},
        "not_records": dict(tally.not_records),
        "notes": {note.value: count for note, count in tally.notes.items()},
        "positions_left_out": dict(tally.not_here),
        "places": tally.places,
    }
    if sent is not None:
        told |= {"sent": sent.records, "delivered": sent.acknowledged, "bytes": sent.bytes, "seconds": sent.seconds}
    return told


def _shown_time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
