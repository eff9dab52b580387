"""Observations: decoded, placed records as columnar micro-batches (frames) on topic `observations`.

A frame is one Arrow IPC stream: its schema's metadata carries the header (which raw offsets it covers, and how far
event time has come in each raw partition), then comes at most one record batch, the columns of OBSERVATION in their
narrow form (schemas/packed.py). A frame without rows is a header frame, without columns: it moves coverage and
watermarks. Frames are written uncompressed: aiokafka's own lz4 encoder costs more than it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag
from typing import Annotated, Final

import msgspec
import pyarrow as pa

from schemas.errors import FrameError
from schemas.fields import FieldClass, note
from schemas.packed import pack, unpack

FRAME_VERSION: Final = 3
"""Version 2 had all columns at full width, version 1 no jurisdictions either. Their frames are still read, so that an
upgrade loses none that lie on Kafka."""
HEADER_KEY: Final = b"tongguan"
NO_CELL: Final = -1
NO_PLACE_E7: Final = -(2**31)  # lon_e7 and lat_e7 of a row that nobody could place
E7: Final = 10_000_000  # one degree in units of lon_e7 and lat_e7: 1e-7 degree is about 1 cm


class Flag(IntFlag):
    """Bits of the `flags` column. Values are part of stored history: never renumber, only append (uint16)."""

    LATE = 1  # behind its raw partition's watermark: archived, not joined
    HALO = 2  # a copy for a neighbour shard: not archived, not judged
    OUT_OF_RANGE = 4  # outside the valid range of its kind: quality at best suspect
    UNIT_MISMATCH = 8  # given in another unit than its kind has: quality at best suspect
    PLACE_FROM_REGISTER = 16  # the device register's place, not the record's
    DATUM_CONVERTED = 32  # the record's coordinates were not WGS-84 and have been converted
    UNKNOWN_KIND = 64  # metric, event or category that the registry of kinds does not know
    UNPLACED = 128  # no coordinates, not in the register, no address known: archived, not joined
    PLACE_FROM_ADDRESS = 256  # the address library's place for a ticket's words; extra has `place_confidence`


class Quality(IntEnum):
    """Values of the `quality` column, from good to bad; a later check may only make it worse."""

    GOOD = 0
    SUSPECT = 1
    BAD = 2


_CODED = pa.dictionary(pa.int32(), pa.utf8())

OBSERVATION: Final[pa.Schema] = pa.schema(
    [
        pa.field("event_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("received_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("cell", pa.int64(), nullable=False),
        pa.field("source", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("kind", _CODED, nullable=False),
        pa.field("entity", pa.utf8(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("quality", pa.uint8(), nullable=False),
        pa.field("flags", pa.uint16(), nullable=False),
        pa.field("lon_e7", pa.int32(), nullable=False),
        pa.field("lat_e7", pa.int32(), nullable=False),
        pa.field("unit", _CODED, nullable=True),
        pa.field("device_type", _CODED, nullable=True),
        pa.field("extra", pa.utf8(), nullable=True),
        pa.field("jurisdiction", _CODED, nullable=True),
    ]
)

COLUMN_NOTES: Final[Mapping[str, tuple[FieldClass, str, str]]] = {
    "event_at": (FieldClass.INTERNAL, "事件时间", "when it happened, by the record's own time"),
    "received_at": (FieldClass.INTERNAL, "到达时间", "when the broker appended the raw record"),
    "cell": (FieldClass.INTERNAL, "网格单元编号，-1 表示无法定位", "compute cell, -1 when it could not be placed"),
    "source": (FieldClass.INTERNAL, "来源", "which raw topic: readings, camera-events or tickets"),
    "partition": (FieldClass.INTERNAL, "原始分区", "the raw record's partition"),
    "offset": (FieldClass.INTERNAL, "原始偏移量", "the raw record's offset"),
    "kind": (FieldClass.INTERNAL, "指标、事件或类别", "the metric, event or category"),
    "entity": (FieldClass.INTERNAL, "设备、摄像头或工单编号", "the device, camera or ticket"),
    "value": (FieldClass.INTERNAL, "数值", "the value measured; count of a camera event; 1 for a ticket"),
    "confidence": (FieldClass.INTERNAL, "置信度", "0 to 1; 1 when the source gives none"),
    "quality": (FieldClass.INTERNAL, "质量：0 好 1 可疑 2 坏", "0 good, 1 suspect, 2 bad"),
    "flags": (FieldClass.INTERNAL, "标志位", "bits of schemas.observation.Flag"),
    "lon_e7": (FieldClass.INTERNAL, "经度（1e-7 度，WGS-84）", "longitude in 1e-7 degree, WGS-84"),
    "lat_e7": (FieldClass.INTERNAL, "纬度（1e-7 度，WGS-84）", "latitude in 1e-7 degree, WGS-84"),
    "unit": (FieldClass.INTERNAL, "单位", "the unit as the record gave it"),
    "device_type": (FieldClass.INTERNAL, "设备类型", "the device type as the record gave it"),
    "extra": (FieldClass.PERSONAL, "其余字段（JSON）", "all other fields of the record as a JSON object"),
    "jurisdiction": (
        FieldClass.INTERNAL,
        "事发时最小辖区的代码，辖区之外为空",
        "code of the smallest jurisdiction there at the event time; null outside every one",
    ),
}


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame says about one raw partition. `last < first` means: no new offsets, only watermark or idleness."""

    source: Annotated[int, note("来源编号", "the Source's number", ge=0, le=127)]
    partition: Annotated[int, note("原始分区", "the raw partition", ge=0)]
    first: Annotated[int, note("覆盖的首个偏移量", "first raw offset covered")]
    last: Annotated[int, note("覆盖的末个偏移量（含）", "last raw offset covered, inclusive")]
    watermark_ms: Annotated[
        int, note("该分区水位", "no later row of this partition may be earlier, unless flagged LATE", unit="ms")
    ]
    max_event_ms: Annotated[int, note("已见最大事件时间", "greatest event time seen in this partition", unit="ms")]
    idle: Annotated[bool, note("是否空闲", "idle by the wall clock: it does not hold the shard's watermark back")]
    arrived_ms: Annotated[int, note("最晚到达时间", "latest broker append time among the covered records", unit="ms")]


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame holds. Rows of one raw partition stand in offset order."""

    version: Annotated[int, note("帧格式版本", "version of the frame format")] = FRAME_VERSION
    shard: Annotated[
        int,
        note(
            "区域分片；placed-tickets 中为原始分区",
            "the region shard: the partition of `observations`; on `placed-tickets` the raw partition",
            ge=0,
        ),
    ]
    covers: Annotated[list[Cover], note("覆盖范围", "one entry for each raw partition the frame speaks of")]


_header_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(FrameHeader)
_PLAIN = pa.ipc.IpcWriteOptions(compression=None)
_NO_COLUMNS = pa.schema([])
_OLDER = {1: pa.schema([field for field in OBSERVATION if field.name != "jurisdiction"]), 2: OBSERVATION}
# pa.array would do too, but it imports pandas to look for its arrays: a third of the time of every short command
_EMPTY = pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in OBSERVATION], schema=OBSERVATION)


def empty_batch() -> pa.RecordBatch:
    """An observation batch without rows."""
    return _EMPTY


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_frame(header: FrameHeader, batch: pa.RecordBatch | None) -> bytes:
    """The frame of a batch of OBSERVATION as one Arrow IPC stream. None makes a header frame.

    FrameError when the batch has not exactly the columns of OBSERVATION (its own metadata does not matter).
    """
    if batch is None or not batch.num_rows:
        return bytes(write_frame(header, None))
    if not batch.schema.equals(OBSERVATION):
        raise FrameError(
            f"schemas/observation: batch does not have the columns of a frame: {_difference(batch.schema)}"
        )
    return bytes(write_frame(header, pack(batch)))


def write_frame(
    header: FrameHeader,
    packed: pa.RecordBatch | None,
    room: Callable[[int], memoryview] = lambda size: memoryview(bytearray(size)),
) -> memoryview:
    """The frame of rows in their narrow form, without a copy into Python's own memory, which took twice as long as the
    writing itself.

    `room` gives the memory for so many bytes; the frame is a view of it.
    """
    schema = _NO_COLUMNS if packed is None else packed.schema
    schema = schema.with_metadata({HEADER_KEY: _header_encoder.encode(header)})
    if packed is None:
        sink = pa.BufferOutputStream()
        _write(sink, schema, None)
        return memoryview(sink.getvalue()).cast("B")
    counted = pa.MockOutputStream()  # measured first: a sink that grows moves megabytes as often as it doubles
    _write(counted, schema, packed)
    view = room(counted.size())
    with pa.FixedSizeBufferWriter(pa.py_buffer(view)) as fixed:
        _write(fixed, schema, packed)
    return view


def _write(sink: pa.NativeFile, schema: pa.Schema, batch: pa.RecordBatch | None) -> None:
    with pa.ipc.new_stream(sink, schema, options=_PLAIN) as writer:
        if batch is not None:
            writer.write_batch(batch)


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_frame(buf: bytes | memoryview | pa.Buffer) -> tuple[FrameHeader, pa.RecordBatch]:
    """The header and the rows of a frame, as a batch of OBSERVATION; what is at full width points into `buf`.

    FrameError on anything that is not a frame: other bytes, an unknown version, other columns, damaged arrays.
    """
    header, batch = _open(buf, None)
    return header, _EMPTY if batch is None else unpack(batch, OBSERVATION)


def decode_packed(buf: bytes | memoryview | pa.Buffer, names: list[str]) -> tuple[FrameHeader, pa.RecordBatch | None]:
    """The header and some columns in their narrow form; the batch points into `buf`, nothing is copied, and the other
    columns are not looked at. None is a header frame.

    FrameError as from `decode_frame`; but what the columns stand for is for the reader to check (schemas/packed.py).
    """
    return _open(buf, names)


def _open(buf: bytes | memoryview | pa.Buffer, names: list[str] | None) -> tuple[FrameHeader, pa.RecordBatch | None]:
    """The header and the rows, all columns or those of `names`, with sound buffers."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(buf)) as reader:
            header = _header(reader.schema)
            batches = list(reader)
        if len(batches) > 1:
            raise FrameError(f"schemas/observation: expected one batch in a frame, got {len(batches)}")
        if not batches or not batches[0].num_rows:
            return header, None
        batch = batches[0].replace_schema_metadata(None)
        if header.version == 1:
            nobody = pa.nulls(batch.num_rows, _CODED)
            batch = pa.RecordBatch.from_arrays([*batch.columns, nobody], schema=OBSERVATION)
        if batch.schema.names != OBSERVATION.names:
            raise FrameError(f"schemas/observation: rows without columns: {_difference(batch.schema)}")
        if names is not None:
            batch = batch.select(names)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FrameError(f"schemas/observation: not an Arrow stream: {error}") from error
    return header, batch


