"""Numbers and lists as an operations centre reads them, in Chinese and English."""

from collections.abc import Iterable
from math import isfinite


def or_none(value: float) -> float | None:
    """A feature's value for people and JSON: at most six decimals, None instead of NaN."""
    return round(float(value), 6) if isfinite(value) else None


def number(value: float | None) -> str:
    """At most two decimals below 10, one below 1000, none above; "-" where nothing was measured."""
    if value is None or not isfinite(value):
        return "-"
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def counted_en(n: float, noun: str) -> str:
    """ "1 ticket", "2 tickets"."""
    return f"{number(n)} {noun}" if n == 1 else f"{number(n)} {noun}s"


def listed_zh(counts: Iterable[tuple[float, str]]) -> str:
    """The nouns (measure word and noun) that were counted at all: "2 次摄像头识别、1 件工单"."""
    return "、".join(f"{number(n)} {noun}" for n, noun in counts if n)


def listed_en(counts: Iterable[tuple[float, str]]) -> str:
    """The nouns that were counted at all: "2 camera detections and 1 ticket"."""
    parts = [counted_en(n, noun) for n, noun in counts if n]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
