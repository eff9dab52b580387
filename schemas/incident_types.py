"""Types of incident: which alerts and tickets make one, how far and long they are merged, where the index counts it.

`incident_types.yaml` comes with the package; a user's file of the same form adds to it and replaces entries of the
same name. A category that nobody names makes a type of its own name with the rules of `other`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import yaml

from schemas.errors import SettingsError
from schemas.raw import MAX_ID_BYTES
from schemas.registry_file import RegistryFile

BUILT_IN: Final = Path(__file__).with_name("incident_types.yaml")
OTHER: Final = "other"
MAX_RINGS: Final = 5
MAX_MINUTES: Final = 60 * 24 * 366
MAX_HOURS: Final = 24 * 366

INDEX_CATEGORIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "public_order": "公共秩序",
        "traffic": "交通运行",
        "environment": "生态环境",
        "municipal_facilities": "市政设施",
        "public_safety": "公共安全",
        "citizens_appeals": "民生诉求",
        "public_health": "公共卫生",
        "energy_water": "能源供水",
    }
)
"""The eight categories of the city operation index, with their Chinese names."""

_KEYS: Final = ("zh", "en", "index", "alerts", "tickets", "merge_rings", "merge_minutes", "reopen_hours")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentType:
    """One type; None means that the settings of dispatch decide."""

    name: str
    zh: str
    en: str
    index_category: str
    alerts: tuple[str, ...] = ()
    tickets: tuple[str, ...] = ()
    merge_rings: int | None = None
    merge_minutes: int | None = None
    reopen_hours: int | None = None


@dataclass(frozen=True, slots=True)
class IncidentTypes:
    """All types by name, and by the categories of the alerts and tickets that make them."""

    types: Mapping[str, IncidentType]
    by_alert: Mapping[str, IncidentType]
    by_ticket: Mapping[str, IncidentType]

    @classmethod
    def of(cls, types: Iterable[IncidentType]) -> IncidentTypes:
        named = {one.name: one for one in types}
        return cls(
            MappingProxyType(named),
            MappingProxyType({category: one for one in named.values() for category in one.alerts}),
            MappingProxyType({category: one for one in named.values() for category in one.tickets}),
        )

    def of_alert(self, category: str) -> IncidentType:
        return self.by_alert.get(category) or self.find(category)

    def of_ticket(self, category: str) -> IncidentType:
        return self.by_ticket.get(category) or self.find(category)

    def find(self, name: str) -> IncidentType:
        """The type of this name; a name nobody knows is a type of its own with the rules of `other`."""
        known = self.types.get(name)
        return replace(self.types[OTHER], name=name, zh=name, en=name) if known is None else known


@cache
def built_in_types() -> IncidentTypes:
    """The types that come with the package."""
    return load_incident_types()


def load_incident_types(*files: Path) -> IncidentTypes:
    """The built-in types, extended by `files` in their order; a later entry replaces an earlier one of its name.

    SettingsError names every problem of every file as "file:line: ...".
    """
    found = _Found()
    for file in (BUILT_IN, *files):
        found.read(file)
    found.check_categories()
    if found.problems:
        raise SettingsError(found.problems)
    return IncidentTypes.of(found.types.values())


@dataclass(slots=True)
class _Found(RegistryFile):
    """What the files hold so far, and what is wrong with them."""

    types: dict[str, IncidentType] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)  # where each type was given last

    def read(self, path: Path) -> None:
        root = self.root(path, "a list of incident types", "incident types by name")
        if root is None:
            return
        for name, node in self.entries(root, "the file"):
            self._entry(name, node)

    def check_categories(self) -> None:
        """Each category of alerts, and of tickets, makes one type."""
        for what in ("alerts", "tickets"):
            owner: dict[str, str] = {}
            for one in self.types.values():
                for category in getattr(one, what):
                    first = owner.setdefault(category, one.name)
                    if first != one.name:
                        self.problems.append(
                            f"{self.places[one.name]}: {one.name}: {what}: {category!r} already makes {first}"
                        )

    def _entry(self, name: yaml.ScalarNode, node: yaml.Node) -> None:
        what = str(name.value)
        before = len(self.problems)
        if not what or len(what.encode()) > MAX_ID_BYTES:
            self.complain(name, f"{what}: expected a name of 1 to {MAX_ID_BYTES} bytes")
        values = self.fields(node, what, _KEYS)
        if values is None:
            return
        zh, en, index = (self.text(what, key, values.get(key), node) for key in ("zh", "en", "index"))
        if index and index not in INDEX_CATEGORIES:
            self.complain(values["index"], f"{what}: index {index!r} must be one of {', '.join(INDEX_CATEGORIES)}")
        alerts, tickets = (self._names(what, key, values.get(key)) for key in ("alerts", "tickets"))
        rings = self._number(what, "merge_rings", values.get("merge_rings"), MAX_RINGS)
        minutes = self._number(what, "merge_minutes", values.get("merge_minutes"), MAX_MINUTES)
        hours = self._number(what, "reopen_hours", values.get("reopen_hours"), MAX_HOURS)
        if len(self.problems) > before:
            return
        self.places[what] = self.place(name)
        self.types[what] = IncidentType(
            name=what, zh=zh, en=en, index_category=index, alerts=alerts, tickets=tickets,
            merge_rings=rings, merge_minutes=minutes, reopen_hours=hours,
        )  # fmt: skip

    def _names(self, what: str, key: str, node: yaml.Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        nodes: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else [node]
        names = tuple(str(n.value) for n in nodes if isinstance(n, yaml.ScalarNode) and n.value)
        if not isinstance(node, yaml.SequenceNode) or len(names) != len(nodes):
            self.complain(node, f"{what}: {key}: expected a list of categories")
        return names

    def _number(self, what: str, key: str, node: yaml.Node | None, most: int) -> int | None:
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.value.isascii() and node.value.isdecimal():
            number = int(node.value[:20])
            if number <= most:
                return number
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a collection"
        self.complain(node, f"{what}: {key}: expected a whole number from 0 to {most}, got {shown}")
        return None
