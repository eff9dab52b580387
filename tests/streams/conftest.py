"""What several tests of streams begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.archive_shard import ArchiveShard


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ArchiveShard]:
    """One shard of the archive in memory, whose lanes wait shortly before they try again."""
    monkeypatch.setattr("streams.clickhouse.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("streams.archive_lane.RETRY_PAUSE_S", 0.01)
    made = ArchiveShard()
    yield made
    await made.thread.close()
