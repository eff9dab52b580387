"""What locate decides, as a pure function of what it is fed: no Kafka, no clock (`now_ms` is an argument: milliseconds
of a clock that nobody sets, see steady_clock.py).

Decoded columns of raw partitions go in; frames for the region shards, dead letters and the raw offsets that may be
committed come out. The promises a frame's header makes, and which make duplicates harmless downstream:

- its covers are exactly the raw offsets whose rows for this shard are all in this frame or an earlier one;
- a raw partition's rows in the frame all lie inside the frame's cover of it;
- for one shard and raw partition, covers follow each other without gap or overlap, from the offset that was assigned;
- the watermark stands in the last frame that holds rows it speaks for, never in an earlier one.

Tickets leave a second time, each raw partition by itself, for the loop: frames of `placed-tickets`, where the raw
partition stands for the shard and the same promises hold. One without new offsets sends no frame there.

A **level** flush brings every shard up to the same raw offsets (quiet ones by a header frame without rows). Only what a
level flush covers may be committed, together with the watermark state at that very offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace as replaced

from schemas.dead_letter import DeadLetter
from schemas.observation import Cover, FrameHeader, write_frame
from schemas.sources import Source
from streams.buffers import Buffers
from streams.columns import Columns
from streams.flush import Commit, Flush, FrameOut, UrgentTicket
from streams.frames import FrameBuilder, Piece
from streams.locate_settings import LocateSettings, SourceSettings
from streams.placing import NO_EVENT_MS, Origins, Placed, Placer, RawKey, Refusal, WatermarkState
from streams.raw_source import NOTHING_TOLD, RawSource
from streams.strings import StringTable

__all__ = ["Counts", "LocateSettings", "Locator", "SourceSettings"]

_NONE: Final = np.empty(0, dtype=np.int32)
BYTES_PER_ROW: Final = 128
"""About what a row of the accumulated columns takes, beside its entity id and extra fields."""
FRAME_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of frames whose memory is used again: a flush that is made, one that waits and one that is sent."""


@dataclass(slots=True)
class Counts:
    """What was fed since the counts were last taken."""

    records: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(Source, 0))
    late: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(Source, 0))
    dead: dict[tuple[Source, str], int] = field(default_factory=dict)
    rows: int = 0
    halo: int = 0
    origins: dict[Source, Origins] = field(default_factory=lambda: dict.fromkeys(Source, Origins()))


