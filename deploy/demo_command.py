"""`tongguan demo`: which demo is wanted, and whether the options belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.console import UsageProblem
from deploy.demo_screen import language
from deploy.options import Lang

BOSTON: Final = "boston"
SPEED: Final = 60.0
"""A minute of the city a second: an evening in a few minutes, and one can still read along."""
SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options as they were given; None: not given."""

    minutes: float | None
    speed: float | None
    seed: int | None
    data: str | None
    source: Path | None
    limit: int | None
    folder: Path
    lang: Lang | None


def run(request: Request) -> None:
    """Show the demo that is asked for. Raises UsageProblem, DemoFailed."""
    check(request)
    lang = language(request.lang)
    if request.data is None:
        from deploy import demo

        demo.run(
            minutes=request.minutes,
            speed=SPEED if request.speed is None else request.speed,
            seed=SEED if request.seed is None else request.seed,
            folder=request.folder,
            lang=lang,
        )
    else:
        from deploy import demo_boston

        demo_boston.run(tickets_from=request.source, limit=request.limit, folder=request.folder, lang=lang)


def check(request: Request) -> None:
    """Raises UsageProblem for options that mean nothing together."""
    if request.data not in (None, BOSTON):
        raise UsageProblem(f"--data {request.data!r} is unknown; there is {BOSTON}, or leave it out")
    if request.data is None:
        belong = "--data"
        others: dict[str, object] = {"--from": request.source, "--limit": request.limit}
    else:
        belong = "the simulated city"
        others = {"--minutes": request.minutes, "--speed": request.speed, "--seed": request.seed}
    if given := [name for name, value in others.items() if value is not None]:
        raise UsageProblem(f"{', '.join(given)} belongs to {belong}")
