"""The promises that are kept by protocol, each once and short, side by side: what every change must not break.

`make chaos` tries them in earnest; a seed that fails here fails there (`--only P1 --seed 4`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from tests.chaos import p1_kills, p2_recovery, p5_membership
from tests.chaos.campaign import Stage, Trial
from tests.chaos.promises import Given, Outcome
from tests.chaos.zygote import Zygote

pytestmark = pytest.mark.live

SHORT: tuple[tuple[str, Trial, int], ...] = (
    ("P1", p1_kills.trial, 4),  # all roles in one worker
    ("P2", p2_recovery.trial, 3),  # the archive
    ("P5", p5_membership.trial, 1),
)


async def test_killed_workers_killed_recoveries_and_crowds_change_nothing(
    kafka: str, clickhouse_front: str, tmp_path: Path
) -> None:
    """Alerts, incidents, history and the arithmetic in the data, after each."""
    for key, _, _ in SHORT:
        (tmp_path / key).mkdir()
    with Zygote(tmp_path) as zygote:
        stack = LocalStack(tmp_path, kafka=kafka, clickhouse=clickhouse_front)
        found = await asyncio.gather(
            *(one(tmp_path / key, stack, zygote, key, trial, seed) for key, trial, seed in SHORT)
        )
    problems = {key: told for (key, _, _), told in zip(SHORT, found, strict=True) if told}
    assert not problems


async def one(folder: Path, stack: LocalStack, zygote: Zygote, key: str, trial: Trial, seed: int) -> list[str]:
    given = Given(seeds=1, first_seed=seed, short=True, folder=folder, progress=print)
    stage = Stage(given, stack, zygote, Outcome(key))
    problems = await trial(stage, seed)
    return problems + stage.notes.get(seed, []) if problems else []
