"""Every engine of the comparison, in the order of the table."""

from __future__ import annotations

from typing import Final

from benchmarks.peers.engine import Engine
from benchmarks.peers.flink import FlinkCheckpointed, FlinkDataStream, FlinkSql
from benchmarks.peers.hazelcast import HazelcastJet
from benchmarks.peers.kafka_streams import KafkaStreams, KafkaStreamsLogged
from benchmarks.peers.ours import Ours
from benchmarks.peers.python_engines import Bytewax, Pathway, Quix, StockFaust

ENGINES: Final[tuple[Engine, ...]] = (
    Ours(),
    FlinkDataStream(),
    FlinkCheckpointed(),
    FlinkSql(),
    KafkaStreams(),
    KafkaStreamsLogged(),
    HazelcastJet(),
    Bytewax(),
    Pathway(),
    Quix(),
    StockFaust(),
)
