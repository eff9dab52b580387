"""A register of the growing city's devices, as a file that an operator would keep: one CSV line a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.growth_data import SOUTH_E6, WEST_E6, CitySpec, write_degrees, write_number
from topology.jit import kernel

_BLOCK = 100_000  # lines
_LINE_BYTES = 64  # at most
_CAMERA = np.frombuffer(b",camera\n", dtype=np.uint8)
_SENSOR = np.frombuffer(b",sensor\n", dtype=np.uint8)


def write_register(path: Path, spec: CitySpec) -> None:
    """Where every device of the city stands: what its records would have said."""
    room = np.empty(_BLOCK * _LINE_BYTES, dtype=np.uint8)
    with path.open("wb") as file:
        file.write(b"device_id,lon,lat,device_type\n")
        for first in range(0, spec.devices, _BLOCK):
            end = _write_lines(first, min(_BLOCK, spec.devices - first), spec.cells, spec.side, room)
            file.write(room[:end].tobytes())


@kernel
def _write_lines(first: int, count: int, cells: int, side: int, out: npt.NDArray[np.uint8]) -> int:
    at = 0
    for d in range(first, first + count):
        out[at] = 99 if d % 10 == 9 else 100  # c: a camera, d: another device
        at = write_number(d, 9, out, at + 1)
        out[at] = 44
        column, row, inside = d % cells % side, d % cells // side, d % 800 + 100
        at = write_degrees(WEST_E6 + column * 1000 + inside, out, at + 1)
        out[at] = 44
        at = write_degrees(SOUTH_E6 + row * 1000 + inside, out, at + 1)
        word = _CAMERA if d % 10 == 9 else _SENSOR
        for i in range(word.shape[0]):
            out[at + i] = word[i]
        at += word.shape[0]
    return at
