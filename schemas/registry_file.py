"""Reading registries that people keep in YAML: entries by name, with every problem named by file and line.

The base of the readers of `kinds.yaml` and `incident_types.yaml`. It works on YAML's nodes, not on their values: nodes
know their line, and a key that is given twice is still there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml


@dataclass(slots=True)
class RegistryFile:
    """What is wrong with the files that were read so far."""

    problems: list[str] = field(default_factory=list)
    file: str = ""

    def root(self, path: Path, called: str, expected: str) -> yaml.Node | None:
        """The top node; None after the problem was noted. `called`: what the file is to be, `expected`: its content."""
        self.file = str(path)
        try:
            root: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{path}: cannot be read: {error}")
            return None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = getattr(error, "problem", None) or str(error)
            self.problems.append(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {what}")
            return None
        except RecursionError:
            self.problems.append(f"{path}:1: not {called}: nested too deep")
            return None
        if root is None:
            self.problems.append(f"{path}:1: the file is empty; expected {expected}")
        return root

    def entries(self, node: yaml.Node, what: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Keys and values of a mapping, each key once; anything else is a problem."""
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, f"{what}: expected a mapping")
            return
        pairs: Iterable[tuple[yaml.Node, yaml.Node]] = node.value
        seen: dict[str, int] = {}
        for key, value in pairs:
            if not isinstance(key, yaml.ScalarNode):
                self.complain(key, f"{what}: expected a name")
            elif key.value in seen:
                self.complain(key, f"{what}: {key.value!r} is given twice, first in line {seen[key.value]}")
            else:
                seen[key.value] = key.start_mark.line + 1
                yield key, value

    def fields(self, node: yaml.Node, what: str, known: Iterable[str]) -> dict[str, yaml.Node] | None:
        """The values of an entry by their key, unknown keys noted; None when it is no mapping."""
        known = tuple(known)
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, f"{what}: expected a mapping with {', '.join(known)}")
            return None
        values: dict[str, yaml.Node] = {}
        for key, value in self.entries(node, what):
            if key.value in known:
                values[key.value] = value
            else:
                self.complain(key, f"{what}: unknown key {key.value!r}; expected {', '.join(known)}")
        return values

    def text(self, what: str, key: str, node: yaml.Node | None, parent: yaml.Node) -> str:
        """Words; empty after the problem was noted."""
        if isinstance(node, yaml.ScalarNode) and node.value.strip() and node.tag != "tag:yaml.org,2002:null":
            return str(node.value)
        self.complain(node or parent, f"{what}: {key}: expected words" + ("" if node else ", it is missing"))
        return ""

    def place(self, node: yaml.Node) -> str:
        """ "file:line" """
        return f"{self.file}:{node.start_mark.line + 1}"

    def complain(self, node: yaml.Node, problem: str) -> None:
        self.problems.append(f"{self.place(node)}: {problem}")
