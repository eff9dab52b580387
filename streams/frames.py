"""From placed rows to the columns of frames, one batch per region shard and flush, without touching a row in Python.

Rows are gathered at once into the narrow form of schemas/packed.py: for each flush it is settled how wide a column must
be (`Plan`), and each row is then written once. The memory is kept and used again for every flush (fresh memory costs
more than filling it), so a piece's batch points into it: encode it before asking for the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.observation import NO_PLACE_E7, OBSERVATION, Flag
from schemas.packed import SCALES, codes_type, codes_width, numbers_field, width_of
from schemas.sources import TOPICS
from streams import frame_kernels as kernels
from streams.frame_codes import CityCoder, Coder
from streams.placing import Placed, RawKey
from streams.strings import StringTable
from streams.words import Int

FIXED_ROW_BYTES: Final = 84
"""What a row costs in a frame beside its entity id and extra fields, at most."""

_SOURCE_NAMES = pa.array(list(TOPICS), pa.utf8())
_HALO = int(Flag.HALO)
_NO_INDEX = np.empty(0, dtype=np.int32)
_WIDEST: Final = 8
_CODED = ("kind", "unit", "device_type")

Range = tuple[Int, Int]


@dataclass(frozen=True, slots=True)
class Span:
    """How far a piece takes one raw partition: up to offset `last`; `complete` when no row of it is left for later."""

    key: RawKey
    last: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one frame in their narrow form. `final`: the last frame of this shard in this flush."""

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


