"""Reading a device register's file: lines -> devices, with every problem named by file and line.

See `topology.devices` for the two forms. Nothing here stops at the first problem; an odd but usable line gives a
warning.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.datums import DATUM_NAMES, Datum

REQUIRED: Final = ("device_id", "lon", "lat")
NUMBERS: Final = ("lon", "lat")
OPTIONAL: Final = ("datum", "device_type", "name")
MAX_ID_BYTES: Final = 256  # as in raw records
MAX_PROBLEMS: Final = 1000
"""Enough to put a file right in one go; a file of the wrong kind does not fill the screen for ever."""

_CSV_ENDINGS: Final = (".csv",)
_JSON_ENDINGS: Final = (".jsonl", ".ndjson")
_DATUM_CHOICES: Final = "WGS-84, CGCS2000, GCJ-02, BD-09"


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


class _Report:
    """Problems and warnings of one file, the latter also limited to `MAX_PROBLEMS`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []
        self._left_out = 0
        self._warnings: list[str] = []
        self._warnings_left_out = 0
        self._unused: set[str] = set()

    def problem(self, line: int, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(f"{self._path}:{line}: {text}")
        else:
            self._left_out += 1

    def warn(self, line: int, text: str) -> None:
        if len(self._warnings) < MAX_PROBLEMS:
            self._warnings.append(f"{self._path}:{line}: {text}")
        else:
            self._warnings_left_out += 1

    def warn_of_unused(self, line: int, names: Iterable[str]) -> None:
        """Once for each name of a column or field that means nothing here: it may be a known one misspelt."""
        for name in names:
            if name not in REQUIRED + OPTIONAL and name not in self._unused:
                self._unused.add(name)
                self.warn(line, f"{name!r} is not used; known are {', '.join(REQUIRED + OPTIONAL)}")

    @property
    def problems(self) -> list[str]:
        return self._counted(self._problems, self._left_out, "problems")

    @property
    def warnings(self) -> list[str]:
        return self._counted(self._warnings, self._warnings_left_out, "warnings")

    def _counted(self, lines: list[str], left_out: int, what: str) -> list[str]:
        return [*lines, f"{self._path}: and {left_out} more {what}"] if left_out else lines


def read_devices(path: Path, default_datum: Datum) -> tuple[list[Device], list[str], list[str]]:
    """(devices in file order, problems, warnings). With any problem the devices are incomplete: do not use them."""
    report = _Report(path)
    ending = path.suffix.lower()
    if ending not in _CSV_ENDINGS + _JSON_ENDINGS:
        return (
            [],
            [f"{path}: a device register ends in {', '.join(_CSV_ENDINGS + _JSON_ENDINGS)}; this is {ending!r}"],
            [],
        )
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # spreadsheets write the mark
    except OSError as error:
        return [], [f"{path}: the device register cannot be read: {error.strerror or error}"], []
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8 (Chinese spreadsheets often write GBK)"
        report.problem(line, f"byte 0x{content[error.start]:02x} is not UTF-8; {hint}")
        return [], report.problems, []
    rows = _csv_rows(text, report) if ending in _CSV_ENDINGS else _json_rows(text, report)
    devices: dict[str, Device] = {}
    for line, fields in rows:
        device = _device(line, fields, default_datum, report)
        if device is not None:
            _add(device, devices, report)
    return list(devices.values()), report.problems, report.warnings


def _csv_rows(text: str, report: _Report) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number (where a row starts) and fields of each row; empty fields are left out."""
    # split on line feeds only: str.splitlines also splits on characters that may stand in a name (U+2028, \x0b)
    reader = csv.reader((line + "\n" for line in text.split("\n")), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
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
        report.problem(1, f"the file is empty; the first line must name the columns {', '.join(REQUIRED)}")


def _check_header(line: int, header: list[str], report: _Report) -> bool:
    missing = [name for name in REQUIRED if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing:
        report.problem(line, f"missing column {', '.join(missing)}; found {', '.join(header)}")
    if twice:
        report.problem(line, f"column {', '.join(twice)} appears more than once")
    report.warn_of_unused(line, header)
    return not missing and not twice


def _json_rows(text: str, report: _Report) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and fields of each line that is an object; nulls are left out."""
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            fields = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            report.problem(line, f"not JSON: {error}")
            continue
        if not isinstance(fields, dict):
            report.problem(line, f"expected a JSON object, got {type(fields).__name__}")
            continue
        report.warn_of_unused(line, fields)
        yield line, {name: value for name, value in fields.items() if value is not None}


def _device(line: int, fields: Mapping[str, Any], default_datum: Datum, report: _Report) -> Device | None:
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


def _text(line: int, fields: Mapping[str, Any], name: str, report: _Report) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    report.problem(line, f"{name} must be a string, got {value!r}")
    return None


def _degrees(line: int, fields: Mapping[str, Any], name: str, limit: float, report: _Report) -> float | None:
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


def _add(device: Device, devices: dict[str, Device], report: _Report) -> None:
    """Keep the device unless its id is taken: by the same place it is a repeat, by another a contradiction."""
    first = devices.setdefault(device.device_id, device)
    if first is device:
        return
    if (first.lon, first.lat, first.datum) != (device.lon, device.lat, device.datum):
        report.problem(
            device.line,
            f"device {device.device_id!r} is registered at another place in line {first.line}: "
            f"lon={first.lon}, lat={first.lat} there, lon={device.lon}, lat={device.lat} here",
        )
    else:
        report.warn(device.line, f"device {device.device_id!r} repeats line {first.line}; the first one counts")
