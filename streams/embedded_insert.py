"""Arrow tables into the embedded engine, by way of memory.

The driver copies the bytes of an insert twice and writes them to a file on disk, which the engine then reads. Here the
table is written once, into a file that exists in memory only and is kept for the next insert, and the engine reads it
by its number in /dev/fd. It saves a fifth of what an insert cost, and the disk is left to what ClickHouse writes.
"""

from __future__ import annotations

import mmap
import os
import re
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEPT_BYTES: Final = 96 * 1024 * 1024
"""Memory that is kept between inserts, enough for a batch of a million observations; what is larger is given back."""

_LEAST_BYTES: Final = 1024 * 1024
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")  # of settings: nothing that would need quoting


class EmbeddedInsert:
    """Inserts of one client, which runs one at a time."""

    def __init__(self) -> None:
        self._file = -1
        self._view: mmap.mmap | None = None

    def insert(self, client: Client, table: str, rows: pa.Table, settings: Mapping[str, int | str]) -> None:
        """Insert the rows, columns by name, each of one chunk. Errors are the driver's."""
        self._write(rows)
        columns = ", ".join(f"`{name}`" for name in rows.column_names)
        given = ", ".join(f"{name} = '{_plain(value)}'" for name, value in settings.items())
        # a stream says itself where it ends, so what the memory holds behind it does not matter
        client.command(
            f"INSERT INTO `{table}` ({columns}) FROM INFILE '/dev/fd/{self._file}' SETTINGS {given} FORMAT ArrowStream"
        )
        if self._view is not None and len(self._view) > KEPT_BYTES:
            self.close()

    def close(self) -> None:
        """Give the memory back; it comes again with the next insert."""
        if self._view is not None:
            self._view.close()
            os.close(self._file)
        self._view, self._file = None, -1

    def _write(self, rows: pa.Table) -> None:
        counted = pa.MockOutputStream()
        _write_stream(counted, rows)
        size = counted.size()
        if self._view is None or len(self._view) < size:
            self.close()
            size = max(_LEAST_BYTES, size + size // 8)
            self._file = _new_file()
            os.ftruncate(self._file, size)
            self._view = mmap.mmap(self._file, size)
        os.lseek(self._file, 0, os.SEEK_SET)  # where opening /dev/fd means the same file again, not one of its own
        with pa.FixedSizeBufferWriter(pa.py_buffer(self._view)) as sink:
            _write_stream(sink, rows)


def _write_stream(sink: pa.NativeFile, rows: pa.Table) -> None:
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tongguan-insert")
    with tempfile.TemporaryFile() as file:  # without a name already; macOS has no files in memory only
        return os.dup(file.fileno())


def _plain(value: int | str) -> str:
    text = str(value)
    if not _WORD.fullmatch(text):
        raise ValueError(f"streams/embedded_insert: {text!r} is not a plain word")
    return text