@dataclass(slots=True)
class _Numbers:
    """How a column of numbers is written in this flush: `base` and `width` as in schemas/packed.py, and if the numbers
    are decimal fractions their `scale`. Width 8 is the column as it is."""

    width: int
    base: int = 0
    scale: int = 0


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
        self._coders = {name: Coder(table) for name, table in zip(_CODED, (kinds, units, device_types), strict=True)}
        self._jurisdictions = jurisdictions or StringTable()
        self._jurisdiction_coder = CityCoder(self._jurisdictions)
        self._room = 0
        self._columns: dict[str, npt.NDArray[np.uint8]] = {}
        self._plan: dict[str, _Numbers] = {}
        self._text_index = np.empty(0, dtype=np.int32)  # which text of the flush a row has, -1 for none
        self._jurisdiction = np.empty(0, dtype=np.int32)
        self._entity_offsets = np.empty(0, dtype=np.int32)
        self._entity_data = np.empty(0, dtype=np.uint8)
        self._reserve(1024, 32 * 1024)

    def build(self, blocks: Sequence[Placed]) -> Iterator[Piece]:
        """The pieces of all shards that have rows, shard by shard, in the order in which they must be sent.

        All blocks of one raw partition must stand together, in offset order.
        """
        sorted_blocks, text, text_offsets = self._sort([block for block in blocks if block.columns.n])
        if not sorted_blocks:
            return
        totals = np.zeros(self._shards + 1, dtype=np.int64)
        for item in sorted_blocks:
            totals[1:] += np.diff(item.starts)
        begins = np.cumsum(totals)
        bases = self._gather(sorted_blocks, begins)
        for shard in np.flatnonzero(np.diff(begins)):
            yield from self._pieces(int(shard), sorted_blocks, begins, int(bases[shard]), text, text_offsets)

    def single(self, block: Placed, row: int) -> pa.RecordBatch:
        """The narrow form of one row, for what must not wait for its flush."""
        (piece,) = self.build([_row_of(block, row)])
        return piece.batch

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
        blocks = [item.block for item in items]
        plan = self._plan = _plan_of(blocks, self._plan)
        for name, coder in self._coders.items():
            coder.number([getattr(block.columns, name) for block in blocks])
        texts = any(len(item.text_index) for item in items)
        used = np.zeros(self._shards, dtype=np.int64)
        at = begins[:-1].copy()
        out = self._columns
        for item in items:
            block, columns = item.block, item.block.columns
            rows = (item.order, item.starts, at)
            for name, values in _whole_numbers(block).items():
                if plan[name].width:
                    kernels.gather_numbers(*rows, values, plan[name].base, plan[name].width, out[name])
            for name, values in _reals(block).items():
                how = plan[name]
                if how.width == _WIDEST:
                    kernels.gather_reals(*rows, values, out[name].view(values.dtype))
                elif how.width:
                    kernels.gather_scaled(*rows, values, how.scale, how.base, how.width, out[name])
            how = plan["flags"]
            if how.width:
                kernels.gather_flags(*rows, block.flags, block.shard, _HALO, how.base, how.width, out["flags"])
            how = plan["partition"]
            if how.width:
                kernels.fill_numbers(item.starts, at, columns.partition - how.base, how.width, out["partition"])
            kernels.fill_numbers(item.starts, at, int(columns.source), 1, out["source"])
            for name, coder in self._coders.items():
                if len(coder.found):
                    kernels.gather_codes(*rows, getattr(columns, name), coder.number_of, coder.width, out[name])
            kernels.gather_strings(
                *rows, columns.entity_data, columns.entity_offsets,
                bases, used, self._entity_offsets, self._entity_data,
            )  # fmt: skip
            if texts:
                kernels.gather_sparse(*rows, item.text_index, self._text_index)
            if len(self._jurisdictions):
                kernels.gather_sparse(*rows, block.jurisdiction, self._jurisdiction)
            at += np.diff(item.starts)
        if not texts:
            self._text_index[: begins[-1]] = -1
        return bases

    def _reserve(self, rows: int, entity_bytes: int) -> None:
        if rows > self._room or not self._columns:
            self._room = max(rows, 2 * self._room)
            self._columns = {name: np.empty(_WIDEST * self._room, dtype=np.uint8) for name in OBSERVATION.names}
            self._text_index = np.empty(self._room, dtype=np.int32)
            self._jurisdiction = np.empty(self._room, dtype=np.int32)
            self._entity_offsets = np.empty(self._room + self._shards, dtype=np.int32)
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
        cuts = self._cuts(shard, first, end, text_offsets)
        for start, stop in pairwise(cuts):
            spans = tuple(self._spans(ends, first, start, stop))
            yield Piece(shard, self._batch(shard, start, stop, base, text, text_offsets), spans, stop == end)

    def _spans(self, ends: dict[RawKey, int], first: int, start: int, stop: int) -> Iterator[Span]:
        begin = first
        for key, end in ends.items():
            if begin < stop and end > start:
                last = min(end, stop)
                yield Span(key, self._offset_of(last - 1), end <= stop)
            begin = end

    def _offset_of(self, row: int) -> int:
        how = self._plan["offset"]
        stored = self._columns["offset"][row * how.width : (row + 1) * how.width]
        return how.base + int.from_bytes(stored.tobytes(), "little")

    def _cuts(self, shard: int, first: int, end: int, text_offsets: npt.NDArray[np.int64]) -> list[int]:
        """Row numbers at which the shard's rows are cut: first, ..., end."""
        entity = self._entity_offsets[first + shard : end + shard + 1]
        rows = end - first
        most = rows * FIXED_ROW_BYTES + int(entity[-1]) + int(text_offsets[-1])
        if rows <= self._max_rows and most <= self._max_bytes:
            return [first, end]
        extra = np.empty(rows + 1, dtype=np.int64)
        kernels.measure_texts(self._text_index[first:end], text_offsets, extra)
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
        text: npt.NDArray[np.uint8],
        text_offsets: npt.NDArray[np.int64],
    ) -> pa.RecordBatch:
        rows = stop - start
        made: dict[str, tuple[pa.Field, pa.Array]] = {}
        for name, how in self._plan.items():
            field = numbers_field(OBSERVATION.field(name), how.width, how.base, how.scale)
            size = field.type.bit_width // 8 if how.width else 0
            data = pa.py_buffer(self._columns[name][start * size : stop * size])
            made[name] = field, pa.Array.from_buffers(field.type, rows, [None, data]) if size else pa.nulls(rows)
        field = OBSERVATION.field("source")
        codes = [None, pa.py_buffer(self._columns["source"][start:stop])]
        made["source"] = field, pa.DictionaryArray.from_buffers(field.type, rows, codes, _SOURCE_NAMES)
        for name, coder in self._coders.items():
            field = OBSERVATION.field(name)
            codes = [None, pa.py_buffer(self._columns[name][start * coder.width : stop * coder.width])]
            made[name] = (
                _coded(field, rows, coder.width, codes, coder.dictionary) if len(coder.found) else _none(field, rows)
            )
        field = OBSERVATION.field("jurisdiction")
        if len(self._jurisdictions):
            made["jurisdiction"] = field, self._jurisdiction_coder.array(self._jurisdiction[start:stop])
        else:
            made["jurisdiction"] = _none(field, rows)
        offsets = self._entity_offsets[start + shard : stop + shard + 1]
        data = pa.py_buffer(self._entity_data[base : base + int(offsets[-1])])
        made["entity"] = (
            OBSERVATION.field("entity"),
            pa.Array.from_buffers(pa.utf8(), rows, [None, pa.py_buffer(offsets), data]),
        )
        made["extra"] = _texts(OBSERVATION.field("extra"), self._text_index[start:stop], text, text_offsets)
        ordered = [made[name] for name in OBSERVATION.names]
        return pa.RecordBatch.from_arrays(
            [column for _, column in ordered], schema=pa.schema([field for field, _ in ordered])
        )


def _whole_numbers(block: Placed) -> dict[str, npt.NDArray[Any]]:
    columns = block.columns
    return {
        "event_at": columns.event_at_ms,
        "received_at": columns.received_at_ms,
        "cell": block.cell,
        "offset": columns.offset,
        "quality": block.quality,
        "lon_e7": block.lon_e7,
        "lat_e7": block.lat_e7,
    }


def _reals(block: Placed) -> dict[str, npt.NDArray[Any]]:
    return {"value": block.columns.value, "confidence": block.columns.confidence}


