"""The worker: the chosen roles in one process and one event loop.

locate is a plain service; join, dispatch and archive are Faust apps, each with a consumer group of its own, so that one
that must stop consuming (ClickHouse is away) does not hold up the others. If any of them fails the whole worker ends
with status 1, or 75 when a consumer stands still without an error (streams/liveness.py): its state is in Kafka, and
whoever starts it again goes on where the last snapshot is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final

import faust
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from deploy import arrow_alone, quiet_log  # noqa: F401  it comes first: see there
from deploy.config import TongguanConfig
from deploy.give_back import GiveBack
from deploy.last_resort import end_within
from deploy.lifetimes import all_started, finish, running, started
from deploy.loop_watch import LoopWatch
from deploy.store import open_store, store_url
from detectors.contract import Detector
from schemas.errors import TongguanError, WorkerStuck
from schemas.kinds import load_kinds
from schemas.sources import Source
from streams import archive_order, metrics
from streams.archive import archive_app_options, build_archive
from streams.backlog import Backlog
from streams.clickhouse import StoreThread
from streams.dispatch import Ticker, build_dispatch, make_runner
from streams.dispatch_snapshots import LoopSnapshots
from streams.faust_transport import use_frame_transport
from streams.group_offsets import GroupOffsets
from streams.intake import Intake, build_intake
from streams.join import JoinRunner, build_join
from streams.join_core import JoinShard
from streams.join_warm_up import warm_up
from streams.liveness import BUSY, NORMAL, WAITS, Liveness, Partition, Watched
from streams.locate import LocateService
from streams.locate_reader import group_of
from streams.loop_core import LoopCore
from streams.partitioner import KeyPartitioner
from streams.shard_store import KafkaLog, ShardStore
from streams.snapshots import Snapshots
from streams.topics import LARGE_MESSAGE_BYTES
from streams.urgent import build_urgent
from topology.devices import DeviceRegister
from topology.shards import Shards

log = logging.getLogger(__name__)

INTAKE: Final = "intake"
WATCH_S: Final = 0.2
STUCK_STATUS: Final = 75  # as ExitCode.STUCK
END_WITHIN_S: Final = 15.0  # from SIGTERM; less than what a container manager usually gives
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


class WorkerStopped(TongguanError):
    """A role failed; the log says why."""


def run(config: TongguanConfig, roles: Sequence[str], *, detectors: Sequence[Detector[Any]] | None = None) -> None:
    """Run the roles until SIGTERM or Ctrl-C. `detectors` replaces the configured ones (for benchmarks and tests).

    Raises WorkerStopped when a role fails, WorkerStuck when one stands still, and SettingsError before anything starts
    when the configuration cannot work.
    """
    quiet_log.set_up()
    worker = _Worker(config, roles, tuple(detectors) if detectors is not None else config.build_detectors())
    # as the policy, not only for this loop: each Faust app reads Kafka in a thread with a loop of its own
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # what is imported stays: the collector need not look at it again and again
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)  # frames and batches make few cycles; the defaults spent 2 % of a core on looking
    asyncio.run(worker.run())


class _Worker:
    def __init__(self, config: TongguanConfig, roles: Sequence[str], detectors: tuple[Detector[Any], ...]) -> None:
        self._config = config
        self._roles = roles
        self._detectors = detectors
        self._bootstrap = str(config.kafka.bootstrap)
        self._names = config.topic_names
        self._watched: list[Watched] = []
        self._options = config.kafka.aiokafka_options()
        self._city = config.load_city()
        self._kinds = load_kinds(*([config.city.kinds] if config.city.kinds else []))
        self._shards = Shards(
            grid=self._city.grid, count=config.topics.shards, reach_rings=max((d.rings for d in detectors), default=0)
        )

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask_to_stop() -> None:
            stop.set()
            end_within(END_WITHIN_S, status=0)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ask_to_stop)
        config = self._config
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(LoopWatch(loop, hangs_after_s=5 * config.kafka.stuck_after_s, status=STUCK_STATUS))
            stack.enter_context(GiveBack())
            served = stack.enter_context(metrics.serve(config.metrics.host, config.metrics.port))
            log.info("worker: metrics at %s", served.url)
            producer = await stack.enter_async_context(self._producer(stop))
            if stop.is_set():
                return
            # aiokafka has one request to a broker under way: an alert would wait behind the megabytes of a snapshot
            bulk_producer = await stack.enter_async_context(self._producer(stop))
            services = await all_started(stack, self._parts(producer, bulk_producer))
            services.append(await stack.enter_async_context(started(self._liveness())))
            log.info("worker: %s running on %s", ", ".join(self._roles), self._bootstrap)
            await self._watch(services, stop)
            log.info("worker: stopping")
        log.info("worker: stopped")

    def _parts(
        self, producer: AIOKafkaProducer, bulk_producer: AIOKafkaProducer | None = None
    ) -> list[contextlib.AbstractAsyncContextManager[Service]]:
        """The services of the roles, the last of the flow first: they are stopped the other way round.

        `bulk_producer` sends what is large and in no hurry, snapshots; None: the same one.
        """
        loop_log = KafkaLog(self._bootstrap, producer, client_options=self._options)
        kafka_log = KafkaLog(self._bootstrap, bulk_producer or producer, client_options=self._options)
        parts: list[contextlib.AbstractAsyncContextManager[Service]] = []
        if "archive" in self._roles:
            parts.append(self._archive(kafka_log))
        if "dispatch" in self._roles:
            parts.append(self._dispatch(kafka_log, loop_log, producer))
            parts.append(self._intake(loop_log, producer))
        if "join" in self._roles:
            parts.append(self._join(kafka_log, producer))
            parts.append(self._urgent(producer))
        if "locate" in self._roles:  # it need not wait for its readers: quiet raw partitions are idle the sooner
            parts.append(self._locate())
        return parts

    async def _watch(self, services: list[Service], stop: asyncio.Event) -> None:
        while not stop.is_set():
            for service in services:
                if service.crashed or service.should_stop:
                    stuck = isinstance(service.crash_reason, WorkerStuck)
                    # whoever starts us again must not wait for a hanging end
                    end_within(END_WITHIN_S, status=STUCK_STATUS if stuck else 1)
                    if stuck:
                        raise WorkerStuck(str(service.crash_reason))
                    raise WorkerStopped(
                        f"worker: {service.label} failed; the log above says why"
                    ) from service.crash_reason
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_S)

    # --- the roles -------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _locate(self) -> AsyncIterator[Service]:
        config, city = self._config, self._city
        service = LocateService(
            bootstrap=self._bootstrap,
            options=self._options,
            consumer_options={
                "session_timeout_ms": int(config.kafka.session_timeout_s * 1000),
                "heartbeat_interval_ms": int(config.kafka.heartbeat_s * 1000),
            },
            names=self._names,
            settings=config.locate,
            shards=self._shards,
            devices=None if city.devices_path is None else DeviceRegister.load(city.devices_path, grid=city.grid),
            kinds=self._kinds,
            jurisdictions=city.jurisdictions,
            addresses=city.addresses,
        )
        group = group_of(self._names)
        self._watched.append(Watched("locate", group, lambda: service.partitions, read_committed=True))
        async with started(service):
            yield service

    @contextlib.asynccontextmanager
    async def _join(self, kafka_log: KafkaLog, producer: AIOKafkaProducer) -> AsyncIterator[Service]:
        config, names = self._config, self._names
        counts = {
            Source.READINGS: config.topics.readings_partitions,
            Source.CAMERA_EVENTS: config.topics.camera_events_partitions,
            Source.TICKETS: config.topics.tickets_partitions,
        }
        raw_partitions = [(int(source), p) for source, count in counts.items() for p in range(count)]
        topics = {source: names.raw(source) for source in Source}

        def make_core(shard: int) -> JoinShard:
            return JoinShard(
                shard, self._city.grid, self._detectors, raw_partitions, config.join, topics,
                jurisdictions=self._city.jurisdictions,
            )  # fmt: skip

        # seconds of compiling the first time: a member of the group must not be silent for so long
        await asyncio.to_thread(warm_up, make_core(0), self._detectors)
        store = ShardStore(names.join_state, kafka_log)
        runner = JoinRunner(
            observations=names.observations,
            alerts=names.alerts,
            make_core=make_core,
            make_snapshots=lambda shard: Snapshots(
                shard, store, kafka_log, open_topic=names.join_open, blocks_topic=names.join_blocks
            ),
            sender=producer,
            log_=kafka_log,
            settings=config.join,
        )
        app = self._app("join", config.topics.shards, stream_wait_empty=False, stream_buffer_maxsize=16)
        build_join(app, runner, names.observations)
        self._watch_app("join", app, lambda: BUSY if runner.busy else NORMAL)
        async with running(app):
            yield app
            await finish(runner.close(), "the last snapshots of the join not written")

    @contextlib.asynccontextmanager
    async def _urgent(self, producer: AIOKafkaProducer) -> AsyncIterator[Service]:
        names = self._names
        app = self._app("urgent", self._config.topics.tickets_partitions, stream_wait_empty=False)
        build_urgent(
            app,
            names_urgent=names.urgent_tickets,
            names_alerts=names.alerts,
            kinds=self._kinds,
            topics={source: names.raw(source) for source in Source},
            city=self._city.jurisdictions,
            sender=producer,
        )
        self._watch_app("urgent", app)
        async with running(app):
            yield app

    @contextlib.asynccontextmanager
    async def _intake(self, loop_log: KafkaLog, producer: AIOKafkaProducer) -> AsyncIterator[Service]:
        intake = Intake(self._names, log_=loop_log, sender=producer, live=self._config.dispatch.ticker)
        app = self._app(INTAKE, self._config.topics.alerts_partitions, stream_wait_empty=False)
        build_intake(app, intake, self._names)
        self._watch_app(INTAKE, app)
        async with running(app):
            yield app
            await finish(intake.flush(), "what the intake had in hand not written")

    @contextlib.asynccontextmanager
    async def _dispatch(
        self, kafka_log: KafkaLog, loop_log: KafkaLog, producer: AIOKafkaProducer
    ) -> AsyncIterator[Service]:
        config, names = self._config, self._names
        city, types = self._city, config.incident_types()
        store = ShardStore(names.loop_state, kafka_log)
        runner = make_runner(
            names,
            lambda: LoopCore(city, types, config.dispatch),
            lambda: LoopSnapshots(store, kafka_log, parts_topic=names.loop_parts),
            sender=producer,
            log_=kafka_log,
            snapshot_every_s=config.dispatch.snapshot_every_s,
        )
        ticker = None
        if config.dispatch.ticker:
            actions = Backlog(
                self._bootstrap, group=self._group(INTAKE), topic=names.actions, client_options=self._options
            )
            ticker = Ticker(names, loop_log, every_s=config.dispatch.tick_every_s, backlog=actions)
        app = self._app("dispatch", 1, stream_wait_empty=False)
        build_dispatch(app, runner, names, ticker)
        self._watch_app("dispatch", app, lambda: BUSY if runner.busy else NORMAL)
        async with running(app):
            yield app
            if ticker is not None:
                await finish(ticker.close(), "the last tick not written")
            await finish(runner.close(), "the last snapshot of the loop not written")

    @contextlib.asynccontextmanager
    async def _archive(self, kafka_log: KafkaLog) -> AsyncIterator[Service]:
        config, names = self._config, self._names
        log.info("worker: history goes to %s", store_url(config))
        await asyncio.to_thread(archive_order.warm_up)
        store = StoreThread(open_store(config))
        app = self._app("archive", config.topics.shards, **archive_app_options(config.archive))
        archive = build_archive(
            app,
            config.archive,
            names=names,
            store=store,
            state=ShardStore(names.archive_state, kafka_log),
            log_=kafka_log,
            begin_of=partial(self._begin_of, self._group("archive")),
            zone=config.city.zone_info,
        )
        self._watch_app("archive", app, lambda: archive_pace(store))
        try:
            async with running(app):
                yield app
                await finish(archive.flush(), "the last batches of the archive not written")
        finally:
            await store.close()

    async def _begin_of(self, group: str, topic: str, partition: int) -> int:
        """Asked of shards that nobody has archived yet, so by a client of its own each time."""
        offsets = GroupOffsets(self._bootstrap, self._options)
        try:
            return await offsets.begin_of(group, Partition(topic, partition))
        finally:
            await offsets.close()

    # --- the watch over them ---------------------------------------------------------------------------------------

    def _liveness(self) -> Liveness:
        offsets = GroupOffsets(self._bootstrap, self._options)
        return Liveness(self._watched, offsets, stuck_after_s=self._config.kafka.stuck_after_s)

    def _watch_app(self, role: str, app: faust.App, pace: Callable[[], float] = lambda: NORMAL) -> None:
        self._watched.append(Watched(role, self._group(role), lambda: app.consumer.assignment(), pace))

    # --- what they share -------------------------------------------------------------------------------------------

    def _group(self, role: str) -> str:
        return f"{self._config.topics.prefix}tongguan-{role}"

    def _app(self, role: str, partitions: int, **options: Any) -> faust.App:
        kafka = self._config.kafka
        settings: dict[str, Any] = {
            "broker_commit_interval": 1.0,
            "consumer_auto_offset_reset": "earliest",
            "consumer_max_fetch_size": LARGE_MESSAGE_BYTES,
            "topic_disable_leader": True,
        }
        settings |= options
        datadir = self._config.data_dir / "faust" / role
        datadir.mkdir(parents=True, exist_ok=True)  # faust wants one, though nothing of ours lies in it
        credentials: Any = None
        context = self._options.get("ssl_context")
        if kafka.sasl_password is not None:
            credentials = faust.SASLCredentials(
                username=kafka.sasl_username,
                password=kafka.sasl_password.get_secret_value(),
                mechanism=kafka.sasl_mechanism,
                ssl_context=context,
            )
        elif context is not None:
            credentials = faust.SSLCredentials(context=context)
        app = faust.App(
            self._group(role),
            broker=[f"kafka://{address}" for address in self._bootstrap.split(",")],
            broker_credentials=credentials,
            broker_session_timeout=kafka.session_timeout_s,
            broker_heartbeat_interval=kafka.heartbeat_s,
            **settings,
            datadir=datadir,
            store="memory://",
            topic_allow_declare=False,
            topic_partitions=partitions,
            web_enabled=False,  # it could serve table contents; metrics have a port of their own
            autodiscover=False,
            key_serializer="raw",
            value_serializer="raw",
        )
        use_frame_transport(app)
        return app

    @contextlib.asynccontextmanager
    async def _producer(self, stop: asyncio.Event) -> AsyncIterator[AIOKafkaProducer]:
        """A started producer; waits for the broker, saying so once."""
        pause, told = FIRST_PAUSE_S, False
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                enable_idempotence=True,
                max_request_size=LARGE_MESSAGE_BYTES,
                partitioner=KeyPartitioner(),
                **self._options,
            )
            try:
                with quiet_log.without("aiokafka"):
                    await producer.start()
                break
            except KafkaError as problem:
                await producer.stop()
                if not told:
                    log.warning("worker: no broker answers at %s (%s), trying again", self._bootstrap, problem)
                    told = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            if stop.is_set():
                break
            pause = min(pause * 2, LONGEST_PAUSE_S)
        try:
            yield producer
        finally:
            await finish(producer.stop(), "messages not sent")  # it waits for its broker for ever


def archive_pace(store: StoreThread) -> float:
    """How fast time counts against the archive. Its batches wait for each other's inserts: those of a slow ClickHouse
    take up to a minute each, and there may be many shards, so that none of them commits for longer than that."""
    if store.away:
        return WAITS
    return BUSY if store.busy else NORMAL
