"""Which `await` of the product a task stands at, and which there are: so that a run can tell where its faults fell."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[3]
SIMULATED: Final = (
    "streams/agents.py", "streams/archive.py", "streams/archive_frame_lane.py", "streams/archive_lane.py",
    "streams/archive_record_lane.py", "streams/backlog.py", "streams/clickhouse.py", "streams/dispatch.py",
    "streams/dispatch_snapshots.py", "streams/intake.py", "streams/join.py", "streams/locate.py",
    "streams/locate_reader.py", "streams/locate_sender.py", "streams/shard_claim.py", "streams/shard_runner.py",
    "streams/shard_store.py", "streams/snapshots.py", "streams/tasks.py", "streams/urgent.py", "deploy/worker.py",
)  # fmt: skip
"""The files with awaits that a simulated worker runs through; one that is not there is left out."""


class AwaitPoint(NamedTuple):
    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


def waiting_at(tasks: Iterable[asyncio.Task[Any]]) -> list[list[AwaitPoint]]:
    """The places in the product where each task waits, from the outermost coroutine to the innermost."""
    return [places for task in tasks if (places := _chain(task.get_coro()))]


def _chain(awaited: Any) -> list[AwaitPoint]:
    found = []
    while awaited is not None:
        frame: FrameType | None = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        code = getattr(awaited, "cr_code", None) or getattr(awaited, "ag_code", None)
        if frame is not None and code is not None:
            file = _product_file(code.co_filename)
            if file is not None and frame.f_lineno is not None:
                found.append(AwaitPoint(file, frame.f_lineno, code.co_qualname))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return found


@cache
def _product_file(name: str) -> str | None:
    try:
        file = Path(name).resolve().relative_to(ROOT).as_posix()
    except ValueError:
        return None
    return file if file in SIMULATED else None


@cache
def all_points() -> dict[tuple[str, str], list[range]]:
    """Every await in the simulated files: (file, function) -> the lines that each one spans."""
    points: dict[tuple[str, str], list[range]] = {}
    for file in SIMULATED:
        path = ROOT / file
        if path.exists():
            for function, node in _awaits(ast.parse(path.read_text("utf-8")), ""):
                end = node.end_lineno or node.lineno
                if isinstance(node, ast.AsyncFor | ast.AsyncWith):  # the awaits are those of its head
                    end = node.body[0].lineno - 1
                points.setdefault((file, function), []).append(range(node.lineno, max(end, node.lineno) + 1))
    return points


Awaiting = ast.Await | ast.AsyncFor | ast.AsyncWith


def _awaits(node: ast.AST, name: str) -> Iterator[tuple[str, Awaiting]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _awaits(child, f"{name}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _awaits(child, f"{name}{child.name}.<locals>.")
        else:
            if isinstance(child, Awaiting):
                yield name.removesuffix(".<locals>."), child
            yield from _awaits(child, name)


def coverage(hit: Iterable[AwaitPoint]) -> tuple[list[str], list[str]]:
    """The awaits at which a fault has fallen, and those that none has met; each as file:line function."""
    lines: dict[tuple[str, str], set[int]] = {}
    for point in hit:
        lines.setdefault((point.file, point.function), set()).add(point.line)
    met: list[str] = []
    missed: list[str] = []
    for (file, function), spans in sorted(all_points().items()):
        for span in spans:
            name = f"{file}:{span.start} {function}"
            (met if any(line in span for line in lines.get((file, function), ())) else missed).append(name)
    return met, missed
