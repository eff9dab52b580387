"""Takes the place of `streams.raw_batches.RawBatchConsumer`: whole record batches from the scripted broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.batches import RawBatch
from streams.locate_warm_up import batch_of
from tests.chaos.simulator.fetching import Fetcher
from tests.chaos.simulator.groups import Committed, Member, Partitions, calling_process


class SimRawConsumer:
    """As the real one, as far as locate uses it."""

    def __init__(
        self,
        topics: Iterable[str],
        *,
        bootstrap_servers: str,
        group_id: str,
        listener: ConsumerRebalanceListener,
        options: Mapping[str, Any],
    ) -> None:
        process = calling_process()
        self._world = process.world
        self._listener = listener
        group = self._world.group(group_id, options["session_timeout_ms"] / 1000)
        self._member = Member(group, process, tuple(topics), self._revoked, self._assigned)
        self._fetcher = Fetcher(self._member)
        self._seen: dict[TopicPartition, tuple[int, int]] = {}  # (end, when by the steady clock) of the last fetch

    async def start(self) -> None:
        if self._world.network.kafka.away_until > self._world.loop.time():
            raise KafkaConnectionError("no broker answers")
        await self._world.network.ask("connect", lambda: None)
        self._member.start()

    async def stop(self) -> None:
        self._fetcher.close()
        await self._member.leave()

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_batches: int | None = None
    ) -> dict[TopicPartition, list[RawBatch]]:
        until = self._world.loop.time() + timeout_ms / 1000
        self._world.faults.fetch(self._member.process)
        while True:
            places = partitions or tuple(sorted(self._member.mine))
            found = self._take(places, max_batches)
            left = until - self._world.loop.time()
            if found or left <= 0:
                return found
            await self._fetcher.wait(left)

    def _take(self, places: Iterable[TopicPartition], max_batches: int | None) -> dict[TopicPartition, list[RawBatch]]:
        chance, broker = self._world.chance, self._world.broker
        found: dict[TopicPartition, list[RawBatch]] = {}
        for place in places:
            if self._fetcher.reachable and place in self._fetcher.positions:
                self._seen[place] = broker.log(place).end, self._world.steady_ms()
            if not self._fetcher.has_news((place,)) or chance.random() < 0.2:
                continue
            begin = settled = self._fetcher.positions[place]
            records = self._fetcher.take(place, chance.choice((1, 2, 5, 20, 200)))
            batches: list[RawBatch] = []
            while records and (max_batches is None or len(batches) < max_batches):
                # what was produced together comes together: the broker never cuts a batch
                batch = self._world.raw_batch(place, records[0].offset)
                batches.append(replace(batch, skip_before=settled))
                settled = batch.next_offset
                records = [record for record in records if record.offset >= settled]
            self._fetcher.positions[place] = max(settled, begin)
            if batches:
                found[place] = batches
        return found

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        await self._member.commit({place: Committed(*offset) for place, offset in offsets.items()})

    async def committed(self, partition: TopicPartition) -> tuple[int, str] | None:
        committed = await self._member.committed(partition)
        return None if committed is None else (committed.offset, committed.metadata)

    async def beginning(self, partition: TopicPartition) -> int:
        log = self._world.broker.log(partition)
        return await self._world.network.ask("offsets", lambda: log.begin)

    def standing(self, partition: TopicPartition) -> tuple[int, int, int] | None:
        seen, position = self._seen.get(partition), self._fetcher.positions.get(partition)
        if partition not in self._member.mine or seen is None or position is None:
            return None
        return position, max(position, seen[0]), seen[1]

    def assignment(self) -> frozenset[TopicPartition]:
        return self._member.mine

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition in self._member.mine:
            self._fetcher.positions[partition] = offset

    async def _revoked(self, places: Partitions) -> None:
        await self._listener.on_partitions_revoked(set(places))

    async def _assigned(self, places: Partitions) -> None:
        self._seen.clear()
        self._fetcher.positions.clear()
        self._member.process.spawn(self._fetcher.find_positions(places), "positions of locate")
        await self._listener.on_partitions_assigned(set(places))


def make_batch(values: list[bytes | None], timestamp_ms: int, base_offset: int) -> RawBatch:
    """A batch as the broker would hand it out."""
    return batch_of(values, timestamp_ms, base_offset)
