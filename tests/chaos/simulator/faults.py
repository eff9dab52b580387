"""What goes wrong in a run, drawn from its seed: who dies, freezes, is cut off, leaves or comes, and when; which
service is away, slow or refuses; whose clock jumps.

A fault strikes at a time, at a step of a process (any await), or at a request of a kind: before it is served, or when
it is served and not answered. Requests find the few places that matter, steps and times all the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from tests.chaos.simulator.mishaps import ANSWERS, PIECES, Mishap, Trip, name_of
from tests.chaos.simulator.process import Process

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

HOUR_MS: Final = 3_600_000
STEPS: Final = 1_500  # of a process in a run, about
REQUESTS: Final = (
    "produce observations", "produce placed-tickets", "produce dead-letters", "produce urgent-tickets",
    "commit locate", "committed locate", "join locate",
    "produce alerts", "produce join-open", "produce join-blocks", "produce join-state", "read join-state",
    "read join-open", "read join-blocks", "read observations", "commit tongguan-join", "delete records",
    "produce loop", "produce incidents", "produce notifications", "produce loop-state", "produce loop-parts",
    "read loop-state", "read loop-parts", "read loop", "commit tongguan-dispatch", "commit tongguan-intake",
    "produce archive-state", "read archive-state", "commit tongguan-archive",
    "insert observations", "insert tickets", "insert alerts", "insert dead_letters", "insert incidents", "look up",
)  # fmt: skip
"""What a fault can wait for; the label of each request (network.py)."""
ANSWERED: Final = ("offsets", "metadata", "group offsets", *(
    what for what in REQUESTS if what.split()[0] in ("commit", "committed", "read", "delete")
))  # fmt: skip
"""What can be answered with an error that its client does not see to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How often what happens in a run. Weights are relative; shares are of all requests of a kind."""

    faults: tuple[int, int] = (1, 5)
    kill: float = 5
    freeze: float = 3
    duel: float = 1  # one is frozen long enough, and soon after it wakes its successor dies
    cut: float = 2
    leave: float = 1
    come: float = 1
    clock: float = 1
    broker_away: float = 1
    store_away: float = 1
    store_slow: float = 1
    compact: float = 2
    lose: float = 0  # what join and loop have stored of their state is gone
    trip: float = 1  # a piece of the product raises what nobody expects (mishaps.py)
    bad_answer: float = 1  # Kafka answers a request with an error, having served it or not
    kill_again: float = 0.3  # of those that were restarted, while they recover
    failing_producer: float = 0.004
    failing_insert: float = 0.08
    failing_fetch: float = 0.0005
    lagging: float = 0.15  # partitions of groups

    def weights(self) -> dict[str, float]:
        kinds = (
            "kill", "freeze", "duel", "cut", "leave", "come", "clock", "broker_away", "store_away", "store_slow",
            "compact", "lose", "trip", "bad_answer",
        )  # fmt: skip
        return {kind: getattr(self, kind) for kind in kinds}


NONE: Final = Odds(
    faults=(0, 0), kill=1, freeze=0, duel=0, cut=0, leave=0, come=0, clock=0, broker_away=0, store_away=0, store_slow=0,
    compact=0, trip=0, bad_answer=0, kill_again=0, failing_producer=0, failing_insert=0, failing_fetch=0, lagging=0,
)  # fmt: skip
_KILLS: Final = replace(NONE, faults=(3, 6), kill=10, kill_again=0.3)
ODDS: Final[Mapping[str, Odds]] = {
    "all": Odds(),
    "none": replace(NONE, lagging=0.5),
    "kills": _KILLS,
    "recovery": replace(_KILLS, faults=(1, 3), kill_again=0.9),
    "zombies": replace(_KILLS, kill=3, freeze=6, duel=8, cut=3, come=1, compact=3),
    "members": replace(_KILLS, kill=1, leave=3, come=5, freeze=2),
    "store": replace(_KILLS, kill=2, store_away=3, store_slow=2, failing_insert=0.4),
    "clocks": replace(_KILLS, kill=2, clock=10),
    "broker": replace(_KILLS, kill=1, broker_away=6, cut=4, compact=2, failing_producer=0.01),
    "producers": replace(_KILLS, faults=(1, 3), kill=1, failing_producer=0.05),
    "state": replace(_KILLS, kill=4, compact=4, lose=4, duel=2),
    "errors": replace(
        _KILLS, faults=(1, 5), kill=1, trip=10, bad_answer=5, leave=1, failing_producer=0.003, failing_fetch=0.002
    ),
    "lags": replace(_KILLS, lagging=0.7),
}
"""Odds by name; "all" is a bit of everything."""


@dataclass(slots=True)
class _Ambush:
    """Strikes at the nth request of a kind from now on."""

    what: str
    left: int
    served: bool
    strike: Callable[[Process], BaseException | None]
    """What is given back is the answer."""


@dataclass(slots=True)
class Faults:
    world: World
    odds: Odds
    until_s: float
    """Afterwards nothing new goes wrong."""
    session_s: float
    told: Counter[str] = field(default_factory=Counter)
    """Faults that were injected, by kind."""
    trips: list[Trip] = field(default_factory=list)
    _ambushes: list[_Ambush] = field(default_factory=list)

    def plan(self) -> None:
        chance = self.world.chance
        kinds, weights = zip(*self.odds.weights().items(), strict=True)
        for _ in range(chance.randint(*self.odds.faults)):
            kind = chance.choices(kinds, weights)[0]
            at = chance.uniform(0, self.until_s)
            self.world.at(at, getattr(self, f"_{kind}"))

    @property
    def over(self) -> bool:
        return self.world.loop.time() >= self.until_s

    # --- at the services -------------------------------------------------------------------------------------------

    def request(self, process: Process, what: str, *, served: bool) -> BaseException | None:
        """A request is about to be served, or was; the error that it is answered with all the same."""
        if not self._ambushes or self.over:
            return None
        for ambush in self._ambushes:
            if ambush.served == served and what == ambush.what:
                ambush.left -= 1
                if ambush.left <= 0:
                    self._ambushes.remove(ambush)
                    return ambush.strike(process)
        return None

    def trip(self, process: Process, piece: str, *, after: bool) -> None:
        """A piece of the product begins, or has worked."""
        for trip in self.trips:
            if trip.piece == piece and trip.after == after and not self.over:
                trip.left -= 1
                if trip.left <= 0:
                    self.trips.remove(trip)
                    side = "after" if after else "before"
                    self._tell("trip", f"{process.name}: something is raised {side} {piece}")
                    raise Mishap(f"{side} {piece}")

    def fetch(self, process: Process) -> None:
        """Raises when what was fetched is an error."""
        if not self.over and self.odds.failing_fetch and self.world.chance.random() < self.odds.failing_fetch:
            error = self.world.chance.choice(ANSWERS)
            self._tell("failing fetch", f"{process.name} fetches {error.__name__}")
            raise error

    def produce(self, process: Process, place: TopicPartition) -> str | None:
        if self.over or self.world.chance.random() >= self.odds.failing_producer:
            return None
        trouble = self.world.chance.choice(("refused", "unanswered"))
        self._tell(f"producer {trouble}", f"{process.name}'s producer: {trouble} at {place.topic}[{place.partition}]")
        return trouble

    def insert(self, table: str) -> str | None:
        if self.over or self.world.chance.random() >= self.odds.failing_insert:
            return None
        trouble = self.world.chance.choice(("disk full", "too many parts", "half", "half", "unanswered", "unanswered"))
        self._tell(f"insert {trouble}", f"insert into {table}: {trouble}")
        return trouble

    # --- at processes ----------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        self._strike("kill", lambda process: process.kill(self._why("kill")))

    def _freeze(self) -> None:
        seconds = self._silence()
        self._strike("freeze", lambda process: process.freeze(seconds, self._why("freeze")))

    def _duel(self) -> None:
        """What a frozen owner writes when it wakes is what its successor's successor will find."""
        chance = self.world.chance
        seconds, after = self.session_s * chance.uniform(1.1, 3.0), chance.uniform(0.01, 1.0)

        def begin(process: Process) -> None:
            process.freeze(seconds, self._why("duel"))
            self.world.at(self.world.loop.time() + seconds + after, self._kill_another, process)

        self._strike("duel", begin)

    def _kill_another(self, process: Process) -> None:
        for other in self.world.workers:
            if other is not process and not self.over:
                other.kill(self._why("kill"))

    def _cut(self) -> None:
        seconds = self._silence()
        self._strike("cut", lambda process: process.cut_off(seconds, self._why("cut")))

    def _silence(self) -> float:
        """Shorter than the session timeout, or longer."""
        chance = self.world.chance
        return self.session_s * chance.choice((chance.uniform(0.1, 0.9), chance.uniform(1.1, 4.0)))

    def _strike(self, kind: str, strike: Callable[[Process], None]) -> None:
        chance, process = self.world.chance, self._somebody()
        if process is None:
            return
        way = chance.choice(("now", "step", "request", "request"))
        if way == "now":
            strike(process)
        elif way == "step":
            self.strike_at_step(process, chance.randrange(1, STEPS // 4), strike)
        else:
            self._lie_in_wait(chance.choice(REQUESTS), strike)

    def _lie_in_wait(self, what: str, strike: Callable[[Process], BaseException | None]) -> None:
        chance = self.world.chance
        self._ambushes.append(_Ambush(what, chance.choice((1, 1, 2, 5)), chance.random() < 0.5, strike))

    def _trip(self) -> None:
        chance = self.world.chance
        self.trips.append(Trip(name_of(*chance.choice(PIECES)), chance.choice((1, 1, 2, 5, 12)), chance.random() < 0.5))

    def _bad_answer(self) -> None:
        """Of those requests whose errors a client of Kafka hands on; a producer has its own way to fail."""
        what = self.world.chance.choice(ANSWERED)
        error = self.world.chance.choice(ANSWERS)

        def answer(process: Process) -> BaseException:
            self._tell("bad answer", f"{process.name} is answered {error.__name__}: {what}")
            made: BaseException = error()
            return made

        self._lie_in_wait(what, answer)

    @staticmethod
    def strike_at_step(process: Process, steps: int, strike: Callable[[Process], None]) -> None:
        process.doom_at = process.steps + steps
        process.doom = lambda: strike(process)

    def began(self, process: Process, *, again: bool) -> None:
        """A process has begun; one that was restarted may be killed while it recovers."""
        chance = self.world.chance
        if again and not self.over and chance.random() < self.odds.kill_again:
            self.strike_at_step(process, chance.randrange(1, 300), lambda it: it.kill(self._why("kill again")))

    def _somebody(self) -> Process | None:
        running = [process for process in self.world.workers if process.state.value == "running"]
        return self.world.chance.choice(running) if running else None

    def _why(self, kind: str) -> str:
        self.told[kind] += 1
        return kind

    # --- of the whole ----------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        process = self._somebody()
        if process is not None:
            self._tell("leave", f"{process.name} is asked to stop")
            self.world.ask_to_stop(process)
            if self.world.chance.random() < 0.3:  # and whoever asked has no patience
                self.strike_at_step(process, self.world.chance.randrange(1, 60), lambda it: it.kill(self._why("kill")))

    def _come(self) -> None:
        self._tell("come", "one more worker")
        self.world.one_more_worker()

    def _clock(self) -> None:
        chance = self.world.chance
        step_ms = chance.choice((-HOUR_MS, HOUR_MS, -1_500, 1_500))
        if chance.random() < 0.3:
            self.world.broker.clock_ahead_ms += step_ms
            self._tell("clock", f"the clock of the broker jumps by {step_ms // 1000} s")
            return
        host = chance.choice(self.world.hosts)
        host.clock_ahead_ms += step_ms
        self._tell("clock", f"the clock of {host.name} jumps by {step_ms // 1000} s")

    def _broker_away(self) -> None:
        seconds = self.world.chance.choice((0.5, 3.0, 8.0))
        self._tell("broker away", f"the broker is away for {seconds} s")
        self.world.network.kafka.away_until = self.world.loop.time() + seconds

    def _store_away(self) -> None:
        seconds = self.world.chance.choice((1.0, 5.0, 12.0))
        self._tell("store away", f"ClickHouse is away for {seconds} s")
        self.world.network.clickhouse.away_until = self.world.loop.time() + seconds

    def _store_slow(self) -> None:
        seconds = self.world.chance.choice((0.5, 2.0))
        self._tell("store slow", f"ClickHouse is slower by up to {seconds} s a call from now on")
        self.world.network.clickhouse.extra_s = seconds
        self.world.at(self.until_s, self._store_recovers)

    def _store_recovers(self) -> None:
        self.world.network.clickhouse.extra_s = 0.0

    def _compact(self) -> None:
        self._tell("compact", "compacted topics are compacted")
        for log in self.world.broker.logs.values():
            if log.compacted:
                log.compact()

    def _lose(self) -> None:
        """Manifests only: whatever they named is of no use without them. The archive's checkpoints are not made good
        by its log, so they stay."""
        self._tell("lose", "the stored state of join and loop is deleted")
        for topic in (self.world.names.join_state, self.world.names.loop_state):
            for log in self.world.broker.of(topic):
                log.begin = log.end
                log.records.clear()

    def _tell(self, kind: str, what: str) -> None:
        self.told[kind] += 1
        self.world.trace.say(what)
