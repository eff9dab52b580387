"""From the raw batches of one partition to columns: the fast kernels first, the reference decoder for what they leave.

Every record of every batch ends up in exactly one place, in offset order: a row of `Columns`, or a dead letter. A batch
that cannot be unpacked is one dead letter as a whole.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas import decode as reference
from schemas.dead_letter import DeadLetter, Reason
from schemas.errors import BadRecord
from schemas.sources import Source
from streams import record_kernels
from streams.batches import Batch, CorruptBatch, RawBatch
from streams.buffers import Buffers, Room
from streams.codecs import BrokenData, Codec, NoRoom, decompress_into
from streams.columns import NO_CODE, Columns
from streams.entity_kernels import merge_entities
from streams.json_fields import DEFAULTED, fields_of
from streams.json_kernels import TOKENS, Kept, Rows, scan
from streams.json_shapes import SEEN_ROOM, new_shape
from streams.strings import StringTable
from streams.words import PADDING, padded

MOST_BATCH_BYTES: Final = 64 * 1024 * 1024
"""A batch that unpacks to more is refused: producers send some MiB at most, a bomb of a few KiB could fill memory."""

MOST_BATCH_RECORDS: Final = 1_000_000
"""A batch that claims more records is refused."""

GROUP_BYTES: Final = 1024 * 1024
"""Batches are unpacked one behind the other up to about this much, then scanned: it stays in a core's own cache."""

_KEPT_BYTES: Final = 16 * GROUP_BYTES  # a larger buffer, made for one large batch, is given back
_KEPT_COLUMN_BYTES: Final = 48 * 1024 * 1024  # of rows that wait for their flush, and of those flushed since
_ROW_BYTES: Final = 6 * 8 + 5 * 4 + 2 * 1  # of all columns that are made for every record
_COLUMNS: Final = 14
_UNPACKS_TO: Final = 8  # first guess of how many times its size a compressed batch becomes


class Decoded(NamedTuple):
    """What `Decoder.decode` gives. The offsets are those settled by these batches, both inclusive, gaps included."""

    columns: Columns
    letters: list[DeadLetter]
    first_offset: int
    last_offset: int


