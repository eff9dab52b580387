"""Registered devices as columns: ten million in 0.8 GB, where an object each would take some four."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.datums import Datum
from topology.jit import kernel

Bytes = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One registered device: its place as registered, in `datum`, and the line of the file it came from."""

    device_id: str
    lon: float
    lat: float
    datum: Datum = Datum.WGS84
    device_type: str | None = None
    name: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Row r has the id data[starts[r]:starts[r + 1]] and stands at places[r] (lon, lat) in datum[r]."""

    data: Bytes
    starts: IntArray
    places: npt.NDArray[np.float64]  # [n, 2]
    datum: npt.NDArray[np.uint8]
    line: npt.NDArray[np.int32]
    device_type: pa.ChunkedArray  # text by codes; of type null where no device has any
    name: pa.ChunkedArray  # likewise, text

    def __len__(self) -> int:
        return len(self.line)

    @classmethod
    def of(cls, devices: Iterable[Device]) -> Columns:
        devices = list(devices)
        ids = [device.device_id.encode() for device in devices]
        starts = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum([len(device_id) for device_id in ids], out=starts[1:])
        return cls(
            np.frombuffer(b"".join(ids), dtype=np.uint8).copy(),  # writable, as all others: kernels are compiled once
            starts,
            np.array([(device.lon, device.lat) for device in devices], dtype=np.float64).reshape(-1, 2),
            np.array([device.datum for device in devices], dtype=np.uint8),
            np.array([device.line for device in devices], dtype=np.int32),
            texts(pa.array([device.device_type for device in devices], pa.utf8()), coded=True),
            texts(pa.array([device.name for device in devices], pa.utf8())),
        )

    @classmethod
    def joined(cls, parts: list[Columns]) -> Columns:
        """One behind the other; `parts` is emptied, so that not everything is there twice."""
        if len(parts) == 1:
            return parts.pop()
        ends = np.cumsum([0, *(len(part.data) for part in parts)])
        starts = np.concatenate(
            [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)] + [ends[-1:]], dtype=np.int64
        )
        whole = cls(
            _stacked(parts, lambda part: part.data),
            starts,
            _stacked(parts, lambda part: part.places).reshape(-1, 2),
            _stacked(parts, lambda part: part.datum),
            _stacked(parts, lambda part: part.line),
            _chained([part.device_type for part in parts]),
            _chained([part.name for part in parts]),
        )
        parts.clear()
        return whole

    def take(self, rows: IntArray) -> Columns:
        """These rows, in this order."""
        data, starts = gathered(self.data, self.starts[rows], self.starts[rows + 1])
        return Columns(
            data, starts, self.places[rows], self.datum[rows], self.line[rows], self.device_type.take(pa.array(rows)),
            self.name.take(pa.array(rows)),
        )  # fmt: skip

    def device(self, row: int) -> Device:
        lon, lat = self.places[row].tolist()
        return Device(
            device_id=self.data[self.starts[row] : self.starts[row + 1]].tobytes().decode(),
            lon=lon,
            lat=lat,
            datum=Datum(int(self.datum[row])),
            device_type=self.device_type[row].as_py(),
            name=self.name[row].as_py(),
            line=int(self.line[row]),
        )


class Devices(Sequence[Device]):
    """The devices of columns, each made when it is asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, row: int) -> Device: ...

    @overload
    def __getitem__(self, row: slice) -> tuple[Device, ...]: ...

    def __getitem__(self, row: int | slice) -> Device | tuple[Device, ...]:
        if isinstance(row, slice):
            return tuple(self._columns.device(one) for one in range(*row.indices(len(self))))
        if not -len(self) <= row < len(self):
            raise IndexError(f"device {row} of {len(self)}")
        return self._columns.device(row % len(self))

    def __iter__(self) -> Iterator[Device]:
        return (self._columns.device(row) for row in range(len(self)))


def texts(column: pa.Array, *, coded: bool = False) -> pa.ChunkedArray:
    """A text column of `Columns`: without memory where there is no text at all, by codes where few are many."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))], pa.null())
    return pa.chunked_array([column.dictionary_encode() if coded else column])


def gathered(data: Bytes, starts: IntArray, ends: IntArray) -> tuple[Bytes, IntArray]:
    """The pieces data[starts[i]:ends[i]] one behind the other, and where each begins (and the last ends)."""
    at = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(ends - starts, out=at[1:])
    out = np.empty(int(at[-1]), dtype=np.uint8)
    _gather(data, starts, at, out)
    return out, at


def _stacked(parts: list[Columns], column: Callable[[Columns], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate([column(part) for part in parts])


def _chained(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    kind = next((column.type for column in columns if not pa.types.is_null(column.type)), pa.null())
    chunks = [
        chunk if chunk.type == kind else pa.nulls(len(chunk), kind) for column in columns for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, kind).unify_dictionaries()


@kernel
def _gather(data: Bytes, starts: IntArray, at: IntArray, out: Bytes) -> None:
    for i in range(starts.shape[0]):
        for k in range(at[i + 1] - at[i]):
            out[at[i] + k] = data[starts[i] + k]
