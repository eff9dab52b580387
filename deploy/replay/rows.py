"""The rows of a data set's files, as they are written: CSV, wide CSV, JSON lines, JSON; plain or packed with gzip."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import msgspec

from deploy.replay.mapping import Input
from schemas.errors import SettingsError

MAX_JSON_BYTES: Final = 512 * 1024 * 1024
"""A JSON document is read as a whole; longer recordings come as JSON lines."""


class Row(NamedTuple):
    """One row: its values by column (text in CSV, anything in JSON), and its place in the file."""

    values: Mapping[str, Any]
    at: str  # a line number, or a path such as $[3].objects[0]


class Fault(NamedTuple):
    """A place of the file that is no row."""

    at: str
    detail: str


def rows(path: Path, rule: Input, *, wanted: Sequence[str], sensors: frozenset[str] | None) -> Iterator[Row | Fault]:
    """The rows of one file, in its order.

    `wanted` are the columns that a CSV file must have; `sensors` the names that headings of a wide file may be (None:
    any). SettingsError when the file as a whole is not what the mapping says: nothing of it should be used then.
    """
    with _named(path):
        if rule.format == "csv":
            yield from _csv_rows(path, rule, wanted, sensors)
        elif rule.format == "jsonl":
            for number, line in enumerate(_lines(path), start=1):
                if line.strip():
                    yield from _json_rows(line, str(number), rule.each)
        else:
            yield from _document(path, rule.each)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what can be wrong with a file as a whole into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8: byte 0x{error.object[error.start]:02x}; {_HALF}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SettingsError(f"{path}: the gzip file is broken or cut short: {error}; {_HALF}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}; {_HALF}") from error


_HALF: Final = "nothing of the set was sent"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if path.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield cast(IO[bytes], unpacked)  # it is one, though its stub does not say so


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    with _opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield text  # -sig: spreadsheets write the mark


def _lines(path: Path) -> Iterator[str]:
    with _text(path) as file:
        yield from file


def _csv_rows(path: Path, rule: Input, wanted: Sequence[str], sensors: frozenset[str] | None) -> Iterator[Row | Fault]:
    with _text(path) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader)]
        except StopIteration:
            raise SettingsError(f"{path}:1: the file is empty; {_HALF}") from None
        except csv.Error as error:
            raise SettingsError(f"{path}:1: not CSV: {error}; {_HALF}") from error
        _check_header(path, header, rule, wanted, sensors)
        wide = rule.wide
        cells = [] if wide is None else [number for number, name in enumerate(header) if name not in wide.keep]
        while True:
            line = str(reader.line_num + 1)
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Fault(line, f"not CSV: {error}")
                continue
            if not fields:
                continue
            if len(fields) != len(header):
                yield Fault(line, f"{len(fields)} fields where the header has {len(header)}")
                continue
            values = dict(zip(header, fields, strict=True))
            if wide is None:
                yield Row(values, line)
                continue
            kept = {name: values[name] for name in wide.keep}
            for number in cells:
                yield Row({**kept, wide.name: header[number], wide.value: fields[number]}, line)


def _check_header(
    path: Path, header: list[str], rule: Input, wanted: Sequence[str], sensors: frozenset[str] | None
) -> None:
    """Raises SettingsError with every column that is not as the mapping says."""
    problems = []
    present = set(header)
    if rule.wide is not None:
        present |= {rule.wide.name, rule.wide.value}
    missing = [name for name in wanted if name not in present]
    if missing:
        problems.append(f"{path}:1: column {', '.join(missing)} is missing; found {', '.join(header[:40])}")
    twice = sorted({name for name in header if header.count(name) > 1}) if len(present) < len(header) else []
    if twice:
        problems.append(f"{path}:1: column {', '.join(twice[:10])} appears more than once")
    if rule.wide is not None and sensors is not None:
        strange = [name for name in header if name not in rule.wide.keep and name not in sensors]
        if strange:
            problems.append(f"{path}:1: column {', '.join(strange[:10])} is no sensor of the table of positions")
    if problems:
        raise SettingsError([f"{problem}; {_HALF}" for problem in problems])


def _document(path: Path, each: Sequence[str]) -> Iterator[Row | Fault]:
    with _opened(path) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise SettingsError(f"{path}: larger than {MAX_JSON_BYTES:,} bytes; write it as JSON lines; {_HALF}")
    try:
        document = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not JSON: {error}; {_HALF}") from error
    if isinstance(document, list):
        for number, element in enumerate(document):
            yield from _exploded(element, f"$[{number}]", each)
    else:
        yield from _exploded(document, "$", each)


def _json_rows(line: str, at: str, each: Sequence[str]) -> Iterator[Row | Fault]:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        yield Fault(at, f"not JSON: {error}")
        return
    yield from _exploded(value, at, each)


def _exploded(value: Any, at: str, each: Sequence[str]) -> Iterator[Row | Fault]:
    """The object, or one row for each element of the lists that `each` names, the element in the list's place."""
    if not isinstance(value, dict):
        yield Fault(at, f"expected a JSON object, got {type(value).__name__}")
        return
    if not each:
        yield Row(value, at)
        return
    field, *inner = each
    elements = value.get(field)
    if not isinstance(elements, list):
        yield Fault(at, f"{field}: expected a list, got {type(elements).__name__}")
        return
    for number, element in enumerate(elements):
        yield from _exploded({**value, field: element}, f"{at}.{field}[{number}]", inner)


def pathed(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path of field names; None where there is none."""
    found: Any = values
    for name in path:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
        if found is None:
            return None
    return found
