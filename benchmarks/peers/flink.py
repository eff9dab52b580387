"""Apache Flink: a DataStream job, the same with checkpoints, and a SQL job; each in one process (MiniCluster)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.peers.engine import Job
from benchmarks.peers.java_code import java_version
from benchmarks.peers.jvm_engine import JvmEngine, job_topics

SETTINGS = (
    "local execution, parallelism = cores, object reuse, heap state, fetches of 4 MiB and 10,000 records a poll, "
    "4 GiB heap, serial collector on one core and G1 on two"
)


class Flink(JvmEngine):
    """What the jobs have in common."""

    jars = "flink"
    sources = ("FlinkDataStream.java", "FlinkSql.java")

    @property
    def versions(self) -> str:
        return (
            f"Flink {self.version('flink-clients')}, flink-connector-kafka {self.version('flink-connector-kafka')}, "
            f"kafka-clients {self.version('kafka-clients')}, Java {java_version()}"
        )

    def arguments(self, job: Job) -> Sequence[str]:
        return (*job_topics(job), str(job.cores))


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

    def arguments(self, job: Job) -> Sequence[str]:
        return (*super().arguments(job), self.checkpoints(job))

    def checkpoints(self, job: Job) -> str:
        """The folder they go to, as a URI; "-" for none."""
        return "-"


class FlinkCheckpointed(FlinkDataStream):
    """The same job with recovery on: like with like, since ours always has it on."""

    name = "flink-datastream-checkpointed"
    title = "Flink DataStream, checkpoints"
    recovers = True
    recovery = "checkpoint every 10 s to a local folder, sink at least once"
    notes = ("As the job above, with a checkpoint every 10 s.",)

    def checkpoints(self, job: Job) -> str:
        return (job.folder / "checkpoints").as_uri()


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
