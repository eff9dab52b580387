"""The fuzzer itself, and a little of what it is for: two_decoders.py and fuzz_decode.py do it for as long as wanted."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from schemas import decode as reference
from schemas.dead_letter import Reason
from schemas.sources import Source
from tests.chaos import two_decoders
from tests.chaos.hostile import Fuzzer

ROOT = Path(__file__).parents[2]
BY_LOCATE = {Reason.OUTSIDE_CITY, Reason.FUTURE, Reason.CORRUPT_BATCH, Reason.UNSUPPORTED_BATCH}
"""Said after decoding, or before it."""


def test_a_seed_makes_the_same_records_again() -> None:
    first, second = (
        [fuzzer.record(source) for fuzzer in [Fuzzer(random.Random(5))] for source in [*Source] * 200] for _ in "ab"
    )
    assert first == second


def test_the_decoders_agree_on_records_that_are_refused_for_every_reason_and_on_many_that_are_not() -> None:
    tally = two_decoders.run(6_000, seed=3)
    assert tally.problems == []
    assert {Reason(reason) for reason in tally.refused} == set(Reason) - BY_LOCATE
    assert tally.fast > 400, "nothing is learnt about kernels that take nothing"
    assert tally.records - tally.refused.total() > 1_500


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    both = two_decoders.TwoDecoders()
    real = reference.decode
    values = [b'{"device_id":"a","metric":"m","value":%d,"ts":1782864000000}' % n for n in range(3)]
    both.compare(Source.READINGS, values)
    assert both.tally.problems == []
    monkeypatch.setattr(reference, "decode", lambda s, v, z: real(s, v.replace(b":1,", b":4,"), z))
    both.compare(Source.READINGS, values)
    assert len(both.tally.problems) == 1


def test_kernels_as_plain_python_stay_inside_their_arrays_and_mean_what_the_reference_means() -> None:
    command = [sys.executable, "-m", "tests.chaos.fuzz_decode", "--plain", "400", "--seed", "9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout == "400 records held\n"


def test_most_hurt_records_are_bad_and_all_ways_of_hurting_are_used() -> None:
    chance = random.Random(1)
    fuzzer = Fuzzer(chance)
    kinds = Counter(type(fuzzer.record(Source.TICKETS)) for _ in range(2_000))
    assert 0 < kinds[type(None)] < 60
    assert len({fuzzer.hurt(Source.TICKETS) for _ in range(500)}) > 480
