"""Hazelcast Jet: a pipeline in one embedded member."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.engine import Job
from benchmarks.peers.java_code import java_version
from benchmarks.peers.jvm_engine import JvmEngine, job_topics


class HazelcastJet(JvmEngine):
    """The job that a Jet user in need of speed would write."""

    name = "hazelcast-jet"
    title = "Hazelcast Jet"
    jars = "hazelcast"
    sources = ("HazelcastJob.java",)
    main_class = "HazelcastJob"
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
        client = self.version("kafka-clients")
        return f"Hazelcast {self.version('hazelcast')}, kafka-clients {client}, Java {java_version()}"

    def arguments(self, job: Job) -> Sequence[str]:
        return (*job_topics(job), str(job.cores))
