"""P10: a state that is damaged, cut off, missing, or of another version is refused in words, or does no harm.

For each kind of state a city of its own: it works a while and is stopped. Then its state is damaged, in every shard,
and the worker started again while more records come.

- What cannot be used must be *refused*: the worker ends, not with status 0, and its log says which state it is and what
  to do. Then the damage is undone, and the next one done.
- What is only *missing* must be made good from the log, or told.

In the end, with the state as it was, everything must come out as if nothing had been. A worker that goes on with a
damaged state in silence is the failure that is looked for.
"""

from __future__ import annotations

import asyncio
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition

from schemas.sources import Source
from streams.shard_claim import CHECKSUM_BYTES, MARK, OWNER_KEY
from streams.shard_store import KafkaLog, ShardStore
from streams.snapshot_parts import CELLS, OPEN, SEALED, STATE
from tests.chaos.campaign import Stage, run_seeds
from tests.chaos.chaos_city import ChaosCity
from tests.chaos.chaos_worker import ChaosWorker
from tests.chaos.promises import Given, Outcome
from tests.live.support.small_city import PARTITIONS, SHARDS, Record

RECORDS: Final = 2_400
FIRST: Final = 1_000  # before anything is damaged
MORE: Final = 60  # for each damage, so that there is something to do
REFUSED_WITHIN_S: Final = 90.0


def run(given: Given) -> Outcome:
    return run_seeds(given, "P10", trial, at_once=1)


async def trial(stage: Stage, seed: int) -> list[str]:
    kinds: list[Callable[[_Patient], Awaitable[None]]] = [_archive, _loop, _join, _locate]
    room = asyncio.Semaphore(2)

    async def one(number: int, kind: Callable[[_Patient], Awaitable[None]]) -> list[str]:
        async with room:
            try:
                return await _treat(stage, seed, number, kind)
            except Exception as broken:  # the others must come to their end, or their workers would be waited for
                return [f"{kind.__name__.strip('_')}: {broken!r}", traceback.format_exc()[-3_000:]]

    found = await asyncio.gather(*(one(number, kind) for number, kind in enumerate(kinds)))
    return [problem for problems in found for problem in problems]


async def _treat(stage: Stage, seed: int, number: int, kind: Callable[[_Patient], Awaitable[None]]) -> list[str]:
    city = stage.city(seed, f"k{number}")
    await city.set_up_async()
    records = city.make_records(RECORDS, seed)
    worker = city.chaos_worker()
    async with _store_access(city) as log:
        patient = _Patient(city, worker, log, records)
        try:
            with worker:
                await patient.send(FIRST)
                await city.all_settled(running=[worker])
                await patient.stop()
            await kind(patient)
            worker.start()
            await patient.send(RECORDS)
            await city.all_settled(running=[worker])
            patient.problems += await city.problems()
        finally:
            worker.kill_if_running()
    stage.outcome.add("refused", patient.refused)
    stage.outcome.add("made_good", patient.made_good)
    if not patient.problems:
        await asyncio.to_thread(city.tear_down)
    return [f"{kind.__name__.strip('_')}: {problem}" for problem in patient.problems]


@dataclass
class _Patient:
    """A city whose worker is stopped, to be damaged and healed."""

    city: ChaosCity
    worker: ChaosWorker
    log: KafkaLog
    records: Sequence[Record]
    problems: list[str] = field(default_factory=list)
    refused: int = 0
    made_good: int = 0

    async def send(self, many: int) -> None:
        at = len(self.city.sent)
        await self.city.send(self.records[at : at + many])

    async def stop(self) -> None:
        self.worker.ask_to_stop()
        status = await asyncio.to_thread(self.worker.exit_status)
        assert status == 0, f"asked to stop, it ended with status {status}:\n{self.worker.log[-3_000:]}"

    async def refuses(self, what: str, words: str) -> None:
        """Started now, the worker must end by itself and say `words`."""
        self.worker.start()
        await self.send(MORE)
        try:
            async with asyncio.timeout(REFUSED_WITHIN_S):
                while self.worker.running:  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.worker.kill()
            self.problems.append(f"{what}: the worker goes on in silence")
            return
        status, said = self.worker.exit_status(), self.worker.log_of_this_life
        if status == 0 or words not in said:
            self.problems.append(f"{what}: ended with status {status}, without {words!r}: {said[-1_500:]}")
        else:
            self.refused += 1

    async def makes_good(self, what: str, words: str) -> None:
        """Started now, the worker must go on to the end, having said `words`."""
        self.worker.start()
        await self.send(MORE)
        try:
            await self.city.all_settled(running=[self.worker])
        except AssertionError as behind:
            self.problems.append(f"{what}: {behind}")
        if words not in self.worker.log_of_this_life:
            self.problems.append(f"{what}: it did not say {words!r}")
        else:
            self.made_good += 1
        await self.stop()

    def store(self, topic: str) -> ShardStore:
        return ShardStore(topic, self.log)

    @asynccontextmanager
    async def damaged(self, topic: str, shards: int, damage: Damage) -> AsyncIterator[None]:
        """The state of each shard damaged for as long as this lasts."""
        store, healthy = self.store(topic), {}
        for shard in range(shards):
            for key, stored in (await store.load(shard)).items():
                if key != OWNER_KEY:
                    healthy[shard, key] = stored
                    await store.put(shard, key, await damage(shard, stored))
        assert healthy, f"nothing is stored in {topic}"
        try:
            yield
        finally:
            for (shard, key), stored in healthy.items():
                await store.put(shard, key, stored)


