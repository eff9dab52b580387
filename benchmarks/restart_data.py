"""The data of benchmarks.restart: a city of any number of cells, each with four metrics, as JSON of fixed width.

History: one record of each metric in every cell, a metric a minute. Then records go on, so many a second, at a pace of
event time that ends a minute every few seconds. The answer follows without a join: a rule that asks for two records
within the hour is fulfilled by the first live record of a metric in a cell, at the end of its minute, if and only if
the record of history was not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.restart_worker import METRICS

WEST, SOUTH, STEP_DEG = 121.0, 30.5, 0.001
PARTITIONS: Final = 4
START_MS: Final = 1_750_000_020_000  # on a minute
MINUTE_MS: Final = 60_000
UNITS: Final = ("mm", "mm/h", "dB", "ug/m3")
BUSY_CELLS: Final = 2_000  # of the records that go on; all others speak once more, to be told

Answer = set[tuple[int, int, int]]
"""(number of the metric, cell, end of the window in ms)"""
IntArray = npt.NDArray[np.int64]


@dataclass
class Story:
    """What was sent, and what must be told of it."""

    cells: int
    seed: int = 1
    records: int = 0
    expected: Answer = field(default_factory=set)
    _told: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.side = int(np.ceil(np.sqrt(self.cells)))
        self._random = np.random.default_rng(self.seed)
        self._fresh = iter(self._random.permutation(np.arange(BUSY_CELLS, self.cells)).tolist())

    @property
    def live_ms(self) -> int:
        """When history ends."""
        return START_MS + len(METRICS) * MINUTE_MS

    def history(self) -> Iterator[tuple[int, bytes]]:
        """(partition, record)"""
        for metric in range(len(METRICS)):
            begin_ms = START_MS + metric * MINUTE_MS
            for first in range(0, self.cells, 100_000):
                cell = np.arange(first, min(first + 100_000, self.cells))
                yield from self._made(metric, cell, begin_ms + cell * MINUTE_MS // self.cells)

    def live(self, from_ms: int, until_ms: int, busy: int, fresh: int) -> Iterator[tuple[int, bytes]]:
        """Records of a stretch of event time: `busy` ones from cells that speak often, `fresh` ones from others."""
        cells = np.concatenate(
            [self._random.integers(0, BUSY_CELLS, busy), [next(self._fresh) for _ in range(fresh)]]
        ).astype(np.int64)
        metrics = self._random.integers(0, len(METRICS), len(cells))
        times = np.sort(self._random.integers(from_ms, until_ms, len(cells)))
        cells = cells[self._random.permutation(len(cells))]
        for metric, cell, at_ms in zip(metrics.tolist(), cells.tolist(), times.tolist(), strict=True):
            if (metric, cell) not in self._told:
                self._told.add((metric, cell))
                self.expected.add((metric, cell, at_ms - at_ms % MINUTE_MS + MINUTE_MS))
        made = [
            list(self._made(metric, cells[metrics == metric], times[metrics == metric]))
            for metric in range(len(METRICS))
        ]
        order = np.argsort(np.concatenate([times[metrics == metric] for metric in range(len(METRICS))]), kind="stable")
        every = [record for some in made for record in some]
        yield from (every[at] for at in order.tolist())

    def closers(self, at_ms: int) -> Iterator[tuple[int, bytes]]:
        """A record for each partition after which every window before it has ended; they tell nothing themselves."""
        yield from self._made(0, np.arange(PARTITIONS), np.full(PARTITIONS, at_ms))

    def _made(self, metric: int, cell: IntArray, at_ms: IntArray) -> Iterator[tuple[int, bytes]]:
        self.records += len(cell)
        tenths = 100 + cell * 7 % 800
        lon = round(WEST * 1e6) + cell % self.side * 1_000 + 500
        lat = round(SOUTH * 1e6) + cell // self.side * 1_000 + 500
        rows = np.hstack([
            _text('{"device_id":"d', cell), _digits(cell, 9),
            _text(f'","metric":"{METRICS[metric]}","value":', cell), _digits(tenths // 10, 2), _text(".", cell),
            _digits(tenths % 10, 1), _text(f',"unit":"{UNITS[metric]}","ts":', cell), _digits(at_ms, 13),
            _text(',"lon":', cell), _digits(lon // 1_000_000, 3), _text(".", cell), _digits(lon % 1_000_000, 6),
            _text(',"lat":', cell), _digits(lat // 1_000_000, 2), _text(".", cell), _digits(lat % 1_000_000, 6),
            _text(',"quality":"good"}', cell),
        ])  # fmt: skip
        data, width = rows.tobytes(), rows.shape[1]
        for at, number in enumerate(cell.tolist()):
            yield number % PARTITIONS, data[at * width : (at + 1) * width]


def _text(text: str, like: IntArray) -> npt.NDArray[np.uint8]:
    return np.tile(np.frombuffer(text.encode(), dtype=np.uint8), (len(like), 1))


def _digits(numbers: IntArray, width: int) -> npt.NDArray[np.uint8]:
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    digits: npt.NDArray[np.uint8] = (48 + numbers[:, None] // powers % 10).astype(np.uint8)
    return digits
