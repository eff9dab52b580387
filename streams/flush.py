"""What locate hands out: frames, letters and the raw offsets that may be committed once these are acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.dead_letter import DeadLetter
from streams.placing import RawKey


@dataclass(frozen=True, slots=True)
class FrameOut:
    """One encoded frame for partition `shard` of observations, or of placed-tickets (there the raw partition)."""

    shard: int
    data: bytes | memoryview
    rows: int


@dataclass(frozen=True, slots=True)
class UrgentTicket:
    """A one-row frame that must not wait; the row is in an ordinary frame, too."""

    key: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """A raw offset that may be committed, with the metadata that goes with it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Flush:
    """What one flush gives. Frames of one shard must be acknowledged one after the other, in this order; so must
    `tickets`, the frames for placed-tickets, of one raw partition.

    `commits` (empty unless `level`) hold once all frames and dead letters up to this flush are acknowledged.
    """

    frames: tuple[FrameOut, ...]
    dead_letters: tuple[DeadLetter, ...]
    commits: Mapping[RawKey, Commit]
    level: bool
    tickets: tuple[FrameOut, ...] = ()

    @property
    def rows(self) -> int:
        return sum(frame.rows for frame in self.frames)
