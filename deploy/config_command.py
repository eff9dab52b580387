"""`tongguan config`: show what is in force, check it, or write a sample file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from pydantic import BaseModel, SecretStr

from deploy.config_load import load_config
from deploy.config_sample import type_dump
from deploy.console import out, say


def show(path: Path | None, *, as_json: bool) -> None:
    """Print the configuration in force, secrets masked, with where it came from on standard error."""
    loaded = load_config(path)
    say(f"# file: {loaded.file or 'none, defaults only'}")
    if loaded.variables:
        say(f"# environment: {', '.join(loaded.variables)}")
    document = plain(loaded.config)
    text = msgspec.json.encode(document).decode() if as_json else tomli_w.dumps(_without_none(document))
    out.print(text.rstrip("\n"))


def check(path: Path | None) -> None:
    """Say that the configuration is good; problems come as SettingsError."""
    loaded = load_config(path)
    city = loaded.config.load_city()
    say(f"good 配置无误: {loaded.file or 'no file, defaults only'}", style="green")
    counts = f"{len(city.jurisdictions)} jurisdictions, {len(city.departments)} departments"
    say(f"  city {city.name_zh} {city.name_en}: {counts}")
    say(f"  grid {city.grid.nx} x {city.grid.ny} cells, {loaded.config.topics.shards} shards")
    for choice in loaded.config.detectors:
        say(f"  detector {choice.name}")


def plain(value: Any) -> Any:
    """A configuration as plain data for people: secrets become ***."""
    if isinstance(value, BaseModel):
        return {info.alias or name: plain(getattr(value, name)) for name, info in type(value).model_fields.items()}
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    if isinstance(value, dict):
        return {str(getattr(key, "value", key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if value is None else type_dump(value)


def _without_none(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without_none(value) for key, value in document.items() if value is not None}
    if isinstance(document, list):
        return [_without_none(value) for value in document]
    return document
