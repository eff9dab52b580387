"""The quick ways to read a time and a coordinate say what the general one says, to the last address."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.json_values import ODD, as_float, read_degrees, read_millis, read_number
from streams.words import address_of, padded
from topology.jit import kernel


@kernel
def _all_three(data: npt.NDArray[np.uint8], out: npt.NDArray[np.int64]) -> None:
    at = address_of(data)
    for way in range(3):
        if way == 0:
            mantissa, scale, end = read_number(at)
        elif way == 1:
            mantissa, scale, end = read_millis(at)
        else:
            mantissa, scale, end = read_degrees(at)
        out[way, 0] = mantissa
        out[way, 1] = scale
        out[way, 2] = end if end == ODD else end - at


def read(text: bytes) -> list[list[int]]:
    out = np.zeros((3, 3), dtype=np.int64)
    _all_three(padded(text), out)
    found: list[list[int]] = out.tolist()
    return found


digits = st.text("0123456789", min_size=1, max_size=20)
ends = st.sampled_from([",", "}", " ", "", "e5", "E1", ".", ".5", "x", "]", '"', "\x00", "：", "-"])
numbers = st.one_of(
    st.from_regex(r"[0-9]{13}", fullmatch=True),
    st.from_regex(r"0[0-9]{12}|[0-9]{2,3}\.[0-9]{6}|0[0-9]{1,2}\.[0-9]{6}", fullmatch=True),
    st.tuples(st.integers(0, 999), st.integers(0, 10**6 - 1)).map(lambda n: f"{n[0]}.{n[1]:06d}"),
    st.tuples(st.sampled_from(["", "-"]), digits, st.sampled_from(["", ".", ".0", ".00"]), st.just("")).map("".join),
    st.tuples(digits, st.just("."), digits).map("".join),
    st.text("0123456789.-eE", max_size=24),
)


@settings(deadline=None, max_examples=3_000)
@given(numbers, ends)
def test_every_way_reads_the_same(number: str, end: str) -> None:
    general, millis, degrees = read((number + end).encode())
    if general[2] == ODD:  # what it then says of the number is of no account
        assert millis[2] == degrees[2] == ODD
    else:
        assert millis == general
        assert degrees == general


@settings(deadline=None, max_examples=1_000)
@given(numbers, ends)
def test_what_is_read_is_the_number(number: str, end: str) -> None:
    text = number + end
    mantissa, scale, behind = read(text.encode())[0]
    if behind != ODD:
        whole = re.match(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", text)
        assert whole is not None and whole.end() == behind
        assert as_float(mantissa, scale) == float(whole.group())


@pytest.mark.parametrize("text", [b"1750000020000", b"121.412345", b"31.161234", b"12.3", b"7", b"0.5"])
def test_the_usual_numbers_are_taken(text: bytes) -> None:
    assert [way[2] for way in read(text + b",")] == [len(text)] * 3
