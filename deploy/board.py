"""The board of the demo: a city on one screen, for people who look at it for the first time.

Pure: a `BoardState` and a size in, lines of text out, each exactly within the width. What moves in the city is kept up
by `deploy/board_state.py`; who draws it (rich's Live) asks for lines a few times a second.

    head      the city, its time, how fast it runs, the weather
    flow      records a second by source, how far each step lags behind
    alerts    the newest, with place, severity and sentence
    incidents how many in which state, how many late, what was done last
    index     the districts, the worst first, and what pulls each down
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from typing import Final
from zoneinfo import ZoneInfo

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from deploy.console import safe
from deploy.options import Lang
from deploy.render import SEVERITY_STYLE
from schemas.alert import SEVERITY_EN, SEVERITY_ZH, Action, Alert
from schemas.incident import IncidentChange, State, Step
from schemas.sources import Source

WIDEST: Final = 160
"""Columns: longer lines are harder to read."""
LEAST_WIDTH, LEAST_HEIGHT = 40, 12
BAR_CELLS, BAR_CELLS_EN = 12, 8
NAME_CELLS, NAME_CELLS_EN = 9, 12
USUAL_DISTRICTS: Final = 8
"""Room for so many is kept until the first index is there."""
GOOD_SCORE, FAIR_SCORE = 90.0, 75.0
SHOWN_STATES: Final = (
    State.FILED,
    State.DISPATCHED,
    State.ACCEPTED,
    State.HANDLING,
    State.HANDLED,
    State.VERIFIED,
    State.RETURNED,
    State.CLOSED,
)
SLIPS: Final = frozenset({Step.OVERDUE, Step.ESCALATE, Step.RETURN, Step.VERIFY_FAIL, Step.REMIND, Step.REOPEN})
"""Steps that say that something went wrong, or how it was caught."""
STATES_EN: Final = {state: state.value.replace("_", " ") for state in State}
SOURCES: Final = {
    Source.READINGS: ("传感器", "sensors"),
    Source.CAMERA_EVENTS: ("摄像头", "cameras"),
    Source.TICKETS: ("热线工单", "tickets"),
}
STEPS: Final = {
    "locate": ("定位", "locate"),
    "alert": ("告警", "alerts"),
    "loop": ("闭环", "loop"),
    "archive": ("归档", "archive"),
}


@dataclass(frozen=True, slots=True)
class District:
    """The index of one district; `weak` are its lowest categories: Chinese name, name, score."""

    name_zh: str
    name_en: str
    score: float
    weak: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """One line; many callers about one fire are one line."""

    alert: Alert
    times: int = 1


@dataclass(slots=True)
class BoardState:
    """All that the board shows. Times in epoch ms; rates per second of the wall clock."""

    city_zh: str = ""
    city_en: str = ""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    now_ms: int = 0  # the city's time
    speed: float = 1.0
    running_s: float = 0.0
    weather_zh: str = ""
    weather_en: str = ""
    rates: Mapping[Source, float] = field(default_factory=dict)
    records: int = 0
    dead: int = 0
    lag_s: Mapping[str, float] = field(default_factory=dict)  # by step, see STEPS
    alerts: Sequence[ShownAlert] = ()  # newest first
    shown_alerts: int = 0  # lines that there were in all
    active_alerts: int = 0
    raised_alerts: int = 0
    states: Mapping[State, int] = field(default_factory=dict)
    overdue: int = 0  # open and past a deadline
    kept: int = 0  # deadlines that were met
    missed: int = 0
    doings: Sequence[IncidentChange] = ()  # newest first
    shown_doings: int = 0
    index: Sequence[District] = ()  # worst first
    index_hour_ms: int | None = None
    footer_zh: str = ""
    footer_en: str = ""


def lines(state: BoardState, lang: Lang, width: int, height: int) -> list[Text]:
    """The board in `height` lines of at most `width` cells. Each part keeps its place whatever there is to say."""
    width, height = min(max(width, LEAST_WIDTH), WIDEST), max(height, LEAST_HEIGHT)
    drawing = _Drawing(state, lang is Lang.ZH, width)
    above, foot = [*drawing.head(), *drawing.flow()], list(drawing.foot())
    room = height - len(above) - len(foot) - 4  # three headings and the states
    index_rows = min(drawing.index_rows, max(1, room // 4))
    doing_rows = (room - index_rows) // 3
    found = [
        *above,
        drawing.alerts_heading(),
        *_exactly(room - index_rows - doing_rows, drawing.alerts()),
        drawing.incidents_heading(),
        drawing.states(),
        *_exactly(doing_rows, drawing.doings()),
        drawing.index_heading(),
        *_exactly(index_rows, drawing.districts(index_rows)),
        *foot,
    ]
    for line in found:
        line.truncate(width, overflow="ellipsis")
    return found


def _exactly(rows: int, there: Iterable[Text]) -> Iterator[Text]:
    yield from islice(chain(there, repeat(Text())), max(rows, 0))


def plain_alert(shown: ShownAlert, state: BoardState, lang: Lang) -> Text:
    """One line for a file."""
    return _Drawing(state, lang is Lang.ZH, WIDEST).alert(shown)


def plain_change(change: IncidentChange, state: BoardState, lang: Lang) -> Text:
    """One line for a file."""
    return _Drawing(state, lang is Lang.ZH, WIDEST).doing(change)


def plain_status(state: BoardState, lang: Lang) -> Text:
    """How it stands, in one line for a file."""
    drawing = _Drawing(state, lang is Lang.ZH, WIDEST)
    head, weather = drawing.head()
    parts = [
        " ".join(head.plain.split()),
        weather.plain,
        *(line.plain for line in drawing.flow()),
        drawing.states().plain,
    ]
    return Text("- " + " | ".join(part.strip() for part in parts))


class _Drawing:
    def __init__(self, state: BoardState, zh: bool, width: int) -> None:
        self._state = state
        self._zh = zh
        self._width = width
        self.columns = min(2, max(1, width // 40))  # districts side by side
        self.index_rows = -(-max(len(state.index), USUAL_DISTRICTS) // self.columns)

    def _say(self, zh: str, en: str) -> str:
        return zh if self._zh else en

    def _clock(self, at_ms: int, form: str = "%H:%M") -> str:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self._state.zone).strftime(form)

    # --- head and flow -----------------------------------------------------------------------------------------------

    def head(self) -> Iterator[Text]:
        state = self._state
        running = f"{int(state.running_s) // 60}:{int(state.running_s) % 60:02d}"
        left = self._say(f" {state.city_zh} 城市运行一网统管", f" {state.city_en} city operations")
        clock = self._clock(state.now_ms, "%Y-%m-%d %H:%M") if state.now_ms else "-"
        right = self._say(
            f"{clock}  {state.speed:g} 倍速  已运行 {running} ", f"{clock}  {state.speed:g} x  running {running} "
        )
        gap = " " * max(1, self._width - cell_len(left) - cell_len(right))
        yield Text(set_cell_size(left + gap + right, self._width), style="bold white on blue")
        yield Text(" " + self._say(state.weather_zh, state.weather_en), style="cyan")

    def flow(self) -> Iterator[Text]:
        state = self._state
        rates = "  ".join(
            f"{self._say(*SOURCES[source])} {_rate(state.rates.get(source, 0.0))}{self._say('/秒', '/s')}"
            for source in Source
        )
        line = Text(" " + rates)
        for number, (step, words) in enumerate(STEPS.items()):
            if step not in state.lag_s:
                continue
            lead = "  " if number else self._say("   滞后 ", "   lag ")
            part = f"{lead}{self._say(*words)} {_seconds(state.lag_s[step])}"
            if cell_len(line.plain) + cell_len(part) <= self._width:
                line.append(part, style="bright_black")
        totals = self._say(
            f"   累计 {state.records:,}  死信 {state.dead:,}", f"   records {state.records:,}  dead {state.dead:,}"
        )
        if cell_len(line.plain) + cell_len(totals) <= self._width:
            line.append(totals, style="bright_black")
        yield line

    def _heading(self, title: str, note: str) -> Text:
        line = Text("─ ", style="bright_black").append(title, style="bold").append(f"  {note} " if note else " ")
        line.truncate(self._width)
        return line.append("─" * (self._width - cell_len(line.plain)), style="bright_black")

    # --- alerts ------------------------------------------------------------------------------------------------------

    def alerts_heading(self) -> Text:
        active, raised = self._state.active_alerts, self._state.raised_alerts
        note = self._say(f"未解除 {active}，累计 {raised}", f"{active} standing, {raised} so far")
        return self._heading(self._say("告警", "Alerts"), note)

    def alerts(self) -> Iterator[Text]:
        if not self._state.alerts:
            yield Text(self._say(" 暂无告警", " none yet"), style="bright_black")
        for shown in self._state.alerts:
            yield self.alert(shown)

    def alert(self, shown: ShownAlert) -> Text:
        alert = shown.alert
        cleared = alert.action is Action.CLEAR
        level = (SEVERITY_ZH if self._zh else SEVERITY_EN).get(alert.severity, str(alert.severity))
        place = self._say((alert.place_zh or "").removeprefix(self._state.city_zh), alert.place_en or "")
        line = Text(f" {self._clock(alert.window_end_ms)} ", style="bright_black")
        line.append(
            set_cell_size(self._say("解除", "cleared") if cleared else level, 8),
            style="green" if cleared else SEVERITY_STYLE.get(alert.severity, ""),
        )
        if place:
            line.append(f" {safe(place)} ", style="magenta")
        if shown.times > 1:
            line.append(self._say(f" {shown.times} 人来电", f" {shown.times} calls"), style="bold")
        return line.append(f" {safe(self._say(alert.sentence_zh, alert.sentence_en))}", style="dim" if cleared else "")

    # --- incidents ---------------------------------------------------------------------------------------------------

    def incidents_heading(self) -> Text:
        state = self._state
        judged = state.kept + state.missed
        share = f"{100 * state.kept / judged:.0f} %" if judged else "-"
        opened = sum(state.states.values())
        note = self._say(f"立案 {opened}，期限按时率 {share}", f"{opened} opened, deadlines kept {share}")
        return self._heading(self._say("事件闭环", "Incidents"), note)

    def states(self) -> Text:
        line = Text(" ")
        for state in SHOWN_STATES:
            if count := self._state.states.get(state, 0):
                line.append(f"{self._say(state.zh, STATES_EN[state])} {count}  ")
        late = self._state.overdue
        return line.append(self._say(f"超时 {late}", f"overdue {late}"), style="bold red" if late else "bright_black")

    def doings(self) -> Iterator[Text]:
        for change in self._state.doings:
            yield self.doing(change)

    def doing(self, change: IncidentChange) -> Text:
        """A step of an incident: what was done, and the incident in a sentence."""
        word = self._say(change.action.zh, change.action.value.replace("_", " "))
        line = Text(f" {self._clock(change.at_ms)} ", style="bright_black")
        line.append(set_cell_size(word, 12), style="yellow" if change.action in SLIPS else "green")
        return line.append(
            f" {safe(self._say(change.sentence_zh.removeprefix(self._state.city_zh), change.sentence_en))}"
        )

    # --- index -------------------------------------------------------------------------------------------------------

    def index_heading(self) -> Text:
        hour = self._state.index_hour_ms
        note = self._say("满分 100，由低到高", "out of 100, the lowest first")
        if hour is not None:
            note += self._say(f"，{self._clock(hour)} 起一小时", f", hour from {self._clock(hour)}")
        return self._heading(self._say("各区运行指数", "Index by district"), note)

    def districts(self, rows: int) -> Iterator[Text]:
        if not self._state.index:
            yield Text(self._say(" 正在汇总", " being computed"), style="bright_black")
        shown = self._state.index[: rows * self.columns]
        each = self._width // self.columns
        for first in range(0, len(shown), self.columns):
            line = Text()
            for district in shown[first : first + self.columns]:
                cell = self._district(district, each - 1)
                cell.truncate(each - 1, overflow="ellipsis")
                line.append(cell).append(" " * (each - cell_len(cell.plain)))
            line.rstrip()
            yield line

    def _district(self, district: District, width: int) -> Text:
        """Name, score, a bar, and as many of the categories that pull it down as there is room for."""
        style = "green" if district.score >= GOOD_SCORE else "yellow" if district.score >= FAIR_SCORE else "red"
        cells = BAR_CELLS if self._zh else BAR_CELLS_EN
        filled = round(cells * district.score / 100)
        name = self._say(district.name_zh, district.name_en)
        line = Text(" " + set_cell_size(safe(name), NAME_CELLS if self._zh else NAME_CELLS_EN)).append(
            f"{district.score:5.1f} ", style=style
        )
        line.append("━" * filled, style=style).append("─" * (cells - filled), style="bright_black")
        for zh, en, score in district.weak:
            part = f" {self._say(zh, en)} {score:.0f}"
            if score < GOOD_SCORE and cell_len(line.plain) + cell_len(part) <= width:
                line.append(part, style="bright_black")
        return line

    # --- foot --------------------------------------------------------------------------------------------------------

    def foot(self) -> Iterator[Text]:
        if words := self._say(self._state.footer_zh, self._state.footer_en):
            yield Text(f" {words}", style="bright_black")


def _seconds(lag_s: float) -> str:
    return f"{lag_s:.1f}s" if lag_s < 10 else f"{lag_s:.0f}s"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
