"""Produce requests of aiokafka, written to the socket piece by piece, where aiokafka copies their records six times.

aiokafka encodes a request by nested joins: bytes with length, partition, list of partitions, topic, list of topics,
request; each copies all that is in it. For frames of megabytes that was an eighth of what the whole worker costs. Here
the same bytes are a list of pieces, which a connection of streams/kafka_wire.py writes as they are.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.producer.sender import SendProduceReqHandler
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.types import Int16, Int32, String

from schemas.errors import SettingsError
from streams import kafka_wire

_FIELDS: Final = ("transactional_id", "required_acks", "timeout", "topics")
_string: Final = String("utf-8")
_WORTH_A_PIECE: Final = 4096
"""Bytes from which on one more piece to write costs less than a copy."""


class Pieces:
    """The bytes of a record batch as several pieces that need not be joined."""

    __slots__ = ("_parts", "_size")

    def __init__(self, parts: tuple[bytes | memoryview, ...]) -> None:
        self._parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._parts)

    def __bytes__(self) -> bytes:
        return b"".join(self._parts)


class _FlatRequest(ProduceRequest):  # type: ignore[misc]  # aiokafka is untyped
    def build(self, request_struct_class: Any) -> Any:
        return super().build(_flat(request_struct_class))


class _FlatHandler(SendProduceReqHandler):  # type: ignore[misc]  # aiokafka is untyped
    def create_request(self) -> Any:
        request = super().create_request()
        request.__class__ = _FlatRequest
        return request


@cache
def _flat(struct_class: Any) -> Any:
    """The request class of one version, with `pieces` and with an `encode` that joins them.

    SettingsError for a version of another layout: none that a broker of today answers to.
    """
    if struct_class.SCHEMA.names != _FIELDS:
        raise SettingsError(
            f"streams/produce_request: this broker's newest {struct_class.__name__} has the fields "
            f"{', '.join(struct_class.SCHEMA.names)}; a broker of Kafka 0.11 or later is needed"
        )
    return type(struct_class.__name__, (struct_class,), {"encode": _encode, "pieces": _pieces, "__module__": __name__})


def _encode(request: Any) -> bytes:
    return b"".join(_pieces(request))


def _pieces(request: Any) -> list[bytes | memoryview]:
    """The request's bytes: small fields joined, records as they are."""
    small = [
        _string.encode(request.transactional_id),
        Int16.encode(request.required_acks),
        Int32.encode(request.timeout),
        Int32.encode(len(request.topics)),
    ]
    pieces: list[bytes | memoryview] = []
    for topic, partitions in request.topics:
        small += (_string.encode(topic), Int32.encode(len(partitions)))
        for partition, records in partitions:
            small += (Int32.encode(partition), Int32.encode(len(records)))
            for part in records if isinstance(records, Pieces) else (records,):
                if len(part) < _WORTH_A_PIECE:
                    small.append(bytes(part))
                else:
                    pieces += (b"".join(small), part)
                    small = []
    return [*pieces, b"".join(small)] if small else pieces


async def _send_produce_req(sender: Any, node_id: int, batches: Mapping[Any, Any]) -> None:
    # as in aiokafka 0.14 `Sender._send_produce_req`, with our handler; tests/streams/test_produce_request.py compares
    await _FlatHandler(sender, batches).do(node_id)
    sender._in_flight.remove(node_id)
    for tp in batches:
        sender._muted_partitions.remove(tp)


class FlatProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is untyped
    """An AIOKafkaProducer whose requests are written without a copy; it alone can send a `FrameBatch`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        kafka_wire.install(self.client)
        self._sender._send_produce_req = types.MethodType(_send_produce_req, self._sender)
