"""Hysteresis: from the verdicts of each bucket to alerts that are raised, updated and cleared, without flapping.

One state machine per slot (a slot is where the join keeps one cell), all stepped at once with numpy. Slots without an
alert and without a RAISE verdict cost two passes over the verdicts and nothing more.

    quiet --RAISE--> rising --raise_after x RAISE--> active --clear_after x CLEAR--> quiet
                     rising --CLEAR or HOLD--> quiet
                     rising or active --stale_after x UNKNOWN--> quiet (an active one with reason no_data)
                     active: stronger RAISE -> severity up at once
                             lower_after x weaker RAISE or HOLD -> severity down, to the worst of them

UNKNOWN leaves the counts of raising, lowering and clearing as they are: a sensor that reports every other minute must
still be able to raise. CLEAR, and HOLD with severity 0, say nothing about severity and leave the count of lowering.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detectors.contract import MAX_SEVERITY, Bools, Hysteresis, Ints, Verdict, Verdicts
from schemas.alert import Action

ACTIONS: tuple[Action, ...] = (Action.RAISE, Action.UPDATE, Action.CLEAR)
"""What the codes in ``Transitions.action`` stand for."""
RAISE, UPDATE, CLEAR = range(3)

QUIET, RISING, ACTIVE = range(3)
SLOT = np.dtype(
    [
        ("phase", "<u1"),
        ("severity", "<u1"),
        ("lower_to", "<u1"),  # worst severity within the present run of weaker verdicts
        ("streak_raise", "<i2"),
        ("streak_clear", "<i2"),
        ("streak_lower", "<i2"),
        ("streak_unknown", "<i2"),
        ("onset_ms", "<i8"),
        ("revision", "<i4"),
    ]
)
"""One slot's state, 23 bytes. A quiet slot is all zero: a new one needs no set-up, a snapshot can leave it out."""

Slots = npt.NDArray[Any]  # of dtype SLOT; numpy's stubs cannot say that


@dataclass(slots=True)
class HysteresisState:
    """The states of all slots of one detector; ``rows`` has dtype ``SLOT``."""

    rows: Slots = field(default_factory=lambda: np.zeros(0, dtype=SLOT))

    @classmethod
    def of(cls, capacity: int) -> "HysteresisState":
        """``capacity`` quiet slots."""
        return cls(np.zeros(capacity, dtype=SLOT))

    def grow(self, capacity: int) -> None:
        """Make room for ``capacity`` slots; the new ones are quiet. Never shrinks."""
        missing = capacity - len(self.rows)
        if missing > 0:
            self.rows = np.concatenate([self.rows, np.zeros(missing, dtype=SLOT)])

    @property
    def active(self) -> Bools:
        """Which slots have a standing alert, bool[capacity]."""
        return np.asarray(self.rows["phase"] == ACTIVE)

    @property
    def quiet(self) -> Bools:
        """Which slots hold nothing that a new slot would not have, and may be given to another cell."""
        return np.asarray(self.rows["phase"] == QUIET)

    def forget(self, slots: Ints) -> None:
        """Make ``slots`` quiet, without a clear: for cells that another shard now owns."""
        self.rows[slots] = np.zeros(1, dtype=SLOT)

    def encode(self, slots: Ints | None = None) -> bytes:
        """The states of ``slots`` (default: all) for a snapshot, ``SLOT.itemsize`` bytes each."""
        return (self.rows if slots is None else self.rows[slots]).tobytes()

    def decode(self, payload: bytes | memoryview, slots: Ints | None = None) -> None:
        """Put back what ``encode`` gave, into ``slots`` or in place of everything."""
        rows = np.frombuffer(payload, dtype=SLOT)
        if slots is None:
            self.rows = rows.copy()
        else:
            self.rows[slots] = rows


class Pace(Protocol):
    """How slowly minds are changed, as `Hysteresis` says it: one number for all, or one for each slot of a step."""

    @property
    def raise_after(self) -> int | Ints: ...
    @property
    def lower_after(self) -> int | Ints: ...
    @property
    def clear_after(self) -> int | Ints: ...
    @property
    def stale_after(self) -> int | Ints: ...
    @property
    def always(self) -> bool | Bools:
        """Whether a standing alert is told again in every bucket whose verdict is RAISE."""
        ...

    def at(self, position: Ints) -> "Pace":
        """That of some of the slots."""
        ...


@dataclass(frozen=True, slots=True)
class Paces:
    """The hysteresis of each slot of a step, as arrays of one length."""

    raise_after: Ints
    lower_after: Ints
    clear_after: Ints
    stale_after: Ints
    always: Bools

    @classmethod
    def of(cls, settings: Sequence[Hysteresis]) -> "Paces":
        return cls(
            np.array([s.raise_after for s in settings], dtype=np.int64),
            np.array([s.lower_after for s in settings], dtype=np.int64),
            np.array([s.clear_after for s in settings], dtype=np.int64),
            np.array([s.stale_after for s in settings], dtype=np.int64),
            np.array([s.always for s in settings], dtype=np.bool_),
        )

    def at(self, position: Ints) -> "Paces":
        return Paces(
            self.raise_after[position],
            self.lower_after[position],
            self.clear_after[position],
            self.stale_after[position],
            self.always[position],
        )


