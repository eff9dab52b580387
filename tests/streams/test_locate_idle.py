"""Idle sources over a restart: what slept when its offset was committed is idle at once, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.observation import Cover, decode_frame
from schemas.sources import Source
from streams.flush import Flush
from streams.locate_core import Locator
from streams.locate_settings import LocateSettings
from streams.placing import RawKey, WatermarkState
from streams.raw_source import CERTAINLY_OURS_MS
from tests.support.decoded_rows import T0, DecodedRow, Tables

KEY: RawKey = (0, 0)
IDLE_AFTER_MS = LocateSettings().idle_after_ms


def no_payloads(offsets: Sequence[int]) -> Mapping[int, bytes | None]:
    return dict.fromkeys(offsets)


@dataclass
class Partition:
    """One raw partition, what is committed of it, and the locator that owns it at present."""

    now_ms: int = T0
    tables: Tables = field(default_factory=Tables)
    commit: tuple[int, str] | None = None
    commits: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """As after a kill: from the commit alone, with a clock that tells another time."""
        self.locator: Locator = self.tables.locator(LocateSettings())
        offset, metadata = self.commit or (0, WatermarkState().encode())
        state = WatermarkState.decode(metadata)
        assert state is not None
        self.locator.assign(KEY, offset, state, self.now_ms)

    def after(self, seconds: float) -> Partition:
        self.now_ms += round(seconds * 1000)
        return self

    def feed(self, *rows: DecodedRow) -> Partition:
        columns = self.tables.columns(rows, source=Source.READINGS, partition=0)
        self.locator.feed(columns, [], rows[-1].offset + 1, self.now_ms, no_payloads)
        return self

    def ends_at(self, end: int, *, asked_s_ago: float = 0.1) -> Partition:
        self.locator.seen_end(KEY, end, self.now_ms - round(asked_s_ago * 1000))
        return self

    def flush(self, *, committed: bool = True) -> Flush:
        flush = self.locator.flush(self.now_ms, level=True)
        if committed and KEY in flush.commits:
            self.commit = flush.commits[KEY].offset, flush.commits[KEY].metadata
            self.commits += 1
        return flush

    def is_idle(self) -> bool:
        """What every shard knows after a level flush."""
        self.flush()
        (told,) = {told[2] for told in self.locator.assigned[KEY].told[:-1]}
        return told

    def fall_asleep(self, end: int) -> Partition:
        assert self.after(IDLE_AFTER_MS / 1000 + 0.1).ends_at(end).is_idle()
        return self


def asleep() -> Partition:
    """A source of one record that has been called idle, and whose owner has been killed."""
    partition = Partition().feed(DecodedRow(0)).fall_asleep(1).after(60)
    partition.restart()
    return partition


def test_that_a_source_sleeps_is_committed_though_its_offset_stays_the_same() -> None:
    partition = Partition().feed(DecodedRow(0))
    partition.flush()
    before = partition.commit
    assert before is not None
    partition.fall_asleep(1)
    assert partition.commit is not None
    assert partition.commit[0] == before[0] == 1
    assert [WatermarkState.decode(metadata) for _, metadata in (before, partition.commit)] == [
        WatermarkState(T0, T0 + 1_000),
        WatermarkState(T0, T0 + 1_000, idle=True),
    ]
    commits = partition.commits
    partition.after(1).ends_at(1).flush()
    assert partition.commits == commits, "nothing new, nothing to commit"


def test_a_partition_that_never_had_a_record_is_committed_as_asleep_too() -> None:
    partition = Partition().fall_asleep(0)
    assert partition.commit == (0, WatermarkState(idle=True).encode())
    partition.restart()
    assert partition.ends_at(0).is_idle()


def test_what_slept_is_idle_as_soon_as_the_broker_confirms_its_end() -> None:
    partition = asleep()
    partition.now_ms = 500  # by the clock of the new process
    partition.restart()
    assert not partition.is_idle(), "the broker has not answered yet"
    assert partition.after(0.2).ends_at(1).is_idle()


def test_what_was_awake_at_its_commit_is_not() -> None:
    partition = Partition().feed(DecodedRow(0))
    partition.flush()
    partition.after(60).restart()
    assert not partition.after(0.2).ends_at(1).is_idle()
    assert not partition.after(4.5).ends_at(1).is_idle()
    assert partition.after(0.5).ends_at(1).is_idle()


def test_records_that_came_while_nobody_read_wake_it() -> None:
    partition = asleep()
    assert not partition.after(0.2).ends_at(3).is_idle(), "they are there, though not read yet"
    partition.feed(DecodedRow(1, event_at_ms=T0 + 1), DecodedRow(2))
    assert not partition.ends_at(3).is_idle()
    partition.after(1).restart()
    assert not partition.after(0.2).ends_at(3).is_idle(), "and the next owner knows"


def test_records_that_do_not_move_event_time_on_do_not_wake_it() -> None:
    partition = asleep().after(0.2).ends_at(2)
    assert not partition.is_idle()
    assert partition.feed(DecodedRow(1, event_at_ms=T0 - 60_000)).ends_at(2).is_idle()


def test_records_that_were_deleted_unread_wake_it() -> None:
    partition = asleep()
    partition.locator.advance(KEY, 9)
    assert not partition.after(0.2).ends_at(9).is_idle()


def test_an_answer_that_a_frozen_worker_finds_when_it_thaws_confirms_nothing() -> None:
    """Another owner may have read on meanwhile."""
    partition = asleep().after(3)
    assert not partition.ends_at(1, asked_s_ago=CERTAINLY_OURS_MS / 1000).is_idle()
    assert partition.ends_at(1, asked_s_ago=CERTAINLY_OURS_MS / 1000 - 0.001).is_idle()
    assert partition.after(600).is_idle(), "confirmed once: a broker that is away since then wakes nobody"


def test_a_source_that_wakes_has_to_be_quiet_again_for_as_long_as_any() -> None:
    partition = asleep().after(0.2).ends_at(1)
    assert partition.is_idle()
    partition.feed(DecodedRow(1, event_at_ms=T0 + 1)).after(0.2).ends_at(2)
    assert not partition.is_idle()
    partition.after(IDLE_AFTER_MS / 1000 - 0.2).ends_at(2, asked_s_ago=0.001)
    assert not partition.is_idle()
    assert partition.after(0.001).ends_at(2, asked_s_ago=0).is_idle()


@pytest.mark.parametrize("metadata", ['{"max_event_ms":7}', '{"max_event_ms":7,"max_arrival_ms":9}'])
def test_commits_that_do_not_speak_of_sleep_are_awake(metadata: str) -> None:
    state = WatermarkState.decode(metadata)
    assert state is not None
    assert not state.idle
    assert WatermarkState.decode(WatermarkState(7, 9).encode()) == WatermarkState(7, 9)
    assert "idle" not in WatermarkState(7, 9).encode(), "who is awake is readable for workers that know no sleep"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_crashes_nobody_is_called_idle_who_has_not_been_quiet_for_long(seed: int) -> None:
    """The truth is the log: who was called idle, when the broker was asked at `asked_ms`, had no record that moved
    event time on in the `idle_after_ms` before."""
    chance = random.Random(seed)
    partition = Partition()
    log: list[DecodedRow] = []
    moved_ms: list[int] = []  # when records that moved event time on were appended
    newest_ms = asked_ms = answered_ms = 0
    for _ in range(60):
        partition.after(chance.choice((0.01, 0.1, 0.5, 1.0, 5.0)))
        act = chance.choices(("append", "read", "ask", "flush", "crash"), (2, 4, 5, 6, 1))[0]
        if act == "append":
            log.append(DecodedRow(len(log), event_at_ms=T0 + chance.randint(0, 60_000), received_at_ms=T0 + 60_000))
            if log[-1].event_at_ms > newest_ms:
                newest_ms = log[-1].event_at_ms
                moved_ms.append(partition.now_ms)
        elif act == "read" and (rows := log[partition.locator.assigned[KEY].position :]):
            partition.feed(*rows[: chance.randint(1, 3)])
        elif act == "ask":
            asked_ms, answered_ms = answered_ms or partition.now_ms, partition.now_ms
            partition.locator.seen_end(KEY, len(log), asked_ms)
        elif act == "crash":
            asked_ms = answered_ms = 0
            partition.restart()
        else:
            for frame in partition.flush(committed=chance.random() < 0.7).frames:
                _hold_to_the_log(decode_frame(frame.data)[0].covers, asked_ms, moved_ms)


def _hold_to_the_log(covers: Sequence[Cover], asked_ms: int, moved_ms: Sequence[int]) -> None:
    for cover in covers:
        if cover.idle:
            assert not [at_ms for at_ms in moved_ms if asked_ms - IDLE_AFTER_MS < at_ms <= asked_ms]
