"""`tongguan dead-letters`: list the records that could not be used, and drive them again.

A letter that was driven again is written to `dead-letters` once more, unchanged, under its key, with a header that says
where the record went. For everybody else it is the same letter; here it keeps a second run from sending it twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.console import ExitCode, UsageProblem, out, say
from deploy.endpoints import bootstrap_of, with_endpoints
from deploy.follow import Start, follow
from deploy.options import Lang, lang_or_terminal, moment_ms
from deploy.render import Style, show_dead_letter
from schemas.dead_letter import DeadLetter, Reason, decode_dead_letter, encode_dead_letter
from schemas.errors import MessageError
from schemas.sources import Source
from streams.topic_admin import BrokerAway

REDRIVEN_HEADER: Final = "tongguan-redriven-to"
ORIGIN_HEADER: Final = "tongguan-redriven-from"
DEFAULT_LIST: Final = 100
FETCH_S: Final = 5.0
NOTHING_TO_SEND: Final = frozenset({Reason.EMPTY, Reason.NULL_VALUE, Reason.CORRUPT_BATCH, Reason.UNSUPPORTED_BATCH})
"""Letters without a record to drive again: there was none, or the batch around it could not be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters: of one reason, of one raw topic."""

    reason: Reason | None = None
    topic: str | None = None

    def matches(self, letter: DeadLetter) -> bool:
        return (self.reason is None or letter.reason is self.reason) and (
            self.topic is None or letter.topic == self.topic
        )


@dataclass(slots=True)
class Outcome:
    """What a redrive did: how many were sent, and how many were not, by why."""

    sent: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def letter_topics(config: TongguanConfig) -> dict[str, str]:
    """Topics whose records can be dead, by their short names: the raw ones, and what the loop takes in."""
    names = config.topic_names
    return {source.topic: names.raw(source) for source in Source} | {
        "observations": names.observations,
        "alerts": names.alerts,
        "placed-tickets": names.placed_tickets,
        "actions": names.actions,
        "ticks": names.ticks,
        "incidents": names.incidents,
        "notifications": names.notifications,
    }


def wanted_of(config: TongguanConfig, reason: str | None, topic: str | None) -> Wanted:
    """From the command line's words. Raises UsageProblem with the choices."""
    if reason is not None and reason not in set(Reason):
        raise UsageProblem(f"unknown reason {reason!r}; choose from {', '.join(Reason)}")
    names = letter_topics(config)
    if topic is not None and topic not in names:
        raise UsageProblem(f"unknown topic {topic!r}; choose from {', '.join(names)}")
    return Wanted(reason=None if reason is None else Reason(reason), topic=None if topic is None else names[topic])


