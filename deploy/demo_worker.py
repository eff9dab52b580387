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

from deploy.endpoints import read

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
        load_config(file).config.load_city()  # it is kept for the worker
        _wait_for(lambda: read(folder) is not None)
        worker_command.run(file, roles=roles)
    except TongguanError as error:
        return int(report(error))
    return 0


def _wait_for(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
