"""Reading a mapping file: strict YAML into `SetMapping`, every problem of it named by file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deploy.console import UsageProblem
from deploy.replay.mapping import SetMapping
from schemas.errors import SettingsError

SETS: Final = Path(__file__).with_name("sets")
SHIPPED: Final = Path(__file__).with_name("data")
MAX_FILE_BYTES: Final = 1_000_000
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; the one in C is ten times as fast, where PyYAML was built with it."""
ENDINGS: Final = (".yaml", ".yml")


def set_names() -> list[str]:
    """The sets whose mapping files come with Tongguan."""
    return sorted(path.stem for path in SETS.glob("*.yaml"))


def find_mapping(wanted: str) -> SetMapping:
    """By the name of a set, or by the path of a mapping file of one's own. Raises UsageProblem, SettingsError."""
    if wanted.endswith(ENDINGS):
        return read_mapping(Path(wanted))
    if wanted not in set_names():
        raise UsageProblem(
            f"unknown data set {wanted!r}; choose from {', '.join(set_names())}, or give a mapping file (.yaml)"
        )
    return read_mapping(SETS / f"{wanted}.yaml")


def read_mapping(path: Path) -> SetMapping:
    """The mapping in `path`. Raises SettingsError with all problems, each as "file:line: what: why"."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes; is it a mapping file?")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    root, values = _read(path, text)
    problems = _repeats(path, root)
    if problems:
        raise SettingsError(problems)
    try:
        return SetMapping.model_validate(values)
    except ValidationError as error:
        raise SettingsError([_line(path, root, detail) for detail in error.errors()]) from error


def _read(path: Path, text: str) -> tuple[yaml.Node, Any]:
    """The document with its line numbers, and its values; no anchors: a few lines of them grow out of all bounds."""
    try:
        for token in yaml.scan(text, Loader=LOADER):
            if isinstance(token, yaml.AliasToken):
                raise SettingsError(f"{path}:{token.start_mark.line + 1}: aliases (*) are not read; write it out")
        root = yaml.compose(text, Loader=LOADER)
        values = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SettingsError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {what}") from error
    except ValueError as error:  # a date such as 2018-02-31, a number of a million digits
        raise SettingsError(f"{path}: a value cannot be read: {error}; put it in quotes") from error
    except RecursionError as error:
        raise SettingsError(f"{path}:1: not a mapping file: nested too deep") from error
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(
            f"{path}:1: expected name, title, origin, licence, inputs, ...; see {SETS.name}/ for examples"
        )
    return root, values


def _repeats(path: Path, root: yaml.Node) -> list[str]:
    """Keys that stand twice in one mapping: YAML would quietly take the last."""
    problems = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if seen.setdefault(str(key.value), line) != line:
                problems.append(f"{path}:{line}: {key.value!r} is given twice, first in line {seen[str(key.value)]}")
            waiting.append(value)
    return sorted(problems)


def _line(path: Path, root: yaml.Node, error: ErrorDetails) -> str:
    """One problem as a line. pydantic's place is followed through the document as far as it goes."""
    node, known = root, []
    for part in error["loc"]:
        inner = _inside(node, part)
        if inner is None:
            break
        node = inner
        known.append(part)
    unknown = list(error["loc"][len(known) :])
    where = _dotted([*known, *unknown[:1]])
    return f"{path}:{node.start_mark.line + 1}: {where}{_expected(error, node)}"


def _inside(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value) == str(part):
                assert isinstance(value, yaml.Node)
                return value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        found = node.value[part]
        assert isinstance(found, yaml.Node)
        return found
    return None


def _dotted(parts: Sequence[str | int]) -> str:
    text = ".".join(f"[{part}]" if isinstance(part, int) else part for part in parts).replace(".[", "[")
    return f"{text}: " if text else ""


def _expected(error: ErrorDetails, node: yaml.Node) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "literal_error":
        return f"choose from {context.get('expected')}{_found(node)}"
    message = error["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:] + _found(node)


def _found(node: yaml.Node) -> str:
    value: Any = node.value
    return f", got {value!r}" if isinstance(node, yaml.ScalarNode) else ""
