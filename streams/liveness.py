"""Whether consumers still consume: asked of the broker, from outside the consumers, and believed over what they say.

A consumer can stop for good without an error: its fetcher sends no more requests, a rebalance never ends, a thread has
died, or acknowledgements no longer become commits. Nothing in the process notices; alerts simply stop. So every few
seconds the broker is asked how far each group has committed and how far the partitions go. A partition that has
messages waiting and whose commit has not moved for `stuck_after_s` is stuck, and so is a group of ours that has no
member at all. Then the worker ends with a status of its own, and whoever supervises it starts it again.

Only time between two answers counts: while the broker is away, or this process was stopped, nobody is to blame.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from mode import Service

from schemas.errors import BrokerError, WorkerStuck
from streams import metrics

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 5.0
LONGEST_STEP_S: Final = 3 * CHECK_EVERY_S
"""What one interval counts at most: the machine may have slept."""

NORMAL: Final = 1.0
BUSY: Final = 0.1
"""Reading a backlog again, or writing a large snapshot: no commits for a while, but not without limit."""
WAITS: Final = 0.0
"""For a service that is away: no commits for as long as that lasts."""


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Standing(NamedTuple):
    """What the broker says of a partition: where its first record is, the offset behind its last, the group's commit
    (None: none yet)."""

    begin: int
    end: int
    committed: int | None

    @property
    def next(self) -> int:
        """Where the group goes on."""
        return self.begin if self.committed is None else max(self.committed, self.begin)


@dataclass(frozen=True, slots=True)
class Watched:
    """A consumer group that this process is a member of.

    `assigned` gives the partitions that are ours now. `pace` says how fast time counts against it: NORMAL, BUSY or
    WAITS. Both are called every few seconds and must return at once.
    """

    role: str
    group: str
    assigned: Callable[[], Iterable[tuple[str, int]]]
    pace: Callable[[], float] = lambda: NORMAL
    read_committed: bool = False


class Offsets(Protocol):
    """Where to ask. Every method raises BrokerError when there is no answer in time."""

    async def standings(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, Standing]: ...

    async def has_members(self, group: str) -> bool: ...

    async def has_record(self, partition: Partition, offset: int, *, read_committed: bool) -> bool:
        """Whether there is a record at `offset` or behind it. Compaction and markers of transactions leave offsets at
        the end that hold none."""
        ...

    async def close(self) -> None: ...


class Stuck(NamedTuple):
    """A partition that stands still."""

    partition: Partition
    standing: Standing
    since_s: float

    def __str__(self) -> str:
        next_, end = self.standing.next, self.standing.end
        return f"{self.partition} at offset {next_}, {end - next_} waiting, for {self.since_s:.0f} s"


@dataclass(slots=True)
class Stillness:
    """How long each partition of one group has stood still: bookkeeping alone, no clock and no Kafka."""

    _next: dict[Partition, int] = field(default_factory=dict)
    _still_s: dict[Partition, float] = field(default_factory=dict)

    def look(self, standings: Mapping[Partition, Standing], passed_s: float) -> None:
        """Take in what the broker says now; `passed_s` is the time since the look before that counts."""
        for partition in self._next.keys() - standings.keys():  # another worker's now
            self.forget(partition)
        for partition, standing in standings.items():
            moved = self._next.get(partition) != standing.next
            self._next[partition] = standing.next
            if moved or standing.end <= standing.next:
                self._still_s[partition] = 0.0
            else:
                self._still_s[partition] += passed_s

    def beyond(self, limit_s: float, standings: Mapping[Partition, Standing]) -> list[Stuck]:
        """Those that have stood still for so long, the longest first."""
        still = ((since_s, partition) for partition, since_s in self._still_s.items() if since_s >= limit_s)
        return [Stuck(partition, standings[partition], since_s) for since_s, partition in sorted(still, reverse=True)]

    def forget(self, partition: Partition) -> None:
        """Begin anew with this partition."""
        self._next.pop(partition, None)
        self._still_s.pop(partition, None)


class Liveness(Service):
    """Looks every few seconds until something stands still; then it crashes with WorkerStuck."""

    def __init__(
        self,
        watched: Sequence[Watched],
        offsets: Offsets,
        *,
        stuck_after_s: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`watched` may grow until the first look. `clock` in seconds, for tests."""
        super().__init__()
        self._watched = watched
        self._offsets = offsets
        self._stuck_after_s = stuck_after_s
        self._clock = clock or time.monotonic
        self._still: dict[str, Stillness] = {}
        self._alone_s: dict[str, float] = {}
        self._looked_at: dict[str, float] = {}
        self._told = False

    async def on_start(self) -> None:
        self.add_future(self._run())

    async def on_stop(self) -> None:
        await self._offsets.close()

    async def _run(self) -> None:
        try:
            while not self.should_stop:
                await self.sleep(CHECK_EVERY_S)
                await self.look()
        except WorkerStuck as problem:
            log.error("%s", problem)
            self._crash(problem)
        except Exception as problem:
            log.exception("liveness: failed")
            self._crash(problem)

    async def look(self) -> None:
        """One look at every group. Raises WorkerStuck."""
        answered = 0
        for watched in self._watched:
            try:
                await self._look_at(watched)
                answered += 1
            except BrokerError as problem:
                self._looked_at.pop(watched.group, None)
                if not self._told:
                    self._told = True
                    log.warning("liveness: %s; what nobody can see is not held against the consumers", problem)
        if answered == len(self._watched):
            self._told = False

    async def _look_at(self, watched: Watched) -> None:
        pace = watched.pace()
        mine = {Partition(topic, partition) for topic, partition in watched.assigned()}
        standings = await self._offsets.standings(watched.group, mine) if mine else {}
        has_members = await self._offsets.has_members(watched.group)
        now = self._clock()
        before = self._looked_at.get(watched.group)
        self._looked_at[watched.group] = now
        passed_s = 0.0 if before is None else pace * min(now - before, LONGEST_STEP_S)
        self._look_for_members(watched, has_members, passed_s)
        still = self._still.setdefault(watched.group, Stillness())
        still.look(standings, passed_s)
        for stuck in still.beyond(self._stuck_after_s, standings):
            if await self._offsets.has_record(
                stuck.partition, stuck.standing.next, read_committed=watched.read_committed
            ):
                self._give_up(watched, str(stuck))
            still.forget(stuck.partition)  # nothing lies there but markers

    def _look_for_members(self, watched: Watched, has_members: bool, passed_s: float) -> None:
        alone_s = 0.0 if has_members else self._alone_s.get(watched.group, 0.0) + passed_s
        self._alone_s[watched.group] = alone_s
        if alone_s >= self._stuck_after_s:
            self._give_up(watched, f"for {alone_s:.0f} s the group has had no member, not even this worker")

    def _give_up(self, watched: Watched, what: str) -> None:
        metrics.STUCK_CONSUMERS.labels(watched.role).inc()
        raise WorkerStuck(
            f"{watched.role}: the consumer stands still ({watched.group}: {what}); "
            "this worker ends, and a new one goes on from what is committed"
        )
