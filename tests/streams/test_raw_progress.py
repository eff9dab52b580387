"""Whose word counts on whether a source is idle."""

from __future__ import annotations

from schemas.observation import Cover
from streams.raw_progress import RawProgress


def cover(partition: int, first: int, last: int, watermark_ms: int, *, idle: bool = False) -> Cover:
    return Cover(
        source=0, partition=partition, first=first, last=last,
        watermark_ms=watermark_ms, max_event_ms=watermark_ms + 5_000, idle=idle, arrived_ms=0,
    )  # fmt: skip


def test_a_frozen_worker_that_thaws_does_not_call_idle_what_its_successor_reads() -> None:
    """Its frame was made while the source slept. The successor's have come since: the source holds the watermark."""
    progress = RawProgress([(0, 0), (0, 1)])
    progress.apply(cover(1, 0, 9, 90_000))
    progress.apply(cover(0, 0, 6, 60_000))
    progress.apply(cover(0, 0, 4, 50_000, idle=True))
    assert progress.advance() == 60_000
    progress.apply(cover(0, 7, 6, 60_000, idle=True))  # from one who is as far
    assert progress.advance() == 90_000


def test_a_frame_from_behind_does_not_wake_what_sleeps_either() -> None:
    """A restart reads the last few records again before it is where the one before it was."""
    progress = RawProgress([(0, 0), (0, 1)])
    progress.apply(cover(1, 0, 9, 90_000))
    progress.apply(cover(0, 0, 6, 60_000, idle=True))
    progress.apply(cover(0, 3, 5, 50_000))
    assert progress.advance() == 90_000
    progress.apply(cover(0, 6, 7, 62_000))
    progress.apply(cover(1, 10, 11, 99_000))
    assert progress.partitions[0, 0].idle is False
    assert progress.advance() == 90_000