class Decoder:
    """Decodes the batches of any partition; keeps buffers, and the string tables it was given, from call to call.

    One decode at a time per decoder and string table (a lock sees to the first); it may run in any thread, most of its
    time without the interpreter lock.
    """

    def __init__(
        self, kinds: StringTable, units: StringTable, types: StringTable, zones: Mapping[Source, ZoneInfo]
    ) -> None:
        self._kinds = kinds
        self._units = units
        self._types = types
        self._zones = dict(zones)
        self._fields = {source: fields_of(source) for source in Source}
        self._scratch = _Scratch(GROUP_BYTES)
        self._shapes = {source: new_shape() for source in Source}
        self._seen = np.zeros(SEEN_ROOM, dtype=np.int64)
        self._buffers = Buffers(_KEPT_COLUMN_BYTES)
        self._lock = threading.Lock()

    def decode(self, source: Source, topic: str, partition: int, batches: Sequence[Batch]) -> Decoded:
        """All rows and dead letters of `batches`, which are in offset order and at least one.

        Memory is proportional to the records in them: cut long lists with `streams.batches.slices`.
        """
        if not batches:
            raise ValueError("streams/decode: there is nothing to decode, expected at least one batch")
        with self._lock:
            work = _Work(source, topic, partition, sum(map(_claimed, batches)), self._buffers)
            group = _Group()
            for batch in batches:
                if isinstance(batch, CorruptBatch):
                    work.refuse(batch, batch.detail, batch.reason)
                elif batch.count > MOST_BATCH_RECORDS:
                    work.refuse(batch, f"it claims {batch.count} records, more than {MOST_BATCH_RECORDS}")
                else:
                    group = self._add(batch, group, work)
            self._finish(group, work)
            if self._scratch.bytes > _KEPT_BYTES:
                self._scratch = _Scratch(GROUP_BYTES)
            columns = work.columns(self._kinds, self._units, self._types)
        work.letters.sort(key=lambda letter: letter.offset)
        return Decoded(columns, work.letters, batches[0].first_offset, batches[-1].next_offset - 1)

    def _add(self, batch: RawBatch, group: _Group, work: _Work) -> _Group:
        """Unpack a batch behind those of its group; first finishes the group when there is no room any more."""
        needed = len(batch.payload) * (1 if batch.codec is Codec.NONE else _UNPACKS_TO)
        while True:
            room = self._scratch.bytes - group.end
            try:
                if needed > room and (group.end > 0 or batch.codec is Codec.NONE):
                    raise NoRoom
                size = decompress_into(batch.codec, batch.payload, self._scratch.buffer[group.end : group.end + room])
            except NoRoom:
                if group.end > 0:
                    self._finish(group, work)
                    group = _Group()
                elif room >= MOST_BATCH_BYTES:
                    work.refuse(batch, f"it unpacks to more than {MOST_BATCH_BYTES} bytes")
                    return group
                else:
                    self._scratch = _Scratch(min(MOST_BATCH_BYTES, max(2 * room, needed)))
                if batch.codec is not Codec.NONE:
                    needed = 0  # it was a guess: now try
            except BrokenData as error:
                work.refuse(batch, f"{batch.codec.name.lower()} data is broken: {error}")
                return group
            else:
                group.add(batch, size)
                return group

    def _finish(self, group: _Group, work: _Work) -> None:
        """Run the kernels over a group's batches and add its rows and letters to the work."""
        if not group.batches:
            return
        scratch = self._scratch
        buffer = scratch.buffer[: group.end + PADDING]
        buffer[group.end :] = 0
        starts, lengths, kept = scratch.records(group.most_records)
        status = np.empty(len(group.batches), dtype=np.uint8)
        table = np.array(group.table, dtype=np.int64)
        first = work.row_count
        offsets, received = work.offset[first:], work.received_at_ms[first:]
        count = record_kernels.split(buffer, table, starts, lengths, offsets, received, status)
        if status.any():
            for index in np.flatnonzero(status).tolist():
                work.refuse(group.batches[index], record_kernels.PROBLEMS[status[index]])
        fields = self._fields[work.source]
        slow_count = scan(
            buffer,
            starts,
            lengths,
            count,
            fields.table,
            fields.successors,
            self._shapes[work.source],
            fields.required,
            fields.defaulted,
            DEFAULTED,
            self._kinds.header,
            self._units.header,
            self._types.header,
            TOKENS,
            self._seen,
            work.with_room_for_entities(group.end),
            first,
            kept,
        )
        if work.source is not Source.READINGS:  # all of whose known fields have columns
            work.keep_extras(count, kept)
        if slow_count:
            slow = np.flatnonzero(kept.slow[:count])
            zone = self._zones[work.source]
            for record, start, length in zip(slow.tolist(), starts[slow].tolist(), lengths[slow].tolist(), strict=True):
                payload = None if length < 0 else buffer[start : start + length].tobytes()
                work.settle_slow(first + record, payload, zone)
        work.row_count += count


def _claimed(batch: Batch) -> int:
    """The rows a batch may become, as far as its header is believed."""
    return batch.count if isinstance(batch, RawBatch) and batch.count <= MOST_BATCH_RECORDS else 0


def warm_up(zone: ZoneInfo) -> None:
    """Compile every kernel, before the group is joined: seconds once per machine, then from numba's cache."""
    decoder = Decoder(StringTable(), StringTable(), StringTable(), dict.fromkeys(Source, zone))
    # A record without headers: lengths below 64 are one byte, twice the number.
    value = b"{}"
    record = b"\x00\x00\x00\x01" + bytes([2 * len(value)]) + value + b"\x00"
    payload = bytes([2 * len(record)]) + record
    for source in Source:
        decoder.decode(source, source.topic, 0, [RawBatch(0, 1, 1, 0, True, payload)])
    offsets, data = np.zeros(2, dtype=np.int32), np.zeros(PADDING, dtype=np.uint8)
    merge_entities(offsets, data, np.zeros(1, dtype=np.int64), offsets, data, offsets.copy(), data.copy())


