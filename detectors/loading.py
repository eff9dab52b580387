"""From detector classes and configuration to checked instances, with all problems in one error.

    detectors:
      - {name: waterlogging}                                                  # all defaults
      - {name: threshold, as: heat_stress, settings: {metric: temperature_c, raise_at: [35], clear_at: 34}}

A detector of your own: install a package with an entry point in the group ``tongguan.detectors`` whose name is the
detector's name, and list that name in the configuration. Entry points that no configuration names are not imported.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from itertools import pairwise
from math import isfinite
from typing import Any, get_type_hints

import msgspec

from detectors import BUILT_IN
from detectors.contract import OWN_REASONS, Detector
from detectors.features import Feature
from schemas.errors import SettingsError

GROUP = "tongguan.detectors"
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
MAX_RINGS = 8
"""Farther than any detector should look: a ring more is a halo row more for every neighbour shard."""
MAX_REASONS = 256  # a reason is a uint8

DetectorClass = type[Detector[Any]]


def build_detectors(
    config: Sequence[Mapping[str, object]],
    *,
    built_in: Sequence[DetectorClass] = BUILT_IN,
    installed: Iterable[EntryPoint] | None = None,
) -> tuple[Detector[Any], ...]:
    """The detectors that the configuration lists, in its order.

    Each item has ``name`` and optionally ``as`` (the name in alerts, needed to use one detector twice) and
    ``settings``. ``installed`` stands for this environment's entry points. SettingsError names everything that is
    wrong: in the classes, in the items, and between them.
    """
    points = list(entry_points(group=GROUP) if installed is None else installed)
    problems = check_classes(built_in)
    known: dict[str, DetectorClass] = {getattr(cls, "name", ""): cls for cls in built_in}
    for point in points:
        if point.name in known:
            problems.append(
                f"entry point {point.name} = {point.value}: a built-in detector has that name already; choose another"
            )
    detectors: list[Detector[Any]] = []
    for number, item in enumerate(config):
        where = f"detectors[{number}]"
        try:
            detectors.append(_build(item, where, known, points))
        except SettingsError as error:
            problems.extend(error.problems)
    for name, times in Counter(detector.name for detector in detectors).items():
        if times > 1:
            problems.append(
                f"detectors: {times} are named {name!r}, so their alerts could not be told apart; "
                f"give them names of their own: {{name: ..., as: {name}_2, ...}}"
            )
    if problems:
        raise SettingsError(problems)
    return tuple(detectors)


def check_classes(classes: Sequence[object]) -> list[str]:
    """Every problem of a list of detector classes, each with its likely cause."""
    problems = [problem for cls in classes for problem in check_class(cls)]
    names = Counter(getattr(cls, "name", None) for cls in classes)
    problems.extend(
        f"detectors: {times} classes have name = {name!r}; was a file copied and the name left as it was?"
        for name, times in names.items()
        if name is not None and times > 1
    )
    return problems


def check_class(cls: object) -> list[str]:
    """Every problem of one detector class, including those of the instance that its ``example`` settings make."""
    if not isinstance(cls, type) or not issubclass(cls, Detector):
        return [f"detectors: {cls!r} is not a class derived from Detector; does the entry point name the module?"]
    where = f"detectors: {cls.__module__}.{cls.__qualname__}"
    problems = [f"{where}: {problem}" for problem in _class_problems(cls)]
    if problems:
        return problems
    try:
        return check_instance(cls(settings_from(cls, cls.example, where)))
    except SettingsError as error:
        return [f"{problem} (with its example settings)" for problem in error.problems]


def check_instance(detector: Detector[Any]) -> list[str]:
    """Every problem of one configured detector: what it declares must fit together."""
    try:
        problems = _declaration_problems(detector)
    except SettingsError as error:
        problems = error.problems
    return [f"detector {detector.name}: {problem}" for problem in problems]


def settings_from(cls: DetectorClass, given: Mapping[str, object], where: str) -> Any:
    """The detector's settings record from plain data (numbers, strings, lists); unknown keys are refused."""
    hints = get_type_hints(cls.settings_type)
    known: dict[str, Field[Any]] = {field.name: field for field in fields(cls.settings_type)}
    problems: list[str] = []
    values: dict[str, object] = {}
    for key, value in given.items():
        if key not in known:
            problems.append(f"{where}: no setting {key!r}{_did_you_mean(key, known)}")
            continue
        try:
            values[key] = msgspec.convert(value, hints[key])
        except msgspec.ValidationError as error:
            problems.append(f"{where}: {key}={value!r}: {_lower_first(str(error))}")
    missing = [
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING and name not in given
    ]
    if missing:
        problems.append(f"{where}: {', '.join(missing)} must be given; there is no default that suits every city")
    if problems:
        raise SettingsError(problems)
    try:
        return cls.settings_type(**values)
    except SettingsError as error:
        raise SettingsError(f"{where}: {problem}" for problem in error.problems) from error


