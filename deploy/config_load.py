"""Reads the configuration from a TOML file and the environment, and reports every problem at once.

Order, later wins: the defaults of the model, the file, the environment. A problem names its place (file and line, or
variable), the key, the value and what to do; a secret's value is never repeated.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from deploy.config import TongguanConfig
from schemas.errors import SettingsError
from topology.city import shipped_cities

DEFAULT_FILE: Final = Path("tongguan.toml")
ENV_PREFIX: Final = "TONGGUAN_"
ENV_SHORT: Final = {
    "TONGGUAN_KAFKA": ("kafka", "bootstrap"),
    "TONGGUAN_CLICKHOUSE": ("clickhouse", "url"),
    "TONGGUAN_DATA_DIR": ("data_dir",),
    "TONGGUAN_DETECTORS": ("detectors",),
}
"""Variables with names of their own; every other key is TONGGUAN_<SECTION>__<KEY>."""
ENV_NOT_SETTINGS: Final = frozenset({"TONGGUAN_CONFIG", "TONGGUAN_DEBUG", "TONGGUAN_CACHE"})
"""Read elsewhere: which file to take, whether an unexpected error shows its trace, where downloads are kept."""
MAX_FILE_BYTES: Final = 1_000_000

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from."""

    config: TongguanConfig
    file: Path | None
    variables: tuple[str, ...]
    """Environment variables that took part."""


@dataclass(slots=True)
class _Raw:
    """What was read, before it is checked."""

    values: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, path: Path_) -> str:
        """Where the value at `path` was written: the variable, or file and line, of its nearest written parent."""
        names = tuple(str(part) for part in path)
        for end in range(len(names), 0, -1):
            if names[:end] in self.variables:
                return self.variables[names[:end]]
            if self.file is not None and names[:end] in self.lines:
                return f"{self.file}:{self.lines[names[:end]]}"
        return str(self.file) if self.file is not None else "configuration"


def load_config(path: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Loaded:
    """The configuration from `path`, else from $TONGGUAN_CONFIG, else from ./tongguan.toml when it is there.

    Raises SettingsError with all problems.
    """
    raw = _Raw()
    named = path or (Path(environ["TONGGUAN_CONFIG"]) if environ.get("TONGGUAN_CONFIG") else None)
    if named is not None or DEFAULT_FILE.exists():
        _read_file(raw, named or DEFAULT_FILE)
    _read_environment(raw, environ)
    checked = _check_sections(raw)
    if "detectors" in checked:
        _check_detectors(raw, TongguanConfig(detectors=checked["detectors"]))
    if raw.problems:
        raise SettingsError(raw.problems)
    config = TongguanConfig(**checked)
    missing = _missing_files(raw, config)
    if missing:
        raise SettingsError(missing)
    config = _from_file_folder(raw, config)
    try:
        config.city.grid()
    except SettingsError as error:
        raise SettingsError(f"{raw.place(('city', 'folder'))}: city: {problem}" for problem in error.problems) from None
    return Loaded(config, raw.file, tuple(sorted(raw.variables.values())))


def _read_file(raw: _Raw, path: Path) -> None:
    raw.file = path
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raw.problems.append(f"{path}: larger than {MAX_FILE_BYTES:,} bytes; is it the right file?")
            return
        text = path.read_text(encoding="utf-8-sig")  # an editor's byte order mark is not a mistake of the user
        raw.values = tomllib.loads(text)
    except FileNotFoundError:
        raw.problems.append(f"{path}: no such file; `tongguan config sample > {path}` writes one to start from")
    except OSError as error:
        raw.problems.append(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}")
    except UnicodeDecodeError as error:
        raw.problems.append(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        raw.problems.append(f"{path}: not TOML: {str(error)[:1].lower()}{str(error)[1:]}")
    else:
        raw.lines = _line_numbers(text)


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """The line of each plain `key =` and `[section]`. Good enough for messages; exotic spellings get none."""
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.\- ]+?)\s*\]", line):
            names = tuple(part.strip() for part in header[2].split("."))
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
            # inside an array of tables, `detectors.settings` means the settings of the newest detector
            section = ()
            for name in names:
                section += (name,)
                if section in counts:
                    section += (str(counts[section]),)
            lines.setdefault(section, number)
        elif key := re.match(r"\s*([\w.\-]+)\s*=", line):
            lines.setdefault((*section, *key[1].split(".")), number)
    return lines


