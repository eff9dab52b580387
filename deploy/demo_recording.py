"""The recorded hour as it is kept: one gzip file of lines, and the register of devices that belongs to it.

A line is `ms since the start <tab> topic <tab> key <tab> the record's bytes`, in the order of arrival:
`zcat deploy/demo_data/hour.tsv.gz | head` shows it. The bytes are what a producer would send, good or bad.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from schemas.sources import Source

DATA: Final = Path(__file__).with_name("demo_data")
HOUR: Final = DATA / "hour.tsv.gz"
DEVICES: Final = DATA / "devices.csv"

START_MS: Final = 1_752_744_600_000
"""2025-07-17 17:30 in Shanghai, the beginning of the hour. Event times are fixed; only arrival is today's."""
HOUR_MS: Final = 3_600_000

PARTITIONS: Final = {Source.READINGS: 4, Source.CAMERA_EVENTS: 2, Source.TICKETS: 1}
"""Few enough that each of them hears of something every minute of the hour."""

NEAR_DEG: Final = 0.006
"""About 600 m: how far from a place's point people still call it by that name."""


class Record(NamedTuple):
    """One raw record and when it arrives."""

    at_ms: int  # since the start of the hour
    source: Source
    key: bytes
    payload: bytes  # without tab or line end outside of itself: the line ends it

    @property
    def partition(self) -> int:
        """The same key always goes to the same partition, as with any Kafka producer."""
        return zlib.crc32(self.key) % PARTITIONS[self.source]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place of the story, by the name that people have for it."""

    zh: str
    en: str
    lon: float
    lat: float


UNDERPASS: Final = Place(zh="漕溪北路下立交", en="Caoxi Rd (N) underpass", lon=121.4370, lat=31.1830)
LOW_ROAD: Final = Place(zh="龙吴路近龙漕路", en="Longwu Rd near Longcao Rd", lon=121.4500, lat=31.1655)
RING_ROAD: Final = Place(zh="内环高架黄兴路段", en="Inner Ring Road", lon=121.5280, lat=31.2850)
PLACES: Final = (UNDERPASS, LOW_ROAD, RING_ROAD)


def place_near(lon: float | None, lat: float | None) -> Place | None:
    """The place of the story at these coordinates (WGS-84), if there is one."""
    if lon is None or lat is None:
        return None
    found = min(PLACES, key=lambda place: abs(place.lon - lon) + abs(place.lat - lat))
    return found if max(abs(found.lon - lon), abs(found.lat - lat)) <= NEAR_DEG else None


def encode(records: Iterable[Record]) -> bytes:
    """The lines; ValueError for a record that a line cannot hold."""
    lines = []
    for record in records:
        if b"\n" in record.payload or b"\t" in record.key:
            raise ValueError(f"demo: a line cannot hold {record}")
        lines.append(b"%d\t%s\t%s\t%s\n" % (record.at_ms, record.source.topic.encode(), record.key, record.payload))
    return b"".join(lines)


def decode(lines: bytes) -> list[Record]:
    """The records of `encode`'s lines."""
    records = []
    for line in lines.split(b"\n")[:-1]:
        at_ms, topic, key, payload = line.split(b"\t", 3)
        records.append(Record(int(at_ms), Source.of_topic(topic.decode()), key, payload))
    return records


def write(records: Sequence[Record], path: Path = HOUR) -> None:
    """The same records give the same file on one machine (no name, no time in it); other zlibs pack differently."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as file:
        file.write(encode(records))
    path.write_bytes(packed.getvalue())


def read(path: Path = HOUR) -> list[Record]:
    """The hour, in the order of arrival."""
    return decode(gzip.decompress(path.read_bytes()))
