"""Hysteresis: tables of verdict sequences, and a property test against a plain loop over single cells."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.contract import Hysteresis, Verdict, Verdicts
from detectors.hysteresis import ACTIONS, HysteresisState, step
from schemas.errors import SettingsError

MINUTE_MS = 60_000
START_MS = 1_782_864_000_000

# A symbol is one bucket's verdict: 1..4 RAISE with that severity, h HOLD with severity 0, a..d HOLD with severity 1..4,
# . CLEAR, ? UNKNOWN.
SYMBOLS = "1234habcd.?"


def verdict_of(symbol: str) -> tuple[int, int]:
    if symbol in "1234":
        return Verdict.RAISE, int(symbol)
    if symbol in "habcd":
        return Verdict.HOLD, "habcd".index(symbol)
    return (Verdict.CLEAR if symbol == "." else Verdict.UNKNOWN), 0


def verdicts_of(symbols: str) -> Verdicts:
    pairs = [verdict_of(symbol) for symbol in symbols]
    verdicts = Verdicts.unknown(len(pairs))
    verdicts.verdict[:] = [verdict for verdict, _ in pairs]
    verdicts.severity[:] = [severity for _, severity in pairs]
    return verdicts


def run(symbols: str, rule: Hysteresis) -> str:
    """What happens in each bucket: `-` nothing, R/U + severity, C cleared, N cleared for want of data."""
    state = HysteresisState.of(1)
    told = []
    for bucket, symbol in enumerate(symbols):
        end_ms = START_MS + bucket * MINUTE_MS
        change = step(state, np.array([0]), verdicts_of(symbol), end_ms, rule, bucket_ms=MINUTE_MS)
        if not len(change):
            told.append("-")
        elif ACTIONS[change.action[0]] == "clear":
            told.append("N" if change.no_data[0] else "C")
        else:
            told.append(f"{ACTIONS[change.action[0]][0].upper()}{change.severity[0]}")
    return " ".join(told)


PATIENT = Hysteresis(raise_after=2, lower_after=2, clear_after=2, stale_after=3)
EAGER = Hysteresis(raise_after=1, lower_after=1, clear_after=1, stale_after=2)
CHATTY = Hysteresis(raise_after=1, lower_after=2, clear_after=2, stale_after=3, update="always")


@pytest.mark.parametrize(
    ("rule", "symbols", "expected"),
    [
        (EAGER, "....", "- - - -"),  # nothing wrong, nothing told
        (EAGER, "????", "- - - -"),  # nothing known, nothing told
        (EAGER, "hhdd", "- - - -"),  # HOLD alone never raises, whatever severity it names
        (EAGER, "1.", "R1 C"),  # one bucket raises, one clears
        (EAGER, "1.1", "R1 C R1"),  # a second alert after the first was cleared
        (PATIENT, "1.1.", "- - - -"),  # RAISE must be consecutive
        (PATIENT, "1h1", "- - -"),  # HOLD breaks the run of RAISE as well
        (PATIENT, "1?1", "- - R1"),  # UNKNOWN neither feeds nor breaks it
        (PATIENT, "1???1", "- - - - -"),  # too much UNKNOWN ends it
        (PATIENT, "13", "- R3"),  # the severity is that of the bucket that raises
        (PATIENT, "11.1.1", "- R1 - - - -"),  # a single CLEAR does not clear
        (PATIENT, "11.h..", "- R1 - - - C"),  # HOLD starts the run of CLEAR anew
        (PATIENT, "11.?.", "- R1 - - C"),  # UNKNOWN does not break the run of CLEAR
        (PATIENT, "11???", "- R1 - - N"),  # nothing known for too long: cleared as no data
        (PATIENT, "11??1??.", "- R1 - - - - - -"),  # any known verdict starts the run of UNKNOWN anew
        (PATIENT, "11..1", "- R1 - C -"),  # after a clear the raise counts from nothing
        (PATIENT, "114", "- R1 U4"),  # worse is told at once
        (PATIENT, "4433", "- R4 - U3"),  # better only after lower_after
        (PATIENT, "44143", "- R4 - - -"),  # a bucket at the old severity breaks the run of weaker ones
        (PATIENT, "4412", "- R4 - U2"),  # down to the worst of the weaker run, not to the last
        (PATIENT, "44hb", "- R4 - -"),  # HOLD without severity is no step down
        (PATIENT, "44bb", "- R4 - U2"),  # HOLD with a severity is
        (PATIENT, "22dd", "- R2 - -"),  # but HOLD never makes it worse
        (PATIENT, "441.?1", "- R4 - - - U1"),  # CLEAR and UNKNOWN leave the run of weaker buckets
        (PATIENT, "444333", "- R4 - - U3 -"),  # told once
        (
            CHATTY,
            "1112.1",
            "R1 U1 U1 U2 - U2",
        ),  # "always" tells every RAISE bucket; the severity stays until lower_after
        (CHATTY, "1h.?.", "R1 - - - C"),  # and nothing else
    ],
)
def test_a_sequence_of_verdicts_gives_these_changes(rule: Hysteresis, symbols: str, expected: str) -> None:
    assert run(symbols, rule) == expected


def naive(symbols: str, rule: Hysteresis) -> list[tuple[int, str, int, int, int, bool]]:
    """The same machine for one cell, in plain Python: (bucket, action, severity, onset, revision, no_data)."""
    alert = False
    severity = revision = ups = clears = unknowns = onset = 0
    weaker: list[int] = []
    told = []
    for bucket, symbol in enumerate(symbols):
        verdict, now = verdict_of(symbol)
        unknowns = unknowns + 1 if verdict == Verdict.UNKNOWN else 0
        if not alert:
            if verdict == Verdict.RAISE:
                if ups == 0:
                    onset = START_MS + (bucket - 1) * MINUTE_MS
                ups += 1
                if ups >= rule.raise_after:
                    alert, severity, revision, ups, clears, weaker = True, now, 0, 0, 0, []
                    told.append((bucket, "raise", severity, onset, 0, False))
            elif verdict != Verdict.UNKNOWN or unknowns >= rule.stale_after:
                ups = 0
            if not alert and ups == 0:
                unknowns = 0
            continue
        changed = False
        if verdict in (Verdict.RAISE, Verdict.HOLD) and now > 0:
            if now < severity:
                weaker.append(now)
                if len(weaker) >= rule.lower_after:
                    severity, weaker, changed = max(weaker), [], True
            else:
                if now > severity and verdict == Verdict.RAISE:
                    severity, changed = now, True
                weaker = []
        if verdict == Verdict.CLEAR:
            clears += 1
        elif verdict != Verdict.UNKNOWN:
            clears = 0
        cleared = verdict == Verdict.CLEAR and clears >= rule.clear_after
        if cleared or unknowns >= rule.stale_after:
            told.append((bucket, "clear", severity, onset, revision + 1, not cleared))
            alert, unknowns = False, 0
        elif changed or (rule.update == "always" and verdict == Verdict.RAISE):
            revision += 1
            told.append((bucket, "update", severity, onset, revision, False))
    return told


rules = st.builds(
    Hysteresis,
    raise_after=st.integers(1, 3),
    lower_after=st.integers(1, 3),
    clear_after=st.integers(1, 3),
    stale_after=st.integers(1, 4),
    update=st.sampled_from(["change", "always"]),
)


@settings(max_examples=150, deadline=None)
@given(
    rule=rules,
    histories=st.lists(st.text(SYMBOLS, min_size=24, max_size=24), min_size=1, max_size=8),
    order=st.randoms(use_true_random=False),
    snapshot_every=st.integers(1, 24),
)
def test_stepping_all_slots_equals_a_plain_loop_over_each(
    rule: Hysteresis, histories: list[str], order: Random, snapshot_every: int
) -> None:
    capacity = len(histories) + 3
    slots = np.array(order.sample(range(capacity), len(histories)), dtype=np.int64)
    state = HysteresisState.of(capacity)
    told: list[list[tuple[int, str, int, int, int, bool]]] = [[] for _ in histories]
    for bucket in range(24):
        verdicts = verdicts_of("".join(history[bucket] for history in histories))
        change = step(state, slots, verdicts, START_MS + bucket * MINUTE_MS, rule, bucket_ms=MINUTE_MS)
        assert list(change.position) == sorted(change.position)
        for k, position in enumerate(change.position):
            assert change.slot[k] == slots[position]
            told[position].append(
                (
                    bucket,
                    ACTIONS[change.action[k]].value,
                    int(change.severity[k]),
                    int(change.onset_ms[k]),
                    int(change.revision[k]),
                    bool(change.no_data[k]),
                )
            )
        if bucket % snapshot_every == 0:  # a restart in the middle changes nothing
            restored = HysteresisState()
            restored.decode(state.encode())
            state = restored
    assert told == [naive(history, rule) for history in histories]


def test_slots_that_are_not_named_stay_as_they_are() -> None:
    state = HysteresisState.of(3)
    step(state, np.array([0, 1]), verdicts_of("11"), START_MS, EAGER, bucket_ms=MINUTE_MS)
    before = state.encode(np.array([1]))
    step(state, np.array([0]), verdicts_of("."), START_MS + MINUTE_MS, EAGER, bucket_ms=MINUTE_MS)
    assert state.encode(np.array([1])) == before
    assert list(state.active) == [False, True, False]


def test_a_slot_that_went_quiet_again_is_as_good_as_new() -> None:
    state = HysteresisState.of(2)
    for symbols in ("11", "1h", ".h", ".h"):
        step(state, np.array([0, 1]), verdicts_of(symbols), START_MS, PATIENT, bucket_ms=MINUTE_MS)
    assert list(state.quiet) == [True, True]
    assert state.encode() == HysteresisState.of(2).encode()


def test_growing_and_forgetting_keep_the_other_slots() -> None:
    state = HysteresisState.of(2)
    step(state, np.array([0, 1]), verdicts_of("12"), START_MS, EAGER, bucket_ms=MINUTE_MS)
    state.grow(4)
    state.grow(1)
    assert list(state.active) == [True, True, False, False]
    state.forget(np.array([0]))
    assert list(state.active) == [False, True, False, False]


def test_the_verdicts_are_not_changed_and_a_raise_without_severity_counts_as_1() -> None:
    verdicts = verdicts_of("1")
    verdicts.severity[:] = 0
    change = step(HysteresisState.of(1), np.array([0]), verdicts, START_MS, EAGER, bucket_ms=MINUTE_MS)
    assert list(change.severity) == [1]
    assert list(verdicts.severity) == [0]


def test_bad_settings_name_every_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        Hysteresis(raise_after=0, clear_after=99_999, update="sometimes")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3
