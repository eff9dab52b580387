"""`tongguan tail`: follow a topic on the terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

import msgspec

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import UsageProblem, out, say
from deploy.endpoints import bootstrap_of, with_endpoints
from deploy.follow import Start, follow
from deploy.options import Lang, cell_number, lang_or_terminal, moment_ms
from deploy.render import (
    Renderer,
    Shown,
    Style,
    render_alert,
    render_dead_letter,
    render_observations,
    render_raw,
)
from deploy.render_loop import render_action, render_incident, render_notification
from schemas.sources import Source
from streams.tasks import end

ALERT_TOPICS: Final = ("alerts",)
SEVERITY_TOPICS: Final = ("alerts", "incidents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to let through; every part that is given must hold."""

    detector: str | None = None
    severity: int | None = None
    cell: int | None = None
    text: str | None = None

    @classmethod
    def of(cls, *, detector: str | None, severity: int | None, cell: str | None, text: str | None) -> Self:
        """From the command line's words. Raises UsageProblem for a cell that is no number."""
        return cls(detector=detector, severity=severity, cell=None if cell is None else cell_number(cell), text=text)

    def check_fits(self, topic: str) -> None:
        """Refuse a filter on something that the topic's records do not have: it would silently show nothing."""
        for name, value, topics in (
            ("--detector", self.detector, ALERT_TOPICS),
            ("--severity", self.severity, SEVERITY_TOPICS),
            ("--cell", self.cell, (*SEVERITY_TOPICS, "observations", "urgent-tickets")),
        ):
            if value is not None and topic not in topics:
                raise UsageProblem(f"{name} filters {' and '.join(topics)}; records of {topic} have none, use --text")

    def lets_through(self, shown: Shown) -> bool:
        """Whether to show it. Text is sought in what is shown, so that masked values cannot be probed."""
        return (
            (self.detector is None or shown.detector == self.detector)
            and (self.severity is None or (shown.severity or 0) >= self.severity)
            and (self.cell is None or shown.cell == self.cell)
            and (self.text is None or self.text.casefold() in shown.line.plain.casefold())
        )


def topics_to_tail(config: TongguanConfig) -> Mapping[str, tuple[str, Renderer]]:
    """What can be followed: the short name, the name on the broker, and how its records are shown."""
    names = config.topic_names
    return {
        "alerts": (names.alerts, render_alert),
        "urgent-tickets": (names.urgent_tickets, render_observations),
        "incidents": (names.incidents, render_incident),
        "notifications": (names.notifications, render_notification),
        "actions": (names.actions, render_action),
        "dead-letters": (names.dead_letters, render_dead_letter),
        "observations": (names.observations, render_observations),
        **{source.topic: (names.raw(source), render_raw) for source in Source},
    }


def run(
    path: Path | None,
    topic: str,
    *,
    wanted: Filter,
    since: str | None,
    once: bool,
    limit: int | None,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Print what passes the filter until interrupted, `limit` is reached or, with `once`, the end is."""
    config = with_endpoints(load_config(path).config)
    known = topics_to_tail(config)
    if topic not in known:
        raise UsageProblem(f"cannot follow {topic!r}; choose from {', '.join(known)}")
    wanted.check_fits(topic)
    zone = config.city.zone_info
    start = start_of(since, once=once, zone=zone)
    style = Style(lang_or_terminal(lang), zone)
    name, render = known[topic]
    bootstrap = bootstrap_of(config)
    if not once:
        say(f"following 正在跟踪 {name} at {bootstrap}, Ctrl-C ends", style="dim")

    async def show() -> None:
        count = 0
        records = follow(bootstrap, name, options=config.kafka.aiokafka_options(), start=start, once=once)
        try:
            async for record in records:
                for shown in filter(wanted.lets_through, render(record, style)):
                    if as_json:
                        out.out(msgspec.json.encode(shown.document).decode(), highlight=False)
                    else:
                        out.print(shown.line)
                    count += 1
                    if limit is not None and count >= limit:
                        return
        finally:
            await records.aclose()

    asyncio.run(_until_interrupted(show()))


async def _until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends or Ctrl-C ends it, which is how following is meant to end.

    asyncio's own way of Ctrl-C cancels once, and aiokafka may swallow that together with a result that just came.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
    await end(working)


def start_of(since: str | None, *, once: bool, zone: ZoneInfo) -> Start:
    """Where to begin: as asked; else at the end when following, and at the beginning when not."""
    if since is None:
        return Start(beginning=once)
    if since == "beginning":
        return Start(beginning=True)
    return Start(at_ms=moment_ms(since, zone=zone, now=datetime.now(UTC)))
