"""What the engines on the JVM share: jars from a pinned list, sources of java/ compiled against them, one process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from benchmarks.peers.engine import Command, Engine, Job, Pace, Say
from benchmarks.peers.jars import jar_list
from benchmarks.peers.java_code import compile_java, java_command


class JvmEngine(Engine):
    """One job in Java. All of them get the long backlog."""

    pace = Pace.FAST
    jars: ClassVar[str]
    """The pinned list: "flink"."""
    sources: ClassVar[Sequence[str]]
    """Files of java/ beside the two that all jobs share."""
    main_class: ClassVar[str]

    @abstractmethod
    def arguments(self, job: Job) -> Sequence[str]:
        """What `main_class` is told."""

    def prepare(self, say: Say) -> None:
        compile_java(self._sources(), jar_list(self.jars).class_path(say), say)

    def commands(self, job: Job) -> Sequence[Command]:
        jars = jar_list(self.jars).class_path()
        classes = compile_java(self._sources(), jars, lambda _line: None)
        command = java_command(
            self.main_class,
            [classes, *jars],
            self.arguments(job),
            cores=job.cores,
            options=[f"-Djava.io.tmpdir={job.folder}"],
        )
        return [Command(argv=command)]

    def version(self, artifact: str) -> str:
        """As pinned."""
        return next(jar.version for jar in jar_list(self.jars).pinned() if jar.artifact == artifact)

    def _sources(self) -> Sequence[str]:
        return ("CityJoin.java", "JsonScanner.java", *self.sources)


def job_topics(job: Job) -> Sequence[str]:
    """The first arguments of every job: where it reads and writes."""
    return (job.bootstrap, job.readings, job.camera_events, job.tickets, job.output, job.group)