class _Scratch:
    """Arrays that are used again for every group."""

    def __init__(self, size: int) -> None:
        self.bytes = size
        self.buffer = np.zeros(size + PADDING, dtype=np.uint8)
        self._extra_data = np.empty(size + PADDING, dtype=np.uint8)
        self._most_records = 0

    def records(self, most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Kept]:
        """Starts and lengths of records, and what the scan keeps of them, for at least `most` records."""
        if most > self._most_records:
            self._most_records = 2 * most
            self._starts = np.empty(2 * most, dtype=np.int64)
            self._lengths = np.empty(2 * most, dtype=np.int64)
            self._kept = Kept(
                slow=np.empty(2 * most, dtype=np.bool_),
                extra_starts=np.empty(2 * most, dtype=np.int64),
                extra_lengths=np.empty(2 * most, dtype=np.int64),
                extra_data=self._extra_data,
            )
        return self._starts, self._lengths, self._kept


@dataclass(slots=True)
class _Group:
    """Batches unpacked one behind the other in the buffer, as far as `end`."""

    batches: list[RawBatch] = field(default_factory=list)
    table: list[tuple[int, ...]] = field(default_factory=list)
    end: int = 0
    most_records: int = 1

    def add(self, batch: RawBatch, size: int) -> None:
        end = self.end + size
        self.batches.append(batch)
        self.table.append(
            (self.end, end, batch.base_offset, batch.next_offset, batch.count, batch.timestamp_ms, batch.skip_before)
        )
        self.end = end
        self.most_records += min(batch.count, size // record_kernels.SMALLEST_RECORD)


class _Work:
    """What one call of `decode` has made so far; its arrays have room for `most_rows`."""

    def __init__(self, source: Source, topic: str, partition: int, most_rows: int, buffers: Buffers) -> None:
        self.source = source
        self.topic = topic
        self.partition = partition
        self.letters: list[DeadLetter] = []
        self.row_count = 0
        self._buffers = buffers
        room = Room(buffers, most_rows * _ROW_BYTES, _COLUMNS)
        self.offset = room.column(np.int64, most_rows)
        self.received_at_ms = room.column(np.int64, most_rows)
        self._rows = Rows(
            event_at_ms=room.column(np.int64, most_rows),
            kind=room.column(np.int32, most_rows),
            unit=room.column(np.int32, most_rows),
            device_type=room.column(np.int32, most_rows),
            value=room.column(np.float64, most_rows),
            confidence=room.column(np.float32, most_rows),
            quality=room.column(np.uint8, most_rows),
            datum=room.column(np.uint8, most_rows),
            lon=room.column(np.float64, most_rows),
            lat=room.column(np.float64, most_rows),
            entity_offsets=room.column(np.int32, most_rows + 1),
            entity_data=np.empty(PADDING, dtype=np.uint8),
        )
        self._rows.entity_offsets[0] = 0
        self._extra: dict[int, bytes] = {}
        self._slow: list[int] = []
        self._slow_rows: list[reference.Row] = []
        self._dead: list[int] = []

    def refuse(self, batch: Batch, detail: str, reason: Reason = Reason.CORRUPT_BATCH) -> None:
        """Make a whole batch one dead letter."""
        first = max(batch.base_offset, batch.first_offset, 0)
        error = BadRecord(reason, "$", f"offsets {first}..{batch.next_offset - 1}: {detail}")
        self._add_letter(error, first, batch.payload, batch.timestamp_ms)

    def settle_slow(self, row: int, payload: bytes | None, zone: ZoneInfo) -> None:
        """Let the reference decoder say what a record is that the scan left."""
        try:
            decoded = reference.decode(self.source, payload, zone)
        except BadRecord as error:
            self._dead.append(row)
            self._add_letter(error, int(self.offset[row]), payload, int(self.received_at_ms[row]))
        else:
            self._slow.append(row)
            self._slow_rows.append(decoded)

    def with_room_for_entities(self, size: int) -> Rows:
        """The rows, with room for `size` bytes of entity ids behind those that are there."""
        used = int(self._rows.entity_offsets[self.row_count])
        needed = used + size + PADDING
        if len(self._rows.entity_data) < needed:
            entity_data = self._buffers.lease(needed + max(used, GROUP_BYTES))  # not anew for every group
            entity_data[:used] = self._rows.entity_data[:used]
            self._rows = self._rows._replace(entity_data=entity_data)
        return self._rows

    def keep_extras(self, count: int, kept: Kept) -> None:
        """Take over the extra JSON of the `count` records that were scanned last."""
        records = np.flatnonzero(kept.extra_lengths[:count])
        if len(records) == 0:
            return
        starts = kept.extra_starts[records]
        ends = starts + kept.extra_lengths[records]
        data = kept.extra_data[: int(ends[-1])].tobytes()
        rows = records + self.row_count
        for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            self._extra[row] = data[start:end]

    def columns(self, kinds: StringTable, units: StringTable, types: StringTable) -> Columns:
        """All rows, the slow ones filled in and the dead ones taken out."""
        rows, count = self._rows, self.row_count
        if self._slow:
            rows = self._with_slow(kinds, units, types)
        made: dict[str, Any] = {name: getattr(rows, name)[:count] for name in _ROW_COLUMNS}
        made["offset"] = self.offset[:count]
        made["received_at_ms"] = self.received_at_ms[:count]
        entity_offsets, extra = rows.entity_offsets[: count + 1], self._extra
        entity_data = rows.entity_data[: int(entity_offsets[-1])]
        if self._dead:  # they have no entity either
            alive = np.ones(count, dtype=np.bool_)
            alive[self._dead] = False
            made = {name: column[alive] for name, column in made.items()}
            entity_offsets = np.append(entity_offsets[:-1][alive], entity_offsets[-1])
            new_row = np.cumsum(alive) - 1
            extra = {int(new_row[row]): kept for row, kept in extra.items()}
        return Columns(
            source=self.source,
            topic=self.topic,
            partition=self.partition,
            n=count - len(self._dead),
            entity_data=entity_data,
            entity_offsets=entity_offsets,
            extra=extra,
            **made,
        )

    def _with_slow(self, kinds: StringTable, units: StringTable, types: StringTable) -> Rows:
        rows, slow, decoded = self._rows, self._slow, self._slow_rows
        rows.event_at_ms[slow] = [row.event_at_ms for row in decoded]
        rows.kind[slow] = [kinds.add(row.kind) for row in decoded]
        rows.unit[slow] = [NO_CODE if row.unit is None else units.add(row.unit) for row in decoded]
        rows.device_type[slow] = [NO_CODE if row.device_type is None else types.add(row.device_type) for row in decoded]
        rows.value[slow] = [row.value for row in decoded]
        rows.confidence[slow] = [row.confidence for row in decoded]
        rows.quality[slow] = [row.quality for row in decoded]
        rows.datum[slow] = [row.datum for row in decoded]
        rows.lon[slow] = [row.lon for row in decoded]
        rows.lat[slow] = [row.lat for row in decoded]
        self._extra.update((at, row.extra) for at, row in zip(slow, decoded, strict=True) if row.extra is not None)
        entities = [row.entity.encode() for row in decoded]
        added = padded(b"".join(entities))
        added_offsets = np.zeros(len(entities) + 1, dtype=np.int32)
        np.cumsum([len(entity) for entity in entities], out=added_offsets[1:])
        offsets = rows.entity_offsets[: self.row_count + 1]
        out_offsets = np.empty_like(offsets)
        out = np.empty(int(offsets[-1]) + len(added) + PADDING, dtype=np.uint8)
        at = np.array(slow, dtype=np.int64)
        merge_entities(offsets, rows.entity_data, at, added_offsets, added, out_offsets, out)
        return rows._replace(entity_offsets=out_offsets, entity_data=out)

    def _add_letter(self, error: BadRecord, offset: int, payload: bytes | memoryview | None, at_ms: int) -> None:
        self.letters.append(
            DeadLetter.of(
                error,
                topic=self.topic,
                partition=self.partition,
                offset=offset,
                payload=payload,
                received_at_ms=at_ms,
            )
        )


_ROW_COLUMNS: Final = (
    "event_at_ms",
    "kind",
    "unit",
    "device_type",
    "value",
    "confidence",
    "quality",
    "datum",
    "lon",
    "lat",
)