def _read_environment(raw: _Raw, environ: Mapping[str, str]) -> None:
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(ENV_PREFIX) or variable in ENV_NOT_SETTINGS:
            continue
        path = ENV_SHORT.get(variable) or tuple(variable[len(ENV_PREFIX) :].lower().split("__"))
        annotation = _annotation(path)
        if annotation is None:
            raw.problems.append(f"{variable}: unknown variable; {_variable_hint(variable)}")
        elif text != "":  # an empty variable is how a shell says "not set"
            target = raw.values
            for name in path[:-1]:
                inner = target.setdefault(name, {})
                if not isinstance(inner, dict):  # the file has a plain value where a section belongs: reported later
                    break
                target = inner
            else:
                target[path[-1]] = _typed(text, annotation)
                raw.variables[path] = variable


def _annotation(path: Sequence[str]) -> Any:
    """The type of the setting at `path`, or None when there is none."""
    model: Any = TongguanConfig
    for position, name in enumerate(path):
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or name not in model.model_fields:
            return None
        info = model.model_fields[name]
        if position == len(path) - 1:
            is_section = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
            return None if is_section else info.rebuild_annotation()
        model = info.annotation
    return None


def _typed(text: str, annotation: Any) -> Any:
    """The variable's text as the value it means: itself where text is welcome, else read as TOML or JSON."""
    try:
        TypeAdapter(annotation).validate_json(json.dumps(text), strict=True)
    except ValidationError:
        pass
    else:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        try:
            return json.loads(text)
        except ValueError:
            return text


def _check_sections(raw: _Raw) -> dict[str, Any]:
    """Check each section alone, so that a section whose own rules stop early does not hide the others' problems."""
    checked: dict[str, Any] = {}
    fields = TongguanConfig.model_fields
    for name, value in raw.values.items():
        if name not in fields:
            raw.problems.append(f"{raw.place((name,))}: {name}: unknown section or key; {_hint(name, list(fields))}")
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(fields[name].rebuild_annotation())
        try:
            # JSON's strict rules fit TOML: "9464" is no number and true is no 1, while a path or an enum is text
            checked[name] = adapter.validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            raw.problems.extend(_line(raw, name, detail) for detail in _all_errors(adapter, value, error))
        except SettingsError as error:
            raw.problems.extend(f"{raw.place((name,))}: {name}: {problem}" for problem in error.problems)
    return checked


def _check_detectors(raw: _Raw, chosen: TongguanConfig) -> None:
    try:
        chosen.build_detectors()
    except SettingsError as error:
        for problem in error.problems:
            number = re.match(r"detectors\[(\d+)\]", problem)
            place = raw.place(("detectors", number[1]) if number else ("detectors",))
            raw.problems.append(f"{place}: {problem}")


def _all_errors(adapter: TypeAdapter[Any], value: Any, error: ValidationError) -> list[ErrorDetails]:
    """The errors, plus those of rules between fields, which pydantic skips while a key is unknown."""
    errors = error.errors()
    unknown = {detail["loc"][0] for detail in errors if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1}
    if len(unknown) == len(errors) and isinstance(value, dict):
        known = {key: entry for key, entry in value.items() if key not in unknown}
        try:
            adapter.validate_json(json.dumps(known, default=str), strict=True)
        except ValidationError as second:
            errors += second.errors()
    return errors


def _line(raw: _Raw, section: str, error: ErrorDetails) -> str:
    path = _real_path(raw.values[section], error["loc"])
    full: Path_ = (section, *path)
    key = _dotted(full)
    if error["type"] == "extra_forbidden":
        model = _model_at(full[:-1])
        names = [info.alias or name for name, info in model.model_fields.items()] if model is not None else []
        return f"{raw.place(full)}: {key}: unknown key; {_hint(str(full[-1]), names)}"
    if error["type"] == "missing":
        return f"{raw.place(full)}: {_dotted((section, *error['loc']))}: missing"
    value = error["input"]
    shown = "" if isinstance(value, dict | list) else f" = {_shown(value, full)}"
    return f"{raw.place(full)}: {key}{shown}: {_expected(error)}"


