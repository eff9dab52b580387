"""One Kafka record batch as it comes off the wire, or what is known of one that cannot be unpacked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.dead_letter import Reason
from streams.codecs import Codec


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One Kafka record batch, records still packed in message format v2.

    `timestamp_ms` is the broker's append time (`log_append`) or else the latest record time in the batch. Records
    below `skip_before`, the end of what the consumer was handed before, are not wanted; offsets from there to
    `base_offset` hold nothing for us (control batches, aborted transactions, compacted away), and are settled with
    this batch, so that the offsets covered have no gaps. -1 means `base_offset`.
    """

    base_offset: int
    next_offset: int
    count: int
    timestamp_ms: int
    log_append: bool
    payload: bytes | memoryview
    codec: Codec = Codec.NONE
    skip_before: int = -1

    @property
    def first_offset(self) -> int:
        """The first offset that consuming this batch settles."""
        return self.base_offset if self.skip_before < 0 else self.skip_before


@dataclass(frozen=True, slots=True)
class CorruptBatch:
    """A batch that cannot be unpacked: it becomes one dead letter, and consumption goes on at `next_offset`."""

    base_offset: int
    next_offset: int
    timestamp_ms: int
    payload: bytes | memoryview
    detail: str
    reason: Reason = Reason.CORRUPT_BATCH
    skip_before: int = -1

    @property
    def first_offset(self) -> int:
        """The first offset that consuming this batch settles."""
        return self.base_offset if self.skip_before < 0 else self.skip_before


Batch = RawBatch | CorruptBatch


def slices(batches: Sequence[Batch], *, most_records: int = 250_000) -> Iterator[Sequence[Batch]]:
    """The batches in order, cut so that each slice says it has at most `most_records` (one batch may have more).

    A few kilobytes of zstd can hold a million records: whoever decodes slice by slice keeps its memory bounded.
    """
    start = 0
    records = 0
    for index, batch in enumerate(batches):
        count = batch.count if isinstance(batch, RawBatch) else 1
        if index > start and records + count > most_records:
            yield batches[start:index]
            start = index
            records = 0
        records += count
    if start < len(batches):
        yield batches[start:]
