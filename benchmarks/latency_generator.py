"""The open-loop generator, a process of its own: `python -m benchmarks.latency_generator`.

Every `TICK_MS` it sends the records that have become due, built by kernels, one batch for each raw partition. It never
waits for the system; when it comes late itself, the due times on the schedule still count. Prints the schedule's
beginning (epoch ms) when it begins, and leaves a table of what it sent when it ends.
"""

from __future__ import annotations

import argparse
import gc
import time
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.cityjoin_data import PARTITIONS
from benchmarks.latency_load import CLOSER_MS, PLACES, Bytes, Ints, Load, Pool, draw, render
from benchmarks.latency_producer import Appended, PipeliningProducer
from deploy.simulation.kafka_batches import BatchMaker
from schemas.sources import Source
from streams.topics import TopicNames
from streams.words import padded

TICK_MS: Final = 10
MOST_AT_ONCE: Final = 40_000
"""Records of one request; more are due only when the generator has fallen behind."""
LAST_ANSWERS_S: Final = 60.0
SOON_MS: Final = 500
"""From ready to the first record."""

UNANSWERED: Final = 3
"""Exit status: more was offered than the broker took."""

SENT: Final = ("request", "first", "count", "due_ns", "handed_ns")
"""Columns of the table of requests; due_ns is that of its last record, both are epoch."""
APPENDED: Final = ("request", "place", "offset", "append_ms", "answered_ns")
"""Columns of the table of batches."""


class Generator:
    """Sends one load and remembers what became of it."""

    def __init__(self, bootstrap: str, names: TopicNames, load: Load) -> None:
        self._pool = Pool.make(load.seed, load.rate)
        self._maker = BatchMaker(self._pool.keys)
        self._device = self._pool.records.device
        self._producer = PipeliningProducer(bootstrap)
        self._topics = [names.raw(source) for source in Source]
        self._place_of = {
            (topic, partition): source * PARTITIONS + partition
            for source, topic in enumerate(self._topics)
            for partition in range(PARTITIONS)
        }
        self._load = load
        self._offset = [0] * PLACES  # of each place, behind what was sent
        self._due: dict[tuple[int, int], int] = {}  # (request, place) -> the offset that its batch must get
        self.sent = array("q")
        self.appended = array("q")

    def run(self, start_ms: int) -> None:
        """All of the schedule, which begins at this moment (epoch), then the closers."""
        load = self._load = replace(self._load, start_ms=start_ms)
        done = tick = 0
        while done < load.count:
            tick += 1
            self._wait((load.start_ms + tick * TICK_MS) * 1_000_000)
            due = load.number_at(time.time_ns() - load.start_ms * 1_000_000)
            while done < due:
                many = min(due - done, MOST_AT_ONCE)
                self._send(done, many)
                done += many
            tick = max(
                tick, (time.time_ns() // 1_000_000 - load.start_ms) // TICK_MS
            )  # ticks that were missed are over
        self._wait(time.time_ns())
        closing_ms = load.start_ms + int(load.seconds * 1000) + CLOSER_MS
        self._close(closing_ms)
        give_up_ns = time.time_ns() + int(LAST_ANSWERS_S * 1e9)
        while self._producer.waiting and time.time_ns() < give_up_ns:
            self._wait(time.time_ns() + 10_000_000)
        if self._due:
            print(f"the broker left {len(self._due)} batches unanswered", flush=True)
            raise SystemExit(UNANSWERED)
        self._producer.close()

    def warm_up(self) -> None:
        """Compile the kernels, without sending."""
        entry, event_ms = draw(self._load, 0, 100)
        data, starts = render(self._pool, 0, entry, event_ms)
        self._maker.make(np.arange(100), self._pool.place[entry], self._device[entry], data, starts, 0)

    def _send(self, first: int, many: int) -> None:
        entry, event_ms = draw(self._load, first, many)
        data, starts = render(self._pool, first, entry, event_ms)
        number = self._hand_over(self._pool.place[entry], self._device[entry], data, starts)
        due_ns = self._load.start_ms * 1_000_000 + int(self._load.due_ns(np.array([first + many - 1]))[0])
        self.sent.extend((number, first, many, due_ns, time.time_ns()))

    def _hand_over(self, place: np.ndarray, device: np.ndarray, data: Bytes, starts: Ints) -> int:
        """Records in this order to the broker; the number of the (last) request."""
        requests: list[dict[str, list[tuple[int, bytes]]]] = []
        counts: list[dict[int, int]] = []  # by request: records of each place
        turn = [0] * PLACES  # a request may hold one batch of each partition: the broker passes over a second one
        rows = np.arange(len(place), dtype=np.int64)
        for batch in self._maker.make(rows, place, device, data, starts, time.time_ns() // 1_000_000):
            if turn[batch.partition] == len(requests):
                requests.append({})
                counts.append({})
            source, partition = divmod(batch.partition, PARTITIONS)
            parts = requests[turn[batch.partition]].setdefault(self._topics[source], [])
            parts.append((partition, batch.data))
            counts[turn[batch.partition]][batch.partition] = batch.count
            turn[batch.partition] += 1
        number = -1
        for request, of_place in zip(requests, counts, strict=True):
            number = self._producer.send(request)
            for at, count in of_place.items():
                self._due[number, at] = self._offset[at]
                self._offset[at] += count
        return number

    def _close(self, at_ms: int) -> None:
        """The closers; event time must not run ahead before the last record has been taken."""
        texts = self._pool.closers(at_ms)
        starts: Ints = np.zeros(PLACES + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=starts[1:])
        places = np.arange(PLACES, dtype=np.int32)
        self._hand_over(places, np.zeros(PLACES, dtype=np.int32), padded(b"".join(texts)), starts)

    def _wait(self, until_ns: int) -> None:
        for answer in self._producer.wait(until_ns):
            self._note(answer)

    def _note(self, answer: Appended) -> None:
        place = self._place_of[answer.topic, answer.partition]
        due = self._due.pop((answer.request, place), None)
        if answer.offset != due:  # the check of the alerts rests on knowing each record's offset
            raise SystemExit(f"latency: {answer.topic}[{answer.partition}] has offset {answer.offset}, not {due}")
        self.appended.extend((answer.request, place, answer.offset, answer.append_ms, answer.answered_ns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    generator = Generator(given.bootstrap, TopicNames(given.prefix), Load(given.rate, given.seconds, given.seed))
    generator.warm_up()
    gc.collect()
    gc.disable()  # nothing here makes cycles; a pause would be told as the system's
    start_ms = time.time_ns() // 1_000_000 + SOON_MS
    print(start_ms, flush=True)
    generator.run(start_ms)
    np.savez(
        given.out,
        start_ms=start_ms,
        sent=np.frombuffer(generator.sent, dtype=np.int64).reshape(-1, len(SENT)),
        appended=np.frombuffer(generator.appended, dtype=np.int64).reshape(-1, len(APPENDED)),
    )


if __name__ == "__main__":
    main()
