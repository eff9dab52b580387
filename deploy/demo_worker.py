"""The demo's worker: `tongguan worker` that does its imports and reads its city while the servers still start.

    python -m deploy.demo_worker FOLDER ROLES

It waits for FOLDER/tongguan.toml, then until the addresses of Kafka and ClickHouse are announced there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.config import TongguanConfig
from deploy.demo_stage import PARTITIONS
from deploy.endpoints import read
from schemas.sources import Source

LOOK_S: Final = 0.05


def main(folder: Path, roles: str) -> int:
    """Runs until SIGTERM; the exit status."""
    import deploy.worker  # noqa: F401  seconds of imports: the reason for this file
    from deploy import worker_command
    from deploy.config_load import load_config
    from deploy.console import report
    from schemas.errors import TongguanError

    file = folder / "tongguan.toml"
    try:
        _wait_for(file.exists)
        config = load_config(file).config
        config.load_city()  # it is kept for the worker
        if "join" in roles.split(","):
            _load_kernels(config)
        _wait_for(lambda: read(folder) is not None)
        worker_command.run(file, roles=roles)
    except TongguanError as error:
        return int(report(error))
    return 0


def _load_kernels(config: TongguanConfig) -> None:
    """What the join does before it takes part: seconds of compiling the first time, half a second later on."""
    from streams.join_core import JoinShard
    from streams.join_warm_up import warm_up

    city, detectors = config.load_city(), config.build_detectors()
    partitions = [(int(source), partition) for source, count in PARTITIONS.items() for partition in range(count)]
    topics = {source: source.topic for source in Source}
    core = JoinShard(0, city.grid, detectors, partitions, config.join, topics, jurisdictions=city.jurisdictions)
    warm_up(core, detectors)


def _wait_for(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