@dataclass(frozen=True, slots=True)
class Transitions:
    """What one step changed, one element per raise, update or clear, in the order of the step's cells."""

    position: Ints  # index into the view and the verdicts: what `explain` takes
    slot: Ints
    action: npt.NDArray[np.int8]  # RAISE, UPDATE or CLEAR; see ACTIONS
    severity: npt.NDArray[np.uint8]  # after the change; of a clear: the last one
    onset_ms: Ints
    revision: npt.NDArray[np.int32]  # 0 for the raise, then one more each time
    no_data: Bools  # cleared because the cell could not be judged any more

    def __len__(self) -> int:
        return len(self.position)


def step(
    state: HysteresisState,
    slots: Ints,
    verdicts: Verdicts,
    end_ms: int,
    settings: Pace,
    *,
    bucket_ms: int,
) -> Transitions:
    """Advance ``slots`` (no slot twice) by one bucket that ends at ``end_ms``; ``verdicts`` runs parallel to them.

    Changes ``state``; slots that are not named stay as they are. The onset of an alert is the start of the first
    bucket of the RAISE run that raised it.
    """
    raising = verdicts.verdict == Verdict.RAISE
    position = np.flatnonzero(raising | (state.rows["phase"][slots] != QUIET))
    touched = slots[position]
    settings = settings.at(position)
    row = state.rows[touched]
    verdict = verdicts.verdict[position]
    severity = np.minimum(verdicts.severity[position], MAX_SEVERITY)
    raising = raising[position]
    severity[raising] = np.maximum(severity[raising], 1)

    active = row["phase"] == ACTIVE
    unknown = verdict == Verdict.UNKNOWN
    row["streak_unknown"] = np.where(unknown, row["streak_unknown"] + 1, 0)
    stale = row["streak_unknown"] >= settings.stale_after

    raised = _rise(row, ~active, raising, unknown, end_ms - bucket_ms, settings)
    changed = _change_severity(row, active, verdict, severity, settings)
    cleared = _count_clear(row, active, verdict, settings)

    row["severity"][raised] = severity[raised]
    row["phase"][raised] = ACTIVE
    ended = active & (cleared | stale)
    told_again = changed | (raising & settings.always)
    updated = active & ~ended & told_again
    row["revision"][updated | ended] += 1

    told = raised | updated | ended
    action = np.select([raised, updated], [np.int8(RAISE), np.int8(UPDATE)], np.int8(CLEAR))
    transitions = Transitions(
        position=position[told],
        slot=touched[told],
        action=action[told].astype(np.int8),
        severity=row["severity"][told],
        onset_ms=row["onset_ms"][told],
        revision=row["revision"][told],
        no_data=(ended & ~cleared)[told],
    )
    fell_back = ~active & ~raised & ((row["streak_raise"] == 0) | stale)
    row[ended | fell_back] = np.zeros(1, dtype=SLOT)
    state.rows[touched] = row
    return transitions


def _rise(row: Slots, waiting: Bools, raising: Bools, unknown: Bools, start_ms: int, settings: Pace) -> Bools:
    """Count RAISE in slots without an alert; which of them are raised now."""
    up = waiting & raising
    first = up & (row["streak_raise"] == 0)
    row["onset_ms"][first] = start_ms
    row["phase"][first] = RISING
    row["streak_raise"][up] += 1
    row["streak_raise"][waiting & ~raising & ~unknown] = 0
    raised: Bools = up & (row["streak_raise"] >= settings.raise_after)
    row["streak_raise"][raised] = 0
    return raised


def _change_severity(
    row: Slots,
    active: Bools,
    verdict: npt.NDArray[np.int8],
    severity: npt.NDArray[np.uint8],
    settings: Pace,
) -> Bools:
    """Raise or lower the severity of standing alerts; which of them changed."""
    tells = active & (verdict >= Verdict.HOLD) & (severity > 0)
    weaker = tells & (severity < row["severity"])
    stronger = tells & (verdict == Verdict.RAISE) & (severity > row["severity"])

    row["streak_lower"][weaker] += 1
    row["lower_to"][weaker] = np.maximum(row["lower_to"], severity)[weaker]
    lowered = weaker & (row["streak_lower"] >= settings.lower_after)
    row["severity"][lowered] = row["lower_to"][lowered]
    row["severity"][stronger] = severity[stronger]

    settled = (tells & ~weaker) | lowered
    row["streak_lower"][settled] = 0
    row["lower_to"][settled] = 0
    return np.asarray(stronger | lowered)


def _count_clear(row: Slots, active: Bools, verdict: npt.NDArray[np.int8], settings: Pace) -> Bools:
    """Count CLEAR in slots with an alert; which of them are cleared now."""
    clear = active & (verdict == Verdict.CLEAR)
    row["streak_clear"][clear] += 1
    row["streak_clear"][active & (verdict >= Verdict.HOLD)] = 0
    return np.asarray(clear & (row["streak_clear"] >= settings.clear_after))
