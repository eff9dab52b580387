"""Kafka Streams: a job of two processors, and the same with changelogs and exactly-once processing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from benchmarks.peers.engine import Command, Engine, Job, Pace, Say
from benchmarks.peers.jars import jar_list
from benchmarks.peers.java_code import compile_java, java_command, java_version

JARS = jar_list("kafka_streams")
SOURCES = ("CityJoin.java", "JsonScanner.java", "KafkaStreamsJob.java")


class KafkaStreams(Engine):
    """The job that a Kafka Streams user in need of speed would write."""

    name = "kafka-streams"
    title = "Kafka Streams"
    pace = Pace.FAST
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
        of = {jar.artifact: jar.version for jar in JARS.pinned()}
        return f"Kafka Streams {of['kafka-streams']}, Java {java_version()}"

    def prepare(self, say: Say) -> None:
        compile_java(SOURCES, JARS.class_path(say), say)

    def commands(self, job: Job) -> Sequence[Command]:
        jars = JARS.class_path()
        classes = compile_java(SOURCES, jars, lambda _line: None)
        topics = (job.readings, job.camera_events, job.tickets, job.output)
        command = java_command(
            "KafkaStreamsJob",
            [classes, *jars],
            [job.bootstrap, *topics, job.group, str(job.cores), str(job.folder / "state"), self.state],
            cores=job.cores,
            options=[f"-Djava.io.tmpdir={job.folder}"],
        )
        return [Command(argv=command)]


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
