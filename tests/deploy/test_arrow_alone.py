"""A worker starts without what it does not need, also where it is installed; who wants it still gets it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

with_pandas = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")


def run(code: str, project_root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_a_worker_loads_neither_pandas_nor_a_driver_for_an_archive_that_it_may_not_have(project_root: Path) -> None:
    code = (
        "import deploy.worker, sys, pyarrow as pa; pa.array(['a'], pa.utf8()); "
        "print([name for name in ('pandas', 'clickhouse_connect') if name in sys.modules])"
    )
    assert run(code, project_root) == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "deploy.worker", "deploy.main", "deploy.config", "topology.device_columns", "streams.frames", "schemas.packed",
        "tests.chaos.worker", "benchmarks.cityjoin_worker",
    ],
)  # fmt: skip
def test_arrow_takes_memory_from_the_system_whatever_is_imported_first(project_root: Path, module: str) -> None:
    """Once only the worker's own module said so: whoever read the configuration first had loaded Arrow by then."""
    code = f"import {module}, deploy.worker, pyarrow as pa; print(pa.default_memory_pool().backend_name)"
    assert run(code, project_root) == "system"


@with_pandas
def test_pandas_is_there_for_those_who_ask_for_it(project_root: Path) -> None:
    code = "import deploy.worker, pyarrow as pa; print(pa.table({'a': [1, 2]}).to_pandas()['a'].sum())"
    assert run(code, project_root) == "3"
