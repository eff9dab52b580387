"""The restart benchmark's story: its answer is what counting the records themselves gives."""

from __future__ import annotations

import json

from benchmarks.restart import section
from benchmarks.restart_data import MINUTE_MS, SOUTH, STEP_DEG, WEST, Story
from benchmarks.restart_worker import METRICS


def test_the_answer_is_what_counting_the_records_gives() -> None:
    story = Story(2_500)
    records = [json.loads(value) for _, value in story.history()]
    begin_ms = story.live_ms
    for _ in range(20):
        records += [json.loads(value) for _, value in story.live(begin_ms, begin_ms + 4_000, 200, 20)]
        begin_ms += 4_000
    assert len(records) == story.records == 4 * 2_500 + 20 * 220
    counts: dict[tuple[int, int], int] = {}
    expected = set()
    for record in sorted(records, key=lambda one: one["ts"]):
        column, row = int((record["lon"] - WEST) / STEP_DEG), int((record["lat"] - SOUTH) / STEP_DEG)
        key = METRICS.index(record["metric"]), row * story.side + column
        counts[key] = counts.get(key, 0) + 1
        if counts[key] == 2:
            expected.add((*key, record["ts"] - record["ts"] % MINUTE_MS + MINUTE_MS))
    assert story.expected == expected
    assert {cell for _, cell in counts} == set(range(2_500))


def test_the_page_says_whether_the_bar_is_held() -> None:
    result = {
        "cells": 1000, "features": 8, "shards": 4, "records_a_second": 10, "session_timeout_s": 10.0,
        "first_new_alert_s": 7.5, "steps": [["imports", 2.5]], "cpu_s": 6.0, "frames_again": 3, "before_mb": 1,
        "before_peak_mb": 2, "after_mb": 3, "after_peak_mb": 4, "snapshot_mb": 5, "alerts": 6,
    }  # fmt: skip
    page = section(result)
    assert page.startswith("## Restart") and "**7.5 s** (bar: below 10 s)" in page and "| imports | 2.50 |" in page
