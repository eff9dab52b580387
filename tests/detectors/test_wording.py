"""Numbers and lists as people read them."""

import pytest

from detectors.wording import listed_en, listed_zh, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (1.256, "1.26"),
        (9.5, "9.5"),
        (-3.1, "-3.1"),
        (100.0, "100"),
        (182.04, "182"),
        (1234.4, "1234"),
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
    ],
)
def test_numbers_keep_only_the_digits_that_matter(value: float | None, text: str) -> None:
    assert number(value) == text


def test_lists_leave_out_what_was_not_counted() -> None:
    assert listed_zh([(0, "件工单"), (2, "次识别")]) == "2 次识别"
    assert listed_en([(1, "ticket"), (0, "picture"), (2, "call")]) == "1 ticket and 2 calls"
    assert listed_en([(1, "a"), (1, "b"), (3, "c")]) == "1 a, 1 b and 3 cs"
    assert (listed_zh([]), listed_en([(0, "ticket")])) == ("", "")
