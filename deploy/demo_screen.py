"""How the demo looks: calm, Chinese first, English below; what comes from records is masked and safe to print."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from deploy.console import safe
from deploy.demo_recording import HOUR_MS, START_MS, place_near
from deploy.render import SEVERITY_STYLE
from detectors import BUILT_IN
from schemas.alert import SEVERITY_EN, SEVERITY_ZH, Action, Alert
from schemas.decode import decode
from schemas.errors import BadRecord
from schemas.kinds import built_in_kinds
from schemas.privacy import mask_extra, mask_payload
from schemas.sources import Source
from streams.urgent import DETECTOR as URGENT

WIDEST: Final = 132
"""Columns: on a wide screen, longer lines are harder to read."""
PIPE_WIDTH: Final = 120
INDENT: Final = 7  # under the text that follows the time of day
BAR: Final = 24
TITLES: Final = {d.name: (d.title_zh, d.title_en) for d in BUILT_IN} | {URGENT: ("紧急工单", "Urgent ticket")}
VALUES_ZH: Final = {
    "level_mm": "水深（毫米）",
    "severe_readings": "严重读数",
    "camera_events": "摄像头识别",
    "tickets": "工单",
    "collisions": "碰撞",
    "stopped_vehicles": "停车",
    "speed_kmh": "车速（公里/小时）",
    "usual_speed_kmh": "平时车速",
}
DIM: Final = "bright_black"


class Screen:
    """The demo's pages; on a terminal with one line at the bottom that moves."""

    def __init__(self, zone: ZoneInfo, *, console: Console | None = None) -> None:
        self._zone = zone
        self._console = console or Console(highlight=False, markup=False)
        self._console.width = min(self._console.width, WIDEST) if self._console.is_terminal else PIPE_WIDTH
        self._live: Live | None = None

    def show(self, what: RenderableType = "") -> None:
        self._console.print(what)

    def title(self) -> None:
        self.show()
        self.show(Text("统管 Tongguan", style="bold") + Text("  城市运行一网统管 · 实时核心演示", style=""))
        self.show(
            Text("一场暴雨和一起事故：上海一小时的传感器、摄像头与 12345 工单，数据为模拟生成。\n")
            + Text("A storm and an accident: an hour of sensors, cameras and hotline tickets, all of it made up.", DIM)
        )
        self.show()

    def heading(self, zh: str, en: str) -> None:
        self.show()
        self.show(Rule(Text(f"{zh} {en}", style="bold"), align="left", style=DIM))

    @contextlib.contextmanager
    def step(self, zh: str, en: str) -> Iterator[None]:
        """One line for a part that takes a while, with its time once it is over."""
        began = time.monotonic()
        with (
            self._console.status(Text(f"{zh} ").append(f"{en} ...", DIM))
            if self._console.is_terminal
            else contextlib.nullcontext()
        ):
            yield
        line = Text("  ✓ ", style="green") + Text(f"{zh} ") + Text(f"{en}  {time.monotonic() - began:.1f} s", style=DIM)
        self.show(line)

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """While inside, `progress` keeps the bottom line of a terminal up to date."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=8, transient=True) as self._live:
            try:
                yield
            finally:
                self._live.update(Text())
        self._live = None

    # --- the replay ------------------------------------------------------------------------------------------------

    def progress(self, event_ms: int, sent: int, total: int) -> None:
        if self._live is None:
            return
        share = min(1.0, (event_ms - START_MS) / HOUR_MS)
        full = round(share * BAR)
        line = Text(" ")
        line.append(f"{self.clock(event_ms, seconds=True)} ", "bold")
        line.append("━" * full, "cyan").append("─" * (BAR - full), DIM)
        line.append(f"  已发送 {sent:,} / {total:,} 条 records sent", DIM)
        if sent == total:
            line.append("  等待归档 waiting for the archive", DIM)
        self._live.update(Group(Text(), line))

    def alert(self, alert: Alert, evidence: Sequence[tuple[str, bytes]], *, was: int | None) -> None:
        word_zh, word_en, mark, style = _change(alert, was)
        zh, en = TITLES.get(alert.detector, (alert.detector, alert.detector))
        head = Text().append(self.clock(alert.window_end_ms), "bold").append("  ")
        head.append(f"{mark} {word_zh} {word_en}", style).append("  ")
        if alert.action is not Action.CLEAR:
            level = f"{SEVERITY_ZH[alert.severity]} {SEVERITY_EN[alert.severity]}"
            head.append(level, SEVERITY_STYLE[alert.severity]).append("  ")
        head.append(f"{zh} {en}", "bold" if alert.action is Action.RAISE else "")
        sentences = Text(safe(alert.sentence_zh)), Text(safe(alert.sentence_en), style=DIM)
        if alert.action is Action.RAISE:
            body: RenderableType = self._raised(alert, evidence, *sentences)
        else:
            head.append("  ").append(self._where(alert, point=False))
            body = Group(*sentences)
        self.show()
        self.show(head)
        self.show(Padding(body, (0, 0, 0, INDENT), expand=False))

    def _raised(self, alert: Alert, evidence: Sequence[tuple[str, bytes]], zh: Text, en: Text) -> Table:
        body = Table.grid(padding=(0, 2), pad_edge=False)
        body.add_column(no_wrap=True, style=DIM)
        body.add_column(overflow="fold")
        body.add_row("地点 place", self._where(alert))
        body.add_row("说明 reason", zh)
        body.add_row("", en)
        if alert.values:
            body.add_row("数值 values", _values(alert))
        more = len(alert.evidence) - len(evidence)
        for number, (name, payload) in enumerate(evidence):
            line = self._record(name, payload)
            if number == len(evidence) - 1 and more > 0:
                line.append(f"  另有 {more} 条 and {more} more", DIM)
            body.add_row("证据 evidence" if number == 0 else "", line)
        return body

    def _where(self, alert: Alert, *, point: bool = True) -> Text:
        if alert.lon is None or alert.lat is None:
            return Text("未定位 not placed")
        place = place_near(alert.lon, alert.lat)
        text = Text(f"{place.zh} {place.en}" if place else "")
        if point or place is None:
            text.append(("  " if place else "") + f"{alert.lon:.4f}°E {alert.lat:.4f}°N", DIM)
        return text

    def _record(self, name: str, payload: bytes) -> Text:
        """One raw record in a line: where it lies, when, who, what; personal parts masked."""
        source = Source.of_topic(name.partition(":")[0])
        line = Text().append(name, "cyan").append("  ")
        try:
            row = decode(source, payload, self._zone)
        except BadRecord:  # not used as evidence by any detector; shown all the same
            return line.append(safe(mask_payload(payload)))
        kinds = built_in_kinds()
        line.append(f"{self.clock(row.event_at_ms, seconds=True)}  {safe(row.entity)}  ")
        line.append(safe(kinds.title(source, row.kind)))
        match source:
            case Source.READINGS:
                line.append(f" {row.value:g} {safe(row.unit or '')}")
            case Source.CAMERA_EVENTS:
                line.append(f"  置信度 confidence {row.confidence:.2f}")
            case Source.TICKETS:
                said = msgspec.json.decode(mask_extra(row.extra) or "{}")
                caller = " ".join(str(said[key]) for key in ("caller_name", "caller_phone") if key in said)
                line.append(safe(f"  “{said.get('text', '')}” {caller}"))
        return line

    def clock(self, epoch_ms: int, *, seconds: bool = False) -> str:
        """The time of day in the city."""
        moment = datetime.fromtimestamp(epoch_ms / 1000, UTC).astimezone(self._zone)
        return f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"

    # --- afterwards ------------------------------------------------------------------------------------------------

    def answer(self, zh: str, en: str, sql: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """One question to the history: in words, as SQL, and what it says."""
        self.show()
        self.show(Text(zh, style="bold") + Text(f"  {en}", style=DIM))
        self.show(Padding(Text(sql, style="cyan"), (0, 0, 0, 2), expand=False))
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style=DIM)
        for index, name in enumerate(names):
            number = all(isinstance(row[index], int | float) for row in rows)
            table.add_column(Text(safe(name)), justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row))
        self.show(Padding(table, (0, 0, 0, 2), expand=False))

    def facts(self, facts: Sequence[tuple[str, str, str]]) -> None:
        """(Chinese, English, value), one below the other."""
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style=DIM)
        table.add_column(overflow="fold")
        for zh, en, value in facts:
            table.add_row(zh, en, Text(value, style="bold"))
        self.show(Padding(table, (0, 0, 0, 2), expand=False))

    def next_steps(self, file: Path) -> None:
        steps = (
            ("查询历史", "ask the history", f'tongguan sql -c {file} "SELECT * FROM v_alerts"'),
            ("常驻运行", "run it yourself", "tongguan up"),
            ("写检测器", "write detectors", "detectors/contract.py, detectors/waterlogging.py"),
            ("了解原理", "how it works", "README.md, ARCHITECTURE.md"),
        )
        self.facts(steps)


def _change(alert: Alert, was: int | None) -> tuple[str, str, str, str]:
    """Word in Chinese and English, mark and style of what happens to the alert."""
    if alert.action is Action.CLEAR:
        return "解除", "cleared", "✓", "green"
    if alert.action is Action.RAISE or was is None:
        return "产生", "raised", "●", SEVERITY_STYLE[alert.severity]
    if alert.severity > was:
        return "升级", "up", "▲", SEVERITY_STYLE[alert.severity]
    if alert.severity < was:
        return "降级", "down", "▽", DIM
    return "更新", "updated", "·", DIM


def _values(alert: Alert) -> Text:
    line = Text()
    for name, value in alert.values.items():
        if line:
            line.append("   ")
        line.append(VALUES_ZH.get(name, name)).append(" ").append("-" if value is None else f"{value:.4g}", "bold")
    return line


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.10g}" if isinstance(value, float) else safe(str(value))
