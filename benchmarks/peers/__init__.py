"""CityJoin on other stream engines and on ours: one broker, one backlog, one answer; `python -m benchmarks.peers`."""

from __future__ import annotations

from benchmarks.peers.page import section

__all__ = ["section"]
