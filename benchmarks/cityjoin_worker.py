"""The real worker with CityJoin's rule in place of the configured detectors: `python -m benchmarks.cityjoin_worker`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cityjoin_detector import CityJoin
from benchmarks.cost_timers import Timers
from deploy.config_load import load_config
from deploy.worker import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--roles", default="locate,join")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the event loop's thread here at the end")
    parser.add_argument("--costs", type=Path, help="time the stages (see cost_timers) and write them here at the end")
    given = parser.parse_args()
    config = load_config(given.config).config
    roles = given.roles.split(",")
    if given.costs is not None:
        timers = Timers()
        timers.install()
        timers.watch(given.costs)
        try:
            run(config, roles, detectors=(CityJoin(),))
        finally:
            timers.write()
        return
    if given.profile is None:
        run(config, roles, detectors=(CityJoin(),))
        return
    import cProfile

    profile = cProfile.Profile()
    try:
        profile.runcall(run, config, roles, detectors=(CityJoin(),))
    finally:
        profile.dump_stats(given.profile)


if __name__ == "__main__":
    main()
