"""Raw batches: the seam on aiokafka holds, and every kind of Kafka batch comes through it whole or as a corrupt one."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import OrderedDict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher

from schemas.dead_letter import Reason
from schemas.errors import SettingsError
from schemas.sources import Source
from streams import raw_batches
from streams.batches import Batch, CorruptBatch, RawBatch, slices
from streams.decode import Decoded, Decoder
from streams.raw_batches import RawMemoryRecords, RawPartitionRecords, install_seam
from tests.support.kafka_bytes import (
    CONTROL,
    LOG_APPEND,
    T0,
    TRANSACTIONAL,
    Value,
    abort_marker,
    batch_bytes,
    legacy_bytes,
    raw_batch,
    remade,
)
from tests.support.readings import decoder, reading

PARTITION = TopicPartition("readings", 3)
VALUES = [reading(device=f"D-{number}", value=number / 4) for number in range(40)]


class Reader:
    """Fetch responses read as aiokafka would, by one consumer."""

    def __init__(self, *, position: int = 0, committed: bool = True) -> None:
        self.position = position
        self._records = type("OfThisTest", (RawPartitionRecords,), {"suspects": {}, "nothing": {}})
        self._isolation_level = 1 if committed else 0

    def read(self, *batches: bytes, aborted: Sequence[tuple[int, int]] = ()) -> list[Batch]:
        records = RawMemoryRecords(b"".join(batches))
        iterator = self._records(
            PARTITION, records, list(aborted), self.position, None, None, True, self._isolation_level
        )
        found: list[Batch] = list(iterator)
        self.position = iterator.next_fetch_offset
        return found


def settle(batches: Sequence[Batch]) -> Decoded:
    return decoder().decode(Source.READINGS, "readings", 3, batches)


def offsets_of(result: Decoded) -> list[int]:
    offsets: list[int] = result.columns.offset.tolist()
    return offsets


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("keys", [False, True])
def test_every_codec_gives_the_same_rows(codec: str, keys: bool) -> None:
    reader = Reader(position=100)
    batches = reader.read(batch_bytes(VALUES, base_offset=100, codec=codec, attributes=LOG_APPEND, keys=keys))
    result = settle(batches)
    assert reader.position == 140
    assert offsets_of(result) == list(range(100, 140))
    assert result.columns.value.tolist() == [number / 4 for number in range(40)]
    assert [result.columns.entity(row) for row in range(40)] == [f"D-{number}" for number in range(40)]
    assert set(result.columns.received_at_ms.tolist()) == {T0 + 40}
    assert (result.letters, result.first_offset, result.last_offset) == ([], 100, 139)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
@pytest.mark.parametrize("magic", [0, 1])
def test_old_message_formats_become_the_same_rows(magic: int, codec: str) -> None:
    reader = Reader(position=100)
    batches = reader.read(legacy_bytes_or_v0_gzip(magic, VALUES, last_offset=139, codec=codec))
    result = settle(batches)
    assert reader.position == 140
    assert offsets_of(result) == list(range(100, 140))
    assert result.columns.value.tolist() == [number / 4 for number in range(40)]
    assert result.letters == []
    if magic == 1:
        assert max(result.columns.received_at_ms.tolist()) == T0 + 39


def legacy_bytes_or_v0_gzip(magic: int, values: Sequence[Value], *, last_offset: int, codec: str) -> bytes:
    if magic == 0 and codec == "lz4":
        codec = "gzip"  # v0 never had a correct lz4
    return legacy_bytes(magic, values, last_offset=last_offset, codec=codec)


def test_a_lz4_message_of_format_0_is_refused_as_unsupported() -> None:
    data = bytearray(legacy_bytes(0, VALUES[:2], last_offset=7, codec="gzip"))
    data[17] = 3
    struct.pack_into(">I", data, 12, __import__("zlib").crc32(bytes(data[16:])))
    reader = Reader(position=5)
    (batch,) = reader.read(bytes(data))
    assert isinstance(batch, CorruptBatch)
    assert batch.reason == Reason.UNSUPPORTED_BATCH
    assert reader.position == 8


def test_a_message_that_claims_a_negative_length_ends_as_one_letter() -> None:
    inner = bytearray(legacy_bytes(1, VALUES[:2], last_offset=1))
    struct.pack_into(">i", inner, 8, -12)
    import gzip
    import zlib

    value = gzip.compress(bytes(inner))
    body = struct.pack(">bbqii", 1, 1, T0, -1, len(value)) + value
    data = struct.pack(">qiI", 9, len(body) + 4, zlib.crc32(body)) + body
    reader = Reader(position=8)
    result = settle(reader.read(data))
    assert [(letter.offset, letter.reason) for letter in result.letters] == [(8, Reason.CORRUPT_BATCH)]
    assert reader.position == 10


def test_a_fetch_that_begins_inside_a_batch_skips_what_was_consumed() -> None:
    for data in (
        batch_bytes(VALUES, base_offset=100, codec="lz4"),
        legacy_bytes(1, VALUES, last_offset=139, codec="gzip"),
    ):
        result = settle(Reader(position=117).read(data))
        assert offsets_of(result) == list(range(117, 140))
        assert (result.first_offset, result.last_offset) == (117, 139)


def test_gaps_that_compaction_left_are_covered_and_the_position_goes_behind_them() -> None:
    reader = Reader(position=100)
    batches = reader.read(
        batch_bytes(VALUES[:3], base_offset=100, offsets=[103, 107, 108], next_offset=120),
        remade(batch_bytes([], base_offset=120, next_offset=130), count=0),
        batch_bytes(VALUES[:1], base_offset=150),
    )
    result = settle(batches)
    assert offsets_of(result) == [103, 107, 108, 150]
    assert (result.first_offset, result.last_offset) == (100, 150)
    assert [batch.first_offset for batch in batches] == [100, 120]
    assert reader.position == 151


def test_a_batch_emptied_by_compaction_moves_the_position() -> None:
    reader = Reader(position=100)
    assert reader.read(remade(batch_bytes([], base_offset=100, next_offset=130), count=0)) == []
    assert reader.position == 130


def test_aborted_transactions_are_skipped_and_committed_ones_are_read() -> None:
    log = (
        batch_bytes(VALUES[:5], base_offset=0, attributes=TRANSACTIONAL, producer_id=7),
        batch_bytes(VALUES[5:8], base_offset=5, attributes=TRANSACTIONAL, producer_id=8),
        batch_bytes(VALUES[8:9], base_offset=8),
        abort_marker(9, 7),
        batch_bytes(VALUES[10:12], base_offset=10, attributes=TRANSACTIONAL, producer_id=7),
        abort_marker(12, 7, commit=True),
        abort_marker(13, 8, commit=True),
    )
    reader = Reader()
    batches = reader.read(*log, aborted=[(7, 0)])
    assert offsets_of(settle(batches)) == [5, 6, 7, 8, 10, 11]
    assert reader.position == 14
    # every offset is covered once, the aborted and the control ones together with the batch behind them
    assert [(batch.first_offset, batch.next_offset) for batch in batches] == [(0, 8), (8, 9), (9, 12)]

    # the markers at the end are settled by the next batch, in whichever response it comes
    (following,) = reader.read(batch_bytes(VALUES[:1], base_offset=14))
    assert (following.first_offset, reader.position) == (12, 15)

    dirty = Reader(committed=False)
    assert offsets_of(settle(dirty.read(*log, aborted=[(7, 0)]))) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]


def test_control_batches_give_no_rows() -> None:
    reader = Reader()
    assert reader.read(abort_marker(0, 7), batch_bytes([b"x"], base_offset=1, attributes=CONTROL)) == []
    assert reader.position == 2


def test_a_wrong_checksum_is_fetched_once_more_and_then_one_letter() -> None:
    good, hurt = batch_bytes(VALUES[:4], base_offset=0), bytearray(batch_bytes(VALUES[4:8], base_offset=4))
    hurt[-1] ^= 1
    after = batch_bytes(VALUES[8:9], base_offset=8)
    reader = Reader()
    first = reader.read(good, bytes(hurt), after)
    assert (len(first), reader.position) == (1, 4)
    again = reader.read(bytes(hurt), after)
    assert reader.position == 9
    result = settle(first + again)
    assert offsets_of(result) == [0, 1, 2, 3, 8]
    (letter,) = result.letters
    assert (letter.reason, letter.offset, letter.partition) == (Reason.CORRUPT_BATCH, 4, 3)
    assert letter.detail.startswith("offsets 4..7: the checksum")
    assert letter.payload == bytes(hurt)


def test_bytes_hurt_only_on_the_way_are_read_the_second_time() -> None:
    data = batch_bytes(VALUES, base_offset=0)
    hurt = bytearray(data)
    hurt[-1] ^= 1
    reader = Reader()
    assert reader.read(bytes(hurt)) == []
    assert offsets_of(settle(reader.read(data))) == list(range(40))


def test_a_hurt_header_does_not_lead_the_position_away() -> None:
    after = batch_bytes(VALUES[8:9], base_offset=8)
    wild = remade(batch_bytes(VALUES[4:8], base_offset=4), crc=False, last_delta=2_000_000_000)
    reader = Reader(position=4)
    reader.read(wild, after)
    assert [batch.next_offset for batch in reader.read(wild, after)] == [8, 9]
    alone = Reader(position=4)
    alone.read(wild)
    assert [batch.next_offset for batch in alone.read(wild)] == [5]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_broken_compressed_data_is_one_letter_and_consumption_goes_on(codec: str) -> None:
    data = batch_bytes(VALUES, base_offset=0, codec=codec)
    for broken in (data[:-7] + b"\xff" * 7, data[:90] + bytes(len(data) - 90), data[:61] + b"\x00" * (len(data) - 61)):
        reader = Reader()
        result = settle(reader.read(remade(broken), batch_bytes(VALUES[:1], base_offset=40)))
        if result.letters:  # a codec without a checksum may let some bytes pass: then the records in them are judged
            assert offsets_of(result) == [40] or 40 in offsets_of(result)
        assert reader.position == 41
        assert offsets_of(result)[-1] == 40
    (letter,) = settle(Reader().read(remade(data[:61] + b"\x00" * (len(data) - 61)))).letters
    assert letter.reason == Reason.CORRUPT_BATCH and letter.detail.startswith("offsets 0..39: ")


def test_snappy_is_read_raw_as_well_as_in_blocks() -> None:
    import cramjam

    data = batch_bytes(VALUES, base_offset=0)
    body = bytes(cramjam.snappy.compress_raw(data[61:]))
    made = bytearray(data[:61] + body)
    struct.pack_into(">i", made, 8, len(made) - 12)
    assert offsets_of(settle(Reader().read(remade(made, attributes=2)))) == list(range(40))


def test_an_unknown_codec_is_refused_as_unsupported() -> None:
    result = settle(Reader().read(remade(batch_bytes(VALUES[:2]), attributes=5)))
    assert [(letter.offset, letter.reason) for letter in result.letters] == [(0, Reason.UNSUPPORTED_BATCH)]


@pytest.mark.parametrize(
    "header",
    [{"count": -1}, {"count": 41}, {"last_delta": -2}, {"last_delta": 38}, {"count": 39}, {"count": 2_000_000_000}],
)
def test_nonsense_counts_make_the_batch_one_letter(header: dict[str, int]) -> None:
    reader = Reader()
    data = remade(batch_bytes(VALUES), crc=True, **header)
    result = settle(reader.read(data, batch_bytes(VALUES[:1], base_offset=40)))
    assert [letter.reason for letter in result.letters] == [Reason.CORRUPT_BATCH]
    assert offsets_of(result) == [40]
    assert reader.position == 41


def test_a_batch_cut_off_by_the_broker_is_left_for_the_next_fetch() -> None:
    first, second = batch_bytes(VALUES[:4]), batch_bytes(VALUES[4:6], base_offset=4)
    for cut in range(1, len(second)):
        reader = Reader()
        assert len(reader.read(first, second[:cut])) == 1
        assert reader.position == 4


def test_any_bytes_at_all_are_read_to_an_end() -> None:
    import random

    chance = random.Random(3)
    data = batch_bytes(VALUES[:5], base_offset=10) + legacy_bytes(1, VALUES[:5], last_offset=19, codec="gzip")
    for _ in range(3_000):
        hurt = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            hurt[chance.randrange(len(hurt))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        reader = Reader(position=10)
        batches = reader.read(bytes(hurt)) + reader.read(bytes(hurt))
        assert reader.position >= 10
        if batches:
            settle(batches)


def test_slices_bound_the_records_decoded_at_once() -> None:
    batches = [raw_batch(VALUES[:10], base_offset=10 * number) for number in range(7)]
    assert [len(part) for part in slices(batches, most_records=25)] == [2, 2, 2, 1]
    assert [len(part) for part in slices(batches, most_records=5)] == [1] * 7
    assert list(slices([])) == []


async def test_the_seam_makes_one_fetcher_yield_raw_batches_and_leaves_aiokafka_alone() -> None:
    fetcher, assignment, state = fetcher_answered_with(batch_bytes(VALUES, base_offset=5, codec="lz4"), position=5)
    before = dict(vars(aiokafka_fetcher))
    install_seam(fetcher)
    request = SimpleNamespace(topics=[("readings", [(3, 5, 1 << 20)])])
    assert await fetcher._proc_fetch_request(assignment, 0, request)
    result = fetcher._records[PARTITION]
    assert type(result) is aiokafka_fetcher.FetchResult
    (batch,) = result.getall()
    assert isinstance(batch, RawBatch)
    assert (batch.base_offset, batch.next_offset, batch.count) == (5, 45, 40)
    assert state.consumed == 45
    assert vars(aiokafka_fetcher) == before

    other, assignment, _ = fetcher_answered_with(batch_bytes(VALUES, base_offset=5, codec="lz4"), position=5)
    await other._proc_fetch_request(assignment, 0, request)
    assert len(other._records[PARTITION].getall()) == 40


def fetcher_answered_with(data: bytes, *, position: int) -> tuple[Any, Any, Any]:
    """An aiokafka fetcher without a broker, whose next response has these bytes."""

    class State:
        has_valid_position = True
        paused = False
        consumed = 0

        def __init__(self) -> None:
            self.position = position

        def consumed_to(self, offset: int) -> None:
            self.position = self.consumed = offset

    async def send(node: int, request: Any) -> Any:
        await asyncio.sleep(0)
        return SimpleNamespace(API_VERSION=11, topics=[("readings", [(3, 0, 45, 45, 0, [], -1, data)])])

    state = State()
    assignment = SimpleNamespace(active=True, state_value=lambda partition: state)
    fetcher = aiokafka_fetcher.Fetcher.__new__(aiokafka_fetcher.Fetcher)
    fetcher._client = SimpleNamespace(send=send)
    fetcher._client_rack = None
    fetcher._rack_warning_logged = False
    fetcher._records = OrderedDict()
    fetcher._key_deserializer = fetcher._value_deserializer = None
    fetcher._check_crcs = True
    fetcher._isolation_level = 1
    fetcher._prefetch_backoff = 0.1
    return fetcher, assignment, state


def test_another_aiokafka_is_refused_with_every_difference_named(monkeypatch: pytest.MonkeyPatch) -> None:
    raw_batches.check_seam()

    async def other_method(self: Any) -> None:
        logging.getLogger(__name__).debug("no records here")

    monkeypatch.setattr(aiokafka, "__version__", "0.15.1")
    monkeypatch.setattr(aiokafka_fetcher.Fetcher, "_proc_fetch_request", other_method)
    with pytest.raises(SettingsError) as refused:
        raw_batches.check_seam()
    assert "aiokafka 0.15.1 is installed" in refused.value.problems[0]
    assert any("MemoryRecords" in problem for problem in refused.value.problems)
    assert any("PartitionRecords" in problem for problem in refused.value.problems)


def test_the_decoder_is_shared_by_partitions() -> None:
    shared: Decoder = decoder()
    for partition in range(3):
        assert shared.decode(Source.READINGS, "readings", partition, [raw_batch(VALUES)]).columns.n == 40
