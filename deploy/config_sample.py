"""Writes the sample configuration file from the model, so that the two cannot part."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import tomli_w
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from deploy.config import TongguanConfig

HEAD: Final = """\
Tongguan configuration 配置样例. Written by `tongguan config sample`: every setting with its default.
Copy it to tongguan.toml and keep only what you change. Unknown keys are refused; `tongguan config check` tells.
The environment wins over this file: TONGGUAN_KAFKA, TONGGUAN_CLICKHOUSE, TONGGUAN_DATA_DIR, and
TONGGUAN_<SECTION>__<KEY> for every other setting, e.g. TONGGUAN_METRICS__PORT=9500.
Relative paths count from the folder of this file."""
WIDTH: Final = 118


def sample_toml() -> str:
    """The whole sample: plain settings first, then one table per section, then the list of detectors."""
    plain, tables, lists = _parts("", TongguanConfig())
    return "\n".join([_comment(HEAD), "", *plain, "", *tables, *lists]).rstrip("\n") + "\n"


def _parts(prefix: str, model: BaseModel) -> tuple[list[str], list[str], list[str]]:
    """The model's plain settings, its sections (TOML wants them later) and its lists of tables (later still)."""
    plain: list[str] = []
    tables: list[str] = []
    lists: list[str] = []
    for key, info in type(model).model_fields.items():
        value = getattr(model, key)
        name = info.alias or key
        if isinstance(value, BaseModel):
            tables += _section(prefix + name, info, value)
        elif isinstance(value, tuple) and value and all(isinstance(entry, BaseModel) for entry in value):
            lists.append(_list(prefix + name, value))
        else:
            plain.append(_setting(name, info, value))
    return plain, tables, lists


def _section(name: str, info: FieldInfo, model: BaseModel) -> list[str]:
    comment = _comment(_sentence(info.description or type(model).__doc__))
    plain, tables, lists = _parts(f"{name}.", model)
    return ["\n".join([comment, f"[{name}]", *plain, ""]), *tables, *lists]


def _list(name: str, entries: tuple[BaseModel, ...]) -> str:
    kind = type(entries[0])
    lines = [_comment(_sentence(kind.__doc__))]
    for entry in entries:
        values = {
            key: value for key, value in entry.model_dump(mode="json", by_alias=True).items() if value not in ({}, None)
        }
        lines += [f"[[{name}]]", tomli_w.dumps(values)]
    return "\n".join(lines)


def _setting(key: str, info: FieldInfo, default: Any) -> str:
    comment = _comment(_sentence(info.description)) + "\n" if info.description else ""
    if default is None or isinstance(default, SecretStr):  # TOML has no "nothing", and a sample shows no secret
        return f'{comment}# {key} = ""'
    document = type_dump(default)
    return comment + tomli_w.dumps({key: document}).rstrip("\n")


def type_dump(value: Any) -> Any:
    """The value as TOML can hold it: what pydantic writes into JSON, with whole floats kept floats."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return {str(getattr(key, "value", key)): type_dump(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [type_dump(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted(type_dump(entry) for entry in value)
    if isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _sentence(docstring: str | None) -> str:
    return " ".join((docstring or "").split())


def _comment(text: str) -> str:
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += textwrap.wrap(paragraph, WIDTH) or [""]
    return "\n".join(f"# {line}".rstrip() for line in lines)