def _dotted(path: Path_) -> str:
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in path).replace(".[", "[")


def _real_path(value: Any, loc: Sequence[str | int]) -> Path_:
    """The part of pydantic's location that exists in the data; it also names union members and validators."""
    path: list[str | int] = []
    for part in loc:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
            path.append(part)
    return tuple(path)


def _model_at(path: Path_) -> type[BaseModel] | None:
    model: Any = TongguanConfig
    for part in path:
        if isinstance(part, int):
            model = next((arg for arg in getattr(model, "__args__", ()) if isinstance(arg, type)), None)
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
        else:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "expected a whole number, without quotes",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number, without quotes",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false, without quotes",
    "string_type": "expected text in quotes",
    "path_type": "expected a path in quotes",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a table",
    "model_type": "expected a section",
    "model_attributes_type": "expected a section",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "choose from {expected}",
    "enum": "choose from {expected}",
}


def _expected(error: ErrorDetails) -> str:
    template = _EXPECTED.get(error["type"])
    if template is not None:
        return template.format_map(error.get("ctx", {}))
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]


def _shown(value: Any, path: Path_) -> str:
    secret = any(word in str(path[-1]) for word in ("password", "secret", "token"))
    if secret or isinstance(value, SecretStr):
        return "***"
    text = re.sub(r"//[^/@\s]*@", "//***@", json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 80 else text[:77] + "..."


def _hint(name: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose from {', '.join(sorted(choices))}" if choices else "nothing can be set here"


def _variable_hint(variable: str) -> str:
    choices = list(ENV_SHORT) + sorted(ENV_NOT_SETTINGS)
    for section, info in TongguanConfig.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            choices += [f"{ENV_PREFIX}{section}__{key}".upper() for key in info.annotation.model_fields]
    close = difflib.get_close_matches(variable, choices, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else "a setting is TONGGUAN_<SECTION>__<KEY>, see the sample file"


def _missing_files(raw: _Raw, config: TongguanConfig) -> list[str]:
    wanted: list[tuple[Path_, Path | None]] = [
        (("city", "devices"), config.city.devices),
        (("city", "kinds"), config.city.kinds),
        (("kafka", "ssl_cafile"), config.kafka.ssl_cafile),
    ]
    return [
        f"{raw.place(path)}: {'.'.join(map(str, path))} = {str(file)!r}: no such file"
        + ("" if file.is_absolute() else f" in {_folder(raw, path)}")
        for path, file in wanted
        if file is not None and not (_folder(raw, path) / file).is_file()
    ]


def _folder(raw: _Raw, path: Path_) -> Path:
    """What a relative path counts from: the file's folder when the file says it, else the working directory."""
    in_variable = tuple(map(str, path)) in raw.variables
    return raw.file.parent.resolve() if raw.file is not None and not in_variable else Path.cwd()


def _from_file_folder(raw: _Raw, config: TongguanConfig) -> TongguanConfig:
    """The configuration with its paths made absolute."""
    city, kafka = config.city, config.kafka

    def absolute(path: Path_, file: Path | None) -> Path | None:
        return None if file is None else _folder(raw, path) / file.expanduser()

    def city_at(folder: str | None) -> str | None:
        if folder is None or folder in shipped_cities():
            return folder
        return str(_folder(raw, ("city", "folder")) / Path(folder).expanduser())

    data_folder = _folder(raw, ("data_dir",)) if "data_dir" in raw.values else Path.cwd()
    return config.model_copy(
        update={
            "data_dir": data_folder / config.data_dir.expanduser(),
            "city": city.model_copy(
                update={
                    "folder": city_at(city.folder),
                    "devices": absolute(("city", "devices"), city.devices),
                    "kinds": absolute(("city", "kinds"), city.kinds),
                }
            ),
            "kafka": kafka.model_copy(update={"ssl_cafile": absolute(("kafka", "ssl_cafile"), kafka.ssl_cafile)}),
        }
    )
