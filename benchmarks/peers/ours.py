"""Ours: the worker as it is delivered, with CityJoin's rule in place of the configured detectors."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from benchmarks.cityjoin_run import answer_row, worker_settings
from benchmarks.peers.engine import Command, Engine, Job, Pace, PeerAlert, Say
from deploy.local.process import LocalStackError, free_port
from schemas.sources import Source
from streams.topic_admin import admin_client, apply
from streams.topics import TopicNames, TopicsSettings, topic_specs

SHARDS: Final = 4
FORGET_WITHIN_S: Final = 30.0


class Ours(Engine):
    """Tongguan: locate and join over Kafka; snapshots are always on."""

    name = "ours"
    title = "Tongguan (ours)"
    pace = Pace.FAST
    ours = True
    recovers = True
    recovery = "snapshot every few seconds to Kafka, exact after kill -9"
    notes = (
        "The worker of benchmarks/cityjoin.py, whole: raw topics, observations topic, alerts topic, snapshots on; "
        "one worker process per core.",
        "Its alert records carry place, sentences in two languages and evidence besides the numbers.",
    )

    @property
    def versions(self) -> str:
        return f"Tongguan {version('tongguan')}, aiokafka {version('aiokafka')}, Python {platform.python_version()}"

    def prepare(self, say: Say) -> None:
        """Nothing to fetch; kernels are compiled into numba's cache by the first run, before its clock starts."""

    def commands(self, job: Job) -> Sequence[Command]:
        topics = _topics(job)
        _forget_last_run(job, topics)
        apply(job.bootstrap, topic_specs(topics))
        commands = []
        for number in range(job.cores):
            config = job.folder / f"worker-{number}.toml"
            config.write_text(worker_settings(job.folder / f"data-{number}", job.bootstrap, topics, free_port()))
            commands.append(Command(argv=[sys.executable, "-m", "benchmarks.cityjoin_worker", str(config)]))
        return commands

    def output(self, job: Job) -> str:
        return TopicNames(_topics(job).prefix).alerts

    def read_alert(self, value: bytes) -> tuple[PeerAlert, bool] | None:
        row = answer_row(value)
        return None if row is None else (PeerAlert(*row), False)


def _topics(job: Job) -> TopicsSettings:
    return TopicsSettings(prefix=job.readings.removesuffix(Source.READINGS.topic), shards=SHARDS, replication=1)


def _forget_last_run(job: Job, topics: TopicsSettings) -> None:
    """Delete every topic that the worker made and its groups' offsets, so that it starts from the beginning."""
    raw = {job.readings, job.camera_events, job.tickets}
    derived = {spec.name for spec in topic_specs(topics)} - raw
    with admin_client(job.bootstrap) as admin:
        there = derived & set(admin.list_topics())
        if there:
            admin.delete_topics(sorted(there))
        give_up_at = time.monotonic() + FORGET_WITHIN_S
        while (left := derived & set(admin.list_topics())) or (left := _forget_groups(admin, topics.prefix)):
            if time.monotonic() > give_up_at:
                raise LocalStackError(f"the last run's {sorted(left)} are still there after {FORGET_WITHIN_S:g} s")
            time.sleep(0.2)


def _forget_groups(admin: KafkaAdminClient, prefix: str) -> set[str]:
    """Delete the groups; returns those that still have members, who leave when their session ends."""
    groups = {group["group_id"] for group in admin.list_groups() if group["group_id"].startswith(prefix)}
    if groups:
        try:
            admin.delete_groups(sorted(groups))
        except KafkaError:
            return groups
    return set()