def _header(schema: pa.Schema) -> FrameHeader:
    raw = (schema.metadata or {}).get(HEADER_KEY)
    if raw is None:
        raise FrameError(f"schemas/observation: the stream has no {HEADER_KEY.decode()!r} header")
    try:
        header = _header_decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FrameError(f"schemas/observation: unreadable frame header: {error}") from error
    older = _OLDER.get(header.version)
    if older is None and header.version != FRAME_VERSION:
        raise FrameError(
            f"schemas/observation: frame version {header.version}, this program reads 1, 2 and {FRAME_VERSION}"
        )
    if (older is not None and not schema.equals(older)) or (older is None and schema.names not in _NAMES):
        raise FrameError(
            f"schemas/observation: not the columns of a frame of version {header.version}: {_difference(schema, older)}"
        )
    return header


_NAMES: Final[tuple[list[str], ...]] = ([], OBSERVATION.names)


def _difference(schema: pa.Schema, wanted: pa.Schema | None = None) -> str:
    """The first way in which `schema` is not `wanted`, by default OBSERVATION."""
    wanted = OBSERVATION if wanted is None else wanted
    if schema.names != wanted.names:
        return f"expected {', '.join(wanted.names)}; got {', '.join(schema.names) or 'none'}"
    for ours, theirs in zip(wanted, schema, strict=True):
        if not ours.equals(theirs):
            return f"expected {_words(ours)}, got {_words(theirs)}"
    return "no difference"


def _words(field: pa.Field) -> str:
    return f"{field.name}: {field.type}{'' if field.nullable else ' not null'}"
