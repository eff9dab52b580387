"""How far event time has come in a log already: what is replayed from before then would all be late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafka import TopicPartition
from kafka.errors import CoordinatorNotAvailableError

from schemas.sources import Source
from streams.placing import WatermarkState
from streams.topic_admin import admin_client
from streams.topics import TopicNames


def log_time_ms(
    bootstrap: str, names: TopicNames, sources: Iterable[Source], *, options: Mapping[str, Any]
) -> int | None:
    """The greatest event time that locate has committed to on the raw topics of `sources`; None when there is none.

    Raises BrokerError.
    """
    topics = {names.raw(source) for source in sources}
    group = f"{names.prefix}locate"
    with admin_client(bootstrap, options=options) as admin:
        try:
            committed: Mapping[TopicPartition, Any] = admin.list_group_offsets([group])[group]
        except CoordinatorNotAvailableError:  # what a broker says that has never had a group
            return None
    found = [
        state.max_event_ms
        for partition, offset in committed.items()
        if partition.topic in topics and (state := WatermarkState.decode(offset.metadata or "")) is not None
    ]
    return max(found, default=0) or None
