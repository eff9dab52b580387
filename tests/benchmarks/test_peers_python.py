"""The Python peers: the arithmetic that their jobs share, and what is read of Pathway's records."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from benchmarks.cityjoin_data import CONFIDENCE, RAISE_AT_MM, Answer, batch_answer, json_records, make_records
from benchmarks.peers import venvs
from benchmarks.peers.engine import Job
from benchmarks.peers.jobs import city
from benchmarks.peers.python_engines import Bytewax, Pathway, Quix


def test_the_jobs_arithmetic_and_watermarks_give_the_batch_answer_for_any_skew() -> None:
    records = make_records(40_000, seed=5)
    by_source: dict[int, list[bytes]] = {source: [] for source in range(city.SOURCES)}
    for topic, partition, value in json_records(records):
        by_source[topic * city.PARTITIONS + partition].append(value)
    heartbeats, watermark = city.Heartbeats(), city.Watermark()
    windows: dict[tuple[int, int], list[float]] = {}
    told: Answer = set()
    chance = random.Random(7)
    places = dict.fromkeys(by_source, 0)
    while left := [source for source in by_source if places[source] < len(by_source[source])]:
        source = chance.choice(left)  # a run of one partition, as far as a fetch may bring it
        for value in by_source[source][places[source] : places[source] + 3_000]:
            places[source] += 1
            record = msgspec.json.decode(value)
            part = city.RELEVANT[source // city.PARTITIONS](record)
            if part is not None:
                start = city.window_of(part.at_ms)
                assert start + city.WINDOW_MS > watermark.at_ms, "late, by the watermark"
                window = windows.setdefault((start, part.cell), [-1.0, 0, 0])
                window[part.kind] = max(window[0], part.value) if part.kind == city.LEVEL else window[part.kind] + 1
            said = heartbeats.due(source, record["ts"])
            if said is not None and watermark.hear(source, said):
                for start, cell in [key for key in windows if key[0] + city.WINDOW_MS <= watermark.at_ms]:
                    m, c, t = windows.pop((start, cell))
                    if city.alert_of(cell, start, m, int(c), int(t)):
                        told.add((cell, start, m, int(c), int(t)))
    assert told == batch_answer(records)
    assert told
    assert not windows, "the closers close every window"


def test_the_jobs_rule_is_that_of_the_batch_computation() -> None:
    assert (city.RAISE_AT_MM, city.CONFIDENCE) == (RAISE_AT_MM, CONFIDENCE)


def test_a_watermark_stands_until_every_partition_has_spoken_and_never_goes_back() -> None:
    watermark = city.Watermark()
    for source in range(city.SOURCES - 1):
        assert not watermark.hear(source, 1_000)
    assert watermark.hear(city.SOURCES - 1, 500)
    assert watermark.at_ms == 500
    assert not watermark.hear(city.SOURCES - 1, 400)
    assert city.Watermark(watermark.heard).at_ms == 500


def test_pathway_takes_back_what_it_sends_with_a_negative_diff() -> None:
    record = b'{"cell":7,"window_start_ms":60000,"m":151.5,"c":1,"t":0,"diff":%d,"time":1795343256192}'
    assert Pathway().read_alert(record % 1) == ((7, 60_000, 151.5, 1, 0), False)
    assert Pathway().read_alert(record % -1) == ((7, 60_000, 151.5, 1, 0), True)


def test_the_processes_of_bytewax_know_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venvs, "python_of", lambda name: Path(name, "python"))
    job = Job(
        bootstrap="b:1", readings="r", camera_events="c", tickets="t", output="o", group="g", cores=2, folder=tmp_path,
        records=1,
    )  # fmt: skip
    first, second = (list(command.argv) for command in Bytewax().commands(job))
    addresses = first[first.index("--addresses") + 1]
    assert addresses == second[second.index("--addresses") + 1]
    assert len(set(addresses.split(";"))) == 2
    assert [argv[argv.index("--process") + 1] for argv in (first, second)] == ["0", "1"]
    assert first[first.index("--folder") + 1] != second[second.index("--folder") + 1]


@pytest.mark.parametrize("name", venvs.NAMES)
def test_every_list_of_packages_has_hashes_names_no_host_and_says_what_was_asked(name: str) -> None:
    text = (venvs.PINS / f"{name}.txt").read_text("utf-8")
    assert "://" not in text
    assert venvs.roots(venvs.PINS / f"{name}.txt")
    entries = [line for line in text.splitlines() if line and line[0].isalnum()]
    assert entries and all(line.endswith("\\") for line in entries), "a line without hashes"
    assert venvs.pinned("quix", Quix.distribution) in Quix().versions
