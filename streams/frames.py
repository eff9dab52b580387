"""From placed rows to Arrow record batches, one per region shard and flush, without touching a row in Python.

The arrays are kept and used again for every flush (fresh memory costs more than filling it), so a piece's batch points
into them: encode it before asking for the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.observation import OBSERVATION, Flag
from schemas.sources import TOPICS
from streams import frame_kernels as kernels
from streams.placing import Placed, RawKey
from streams.strings import StringTable

FIXED_ROW_BYTES: Final = 84
"""What a row costs in a frame beside its entity id and extra fields: 80 bytes of columns, and the bitmaps."""

_SOURCE_NAMES = pa.array(list(TOPICS), pa.utf8())
_HALO = int(Flag.HALO)
_NO_INDEX = np.empty(0, dtype=np.int32)
_COLUMNS: Final[dict[str, type[np.generic]]] = {
    "event_at": np.int64,
    "received_at": np.int64,
    "cell": np.int64,
    "offset": np.int64,
    "value": np.float64,
    "source": np.int8,
    "partition": np.int32,
    "kind": np.int32,
    "unit": np.int32,
    "device_type": np.int32,
    "jurisdiction": np.int32,
    "confidence": np.float32,
    "lon_e7": np.int32,
    "lat_e7": np.int32,
    "flags": np.uint16,
    "quality": np.uint8,
    "extra": np.int32,  # index of the row's text in the flush, -1 for none
}


@dataclass(frozen=True, slots=True)
class Span:
    """How far a piece takes one raw partition: up to offset `last`; `complete` when no row of it is left for later."""

    key: RawKey
    last: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one frame. `final`: the last frame of this shard in this flush."""

    shard: int
    batch: pa.RecordBatch
    spans: tuple[Span, ...]
    final: bool


@dataclass(slots=True)
class _Sorted:
    """One block of rows with its counting sort: rows for shard s are order[starts[s]:starts[s+1]]."""

    block: Placed
    order: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    text_index: npt.NDArray[np.int32]


