"""The contract battery: what every detector must keep to, checked on random views. For your own detector:

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_my_detector_keeps_the_contract(check):
        check(MyDetector())

Each check takes a configured detector and raises AssertionError with what it saw.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from detectors.contract import MAX_SEVERITY, Detector, Verdict, Verdicts
from detectors.hysteresis import HysteresisState, Transitions, step
from detectors.loading import check_class, check_instance
from detectors.testing import FIRST_END_MS, ArrayView

CELLS = 600
SEED = 20_260_701
CHINESE = re.compile(r"[\u4e00-\u9fff]")

AnyDetector = Detector[Any]


def check_declarations_are_complete(detector: AnyDetector) -> None:
    """Names, titles, reasons, docstring, features and settings fit together."""
    problems = check_class(type(detector)) + check_instance(detector)
    _expect(not problems, "; ".join(problems))


def check_random_views_raise_somewhere(detector: AnyDetector) -> None:
    """Otherwise the other checks would be empty."""
    _expect(_raised(detector.judge(random_view(detector))).size > 0, f"none of {CELLS} random cells raised")


def check_same_input_gives_same_verdicts(detector: AnyDetector) -> None:
    """judge() has no memory and no clock: nothing stays on the detector."""
    view, before = random_view(detector), repr(vars(detector))
    first = detector.judge(view)
    detector.judge(random_view(detector, seed=SEED + 1))
    _expect_equal(first, detector.judge(view), "judging the same view twice")
    _expect(repr(vars(detector)) == before, "judge() changed the detector itself")


def check_input_is_unchanged(detector: AnyDetector) -> None:
    """The arrays of a view are shared with other detectors."""
    view, untouched = random_view(detector), random_view(detector)
    verdicts = detector.judge(view)
    for i in _raised(verdicts)[:20]:
        detector.explain(view, int(i), verdicts)
    for name, values in view.arrays().items():
        _expect(values.tobytes() == untouched.arrays()[name].tobytes(), f"{name} was changed")


def check_order_of_cells_is_irrelevant(detector: AnyDetector) -> None:
    """Permuted cells give permuted verdicts."""
    view = random_view(detector)
    order = np.random.default_rng(SEED).permutation(CELLS)
    _expect_equal(
        _take(detector.judge(view), order), detector.judge(view.take(detector, order)), "judging permuted cells"
    )


def check_cells_do_not_influence_each_other(detector: AnyDetector) -> None:
    """A cell's verdict is the same alone and in any company; neighbours count only through ring()."""
    view = random_view(detector)
    whole = detector.judge(view)
    for i in range(0, CELLS, 5):
        alone = np.array([i])
        _expect_equal(_take(whole, alone), detector.judge(view.take(detector, alone)), f"judging cell {i} alone")


def check_an_empty_view_is_quiet(detector: AnyDetector) -> None:
    """A shard without cells is judged, too."""
    verdicts = detector.judge(ArrayView(detector, 0))
    _check_form(detector, verdicts, 0)


def check_missing_data_never_raises(detector: AnyDetector) -> None:
    """Silence is UNKNOWN, or CLEAR where nothing happened is a fact; it never raises nor holds."""
    for what, view in (
        ("no rows at all", ArrayView(detector, 3)),
        ("NaN everywhere", ArrayView(detector, 3, {feature.name: np.nan for feature in detector.features})),
    ):
        verdicts = detector.judge(view)
        _check_form(detector, verdicts, 3)
        _expect(bool((verdicts.verdict <= Verdict.CLEAR).all()), f"{what}: verdicts {verdicts.verdict}")


def check_odd_numbers_are_safe(detector: AnyDetector) -> None:
    """NaN, infinities and overflow give no warning and no verdict out of range, in the odd cells and beside them."""
    view = random_view(detector)
    plain = detector.judge(view)
    rng = np.random.default_rng(SEED)
    odd = rng.random(CELLS) < 0.5
    spoilt: list[dict[str, Any]] = [{}, {}, {}]
    for name, values in view.arrays().items():
        kind, _, feature = name.partition(" ")
        if feature:
            strange = rng.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, -0.0], size=values.shape)
            here = odd & (rng.random(CELLS) < 0.7)
            spoilt[("feature", "ring", "bucket").index(kind)][feature] = np.where(here, strange, values)
    spoilt_view = ArrayView(detector, CELLS, spoilt[0], rings=spoilt[1], buckets=spoilt[2], state=view.state)
    try:
        with np.errstate(invalid="raise", divide="raise", over="raise"):
            verdicts = detector.judge(spoilt_view)
    except FloatingPointError as error:
        raise AssertionError(f"{error}; see detectors/arrays.py for measured() and counted()") from error
    _check_form(detector, verdicts, CELLS)
    even = np.flatnonzero(~odd)
    _expect_equal(_take(plain, even), _take(verdicts, even), "odd numbers in other cells")
    for i in _raised(verdicts)[:50]:
        _check_explanation(detector, spoilt_view, int(i), verdicts)


