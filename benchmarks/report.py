"""Measured figures kept as data, and RESULTS.md written from them: no figure in it is typed by hand.

Each benchmark saves its result with `save` (its option --save): one JSON file in benchmarks/results, with the machine,
the day and the command. Its `section(result)` says in Markdown what the figures mean. This module puts the sections
together.

    python -m benchmarks.report            writes benchmarks/RESULTS.md from benchmarks/results/*.json
    python -m benchmarks.report --check    only says whether the file is what the results give; status 1 if not
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE / "results"
PAGE: Final = HERE / "RESULTS.md"

BENCHMARKS: Final = (
    "peers", "cityjoin", "costs", "archive", "latency", "growth", "restart", "scaleout", "index_query",
)  # fmt: skip
"""In the order of the page; each is a module of this package with `section(result) -> str`."""

LIBRARIES: Final = ("aiokafka", "chdb", "faust-streaming", "numba", "numpy", "pyarrow")

HEAD: Final = """# Results

Written by `python -m benchmarks.report` from the files in `benchmarks/results`, which the benchmarks themselves save
(`--save`). Every benchmark checks its answers before it tells a speed. Figures of one machine compare engines and
versions on that machine; they do not foretell another.
"""


def machine() -> dict[str, str | int]:
    """What it was measured on: processor, cores, memory, kernel, Python and the libraries that matter for speed."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def _cpu_model() -> str:
    """As /proc/cpuinfo names it, which is what `lscpu` reads; the architecture where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def save(name: str, result: dict[str, Any]) -> Path:
    """Keep `result` as benchmarks/results/`name`.json with machine, day (UTC) and the command that was run."""
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark {name!r} is not on the page; benchmarks.report.BENCHMARKS lists those that are")
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--save", "--json")]
    kept = {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "result": result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def load(name: str) -> dict[str, Any] | None:
    """What `save` kept: command, date, machine, result; None when nothing is kept under that name."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return kept


def page() -> str:
    """RESULTS.md as the kept results give it."""
    parts = [HEAD]
    for name in BENCHMARKS:
        kept = load(name)
        if kept is None:
            continue
        section: str = importlib.import_module(f"benchmarks.{name}").section(kept["result"])
        parts.append(f"{section.rstrip()}\n\n{_origin(kept)}\n")
    return "\n".join(parts)


def _origin(kept: dict[str, Any]) -> str:
    m = kept["machine"]
    return (
        f"`{kept['command']}`, {kept['date']}: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB,"
        f" Linux {m['kernel']}, Python {m['python']}, {m['libraries']}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is out of date")
    given = parser.parse_args()
    text = page()
    if given.check:
        current = PAGE.read_text("utf-8") if PAGE.exists() else ""
        if current != text:
            print(f"{PAGE.name} is not what the results give; write it with: python -m benchmarks.report")
            return 1
        return 0
    PAGE.write_text(text, "utf-8")
    print(f"wrote {PAGE.relative_to(HERE.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
