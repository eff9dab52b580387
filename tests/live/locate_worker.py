"""locate in a process of its own, for tests that kill it: `python -m tests.live.locate_worker BOOTSTRAP PREFIX`."""

from __future__ import annotations

import asyncio
import sys

from schemas.kinds import built_in_kinds
from streams.locate import LocateService
from streams.topics import TopicNames
from tests.live.test_locate_live import SETTINGS, SHARDS, SHORT_SESSION


async def main(bootstrap: str, prefix: str) -> None:
    service = LocateService(
        bootstrap=bootstrap,
        names=TopicNames(prefix),
        settings=SETTINGS,
        shards=SHARDS,
        kinds=built_in_kinds(),
        consumer_options=SHORT_SESSION,
    )
    await service.start()
    await service.wait_until_stopped()


asyncio.run(main(*sys.argv[1:]))