def _build(
    item: Mapping[str, object], where: str, known: Mapping[str, DetectorClass], points: Sequence[EntryPoint]
) -> Detector[Any]:
    if not isinstance(item, Mapping):
        raise SettingsError(f"{where}: expected {{name: ..., settings: {{...}}}}, got {item!r}")
    keys = ("name", "as", "settings")
    problems = [f"{where}: no key {key!r}{_did_you_mean(key, keys)}" for key in item if key not in keys]
    name, alias, given = item.get("name"), item.get("as", item.get("name")), item.get("settings") or {}
    if not isinstance(given, Mapping):
        problems.append(f"{where}: settings must be a table of names and values, got {given!r}")
        given = {}
    cls: DetectorClass | None = None
    if not isinstance(name, str):
        problems.append(f"{where}: name must be the name of a detector, got {name!r}")
    else:
        where = f"{where} ({alias})"
        cls, found = _find(name, where, known, points)
        problems.extend(found)
        if not isinstance(alias, str) or not NAME.fullmatch(alias):
            problems.append(
                f"{where}: as={alias!r} must be lower-case letters, digits and underscores, since alert ids contain it"
            )
    if cls is not None:
        try:
            detector = cls(settings_from(cls, given, where), name=alias if isinstance(alias, str) else None)
            problems.extend(check_instance(detector))
        except SettingsError as error:
            problems.extend(error.problems)
    if problems:
        raise SettingsError(problems)
    return detector


def _find(
    name: str, where: str, known: Mapping[str, DetectorClass], points: Sequence[EntryPoint]
) -> tuple[DetectorClass | None, list[str]]:
    """The class of that name, imported from its entry point if it is not built in, or what is wrong."""
    if name in known:
        return known[name], []
    candidates = [point for point in points if point.name == name]
    if not candidates:
        choices = sorted({*known, *(point.name for point in points)})
        hint = _did_you_mean(name, choices) or f"; there are {', '.join(choices)}"
        return None, [f"{where}: no detector {name!r}{hint}"]
    if len(candidates) > 1:
        origins = ", ".join(point.value for point in candidates)
        return None, [
            f"{where}: {len(candidates)} installed packages offer {name!r} ({origins}); uninstall all but one"
        ]
    try:
        loaded = candidates[0].load()
    except Exception as error:  # a foreign module may fail in any way; the reader must learn which did
        return None, [f"{where}: entry point {candidates[0].value} cannot be imported: {type(error).__name__}: {error}"]
    problems = check_class(loaded)
    if not problems and loaded.name != name:
        problems.append(f"{where}: entry point {name} leads to a detector named {loaded.name!r}; make them the same")
    return (None if problems else loaded), problems


