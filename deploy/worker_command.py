"""`tongguan worker`: wait for Kafka, check the topics, then run the roles until told to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Final

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import UsageProblem, say
from deploy.endpoints import bootstrap_of, with_endpoints
from deploy.waiting import wait_until
from schemas.errors import SettingsError
from streams.topic_admin import Change, inspect

ROLES: Final = ("locate", "join", "dispatch", "archive")


def parse_roles(text: str) -> tuple[str, ...]:
    """ "locate,join" as a tuple in the order of the data flow. Raises UsageProblem."""
    given = {part.strip() for part in text.split(",") if part.strip()}
    unknown = sorted(given - set(ROLES))
    if unknown or not given:
        what = f"unknown role{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}" if unknown else "no role given"
        raise UsageProblem(f"{what}; choose from {', '.join(ROLES)}, with commas between")
    return tuple(role for role in ROLES if role in given)


def run(path: Path | None, *, roles: str) -> None:
    """Run until SIGTERM or Ctrl-C, which end it cleanly. Kafka away is waited for; missing topics are an error."""
    chosen = parse_roles(roles)
    config = with_endpoints(load_config(path).config)
    bootstrap = bootstrap_of(config)
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ready = wait_until(lambda: _check_topics(bootstrap, config), stop=stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # the worker installs its own
    if not ready:
        return
    say(f"worker: {', '.join(chosen)} on {bootstrap}", style="green")
    from deploy.worker import run as run_worker  # compiles kernels: only after everything else is known to be good

    run_worker(config, chosen)


def _check_topics(bootstrap: str, config: TongguanConfig) -> None:
    differences = inspect(bootstrap, config.topic_specs(), options=config.kafka.kafka_python_options())
    missing = [difference.topic for difference in differences if difference.change is Change.CREATE]
    drift = [str(difference) for difference in differences if difference.change is not Change.CREATE]
    if missing:
        raise SettingsError(
            f"kafka at {bootstrap} lacks topics {', '.join(missing)}; run `tongguan topics apply` first"
        )
    for line in drift:
        say(f"drift 不一致: {line}", style="yellow")