def _plan_of(blocks: Sequence[Placed], before: Mapping[str, _Numbers]) -> dict[str, _Numbers]:
    """How wide the columns of numbers must be for all rows of these blocks; `before` is the plan of the last flush."""
    ranges: dict[str, list[Range]] = {"partition": [(block.columns.partition,) * 2 for block in blocks]}
    for block in blocks:
        for name in ("event_at", "received_at", "cell", "quality"):
            ranges.setdefault(name, []).append(kernels.range_of(_whole_numbers(block)[name]))
        offset = block.columns.offset  # rising
        ranges.setdefault("offset", []).append((int(offset[0]), int(offset[-1])))
        low, high = kernels.range_of(block.flags)
        ranges.setdefault("flags", []).append((low, high | _HALO if len(block.halo_row) else high))
    plan = {}
    for name, several in ranges.items():
        low, high = int(min(low for low, _ in several)), int(max(high for _, high in several))
        width = width_of(low, high)
        plan[name] = _Numbers(width, 0 if width == 8 else low)  # as it is, which is not less anything
    for name in ("lon_e7", "lat_e7"):  # whatever they are, they fit into 32 bits from there on
        plan[name] = _Numbers(4, NO_PLACE_E7)
    for name in ("value", "confidence"):
        plan[name] = _scaled([_reals(block)[name] for block in blocks], before.get(name))
    return plan


def _scaled(columns: Sequence[npt.NDArray[Any]], before: _Numbers | None) -> _Numbers:
    """The scale that did last time is tried first: a failure is found late where most rows would do with a smaller."""
    for scale in SCALES if before is None or not before.scale else (before.scale, *SCALES):
        ranges = []
        for values in columns:
            exact, low, high = kernels.scaled_range(values, scale)
            if not exact:
                break
            ranges.append((low, high))
        else:
            low, high = int(min(low for low, _ in ranges)), int(max(high for _, high in ranges))
            return _Numbers(width_of(low, high), low, scale)
    return _Numbers(_WIDEST)


def _row_of(block: Placed, row: int) -> Placed:
    """A block of one row of a block, without its copies for other shards."""
    one = slice(row, row + 1)
    columns = block.columns
    extra = {0: columns.extra[row]} if row in columns.extra else {}
    arrays = {
        name: getattr(columns, name)[one]
        for name in (
            "event_at_ms", "received_at_ms", "offset", "kind", "unit", "device_type", "value", "confidence",
            "quality", "datum", "lon", "lat",
        )
    }  # fmt: skip
    return replace(
        block,
        columns=replace(columns, n=1, extra=extra, entity_offsets=columns.entity_offsets[row : row + 2], **arrays),
        cell=block.cell[one], lon_e7=block.lon_e7[one], lat_e7=block.lat_e7[one], flags=block.flags[one],
        quality=block.quality[one], shard=block.shard[one], jurisdiction=block.jurisdiction[one],
        halo_row=_NO_INDEX, halo_shard=_NO_INDEX,
    )  # fmt: skip


def _none(field: pa.Field, rows: int) -> tuple[pa.Field, pa.Array]:
    return pa.field(field.name, pa.null()), pa.nulls(rows)


def _coded(
    field: pa.Field, rows: int, width: int, buffers: list[pa.Buffer | None], words: pa.Array
) -> tuple[pa.Field, pa.Array]:
    kind = codes_type(width)
    return field.with_type(kind), pa.DictionaryArray.from_buffers(kind, rows, buffers, words)


def _texts(
    field: pa.Field, index: npt.NDArray[np.int32], text: npt.NDArray[np.uint8], text_offsets: npt.NDArray[np.int64]
) -> tuple[pa.Field, pa.Array]:
    """A column of texts that few rows have: each is a word of the dictionary, and behind them a null for the rest."""
    there = np.flatnonzero(index >= 0)
    count = len(there)
    if not count:
        return _none(field, len(index))
    chosen = index[there]
    offsets = np.empty(count + 1, dtype=np.int64)
    kernels.measure_texts(chosen, text_offsets, offsets)
    data = np.empty(int(offsets[-1]), dtype=np.uint8)
    kernels.copy_texts(chosen, text, text_offsets, data)
    starts = np.append(offsets, offsets[-1]).astype(np.int32)
    valid = np.packbits(np.arange(count + 1) < count, bitorder="little")
    words = pa.Array.from_buffers(
        pa.utf8(), count + 1, [pa.py_buffer(valid), pa.py_buffer(starts), pa.py_buffer(data)], 1
    )
    width = codes_width(count + 1)
    codes = np.full(len(index), count, dtype=_CODE_DTYPES[width])
    codes[there] = np.arange(count)
    return _coded(field, len(index), width, [None, pa.py_buffer(codes)], words)


_CODE_DTYPES: Final = {1: np.uint8, 2: np.uint16, 4: np.int32}


def _join(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All texts in one array, and their offsets int64[texts + 1]."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
    return np.frombuffer(bytearray().join(texts), dtype=np.uint8), offsets
