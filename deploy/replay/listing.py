"""`tongguan replay --list`: what can be replayed, where it comes from, and under which licence."""

from __future__ import annotations

import msgspec

from deploy.console import out
from deploy.replay.mapping_file import find_mapping, set_names


def show_sets(*, as_json: bool) -> None:
    """The sets that have a mapping file."""
    for name in set_names():
        mapping = find_mapping(name)
        if as_json:
            told = mapping.model_dump(include={"name", "title", "origin", "licence", "shipped"})
            out.print(msgspec.json.encode(told).decode())
            continue
        extract = "  [随附节选 extract ships]" if mapping.shipped else ""
        out.print(f"{name}{extract}")
        out.print(f"    {mapping.title.zh}  {mapping.title.en}")
        out.print(f"    来源 origin: {mapping.origin}")
        out.print(f"    许可 licence: {mapping.licence}")
