"""Every engine of the comparison, in the order of the table."""

from __future__ import annotations

from typing import Final

from benchmarks.peers.engine import Engine

ENGINES: Final[tuple[Engine, ...]] = ()
