"""Environments of the engines that run on Python, one each: pins/NAME.txt, whose `# root` lines say what was asked.

python -m benchmarks.peers.venvs quix --update    resolve the roots of pins/quix.txt anew and write the list
python -m benchmarks.peers.venvs quix             make the environment if it is missing

Their dependencies contradict ours (and each other's), so they are kept apart, in the cache, by what their list says.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.peers.engine import Say, cache_dir
from deploy.local.process import LocalStackError

PINS: Final = Path(__file__).with_name("pins")
ROOT: Final = "# root "
INSTALL_WITHIN_S: Final = 900.0
NAMES: Final = ("bytewax", "faust", "pathway", "quix")


def python_of(name: str, say: Say = lambda _line: None) -> Path:
    """The interpreter of the environment of pins/`name`.txt, which is made if it is not there yet."""
    pins = PINS / f"{name}.txt"
    tag = hashlib.sha256(f"{sys.version}\n{sys.prefix}\n".encode() + pins.read_bytes()).hexdigest()[:16]
    home = cache_dir() / "venvs" / f"{name}-{tag}"
    python = home / "bin" / "python"
    if (home / "complete").is_file():
        return python
    say(f"installing {', '.join(roots(pins))} into an environment of its own")
    shutil.rmtree(home, ignore_errors=True)  # what an interrupted installation left
    _run([sys.executable, "-m", "venv", str(home)], f"make the environment of {name}")
    install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(pins)]
    _run([str(python), "-m", "pip", *install], f"install {pins.name}")
    (home / "complete").touch()
    return python


def roots(pins: Path) -> list[str]:
    """What was asked for, in the list's own words."""
    return [line.removeprefix(ROOT).strip() for line in pins.read_text("utf-8").splitlines() if line.startswith(ROOT)]


def pinned(name: str, distribution: str) -> str:
    """The version in pins/`name`.txt."""
    for line in (PINS / f"{name}.txt").read_text("utf-8").splitlines():
        if line.startswith(f"{distribution}=="):
            return line.removeprefix(f"{distribution}==").split()[0]
    raise LocalStackError(f"pins/{name}.txt: expected a line {distribution}==VERSION, found none")


def update(name: str) -> None:
    """Write the list anew from its `# root` lines, the comments above them kept."""
    pins = PINS / f"{name}.txt"
    asked = roots(pins)
    if not asked:
        raise LocalStackError(f"{pins}: expected lines like '{ROOT}quixstreams==3.28.1', found none")
    head = [line for line in pins.read_text("utf-8").splitlines() if line.startswith("# ")]
    with tempfile.TemporaryDirectory(prefix="pins-") as scratch:
        wanted, found = Path(scratch, "wanted.in"), Path(scratch, "found.txt")
        wanted.write_text("".join(f"{one}\n" for one in asked), "utf-8")
        command = [
            sys.executable, "-m", "uv", "pip", "compile", str(wanted), "--quiet", "--universal",
            "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-annotate",
            "--no-header", "--output-file", str(found),
        ]  # fmt: skip
        _run(command, f"resolve pins/{name}.txt")
        pins.write_text("\n".join(head) + "\n" + found.read_text("utf-8"), "utf-8")


def _run(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        raise LocalStackError(f"cannot {what}: no end after {INSTALL_WITHIN_S:.0f} s") from None
    if done.returncode != 0:
        raise LocalStackError(f"cannot {what}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}".rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--update", action="store_true")
    given = parser.parse_args()
    try:
        if given.update:
            update(given.name)
        print(python_of(given.name, print))
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
