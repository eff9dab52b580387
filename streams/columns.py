"""What decoding makes of the raw batches of one partition: one array per column, rows in offset order.

Strings that repeat (kind, unit, device type) are codes of a `streams.strings.StringTable`; entity ids, which do not,
lie one after the other in `entity_data`. Fields without a column of their own are kept as JSON in `extra`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schemas.sources import Source

NO_CODE = -1


@dataclass(slots=True)
class Columns:
    """`n` decoded rows of one raw partition; every array but the two of `entity` has length `n`.

    Missing: `NO_CODE` in `unit` and `device_type`, NaN in `lon` and `lat`, 0 in `datum`. Coordinates are as sent, in
    the row's own datum. `received_at_ms` is the broker's append time where the topic has one.
    """

    source: Source
    topic: str
    partition: int
    n: int
    event_at_ms: npt.NDArray[np.int64]
    received_at_ms: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int32]
    unit: npt.NDArray[np.int32]
    device_type: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float32]
    quality: npt.NDArray[np.uint8]
    datum: npt.NDArray[np.uint8]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    entity_data: npt.NDArray[np.uint8]
    entity_offsets: npt.NDArray[np.int32]
    extra: dict[int, bytes] = field(default_factory=dict)

    def entity(self, row: int) -> str:
        """The entity id of one row; for tests and for words to a person, not for the fast path."""
        start, end = int(self.entity_offsets[row]), int(self.entity_offsets[row + 1])
        return self.entity_data[start:end].tobytes().decode()
