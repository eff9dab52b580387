"""Snapshots of the loop's state in Kafka: like the join's, but in named parts of which only the changed are written.

Topic `loop-parts` holds the parts, `loop-state` (compacted) the manifests: which offset of `loop` the state has come to
and where each part lies. The manifest is written last, when everything it names is durable, so a crash at any point
leaves the snapshot before. What no manifest names any more is deleted from the head of `loop-parts`; an old part that
stands in the way is written once more.

An owner that has lost the loop without knowing it yet (a machine that was paused) neither puts its older state in place
of a newer one nor deletes what that one needs: see streams/shard_claim.py.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from schemas.errors import BrokerError
from streams.shard_claim import ShardClaim
from streams.shard_store import Log, ShardStore

log = logging.getLogger(__name__)

PARTITION: Final = 0  # of both topics, as `loop` has one
MANIFEST_VERSION: Final = 1
WITHOUT: Final = (
    "delete the topic's records to have the loop work through topic `loop` again from its beginning (it refuses if "
    "that is gone)"
)
DELETE_EVERY: Final = 12  # snapshots; deleting opens a connection of its own
MOVE_BEYOND: Final = 8  # times the number of parts: a part that lies so many messages behind the newest is moved


class PartRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a part lies in `loop-parts`, and its CRC-32 (None: written before there were any)."""

    name: str
    offset: int
    checksum: int | None = None


class LoopManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot: records of `loop` below `next_offset` are in these parts."""

    version: int = MANIFEST_VERSION
    next_offset: int
    parts: list[PartRef]


class LoopState(Protocol):
    """What a snapshot needs of the loop's core."""

    def dirty_parts(self) -> Mapping[str, bytes]:
        """The parts that have changed since the last call, by name."""
        ...

    def parts(self) -> Mapping[str, bytes]:
        """All parts."""
        ...

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take the state out of all parts that were ever dirty, each as it was last."""
        ...


@dataclass(frozen=True, slots=True)
class CapturedLoop:
    """What has changed up to one point of the log, copied out of the live state."""

    next_offset: int
    parts: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes to write."""
        return sum(map(len, self.parts.values()))


class LoopSnapshots:
    """Reads and writes the snapshots of the loop, for one owner from its assignment on."""

    def __init__(self, store: ShardStore, log_: Log, *, parts_topic: str) -> None:
        """`store` is on topic `loop-state`; `parts_topic` is a full name, with the prefix."""
        self._claim = ShardClaim(store, PARTITION, "manifest", log=log_, without=WITHOUT)
        self._log = log_
        self._topic = parts_topic
        self._parts: dict[str, PartRef] = {}
        self._whole = False  # the next capture takes every part: another owner may have deleted some of ours
        self._written = 0

    def capture(self, state: LoopState, next_offset: int) -> CapturedLoop:
        """What has changed since the capture before; every capture must be written, in order."""
        changed = state.dirty_parts()
        if self._whole:
            self._whole, changed = False, state.parts()
        return CapturedLoop(next_offset, dict(changed))

    async def write(self, captured: CapturedLoop) -> bool:
        """Make the snapshot durable; BrokerError when Kafka refuses it. False when another owner has claimed the loop
        meanwhile: then this one is of no use, as it may name parts that are gone, and the next one will be whole."""
        for name, part in captured.parts.items():
            self._parts[name] = await self._append(name, part)
        self._written += 1
        delete = self._written % DELETE_EVERY == 0
        if delete:
            try:
                await self._move_old_parts()
            except BrokerError as problem:
                return await self._of_no_use(f"parts cannot be moved ({problem})")
        manifest = LoopManifest(next_offset=captured.next_offset, parts=list(self._parts.values()))
        if not await self._claim.put(msgspec.msgpack.encode(manifest)):
            return await self._of_no_use("another owner has claimed the loop meanwhile")
        if delete and self._parts:
            await self._delete_before(min(ref.offset for ref in self._parts.values()))
        return True

    async def read(self, state: LoopState) -> int | None:
        """Restore an empty state from the newest snapshot that is whole; the offset of `loop` to go on from, None when
        there is no snapshot. BrokerError when there are some and none can be used."""
        stored = await self._claim.take()
        manifests = sorted(map(_decode, stored), key=lambda one: one.next_offset, reverse=True)
        problem: BrokerError | None = None
        for manifest in manifests:
            try:
                parts = await self._read_parts(manifest)
            except BrokerError as error:
                # of an owner that was declared dead: its successor has deleted what only this manifest names
                log.warning("loop snapshot at offset %d cannot be used: %s", manifest.next_offset, error)
                problem = problem or error
                continue
            state.restore(parts)
            self._parts = {ref.name: ref for ref in manifest.parts}
            return manifest.next_offset
        if problem is not None:
            raise BrokerError(
                f"loop snapshot: none of {len(manifests)} can be used, the newest: {problem} - restore the topic, "
                f"or {WITHOUT}"
            )
        return None

    async def _read_parts(self, manifest: LoopManifest) -> dict[str, bytes]:
        refs = {ref.offset: ref for ref in manifest.parts}
        parts: dict[str, bytes] = {}
        for message in await self._log.read_at(self._topic, PARTITION, refs):
            where, ref = f"{self._topic}[{PARTITION}] offset {message.offset}", refs[message.offset]
            if message.value is None:
                raise BrokerError(f"loop snapshot: {where} is empty")
            if ref.checksum not in (None, zlib.crc32(message.value)):
                raise BrokerError(f"loop snapshot: part {ref.name} in {where} is damaged, its checksum does not fit")
            parts[ref.name] = message.value
        return parts

    async def _append(self, name: str, part: bytes) -> PartRef:
        return PartRef(name, await self._log.append(self._topic, PARTITION, part), zlib.crc32(part))

    async def _of_no_use(self, why: str) -> bool:
        log.warning("loop: snapshot given up, the next one will be whole: %s", why)
        await self._claim.take()
        self._parts, self._whole = {}, True
        return False

    async def _move_old_parts(self) -> None:
        """Parts that have not changed for long would keep all that was written since from being deleted."""
        newest = max((ref.offset for ref in self._parts.values()), default=0)
        far = newest - MOVE_BEYOND * len(self._parts)
        old = {ref.offset: ref.name for ref in self._parts.values() if ref.offset < far}
        for message in await self._log.read_at(self._topic, PARTITION, old):
            name = old[message.offset]
            self._parts[name] = await self._append(name, message.value or b"")

    async def _delete_before(self, offset: int) -> None:
        """A failure costs disk space, not correctness."""
        try:
            await self._log.truncate_before(self._topic, PARTITION, offset)
        except BrokerError as error:
            log.warning("loop: old snapshots stay on disk: %s", error)


def _decode(payload: bytes) -> LoopManifest:
    try:
        manifest = msgspec.msgpack.decode(payload, type=LoopManifest)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BrokerError(f"loop snapshot: damaged manifest in loop-state: {error}") from error
    if manifest.version != MANIFEST_VERSION:
        raise BrokerError(
            f"loop snapshot: version {manifest.version}, this program reads {MANIFEST_VERSION} - start the version "
            f"that wrote it, or {WITHOUT}"
        )
    return manifest
