"""What tests of commands begin with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but what a test says: a folder without a file, an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith("TONGGUAN_"):
            monkeypatch.delenv(variable)
