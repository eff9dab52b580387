"""The backlog: CityJoin's records in topics, put there once for all engines of a pace, and what we know of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.cityjoin_data import (
    DISORDER_MS,
    PARTITIONS,
    RECORDS_PER_S,
    START_MS,
    WINDOW_MS,
    Answer,
    batch_answer,
    json_records,
    make_records,
)
from benchmarks.filling import fill
from benchmarks.peers.engine import Say
from schemas.sources import Source
from streams.topic_admin import apply
from streams.topics import TopicNames, TopicSpec

FILLERS: Final = 2
"""Processes that write records, each its own partitions."""
CLOSERS: Final = len(Source) * PARTITIONS
LEAST_HALF: Final = 300_000
"""Records: with fewer left after the middle window there is no second half worth a figure."""


@dataclass(frozen=True, slots=True)
class SecondHalf:
    """Where the second half of a backlog begins, and how much it is."""

    window_ms: int
    """Start of the window that holds the middle of event time: the half begins with the first alert of it."""
    records: int
    """Those that were produced after that window could be closed, its 5 s of lateness over; closers included."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """One size of the job."""

    prefix: str
    records: int
    """Closers included."""
    bytes_each: int
    expected: Answer
    half: SecondHalf | None

    def topic(self, source: Source) -> str:
        return TopicNames(self.prefix).raw(source)


def fill_backlog(bootstrap: str, prefix: str, count: int, seed: int, say: Say) -> Backlog:
    """Make the topics and fill them. Nothing of them is deleted while the broker lives."""
    say(f"computing the answer of {count:,} records")
    expected = batch_answer(make_records(count, seed))
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    names = TopicNames(prefix)
    apply(bootstrap, [TopicSpec(name=names.raw(source), partitions=PARTITIONS, config=config) for source in Source])
    began = time.monotonic()
    shares = [range(first, PARTITIONS, FILLERS) for first in range(FILLERS)]
    with ProcessPoolExecutor(FILLERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        sent = pool.map(_fill, *zip(*((bootstrap, prefix, count, seed, share) for share in shares), strict=True))
        size = sum(sent)
    total = count + CLOSERS
    say(f"filled {total:,} records, {size / total:.0f} bytes each, in {time.monotonic() - began:.0f} s")
    return Backlog(prefix, total, round(size / total), expected, second_half(count))


def _fill(bootstrap: str, prefix: str, count: int, seed: int, partitions: range) -> int:
    names = TopicNames(prefix)
    records = json_records(make_records(count, seed), partitions)
    return asyncio.run(fill(bootstrap, ((names.raw(source), partition, value) for source, partition, value in records)))


def second_half(count: int) -> SecondHalf | None:
    """Of a backlog of `count` records before closers; None when it is too short to have one."""
    produced_ms = START_MS + np.arange(count) * 1000 // RECORDS_PER_S
    middle = int(produced_ms[-1] + START_MS) // 2
    window_ms = middle // WINDOW_MS * WINDOW_MS
    closed_at = int(np.searchsorted(produced_ms, window_ms + WINDOW_MS + DISORDER_MS))
    left = count - closed_at
    if left < LEAST_HALF:
        return None
    return SecondHalf(window_ms, left + CLOSERS)
