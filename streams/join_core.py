"""The join of one shard, as a pure function of its log: frames in, alerts out. No Kafka, no Faust, no clock.

A frame's rows are added to the windows, then the frame's covers move the watermark, then every bucket that the
watermark has passed is judged by the detectors, in the order of event time. What comes out depends on the rows and
their event times alone, not on how the rows were cut into frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from detectors.contract import NO_DATA, Detector
from detectors.features import Aggregate
from detectors.hysteresis import ACTIONS
from schemas.alert import Alert, make_alert_id
from schemas.observation import FrameHeader, decode_packed
from schemas.sources import Source
from streams.alert_places import place_at
from streams.cell_view import pointer_parts
from streams.frame_columns import WITH_ENTITIES, WITHOUT_ENTITIES, FrameRows
from streams.judging import Judges, Told
from streams.raw_progress import RawKey, RawProgress
from streams.retired import Retired
from streams.slots import Slots
from streams.tracks import GroupPlan
from streams.windows import WindowGroup
from topology.grid import Grid
from topology.jurisdictions import Jurisdictions


class JoinSettings(BaseModel):
    """How the join works; the detectors have settings of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    snapshot_every_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between snapshots of a shard; a restart replays about as much."""
    evidence_buckets: Annotated[int, Field(ge=1)] = 6
    """How many of the newest buckets remember which records made their values."""
    evidence_limit: Annotated[int, Field(ge=1)] = 20
    """Records named in one alert at most."""


@dataclass(slots=True)
class Counts:
    """What happened since the counts were last taken; all in rows."""

    joined: int = 0
    duplicate: int = 0
    late: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by source: its bucket had been judged


class JoinShard:
    """All state of one region shard. `raw_partitions` are all that feed it, whether or not they have data."""

    def __init__(
        self,
        shard: int,
        grid: Grid,
        detectors: Sequence[Detector[Any]],
        raw_partitions: Iterable[RawKey],
        settings: JoinSettings,
        topics: Mapping[Source, str] | None = None,
        *,
        jurisdictions: Jurisdictions | None = None,
    ) -> None:
        self.shard = shard
        self.grid = grid
        self.jurisdictions = Jurisdictions.empty(grid) if jurisdictions is None else jurisdictions
        self._settings = settings
        self._topics = {source: source.topic for source in Source} | dict(topics or {})
        counts_entities = any(f.aggregate is Aggregate.DISTINCT for d in detectors for f in d.features)
        self._reads = WITH_ENTITIES if counts_entities else WITHOUT_ENTITIES
        self._raw_partitions = tuple(raw_partitions)
        self._by_width: dict[int, list[Detector[Any]]] = defaultdict(list)
        for detector in detectors:
            self._by_width[detector.bucket_ms].append(detector)
        self.clear()

    def clear(self) -> None:
        """Be as before the first frame."""
        self.slots = Slots()
        self.progress = RawProgress(self._raw_partitions)
        self.arrived_ms = 0  # the broker's append time of the newest raw record taken in; for metrics
        self._counts = Counts()
        self.groups: dict[int, WindowGroup] = {}  # by bucket width
        self.judges: dict[int, Judges] = {}  # likewise
        self.retired: list[Retired] = []  # alerts to clear, of detectors that a restored snapshot had and we have not
        for width, members in sorted(self._by_width.items()):
            plan = GroupPlan.of(width, [feature for detector in members for feature in detector.features])
            group = WindowGroup(plan, self.slots, evidence_buckets=self._settings.evidence_buckets)
            self.groups[width] = group
            self.judges[width] = Judges(members, group, self.slots)

    # --- one frame -------------------------------------------------------------------------------------------------

    def process(self, frame: bytes | memoryview) -> list[Alert]:
        """Take in one frame and return the alerts that it brings about; FrameError when it is none."""
        header, batch = decode_packed(frame, self._reads)
        self.arrived_ms = max(self.arrived_ms, *(cover.arrived_ms for cover in header.covers), 0)
        if batch is not None:
            self._add(header, FrameRows(batch))
        for cover in header.covers:
            self.progress.apply(cover)
        return self._judge_all()

    def take_counts(self) -> Counts:
        """What was counted since the last call."""
        counts, self._counts = self._counts, Counts()
        return counts

    def _add(self, header: FrameHeader, rows: FrameRows) -> None:
        self._drop_covered(header, rows)
        late = [group.add(rows) for group in self.groups.values()]
        for index in np.unique(np.concatenate(late)) if late else ():
            self._counts.late[rows.source_names[rows.number("source", index)]] += 1
        self._counts.joined += int(np.count_nonzero(rows.use))

    def _drop_covered(self, header: FrameHeader, rows: FrameRows) -> None:
        """Take rows out of `use` whose raw offset came before."""
        for cover in header.covers:
            coverage = self.progress.coverage((cover.source, cover.partition))
            if coverage.overlaps(cover.first, cover.last):
                of_source = rows.sources[rows.numbers("source")] == cover.source
                index = np.flatnonzero(of_source & (rows.numbers("partition") == cover.partition))
                again = index[coverage.mask(rows.numbers("offset")[index])]
                rows.use[again] = False
                self._counts.duplicate += len(again)

    # --- time ------------------------------------------------------------------------------------------------------

    def _judge_all(self) -> list[Alert]:
        watermark_ms = self.progress.advance()
        alerts: list[Alert] = []
        if watermark_ms is None:
            return alerts
        while True:
            ends = {width: self._next_end(width, watermark_ms) for width in self.groups}
            gone = [retired.due_ms for retired in self.retired if retired.due_ms <= watermark_ms]
            due = min((end for end in (*ends.values(), *gone) if end is not None), default=None)
            if due is None:
                return alerts
            for width, end_ms in ends.items():
                if end_ms == due:
                    group = self.groups[width]
                    group.end(due)
                    alerts += self._alerts(self.judges[width].tell(due))
                    group.close(due)
            for retired in [retired for retired in self.retired if retired.due_ms == due]:
                self.retired.remove(retired)
                alerts += retired.clear(self.grid, self._place)

    def _next_end(self, width: int, watermark_ms: int) -> int | None:
        return self.groups[width].next_end_ms(watermark_ms, self.judges[width].busy)

    def _alerts(self, told: list[Told]) -> list[Alert]:
        if not told:
            return []
        lon, lat = self.grid.centres(np.array([one.view.cells[one.i] for one in told], dtype=np.int64))
        places = zip(lon.tolist(), lat.tolist(), strict=True)
        return [self._alert(one, place) for one, place in zip(told, places, strict=True)]

    def _alert(self, told: Told, place: tuple[float, float]) -> Alert:
        """The record of one transition, in a cell whose middle is `place`."""
        detector, view, verdicts, i = told.detector, told.view, told.verdicts, told.i
        explanation = detector.explain(view, i, verdicts)
        cell = int(view.cells[i])
        pointers = view.evidence(i, explanation.evidence_features, detector.rings)
        lon, lat = place
        return Alert(
            alert_id=make_alert_id(detector.name, detector.version, cell, told.onset_ms),
            revision=told.revision,
            action=ACTIONS[told.action],
            detector=detector.name,
            detector_version=detector.version,
            category=detector.category,
            cell=cell,
            lon=round(lon, 7),
            lat=round(lat, 7),
            onset_ms=told.onset_ms,
            window_start_ms=view.end_ms - told.window_ms,
            window_end_ms=view.end_ms,
            severity=told.severity,
            confidence=round(float(verdicts.confidence[i]), 4),
            reason=NO_DATA if told.no_data else detector.reasons[verdicts.reason[i]],
            values=explanation.values,
            thresholds=explanation.thresholds,
            evidence=[self._record_name(pointer) for pointer in pointers[: self._settings.evidence_limit]],
            sentence_zh=explanation.sentence_zh,
            sentence_en=explanation.sentence_en,
            **self._place(lon, lat, told.onset_ms),
        )

    def _place(self, lon: float, lat: float, at_ms: int) -> dict[str, str | None]:
        return place_at(self.jurisdictions, lon, lat, at_ms)._asdict()

    def _record_name(self, pointer: int) -> str:
        source, partition, offset = pointer_parts(pointer)
        return f"{self._topics[Source(source)]}:{partition}:{offset}"
