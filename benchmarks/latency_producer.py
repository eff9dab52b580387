"""A producer for an open-loop generator: it hands requests to the socket and never waits for an answer to send more.

aiokafka keeps one request to a broker in flight, so that a slow answer would hold the next records back, and the load
would politely slow down with the system: just what an open loop must not do. Here requests are pipelined on one
connection and answers are read as they come. Produce version 3 (Kafka 0.11 and later), acknowledged by the leader.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.errors import BrokerError

_PRODUCE: Final = 0
_VERSION: Final = 3
_LEADER: Final = 1
_TIMEOUT_MS: Final = 30_000
_CLIENT: Final = b"latency"
_HEAD: Final = struct.Struct(">hhih")
_ENTRY: Final = struct.Struct(">ihqq")  # partition, error, base offset, log append time

Parts = Mapping[str, Sequence[tuple[int, bytes]]]
"""By topic: (partition, one record batch)."""


class Appended(NamedTuple):
    """The broker's answer for one batch."""

    request: int
    topic: str
    partition: int
    offset: int
    append_ms: int
    answered_ns: int  # when the answer was read, epoch


class PipeliningProducer:
    """One connection to one broker, used by one thread."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._unsent: deque[memoryview] = deque()
        self._unread = bytearray()
        self._requests = 0
        self._answered = 0

    @property
    def waiting(self) -> int:
        """Requests that have no answer yet."""
        return self._requests - self._answered

    def send(self, parts: Parts) -> int:
        """Hand over one request; returns its number. What the socket does not take at once goes with later calls."""
        pieces = [_HEAD.pack(_PRODUCE, _VERSION, self._requests, len(_CLIENT)), _CLIENT]
        pieces.append(struct.pack(">hhii", -1, _LEADER, _TIMEOUT_MS, len(parts)))
        for topic, batches in parts.items():
            name = topic.encode()
            pieces.append(struct.pack(">h", len(name)) + name + struct.pack(">i", len(batches)))
            for partition, data in batches:
                pieces += (struct.pack(">ii", partition, len(data)), data)
        request = b"".join(pieces)
        self._unsent.append(memoryview(struct.pack(">i", len(request)) + request))
        number = self._requests
        self._requests += 1
        self._push()
        return number

    def wait(self, until_ns: int) -> Iterator[Appended]:
        """Send and receive until that moment (epoch); gives the answers that came."""
        while True:
            left = (until_ns - time.time_ns()) / 1e9
            for _, ready in self._selector.select(max(0.0, left)):
                if ready & selectors.EVENT_WRITE:
                    self._push()
                if ready & selectors.EVENT_READ:
                    self._pull()
            yield from self._answers()
            if left <= 0:
                return

    def close(self) -> None:
        self._selector.close()
        self._socket.close()

    def _push(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[0])
                self._unsent[0] = self._unsent[0][sent:]
                if not self._unsent[0]:
                    self._unsent.popleft()
        except BlockingIOError:
            pass
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._socket, events)

    def _pull(self) -> None:
        try:
            got = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        if not got:
            raise BrokerError("latency: the broker closed the connection of the generator")
        self._unread += got

    def _answers(self) -> Iterator[Appended]:
        while len(self._unread) >= 4:
            size = int.from_bytes(self._unread[:4], "big")
            if len(self._unread) < 4 + size:
                return
            answer = bytes(self._unread[4 : 4 + size])
            del self._unread[: 4 + size]
            self._answered += 1
            yield from _decoded(answer, time.time_ns())


def _decoded(answer: bytes, now_ns: int) -> Iterator[Appended]:
    request, topics = struct.unpack_from(">ii", answer)
    at = 8
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", answer, at)
        topic = answer[at + 2 : at + 2 + length].decode()
        at += 2 + length
        (partitions,) = struct.unpack_from(">i", answer, at)
        at += 4
        for _ in range(partitions):
            partition, error, offset, append_ms = _ENTRY.unpack_from(answer, at)
            at += _ENTRY.size
            if error:
                raise BrokerError(f"latency: the broker refused a batch for {topic}[{partition}]: error {error}")
            yield Appended(request, topic, partition, offset, append_ms, now_ns)
