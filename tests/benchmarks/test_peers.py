"""The comparison of engines, as far as it is pure: is an answer right, where a second half begins, what rows say."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.cityjoin_data import (
    DISORDER_MS,
    RECORDS_PER_S,
    START_MS,
    WINDOW_MS,
    Answer,
    batch_answer,
    json_records,
    make_records,
)
from benchmarks.peers.answers import Verdict, Written, judge
from benchmarks.peers.backlog import Backlog, SecondHalf, second_half
from benchmarks.peers.engine import Engine, PeerAlert
from benchmarks.peers.engines import ENGINES
from benchmarks.peers.jars import PINS
from benchmarks.peers.page import section
from benchmarks.peers.run import Watched, figures
from benchmarks.peers.summary import ratios, row, spread

ONE = PeerAlert(7, 60_000, 151.5, 1, 0)
TWO = PeerAlert(8, 120_000, 150.0, 0, 2)
OTHER = PeerAlert(8, 120_000, 150.0, 0, 1)
EXPECTED: Answer = {ONE, TWO}


def written(*alerts: PeerAlert, gone: tuple[int, ...] = ()) -> list[Written]:
    """One record a second, those numbered in `gone` taken back."""
    return [Written(alert, number in gone, 100.0 + number) for number, alert in enumerate(alerts)]


# --- answers ------------------------------------------------------------------------------------------------------


def test_the_answer_in_any_order_is_right() -> None:
    verdict = judge(written(TWO, ONE), EXPECTED, None)
    assert verdict == Verdict(2, 0, 0, 0, 0, last_s=101.0, half_s=None)
    assert verdict.right


def test_an_alert_that_is_missing_is_counted() -> None:
    verdict = judge(written(ONE), EXPECTED, None)
    assert (verdict.missing, verdict.extra, verdict.right) == (1, 0, False)


def test_a_wrong_count_in_a_right_window_is_one_missing_and_one_too_many() -> None:
    verdict = judge(written(ONE, OTHER), EXPECTED, None)
    assert (verdict.missing, verdict.extra, verdict.right) == (1, 1, False)


def test_right_alerts_with_one_too_many_are_wrong() -> None:
    assert not judge(written(ONE, TWO, OTHER), EXPECTED, None).right


def test_a_repeated_alert_is_told_but_not_wrong() -> None:
    verdict = judge(written(ONE, TWO, ONE, ONE), EXPECTED, None)
    assert (verdict.repeated, verdict.alerts, verdict.right) == (2, 2, True)
    assert verdict.last_s == 103.0


def test_an_alert_taken_back_does_not_stand_and_its_correction_does() -> None:
    verdict = judge(written(ONE, OTHER, OTHER, TWO, gone=(2,)), EXPECTED, None)
    assert (verdict.taken_back, verdict.right, verdict.repeated) == (1, True, 0)
    assert not judge(written(ONE, TWO, TWO, gone=(2,)), EXPECTED, None).right


def test_an_alert_taken_back_and_told_again_stands() -> None:
    verdict = judge(written(ONE, TWO, TWO, TWO, gone=(2,)), EXPECTED, None)
    assert (verdict.right, verdict.repeated) == (True, 0)


def test_a_peers_record_is_read_as_agreed_and_nothing_else_is() -> None:
    engine = next(engine for engine in ENGINES if not engine.ours)
    plain = b'{"cell":8642,"window_start_ms":1750000020000,"m":153,"c":1,"t":0}'
    assert engine.read_alert(plain) == ((8642, 1_750_000_020_000, 153.0, 1, 0), False)
    assert engine.read_alert(plain[:-1] + b',"taken_back":true}') == ((8642, 1_750_000_020_000, 153.0, 1, 0), True)
    with pytest.raises(msgspec.ValidationError):
        engine.read_alert(plain.replace(b'"t"', b'"tickets"'))


# --- the backlog --------------------------------------------------------------------------------------------------


def test_processes_that_share_the_partitions_write_what_one_would() -> None:
    records = make_records(5_000, 3)
    whole = list(json_records(records))
    for partitions in (range(0, 4, 2), range(1, 4, 2)):
        assert list(json_records(records, partitions)) == [one for one in whole if one[1] in partitions]


def test_the_second_half_is_what_was_produced_after_its_window_could_close() -> None:
    count = 2_000_000
    half = second_half(count)
    assert half is not None
    records = make_records(count, 1)
    middle = (START_MS + START_MS + count * 1000 // RECORDS_PER_S) // 2
    assert half.window_ms <= middle < half.window_ms + WINDOW_MS
    produced_ms = START_MS + np.arange(count) * 1000 // RECORDS_PER_S
    after = int((produced_ms >= half.window_ms + WINDOW_MS + DISORDER_MS).sum())
    assert half.records == after + 12  # closers
    # nothing that is left belongs to the window any more
    assert int(records.event_at_ms[count - after :].min()) >= half.window_ms + WINDOW_MS


def test_a_short_backlog_has_no_second_half() -> None:
    assert second_half(600_000) is None


def test_alerts_of_the_second_half_exist_in_the_answer() -> None:
    half = second_half(2_000_000)
    assert half is not None
    assert half.window_ms in {alert[1] for alert in batch_answer(make_records(2_000_000, 1))}


def test_the_second_half_begins_with_the_first_alert_of_its_windows_by_the_brokers_time() -> None:
    half = SecondHalf(window_ms=120_000, records=1000)
    assert judge(written(ONE, ONE, TWO, ONE, TWO), EXPECTED, half).half_s == 102.0
    assert judge(written(ONE), EXPECTED, half).half_s is None


# --- figures ------------------------------------------------------------------------------------------------------


def watched() -> Watched:
    """Started at 90 s, first data at 100 s; a tenth of a core before, a whole one after."""
    cpu = [(90.0, 0.0), (100.0, 1.0), (110.0, 11.0)]
    received = [(90.0, 0), (100.0, 0), (101.0, 4000), (104.0, 8000), (110.0, 9000)]
    return Watched(90.0, first_s=100.0, cpu=cpu, received=received, peak_rss_mb=64)


def backlog(half: SecondHalf | None) -> Backlog:
    return Backlog("fast-", 1_000_000, 140, EXPECTED, half)


def test_speed_and_cpu_are_of_the_clock_alone() -> None:
    verdict = Verdict(2, 0, 0, 0, 0, last_s=104.0, half_s=102.0)
    seen = figures(watched(), verdict, backlog(SecondHalf(120_000, 600_000)))
    assert (seen["wall_s"], seen["rate"]) == (4.0, 250_000)
    assert seen["rate_half_by_alerts"] == 300_000  # 600,000 in the 2 s from the middle window's first alert
    assert seen["rate_half_by_bytes"] == 166_667  # 500,000 in the 3 s since 4,000 of the 8,000 bytes
    assert (seen["cpu_us_per_record"], seen["start_s"], seen["peak_rss_mb"]) == (4.0, 10.0, 64)


def test_a_wrong_answer_has_no_speed() -> None:
    seen = figures(watched(), Verdict(2, 1, 0, 0, 0, last_s=104.0, half_s=None), backlog(None))
    assert not seen["right"] and seen["missing"] == 1
    assert not {"rate", "wall_s", "cpu_us_per_record"} & set(seen)


def a_run(rate: int, **changed: Any) -> dict[str, Any]:
    counts = {"right": True, "alerts": 2, "missing": 0, "extra": 0, "repeated": 0, "taken_back": 0}
    return counts | {
        "wall_s": 1e6 / rate, "rate": rate, "rate_half_by_alerts": 2 * rate, "rate_half_by_bytes": None,
        "cpu_us_per_record": 1.5, "peak_rss_mb": 100, "start_s": 3.0,
    } | changed  # fmt: skip


def an_engine(name: str, **changed: Any) -> dict[str, Any]:
    return {
        "engine": name, "title": name.title(), "ours": name == "ours", "cores": 1, "records": 1_000_012,
        "pace": "fast", "recovers": name == "ours", "recovery": "none", "versions": f"{name} 1", "notes": ["it runs."],
    } | changed  # fmt: skip


def test_the_median_stands_between_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert spread([None, 1.0]) is None


def test_one_wrong_run_takes_the_speed_of_all() -> None:
    wrong = {"right": False, "alerts": 1, "missing": 1, "extra": 0, "repeated": 0, "taken_back": 0}
    assert row(an_engine("a"), [a_run(10), a_run(20), a_run(30)], [])["rate"]["median"] == 20
    judged = row(an_engine("a"), [a_run(10), wrong], [])
    assert not judged["right"] and judged["missing"] == 1 and "rate" not in judged


def test_a_run_that_failed_takes_the_speed_too() -> None:
    failed = row(an_engine("a"), [a_run(10)], ["a ended by itself with status 1\nlog"])
    assert not failed["right"] and "rate" not in failed and failed["runs"] == 2


def compared() -> list[dict[str, Any]]:
    return [
        row(an_engine("ours"), [a_run(300)], []),
        row(an_engine("quick"), [a_run(200, rate_half_by_bytes=90, rate_half_by_alerts=100)], []),
        row(an_engine("safe", recovers=True), [a_run(100, rate_half_by_bytes=150)], []),
        row(an_engine("heap"), [a_run(90, rate_half_by_bytes=100, rate_half_by_alerts=9_000)], []),
        row(an_engine("broken"), [a_run(900)], ["gone"]),
    ]


def test_ours_is_compared_with_the_best_peer_that_is_right_and_with_the_best_that_recovers() -> None:
    found = {(one["figure"], one["recovery"]): (one["best_peer"], one["ratio"]) for one in ratios(compared())}
    assert found == {
        ("rate", False): ("quick", 1.5),
        ("rate", True): ("safe", 3.0),
        ("rate_half_by_alerts", False): ("safe", 3.0),
        ("rate_half_by_alerts", True): ("safe", 3.0),
    }


def test_the_page_says_speed_of_the_right_and_what_was_wrong_with_the_others() -> None:
    rows = [*compared(), row(an_engine("late"), [a_run(5, right=False, missing=3)], [])]
    text = section({"records": 10, "slow_records": 5, "seed": 1, "rows": rows, "ratios": ratios(rows)})
    assert re.search(r"^\| Ours \| goes on \| 300 \(300 to 300\) \| too short \| 600 ", text, re.M)
    assert re.search(r"^\| Late \| starts over \| wrong: 3 alerts missing, 0 too many \|", text, re.M)
    assert re.search(r"^\| Broken \| starts over \| could not be run: gone \|", text, re.M)
    assert "| one core | whole run | Quick, of all | 1.5 |" in text
    assert text.startswith("## ")


# --- the engines --------------------------------------------------------------------------------------------------


def test_engines_have_names_of_their_own_and_ours_is_one_of_them() -> None:
    names = [engine.name for engine in ENGINES]
    assert len(names) == len(set(names))
    assert sum(engine.ours for engine in ENGINES) == 1


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_an_engine_says_what_a_reader_needs_to_know(engine: Engine) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]+", engine.name)
    assert engine.title and engine.notes and engine.recovery
    assert set(engine.cores) <= {1, 2}


@pytest.mark.parametrize("pins", sorted(PINS.glob("*.txt")), ids=lambda path: path.stem)
def test_what_is_fetched_is_pinned_with_sums_and_names_no_host(pins: Any) -> None:
    text = pins.read_text("utf-8")
    assert "://" not in text
    entries = re.findall(r"^(?![#\s])\S.*(?:\n[ \t]+.*)*", text, re.M)
    assert entries
    assert not [entry for entry in entries if not re.search(r"\b[0-9a-f]{64}\b", entry)]
