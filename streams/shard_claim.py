"""Who owns the state of a shard, when more than one believes it does.

A worker that was frozen (a paused virtual machine, a host that swapped) and declared dead goes on where it stopped, for
a moment, beside the owner that has taken its shard over: a *zombie*. It must not put its older state in place of the
newer one, nor delete what that one needs. Kafka's groups fence offsets, not topics; so owners tell each other on the
topic of their state itself, which has one partition per shard and therefore one order:

- Each owner first writes a claim, under a key that all share. The claim's offset is its *epoch*. Then it reads what is
  there. So of two owners, either the earlier one's write is in what the later one reads, or it stands behind the later
  one's claim.
- Each claim writes under a key of its own, and clears the others' away after its first write. So nobody overwrites, and
  what is cleared away late is of an earlier claim.
- A write that stands behind a claim of another is void, and its owner is told; but it stays, and may be the one of the
  greatest epoch that the next owner finds. That is harmless as long as nobody *acts* on what he has found, where it
  matters which of two it was, before he has put it under his own epoch.
- What is stored carries a checksum: a state that is damaged must not be taken for another state.
- A write whose offset is the one right behind the owner's last write has no claim between the two: nothing else needs
  to be asked. Only when there is a gap, the gap is read, and a claim in it says that the shard is another's now.
"""

from __future__ import annotations

import uuid
import zlib
from typing import Final

from schemas.errors import BrokerError
from streams.shard_store import Log, ShardStore

OWNER_KEY: Final = "owner"
MARK: Final = b"\xc1"  # no msgpack begins with it: what comes without was written before there were checksums
CHECKSUM_BYTES: Final = 4


class ShardClaim:
    """One owner's hand on the state of one shard, from its assignment on. `name` begins the keys, such as "manifest".

    `take`, then `put` as often as need be; `take` again after a `put` that found the shard claimed by another.
    """

    def __init__(self, store: ShardStore, shard: int, name: str, *, log: Log, without: str) -> None:
        """`without`: for the message about a damaged state, how to go on without it, and at what price."""
        self._store = store
        self._without = without
        self._log = log
        self._shard = shard
        self._name = name
        self._id = ""  # names a claim; nothing that is told depends on it
        self._others: list[str] = []
        self._last = -1  # offset of our last write
        self.epoch = -1

    async def take(self) -> list[bytes]:
        """Claim the shard; what owners before (or beside) us have stored, in no particular order. BrokerError when
        something of it is damaged."""
        self._id = uuid.uuid4().hex
        self.epoch = self._last = await self._store.put(self._shard, OWNER_KEY, self._id.encode())
        stored = await self._store.load(self._shard)
        stored.pop(OWNER_KEY, None)
        self._others = list(stored)
        return [self._checked(key, payload) for key, payload in stored.items()]

    async def put(self, payload: bytes) -> bool:
        """Store; durable when this returns. False when another owner has claimed the shard since we did: it may not
        have seen this payload, and may have deleted what the payload names."""
        if not await self._write(self._key, MARK + _checksum(payload) + payload):
            return False
        while self._others:
            if not await self._write(self._others[-1], None):
                return False
            self._others.pop()
        return True

    def _checked(self, key: str, stored: bytes) -> bytes:
        if not stored.startswith(MARK):
            return stored
        checksum, payload = stored[1 : 1 + CHECKSUM_BYTES], stored[1 + CHECKSUM_BYTES :]
        if checksum != _checksum(payload):
            raise BrokerError(
                f"{self._store.topic}[{self._shard}]: the {self._name} under key {key} is damaged "
                f"({len(stored)} bytes, the checksum does not fit) - restore the topic, or {self._without}"
            )
        return payload

    @property
    def _key(self) -> str:
        return f"{self._name}-{self._id}"

    async def _write(self, key: str, payload: bytes | None) -> bool:
        at = await self._store.put(self._shard, key, payload)
        first, self._last = self._last + 1, at
        if at == first:
            return True
        between = await self._log.read_range(self._store.topic, self._shard, first, at - 1)
        # a repeat of ours, after a broker that was away; what was compacted away may have been a claim
        return len(between) == at - first and all(message.key != OWNER_KEY.encode() for message in between)


def _checksum(payload: bytes) -> bytes:
    return zlib.crc32(payload).to_bytes(CHECKSUM_BYTES, "little")
