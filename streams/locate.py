"""locate as a service: raw batches in, frames, dead letters and urgent tickets out, raw offsets committed behind them.

One cycle: take what has arrived, tickets first; decode and place it slice by slice in a thread of its own (the kernels
hold no interpreter lock); hand a flush to the sender when one is due. Between slices, and while the sender has no room,
tickets are looked at again, so that none waits behind sensor traffic.

A partition's progress is known from its last commit alone: whatever is lost on the way is read again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from schemas.errors import TongguanError
from schemas.kinds import KindRegistry
from schemas.sources import Source
from streams.batches import Batch, RawBatch, slices
from streams.decode import Decoder
from streams.flush import Flush, UrgentTicket
from streams.locate_core import Locator
from streams.locate_metrics import LocateMetrics
from streams.locate_reader import Found, LocateReader
from streams.locate_sender import FIRST_PAUSE_S, LocateSender
from streams.locate_settings import LocateSettings
from streams.locate_warm_up import warm_up
from streams.placing import Placer, RawKey
from streams.produce_request import FlatProducer
from streams.raw_batches import RawBatchConsumer
from streams.raw_payloads import payloads_at
from streams.steady_clock import steady_ms, wall_ms
from streams.strings import StringTable
from streams.tasks import end
from streams.ticket_places import Addresses
from streams.topics import TopicNames
from topology.devices import DeviceRegister
from topology.jurisdictions import Jurisdictions
from topology.shards import Shards

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_MS: Final = 50
PAUSE_S: Final = 0.005  # between looks when little comes: larger batches cost less than many small ones
SLICE_RECORDS: Final = 65_536
"""Decoded at once: 50 ms of work, and the memory that goes with it. One Kafka batch is never cut."""
GIVE_BACK_WITHIN_S: Final = 8.0
"""For the last flush, its acknowledgement and commit; then the next owner reads again what is left."""

Job = list[tuple[TopicPartition, Sequence[Batch], bool]]
"""Slices to be fed one after the other, and whether each is the last of what was found of its partition."""


class LocateService(Service):
    """Runs until stopped. A broker that is away is waited for; `crash_reason` holds what cannot be waited out."""

    def __init__(
        self,
        *,
        bootstrap: str,
        names: TopicNames,
        settings: LocateSettings,
        shards: Shards,
        kinds: KindRegistry,
        devices: DeviceRegister | None = None,
        jurisdictions: Jurisdictions | None = None,
        addresses: Addresses | None = None,
        options: Mapping[str, Any] | None = None,
        consumer_options: Mapping[str, Any] | None = None,
        make_consumer: Callable[..., RawBatchConsumer] = RawBatchConsumer,
        make_producer: Callable[..., Any] = FlatProducer,
    ) -> None:
        """`options` (security) go to consumer and producer alike, `consumer_options` (timeouts) to the former only."""
        super().__init__()
        self._settings = settings
        self._shards = shards
        self._kinds = kinds
        self._devices = devices
        self._jurisdictions = jurisdictions
        self._addresses = addresses
        self._names = names
        tables = (StringTable(), StringTable(), StringTable())
        self._decoder = Decoder(*tables, settings.zones())
        self._locator = self._make_locator(tables)
        self._metrics = LocateMetrics()
        self._reader = LocateReader(
            names,
            self._locator,
            bootstrap=bootstrap,
            options={**(options or {}), **(consumer_options or {})},
            on_revoked=self._give_back,
            make_consumer=make_consumer,
        )
        self._sender = LocateSender(
            names,
            bootstrap=bootstrap,
            options=options or {},
            shards=shards.count,
            commit=self._reader.commit,
            commit_interval_ms=settings.commit_interval_ms,
            make_producer=make_producer,
        )
        self._lock = asyncio.Lock()  # held while the locator is used: by a cycle, or by a rebalance
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="locate")
        self._running: asyncio.Task[None] | None = None
        self._sound = True
        """False once an error has interrupted the locator: what it would give out next comes after a gap."""

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        """The raw partitions that the group has given to us."""
        return self._reader.mine

    # --- life ------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="locate")

    async def on_stop(self) -> None:
        """Send and commit what has been read, within reason, then leave the group."""
        await end(self._running)
        await self._give_back(list(self._locator.assigned))
        await self._reader.close()
        await self._sender.stop()
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        try:
            # seconds of compiling the first time: a member of the group must not be silent for so long
            await self._in_thread(partial(warm_up, self._settings, self._make_locator))
            await self._sender.start()
            while True:
                await self._reader.connect()
                try:
                    while True:
                        await self._cycle()
                except KafkaError as error:
                    log.warning("locate: reading stopped (%s: %s); connecting again", type(error).__name__, error)
                async with self._lock:
                    self._forget(list(self._locator.assigned))
                await self._reader.close()
                await asyncio.sleep(FIRST_PAUSE_S)
        except TongguanError as error:
            log.error("%s", error)
            self._crash(error)
        except Exception as error:
            log.exception("locate: failed")
            self._crash(error)

    # --- one cycle -------------------------------------------------------------------------------------------------

    async def _cycle(self) -> None:
        found = await self._reader.poll(self._locator.due_in_ms(steady_ms(), POLL_MS))
        async with self._lock:
            await self._reader.adopt(steady_ms())
            await self._take(found)
            self._reader.look_at_ends()
            if self._locator.due(steady_ms()):
                await self._flush()
        self._raise_if_sending_failed()
        if len(found) < len(self._locator.assigned):
            await asyncio.sleep(PAUSE_S)

    async def _take(self, found: Found, *, may_flush: bool = True) -> None:
        """Decode and place what was found, tickets first, flushing as often as need be."""
        for job in self._jobs(found):
            await self._in_thread(partial(self._feed_all, job), self._sender.urgent)
            self._reader.unread.difference_update(tp for tp, _, complete in job if complete)
            if not self._is_of_tickets(job):
                await self._take(await self._reader.poll_tickets(), may_flush=may_flush)
            if may_flush and self._locator.due(steady_ms()):
                await self._flush()

    def _jobs(self, found: Found) -> Iterator[Job]:
        """Slices that go to the thread together: handing over a dozen small ones takes longer than decoding them.

        Whether a partition's batches come next is asked when its turn comes: it may be taken from us meanwhile.
        """
        job: Job = []
        records = 0
        for tp, batches in found:
            if not self._reader.is_next(tp, batches):
                self._reader.unread.discard(tp)
                continue
            parts = list(slices(batches, most_records=SLICE_RECORDS))
            for part in parts:
                count = sum(batch.count if isinstance(batch, RawBatch) else 1 for batch in part)
                # an urgent ticket must not wait until sensor readings are decoded as well
                ends = self._is_of_tickets(job) and self._reader.source(tp) is not Source.TICKETS
                if job and (ends or records + count > SLICE_RECORDS):
                    yield job
                    job, records = [], 0
                job.append((tp, part, part is parts[-1]))
                records += count
        if job:
            yield job

    def _is_of_tickets(self, job: Job) -> bool:
        return bool(job) and self._reader.source(job[0][0]) is Source.TICKETS

    def _feed_all(self, job: Job) -> list[UrgentTicket]:
        """Decode and place; runs in the thread."""
        return [ticket for tp, part, _ in job for ticket in self._feed(tp, part)]

    def _feed(self, tp: TopicPartition, batches: Sequence[Batch]) -> list[UrgentTicket]:
        received_ms = wall_ms()
        # without the broker's append time, the time of receiving stands in for it: it is written into the log here
        batches = [
            dataclasses.replace(batch, timestamp_ms=received_ms)
            if isinstance(batch, RawBatch) and not batch.log_append
            else batch
            for batch in batches
        ]
        source = self._reader.source(tp)
        decoded = self._decoder.decode(source, tp.topic, tp.partition, batches)
        self._metrics.read(source, sum(len(batch.payload) for batch in batches))
        next_offset = decoded.last_offset + 1
        payloads = partial(payloads_at, batches)
        return self._locator.feed(decoded.columns, decoded.letters, next_offset, steady_ms(), payloads)

    async def _flush(self) -> None:
        """Make a flush and hand it over; while the sender has no room, only tickets are taken in."""
        while not self._sender.has_room:
            await self._sender.wait_for_room(POLL_MS / 1000)
            self._raise_if_sending_failed()
            if not self._sender.has_room:
                await self._take(await self._reader.poll_tickets(), may_flush=False)
        await self._hand_over(level=False)

    async def _hand_over(self, *, level: bool) -> None:
        """Make a flush and put it into the sender's queue, which has room. Once made it must not get lost."""

        def put(flush: Flush) -> None:
            self._sender.put(flush)
            self._metrics.flushed(self._locator, self._names, wall_ms(), level=flush.level)

        await self._in_thread(partial(self._locator.flush, steady_ms(), level=level), put)

    # --- giving back -----------------------------------------------------------------------------------------------

    async def _give_back(self, keys: Sequence[RawKey]) -> None:
        """Send and commit what is known of these partitions, if it can be done soon, and forget them. An error ends the
        worker from here: who asks in a rebalance would only log it, and go on over a gap."""
        async with self._lock:
            try:
                if not self._locator.assigned.keys().isdisjoint(keys) and self._sender.running and self._sound:
                    await self._send_and_commit()
            except Exception as error:
                log.exception("locate: failed while giving partitions back")
                self._crash(error)
            finally:
                self._forget(keys)

    async def _send_and_commit(self) -> None:
        try:
            async with asyncio.timeout(GIVE_BACK_WITHIN_S):
                while not self._sender.has_room:
                    await self._sender.wait_for_room(GIVE_BACK_WITHIN_S)
                await self._hand_over(level=True)
                await self._sender.drain()
        except TimeoutError:
            log.warning(
                "locate: Kafka did not acknowledge within %.0f s; what it has not will be read again",
                GIVE_BACK_WITHIN_S,
            )

    def _forget(self, keys: Iterable[RawKey]) -> None:
        keys = list(keys)
        for key in keys:
            self._metrics.forget(key, self._names)
        self._reader.forget(keys)
        self._sender.forget(keys)
        self._locator.revoke(keys)

    # --- small things ----------------------------------------------------------------------------------------------

    def _make_locator(self, tables: tuple[StringTable, StringTable, StringTable]) -> Locator:
        settings = self._settings
        placer = Placer(
            self._shards,
            tables[0],
            tables[1],
            self._kinds,
            settings.rules(),
            register=self._devices,
            jurisdictions=self._jurisdictions,
            addresses=self._addresses,
            future_bound_ms=settings.future_bound_ms,
        )
        return Locator(settings, placer, self._shards.count, *tables)

    async def _in_thread(self, work: Callable[[], T], then: Callable[[T], None] | None = None) -> T:
        """Run `work` in the thread and hand its result to `then`, also when we are cancelled meanwhile: what the
        locator has given out exists nowhere else, and it must be at rest before anybody else touches it. After an error
        nothing more is given out: what was in hand then will be read again."""
        sound, self._sound = self._sound, False
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            result = await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if future.exception() is None:
                if then is not None:
                    then(future.result())
                self._sound = sound
            raise
        if then is not None:
            then(result)
        self._sound = sound
        return result

    def _raise_if_sending_failed(self) -> None:
        if self._sender.failed is not None:
            raise self._sender.failed
