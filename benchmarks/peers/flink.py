"""Apache Flink: a DataStream job, the same with checkpoints, and a SQL job; each in one process (MiniCluster)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.peers.engine import Command, Engine, Job, Pace, Say
from benchmarks.peers.jars import jar_list
from benchmarks.peers.java_code import compile_java, java_command, java_version

JARS = jar_list("flink")
SOURCES = ("CityJoin.java", "JsonScanner.java", "FlinkDataStream.java", "FlinkSql.java")
SETTINGS = (
    "local execution, parallelism = cores, object reuse, heap state, fetches of 4 MiB and 10,000 records a poll, "
    "4 GiB heap, serial collector on one core and G1 on two"
)


class Flink(Engine):
    """What the jobs have in common."""

    pace = Pace.FAST
    main_class: ClassVar[str]

    @property
    def versions(self) -> str:
        of = {jar.artifact: jar.version for jar in JARS.pinned()}
        return (
            f"Flink {of['flink-clients']}, flink-connector-kafka {of['flink-connector-kafka']}, "
            f"kafka-clients {of['kafka-clients']}, Java {java_version()}"
        )

    def prepare(self, say: Say) -> None:
        compile_java(SOURCES, JARS.class_path(say), say)

    def commands(self, job: Job) -> Sequence[Command]:
        jars = JARS.class_path()
        classes = compile_java(SOURCES, jars, lambda _line: None)
        arguments = (job.bootstrap, job.readings, job.camera_events, job.tickets, job.output, job.group)
        command = java_command(
            self.main_class,
            [classes, *jars],
            [*arguments, str(job.cores), *self.more_arguments(job)],
            cores=job.cores,
            options=[f"-Djava.io.tmpdir={job.folder}"],
        )
        return [Command(argv=command)]

    def more_arguments(self, job: Job) -> Sequence[str]:
        """What only this job is told."""
        return ()


class FlinkDataStream(Flink):
    """The job that a Flink user in need of speed would write."""

    name = "flink-datastream"
    title = "Flink DataStream"
    main_class = "FlinkDataStream"
    recovery = "none: starts over"
    notes: ClassVar[Sequence[str]] = (
        SETTINGS,
        "One source over the three topics with a watermark per partition, which is exact for any skew between them.",
        "JSON is read by a hand-written scanner that makes no objects, and what cannot change an alert is filtered out "
        "before the shuffle by cell.",
    )

    def more_arguments(self, job: Job) -> Sequence[str]:
        return ["-"]


class FlinkCheckpointed(FlinkDataStream):
    """The same job with recovery on: like with like, since ours always has it on."""

    name = "flink-datastream-checkpointed"
    title = "Flink DataStream, checkpoints"
    recovers = True
    recovery = "checkpoint every 10 s to a local folder, sink at least once"
    notes = ("As the job above, with a checkpoint every 10 s.",)

    def more_arguments(self, job: Job) -> Sequence[str]:
        return [(job.folder / "checkpoints").as_uri()]


class FlinkSql(Flink):
    """The job in SQL."""

    name = "flink-sql"
    title = "Flink SQL"
    main_class = "FlinkSql"
    recovery = "none: starts over"
    notes = (
        SETTINGS,
        "Watermarks are pushed into the Kafka source, hence per partition; the window aggregation is two-phase (local, "
        "then by cell), as the planner chooses by itself.",
    )
