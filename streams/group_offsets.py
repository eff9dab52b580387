"""How far consumer groups have come and how far partitions go, asked of the broker by clients that belong to no group.

Made for the watch over the consumers: it must not share a connection with what it watches, must not wait for ever, and
must come back by itself when the network does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError
from streams.liveness import Partition, Standing

T = TypeVar("T")

WITHIN_S: Final = 10.0  # for all of one question
PROBE_S: Final = 3.0  # for a record that should be there
MEMBERLESS: Final = ("Empty", "Dead")


class GroupOffsets:
    """The real `Offsets` of streams.liveness. `client_options` go to every client (security_protocol, ...)."""

    def __init__(self, bootstrap_servers: str, client_options: Mapping[str, Any]) -> None:
        self._servers = bootstrap_servers
        self._options = dict(client_options)
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def standings(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, Standing]:
        async def ask() -> Mapping[Partition, Standing]:
            consumer, admin = await self._clients()
            places = {partition: TopicPartition(*partition) for partition in partitions}
            # the commits first: one that comes in between must not seem to be beyond the end
            commits = await admin.list_consumer_group_offsets(group, partitions=list(places.values()))
            ends = await consumer.end_offsets(list(places.values()))
            begins = await consumer.beginning_offsets(list(places.values()))
            found = {}
            for partition, tp in places.items():
                commit = commits[tp].offset if tp in commits else -1
                found[partition] = Standing(begins[tp], ends[tp], commit if commit >= 0 else None)
            return found

        return await self._asked(f"offsets of group {group}", ask)

    async def begin_of(self, group: str, partition: Partition) -> int:
        """Where a new member of the group would begin: at the commit; at the first record where there is none, or where
        it lies behind the partition's end, which was made anew then."""
        standing = (await self.standings(group, [partition]))[partition]
        is_stale = standing.committed is not None and standing.committed > standing.end
        return standing.begin if is_stale else standing.next

    async def has_members(self, group: str) -> bool:
        async def ask() -> bool:
            _, admin = await self._clients()
            (answer,) = await admin.describe_consumer_groups([group])
            ((error, _name, state, *_rest),) = answer.groups
            if error:
                raise BrokerError(f"kafka does not describe group {group}: error {error}")
            return state not in MEMBERLESS

        return await self._asked(f"members of group {group}", ask)

    async def has_record(self, partition: Partition, offset: int, *, read_committed: bool) -> bool:
        async def ask() -> bool:
            tp = TopicPartition(*partition)
            level = "read_committed" if read_committed else "read_uncommitted"
            consumer = self._make_consumer(isolation_level=level, max_partition_fetch_bytes=1)  # a record comes whole
            try:
                await consumer.start()
                consumer.assign([tp])
                consumer.seek(tp, offset)
                return bool(await consumer.getmany(tp, timeout_ms=int(PROBE_S * 1000), max_records=1))
            finally:
                await consumer.stop()

        return await self._asked(f"records of {partition}", ask)

    async def close(self) -> None:
        """Let go of the connections; the next question opens new ones."""
        consumer, admin, self._consumer, self._admin = self._consumer, self._admin, None, None
        for closing in (consumer and consumer.stop(), admin and admin.close()):
            if closing is not None:
                with contextlib.suppress(KafkaError, TimeoutError):
                    await asyncio.wait_for(closing, WITHIN_S)

    async def _clients(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is None or self._admin is None:
            self._consumer = self._make_consumer()
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, **self._options)
            await self._consumer.start()
            await self._admin.start()
        return self._consumer, self._admin

    def _make_consumer(self, **options: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._servers, group_id=None, enable_auto_commit=False, **options, **self._options
        )

    async def _asked(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await asyncio.wait_for(ask(), WITHIN_S)
        except (KafkaError, TimeoutError) as problem:
            await self.close()
            raise BrokerError(f"kafka at {self._servers} does not tell the {what}: {problem!r}") from problem
        except BrokerError:
            await self.close()
            raise
