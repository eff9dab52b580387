"""Snapshots of a shard's state in Kafka: taken every few seconds of log, read back by whoever owns the shard next.

Three topics, all with a partition per shard: `join-state` (compacted) holds the manifest, `join-blocks` the sealed
buckets and `join-open` all else. The manifest is written last, when everything it names is durable, so a crash at any
point leaves the snapshot before. What no manifest names any more is deleted from the head of its topic.

An owner that has lost the shard without knowing it yet neither puts its older state in place of a newer one nor deletes
what that one needs: see streams/shard_claim.py.

A snapshot costs what has changed: new cells, changed rows of open buckets, buckets sealed since, and what stands. To
capture it is to copy arrays; to encode, compress and decode it is work for a thread beside the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.errors import BrokerError
from streams.join_core import JoinShard
from streams.shard_claim import ShardClaim
from streams.shard_store import Log, ShardStore
from streams.snapshot_codec import (
    Known,
    cell_parts,
    judge_parts,
    layout_of,
    make_manifest,
    open_parts,
    sealed_part,
)
from streams.snapshot_parts import (
    CELLS,
    OPEN,
    SEALED,
    STATE,
    WITHOUT,
    AnyPart,
    BundleRef,
    Manifest,
    PartRef,
    bytes_of,
    checksum,
    decode_bundle,
    decode_manifest,
    encode_bundle,
    encode_manifest,
)
from streams.snapshot_restore import Restoring

log = logging.getLogger(__name__)

MANIFEST: Final = "manifest"
DELETE_EVERY: Final = 12  # snapshots; deleting opens a connection of its own
READ_BYTES: Final = 64 * 1024 * 1024  # of bundles are in memory at once, as messages, while a snapshot is read
LARGE_BYTES: Final = 256 * 1024  # of a bundle: less is encoded at once, a thread would take longer
REWRITE_EVERY: Final = 24  # snapshots; bundles of changes are replaced by whole ones, so that their number is bounded

BucketKey = tuple[int, int]
"""(bucket width, bucket start), both in ms"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Parts that are written together."""

    kind: str
    buckets: list[BucketKey]
    parts: list[AnyPart]

    @classmethod
    def of(cls, kind: str, buckets: Iterable[BucketKey], parts: list[AnyPart]) -> Bundle:
        return cls(kind, sorted(buckets), parts)


@dataclass(slots=True)
class Captured:
    """A snapshot's content at one point of the log, copied out of the live state; number `number` of its shard."""

    number: int
    manifest: Manifest
    bundles: list[Bundle]
    open: set[BucketKey]
    sealed: set[BucketKey]
    whole: bool  # nothing but sealed buckets is needed of the snapshots before
    size: int = 0  # bytes that were written


