"""Claims: who owns a shard's state is told by the order of its topic, to whoever writes next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas.errors import BrokerError
from streams.shard_claim import CHECKSUM_BYTES, MARK, OWNER_KEY, ShardClaim
from streams.shard_store import ShardStore
from tests.support.memory_log import MemoryLog

TOPIC, SHARD = "state", 3


def claim_on(log: MemoryLog) -> ShardClaim:
    return ShardClaim(ShardStore(TOPIC, log), SHARD, "manifest", log=log, without="go without it")


async def payloads(log: MemoryLog) -> set[bytes]:
    stored = await ShardStore(TOPIC, log).load(SHARD)
    return {
        payload[1 + CHECKSUM_BYTES :] if payload.startswith(MARK) else payload
        for key, payload in stored.items()
        if key != OWNER_KEY
    }


async def test_an_owner_alone_writes_as_often_as_it_likes_and_leaves_its_last() -> None:
    log = MemoryLog()
    claim = claim_on(log)
    assert await claim.take() == []
    for payload in (b"1", b"2", b"3"):
        assert await claim.put(payload)
    assert await payloads(log) == {b"3"}


async def test_a_successor_gets_what_is_there_clears_it_away_and_has_the_greater_epoch() -> None:
    log = MemoryLog()
    await ShardStore(TOPIC, log).put(SHARD, "manifest", b"of a version without claims")
    first, second = claim_on(log), claim_on(log)
    assert await first.take() == [b"of a version without claims"]
    assert await first.put(b"first")
    assert await second.take() == [b"first"]
    assert second.epoch > first.epoch
    assert await payloads(log) == {b"first"}, "what is there stays until the successor has something of its own"
    assert await second.put(b"second")
    assert await payloads(log) == {b"second"}


async def test_a_write_behind_the_claim_of_another_is_told_from_all_others() -> None:
    log = MemoryLog()
    first, second = claim_on(log), claim_on(log)
    await first.take()
    assert await first.put(b"before")
    await second.take()
    assert not await first.put(b"behind"), "the second owner has not seen it"
    assert await second.put(b"own"), "what a former owner writes takes nothing away from the present one"
    assert b"own" in await payloads(log)


async def test_a_write_before_the_claim_of_another_is_in_what_that_one_reads() -> None:
    log = MemoryLog()
    first, second = claim_on(log), claim_on(log)
    await first.take()
    assert await first.put(b"before")
    assert await second.take() == [b"before"]


async def test_an_owner_that_claims_again_is_the_owner_again_and_the_other_is_told() -> None:
    log = MemoryLog()
    first, second = claim_on(log), claim_on(log)
    await first.take()
    await second.take()
    assert not await first.put(b"1")
    await first.take()
    assert await first.put(b"2")
    assert not await second.put(b"3")


async def test_what_an_owner_clears_away_late_is_never_what_the_other_has_written_since() -> None:
    """Keys named owners at first, not claims: the second owner's tombstone for what it had found took away what the
    first one wrote after it had claimed the shard again."""
    log = MemoryLog()
    first, second = claim_on(log), claim_on(log)
    await first.take()
    assert await first.put(b"1")
    assert await second.take() == [b"1"]
    assert await second._write(second._key, b"2"), "and then it is frozen, before it clears away"
    await first.take()
    assert await first.put(b"3")
    for key in second._others:
        await ShardStore(TOPIC, log).put(SHARD, key, None)
    assert b"3" in await payloads(log)


async def test_a_write_that_had_to_be_repeated_is_no_claim() -> None:
    log = MemoryLog()
    claim = claim_on(log)
    await claim.take()
    await claim.put(b"1")
    await log.append(TOPIC, SHARD, b"2", key=(await _key(log)))  # its answer got lost
    assert await claim.put(b"2")


async def test_a_gap_that_cannot_be_read_any_more_counts_as_a_claim() -> None:
    log = MemoryLog()
    first, second = claim_on(log), claim_on(log)
    await first.take()
    await second.take()
    where = (TOPIC, SHARD)
    log.messages[where] = [m for m in log.messages[where] if m.offset != second.epoch]  # compacted away
    assert not await first.put(b"1")


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored[:-1],
        lambda stored: stored[:3],
        lambda stored: stored + b"x",
        lambda stored: stored[:-2] + bytes([stored[-2] ^ 1]) + stored[-1:],
    ],
)
async def test_what_is_damaged_is_refused_with_its_place_and_a_way_on(
    damage: Callable[[bytes], bytes],
) -> None:
    log = MemoryLog()
    claim = claim_on(log)
    await claim.take()
    await claim.put(b"a state")
    key = await _key(log)
    stored = (await ShardStore(TOPIC, log).load(SHARD))[key.decode()]
    await log.append(TOPIC, SHARD, damage(stored), key=key)
    with pytest.raises(BrokerError, match=r"state\[3\]: the manifest under key manifest-.* is damaged .*go without it"):
        await claim_on(log).take()


async def _key(log: MemoryLog) -> bytes:
    (key,) = [key for key in await ShardStore(TOPIC, log).load(SHARD) if key != OWNER_KEY]
    return key.encode()
