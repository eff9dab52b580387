"""Snapshots of a shard's state in Kafka: taken every few seconds of log, read back by whoever owns the shard next.

Three topics, all with a partition per shard: `join-state` (compacted) holds the manifest, `join-open` the volatile
parts and `join-blocks` the sealed buckets. The manifest is written last, when everything it names is durable, so a
crash at any point leaves the snapshot before. What no manifest names any more is deleted from the head of its topic.

An owner that has lost the shard without knowing it yet neither puts its older state in place of a newer one nor deletes
what that one needs: see streams/shard_claim.py.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.errors import BrokerError
from streams.join_core import JoinShard
from streams.shard_claim import ShardClaim
from streams.shard_store import Log, ShardStore
from streams.snapshot_codec import (
    AnyPart,
    BlockPart,
    Manifest,
    PartRef,
    block_parts,
    decode_manifest,
    decode_part,
    encode_manifest,
    encode_part,
    is_sealed,
    make_manifest,
    restore,
    volatile_parts,
)

log = logging.getLogger(__name__)

MANIFEST: Final = "manifest"
WITHOUT: Final = "delete the records of join-state to have the shard rebuilt from observations"
DELETE_EVERY: Final = 12  # snapshots; deleting opens a connection of its own

BlockKey = tuple[int, int]
"""(bucket width, bucket start), both in ms"""


@dataclass(frozen=True, slots=True)
class Captured:
    """A snapshot's content at one point of the log, copied out of the live state."""

    manifest: Manifest
    volatile: list[bytes]
    sealed: dict[BlockKey, list[bytes] | None]  # every sealed bucket; None: it is stored already

    @property
    def size(self) -> int:
        """Bytes to write."""
        return sum(map(len, self.volatile)) + sum(len(part) for parts in self.sealed.values() for part in parts or ())


class Snapshots:
    """Reads and writes the snapshots of one shard; the topics are full names, with the prefix."""

    def __init__(self, shard: int, store: ShardStore, log_: Log, *, open_topic: str, blocks_topic: str) -> None:
        self.shard = shard
        self._claim = ShardClaim(store, shard, MANIFEST, log=log_, without=WITHOUT)
        self._log = log_
        self._open_topic = open_topic
        self._blocks_topic = blocks_topic
        self._stored: dict[BlockKey, list[PartRef]] = {}
        self._written = 0

    def capture(self, shard: JoinShard, next_offset: int) -> Captured:
        """Copy what a snapshot needs. Nothing of the shard is changed, and sealed buckets are copied only once."""
        sealed: dict[BlockKey, list[bytes] | None] = {}
        for width, group in shard.groups.items():
            for start_ms, block in group.blocks.items():
                if is_sealed(group, block):
                    known = (width, start_ms) in self._stored
                    parts = None if known else [encode_part(part) for part in block_parts(group.plan, block)]
                    sealed[width, start_ms] = parts
        volatile = [encode_part(part) for part in volatile_parts(shard)]
        return Captured(make_manifest(shard, next_offset), volatile, sealed)

    async def write(self, captured: Captured) -> bool:
        """Make the snapshot durable; BrokerError when Kafka refuses it. False when another owner has claimed the shard
        meanwhile: then this one is of no use, as it may name parts that are gone, and the next one will be whole."""
        refs = [await self._append(self._open_topic, part) for part in captured.volatile]
        for key, parts in captured.sealed.items():
            if parts is not None:
                self._stored[key] = [await self._append(self._blocks_topic, part) for part in parts]
        self._stored = {key: self._stored[key] for key in captured.sealed}
        refs += [ref for stored in self._stored.values() for ref in stored]
        manifest = msgspec.structs.replace(captured.manifest, parts=refs)
        if not await self._claim.put(encode_manifest(manifest)):
            log.warning("join shard %d: snapshot given up, another owner has claimed the shard meanwhile", self.shard)
            await self._claim.take()
            self._stored = {}
            return False
        self._written += 1
        if self._written % DELETE_EVERY == 0:
            await self._delete_unnamed(refs)
        return True

    async def read(self, shard: JoinShard) -> int | None:
        """Restore an empty shard from the newest snapshot that is whole; the offset of `observations` to go on from,
        None when there is no snapshot. BrokerError when there are some and none can be used."""
        manifests = sorted(
            map(decode_manifest, await self._claim.take()), key=lambda one: one.next_offset, reverse=True
        )
        problem: BrokerError | None = None
        for manifest in manifests:
            try:
                parts = await self._read_parts(manifest)
            except BrokerError as error:
                # of an owner that was declared dead: its successor has deleted what only this manifest names
                log.warning("join shard %d: snapshot at %d cannot be used: %s", self.shard, manifest.next_offset, error)
                problem = problem or error
                continue
            for words in restore(shard, manifest, parts):
                log.warning("join shard %d: %s", self.shard, words)
            return manifest.next_offset
        if problem is not None:
            raise BrokerError(
                f"join snapshot: none of {len(manifests)} of shard {self.shard} can be used, the newest: {problem} - "
                f"restore the topic, or {WITHOUT}"
            )
        return None

    async def _read_parts(self, manifest: Manifest) -> list[AnyPart]:
        parts: list[AnyPart] = []
        self._stored = {}
        for topic in sorted({ref.topic for ref in manifest.parts}):
            refs = {ref.offset: ref for ref in manifest.parts if ref.topic == topic}
            for message in await self._log.read_at(topic, self.shard, refs):
                if message.value is None:
                    raise BrokerError(f"join snapshot: {topic}[{self.shard}] offset {message.offset} is empty")
                part = decode_part(message.value)
                parts.append(part)
                if topic == self._blocks_topic and isinstance(part, BlockPart):
                    self._stored.setdefault((part.bucket_ms, part.start_ms), []).append(refs[message.offset])
                await asyncio.sleep(0)  # gigabytes may be decoded here: the heartbeat must get its turn
        return parts

    async def _append(self, topic: str, part: bytes) -> PartRef:
        return PartRef(topic, await self._log.append(topic, self.shard, part), len(part))

    async def _delete_unnamed(self, refs: list[PartRef]) -> None:
        """Delete what lies before the oldest part still named. A failure costs disk space, not correctness."""
        for topic in (self._open_topic, self._blocks_topic):
            oldest = min((ref.offset for ref in refs if ref.topic == topic), default=0)
            if not oldest:
                continue
            try:
                await self._log.truncate_before(topic, self.shard, oldest)
            except BrokerError as error:
                log.warning("join shard %d: old snapshots stay on disk: %s", self.shard, error)
