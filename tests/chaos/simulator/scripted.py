"""Alerts and placed tickets as they would come out of join and locate, for plays of the loop alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from schemas.alert import Action, Alert, encode_alert
from tests.chaos.simulator import city
from tests.support.loop_city import GRID
from tests.support.ticket_frames import PlacedTicket, ticket_frame

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

CATEGORIES = ("waterlogging", "gas_leak", "parking")


class Scripted:
    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._count = count
        self._standing: dict[str, tuple[int, str, tuple[float, float]]] = {}
        self._alerts = 0
        self._tickets = 0

    def begin(self) -> None:
        for number in range(self._count):
            at = self._world.play.lasting_s * (number + self._world.chance.random()) / self._count
            self._world.at(at, self._alert if self._world.chance.random() < 0.6 else self._frame)

    def _alert(self) -> None:
        world, chance = self._world, self._world.chance
        names, broker = world.names, world.broker
        if self._standing and chance.random() < 0.5:
            alert_id = chance.choice(list(self._standing))
            revision, category, place = self._standing.pop(alert_id)
            action = chance.choice((Action.UPDATE, Action.CLEAR))
        else:
            self._alerts += 1
            alert_id, revision, action = f"A-{self._alerts}", -1, Action.RAISE
            category, place = chance.choice(CATEGORIES), chance.choice(city.places())
        revision += 1
        if action is not Action.CLEAR:
            self._standing[alert_id] = revision, category, place
        at_ms = world.now_ms()
        alert = Alert(
            alert_id=alert_id, revision=revision, action=action, detector="d", detector_version=1, category=category,
            cell=GRID.cell(*place), lon=place[0], lat=place[1], onset_ms=at_ms - 60_000,
            window_start_ms=at_ms - 60_000, window_end_ms=at_ms, severity=chance.randint(1, 4), confidence=0.9,
            reason="r", values={}, thresholds={}, evidence=[], sentence_zh="", sentence_en="",
        )  # fmt: skip
        value = encode_alert(alert)
        if chance.random() < 0.03:
            value = b"no alert"
        partition = broker.partition_of(names.alerts, alert.key)
        for _ in range(2 if chance.random() < 0.1 else 1):  # a join that was restarted tells it again
            broker.append(TopicPartition(names.alerts, partition), [(alert.key, value)], by="script")

    def _frame(self) -> None:
        world, chance = self._world, self._world.chance
        again = min(self._tickets, chance.choice((0, 0, 0, 2)))  # a locate that was restarted covers some again
        first, count = self._tickets - again, again + chance.randint(1, 3)
        tickets = [self._ticket(number) for number in range(first, first + count)]
        self._tickets = first + count
        frame = ticket_frame(tickets, partition=0, first=first)
        world.broker.append(TopicPartition(world.names.placed_tickets, 0), [(None, frame)], by="script")

    def _ticket(self, number: int) -> PlacedTicket:
        place = city.places()[number % len(city.places())]
        category = ("flood", "noise", "parking")[number % 3]
        return PlacedTicket(f"T-{number}", category, city.START_MS + number, GRID.cell(*place), place)
