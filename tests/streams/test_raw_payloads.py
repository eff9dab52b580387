"""The bytes of a refused record are found again, whatever batch and codec they came in."""

from __future__ import annotations

from dataclasses import replace

import cramjam

from streams.batches import Batch, CorruptBatch
from streams.codecs import Codec
from streams.locate_warm_up import batch_of
from streams.raw_payloads import payloads_at


def test_only_wanted_records_are_given_each_by_its_offset() -> None:
    batches: list[Batch] = [
        batch_of([b"a0", b"a1"], 0, base_offset=10),
        CorruptBatch(12, 14, 0, b"junk", "broken"),
        batch_of([b"b0", b"b1" * 5_000, b"b2"], 0, base_offset=14),
    ]
    assert payloads_at(batches, [11, 13, 15, 99]) == {11: b"a1", 15: b"b1" * 5_000}


def test_a_compressed_batch_that_unpacks_to_many_times_its_size() -> None:
    plain = batch_of([b"x" * 500_000, b"y"], 0)
    packed = replace(plain, codec=Codec.ZSTD, payload=bytes(cramjam.zstd.compress(plain.payload)))
    assert payloads_at([packed], [0, 1]) == {0: b"x" * 500_000, 1: b"y"}
