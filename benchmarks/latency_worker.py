"""The real worker with CityJoin's rule over short windows: `python -m benchmarks.latency_worker CONFIG`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.cityjoin_detector import CityJoin, CityJoinSettings
from benchmarks.latency_load import WINDOW_MS
from deploy.config_load import load_config
from deploy.worker import run
from detectors.features import Feature


class ShortCityJoin(CityJoin):
    """CityJoin over windows of a quarter of a second."""

    name = "shortcityjoin"

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(replace(feature, bucket_ms=WINDOW_MS, window_ms=WINDOW_MS) for feature in super().features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--roles", default="locate,join")
    parser.add_argument("--raise-at", type=float, required=True, metavar="MM")
    parser.add_argument("--trace", type=Path, help="note when each part of the way was passed, and write it here")
    given = parser.parse_args()
    config = load_config(given.config).config
    detectors = (ShortCityJoin(CityJoinSettings(raise_at_mm=given.raise_at)),)
    if given.trace is None:
        run(config, given.roles.split(","), detectors=detectors)
        return
    from benchmarks.latency_trace import Trace

    trace = Trace()
    trace.install()
    try:
        run(config, given.roles.split(","), detectors=detectors)
    finally:
        trace.write(given.trace)


if __name__ == "__main__":
    main()
