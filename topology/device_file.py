"""Reading a device register's file: lines -> devices, with every problem named by file and line.

See `topology.devices` for the two forms. Nothing here stops at the first problem; an odd but usable line gives a
warning. A register may hold millions: the file is read piece by piece, and lines of the plain shape become columns
without a Python object each (topology.device_lines); any other line is read by itself, which also words what is wrong.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.datums import DATUM_NAMES, Datum
from topology.device_columns import Columns, Device, gathered, texts
from topology.device_lines import ID, MAX_ID_BYTES, NAME, OTHER, PLAIN, TYPE, Lines, roles_of, scan_lines
from topology.device_report import Report
from topology.device_table import IdTable

REQUIRED: Final = ("device_id", "lon", "lat")
NUMBERS: Final = ("lon", "lat")
OPTIONAL: Final = ("datum", "device_type", "name")

_CSV_ENDINGS: Final = (".csv",)
_JSON_ENDINGS: Final = (".jsonl", ".ndjson")
_DATUM_CHOICES: Final = "WGS-84, CGCS2000, GCJ-02, BD-09"
_PIECE_BYTES: Final = 4 << 20
_AT_ONCE: Final = 50_000  # devices that are objects before they are columns
_EMPTY: Final = f"the file is empty; the first line must name the columns {', '.join(REQUIRED)}"
_MARK: Final = b"\xef\xbb\xbf"  # spreadsheets write it

Row = tuple[int, Mapping[str, Any]]
"""(line, fields of a device that are given)"""


def read_devices(path: Path, default_datum: Datum) -> tuple[Columns, IdTable, Report]:
    """(devices in file order, their ids, problems and warnings). With any problem the devices are incomplete."""
    report = Report(path)
    columns = Columns.of(())
    ending = path.suffix.lower()
    if ending not in _CSV_ENDINGS + _JSON_ENDINGS:
        report.refuse(f"a device register ends in {', '.join(_CSV_ENDINGS + _JSON_ENDINGS)}; this is {ending!r}")
        return columns, IdTable.of(columns), report
    read = _read_csv if ending in _CSV_ENDINGS else _read_json
    try:
        columns = read(path, default_datum, report)
    except OSError as error:
        report.refuse(f"the device register cannot be read: {error.strerror or error}")
    except _NotText as error:
        hint = "save the file as UTF-8 (Chinese spreadsheets often write GBK)"
        report = Report(path)
        report.problem(error.line, f"byte 0x{error.byte:02x} is not UTF-8; {hint}")
    table = IdTable.of(columns)
    if len(table.repeats):
        for row, first in table.repeats.tolist():
            _report_repeat(columns.device(row), columns.device(first), report)
        keep = np.ones(len(columns), dtype=np.bool_)
        keep[table.repeats[:, 0]] = False
        columns = columns.take(np.flatnonzero(keep))
        table = IdTable.of(columns)
    return columns, table, report


class _NotText(Exception):
    """A byte that is not UTF-8."""

    def __init__(self, line: int, byte: int) -> None:
        super().__init__(line, byte)
        self.line = line
        self.byte = byte


def _pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, whole lines), one piece after the other; the last line may lack its line feed.

    `_NotText` where a piece is no UTF-8.
    """
    line = 1
    with path.open("rb") as file:
        rest = file.read(len(_MARK)).removeprefix(_MARK)
        while True:
            read = file.read(_PIECE_BYTES)
            end = read.rfind(b"\n") + 1
            if read and not end:
                rest += read
                continue
            piece, rest = rest + read[:end], read[end:]
            if not read:
                piece, rest = piece + rest, b""
            if piece:
                try:
                    piece.decode()
                except UnicodeDecodeError as error:
                    raise _NotText(line + piece.count(b"\n", 0, error.start), piece[error.start]) from None
                yield line, piece
                line += piece.count(b"\n")
            if not read:
                return


# --- CSV -------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, default_datum: Datum, report: Report) -> Columns:
    pieces = _pieces(path)
    parts = list(_csv_columns(pieces, default_datum, report))
    for _ in pieces:  # not wanted, but whether a file is text at all is said first
        pass
    return Columns.joined(parts)


def _csv_columns(pieces: Iterator[tuple[int, bytes]], default_datum: Datum, report: Report) -> Iterator[Columns]:
    yield Columns.of(())
    header: list[str] | None = None
    for line, piece in pieces:
        if b'"' in piece:
            # a field in quotation marks may hold a line feed: from here on lines are not what they seem
            rest = chain([piece], (later for _, later in pieces))
            yield from _columns_of(_csv_rows(rest, line, header, report), default_datum, report)
            return
        at = 0
        while header is None and at < len(piece):
            end = piece.find(b"\n", at) + 1 or len(piece)
            header = _header(piece[at:end], line, report)
            at, line = end, line + 1
        if header == []:
            return
        if header:
            yield _columns_of_piece(piece[at:], line, header, default_datum, report)
    if header is None:
        report.problem(1, _EMPTY)