class FrameBuilder:
    """Cuts blocks of placed rows into pieces of at most `max_rows` rows and about `max_bytes` bytes per shard.

    A single row larger than `max_bytes` still becomes a piece: a raw record is at most 64 KiB.
    """

    def __init__(
        self,
        shards: int,
        kinds: StringTable,
        units: StringTable,
        device_types: StringTable,
        *,
        jurisdictions: StringTable | None = None,
        max_rows: int = 65_536,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._shards = shards
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._coders = {"kind": _Coder(kinds), "unit": _Coder(units), "device_type": _Coder(device_types)}
        self._jurisdictions = jurisdictions or StringTable()
        self._jurisdiction_coder = _CityCoder(self._jurisdictions)
        self._room = 0
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._entity_offsets = np.empty(0, dtype=np.int64)
        self._extra_offsets = np.empty(0, dtype=np.int64)
        self._entity_data = np.empty(0, dtype=np.uint8)
        self._reserve(1024, 32 * 1024)

    def build(self, blocks: Sequence[Placed]) -> Iterator[Piece]:
        """The pieces of all shards that have rows, shard by shard, in the order in which they must be sent.

        All blocks of one raw partition must stand together, in offset order.
        """
        sorted_blocks, text, text_offsets = self._sort(blocks)
        totals = np.zeros(self._shards + 1, dtype=np.int64)
        for item in sorted_blocks:
            totals[1:] += np.diff(item.starts)
        begins = np.cumsum(totals)
        bases = self._gather(sorted_blocks, begins)
        for shard in np.flatnonzero(np.diff(begins)):
            yield from self._pieces(int(shard), sorted_blocks, begins, int(bases[shard]), text, text_offsets)

    def single(self, block: Placed, row: int) -> pa.RecordBatch:
        """A batch of one row, for what must not wait for its flush."""
        texts = [block.columns.extra[row]] if row in block.columns.extra else []
        index = np.full(block.columns.n if texts else 0, -1, dtype=np.int32)
        if texts:
            index[row] = 0
        starts = np.zeros(self._shards + 1, dtype=np.int64)
        starts[int(block.shard[row]) + 1 :] = 1
        one = _Sorted(block, np.array([row], dtype=np.int32), starts, index)
        bases = self._gather([one], starts)
        text, text_offsets = _join(texts)
        shard = int(block.shard[row])
        extra = self._measure(shard, 0, 1, text_offsets)
        return self._batch(shard, 0, 1, int(bases[shard]), extra, text, text_offsets)

    # --- sort and gather -------------------------------------------------------------------------------------------

    def _sort(self, blocks: Sequence[Placed]) -> tuple[list[_Sorted], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        done: list[_Sorted] = []
        texts: list[bytes] = []
        for block in blocks:
            counts = np.zeros(self._shards, dtype=np.int64)
            kernels.count_destinations(block.shard, block.halo_shard, counts)
            order = np.empty(int(counts.sum()), dtype=np.int32)
            starts = np.empty(self._shards + 1, dtype=np.int64)
            kernels.sort_by_shard(block.shard, block.halo_row, block.halo_shard, counts, starts, order)
            index = _NO_INDEX
            extra = block.columns.extra
            if extra:
                index = np.full(block.columns.n, -1, dtype=np.int32)
                index[np.fromiter(extra.keys(), np.int64, len(extra))] = np.arange(
                    len(texts), len(texts) + len(extra), dtype=np.int32
                )
                texts.extend(extra.values())
            done.append(_Sorted(block, order, starts, index))
        return done, *_join(texts)

    def _gather(self, items: Sequence[_Sorted], begins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Write all rows to the kept arrays, shard s from begins[s] on; gives where each shard's entity bytes begin."""
        sizes = np.zeros(self._shards, dtype=np.int64)
        for item in items:
            kernels.count_bytes(item.order, item.starts, item.block.columns.entity_offsets, sizes)
        bases = np.zeros(self._shards + 1, dtype=np.int64)
        np.cumsum(sizes + kernels.SLACK, out=bases[1:])
        self._reserve(int(begins[-1]), int(bases[-1]))
        self._entity_offsets[begins[:-1] + np.arange(self._shards)] = 0
        used = np.zeros(self._shards, dtype=np.int64)
        at = begins[:-1].copy()
        out = self._columns
        for item in items:
            block, columns = item.block, item.block.columns
            kernels.gather_words(
                item.order, item.starts, at,
                columns.event_at_ms, columns.received_at_ms, block.cell, columns.offset, columns.value,
                out["event_at"], out["received_at"], out["cell"], out["offset"], out["value"],
            )  # fmt: skip
            kernels.gather_small(
                item.order, item.starts, at, int(columns.source), columns.partition, _HALO, block.shard,
                columns.kind, columns.unit, columns.device_type, columns.confidence,
                block.lon_e7, block.lat_e7, block.flags, block.quality,
                out["source"], out["partition"], out["kind"], out["unit"], out["device_type"], out["confidence"],
                out["lon_e7"], out["lat_e7"], out["flags"], out["quality"],
            )  # fmt: skip
            kernels.gather_strings(
                item.order, item.starts, at, columns.entity_data, columns.entity_offsets,
                bases, used, self._entity_offsets, self._entity_data,
            )  # fmt: skip
            kernels.gather_sparse(item.order, item.starts, at, item.text_index, out["extra"])
            if len(self._jurisdictions):
                kernels.gather_sparse(item.order, item.starts, at, block.jurisdiction, out["jurisdiction"])
            at += np.diff(item.starts)
        return bases

    def _reserve(self, rows: int, entity_bytes: int) -> None:
        if rows > self._room or not self._columns:
            self._room = max(rows, 2 * self._room)
            self._columns = {name: np.empty(self._room, dtype=dtype) for name, dtype in _COLUMNS.items()}
            self._entity_offsets = np.empty(self._room + self._shards, dtype=np.int64)
            self._extra_offsets = np.empty(self._room + 1, dtype=np.int64)
        if entity_bytes > len(self._entity_data):
            self._entity_data = np.empty(max(entity_bytes, 2 * len(self._entity_data)), dtype=np.uint8)

    # --- cut and wrap ----------------------------------------------------------------------------------------------

    def _pieces(
        self,
        shard: int,
        items: Sequence[_Sorted],
        begins: npt.NDArray[np.int64],
        base: int,
        text: npt.NDArray[np.uint8],
        text_offsets: npt.NDArray[np.int64],
    ) -> Iterator[Piece]:
        first, end = int(begins[shard]), int(begins[shard + 1])
        ends: dict[RawKey, int] = {}  # where each raw partition's rows end
        at = first
        for item in items:
            at += int(item.starts[shard + 1] - item.starts[shard])
            ends[item.block.key] = at
        extra = self._measure(shard, first, end, text_offsets)
        cuts = self._cuts(shard, first, end, extra)
        for start, stop in pairwise(cuts):
            spans = tuple(self._spans(ends, first, start, stop))
            if len(cuts) > 2:
                extra = self._measure(shard, start, stop, text_offsets)
            batch = self._batch(shard, start, stop, base, extra, text, text_offsets)
            yield Piece(shard, batch, spans, stop == end)

    def _spans(self, ends: dict[RawKey, int], first: int, start: int, stop: int) -> Iterator[Span]:
        begin = first
        for key, end in ends.items():
            if begin < stop and end > start:
                last = min(end, stop)
                yield Span(key, int(self._columns["offset"][last - 1]), end <= stop)
            begin = end

    def _measure(self, shard: int, start: int, stop: int, text_offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Offsets of the rows' extra texts, counted from `start`: int64[stop - start + 1]."""
        out = self._extra_offsets[: stop - start + 1]
        kernels.measure_texts(self._columns["extra"][start:stop], text_offsets, out)
        return out

    def _cuts(self, shard: int, first: int, end: int, extra: npt.NDArray[np.int64]) -> list[int]:
        """Row numbers at which the shard's rows are cut: first, ..., end."""
        entity = self._entity_offsets[first + shard : end + shard + 1]
        rows = end - first
        size = rows * FIXED_ROW_BYTES + int(entity[-1]) + int(extra[-1])
        if rows <= self._max_rows and size <= self._max_bytes:
            return [first, end]
        upto = np.arange(rows + 1) * FIXED_ROW_BYTES + entity + extra
        cuts = [0]
        while cuts[-1] < rows:
            fits = int(np.searchsorted(upto, upto[cuts[-1]] + self._max_bytes, side="right")) - 1
            cuts.append(min(rows, max(fits, cuts[-1] + 1), cuts[-1] + self._max_rows))
        return [first + cut for cut in cuts]

    def _batch(
        self,
        shard: int,
        start: int,
        stop: int,
        base: int,
        extra_offsets: npt.NDArray[np.int64],
        text: npt.NDArray[np.uint8],
        text_offsets: npt.NDArray[np.int64],
    ) -> pa.RecordBatch:
        column = self._columns
        rows = stop - start
        arrays: dict[str, pa.Array] = {
            name: pa.Array.from_buffers(
                OBSERVATION.field(name).type, rows, [None, pa.py_buffer(column[name][start:stop])]
            )
            for name in _PLAIN
        }
        arrays["source"] = pa.DictionaryArray.from_buffers(
            OBSERVATION.field("source").type, rows, [None, pa.py_buffer(column["source"][start:stop])], _SOURCE_NAMES
        )
        if len(self._jurisdictions):
            arrays["jurisdiction"] = self._jurisdiction_coder.array(column["jurisdiction"][start:stop])
        else:
            arrays["jurisdiction"] = pa.nulls(rows, _CODED)
        for name, coder in self._coders.items():
            arrays[name] = coder.array(column[name][start:stop])
        offsets = self._entity_offsets[start + shard : stop + shard + 1]
        data = self._entity_data[base + int(offsets[0]) : base + int(offsets[-1])]
        arrays["entity"] = _strings(rows, offsets, data)
        arrays["extra"] = self._extra(column["extra"][start:stop], extra_offsets, text, text_offsets)
        return pa.RecordBatch.from_arrays([arrays[name] for name in OBSERVATION.names], schema=OBSERVATION)

    def _extra(
        self,
        index: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        text: npt.NDArray[np.uint8],
        text_offsets: npt.NDArray[np.int64],
    ) -> pa.Array:
        if not offsets[-1]:
            return pa.nulls(len(index), pa.utf8())
        data = np.empty(int(offsets[-1]), dtype=np.uint8)
        kernels.copy_texts(index, text, text_offsets, data)
        bits = np.zeros((len(index) + 7) // 8, dtype=np.uint8)
        missing = kernels.pack_present(index, bits)
        return _strings(len(index), offsets, data, bits if missing else None, missing)


_PLAIN = [name for name in _COLUMNS if name not in ("source", "kind", "unit", "device_type", "jurisdiction", "extra")]


class _Coder:
    """Turns codes of a process-wide string table into a dictionary column that holds only the strings in use."""

    def __init__(self, table: StringTable) -> None:
        self._table = table
        self._generation = table.generation
        self._stamp = 0
        self._seen = np.zeros(0, dtype=np.int64)
        self._number_of = np.zeros(0, dtype=np.int32)
        self._found = np.zeros(0, dtype=np.int32)
        self._dictionaries: dict[bytes, pa.Array] = {}

    def array(self, codes: npt.NDArray[np.int32]) -> pa.DictionaryArray:
        """The column for `codes` (-1 is null), which are overwritten."""
        table = self._table
        if table.generation != self._generation:
            self._generation = table.generation
            self._dictionaries.clear()
        if len(table) > len(self._seen):
            room = max(64, 2 * len(table))
            self._seen = np.zeros(room, dtype=np.int64)
            self._number_of = np.zeros(room, dtype=np.int32)
            self._found = np.zeros(room, dtype=np.int32)
        self._stamp += 1
        count = kernels.collect_codes(codes, self._seen, self._stamp, self._found)
        found = np.sort(self._found[:count])
        bits = np.zeros((len(codes) + 7) // 8, dtype=np.uint8)
        missing = kernels.renumber(codes, found, self._number_of, bits)
        buffers = [pa.py_buffer(bits) if missing else None, pa.py_buffer(codes)]
        return pa.DictionaryArray.from_buffers(_CODED, len(codes), buffers, self._dictionary(found), missing)

    def _dictionary(self, found: npt.NDArray[np.int32]) -> pa.Array:
        key = found.tobytes()
        dictionary = self._dictionaries.get(key)
        if dictionary is None:
            values = self._table.values
            dictionary = pa.array([values[code] for code in found], pa.utf8())
            if len(self._dictionaries) >= 256:  # as many mixtures as one keeps seeing; then start anew
                self._dictionaries.clear()
            self._dictionaries[key] = dictionary
        return dictionary


class _CityCoder(_Coder):
    """For the codes of a city's jurisdictions: hundreds or thousands, always the same, in a mixture of its own in every
    frame.

    To write all of 6,000 into each frame would make a small one (250 rows) four times as large; to choose those in use
    costs a frame 10 to 30 us, however long the list is.
    """

    def __init__(self, table: StringTable) -> None:
        super().__init__(table)
        self._all = pa.array([], pa.utf8())

    def _dictionary(self, found: npt.NDArray[np.int32]) -> pa.Array:
        if len(self._all) != len(self._table):
            self._all = pa.array(self._table.values, pa.utf8())
        return self._all.take(pa.array(found))


_CODED = pa.dictionary(pa.int32(), pa.utf8())


def _join(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All texts in one array, and their offsets int64[texts + 1]."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
    return np.frombuffer(bytearray().join(texts), dtype=np.uint8), offsets


def _strings(
    rows: int,
    offsets: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    bits: npt.NDArray[np.uint8] | None = None,
    missing: int = 0,
) -> pa.Array:
    narrow = (offsets - offsets[0]).astype(np.int32)
    valid = None if bits is None else pa.py_buffer(bits)
    return pa.Array.from_buffers(pa.utf8(), rows, [valid, pa.py_buffer(narrow), pa.py_buffer(data)], missing)
