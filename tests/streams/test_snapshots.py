"""Snapshots that hold only what has changed: whatever they are made of, the shard comes back as it was."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.contract import Detector
from detectors.features import Aggregate
from detectors.threshold import Threshold, ThresholdSettings
from detectors.waterlogging import Waterlogging
from schemas.alert import Action, Alert
from schemas.errors import BrokerError
from schemas.sources import Source
from streams import snapshots as snapshots_module
from streams.join_core import JoinSettings, JoinShard
from streams.shard_claim import CHECKSUM_BYTES, OWNER_KEY
from streams.shard_store import ShardStore
from streams.snapshot_parts import PART_BYTES, Blob, SlotsPart, decode_bundle, decode_manifest, encode_bundle
from streams.snapshots import Snapshots
from tests.support.memory_log import MemoryLog
from tests.support.probe import Probe
from tests.support.raw_log import RawRow, closing_frame, frames_of
from topology.grid import Grid

GRID = Grid.metric(121.0, 31.0, 121.2, 31.2)
CELLS = GRID.neighbours(GRID.cell(121.1, 31.1), 2).tolist()
PARTITIONS = [(Source.READINGS, 0), (Source.CAMERA_EVENTS, 0)]
START_MS = 1_700_000_040_000
MINUTE_MS = 60_000


def rule(name: str = "rule", **changed: Any) -> Threshold:
    plain = ThresholdSettings(
        metric="level", raise_at=(70.0,), clear_at=60.0, window_minutes=5, aggregate=Aggregate.MAX
    )
    return Threshold(replace(plain, **changed), name=name)


def make_shard(detectors: Sequence[Detector[Any]] = ()) -> JoinShard:
    detectors = detectors or (Probe(), rule(), Waterlogging())
    return JoinShard(0, GRID, detectors, [(int(source), p) for source, p in PARTITIONS], JoinSettings())


def make_snapshots(log: MemoryLog) -> Snapshots:
    return Snapshots(0, ShardStore("join-state", log), log, open_topic="join-open", blocks_topic="join-blocks")


def frames() -> list[bytes]:
    chance = random.Random(2)
    rows = []
    for source, partition in PARTITIONS:
        at_ms = START_MS
        for offset in range(300):
            at_ms += chance.randint(0, 12_000)
            cell = chance.choice(CELLS[: 4 + offset // 20])  # more cells as time goes on
            rows.append(
                RawRow(source, partition, offset, at_ms, cell, ("level", "flood")[source], chance.randint(0, 990) / 10)
            )
    return [*frames_of(rows, PARTITIONS, 4, biggest=9), closing_frame(PARTITIONS, START_MS + 90 * MINUTE_MS)]


def run(shard: JoinShard, some: Sequence[bytes]) -> list[Alert]:
    return [alert for frame in some for alert in shard.process(frame)]


async def restored(log: MemoryLog, detectors: Sequence[Detector[Any]] = ()) -> tuple[JoinShard, Snapshots]:
    shard, snapshots = make_shard(detectors), make_snapshots(log)
    assert await snapshots.read(shard) is not None
    return shard, snapshots


@pytest.mark.parametrize("rewrite_every", [1, 3, 1000])
async def test_a_chain_of_snapshots_brings_the_shard_back_at_every_link(
    monkeypatch: pytest.MonkeyPatch, rewrite_every: int
) -> None:
    monkeypatch.setattr(snapshots_module, "REWRITE_EVERY", rewrite_every)
    every = frames()
    expected = run(make_shard(), every)
    log, shard = MemoryLog(), make_shard()
    snapshots, told = make_snapshots(log), []
    for at in range(0, len(every), 5):
        told += run(shard, every[at : at + 5])
        await snapshots.write(snapshots.capture(shard, at + 5))
        if at % 15 == 0:
            again, _ = await restored(log)
            assert told + run(again, every[at + 5 :]) == expected
        if at % 40 == 0:  # another owner takes over and goes on with the chain
            shard, snapshots = await restored(log)
    assert told == expected


async def test_a_snapshot_holds_only_what_has_changed() -> None:
    every = frames()
    log, shard = MemoryLog(), make_shard()
    snapshots = make_snapshots(log)
    run(shard, every[: len(every) // 2])
    first = snapshots.capture(shard, 1)
    assert {bundle.kind for bundle in first.bundles} == {"cells", "open", "sealed", "state"}
    await snapshots.write(first)
    second = snapshots.capture(shard, 1)
    assert [bundle.kind for bundle in second.bundles] == ["state"]


async def test_an_owner_that_restored_a_snapshot_goes_on_with_it() -> None:
    """Buckets in which a track has no rows were taken for those of other detectors, and all was written anew."""
    log, shard = MemoryLog(), make_shard()
    snapshots = make_snapshots(log)
    run(shard, frames()[: len(frames()) // 2])
    await snapshots.write(snapshots.capture(shard, 1))
    again, theirs = await restored(log)
    captured = theirs.capture(again, 1)
    assert not captured.whole and [bundle.kind for bundle in captured.bundles] == ["state"]


async def test_what_no_manifest_names_is_deleted_and_the_rest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots_module, "DELETE_EVERY", 1)
    monkeypatch.setattr(snapshots_module, "REWRITE_EVERY", 4)
    every = frames()
    log, shard = MemoryLog(), make_shard()
    snapshots, most = make_snapshots(log), 0
    for at, frame in enumerate(every[:-1]):
        shard.process(frame)
        await snapshots.write(snapshots.capture(shard, at + 1))
        most = max(most, len(log.messages["join-open", 0]))
    assert most <= 4 * 3 + 3  # of four snapshots: cells, rows and what stands; one more before it is deleted
    kept = sum(len(group.sealed) for group in shard.groups.values())
    assert len(log.messages["join-blocks", 0]) <= kept + 1


async def test_a_capture_that_was_not_written_is_not_passed_over() -> None:
    log, shard = MemoryLog(), make_shard()
    snapshots = make_snapshots(log)
    run(shard, frames()[:20])
    snapshots.capture(shard, 1)
    second = snapshots.capture(shard, 2)
    with pytest.raises(ValueError, match="comes before it"):
        await snapshots.write(second)


async def test_damage_to_any_message_of_a_snapshot_is_refused_with_its_place() -> None:
    """A bit flipped, the end cut off, or another message of the same snapshot in its place: most of that decodes."""
    every, log, shard = frames(), MemoryLog(), make_shard()
    snapshots = make_snapshots(log)
    for at in (20, 40, 60):
        run(shard, every[at - 20 : at])
        await snapshots.write(snapshots.capture(shard, at))
    tried = 0
    for topic in ("join-state", "join-open", "join-blocks"):
        messages = log.messages[topic, 0]
        last = {message.key: number for number, message in enumerate(messages)}
        for number, whole in enumerate(messages):
            if whole.value is None or whole.key == OWNER_KEY.encode() or (last[whole.key] != number and whole.key):
                continue
            others = [one.value for one in messages if topic != "join-state" and one.value not in (None, whole.value)]
            for value in (*flips(whole.value), whole.value[:-1], *others[:1]):
                messages[number] = replace(whole, value=value)
                if number not in named(log, topic):
                    await make_snapshots(log).read(make_shard())
                    continue
                with pytest.raises(BrokerError, match=f"damaged.*{topic}|{topic}.*damaged"):
                    await make_snapshots(log).read(make_shard())
                tried += 1
            messages[number] = whole
    assert tried > 60
    assert await make_snapshots(log).read(make_shard()) == 60


def flips(value: bytes) -> list[bytes]:
    """One bit flipped, at places all over the message."""
    places = sorted({*range(0, len(value), max(1, len(value) // 3)), len(value) - 1})
    return [value[:at] + bytes([value[at] ^ 1 << at % 8]) + value[at + 1 :] for at in places]


def named(log: MemoryLog, topic: str) -> set[int]:
    """The offsets in a topic that the manifest names; of the manifest's own topic, its last message."""
    state = [message for message in log.messages["join-state", 0] if message.key != OWNER_KEY.encode()]
    if topic == "join-state":
        return {state[-1].offset}
    value = state[-1].value
    assert value is not None
    manifest = decode_manifest(value[1 + CHECKSUM_BYTES :])
    return {ref.offset for bundle in manifest.bundles for ref in bundle.refs if ref.topic == topic}


