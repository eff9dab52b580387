"""The registry of known kinds: what metrics, camera events and ticket categories are called, measured in, and worth.

Unknown kinds are accepted everywhere; the registry only decides flags, quality and words. `kinds.yaml` comes with the
package; a user's file of the same form adds to it and replaces entries of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import yaml

from schemas.errors import SettingsError
from schemas.raw import MAX_ID_BYTES
from schemas.registry_file import RegistryFile
from schemas.sources import Source

BUILT_IN: Final = Path(__file__).with_name("kinds.yaml")

_SECTIONS: Final[Mapping[str, Source]] = {
    "metrics": Source.READINGS,
    "events": Source.CAMERA_EVENTS,
    "categories": Source.TICKETS,
}
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "units": ("zh", "en", "aliases"),
    "metrics": ("zh", "en", "unit", "valid_min", "valid_max"),
    "events": ("zh", "en", "valid_min", "valid_max"),
    "categories": ("zh", "en"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One known metric, event or category."""

    source: Source
    name: str
    zh: str
    en: str
    unit: str | None = None  # None: not checked
    valid_min: float | None = None  # both bounds are themselves valid; None: no bound
    valid_max: float | None = None


@dataclass(frozen=True, slots=True)
class KindRegistry:
    """Known kinds by source and name, and known spellings of units."""

    kinds: Mapping[tuple[Source, str], Kind]
    spellings: Mapping[str, str]  # every spelling of a unit, its own name included -> the unit

    def find(self, source: Source, name: str) -> Kind | None:
        return self.kinds.get((source, name))

    def unit_of(self, spelling: str) -> str:
        """The unit that a record means by `spelling`; an unknown spelling stands for itself."""
        return self.spellings.get(spelling, spelling)

    def spelled(self, unit: str) -> tuple[str, ...]:
        """Every spelling of a unit, its own name first."""
        return (unit, *(spelling for spelling, meant in self.spellings.items() if meant == unit and spelling != unit))

    def title(self, source: Source, name: str, *, language: str = "zh") -> str:
        """The kind's words for a sentence; an unknown kind is called by its name."""
        kind = self.find(source, name)
        if kind is None:
            return name
        return kind.zh if language == "zh" else kind.en

    def of(self, source: Source) -> list[Kind]:
        """The known kinds of a source, in the order of the files."""
        return [kind for kind in self.kinds.values() if kind.source is source]


@cache
def built_in_kinds() -> KindRegistry:
    """The registry that comes with the package."""
    return load_kinds()


def load_kinds(*files: Path) -> KindRegistry:
    """The built-in registry, extended by `files` in their order; a later entry replaces an earlier one of its name.

    SettingsError names every problem of every file as "file:line: ...".
    """
    found = _Found()
    for file in (BUILT_IN, *files):
        found.read(file)
    found.check_units()
    if found.problems:
        raise SettingsError(found.problems)
    return KindRegistry(MappingProxyType(found.kinds), MappingProxyType(found.spellings))


@dataclass(slots=True)
class _Found(RegistryFile):
    """What the files hold so far, and what is wrong with them."""

    kinds: dict[tuple[Source, str], Kind] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    unit_lines: list[tuple[str, str, str]] = field(default_factory=list)  # (place, kind, unit it names)

    def read(self, path: Path) -> None:
        root = self.root(path, "a registry", f"sections {', '.join(_KEYS)}")
        if root is None:
            return
        for section, node in self.entries(root, "the file"):
            if section.value not in _KEYS:
                self.complain(section, f"unknown section {section.value!r}; expected {', '.join(_KEYS)}")
                continue
            for name, entry in self.entries(node, f"section {section.value!r}"):
                self._entry(section.value, name, entry)

    def check_units(self) -> None:
        for place, kind, unit in self.unit_lines:
            if self.spellings.get(unit) != unit:
                meant = self.spellings.get(unit)
                hint = f"write {meant!r}" if meant else "add it to section 'units'"
                self.problems.append(f"{place}: {kind}: unknown unit {unit!r}; {hint}")

    def _entry(self, section: str, name: yaml.ScalarNode, node: yaml.Node) -> None:
        what = f"{section}.{name.value}"
        if not name.value or len(name.value.encode()) > MAX_ID_BYTES:
            self.complain(name, f"{what}: expected a name of 1 to {MAX_ID_BYTES} bytes")
        before = len(self.problems)
        values = self.fields(node, what, _KEYS[section])
        if values is None:
            return
        zh, en = (self.text(what, word, values.pop(word, None), node) for word in ("zh", "en"))
        if section == "units":
            self._unit(name, what, values)
            return
        unit = self.text(what, "unit", values["unit"], node) if "unit" in values else None
        low, high = (self._number(what, bound, values.get(bound)) for bound in ("valid_min", "valid_max"))
        if low is not None and high is not None and low >= high:
            self.complain(values["valid_min"], f"{what}: valid_min={low:g} must be below valid_max={high:g}")
        if unit:
            self.unit_lines.append((self.place(values["unit"]), what, unit))
        if len(self.problems) > before:
            return
        source = _SECTIONS[section]
        self.kinds[source, name.value] = Kind(
            source=source, name=name.value, zh=zh, en=en, unit=unit, valid_min=low, valid_max=high
        )

    def _unit(self, name: yaml.ScalarNode, what: str, values: Mapping[str, yaml.Node]) -> None:
        aliases = values.get("aliases")
        spelled: list[yaml.Node] = [name]
        if isinstance(aliases, yaml.SequenceNode):
            spelled += aliases.value
        elif aliases is not None:
            self.complain(aliases, f"{what}: aliases: expected a list of strings")
        for node in spelled:
            if not isinstance(node, yaml.ScalarNode) or not node.value:
                self.complain(node, f"{what}: expected a spelling of the unit")
            elif self.spellings.setdefault(node.value, name.value) != name.value:
                self.complain(node, f"{what}: {node.value!r} already stands for {self.spellings[node.value]!r}")

    def _number(self, what: str, key: str, node: yaml.Node | None) -> float | None:
        if node is None:
            return None
        try:
            if isinstance(node, yaml.ScalarNode) and node.style is None and math.isfinite(number := float(node.value)):
                return number
        except ValueError:
            pass  # reported below like every other value that is no number
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a collection"
        self.complain(node, f"{what}: {key}: expected a finite number, got {shown}")
        return None
