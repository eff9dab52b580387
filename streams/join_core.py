"""The join of one shard, as a pure function of its log: frames in, alerts out. No Kafka, no Faust, no clock.

A frame's rows are added to the windows, then the frame's covers move the watermark, then every bucket that the
watermark has passed is judged by the detectors, in the order of event time. What comes out depends on the rows and
their event times alone, not on how the rows were cut into frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from detectors import hysteresis
from detectors.contract import NO_DATA, Detector, Hysteresis, Verdicts
from detectors.features import Aggregate
from schemas.alert import Alert, make_alert_id
from schemas.observation import Flag, FrameHeader, decode_frame
from schemas.sources import Source
from streams.alert_places import place_at
from streams.cell_view import FeatureUse, WindowView, make_pointer, pointer_parts
from streams.lanes import FloatArray, IntArray, LanePlan
from streams.raw_progress import RawKey, RawProgress
from streams.slots import SlotArray, Slots
from streams.windows import Rows, WindowGroup
from topology.grid import Grid
from topology.jit import kernel
from topology.jurisdictions import Jurisdictions

NOT_JOINED: Final = int(Flag.LATE | Flag.UNPLACED)
HALO: Final = int(Flag.HALO)
_NO_HASHES: Final = np.empty(0, dtype=np.uint64)


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
class Judge:
    """A detector at work on one shard: its settings, the hysteresis of each slot and its own lanes."""

    detector: Detector[Any]
    standing: hysteresis.HysteresisState
    state: FloatArray  # float64[state_lanes, slots], NaN where the detector has nothing yet
    features: Mapping[str, FeatureUse]
    settings: Hysteresis

    @classmethod
    def of(cls, detector: Detector[Any], plan: LanePlan) -> Judge:
        uses = {feature.name: FeatureUse(plan.use(feature), feature.window_ms) for feature in detector.features}
        state = np.empty((detector.state_lanes, 0))
        return cls(detector, hysteresis.HysteresisState(), state, uses, detector.hysteresis)

    @property
    def window_ms(self) -> int:
        return max(feature.window_ms for feature in self.features.values())

    def grow(self, slots: int) -> None:
        self.standing.grow(slots)
        missing = slots - self.state.shape[1]
        if missing > 0:
            self.state = np.pad(self.state, ((0, 0), (0, missing)), constant_values=np.nan)


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
        self.slots = Slots()
        self.progress = RawProgress(raw_partitions)
        self.arrived_ms = 0  # the broker's append time of the newest raw record taken in; for metrics
        self._counts = Counts()
        self.groups: dict[int, WindowGroup] = {}
        self.judges: dict[int, list[Judge]] = defaultdict(list)
        self._grid = grid
        self.jurisdictions = Jurisdictions.empty(grid) if jurisdictions is None else jurisdictions
        self._settings = settings
        self._topics = {source: source.topic for source in Source} | dict(topics or {})
        self._counts_entities = any(f.aggregate is Aggregate.DISTINCT for d in detectors for f in d.features)
        by_width: dict[int, list[Detector[Any]]] = defaultdict(list)
        for detector in detectors:
            by_width[detector.bucket_ms].append(detector)
        for width, members in sorted(by_width.items()):
            plan = LanePlan.of(width, [feature for detector in members for feature in detector.features])
            self.groups[width] = WindowGroup(plan, evidence_buckets=settings.evidence_buckets)
            for detector in sorted(members, key=lambda d: d.name):
                self.judges[width].append(Judge.of(detector, plan))

    # --- one frame -------------------------------------------------------------------------------------------------

    def process(self, frame: bytes | memoryview) -> list[Alert]:
        """Take in one frame and return the alerts that it brings about; FrameError when it is none."""
        header, batch = decode_frame(frame)
        self.arrived_ms = max(self.arrived_ms, *(cover.arrived_ms for cover in header.covers), 0)
        if batch.num_rows:
            self._add(header, batch)
        for cover in header.covers:
            self.progress.apply(cover)
        return self._judge_all()

    def take_counts(self) -> Counts:
        """What was counted since the last call."""
        counts, self._counts = self._counts, Counts()
        return counts

    def _add(self, header: FrameHeader, batch: pa.RecordBatch) -> None:
        source, source_names = _codes(batch.column("source"))
        kind, kind_names = _codes(batch.column("kind"))
        sources = np.array([int(Source.of_topic(name)) for name in source_names], dtype=np.int64)
        partition = batch.column("partition").to_numpy()
        offset = batch.column("offset").to_numpy()
        cells = batch.column("cell").to_numpy()
        rows = len(cells)
        use = np.empty(rows, dtype=np.bool_)
        halo = np.empty(rows, dtype=np.bool_)
        number = np.empty(rows, dtype=np.int32)
        pointer = np.empty(rows, dtype=np.int64)
        _prepare(
            cells, source, partition, offset, kind, batch.column("flags").to_numpy(), sources, len(kind_names),
            use, halo, number, pointer,
        )  # fmt: skip
        self._drop_covered(header, sources, source, partition, offset, use)
        slots = self.slots.assign(cells, use, halo)
        entity_hash = _string_hashes(batch.column("entity")) if self._counts_entities else _NO_HASHES
        taken = Rows(
            slots=slots,
            kind=number,
            event_at_ms=batch.column("event_at").view(pa.int64()).to_numpy(),
            value=batch.column("value").to_numpy(),
            confidence=batch.column("confidence").to_numpy(),
            quality=batch.column("quality").to_numpy(),
            pointer=pointer,
            entity_hash=entity_hash,
        )
        kinds = [(int(code), name) for code in sources for name in kind_names]
        late = [group.add(taken, kinds, self.slots.count) for group in self.groups.values()]
        for index in np.unique(np.concatenate(late)) if late else ():
            self._counts.late[source_names[source[index]]] += 1
        self._counts.joined += int(np.count_nonzero(use))

    def _drop_covered(
        self,
        header: FrameHeader,
        sources: IntArray,
        source: npt.NDArray[Any],
        partition: IntArray,
        offset: IntArray,
        use: npt.NDArray[np.bool_],
    ) -> None:
        """Take rows out of `use` whose raw offset came before; `source` are positions in `sources`."""
        for cover in header.covers:
            coverage = self.progress.coverage((cover.source, cover.partition))
            if coverage.overlaps(cover.first, cover.last):
                index = np.flatnonzero((sources[source] == cover.source) & (partition == cover.partition))
                again = index[coverage.mask(offset[index])]
                use[again] = False
                self._counts.duplicate += len(again)

    # --- time ------------------------------------------------------------------------------------------------------

    def _judge_all(self) -> list[Alert]:
        watermark_ms = self.progress.advance()
        alerts: list[Alert] = []
        if watermark_ms is None:
            return alerts
        while True:
            ends = {width: self._next_end(width, watermark_ms) for width in self.groups}
            due = min((end for end in ends.values() if end is not None), default=None)
            if due is None:
                return alerts
            for width, end_ms in ends.items():
                if end_ms == due:
                    for judge in self.judges[width]:
                        alerts += self._judge(self.groups[width], judge, due)
                    self.groups[width].close(due)

    def _next_end(self, width: int, watermark_ms: int) -> int | None:
        busy = any(not judge.standing.quiet.all() for judge in self.judges[width])
        return self.groups[width].next_end_ms(watermark_ms, busy)

    def _judge(self, group: WindowGroup, judge: Judge, end_ms: int) -> list[Alert]:
        detector = judge.detector
        judge.grow(self.slots.count)
        seen = group.touched(end_ms, judge.window_ms, self.slots.count)
        position = np.flatnonzero(self.slots.owned & (seen | ~judge.standing.quiet))
        index: SlotArray = position.astype(np.int32)
        if not len(index):
            return []
        view = WindowView(group, self.slots, judge.features, end_ms, index, judge.state[:, index])
        verdicts = detector.judge(view)
        changes = hysteresis.step(
            judge.standing, position, verdicts, end_ms, judge.settings, bucket_ms=group.plan.bucket_ms
        )
        if verdicts.state is not None:
            judge.state[:, index] = verdicts.state
        cells = view.cells[changes.position]
        places = self._grid.centres(cells)
        # by cell, since slots are numbered by arrival, which depends on how frames were cut
        return [self._alert(judge, view, verdicts, changes, int(c), places) for c in np.argsort(cells)]

    def _alert(
        self,
        judge: Judge,
        view: WindowView,
        verdicts: Verdicts,
        changes: hysteresis.Transitions,
        c: int,
        places: tuple[FloatArray, FloatArray],
    ) -> Alert:
        """The record of transition number `c`; `places` are lon and lat of all of them."""
        detector, i = judge.detector, int(changes.position[c])
        explanation = detector.explain(view, i, verdicts)
        cell, onset_ms = int(view.cells[i]), int(changes.onset_ms[c])
        pointers = view.evidence(i, explanation.evidence_features, detector.rings)
        lon, lat = float(places[0][c]), float(places[1][c])
        return Alert(
            alert_id=make_alert_id(detector.name, detector.version, cell, onset_ms),
            revision=int(changes.revision[c]),
            action=hysteresis.ACTIONS[changes.action[c]],
            detector=detector.name,
            detector_version=detector.version,
            category=detector.category,
            cell=cell,
            lon=round(lon, 7),
            lat=round(lat, 7),
            onset_ms=onset_ms,
            window_start_ms=view.end_ms - judge.window_ms,
            window_end_ms=view.end_ms,
            severity=int(changes.severity[c]),
            confidence=round(float(verdicts.confidence[i]), 4),
            reason=NO_DATA if changes.no_data[c] else detector.reasons[verdicts.reason[i]],
            values=explanation.values,
            thresholds=explanation.thresholds,
            evidence=[self._record_name(pointer) for pointer in pointers[: self._settings.evidence_limit]],
            sentence_zh=explanation.sentence_zh,
            sentence_en=explanation.sentence_en,
            **place_at(self.jurisdictions, lon, lat, onset_ms)._asdict(),
        )

    def _record_name(self, pointer: int) -> str:
        source, partition, offset = pointer_parts(pointer)
        return f"{self._topics[Source(source)]}:{partition}:{offset}"


def _codes(column: pa.DictionaryArray) -> tuple[npt.NDArray[Any], list[str]]:
    return column.indices.to_numpy(), column.dictionary.to_pylist()


@kernel
def _prepare(
    cells: IntArray,
    source: npt.NDArray[np.int8],
    partition: npt.NDArray[np.int32],
    offset: IntArray,
    kind: npt.NDArray[np.int32],
    flags: npt.NDArray[np.uint16],
    sources: IntArray,
    kind_count: int,
    use: npt.NDArray[np.bool_],
    halo: npt.NDArray[np.bool_],
    number: npt.NDArray[np.int32],
    pointer: IntArray,
) -> None:
    """One pass over the rows: which are joined, which are halo, the number of (source, kind), the evidence pointer."""
    for i in range(cells.shape[0]):
        use[i] = (flags[i] & NOT_JOINED) == 0 and cells[i] >= 0
        halo[i] = (flags[i] & HALO) != 0
        number[i] = source[i] * kind_count + kind[i]
        pointer[i] = make_pointer(sources[source[i]], partition[i], offset[i])


@kernel
def _hash_strings(offsets: npt.NDArray[np.int32], data: npt.NDArray[np.uint8], out: npt.NDArray[np.uint64]) -> None:
    """FNV-1a, 64 bits, with a final mix: its low bits alone are too regular for a sketch."""
    for i in range(out.shape[0]):
        value = np.uint64(0xCBF29CE484222325)
        for at in range(offsets[i], offsets[i + 1]):
            value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xFF51AFD7ED558CCD)  # the finaliser of MurmurHash3
        out[i] = value ^ (value >> np.uint64(33))


def _string_hashes(column: pa.StringArray) -> npt.NDArray[np.uint64]:
    _, offsets, data = column.buffers()
    out = np.empty(len(column), dtype=np.uint64)
    starts = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    _hash_strings(starts, np.frombuffer(data or b"", dtype=np.uint8), out)
    return out