def show(
    path: Path | None,
    *,
    reason: str | None,
    topic: str | None,
    since: str | None,
    limit: int | None,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Print the newest letters, oldest first, each once."""
    config = with_endpoints(load_config(path).config)
    wanted = wanted_of(config, reason, topic)
    style = Style(lang_or_terminal(lang), config.city.zone_info)
    start = _start(config, since)
    newest: OrderedDict[bytes, tuple[DeadLetter, str | None]] = OrderedDict()
    counts: Counter[Reason] = Counter()

    async def collect() -> None:
        async for letter, went_to in _letters(config, start):
            if not wanted.matches(letter):
                continue
            if letter.key not in newest and went_to is None:
                counts[letter.reason] += 1
            newest[letter.key] = (letter, went_to)
            if len(newest) > (limit or DEFAULT_LIST):
                newest.popitem(last=False)

    asyncio.run(collect())
    for letter, went_to in sorted(newest.values(), key=lambda entry: entry[0].received_at_ms):
        shown = show_dead_letter(letter, style)
        if as_json:
            out.out(msgspec.json.encode({**shown.document, "redriven_to": went_to}).decode(), highlight=False)
        else:
            out.print(shown.line.append(f" -> {went_to}", style="green") if went_to else shown.line)
    total = sum(counts.values())
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    say(f"{total} dead letter{'s' if total != 1 else ''} 条死信{': ' if listed else ''}{listed}", style="dim")
    if total > len(newest):
        say(f"the newest {len(newest)} are shown; raise --limit for more", style="yellow")


def redrive(
    path: Path | None, *, reason: str | None, topic: str | None, since: str | None, limit: int | None, dry_run: bool
) -> None:
    """Send the letters' records to their raw topics again. Ends with 1 when some could not be sent."""
    config = with_endpoints(load_config(path).config)
    wanted = wanted_of(config, reason, topic)
    outcome = asyncio.run(_redrive(config, wanted, _start(config, since), limit=limit, dry_run=dry_run))
    say(f"{'would send' if dry_run else 'sent'} {outcome.sent} 条{'待' if dry_run else '已'}重投", style="green")
    for why, count in outcome.skipped.items():
        say(f"{count} not sent: {why}", style="yellow")
    if outcome.skipped:
        raise typer.Exit(ExitCode.PROBLEMS)


async def _redrive(
    config: TongguanConfig, wanted: Wanted, start: Start, *, limit: int | None, dry_run: bool
) -> Outcome:
    outcome = Outcome()
    bootstrap, options = bootstrap_of(config), config.kafka.aiokafka_options()
    raw_topics = {config.topic_names.raw(source) for source in Source}
    # first pass: what was driven again before. The mark comes after the letter, so one pass could send it twice.
    done = {letter.key async for letter, went_to in _letters(config, start) if went_to is not None}
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, **options)
    try:
        await producer.start()
        async for letter, _ in _letters(config, start):
            if limit is not None and outcome.sent >= limit:
                break
            if letter.key in done or not wanted.matches(letter):
                continue
            done.add(letter.key)
            if letter.topic not in raw_topics:
                outcome.skipped[f"their topic {letter.topic} is not a raw topic of this configuration"] += 1
                continue
            payload = await _payload(bootstrap, options, letter)
            if payload is None:
                outcome.skipped[_why_not(letter)] += 1
                continue
            place = f"{letter.topic}:{letter.partition}:{letter.offset}"
            if dry_run:
                out.print(f"would send {place} ({letter.reason.value}, {letter.payload_bytes} bytes)")
            else:
                headers = [(ORIGIN_HEADER, place.encode())]
                sent = await producer.send_and_wait(letter.topic, payload, partition=letter.partition, headers=headers)
                went_to = f"{sent.topic}:{sent.partition}:{sent.offset}"
                await producer.send_and_wait(
                    config.topic_names.dead_letters,
                    encode_dead_letter(letter),
                    key=letter.key,
                    headers=[(REDRIVEN_HEADER, went_to.encode())],
                )
                out.print(f"{place} -> {went_to}")
            outcome.sent += 1
    except KafkaError as error:
        raise BrokerAway(f"kafka at {bootstrap}: {error}; {outcome.sent} were sent, run again for the rest") from error
    finally:
        await producer.stop()
    return outcome


async def _letters(config: TongguanConfig, start: Start) -> AsyncIterator[tuple[DeadLetter, str | None]]:
    """The letters up to the present end; those with a place are marks of an earlier redrive."""
    records = follow(
        bootstrap_of(config),
        config.topic_names.dead_letters,
        options=config.kafka.aiokafka_options(),
        start=start,
        once=True,
    )
    async for record in records:
        try:
            letter = decode_dead_letter(record.value or b"")
        except MessageError as error:
            say(f"{record.topic}:{record.partition}:{record.offset}: {error}", style="yellow")
            continue
        yield letter, _went_to(record)


def _went_to(record: ConsumerRecord) -> str | None:
    for name, value in record.headers:
        if name == REDRIVEN_HEADER:
            return str(value.decode("utf-8", "replace"))
    return None


async def _payload(bootstrap: str, options: Mapping[str, Any], letter: DeadLetter) -> bytes | None:
    """The whole record: from the letter, else from the raw topic while that still has it; None when there is none."""
    if letter.reason in NOTHING_TO_SEND:
        return None
    if letter.complete:
        return letter.payload
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, **options)
    try:
        await consumer.start()
        partition = TopicPartition(letter.topic, letter.partition)
        consumer.assign([partition])
        first = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        if not first <= letter.offset < end:
            return None
        consumer.seek(partition, letter.offset)
        record = await asyncio.wait_for(consumer.getone(), FETCH_S)
    except TimeoutError:
        return None
    finally:
        await consumer.stop()
    return bytes(record.value) if record.offset == letter.offset and record.value is not None else None


def _why_not(letter: DeadLetter) -> str:
    if letter.reason in NOTHING_TO_SEND:
        return f"{letter.reason.value} leaves no record to send"
    return "the letter keeps only the first 16 KiB, and the raw topic no longer has the record"


def _start(config: TongguanConfig, since: str | None) -> Start:
    if since is None:
        return Start(beginning=True)
    return Start(at_ms=moment_ms(since, zone=config.city.zone_info, now=datetime.now(UTC)))