class Locator:
    """Accumulates fed columns and cuts them into frames.

    Per raw partition, in this order: `assign`, then `feed` with consecutive offsets, `seen_end` now and then, and
    `revoke`. `flush` may be called at any time between; `due` says when it is worth while.
    """

    def __init__(
        self,
        settings: LocateSettings,
        placer: Placer,
        shards: int,
        kinds: StringTable,
        units: StringTable,
        device_types: StringTable,
    ) -> None:
        self.settings = settings
        self.counts = Counts()
        self._placer = placer
        self._shards = shards
        self._tables = (kinds, units, device_types)
        self._builder, self._ticket_builder = (
            FrameBuilder(
                count, kinds, units, device_types, jurisdictions=placer.jurisdictions,
                max_rows=settings.max_frame_rows, max_bytes=settings.max_frame_bytes,
            )
            for count in (shards, 1)
        )  # fmt: skip
        self._partitions: dict[RawKey, RawSource] = {}
        self._pending: dict[RawKey, list[Placed]] = {}
        self._letters: dict[RawKey, list[DeadLetter]] = {}
        self._frame_memory = Buffers(FRAME_MEMORY)
        self._rows = 0
        self._bytes = 0
        self._flushed_ms = 0
        self._level_ms = 0

    # --- which partitions ------------------------------------------------------------------------------------------

    def assign(self, key: RawKey, offset: int, state: WatermarkState, now_ms: int) -> None:
        """Begin with a raw partition at `offset`, the committed one, and the watermark state committed with it."""
        if key in self._partitions:
            raise ValueError(f"raw partition {key} is assigned already")
        self._partitions[key] = RawSource(
            offset,
            replaced(state, idle=False),
            now_ms,
            [offset] * (self._shards + 1),
            [NOTHING_TOLD] * (self._shards + 1),
            (offset, state.idle),
            slept=state.idle,
        )

    def revoke(self, keys: Iterable[RawKey]) -> None:
        """Forget raw partitions. What of theirs has not been flushed is dropped; their next owner reads it again."""
        for key in keys:
            self._partitions.pop(key, None)
            self._letters.pop(key, None)
            for block in self._pending.pop(key, ()):
                self._rows -= block.columns.n
                self._bytes -= _bytes_of(block.columns)

    @property
    def assigned(self) -> Mapping[RawKey, RawSource]:
        return self._partitions

    # --- in ----------------------------------------------------------------------------------------------------------

    def feed(
        self,
        columns: Columns,
        letters: Sequence[DeadLetter],
        next_offset: int,
        now_ms: int,
        payloads_at: Callable[[Sequence[int]], Mapping[int, bytes | None]],
    ) -> list[UrgentTicket]:
        """Take in what a raw partition's next batches were decoded to, dead records included, up to `next_offset`.

        Rows and letters below the partition's position have been fed before and must not be among them.
        `payloads_at` gives the raw bytes of records of these columns, for the rows that are refused here.
        """
        source = columns.source
        key = int(source), columns.partition
        progress = self._partitions[key]
        self.counts.records[source] += columns.n + len(letters)
        self._take_letters(key, letters)
        urgent: list[UrgentTicket] = []
        if columns.n:
            before = progress.state
            placed, refusals, progress.state = self._placer.place(columns, before)
            progress.arrived_ms = max(progress.arrived_ms, int(columns.received_at_ms.max()))
            if progress.state.max_event_ms != before.max_event_ms:
                progress.advanced_ms = now_ms
                progress.idle = progress.slept = False
            self._take_letters(key, _letters_of(columns, refusals, payloads_at))
            self.counts.late[source] += placed.late
            self.counts.rows += columns.n - placed.refused
            self.counts.halo += len(placed.halo_row)
            self.counts.origins[source] = self.counts.origins[source].plus(placed.origins)
            if placed.refused < columns.n:
                self._pending.setdefault(key, []).append(placed)
                self._rows += columns.n
                self._bytes += _bytes_of(columns)
            if source is Source.TICKETS:
                urgent = self._urgent(placed, progress)
        progress.position = max(progress.position, next_offset)
        return urgent

    def advance(self, key: RawKey, offset: int) -> None:
        """The offsets below `offset` hold no more records (control batches, aborted transactions, compacted away)."""
        progress = self._partitions[key]
        if offset > progress.position:
            progress.position = offset
            progress.slept = False  # perhaps there were records, and the broker has deleted them

    def seen_end(self, key: RawKey, end_offset: int, at_ms: int) -> None:
        """The broker said at `at_ms` (wall clock) that the raw partition's next record will get `end_offset`."""
        progress = self._partitions[key]
        progress.end = end_offset
        progress.end_seen_ms = at_ms

    def _take_letters(self, key: RawKey, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            reason = (Source(key[0]), letter.reason.value)
            self.counts.dead[reason] = self.counts.dead.get(reason, 0) + 1
        if letters:
            self._letters.setdefault(key, []).extend(letters)

    def _urgent(self, placed: Placed, progress: RawSource) -> list[UrgentTicket]:
        columns = placed.columns
        kinds = self._tables[0].values
        found: list[UrgentTicket] = []
        for row in range(columns.n):  # tickets are few
            if placed.shard[row] < 0 or not self._is_urgent(kinds[columns.kind[row]], columns.extra.get(row)):
                continue
            offset = int(columns.offset[row])
            cover = Cover(
                source=int(columns.source),
                partition=columns.partition,
                first=offset,
                last=offset,
                watermark_ms=progress.state.watermark_ms(self.settings.tickets.lateness_ms),
                max_event_ms=progress.state.max_event_ms,
                idle=False,
                arrived_ms=int(columns.received_at_ms[row]),
            )
            header = FrameHeader(shard=int(placed.shard[row]), covers=[cover])
            batch = self._builder.single(placed, row)
            found.append(UrgentTicket(columns.entity(row).encode(), bytes(write_frame(header, batch))))
        return found

    def _is_urgent(self, category: str, extra: bytes | None) -> bool:
        if category in self.settings.urgent_categories:
            return True
        return extra is not None and _urgency_decoder.decode(extra).urgency in self.settings.urgent_levels

    # --- out ---------------------------------------------------------------------------------------------------------

    def due(self, now_ms: int) -> bool:
        """Whether a flush is worth its while: much has come, or something has and the time is up."""
        return self.due_in_ms(now_ms, 1) <= 0

    def due_in_ms(self, now_ms: int, most_ms: int) -> int:
        """How long until a flush is due if nothing more is fed: 0 now, `most_ms` then or later."""
        if self._rows >= self.settings.max_flush_rows or self._bytes >= self.settings.max_flush_bytes:
            return 0
        wait_ms = most_ms
        least_ms = self.settings.backlog_interval_ms if self._is_far_behind() else 0
        if self._rows or self._letters:
            wait_ms = min(wait_ms, self._flushed_ms + max(self.settings.flush_interval_ms, least_ms) - now_ms)
        if self._partitions:
            wait_ms = min(wait_ms, self._level_ms + max(self.settings.header_interval_ms, least_ms) - now_ms)
        return max(0, wait_ms)

    def _is_far_behind(self) -> bool:
        """Whether a flush of rows and more waits at the broker, as far as we have seen."""
        waiting = sum(max(0, progress.end - progress.position) for progress in self._partitions.values())
        return waiting >= self.settings.max_flush_rows

    def flush(self, now_ms: int, *, level: bool = False) -> Flush:
        """Frames for all that was fed. Level when asked for, or when the header interval has passed."""
        level = level or now_ms - self._level_ms >= self.settings.header_interval_ms
        for progress in self._partitions.values():
            progress.settle_idle(now_ms, self.settings.idle_after_ms)
        frames: list[FrameOut] = []
        with_rows: set[int] = set()
        blocks = [block for key in sorted(self._pending) for block in self._pending[key]]
        for piece in self._builder.build(blocks):
            frames.append(self._frame(piece.shard, self._covers_of_piece(piece), piece.batch))
            with_rows.add(piece.shard)
        tickets = self._placed_tickets(level=level)
        commits: dict[RawKey, Commit] = {}
        if level:
            for shard in range(self._shards):
                if shard not in with_rows and (covers := self._covers(shard)):
                    frames.append(self._frame(shard, covers))
            commits = self._commits()
            self._level_ms = now_ms
        letters = tuple(
            letter for key in sorted(self._letters) for letter in sorted(self._letters[key], key=attrgetter("offset"))
        )
        self._letters.clear()
        self._pending.clear()
        self._rows = self._bytes = 0
        self._flushed_ms = now_ms
        for table in self._tables:
            if table.crowded:  # nobody holds a code any more
                table.clear()
        return Flush(tuple(frames), letters, commits, level, tickets)

    def take_counts(self) -> Counts:
        """The counts since the last call."""
        counts, self.counts = self.counts, Counts()
        return counts

    def _placed_tickets(self, *, level: bool) -> tuple[FrameOut, ...]:
        """The waiting tickets of each raw partition, each row once: no halo, late ones too."""
        frames: list[FrameOut] = []
        for key, progress in sorted(self._partitions.items()):
            if key[0] != Source.TICKETS:
                continue
            blocks = [
                replace(block, shard=np.minimum(block.shard, 0), halo_row=_NONE, halo_shard=_NONE)
                for block in self._pending.get(key, ())
            ]
            for piece in self._ticket_builder.build(blocks):
                (span,) = piece.spans
                cover = self._cover(key, progress, self._shards, None if span.complete else span.last)
                frames.append(self._frame(key[1], [cover], piece.batch))
            if level and progress.covered[self._shards] != progress.position:  # dead letters alone
                frames.append(self._frame(key[1], [self._cover(key, progress, self._shards)]))
        return tuple(frames)

    def _covers_of_piece(self, piece: Piece) -> list[Cover]:
        """Covers of one frame with rows. The last one of a shard speaks of all raw partitions, earlier ones only of
        those they have rows of, and only as far as these go."""
        if piece.final:
            return self._covers(piece.shard)
        covers = []
        for span in piece.spans:
            progress = self._partitions[span.key]
            covers.append(self._cover(span.key, progress, piece.shard, None if span.complete else span.last))
        return covers

    def _covers(self, shard: int) -> list[Cover]:
        """Covers of the raw partitions of which the shard does not know all there is to know."""
        return [
            self._cover(key, progress, shard)
            for key, progress in sorted(self._partitions.items())
            if progress.covered[shard] != progress.position
            or progress.told[shard] != (progress.state.max_event_ms, progress.arrived_ms, progress.idle)
        ]

    def _cover(self, key: RawKey, progress: RawSource, shard: int, upto: int | None = None) -> Cover:
        """The next cover of a raw partition for one shard; `upto` stops at an offset and leaves the watermark back."""
        first = progress.covered[shard]
        if upto is None:
            told = (progress.state.max_event_ms, progress.arrived_ms, progress.idle)
            last = progress.position - 1
        else:
            max_event_ms, arrived_ms, _ = progress.told[shard]
            told = (max(max_event_ms, NO_EVENT_MS), max(arrived_ms, 0), False)
            last = upto
        progress.covered[shard] = last + 1
        progress.told[shard] = told
        lateness_ms = self.settings.source(Source(key[0])).lateness_ms
        return Cover(
            source=key[0],
            partition=key[1],
            first=first,
            last=last,
            watermark_ms=WatermarkState(told[0]).watermark_ms(lateness_ms),
            max_event_ms=told[0],
            idle=told[2],
            arrived_ms=told[1],
        )

    def _commits(self) -> dict[RawKey, Commit]:
        commits: dict[RawKey, Commit] = {}
        for key, progress in self._partitions.items():
            if (progress.position, progress.idle) != progress.committed:
                progress.committed = progress.position, progress.idle
                commits[key] = Commit(progress.position, replaced(progress.state, idle=progress.idle).encode())
        return commits

    def _frame(self, shard: int, covers: list[Cover], batch: pa.RecordBatch | None = None) -> FrameOut:
        header = FrameHeader(shard=shard, covers=covers)
        data = write_frame(header, batch, lambda size: self._frame_memory.lease(size).data)
        return FrameOut(shard, data, 0 if batch is None else batch.num_rows)


def _letters_of(
    columns: Columns,
    refusals: Sequence[Refusal],
    payloads_at: Callable[[Sequence[int]], Mapping[int, bytes | None]],
) -> list[DeadLetter]:
    if not refusals:
        return []
    offsets = columns.offset[[refusal.row for refusal in refusals]].tolist()
    payloads = payloads_at(offsets)
    return [
        DeadLetter.of(
            refusal.error,
            topic=columns.topic,
            partition=columns.partition,
            offset=offset,
            payload=payloads.get(offset),
            received_at_ms=int(columns.received_at_ms[refusal.row]),
        )
        for refusal, offset in zip(refusals, offsets, strict=True)
    ]


class _Urgency(msgspec.Struct):
    urgency: str = "normal"


_urgency_decoder = msgspec.json.Decoder(_Urgency)


def _bytes_of(columns: Columns) -> int:
    return BYTES_PER_ROW * columns.n + len(columns.entity_data) + sum(map(len, columns.extra.values()))