def check_verdicts_have_the_right_form(detector: AnyDetector) -> None:
    """Types, shapes and ranges of all arrays."""
    for seed in range(SEED, SEED + 5):
        view = random_view(detector, seed=seed)
        verdicts = detector.judge(view)
        _check_form(detector, verdicts, CELLS)
        if verdicts.state is not None:  # lanes that judge() made itself
            _check_form(detector, detector.judge(random_view(detector, seed=seed, state=verdicts.state)), CELLS)


def check_nothing_raises_behind_its_screens(detector: AnyDetector) -> None:
    """The join shows ``judge`` only cells that have reached a screen, and those where something stands."""
    if detector.screens is None:
        return
    for seed in range(SEED, SEED + 5):
        view = random_view(detector, seed=seed)
        reached = np.zeros(CELLS, dtype=np.bool_)
        for screen in detector.screens:
            value = view.ring(screen.feature, screen.rings)
            reached |= value >= screen.bound if screen.above else value <= screen.bound
        raised = _raised(detector.judge(view))
        behind = raised[~reached[raised]]
        _expect(behind.size == 0, f"cells {behind[:5]} raise without having reached any of {detector.screens}")


def check_judging_in_bulk_is_judging_each(detector: AnyDetector) -> None:
    """The same verdicts for pairs of detectors and cells, in any mixture."""
    if detector.bulk_type is None:
        return
    view, rings = random_view(detector), detector.rings
    which = np.random.default_rng(SEED).integers(0, 3, CELLS)
    bulk = detector.bulk_type([detector, detector, detector])
    _expect_equal(detector.judge(view), bulk.judge(which, lambda name: view.ring(name, rings)), "judging in bulk")


def check_only_declared_data_are_read(detector: AnyDetector) -> None:
    """ArrayView refuses features, rings and buckets beyond the declaration; here on the quiet and on the busy path."""
    for view in (ArrayView(detector, 4), random_view(detector)):
        verdicts = detector.judge(view)
        detector.explain(view, 0, verdicts)


def check_each_raise_explains_itself(detector: AnyDetector) -> None:
    """Two sentences, values, thresholds and declared evidence for every raised cell."""
    view = random_view(detector)
    verdicts = detector.judge(view)
    for i in _raised(verdicts):
        _check_explanation(detector, view, int(i), verdicts)


def check_each_other_verdict_explains_itself(detector: AnyDetector) -> None:
    """Updates and clears are explained, too, and a cell without any data."""
    view, empty = random_view(detector), ArrayView(detector, 1)
    verdicts = detector.judge(view)
    for i in range(0, CELLS, 3):
        _check_explanation(detector, view, i, verdicts)
    _check_explanation(detector, empty, 0, detector.judge(empty))


def check_state_survives_encode_and_decode(detector: AnyDetector) -> None:
    """A restart between two buckets changes no transition."""
    through, restarted = _story(detector, restarts=False), _story(detector, restarts=True)
    _expect(through == restarted, "a restart between buckets changed the alerts")
    _expect(bool(through), "the story has no alert")


CHECKS: tuple[Callable[[AnyDetector], None], ...] = (
    check_declarations_are_complete,
    check_random_views_raise_somewhere,
    check_same_input_gives_same_verdicts,
    check_input_is_unchanged,
    check_order_of_cells_is_irrelevant,
    check_cells_do_not_influence_each_other,
    check_an_empty_view_is_quiet,
    check_missing_data_never_raises,
    check_odd_numbers_are_safe,
    check_verdicts_have_the_right_form,
    check_nothing_raises_behind_its_screens,
    check_judging_in_bulk_is_judging_each,
    check_only_declared_data_are_read,
    check_each_raise_explains_itself,
    check_each_other_verdict_explains_itself,
    check_state_survives_encode_and_decode,
)


def name_of(check: Callable[[AnyDetector], None]) -> str:
    """The check's name as a sentence, for pytest's ids."""
    return check.__name__.removeprefix("check_")


def random_view(detector: AnyDetector, *, seed: int = SEED, state: Any = None) -> ArrayView:
    """A view of ``CELLS`` cells with values of all magnitudes from 0.1 to 1000, many zeros and many missing."""
    rng = np.random.default_rng(seed)
    own: dict[str, Any] = {}
    near: dict[str, Any] = {}
    buckets: dict[str, Any] = {}
    for feature in detector.features:
        if feature.aggregate.zero_when_empty:
            own[feature.name] = rng.integers(0, 4, CELLS) * (rng.random(CELLS) < 0.6)
            near[feature.name] = own[feature.name] + rng.integers(0, 3, CELLS) * (rng.random(CELLS) < 0.4)
            buckets[feature.name] = rng.integers(0, 4, (feature.buckets, CELLS))
        else:
            for values, shape in ((own, (CELLS,)), (near, (CELLS,)), (buckets, (feature.buckets, CELLS))):
                drawn = 10.0 ** rng.uniform(-1, 3, shape)
                values[feature.name] = np.where(rng.random(shape) < 0.25, np.nan, drawn)
    if state is None:
        lanes = (detector.state_lanes, CELLS)
        state = np.where(rng.random(lanes) < 0.5, np.nan, rng.uniform(0, 100, lanes))
    return ArrayView(detector, CELLS, own, rings=near, buckets=buckets, state=state, cells=rng.permutation(CELLS) + 7)


