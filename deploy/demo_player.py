"""The demo at work: the simulated city goes in at its pace, and what comes out is watched, worked and counted.

Three clocks. The city's time is that of the records that are being sent. The loop's time follows it at a distance of
some wall seconds, so that what happened until then has reached the loop; departments act by it, and its ticks are what
deadlines are judged by. A tick waits until the actions before it are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from deploy.board import District
from deploy.board_metrics import Measured, measure
from deploy.board_state import CityWatch
from deploy.demo_index import read_index
from deploy.demo_stage import PARTITIONS, DemoStopped, Stage
from deploy.demo_story import DemoCity, DemoPace
from deploy.endpoints import bootstrap_of
from deploy.follow import Start, follow
from deploy.simulation.departments import Departments
from deploy.simulation.sinks import KafkaSink, Sent
from deploy.store import open_store
from schemas.action import encode_action
from schemas.alert import decode_alert
from schemas.errors import StoreError
from schemas.incident import decode_incident
from schemas.loop_record import Tick, encode_tick
from schemas.notification import decode_notification
from schemas.sources import Source

BEHIND_S: Final = 1.5
"""Wall seconds by which the loop's time is behind the city's: what a record takes to the loop, with some to spare."""
LOOP_EVERY_S: Final = 0.2
ANSWERED_WITHIN_S: Final = 5.0
MEASURE_EVERY_S: Final = 1.0
INDEX_EVERY_S: Final = 3.0
LOOK_S: Final = 0.1


class Player:
    """One run: what `watch` hears of, and the actions and the time that go back in."""

    def __init__(
        self,
        staged: Stage[DemoCity],
        watch: CityWatch,
        *,
        speed: float,
        stopping: Callable[[], bool],
        tell: Callable[[], None],
    ) -> None:
        """`tell` is called some times a second while it runs."""
        self._staged = staged
        self._watch = watch
        self._speed = speed
        self._stopping = stopping
        self._tell = tell
        self._city = staged.made
        self._bootstrap = bootstrap_of(staged.config)
        self._options: dict[str, Any] = staged.config.kafka.aiokafka_options()
        self._names = staged.config.topic_names
        self._departments = Departments(watch.city.duty_desk, seed=self._city.settings.seed)
        self._began_s = time.monotonic()
        self._fed_ms = self._city.from_ms
        self._fed = False
        self._end = False
        self._unanswered: set[str] = set()
        self._all_answered = asyncio.Event()
        self._latest_heard_s = 0.0
        self.sent = Sent()
        self.actions = 0

    @property
    def city_ms(self) -> int:
        """The city's time."""
        return self._fed_ms

    @property
    def quiet_s(self) -> float:
        """Wall seconds since something was last heard."""
        return time.monotonic() - self._latest_heard_s

    async def run(self, settled: Callable[[], bool], *, settled_within_s: float) -> None:
        """Until the story is told and `settled` (asked in a thread) holds, or the time for that is up.

        Raises DemoStopped, and whatever ends a part of it.
        """
        names = self._names
        tasks = [
            asyncio.create_task(part)
            for part in (
                self._listen(names.alerts, self._hear_alert),
                self._listen(names.incidents, self._hear_change),
                self._listen(names.notifications, self._hear_notification),
                self._measure(),
                self._ask_index(),
            )
        ]
        work = asyncio.create_task(self._work())
        feed = asyncio.create_task(asyncio.to_thread(self._feed))
        try:
            await self._until(lambda: feed.done() and work.done(), [feed, work, *tasks])
            give_up_at = time.monotonic() + settled_within_s
            while time.monotonic() < give_up_at:
                asking = asyncio.create_task(asyncio.to_thread(settled))
                await self._until(asking.done, [asking, *tasks])
                if asking.result():
                    break
                await asyncio.sleep(LOOK_S)
        finally:
            self._end = True  # the feed's thread looks at it
            with contextlib.suppress(DemoStopped):
                await feed
            for task in (work, *tasks):
                task.cancel()
            await asyncio.gather(work, *tasks, return_exceptions=True)

    async def _until(self, done: Callable[[], bool], tasks: Sequence[asyncio.Task[Any]]) -> None:
        while not done():
            if self._stopping():
                raise DemoStopped("stopped")
            self._staged.check()
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
            self._show()
            await asyncio.sleep(LOOK_S)

    def _show(self) -> None:
        board = self._watch.board
        board.now_ms, board.running_s = self._fed_ms, time.monotonic() - self._began_s
        board.weather_zh, board.weather_en = self._weather()
        self._tell()

    def _weather(self) -> tuple[str, str]:
        """As the simulation has it now; the hardest rain and where it falls."""
        rain, streets = self._city.world.weather.rain_mm_h, self._city.streets
        node = int(rain.argmax())
        mm_h = float(rain[node])
        if mm_h < 0.5:
            return "天气：无雨", "weather: dry"
        zh = streets.district[node] or self._watch.board.city_zh
        en = self._district_en.get(zh, self._watch.board.city_en)
        if mm_h < 20:
            return f"天气：有雨，最强 {mm_h:.0f} 毫米/小时（{zh}）", f"weather: rain, up to {mm_h:.0f} mm/h ({en})"
        return (
            f"天气：暴雨过境，雨强 {mm_h:.0f} 毫米/小时，中心在{zh}",
            f"weather: a storm passes, {mm_h:.0f} mm/h, now over {en}",
        )

    @property
    def _district_en(self) -> dict[str, str]:
        return {entry.name_zh: entry.name_en or entry.name_zh for entry in self._watch.city.jurisdictions.entries}

    # --- in ----------------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """In a thread of its own: the sink has an event loop of its own. Raises DemoStopped, BrokerError."""
        topics = {source: self._names.raw(source) for source in Source}
        sink = KafkaSink(self._bootstrap, topics, PARTITIONS, options=self._options)
        try:
            self.sent = sink.run(self._city, DemoPace(speed=self._speed), self._fed_to)
        finally:
            self._fed = True

    def _fed_to(self, send_ms: int, _records: int, _bytes: int) -> None:
        if self._end or self._stopping():
            raise DemoStopped("stopped")
        self._fed_ms = max(self._fed_ms, send_ms)

    async def _work(self) -> None:
        """Departments' actions and the loop's clock, until the feed has ended and the clock has come there."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=0, **self._options)
        await producer.start()
        try:
            ended_s: float | None = None
            while True:
                if self._fed and ended_s is None:
                    ended_s = time.monotonic()
                behind_s = BEHIND_S if ended_s is None else max(0.0, BEHIND_S - (time.monotonic() - ended_s))
                now_ms = max(self._city.from_ms, self._fed_ms - round(behind_s * 1000 * self._speed))
                await self._act(producer, now_ms)
                await producer.send_and_wait(self._names.ticks, encode_tick(Tick(at_ms=now_ms)))
                if ended_s is not None and behind_s == 0.0:
                    return
                await asyncio.sleep(LOOP_EVERY_S)
        finally:
            await producer.stop()

    async def _act(self, producer: AIOKafkaProducer, now_ms: int) -> None:
        for action in self._departments.due(now_ms):
            self._unanswered.add(action.action_id)
            self.actions += 1
            await producer.send(self._names.actions, encode_action(action), key=action.key)
        if self._unanswered:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered.wait(), ANSWERED_WITHIN_S)
            self._unanswered.clear()

    def _answered(self, action_id: str | None) -> None:
        if action_id is not None and action_id in self._unanswered:
            self._unanswered.remove(action_id)
            if not self._unanswered:
                self._all_answered.set()

    # --- out ---------------------------------------------------------------------------------------------------------

    async def _listen(self, topic: str, take: Callable[[bytes], None]) -> None:
        records = follow(self._bootstrap, topic, options=self._options, start=Start(beginning=True), once=False)
        async with contextlib.aclosing(records):
            async for record in records:
                take(record.value or b"")
                self._latest_heard_s = time.monotonic()

    def _hear_alert(self, payload: bytes) -> None:
        self._watch.alert(decode_alert(payload))

    def _hear_change(self, payload: bytes) -> None:
        change = decode_incident(payload)
        self._answered(change.action_id)
        if self._watch.change(change):
            self._departments.see(change)

    def _hear_notification(self, payload: bytes) -> None:
        notification = decode_notification(payload)
        self._answered(notification.action_id)
        self._watch.told(notification)

    async def _measure(self) -> None:
        before: Measured | None = None
        while True:
            with contextlib.suppress(OSError):  # a busy worker answers the next time; that it runs is seen elsewhere
                now = await asyncio.to_thread(measure, self._staged.metrics_url)
                self._watch.measured(now, before)
                before = now
            await asyncio.sleep(MEASURE_EVERY_S)

    async def _ask_index(self) -> None:
        """The index by district, in a thread: the board does not wait for it."""
        store = open_store(self._staged.config)
        city, districts = self._watch.city, set(self._city.streets.district)
        try:
            while True:
                await asyncio.sleep(INDEX_EVERY_S)
                try:
                    found: tuple[int, list[District]] | None
                    found = await asyncio.to_thread(read_index, store, city, self._fed_ms, districts)
                except StoreError:
                    continue  # asked again soon; a history that stays away is found in the end
                if found is not None:
                    self._watch.indexed(*found)
        finally:
            await asyncio.to_thread(store.close)
