"""What must hold when a run is over, whatever went wrong in it: the checks of locate and join, and all together.

None compares with another run. Frames and alerts must follow from the raw log by arithmetic; alerts also from the
frames by the pure core, byte for byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schemas.alert import Alert, decode_alert, encode_alert
from schemas.dead_letter import decode_dead_letter
from schemas.observation import Flag, decode_frame
from schemas.sources import Source
from streams.coverage import Coverage
from streams.join_core import JoinShard
from streams.urgent import DETECTOR as URGENT_DETECTOR
from tests.chaos.simulator import city
from tests.chaos.simulator.checks_loop import loop_problems
from tests.chaos.simulator.checks_store import store_problems
from tests.chaos.simulator.raw_facts import Raw, RawFacts, around, raw_facts

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

MOST = 5  # of one kind that are told
ROW = ("source", "partition", "offset", "event_at", "cell", "entity", "value", "flags")


def problems(world: World) -> list[str]:
    """Everything that is wrong with what a run has left behind."""
    facts = raw_facts(world)
    found: list[str] = []
    if "locate" in world.play.roles:
        found += [f"dead letters: {problem}" for problem in _letters(world, facts)]
        found += [f"observations: {problem}" for problem in _observations(world, facts)]
        found += [f"placed-tickets: {problem}" for problem in _placed_tickets(world, facts)]
    if "join" in world.play.roles:
        found += [f"alerts: {problem}" for problem in _alerts(world, facts)]
    if "dispatch" in world.play.roles:
        found += [f"loop: {problem}" for problem in loop_problems(world)]
    if "archive" in world.play.roles:
        found += [f"store: {problem}" for problem in store_problems(world, facts)]
    return found


# --- locate ----------------------------------------------------------------------------------------------------------


def _letters(world: World, facts: RawFacts) -> Iterator[str]:
    names = {world.names.raw(source): source for source in Source}
    told: set[Raw] = set()
    for _, record in world.broker.values(world.names.dead_letters):
        letter = decode_dead_letter(record.value or b"")
        if letter.topic in names:
            told.add((names[letter.topic], letter.partition, letter.offset))
    yield from differences("raw records", facts.dead, told)


def _observations(world: World, facts: RawFacts) -> Iterator[str]:
    rows: dict[Raw, dict[str, Any]] = {}
    for log in world.broker.of(world.names.observations):
        covered: dict[tuple[int, int], Coverage] = defaultdict(Coverage)
        for record in log.records:
            header, batch = decode_frame(record.value or b"")
            for row in batch.select(ROW).to_pylist():
                if not row["flags"] & Flag.HALO:
                    yield from _same_row(rows, row)
            for cover in header.covers:
                known = covered[cover.source, cover.partition]
                if known.intervals and cover.first > known.intervals[-1][1] + 1:
                    yield f"shard {log.place.partition}: a gap before {cover}"
                known.add(cover.first, cover.last)
        for (source, partition), end in facts.ends.items():
            if not covered[int(source), partition].covers(0, end - 1):
                yield f"shard {log.place.partition} does not cover {source.topic}[{partition}] up to {end}"
    yield from differences("raw records", set(facts.good), set(rows))
    for where, row in rows.items():
        if where in facts.good:
            yield from _row_problems(where, row, facts)


def _same_row(rows: dict[Raw, dict[str, Any]], row: dict[str, Any]) -> Iterator[str]:
    """A row that came again must be the same."""
    where = Source.of_topic(row["source"]), row["partition"], row["offset"]
    if rows.setdefault(where, row) != row:
        yield f"{where} came twice, and not the same: {rows[where]} and {row}"


def _row_problems(where: Raw, row: dict[str, Any], facts: RawFacts) -> Iterator[str]:
    good = facts.good[where]
    if bool(row["flags"] & Flag.LATE) != good.late:
        yield f"{where} is {'late' if good.late else 'not late'}, the row says otherwise"
    if where[0] is Source.READINGS and row["value"] != where[2] + 1:
        yield f"{where} has value {row['value']}, should be {where[2] + 1}"


def _placed_tickets(world: World, facts: RawFacts) -> Iterator[str]:
    rows: dict[Raw, dict[str, Any]] = {}
    for log in world.broker.of(world.names.placed_tickets):
        for record in log.records:
            _, batch = decode_frame(record.value or b"")
            for row in batch.select(ROW).to_pylist():
                yield from _same_row(rows, row)
    tickets = {where for where in facts.good if where[0] is Source.TICKETS}
    yield from differences("tickets", tickets, set(rows))


# --- join ------------------------------------------------------------------------------------------------------------


def _alerts(world: World, facts: RawFacts) -> Iterator[str]:
    told: dict[tuple[str, int], bytes] = {}
    revisions: dict[str, int] = {}
    for _, record in world.broker.values(world.names.alerts):
        value = record.value or b""
        alert = decode_alert(value)
        name = alert.alert_id, alert.revision
        if told.setdefault(name, value) != value:
            yield f"{name} was told twice, and not the same"
        if alert.revision > revisions.get(alert.alert_id, -1) + 1:
            yield f"{alert.alert_id} revision {alert.revision} came before {revisions.get(alert.alert_id, -1) + 1}"
        revisions[alert.alert_id] = max(alert.revision, revisions.get(alert.alert_id, -1))
    found = {name: decode_alert(value) for name, value in told.items()}
    urgent = {name for name, alert in found.items() if alert.detector == URGENT_DETECTOR}
    joined = {name: value for name, value in told.items() if name not in urgent}
    yield from _urgent([found[name] for name in urgent], facts)
    yield from _as_the_core_says(world, joined)
    if world.play.exact:
        yield from _sums([found[name] for name in joined if found[name].detector == "sums"], facts)


def _urgent(urgent: list[Alert], facts: RawFacts) -> Iterator[str]:
    wanted = {
        f"{partition}-{offset}"
        for (source, partition, offset), record in facts.good.items()
        if source is Source.TICKETS and record.fields["category"] == city.URGENT
    }
    told = ["-".join(alert.alert_id.rsplit("-", 2)[1:]) for alert in urgent]
    yield from differences("urgent tickets", wanted, set(told))


def _as_the_core_says(world: World, told: dict[tuple[str, int], bytes]) -> Iterator[str]:
    """The pure join over each shard's frames, from the first to the last."""
    keys = [(int(source), p) for source, count in city.PARTITIONS.items() for p in range(count)]
    topics = {source: world.names.raw(source) for source in Source}
    wanted: dict[tuple[str, int], bytes] = {}
    for log in world.broker.of(world.names.observations):
        core = JoinShard(
            log.place.partition, city.city().grid, world.play.detectors, keys, world.config.join, topics,
            jurisdictions=city.city().jurisdictions,
        )  # fmt: skip
        for record in log.records:
            for alert in core.process(record.value or b""):
                wanted[alert.alert_id, alert.revision] = encode_alert(alert)
    yield from differences("alerts of the core", set(wanted), set(told))
    changed = [name for name, value in wanted.items() if told.get(name, value) != value]
    if changed:
        yield f"{len(changed)} alerts say another thing than the core does, such as {changed[0]}"


def _sums(alerts: list[Alert], facts: RawFacts) -> Iterator[str]:
    sums = facts.sums()
    wanted = {
        window: {"n": total.n, "s": total.s, "c": total.c, "t": total.t, "around": around(sums, window)}
        for window, total in sums.items()
    }
    told = {(alert.cell, alert.window_end_ms): alert.values for alert in alerts}
    if len(told) != len(alerts):
        yield f"{len(alerts) - len(told)} windows were told under two names"
    yield from differences("windows", set(wanted), set(told))
    wrong = [window for window in wanted if window in told and told[window] != wanted[window]]
    for window in wrong[:MOST]:
        yield f"window {window} adds up to {wanted[window]}, the alert says {told[window]}"


def differences(what: str, wanted: set[Any], found: set[Any]) -> Iterator[str]:
    """What is missing and what is too much."""
    for word, some in (("missing", wanted - found), ("too much", found - wanted)):
        if some:
            names = ", ".join(map(str, sorted(some)[:MOST]))
            yield f"{len(some)} of {len(wanted)} {what} {word}: {names}"