Damage = Callable[[int, bytes], Awaitable[bytes | None]]
"""(shard, what is stored under a key) -> what shall be stored there; None deletes it."""


async def _flipped(_shard: int, stored: bytes) -> bytes:
    middle = len(stored) // 2
    return stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :]


async def _cut(_shard: int, stored: bytes) -> bytes:
    return stored[: len(stored) // 2]


async def _missing(_shard: int, _stored: bytes) -> None:
    return None


async def _other_version(_shard: int, stored: bytes) -> bytes:
    content = msgspec.msgpack.decode(stored[1 + CHECKSUM_BYTES :])
    return _sealed(content | {"version": content["version"] + 98})


async def _ahead(field: str, _shard: int, stored: bytes) -> bytes:
    content = msgspec.msgpack.decode(stored[1 + CHECKSUM_BYTES :])
    return _sealed(content | {field: content[field] + 1_000_000})


def _first_manifest(stored: bytes) -> dict[str, Any]:
    """A manifest as the first release wrote it."""
    content = msgspec.msgpack.decode(stored[1 + CHECKSUM_BYTES :])
    kept = {name: content[name] for name in ("shard", "next_offset", "watermark_ms", "partitions", "closed_until_ms")}
    return kept | {"version": 1, "parts": []}


async def _first_version(_shard: int, stored: bytes) -> bytes:
    return _sealed(_first_manifest(stored))


async def _first_version_plain(_shard: int, stored: bytes) -> bytes:
    """Without a checksum, as it was at first."""
    return msgspec.msgpack.encode(_first_manifest(stored))


def _sealed(content: Mapping[str, Any]) -> bytes:
    payload = msgspec.msgpack.encode(content)
    return MARK + zlib.crc32(payload).to_bytes(CHECKSUM_BYTES, "little") + payload


# --- what is damaged --------------------------------------------------------------------------------------------------


async def _archive(patient: _Patient) -> None:
    topic = patient.city.names.archive_state
    for damage in (_flipped, _cut):
        async with patient.damaged(topic, SHARDS, damage):
            await patient.refuses(f"checkpoint {damage.__name__}", "the checkpoint under key")
    async with patient.damaged(topic, SHARDS, _other_version):
        await patient.refuses("checkpoint of another version", "start the version that wrote it, or delete its records")

    async with patient.damaged(topic, SHARDS, partial(_ahead, "last")):
        await patient.refuses("checkpoint ahead of its topic", "the topic was made anew or lost its end")
    async with patient.damaged(topic, SHARDS, _missing):
        await patient.makes_good("checkpoint missing", "without a checkpoint")
    # what is put back now is older than what the archive has written since, and must not count


async def _loop(patient: _Patient) -> None:
    names = patient.city.names
    for damage in (_flipped, _cut):
        async with patient.damaged(names.loop_state, 1, damage):
            await patient.refuses(f"manifest {damage.__name__}", "the manifest under key")
    async with patient.damaged(names.loop_state, 1, _other_version):
        await patient.refuses("manifest of another version", "start the version that wrote it, or")
    for change in _PART_DAMAGES:
        async with patient.damaged(names.loop_state, 1, partial(_part, patient, names.loop_parts, change)):
            await patient.refuses(f"part {change.__name__}", "loop snapshot: none of 1 can be used")
    async with patient.damaged(names.loop_state, 1, partial(_ahead, "next_offset")):
        await patient.refuses("snapshot ahead of its topic", "the topic was made anew or lost its end")
    async with patient.damaged(names.loop_state, 1, _missing):
        await patient.makes_good("manifest missing", "loop[0]: reading messages 0 to")


async def _join(patient: _Patient) -> None:
    names = patient.city.names
    for damage in (_flipped, _cut):
        async with patient.damaged(names.join_state, SHARDS, damage):
            await patient.refuses(f"manifest {damage.__name__}", "the manifest under key")
    async with patient.damaged(names.join_state, SHARDS, _other_version):
        await patient.refuses("manifest of another version", "start the version that wrote it, or")
    for first in (_first_version, _first_version_plain):
        async with patient.damaged(names.join_state, SHARDS, first):
            await patient.refuses(f"manifest {first.__name__}", "version 1, this program reads 2 - start the version")
    async with patient.damaged(names.join_state, SHARDS, partial(_ahead, "next_offset")):
        await patient.refuses("snapshot ahead of its topic", "the topic was made anew or lost its end")
    for kind, change in _JOIN_PARTS:
        done: list[int] = []
        damage = partial(_join_part, patient, kind, change, done)
        async with patient.damaged(names.join_state, SHARDS, damage):
            assert done, f"no shard has a part of kind {kind}"
            words = "messages are gone" if change is _gone else f"join snapshot: damaged part: {kind} in"
            await patient.refuses(f"part {kind} {change.__name__}", words)
    async with patient.damaged(names.join_state, SHARDS, _missing):
        await patient.makes_good("manifest missing", "reading messages 0 to")


async def _locate(patient: _Patient) -> None:
    """Offsets with a commit that is not ours: another tool moved them. That is told, and lateness judged afresh."""
    city = patient.city
    healthy = await _commits(city)
    assert all(metadata for _, metadata in healthy.values())
    for what, metadata in (("garbage", "\u00ff{"), ("cut", '{"max_event_ms":17'), ("missing", "")):
        await _commit(city, {place: (offset, metadata) for place, (offset, _) in healthy.items()})
        await patient.makes_good(f"metadata {what}", "is not ours")
        healthy = await _commits(city)


def _bent(part: bytes) -> bytes:
    return part[: len(part) // 2] + bytes([part[len(part) // 2] ^ 1]) + part[len(part) // 2 + 1 :]


def _halved(part: bytes) -> bytes:
    return part[: len(part) // 2]


def _gone(_part: bytes) -> None:
    return None


_PART_DAMAGES: Final[tuple[Callable[[bytes], bytes | None], ...]] = (_bent, _halved, _gone)
_JOIN_PARTS: Final = (
    (CELLS, _bent), (OPEN, _bent), (SEALED, _bent), (STATE, _bent), (OPEN, _halved), (CELLS, _halved), (SEALED, _gone),
)  # fmt: skip


async def _part(
    patient: _Patient, topic: str, change: Callable[[bytes], bytes | None], shard: int, stored: bytes
) -> bytes:
    """A manifest of the loop whose greatest part is another one: changed, or not there. A reference is an array with
    the offset in its second place."""
    content = msgspec.msgpack.decode(stored[1 + CHECKSUM_BYTES :])
    await _change_one(patient, [(topic, ref) for ref in content["parts"]], change, shard)
    return _sealed(content)


async def _join_part(
    patient: _Patient,
    kind: str,
    change: Callable[[bytes], bytes | None],
    done: list[int],
    shard: int,
    stored: bytes,
) -> bytes:
    """A manifest of the join whose greatest part of a kind is another one; `done` says of which shards."""
    content = msgspec.msgpack.decode(stored[1 + CHECKSUM_BYTES :])
    refs = [(ref[0], ref) for bundle in content["bundles"] if bundle[0] == kind for ref in bundle[2]]
    if not refs:  # a shard without a cell yet; the others will do
        return stored
    await _change_one(patient, refs, change, shard)
    done.append(shard)
    return _sealed(content)


async def _change_one(
    patient: _Patient, refs: list[tuple[str, list[Any]]], change: Callable[[bytes], bytes | None], shard: int
) -> None:
    """Lead the reference (of its topic) to the greatest part to a changed copy, or nowhere."""
    sized = []
    for where, ref in refs:
        (message,) = await patient.log.read_at(where, shard, [ref[1]])
        sized.append((len(message.value or b""), where, ref, message.value or b""))
    _, where, ref, part = max(sized, key=lambda one: one[0])
    changed = change(part)
    ref[1] = 10**9 if changed is None else await patient.log.append(where, shard, changed)


# --- Kafka ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _store_access(city: ChaosCity) -> AsyncIterator[KafkaLog]:
    producer = AIOKafkaProducer(
        bootstrap_servers=city.bootstrap, enable_idempotence=True, max_request_size=16 * 1024 * 1024
    )
    await producer.start()
    try:
        yield KafkaLog(city.bootstrap, producer)
    finally:
        await producer.stop()


def _raw_places(city: ChaosCity) -> list[TopicPartition]:
    return [TopicPartition(city.names.raw(source), p) for source in Source for p in range(PARTITIONS)]


@asynccontextmanager
async def _member(city: ChaosCity) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=city.bootstrap, group_id=f"{city.names.prefix}locate", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(_raw_places(city))
        yield consumer
    finally:
        await consumer.stop()


async def _commits(city: ChaosCity) -> dict[TopicPartition, tuple[int, str]]:
    async with _member(city) as consumer:
        found = {}
        for place in _raw_places(city):
            committed = await consumer._coordinator.fetch_committed_offsets([place])
            found[place] = (committed[place].offset, committed[place].metadata)
        return found


async def _commit(city: ChaosCity, commits: Mapping[TopicPartition, tuple[int, str]]) -> None:
    async with _member(city) as consumer:
        await consumer.commit({place: OffsetAndMetadata(*commit) for place, commit in commits.items()})
