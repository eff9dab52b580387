"""Pinned jars of the engines that run on Java, one list each: pins/NAME.txt, whose `# root` lines say what was asked.

python -m benchmarks.peers.jars flink --update    resolve the roots of pins/flink.txt anew and write the list
python -m benchmarks.peers.jars flink             fetch what is missing
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from benchmarks.peers.engine import cache_dir
from deploy.local.jar_list import JarList, resolve
from deploy.local.process import LocalStackError

PINS: Final = Path(__file__).with_name("pins")
ROOT: Final = "# root "


def jar_list(name: str) -> JarList:
    """The list pins/`name`.txt."""
    return JarList(PINS / f"{name}.txt", cache_dir() / "jars", f"{name} (a peer in the comparison)")


def update(name: str) -> None:
    """Write the list anew from its own `# root group:artifact:version` lines, all other comments kept."""
    path = PINS / f"{name}.txt"
    head = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#") or not line]
    roots = [line.removeprefix(ROOT).split()[0] for line in head if line.startswith(ROOT)]
    if not roots:
        raise LocalStackError(f"{path}: expected lines like '{ROOT}org.apache.flink:flink-clients:2.2.1', found none")
    path.write_text("".join(f"{line}\n" for line in [*head, *(str(jar) for jar in resolve(roots))]), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in PINS.glob("*.txt")))
    parser.add_argument("--update", action="store_true")
    given = parser.parse_args()
    try:
        if given.update:
            update(given.name)
        print(f"{len(jar_list(given.name).class_path(print))} jars of {given.name} at hand")
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