def _header(text: bytes, line: int, report: Report) -> list[str] | None:
    """The names of the columns; None if the line is blank or no CSV, empty if they will not do."""
    try:
        row = next(csv.reader([text.decode().removesuffix("\n") + "\n"], strict=True))
    except csv.Error as error:
        report.problem(line, f"not CSV: {error}")
        return None
    if not any(field.strip() for field in row):
        return None
    header = [name.strip() for name in row]
    return header if _check_header(line, header, report) else []


def _check_header(line: int, header: list[str], report: Report) -> bool:
    missing = [name for name in REQUIRED if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing:
        report.problem(line, f"missing column {', '.join(missing)}; found {', '.join(header)}")
    if twice:
        report.problem(line, f"column {', '.join(twice)} appears more than once")
    report.warn_of_unused(line, header, REQUIRED + OPTIONAL)
    return not missing and not twice


def _columns_of_piece(piece: bytes, line: int, header: list[str], default_datum: Datum, report: Report) -> Columns:
    """The devices of lines without quotation marks, the first of which is `line`."""
    lines = scan_lines(piece, roles_of(header), int(default_datum))
    plain = np.flatnonzero(lines.state == PLAIN)
    columns = _columns_of_lines(piece, lines, plain, line)
    others = np.flatnonzero(lines.state == OTHER)
    if not len(others):
        return columns
    rows = (
        row
        for other in others.tolist()
        for row in _csv_rows([piece[lines.bounds[other] : lines.bounds[other + 1]]], line + other, header, report)
    )
    columns = Columns.joined([columns, *_columns_of(rows, default_datum, report)])
    return columns.take(np.argsort(columns.line, kind="stable"))


def _columns_of_lines(piece: bytes, lines: Lines, plain: npt.NDArray[np.int64], line: int) -> Columns:
    data = np.frombuffer(piece, dtype=np.uint8) if piece else np.empty(0, dtype=np.uint8)
    fields = lines.fields[plain]
    ids, starts = gathered(data, fields[:, ID, 0], fields[:, ID, 1])
    kinds, names = (_text_column(data, fields[:, role, 0], fields[:, role, 1]) for role in (TYPE, NAME))
    return Columns(
        ids, starts, lines.places[plain], lines.datum[plain], (line + plain).astype(np.int32),
        texts(kinds, coded=True), texts(names),
    )  # fmt: skip


def _text_column(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Array:
    """Null where the text is empty."""
    given = starts < ends
    if not given.any():
        return pa.nulls(len(given), pa.utf8())
    text, at = gathered(data, starts, ends)
    column = pa.StringArray.from_buffers(len(given), pa.py_buffer(at.astype(np.int32)), pa.py_buffer(text))
    return column if given.all() else pc.if_else(pa.array(given), column, None)


def _csv_rows(pieces: Iterable[bytes], first_line: int, header: list[str] | None, report: Report) -> Iterator[Row]:
    """The reference: line (where a row starts) and fields of each row of `pieces`; empty fields are left out.

    With no header known yet it is the first row.
    """
    # split on line feeds only: str.splitlines also splits on characters that may stand in a name (U+2028, \x0b)
    reader = csv.reader((text + "\n" for piece in pieces for text in _lines(piece)), strict=True)
    while True:
        line = first_line + reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            report.problem(line, f"not CSV: {error}")
            continue
        if not any(field.strip() for field in row):
            continue
        if header is None:
            header = [name.strip() for name in row]
            if not _check_header(line, header, report):
                return
        elif len(row) != len(header):
            report.problem(line, f"{len(row)} fields where the header has {len(header)}")
        else:
            cells = zip(header, (field.strip() for field in row), strict=True)
            yield line, {name: _number(field) if name in NUMBERS else field for name, field in cells if field}
    if header is None:
        report.problem(1, _EMPTY)


# --- JSON lines ------------------------------------------------------------------------------------------------------


class _PlainLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line with nothing to say about it; `_device` looks at any other."""

    device_id: str
    lon: float
    lat: float
    datum: str | None = None
    device_type: str | None = None
    name: str | None = None


_plain_line = msgspec.json.Decoder(_PlainLine)


def _read_json(path: Path, default_datum: Datum, report: Report) -> Columns:
    rows = ((line, text) for first, piece in _pieces(path) for line, text in enumerate(_lines(piece), start=first))
    return Columns.joined([Columns.of(()), *_in_columns(_json_devices(rows, default_datum, report))])


def _json_devices(rows: Iterable[tuple[int, str]], default_datum: Datum, report: Report) -> Iterator[Device]:
    for line, text in rows:
        try:
            plain = _plain_line.decode(text)
        except (msgspec.DecodeError, RecursionError):
            plain = None
        if (
            plain is not None
            and plain.datum is None
            and plain.device_id
            and len(plain.device_id) * 4 <= MAX_ID_BYTES
            and abs(plain.lon) <= 180.0
            and abs(plain.lat) <= 90.0
        ):
            yield Device(
                device_id=plain.device_id, lon=plain.lon, lat=plain.lat, datum=default_datum,
                device_type=plain.device_type, name=plain.name, line=line,
            )  # fmt: skip
            continue
        fields = _json_row(line, text, report)
        device = None if fields is None else _device(line, fields, default_datum, report)
        if device is not None:
            yield device


def _json_row(line: int, text: str, report: Report) -> Mapping[str, Any] | None:
    """The fields of a line that is an object; nulls are left out."""
    if not text.strip():
        return None
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        report.problem(line, f"not JSON: {error}")
        return None
    if not isinstance(fields, dict):
        report.problem(line, f"expected a JSON object, got {type(fields).__name__}")
        return None
    report.warn_of_unused(line, fields, REQUIRED + OPTIONAL)
    return {name: value for name, value in fields.items() if value is not None}


# --- both ------------------------------------------------------------------------------------------------------------


def _lines(piece: bytes) -> list[str]:
    lines = piece.decode().split("\n")
    return lines if lines[-1] else lines[:-1]


def _columns_of(rows: Iterable[Row], default_datum: Datum, report: Report) -> Iterator[Columns]:
    devices = (_device(line, fields, default_datum, report) for line, fields in rows)
    return _in_columns(device for device in devices if device is not None)


def _in_columns(devices: Iterator[Device]) -> Iterator[Columns]:
    while some := list(islice(devices, _AT_ONCE)):
        yield Columns.of(some)


def _device(line: int, fields: Mapping[str, Any], default_datum: Datum, report: Report) -> Device | None:
    """The device of one line, or None after its problems have been reported."""
    missing = [name for name in REQUIRED if name not in fields]
    if missing:
        report.problem(line, f"{', '.join(missing)} missing")
    device_id = _text(line, fields, "device_id", report)
    lon = _degrees(line, fields, "lon", 180.0, report)
    lat = _degrees(line, fields, "lat", 90.0, report)
    if device_id is not None and len(device_id.encode()) > MAX_ID_BYTES:
        report.problem(line, f"device_id of more than {MAX_ID_BYTES} bytes")
        device_id = None
    if device_id == "":
        report.problem(line, "device_id is empty")
        device_id = None
    datum: Datum | None = default_datum
    if "datum" in fields:
        datum_name = fields["datum"]
        datum = DATUM_NAMES.get(datum_name.upper()) if isinstance(datum_name, str) else None
        if datum is None:
            report.problem(line, f"datum {datum_name!r} is unknown; choose one of {_DATUM_CHOICES}")
    device_type = _text(line, fields, "device_type", report)
    name = _text(line, fields, "name", report)
    if device_id is None or lon is None or lat is None or datum is None:
        return None
    return Device(device_id=device_id, lon=lon, lat=lat, datum=datum, device_type=device_type, name=name, line=line)


def _number(field: str) -> float | str:
    """A CSV field as a number; as it is when it does not read as one, or only by Python's own rules ("1_000")."""
    try:
        return field if "_" in field else float(field)
    except ValueError:
        return field


def _text(line: int, fields: Mapping[str, Any], name: str, report: Report) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    report.problem(line, f"{name} must be a string, got {value!r}")
    return None


def _degrees(line: int, fields: Mapping[str, Any], name: str, limit: float, report: Report) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        report.problem(line, f"{name} must be a number of degrees, got {value!r}")
        return None
    number = float(value) if abs(value) <= limit else math.inf  # an int may be too large for a float; NaN fails too
    if math.isinf(number):
        hint = "; lon and lat look swapped" if name == "lat" and limit < abs(value) <= 180 else ""
        report.problem(line, f"{name}={value} must be from -{limit:g} to {limit:g} degrees{hint}")
        return None
    return number


def _report_repeat(device: Device, first: Device, report: Report) -> None:
    """An id that is taken: by the same place it is a repeat, by another a contradiction."""
    if (first.lon, first.lat, first.datum) != (device.lon, device.lat, device.datum):
        report.problem(
            device.line,
            f"device {device.device_id!r} is registered at another place in line {first.line}: "
            f"lon={first.lon}, lat={first.lat} there, lon={device.lon}, lat={device.lat} here",
            compared=True,
        )
    else:
        text = f"device {device.device_id!r} repeats line {first.line}; the first one counts"
        report.warn(device.line, text, compared=True)
