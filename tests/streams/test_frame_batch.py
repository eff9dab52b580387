"""Our checksum and our record batch are those of aiokafka, bit for bit."""

from __future__ import annotations

import random

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import frame_batch
from streams.crc32c import LANE, SHORT, crc32c
from streams.frame_batch import FrameBatch


@settings(deadline=None)
@given(st.integers(0, 70), st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_checksum_is_that_of_the_tables(more: int, offset: int, chance: random.Random) -> None:
    data = chance.randbytes(SHORT + more)
    assert crc32c(data[offset:]) == calc_crc32c(data[offset:])
    assert crc32c(memoryview(bytearray(data))[offset:]) == calc_crc32c(data[offset:])
    assert crc32c(data[: more + offset]) == calc_crc32c(data[: more + offset])


@pytest.mark.parametrize("size", [3 * LANE - 1, 3 * LANE, 3 * LANE + 1, 6 * LANE - 8, 6 * LANE, 20 * LANE + 13])
def test_lanes_summed_side_by_side_are_one_checksum(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert crc32c(data) == calc_crc32c(data)
    for cut in (1, LANE, size // 2):
        assert crc32c(data[:cut], memoryview(data)[cut:]) == calc_crc32c(data)


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value in every catalogue of checksums
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@pytest.mark.parametrize("size", [0, 1, 57, 58, 63, 64, 8_000, 8_192, 2_000_000])
def test_the_batch_is_the_one_that_aiokafka_builds(size: int) -> None:
    value = random.Random(size).randbytes(size)
    theirs = BatchBuilder(1 << 24, 0, is_transactional=0)
    assert theirs.append(timestamp=1_700_000_000_000, key=None, value=value) is not None
    ours = FrameBatch(value, timestamp_ms=1_700_000_000_000)
    for builder in (theirs, ours):
        builder._set_producer_state(12_345, 6, 789)
    assert bytes(ours._build()) == bytes(theirs._build())
    assert ours._build() is ours._build()  # a retry sends the same bytes


def test_a_batch_takes_no_second_record() -> None:
    batch = FrameBatch(b"x")
    assert batch.append(timestamp=0, key=None, value=b"y") is None  # type: ignore[func-returns-value]  # that is the point
    assert batch.closed()
    assert batch.record_count() == 1


def test_the_builder_of_the_installed_aiokafka_is_the_one_imitated() -> None:
    frame_batch.check_seam()
