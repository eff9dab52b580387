"""Small GeoJSON files of boundaries, one feature a line, so that tests can name the lines of their problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Ring = Sequence[Sequence[float]]


def feature(code: str, *rings: Ring, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    """A feature with one polygon of these rings; of a MultiPolygon each ring is a part."""
    coordinates = [[ring] for ring in rings] if kind == "MultiPolygon" else list(rings)
    geometry = {"type": kind, "coordinates": coordinates} if rings else None
    named = {"code": code, "name": f"{code}区", **properties}
    return {"type": "Feature", "properties": named, "geometry": geometry}


def square(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """The ring of a box."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def write_collection(path: Path, features: Sequence[object], **members: Any) -> Path:
    """A FeatureCollection: its head in line 1, feature i in line i + 1."""
    head = json.dumps({"type": "FeatureCollection", **members}, ensure_ascii=False)[:-1]
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in features)
    path.write_text(f'{head}, "features": [\n{lines}\n]}}\n', encoding="utf-8")
    return path
