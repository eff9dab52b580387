"""Hazelcast Jet: a pipeline in one embedded member."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.engine import Command, Engine, Job, Pace, Say
from benchmarks.peers.jars import jar_list
from benchmarks.peers.java_code import compile_java, java_command, java_version

JARS = jar_list("hazelcast")
SOURCES = ("CityJoin.java", "JsonScanner.java", "HazelcastJob.java")


class HazelcastJet(Engine):
    """The job that a Jet user in need of speed would write."""

    name = "hazelcast-jet"
    title = "Hazelcast Jet"
    pace = Pace.FAST
    recovery = "none: starts over"
    notes = (
        "Pipeline API, one member embedded, parallelism = cores, fetches of 4 MiB and 10,000 records a poll, the job's "
        "metrics off, 4 GiB heap, serial collector on one core and G1 on two.",
        "One source over the three topics with a watermark per partition, exact for any skew; the idle timeout of "
        "partitions (a minute by default) is off, because it would let a backlog's partitions pass each other.",
        "The source's projection drops what cannot change an alert before Jet makes an event of it, except the records "
        "that move a partition's watermark into another window: dropped records move no watermark.",
        "Jet adds up in two steps, before and after it parts by cell.",
    )

    @property
    def versions(self) -> str:
        of = {jar.artifact: jar.version for jar in JARS.pinned()}
        return f"Hazelcast {of['hazelcast']}, kafka-clients {of['kafka-clients']}, Java {java_version()}"

    def prepare(self, say: Say) -> None:
        compile_java(SOURCES, JARS.class_path(say), say)

    def commands(self, job: Job) -> Sequence[Command]:
        jars = JARS.class_path()
        classes = compile_java(SOURCES, jars, lambda _line: None)
        topics = (job.readings, job.camera_events, job.tickets, job.output)
        command = java_command(
            "HazelcastJob",
            [classes, *jars],
            [job.bootstrap, *topics, job.group, str(job.cores)],
            cores=job.cores,
            options=[f"-Djava.io.tmpdir={job.folder}"],
        )
        return [Command(argv=command)]
