"""What must come of a load: the alerts by grouping all its records at once, and the moment that makes each possible.

A window can be judged when the watermark has passed its end, that is when **every** raw partition has brought a record
with event time of at least window end + lateness bound. The last of these records makes the window's alerts possible;
its due time and its place in its partition follow from the schedule alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.latency_load import (
    CAMERA,
    DISORDER_MS,
    LEVEL,
    PLACES,
    TICKET,
    URGENT,
    WINDOW_MS,
    Ints,
    Load,
    Pool,
    draw,
    raise_at_mm,
)

AT_ONCE: Final = 1_000_000

Told = tuple[int, int, float, int, int]
"""One alert: (cell row * 120 + column, window start in epoch ms, m, c, t)."""
Answer = set[Told]


@dataclass(frozen=True, slots=True)
class Expected:
    """`window_ms` int64[w]: starts of all windows, ascending. For each: `due_ns` (after the beginning) of the record
    that makes it possible, and `offset` int64[w, PLACES], the first record of each raw partition that lets it go on;
    -1 where only the closers do. `urgent`: (place, offset, due_ns) of urgent tickets, int64[u, 3]."""

    answer: Answer
    window_ms: Ints
    due_ns: Ints
    offset: Ints
    urgent: Ints
    records: Ints  # by place, closers not counted


def expect(load: Load, pool: Pool) -> Expected:
    """Work out everything from the schedule."""
    first_ms = (load.start_ms - DISORDER_MS) // WINDOW_MS * WINDOW_MS
    last_ms = load.start_ms + int(load.due_ns(np.array([load.count]))[0]) // 1_000_000
    window_ms = np.arange(first_ms, last_ms + 1, WINDOW_MS, dtype=np.int64)
    needed_ms = window_ms + WINDOW_MS + DISORDER_MS
    due_ns = np.full((len(window_ms), PLACES), -1, dtype=np.int64)
    offset = np.full((len(window_ms), PLACES), -1, dtype=np.int64)
    seen = np.zeros(PLACES, dtype=np.int64)
    newest = np.zeros(PLACES, dtype=np.int64)
    urgent: list[Ints] = []
    keys: dict[int, list[Ints]] = {LEVEL: [], CAMERA: [], TICKET: []}
    levels: list[np.ndarray] = []
    for first in range(0, load.count, AT_ONCE):
        entry, event_ms = draw(load, first, min(AT_ONCE, load.count - first))
        role, place = pool.role[entry], pool.place[entry]
        for kind, found in keys.items():
            row = np.flatnonzero(role == kind)
            window = (event_ms[row] - first_ms) // WINDOW_MS
            found.append(pool.cell[entry[row]].astype(np.int64) * len(window_ms) + window)
            if kind == LEVEL:
                levels.append(pool.records.value[entry[row]])
        for p in range(PLACES):
            row = np.flatnonzero(place == p)
            running = np.maximum.accumulate(np.concatenate(([newest[p]], event_ms[row])))
            passed = np.flatnonzero((needed_ms > running[0]) & (needed_ms <= running[-1]))
            at = np.searchsorted(running, needed_ms[passed]) - 1  # the first that is not below
            offset[passed, p] = seen[p] + at
            due_ns[passed, p] = load.due_ns(first + row[at])
            calls = np.flatnonzero(role[row] == URGENT)
            urgent.append(np.stack((np.full(len(calls), p), seen[p] + calls, load.due_ns(first + row[calls])), axis=1))
            newest[p] = running[-1]
            seen[p] += len(row)
    return Expected(
        answer=_answer(keys, np.concatenate(levels), window_ms, raise_at_mm(load.rate)),
        window_ms=window_ms,
        due_ns=np.where((offset >= 0).all(axis=1), due_ns.max(axis=1), -1),
        offset=offset,
        urgent=np.concatenate(urgent),
        records=seen,
    )


def _answer(keys: dict[int, list[Ints]], levels: np.ndarray, window_ms: Ints, at_least_mm: float) -> Answer:
    level, camera, ticket = (np.concatenate(keys[kind]) for kind in (LEVEL, CAMERA, TICKET))
    every, group = np.unique(np.concatenate((level, camera, ticket)), return_inverse=True)
    parts = np.split(group, [len(level), len(level) + len(camera)])
    highest = np.full(len(every), -np.inf)
    np.maximum.at(highest, parts[0], levels)
    cameras, tickets = (np.bincount(part, minlength=len(every)) for part in parts[1:])
    raised = np.flatnonzero((highest >= at_least_mm) & (cameras + tickets >= 1))
    return {
        (
            int(every[i] // len(window_ms)),
            int(window_ms[every[i] % len(window_ms)]),
            float(highest[i]),
            int(cameras[i]),
            int(tickets[i]),
        )
        for i in raised
    }
