"""The commands against a real Kafka and a real ClickHouse engine; those that keep running in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer
from typer.testing import CliRunner

from deploy.main import app
from schemas.alert import Action, Alert, encode_alert, make_alert_id
from schemas.dead_letter import DeadLetter, Reason, encode_dead_letter
from schemas.errors import BadRecord

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
START_S = 90.0
NOON_MS = 1_782_878_400_000


class Running:
    """A command at work; its standard output and error arrive line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))

    def expect(self, pattern: str, within_s: float = START_S) -> str:
        """The first new line that matches; fails with everything seen so far when none comes in time."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=min(left, 0.5))
            except queue.Empty:
                if self.process.poll() is not None and self._lines.empty():
                    break
                continue
            self.seen.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line matches {pattern!r} in:\n" + "\n".join(self.seen))

    def end(self, number: int = signal.SIGTERM, within_s: float = 60.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(within_s)


def _hears_ctrl_c() -> None:
    """Also where the tests themselves run behind a shell's `&`, which has what it starts ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def tongguan(folder: Path, *words: str, **environ: str) -> Iterator[Running]:
    ours = {name for name in os.environ if name.startswith("TONGGUAN_") and name != "TONGGUAN_CACHE"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.main", *words],
        cwd=folder,
        env=clean | environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_hears_ctrl_c,
    )
    with process:
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()


def answer(folder: Path, *words: str, **environ: str) -> tuple[int, str]:
    """Exit code and everything printed by a command that ends by itself, run in this process."""
    ours = (name for name in os.environ if name.startswith("TONGGUAN_") and name != "TONGGUAN_CACHE")
    clean: dict[str, str | None] = dict.fromkeys(ours)
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, list(words), env={**clean, **environ})
    return result.exit_code, result.output


