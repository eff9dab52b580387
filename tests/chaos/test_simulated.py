"""A few hundred seeds of the simulator, each protection switched off once, and that a seed means the same again.

In processes of their own: the order of sets of strings must be the same in each (PYTHONHASHSEED), or a seed would not
happen again. Thousands of seeds: `python -m tests.chaos.simulator --seeds 5000`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.simulator.faults import ODDS
from tests.chaos.simulator.protections import PROTECTIONS

SEEDS: Final = 150
SEEDS_OF_ERRORS: Final = 60
SEEDS_TO_CATCH: Final = 1_000
"""Most protections are missed within ten seeds; the rarest within some fifty."""
LONGEST_S: Final = 300


def simulator(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.simulator", *arguments],
        cwd=root, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, timeout=LONGEST_S,
    )  # fmt: skip


def test_every_promise_holds_whatever_goes_wrong(project_root: Path) -> None:
    ran = simulator(project_root, "--seeds", str(SEEDS), "--json")
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert told["seeds"] == SEEDS and told["faults"] and not told["failed"]
    assert told["awaits_met"] > 40


def test_nothing_is_lost_where_an_error_is_raised(project_root: Path) -> None:
    """An orderly stop in the middle of whatever was being done; a process that dies runs none."""
    ran = simulator(project_root, "--odds", "errors", "--seeds", str(SEEDS_OF_ERRORS), "--json")
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert told["seeds"] == SEEDS_OF_ERRORS and told["faults"]["trip"] and told["faults"]["bad answer"]


def test_what_keeps_the_promises_is_missed_when_it_is_switched_off(project_root: Path) -> None:
    ran = simulator(project_root, "--protections", "--seeds", str(SEEDS_TO_CATCH))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\n") == len(PROTECTIONS), ran.stderr


def test_a_seed_happens_again(project_root: Path) -> None:
    first, again = (simulator(project_root, "--only", "city", "--seed", "3", "--trace").stdout for _ in range(2))
    assert first == again
    assert "w0.1 starts" in first


@pytest.mark.parametrize("protection", PROTECTIONS.values(), ids=lambda protection: str(protection.name))
def test_protections_name_odds_that_there_are(protection: Any) -> None:
    assert protection.odds in ODDS
