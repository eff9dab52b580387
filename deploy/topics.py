"""`tongguan topics apply`: make the broker's topics match the configuration."""

from __future__ import annotations

from pathlib import Path

import typer

from deploy.config_load import load_config
from deploy.console import ExitCode, out, say
from deploy.endpoints import bootstrap_of, with_endpoints
from streams.topic_admin import Change, Difference, inspect
from streams.topic_admin import apply as apply_specs


def apply(path: Path | None, *, dry_run: bool) -> None:
    """Print what was (or, with `dry_run`, would be) done, and the drift that needs a person: then exit code 1."""
    config = with_endpoints(load_config(path).config)
    bootstrap = bootstrap_of(config)
    specs = config.topic_specs()
    options = config.kafka.kafka_python_options()
    if dry_run:
        differences = inspect(bootstrap, specs, options=options)
        drift = [difference for difference in differences if difference.change is Change.DRIFT]
        done = [difference for difference in differences if difference.change is not Change.DRIFT]
    else:
        applied = apply_specs(bootstrap, specs, options=options)
        done, drift = list(applied.done), list(applied.drift)
    for difference in done:
        out.print(told(difference, would="would " if dry_run else ""))
    for difference in drift:
        say(f"drift 不一致: {difference}", style="yellow")
    if not done and not drift:
        say(f"{len(specs)} topics at {bootstrap} are as configured 主题均已就绪", style="green")
    if drift or (dry_run and done):
        raise typer.Exit(ExitCode.PROBLEMS)


def told(difference: Difference, *, would: str = "") -> str:
    """What was done about a difference, as a line."""
    match difference.change:
        case Change.CREATE:
            return f"{would}create {difference.topic} with {difference.wanted}"
        case Change.GROW:
            return f"{would}grow {difference.topic} from {difference.found} to {difference.wanted} partitions"
        case _:
            return f"{would}set {difference.topic} {difference.setting}: {difference.found} -> {difference.wanted}"