def processes_naming(folder: Path) -> list[str]:
    """The command lines of all processes that were started with something in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if str(folder) in line:
            found.append(line)
    return found


def wait_until_none_names(folder: Path, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while (left := processes_naming(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def alert(detector: str, severity: int, revision: int) -> Alert:
    return Alert(
        alert_id=make_alert_id(detector, 1, 7, NOON_MS),
        revision=revision,
        action=Action.RAISE,
        detector=detector,
        detector_version=1,
        category=detector,
        cell=7,
        lon=121.0,
        lat=31.0,
        onset_ms=NOON_MS,
        window_start_ms=NOON_MS,
        window_end_ms=NOON_MS,
        severity=severity,
        confidence=1.0,
        reason="test",
        values={},
        thresholds={},
        evidence=[],
        sentence_zh=f"第{revision}条",
        sentence_en=f"number {revision}",
    )


@pytest.fixture
def settings(kafka: str) -> dict[str, str]:
    return {"TONGGUAN_KAFKA": kafka, "TONGGUAN_TOPICS__PREFIX": f"commands-{uuid4().hex[:8]}."}


@pytest.fixture
def producer(kafka: str) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=kafka)
    yield producer
    producer.close()


def test_topics_are_applied_once_and_doctor_agrees(tmp_path: Path, settings: dict[str, str]) -> None:
    code, told = answer(tmp_path, "topics", "apply", "--dry-run", **settings)
    assert (code, told.count("would create")) == (1, len(told.splitlines()))
    assert answer(tmp_path, "topics", "apply", **settings)[0] == 0
    code, told = answer(tmp_path, "topics", "apply", **settings)
    assert code == 0
    assert "are as configured" in told
    _, told = answer(tmp_path, "doctor", "--json", **settings)
    lines = [line for line in told.splitlines() if line.startswith("{")]
    findings = {finding["subject"]: finding for finding in map(json.loads, lines)}
    assert findings["kafka"]["status"] == "ok"
    assert findings["topics"]["status"] == "ok"


def test_doctor_names_missing_topics_and_the_command_that_makes_them(tmp_path: Path, settings: dict[str, str]) -> None:
    code, told = answer(tmp_path, "doctor", **settings)
    assert "tongguan topics apply" in told
    assert code == 1


def test_tail_of_a_topic_that_is_missing_names_those_that_exist(tmp_path: Path, settings: dict[str, str]) -> None:
    code, told = answer(tmp_path, "tail", "alerts", **settings)
    assert code == 2
    assert "does not exist" in told


def test_tail_shows_what_is_there_filters_and_stops_at_the_limit(
    tmp_path: Path, settings: dict[str, str], producer: KafkaProducer
) -> None:
    answer(tmp_path, "topics", "apply", **settings)
    for revision, (detector, severity) in enumerate([("flood", 1), ("flood", 4), ("fire", 3), ("fire", 4)]):
        producer.send(f"{settings['TONGGUAN_TOPICS__PREFIX']}alerts", encode_alert(alert(detector, severity, revision)))
    producer.flush()

    def shown(*words: str) -> set[str]:
        code, told = answer(tmp_path, "tail", "alerts", "--once", *words, **settings)
        assert code == 0
        return set(re.findall(r"number \d", told))

    assert shown() == {"number 0", "number 1", "number 2", "number 3"}
    assert shown("--severity", "3") == {"number 1", "number 2", "number 3"}
    assert shown("--detector", "fire", "--severity", "4") == {"number 3"}
    assert shown("--text", "NUMBER 2") == {"number 2"}
    assert shown("--cell", "0x8") == set()
    assert len(shown("--limit", "2")) == 2
    assert shown("--since", "1h") == {"number 0", "number 1", "number 2", "number 3"}


def test_tail_follows_what_comes_and_ends_quietly_on_ctrl_c(
    tmp_path: Path, settings: dict[str, str], producer: KafkaProducer
) -> None:
    answer(tmp_path, "topics", "apply", **settings)
    topic = f"{settings['TONGGUAN_TOPICS__PREFIX']}alerts"
    producer.send(topic, encode_alert(alert("flood", 1, 0)))
    producer.flush()
    with tongguan(tmp_path, "tail", "alerts", "--lang", "zh", **settings) as running:
        running.expect("following")
        time.sleep(2)  # it says so before it has found the ends
        producer.send(topic, encode_alert(alert("flood", 4, 1)))
        producer.flush()
        assert "特别重大" in running.expect("第1条")
        assert not [line for line in running.seen if "第0条" in line]
        assert running.end(signal.SIGINT) == 0
    assert "Traceback" not in "\n".join(running.seen)


def test_worker_waits_for_a_broker_that_is_away_and_stops_when_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tongguan(tmp_path, "worker", TONGGUAN_KAFKA=address) as running:
        running.expect(r"no broker reachable.*trying again")
        assert running.end(within_s=10) == 0


def test_worker_without_topics_says_which_command_makes_them(tmp_path: Path, settings: dict[str, str]) -> None:
    code, told = answer(tmp_path, "worker", **settings)
    assert code == 2
    assert "run `tongguan topics apply` first" in told


def test_up_brings_everything_others_find_it_and_the_end_is_clean(tmp_path: Path) -> None:
    with tongguan(tmp_path, "up", "--no-worker") as running:
        running.expect("up 已就绪")
        running.expect("Ctrl-C here stops all")
        assert processes_naming(tmp_path)
        code, told = answer(tmp_path, "doctor", TONGGUAN_METRICS__PORT="0")
        assert "all is well" in told
        assert code == 0
        code, told = answer(tmp_path, "sql", "SELECT count() AS migrations FROM schema_migrations", "-f", "csv")
        assert (code, told.splitlines()[0]) == (0, "migrations")
        code, told = answer(tmp_path, "up", "--no-worker")
        assert code == 1
        assert "a local stack already runs in" in told
        assert running.end() == 0
        running.expect("stopped", within_s=5)
    assert processes_naming(tmp_path) == []


def test_up_killed_leaves_no_process_behind_and_can_start_again(tmp_path: Path) -> None:
    with tongguan(tmp_path, "up", "--no-worker") as running:
        running.expect("Ctrl-C here stops all")
        running.end(signal.SIGKILL)
    wait_until_none_names(tmp_path)
    with tongguan(tmp_path, "up", "--no-worker") as running:
        running.expect("Ctrl-C here stops all")
        assert not [line for line in running.seen if line.startswith(("create ", "applied "))]
        assert running.end(signal.SIGINT) == 0


def letter(producer: KafkaProducer, prefix: str, offset: int, payload: bytes | None, reason: Reason) -> DeadLetter:
    made = DeadLetter.of(
        BadRecord(reason, "$.ts", "made by a test"),
        topic=f"{prefix}readings",
        partition=1,
        offset=offset,
        payload=payload,
        received_at_ms=NOON_MS + offset,
    )
    producer.send(f"{prefix}dead-letters", encode_dead_letter(made), key=made.key)
    return made


def raw_records(kafka: str, topic: str) -> list[tuple[int, bytes]]:
    consumer = KafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=3000)
    records = [(record.partition, record.value) for record in consumer]
    consumer.close()
    return records


def test_dead_letters_are_listed_once_and_redriven_once(
    tmp_path: Path, kafka: str, settings: dict[str, str], producer: KafkaProducer
) -> None:
    prefix = settings["TONGGUAN_TOPICS__PREFIX"]
    answer(tmp_path, "topics", "apply", **settings)
    letter(producer, prefix, 1, b"one", Reason.OUTSIDE_CITY)
    letter(producer, prefix, 1, b"one", Reason.OUTSIDE_CITY)  # written again after a restart: the same letter
    letter(producer, prefix, 2, b"two", Reason.BAD_TIME)
    letter(producer, prefix, 3, None, Reason.NULL_VALUE)
    letter(producer, prefix, 10**9, b"x" * 40_000, Reason.OUTSIDE_CITY)  # neither letter nor topic has all of it
    producer.send(f"{prefix}dead-letters", b"no letter")
    producer.flush()

    def redriven(*words: str) -> tuple[int, str]:
        return answer(tmp_path, "dead-letters", "redrive", *words, **settings)

    code, told = answer(tmp_path, "dead-letters", "list", **settings)
    assert (code, told.count("readings:1:1 ")) == (0, 1)
    assert "4 dead letters" in told
    assert "not a dead letter" in told
    code, told = answer(tmp_path, "dead-letters", "list", "--reason", "bad_time", "--json", **settings)
    assert [json.loads(line)["offset"] for line in told.splitlines() if line.startswith("{")] == [2]

    code, told = redriven("--dry-run")
    assert "would send 2" in told
    assert raw_records(kafka, f"{prefix}readings") == []

    code, told = redriven()
    assert code == 1
    assert "sent 2" in told
    assert "null_value leaves no record to send" in told
    assert "only the first 16 KiB" in told
    # the letters lie in several partitions of their own: which is sent first is chance
    assert sorted(raw_records(kafka, f"{prefix}readings")) == [(1, b"one"), (1, b"two")]

    code, told = redriven()
    assert "sent 0" in told
    assert len(raw_records(kafka, f"{prefix}readings")) == 2
    _, told = answer(tmp_path, "dead-letters", "list", "--limit", "10", **settings)
    assert "-> " in told
    assert "4 dead letters" in told


def test_large_record_is_redriven_whole_from_the_raw_topic(
    tmp_path: Path, kafka: str, settings: dict[str, str], producer: KafkaProducer
) -> None:
    prefix = settings["TONGGUAN_TOPICS__PREFIX"]
    answer(tmp_path, "topics", "apply", **settings)
    whole = b"y" * 40_000
    sent = producer.send(f"{prefix}readings", whole, partition=1).get(10)
    letter(producer, prefix, sent.offset, whole, Reason.OUTSIDE_CITY)
    producer.flush()
    code, _ = answer(tmp_path, "dead-letters", "redrive", **settings)
    assert code == 0
    assert raw_records(kafka, f"{prefix}readings") == [(1, whole), (1, whole)]


def test_letter_that_names_another_topic_is_never_sent_there(
    tmp_path: Path, settings: dict[str, str], producer: KafkaProducer
) -> None:
    prefix = settings["TONGGUAN_TOPICS__PREFIX"]
    answer(tmp_path, "topics", "apply", **settings)
    letter(producer, f"{prefix}", 1, b"one", Reason.BAD_TIME)
    foreign = DeadLetter.of(
        BadRecord(Reason.BAD_TIME, "$", "x"),
        topic=f"{prefix}alerts",
        partition=0,
        offset=1,
        payload=b"forged",
        received_at_ms=NOON_MS,
    )
    producer.send(f"{prefix}dead-letters", encode_dead_letter(foreign), key=foreign.key)
    producer.flush()
    code, told = answer(tmp_path, "dead-letters", "redrive", **settings)
    assert code == 1
    assert "is not a raw topic of this configuration" in told
    _, told = answer(tmp_path, "tail", "alerts", "--once", **settings)
    assert told == ""


def test_unknown_reason_is_refused_with_the_choices(tmp_path: Path, settings: dict[str, str]) -> None:
    code, told = answer(tmp_path, "dead-letters", "list", "--reason", "bad_tiem", **settings)
    assert code == 2
    assert "choose from empty, null_value" in told
