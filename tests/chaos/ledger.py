"""Records that carry their own arithmetic, and the checks that need nothing else.

The small city's records (tests/live/support/small_city.py) with running integers in them:

- offsets are running integers by themselves: of a raw partition, what became an observation and what became a dead
  letter must be 0, 1, 2 ... without gap or double;
- `energy_kwh` is read from meters, each of which counts 1, 2, 3 ...: their sums and counts must fit each other. These
  records are of the plain shape that the fast decoder takes;
- camera events and tickets carry `n`, a running integer of their partition, among their extra fields: the slow decoder;
- the last record of a partition, its closer, says how many good and dead records came before it, and how far each meter
  came: so a lost tail is noticed as well.

`history_problems` asks ClickHouse for all of this, the hourly roll-up included, which sums whatever is inserted and
forgives no row that came twice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from schemas.sources import Source
from streams.loop_hash import verify_payloads
from tests.live.support import small_city
from tests.live.support.small_city import Record, Where

METER: Final = "energy_kwh"
METERS: Final = 3  # of each raw partition
URGENT_SHARE: Final = 0.2  # of the tickets
Ask = Callable[[str], list[tuple[Any, ...]]]


def make_records(
    count: int, seed: int, *, start_ms: int, per_s: float, behind: float = small_city.BEHIND
) -> list[Record]:
    """`count` records of the small city and their closers, with the arithmetic in them."""
    chance = random.Random(seed)
    good: Counter[Where] = Counter()
    dead: Counter[Where] = Counter()
    meters: Counter[tuple[int, int]] = Counter()  # (partition, number)
    made: list[Record] = []
    for record in small_city.make_records(count, seed, start_ms=start_ms, per_s=per_s, behind=behind):
        where = record.source, record.partition
        if record.fields is None:
            dead[where] += 1
            made.append(record)
            continue
        fields = dict(record.fields)
        good[where] += 1
        if _is_closer(fields):
            fields |= {"said_good": good[where], "said_dead": dead[where]}
            if record.source is Source.READINGS:
                fields["said_meters"] = [meters[record.partition, number] for number in range(METERS)]
            else:
                fields["n"] = good[where]
        elif record.source is not Source.READINGS:
            fields["n"] = good[where]
            if record.source is Source.TICKETS and chance.random() < URGENT_SHARE:
                fields["urgency"] = "critical"
        elif fields["metric"] == "noise_db":
            number = chance.randrange(METERS)
            meters[record.partition, number] += 1
            value = meters[record.partition, number]
            fields |= {"metric": METER, "device_id": _meter(record.partition, number), "value": value}
        made.append(replace(record, value=msgspec.json.encode(fields), fields=fields))
    return made


def history_problems(ask: Ask, prefix: str, *, frozen: bool) -> list[str]:
    """What does not add up in ClickHouse, in the tables themselves: no view hides a row that came twice.

    `frozen`: a worker was declared dead and went on; then a dead letter may lie there twice until a merge.
    """
    return [*_offsets(ask, prefix, "FINAL" if frozen else ""), *_running(ask), *_meters(ask), *_roll_up(ask)]


def _offsets(ask: Ask, prefix: str, once: str) -> Iterator[str]:
    rows = ask(
        "SELECT source, partition, count(), sum(offset), max(offset), argMax(kind, offset),"
        " countIf(kind = ''), argMax(extra, offset) FROM ("
        " SELECT toString(source) AS source, partition, offset, toString(kind) AS kind, ifNull(extra, '') AS extra"
        " FROM observations"
        f" UNION ALL SELECT replaceOne(topic, '{prefix}', '') AS source, partition, offset, '', '' FROM dead_letters"
        f" {once}) GROUP BY source, partition"
    )
    found = {(source, partition) for source, partition, *_ in rows}
    for source in Source:
        for partition in range(small_city.PARTITIONS):
            if (source.topic, partition) not in found:
                yield f"{source.topic}[{partition}]: nothing is in the history"
    for source, partition, count, total, last, kind, dead, extra in rows:
        where = f"{source}[{partition}]"
        if count != last + 1 or total != last * (last + 1) // 2:
            yield f"{where}: {count} records with sum {total} for the offsets 0 to {last}: some are missing or double"
        if kind != "closer":
            yield f"{where}: ends with {kind or 'a dead letter'} at offset {last}, its closer and what else are lost"
            continue
        said = msgspec.json.decode(extra)
        if (count - dead, dead) != (said["said_good"], said["said_dead"]):
            yield (
                f"{where}: {count - dead} good and {dead} dead records; the producer sent "
                f"{said['said_good']} and {said['said_dead']}"
            )


def _running(ask: Ask) -> Iterator[str]:
    rows = ask(
        "SELECT source, partition, count(), sum(JSONExtractInt(ifNull(extra, ''), 'n') AS n), max(n)"
        " FROM observations WHERE source != 'readings' GROUP BY source, partition"
    )
    for source, partition, count, total, last in rows:
        if count != last or total != last * (last + 1) // 2:
            yield f"{source}[{partition}]: {count} running integers to {last} with sum {total}"


def _meters(ask: Ask) -> Iterator[str]:
    said: dict[str, int] = {}
    closers = ask("SELECT partition, extra FROM observations WHERE source = 'readings' AND kind = 'closer'")
    for partition, extra in closers:
        for number, last in enumerate(msgspec.json.decode(extra or "{}").get("said_meters", ())):
            if last:
                said[_meter(partition, number)] = last
    rows = ask(
        f"SELECT entity, count(), toInt64(sum(value)), toInt64(max(value)) FROM observations"
        f" WHERE kind = '{METER}' GROUP BY entity"
    )
    for meter, count, total, last in rows:
        if count != last or total != last * (last + 1) // 2:
            yield f"{meter}: {count} readings to {last} with sum {total}"
    found = {meter: last for meter, _, _, last in rows}
    if found != said:
        yield f"meters came to {found}, their closers say {said}"


def _roll_up(ask: Ask) -> Iterator[str]:
    rolled = ask("SELECT source, kind, sum(records), sum(total) FROM observation_hours GROUP BY source, kind")
    told = ask("SELECT source, kind, count(), sum(value) FROM observations FINAL GROUP BY source, kind")
    by_kind = {(source, kind): (records, round(total, 3)) for source, kind, records, total in told}
    for source, kind, records, total in rolled:
        if by_kind.get((source, kind)) != (records, round(total, 3)):
            yield (
                f"hourly roll-up of {source} {kind}: {records} records with sum {total:.3f}, "
                f"the observations are {by_kind.get((source, kind))}"
            )


def sent_problems(records: Sequence[Record], ask: Ask) -> list[str]:
    """The one thing that the data do not say: that what was sent is what is meant (the loop that made it counts)."""
    counts = small_city.counts_of(records)
    found = ask("SELECT count(), countIf(bitAnd(flags, 1) = 1) FROM observations")[0]
    if found != (counts.observations, counts.late):
        return [f"{found} observations and late ones among them; sent were {(counts.observations, counts.late)}"]
    return []


def loop_problems(ask: Ask) -> list[str]:
    """The loop's history against itself: revisions are running integers, hashes chain, no sign is lost or told twice.

    The small city's loop does not merge, so every alert and every ticket has one incident of its own.
    """
    problems: list[str] = []
    by_incident: dict[str, list[bytes]] = {}
    for incident, payload in ask("SELECT incident_id, payload FROM incidents FINAL ORDER BY incident_id, revision"):
        by_incident.setdefault(incident, []).append(payload.encode())
    for payloads in by_incident.values():
        problems += verify_payloads(payloads)
    for sign, table, key in (("alert", "alerts", "alert_id"), ("ticket", "tickets", "ticket_id")):
        held = ask(
            f"SELECT uniqExact(sign), count() FROM (SELECT arrayJoin(argMax({sign}_ids, revision)) AS sign"
            " FROM incidents GROUP BY incident_id)"
        )[0]
        told = ask(f"SELECT uniqExact({key}) FROM {table}")[0][0]
        if held != (told, told):
            problems.append(f"{told} {sign}s, but incidents name {held[0]} of them {held[1]} times")
    return problems


def _is_closer(fields: dict[str, Any]) -> bool:
    return "closer" in (fields.get("metric"), fields.get("event"), fields.get("category"))


def _meter(partition: int, number: int) -> str:
    return f"meter-{partition}-{number}"
