"""Kafka Streams: a job of two processors, and the same with changelogs and exactly-once processing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.peers.engine import Job
from benchmarks.peers.java_code import java_version
from benchmarks.peers.jvm_engine import JvmEngine, job_topics


class KafkaStreams(JvmEngine):
    """The job that a Kafka Streams user in need of speed would write."""

    name = "kafka-streams"
    title = "Kafka Streams"
    jars = "kafka_streams"
    sources = ("KafkaStreamsJob.java",)
    main_class = "KafkaStreamsJob"
    recovery = "none: starts over"
    state: ClassVar[str] = "heap"
    notes: ClassVar[Sequence[str]] = (
        "Processor API, one thread a core, fetches of 4 MiB, 10,000 records a poll and in a partition's buffer, no "
        "waiting for partitions without records, 4 GiB heap, serial collector on one core and G1 on two.",
        "Raw records are not partitioned by cell, so there is a repartition topic; each task first adds up a cell's "
        "minute as far as it sees it, which spares a fifth of the CPU.",
        "Each task sends its watermark, the least of its three partitions', to all partitions of the repartition "
        "topic: exact for any skew, which stream time and grace of the DSL are not.",
        "State is in maps on the heap: the in-memory store without changelog is as lasting and costs 30 % more CPU.",
    )

    @property
    def versions(self) -> str:
        return f"Kafka Streams {self.version('kafka-streams')}, Java {java_version()}"

    def arguments(self, job: Job) -> Sequence[str]:
        return (*job_topics(job), str(job.cores), str(job.folder / "state"), self.state)


class KafkaStreamsLogged(KafkaStreams):
    """The same job with recovery on: like with like, since ours always has it on."""

    name = "kafka-streams-changelog"
    title = "Kafka Streams, changelog"
    recovers = True
    recovery = "changelogs of all state, exactly once (v2), a commit every 10 s"
    state = "changelog"
    notes = (
        "As the job above, with all state in in-memory stores with a changelog and exactly-once processing: with less, "
        "records processed again after a crash are counted twice.",
        "No record cache and no adding up before the repartition topic: either cost more than it saved here.",
    )