def test_a_large_bundle_is_cut_into_messages_and_put_together_again() -> None:
    large = np.frombuffer(random.Random(1).randbytes(2 * PART_BYTES + 5), dtype=np.uint8)
    part = SlotsPart(0, Blob(large), Blob(large[:1]))
    messages = list(encode_bundle([part]))
    assert len(messages) == 3
    assert decode_bundle(messages) == [part]
    with pytest.raises(BrokerError, match="damaged"):
        decode_bundle(messages[:2])


# --- other detectors -----------------------------------------------------------------------------------------------


async def halfway(log: MemoryLog, detectors: Sequence[Detector[Any]]) -> list[bytes]:
    """A snapshot of a shard with these detectors in the middle of the story; the frames behind it."""
    every, shard, snapshots = frames(), make_shard(detectors), make_snapshots(log)
    run(shard, every[: len(every) // 2])
    await snapshots.write(snapshots.capture(shard, len(every) // 2))
    return every[len(every) // 2 :]


def of(name: str, alerts: Sequence[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.detector == name]


@pytest.mark.parametrize(
    "added",
    [
        [Waterlogging()],  # other tracks
        [rule("mean", aggregate=Aggregate.MEAN)],  # other lanes of the same track
        [rule("longer", window_minutes=9), rule("shorter", window_minutes=1)],  # other windows
        [rule("suspect", aggregate=Aggregate.QUANTILE, rings=1)],
    ],
    ids=["tracks", "lanes", "windows", "histogram"],
)
async def test_detectors_may_come_and_go_between_two_starts(added: list[Detector[Any]]) -> None:
    log = MemoryLog()
    rest = await halfway(log, [rule()])
    expected = of("rule", run((await restored(log, [rule()]))[0], rest))
    assert any(alert.action is Action.RAISE for alert in expected)
    more, snapshots = await restored(log, [rule(), *added])
    middle = len(rest) // 2
    told = run(more, rest[:middle])
    await snapshots.write(snapshots.capture(more, 0))
    fewer, _ = await restored(log, [rule()])  # and back again
    assert of("rule", told) + of("rule", run(fewer, rest[middle:])) == expected


async def test_a_mean_whose_sums_were_not_kept_is_unknown_until_its_window_is_filled() -> None:
    log = MemoryLog()
    settings = {"raise_at": (0.5,), "clear_at": 0.1, "window_minutes": 5}
    rest = await halfway(log, [rule("count", aggregate=Aggregate.COUNT, **settings)])
    shard, _ = await restored(log, [rule("mean", aggregate=Aggregate.MEAN, **settings)])
    width = MINUTE_MS
    closed_ms = shard.groups[width].closed_until_ms
    assert closed_ms is not None
    told = run(shard, rest)
    raised = [alert.window_end_ms for alert in told if alert.action is Action.RAISE]
    # a count of rows is known, their sum is not: without this the mean would be far too low, and told
    by_cell = {alert.cell: alert for alert in reversed(told)}
    fresh = run(make_shard([rule("mean", aggregate=Aggregate.MEAN, **settings)]), frames())
    later = {(a.cell, a.window_end_ms): a.values for a in fresh if a.window_end_ms > closed_ms + 5 * MINUTE_MS}
    assert raised and by_cell
    for alert in told:
        if (alert.cell, alert.window_end_ms) in later:
            assert alert.values == later[alert.cell, alert.window_end_ms]
        elif alert.action is Action.RAISE and alert.values["value"] is not None:
            # raised before the window was full: only from buckets that this detector has seen
            assert alert.values["value"] <= 99.0


async def test_an_older_version_is_refused_by_its_number() -> None:
    with pytest.raises(BrokerError, match="version 1, this program reads 2"):
        decode_manifest(msgspec.msgpack.encode({"version": 1, "shard": 0, "next_offset": 3}))
    with pytest.raises(BrokerError, match="damaged manifest"):
        decode_manifest(b"\x00garbage")


async def test_a_snapshot_of_another_shard_is_refused() -> None:
    log = MemoryLog()
    await halfway(log, [rule()])
    other = JoinShard(1, GRID, [rule()], [(int(source), p) for source, p in PARTITIONS], JoinSettings())
    with pytest.raises(BrokerError, match="of shard 0, wanted 1"):
        await make_snapshots(log).read(other)
