"""People around the loop, who take up incidents in an order of their own, at times twice or wrongly; and its clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from aiokafka import TopicPartition

from schemas.action import Role
from schemas.incident import decode_incident
from schemas.loop_record import Tick, encode_tick
from streams.loop_states import legal_actions
from tests.chaos.simulator.broker import Record
from tests.chaos.simulator.process import SERVER

if TYPE_CHECKING:
    from tests.chaos.simulator.world import World

ACTORS = {Role.HANDLER: "h-1", Role.VERIFIER: "v-1", Role.OPERATOR: "o-1", Role.DISPATCHER: "d-1"}
EAGER = 0.35
HOURS_MS = 3_600_000


class People:
    """They look at `incidents` and write to `actions`; the ticks, where the loop has no clock of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: set[tuple[str, int]] = set()
        self._count = 0
        self._ahead_ms = 0
        world.broker.on_append.append(self._look)

    def tick(self) -> None:
        """The time, which jumps some hours now and then: deadlines pass."""
        world = self._world
        if not world.play.ticker and world.chance.random() < 0.3:
            self._ahead_ms += world.chance.choice((1, 5, 40)) * HOURS_MS
        tick = encode_tick(Tick(at_ms=world.now_ms(self._ahead_ms)))
        world.broker.append(TopicPartition(world.names.ticks, 0), [(None, tick)], by="clock")

    def _look(self, place: TopicPartition, batch: Sequence[Record]) -> None:
        world = self._world
        if place.topic != world.names.incidents or world.faults.over:
            return
        for record in batch:
            change = decode_incident(record.value or b"")
            name = change.incident_id, change.revision
            if name in self._seen or world.chance.random() > EAGER:
                continue
            self._seen.add(name)
            role = world.chance.choice(list(ACTORS))
            allowed = legal_actions(change.state, role)
            if allowed:
                action = world.chance.choice(allowed)
                world.loop.call_later(
                    world.chance.uniform(0.1, 3.0), self._act, change.incident_id, str(action), role, context=SERVER
                )

    def _act(self, incident_id: str, action: str, role: Role) -> None:
        world, chance = self._world, self._world.chance
        if world.faults.over:
            return
        self._count += 1
        fields = {
            "action_id": f"a-{self._count}", "incident_id": incident_id, "action": action, "actor": ACTORS[role],
            "role": str(role), "ts": world.now_ms(self._ahead_ms), "reason": "because", "to_department": "west-water",
            "department": "west-water",
        }  # fmt: skip
        payload = msgspec.json.encode(fields)
        if chance.random() < 0.05:
            payload = chance.choice((b"", b"{", b'{"action_id": "broken"}'))
        for _ in range(2 if chance.random() < 0.1 else 1):
            place = TopicPartition(world.names.actions, chance.randrange(world.broker.counts[world.names.actions]))
            world.broker.append(place, [(incident_id.encode(), payload)], by="people")
