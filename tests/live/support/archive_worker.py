"""The real worker with the archive's role alone, and what tests ask of it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tests.live.support.city_worker import CityWorker


class ArchiveWorker(CityWorker):
    """A worker that archives; `config` is the configuration as a mapping."""

    def __init__(self, config: dict[str, Any], log_path: Path) -> None:
        super().__init__(config, log_path, roles=("archive",))

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.ask_to_stop()
        return self.exit_status()

    def metric(self, name: str) -> float:
        """The value of a metric line that begins with `name`, 0 while there is none."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.metrics(), re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def wait_for_rows(self, rows: int, *, within_s: float = 60) -> None:
        """Until ClickHouse has acknowledged so many observations to this worker."""
        give_up_at = time.monotonic() + within_s
        while self.metric('tongguan_clickhouse_rows_total{table="observations"}') < rows:
            assert self.running, f"the worker ended:\n{self.log[-3000:]}"
            assert time.monotonic() < give_up_at, f"not {rows} rows within {within_s} s:\n{self.log[-3000:]}"
            time.sleep(0.02)
