"""The real worker as chaos runs it: its faults first, then deploy.worker.run.

A spec is a mapping: `config` and `roles` of the worker, `crash` (where it shall kill itself, see crash_points.py),
`off` (protections to take away, see protections.py: to show that the checks notice), `env` (environment variables),
`probe` (a file for the number of its tasks) and `configured` (whether its detectors are those of the configuration).
`python -m tests.chaos.worker SPEC` executes one; the zygote forks them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from deploy.config import TongguanConfig
from deploy.worker import run
from schemas.errors import TongguanError
from tests.chaos import crash_points, host_clock, probe, protections
from tests.live.support import small_city


def work(spec: dict[str, Any]) -> int:
    """Run the worker to its end; the exit status."""
    os.environ.update(spec.get("env") or {})
    host_clock.install()
    if spec.get("probe"):
        probe.tell_tasks(spec["probe"])
    protections.take_away(spec.get("off") or ())
    if spec.get("crash"):
        crash_points.arm(crash_points.CrashPoint(**spec["crash"]))
    try:
        detectors = None if spec.get("configured") else small_city.detectors()
        run(TongguanConfig.model_validate(spec["config"]), spec["roles"], detectors=detectors)
    except TongguanError as stopped:  # as the command does: a sentence, not a traceback
        print(stopped, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def warm_up() -> None:
    """Import and compile what a worker needs, without a thread: the pure path of the small city, end to end."""
    from streams.topics import TopicNames
    from tests.chaos.chaos_city import ChaosCity

    with tempfile.TemporaryDirectory() as folder:
        city = ChaosCity("127.0.0.1:1", "http://127.0.0.1:1", "warm", Path(folder))
        config = city.config
        config.load_city()
        city.sent = city.make_records(400, seed=1)
        small_city.pure_alerts(city.sent, TopicNames(), config.locate, config.join)


if __name__ == "__main__":
    sys.exit(work(json.loads(sys.argv[1])))