def _story(detector: AnyDetector, *, restarts: bool) -> list[tuple[Any, ...]]:
    hysteresis, lanes, slots = (
        HysteresisState.of(CELLS),
        np.full((detector.state_lanes, CELLS), np.nan),
        np.arange(CELLS),
    )
    told: list[tuple[Any, ...]] = []
    for bucket in range(8):
        verdicts = detector.judge(random_view(detector, seed=SEED + bucket, state=lanes))
        lanes = lanes if verdicts.state is None else verdicts.state
        end_ms = FIRST_END_MS + bucket * detector.bucket_ms
        change = step(hysteresis, slots, verdicts, end_ms, detector.hysteresis, bucket_ms=detector.bucket_ms)
        told.extend(_rows(change))
        if restarts:
            lanes = np.frombuffer(lanes.tobytes(), dtype=np.float64).reshape(lanes.shape)
            payload, hysteresis = hysteresis.encode(), HysteresisState()
            hysteresis.decode(payload)
    return told


def _rows(change: Transitions) -> list[tuple[Any, ...]]:
    return list(
        zip(change.slot, change.action, change.severity, change.onset_ms, change.revision, change.no_data, strict=True)
    )


def _check_form(detector: AnyDetector, verdicts: Verdicts, n: int) -> None:
    for name, dtype in (("verdict", np.int8), ("severity", np.uint8), ("confidence", np.float32), ("reason", np.uint8)):
        values = getattr(verdicts, name)
        _expect(
            values.dtype == dtype and values.shape == (n,), f"{name}: {values.dtype}{values.shape}, not {dtype}[{n}]"
        )
    verdict, severity, confidence = verdicts.verdict, verdicts.severity, verdicts.confidence
    _expect(bool(np.isin(verdict, list(Verdict)).all()), f"verdicts {np.unique(verdict)}")
    raised, held = verdict == Verdict.RAISE, verdict == Verdict.HOLD
    _expect(bool((severity[raised] >= 1).all()), "a RAISE without severity")
    _expect(bool((severity <= MAX_SEVERITY).all()), f"severities {np.unique(severity)}")
    _expect(bool((severity[~raised & ~held] == 0).all()), "a severity on CLEAR or UNKNOWN")
    _expect(bool(((confidence >= 0) & (confidence <= 1)).all()), "confidences outside 0 to 1")
    _expect(bool((confidence[raised] > 0).all()), "a RAISE without any confidence")
    _expect(bool((verdicts.reason < len(detector.reasons)).all()), f"reasons {np.unique(verdicts.reason)}")
    if verdicts.state is None:
        _expect(detector.state_lanes == 0, "state lanes are declared and never written")
    else:
        wanted = (detector.state_lanes, n)
        _expect(
            verdicts.state.shape == wanted and verdicts.state.dtype == np.float64,
            f"state: {verdicts.state.dtype}{verdicts.state.shape}, not float64{wanted}",
        )


def _check_explanation(detector: AnyDetector, view: ArrayView, i: int, verdicts: Verdicts) -> None:
    explanation = detector.explain(view, i, verdicts)
    zh, en = explanation.sentence_zh, explanation.sentence_en
    where = f"cell {i}, {detector.reasons[verdicts.reason[i]]}"
    _expect(bool(CHINESE.search(zh)) and zh.endswith("。"), f"{where}: no Chinese sentence: {zh!r}")
    _expect(en.endswith(".") and " " in en and not CHINESE.search(en), f"{where}: no English sentence: {en!r}")
    for sentence in (zh, en):
        _expect(not re.search(r"\b(nan|inf|None)\b|\s\s", sentence), f"{where}: unfit for people: {sentence!r}")
    _expect(bool(explanation.values) and bool(explanation.thresholds), f"{where}: no values or no thresholds")
    numbers = [value for value in explanation.values.values() if value is not None]
    for value in (*numbers, *explanation.thresholds.values()):
        _expect(type(value) in (int, float) and bool(np.isfinite(value)), f"{where}: {value!r} is no finite number")
    msgspec.json.encode((explanation.values, explanation.thresholds))
    kept = {feature.name for feature in detector.features if feature.evidence}
    evidence = explanation.evidence_features
    _expect(bool(evidence) and set(evidence) <= kept, f"{where}: evidence {evidence}, declared {sorted(kept)}")


def _raised(verdicts: Verdicts) -> Any:
    return np.flatnonzero(verdicts.verdict == Verdict.RAISE)


def _take(verdicts: Verdicts, index: Any) -> Verdicts:
    return Verdicts(
        verdict=verdicts.verdict[index],
        severity=verdicts.severity[index],
        confidence=verdicts.confidence[index],
        reason=verdicts.reason[index],
        state=None if verdicts.state is None else verdicts.state[:, index],
    )


def _expect_equal(one: Verdicts, other: Verdicts, what: str) -> None:
    for name in ("verdict", "severity", "confidence", "reason", "state"):
        a, b = getattr(one, name), getattr(other, name)
        same = (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=True))
        _expect(same, f"{what} gave another {name}")


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