def _class_problems(cls: type[Detector[Any]]) -> Iterable[str]:
    if isabstract(cls):
        yield f"does not define {', '.join(sorted(cls.__abstractmethods__))}"
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield f"name={name!r} must be lower-case letters, digits and underscores, since alert ids contain it"
    version = getattr(cls, "version", None)
    if type(version) is not int or version < 1:
        yield f"version={version!r} must be a whole number from 1"
    for attribute in ("title_zh", "title_en", "category"):
        if not isinstance(getattr(cls, attribute, None), str) or not getattr(cls, attribute):
            yield f"{attribute} is missing; people will look for it in lists and on boards"
    if not (cls.__dict__.get("__doc__") or "").strip():
        yield "has no docstring; say when it raises and how its confidence is made"
    yield from _reason_problems(getattr(cls, "reasons", None))
    settings = getattr(cls, "settings_type", None)
    if not isinstance(settings, type) or not is_dataclass(settings):
        yield f"settings_type={settings!r} must be the dataclass of its settings"
    elif not settings.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # not in typeshed, but documented
        yield f"{settings.__name__} must be a frozen dataclass: settings are compared and printed, never changed"
    if type(cls.state_lanes) is not int or cls.state_lanes < 0:
        yield f"state_lanes={cls.state_lanes!r} must be a whole number from 0"


def _reason_problems(reasons: object) -> Iterable[str]:
    if not isinstance(reasons, tuple) or not reasons or not all(isinstance(reason, str) for reason in reasons):
        yield f"reasons={reasons!r} must be a tuple of names; did a single one lose its comma?"
        return
    if len(set(reasons)) < len(reasons) or len(reasons) > MAX_REASONS:
        yield f"reasons must differ from each other and be at most {MAX_REASONS}: {reasons}"
    for reason in OWN_REASONS:
        if reason in reasons:
            yield f"reason {reason!r} is the join's own, for alerts that end without a verdict; choose another"


def _declaration_problems(detector: Detector[Any]) -> list[str]:
    features, rings = detector.features, detector.rings
    if not isinstance(features, tuple) or not features or not all(isinstance(f, Feature) for f in features):
        return [f"features={features!r} must be a tuple of at least one Feature; did a single one lose its comma?"]
    problems = [
        f"{times} features are named {name!r}; judge() would read only one of them"
        for name, times in Counter(feature.name for feature in features).items()
        if times > 1
    ]
    buckets = sorted({feature.bucket_ms for feature in features})
    if len(buckets) > 1:
        problems.append(f"features have bucket_ms={buckets}; all features of a detector share one bucket")
    same = sorted(features, key=lambda feature: (repr(feature.identity), feature.window_ms))
    problems.extend(
        f"features {a.name!r} and {b.name!r} are the same aggregate over the same window; was a line copied?"
        for a, b in pairwise(same)
        if (a.identity, a.window_ms) == (b.identity, b.window_ms)
    )
    if type(rings) is not int or not 0 <= rings <= MAX_RINGS:
        problems.append(f"rings={rings!r} must be from 0 (own cell only) to {MAX_RINGS}")
    if not detector.category or not detector.title_zh or not detector.title_en:
        problems.append("category, title_zh and title_en must not be empty")
    problems.extend(_screen_problems(detector))
    _ = detector.hysteresis  # refuses its own settings
    return problems


def _screen_problems(detector: Detector[Any]) -> Iterable[str]:
    screens, names = detector.screens, {feature.name for feature in detector.features}
    in_bulk = type(detector).bulk_type is not None
    if in_bulk and (screens is None or len(screens) != 1):
        yield f"screens={screens!r} must be exactly one for a detector that is judged in bulk"
    if screens is None:
        return
    if detector.state_lanes:
        yield "screens leave cells out, and so would state lanes; a detector has either"
    for screen in screens:
        if screen.feature not in names:
            yield f"screens name {screen.feature!r}, which is no feature of it"
        if screen.rings and not in_bulk:
            yield f"a screen with rings={screen.rings} is only for detectors that are judged in bulk"
        if not isfinite(screen.bound):
            yield f"the bound {screen.bound} of a screen must be finite"


def _did_you_mean(word: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