class Snapshots:
    """Reads and writes the snapshots of one shard; the topics are full names, with the prefix.

    What is captured must be written, one after the other: a capture holds only what has changed since the one before.
    """

    def __init__(self, shard: int, store: ShardStore, log_: Log, *, open_topic: str, blocks_topic: str) -> None:
        self.shard = shard
        self._claim = ShardClaim(store, shard, MANIFEST, log=log_, without=WITHOUT)
        self._log = log_
        self._open_topic = open_topic
        self._blocks_topic = blocks_topic
        self._named: list[BundleRef] = []
        self._sealed: set[BucketKey] = set()  # given to a capture, or restored
        self._known = Known()
        self._captured = self._written = 0
        self._whole_at = 0  # the number of the next capture that holds everything

    def capture(self, shard: JoinShard, next_offset: int) -> Captured:
        """Copy what a snapshot needs, and mark it as copied. In a thread where it is large; the shard must rest."""
        number = self._captured
        whole = number >= self._whole_at
        bundles = []
        if whole:
            self._known, self._whole_at = Known(), number + REWRITE_EVERY
        cells = list(cell_parts(shard, self._known))
        self._known = Known.of(shard)
        if cells:
            bundles.append(Bundle.of(CELLS, (), cells))
        layouts = {width: [layout_of(track) for track in group.plan.tracks] for width, group in shard.groups.items()}
        rows = [part for group in shard.groups.values() for part in open_parts(group, everything=whole)]
        if rows:
            bundles.append(Bundle.of(OPEN, {(part.bucket_ms, part.start_ms) for part in rows}, list(rows)))
        standing: list[AnyPart] = list(judge_parts(shard))
        if standing:
            bundles.append(Bundle.of(STATE, (), standing))
        sealed = {(width, start) for width, group in shard.groups.items() for start in group.sealed}
        for width, start in sorted(sealed - self._sealed):
            group = shard.groups[width]
            bundles.append(
                Bundle.of(SEALED, [(width, start)], [sealed_part(group, group.sealed[start], layouts[width])])
            )
        self._sealed = sealed
        self._captured += 1
        return Captured(
            number,
            make_manifest(shard, next_offset),
            bundles,
            {(width, start) for width, group in shard.groups.items() for start in group.open},
            sealed,
            whole,
        )

    async def write(self, captured: Captured) -> bool:
        """Make the snapshot durable; BrokerError when Kafka refuses it. False when another owner has claimed the shard
        meanwhile: then this one is of no use, as it may name parts that are gone, and the next one will be whole."""
        if captured.number != self._written:
            raise ValueError(f"join snapshot {captured.number} of shard {self.shard}: {self._written} comes before it")
        written = []
        while captured.bundles:  # what is written need not be kept until all is
            bundle = captured.bundles.pop(0)
            written.append(BundleRef(bundle.kind, bundle.buckets, await self._append(bundle)))
        captured.size = sum(ref.size for bundle in written for ref in bundle.refs)
        again = {key for bundle in written if bundle.kind == SEALED for key in bundle.buckets}
        named = [bundle for bundle in self._named if _needed(bundle, captured, again)] + written
        refs = [ref for bundle in named for ref in bundle.refs]
        manifest = msgspec.structs.replace(captured.manifest, bundles=named)
        self._written += 1
        if not await self._claim.put(encode_manifest(manifest)):
            log.warning("join shard %d: snapshot given up, another owner has claimed the shard meanwhile", self.shard)
            await self._claim.take()
            self._begin_anew()
            return False
        self._named = named
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
                await self._restore(shard, manifest)
            except BrokerError as error:
                # of an owner that was declared dead: its successor has deleted what only this manifest names
                log.warning("join shard %d: snapshot at %d cannot be used: %s", self.shard, manifest.next_offset, error)
                problem = problem or error
                shard.clear()
                continue
            return manifest.next_offset
        if problem is not None:
            raise BrokerError(
                f"join snapshot: none of {len(manifests)} of shard {self.shard} can be used, the newest: {problem} - "
                f"restore the topic, or {WITHOUT}"
            )
        return None

    async def _restore(self, shard: JoinShard, manifest: Manifest) -> None:
        shard.clear()  # an attempt before this one may have been given up halfway
        restoring = Restoring(shard, manifest)
        cells = [bundle for bundle in manifest.bundles if bundle.kind == CELLS]
        known = [part async for parts in self._bundles(cells) for part in parts]
        await asyncio.to_thread(restoring.take_cells, known)
        async with aclosing(self._bundles([one for one in manifest.bundles if one.kind != CELLS])) as others:
            async for parts in others:
                await asyncio.to_thread(restoring.take, parts)
        await asyncio.to_thread(restoring.finish)
        for problem in restoring.problems:
            log.warning("join shard %d: %s", self.shard, problem)
        self._begin_anew()
        if not restoring.changed:  # else it is written anew, for what is stored would not be understood later
            self._named = list(manifest.bundles)
            self._known = Known.of(shard)
            self._whole_at = self._captured + REWRITE_EVERY
            self._sealed = {(width, start) for width, group in shard.groups.items() for start in group.sealed}

    def _begin_anew(self) -> None:
        """Nothing is stored that may be named: the next capture holds everything."""
        self._named, self._sealed, self._known, self._whole_at = [], set(), Known(), 0

    async def _bundles(self, bundles: Sequence[BundleRef]) -> AsyncGenerator[list[AnyPart]]:
        """The parts of each bundle, some megabytes at a time: while some are decoded, the next are on their way."""
        portions = list(_portions(bundles))
        coming = asyncio.ensure_future(self._fetch(portions[0])) if portions else None
        try:
            for number, some in enumerate(portions):
                assert coming is not None
                found = await coming
                coming = None if some is portions[-1] else asyncio.ensure_future(self._fetch(portions[number + 1]))
                for bundle in some:
                    messages = [found.pop((ref.topic, ref.offset)) for ref in bundle.refs]
                    yield await asyncio.to_thread(self._decoded, bundle, messages)
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _fetch(self, bundles: Sequence[BundleRef]) -> dict[tuple[str, int], bytes]:
        """The messages of bundles, by topic and offset."""
        found: dict[tuple[str, int], bytes] = {}
        every = [ref for bundle in bundles for ref in bundle.refs]
        for topic in sorted({ref.topic for ref in every}):
            offsets = [ref.offset for ref in every if ref.topic == topic]
            for message in await self._log.read_at(topic, self.shard, offsets):
                if message.value is None:
                    raise BrokerError(f"join snapshot: {topic}[{self.shard}] offset {message.offset} is empty")
                found[topic, message.offset] = message.value
        return found

    def _decoded(self, bundle: BundleRef, messages: Sequence[bytes]) -> list[AnyPart]:
        for ref, message in zip(bundle.refs, messages, strict=True):
            if checksum(message) != ref.checksum:
                raise BrokerError(
                    f"join snapshot: damaged part: {bundle.kind} in {ref.topic}[{self.shard}] offset {ref.offset} "
                    f"({len(message)} bytes), its checksum does not fit"
                )
        return decode_bundle(messages)

    async def _append(self, bundle: Bundle) -> list[PartRef]:
        topic = self._blocks_topic if bundle.kind == SEALED else self._open_topic
        messages = encode_bundle(bundle.parts)
        refs: list[PartRef] = []
        large = sum(map(bytes_of, bundle.parts)) >= LARGE_BYTES
        while True:
            message = await asyncio.to_thread(next, messages, None) if large else next(messages, None)
            if message is None:
                return refs
            offset = await self._log.append(topic, self.shard, message)
            refs.append(PartRef(topic, offset, len(message), checksum(message)))

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


def _portions(bundles: Sequence[BundleRef]) -> Iterator[list[BundleRef]]:
    """The bundles in order, cut where there is enough to read at once."""
    some: list[BundleRef] = []
    size = 0
    for bundle in bundles:
        some.append(bundle)
        size += sum(ref.size for ref in bundle.refs)
        if size >= READ_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _needed(bundle: BundleRef, captured: Captured, again: set[BucketKey]) -> bool:
    """Whether a bundle of a snapshot before is part of this one too; `again`: sealed buckets that were written anew."""
    if bundle.kind == SEALED:
        return any(key in captured.sealed and key not in again for key in bundle.buckets)
    if bundle.kind == STATE or captured.whole:
        return False
    return bundle.kind == CELLS or any(key in captured.open for key in bundle.buckets)
