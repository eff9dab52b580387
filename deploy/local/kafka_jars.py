"""The jars of Apache Kafka: a pinned list with SHA-256 sums, fetched once into the user's cache with jgo.

    python -m deploy.local.kafka_jars            fetch what is missing (the only step that needs the network)
    python -m deploy.local.kafka_jars --update   resolve KAFKA_VERSION anew and write kafka_jars.txt

The list is pinned, not resolved at each start, for three reasons: a start needs no network, a truncated or altered
download cannot pass, and resolution is not harmless: jgo applies the dependency management of *every* requested
component to all, so asking for Kafka 4.1.1 and log4j 2.25 together quietly gave kafka-clients 3.9.1 (log4j's pom
names it). Therefore each root is resolved alone here, and the result is checked for mixed Kafka versions.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import LocalStackError, user_cache_dir

KAFKA_VERSION = "4.1.1"
ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Without a binding Kafka logs nothing at all. The version is that of the log4j-core which Kafka brings.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)
LIST = Path(__file__).with_name("kafka_jars.txt")
FETCH_TRIES = 3
FETCH_THREADS = 4
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the list: Maven coordinates and the sum of the file they must give."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version} {self.sha256}"


def pinned() -> list[Jar]:
    """The list, in class-path order."""
    jars = []
    for line in LIST.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def class_path(say: Callable[[str], None] = lambda _line: None) -> list[Path]:
    """Every jar as a file, fetched if it is not in the cache yet. `say` hears about a download before it starts.

    A file is put under its name only after its sum was checked, so what is there is complete, also after a kill.
    """
    directory = user_cache_dir() / "kafka-jars"
    jars = pinned()
    missing = [jar for jar in jars if not (directory / jar.file_name).is_file()]
    if missing:
        directory.mkdir(parents=True, exist_ok=True)
        say(f"fetching {len(missing)} jars of Apache Kafka {KAFKA_VERSION} into {directory} (once)")
        with (
            tempfile.TemporaryDirectory(prefix="fetch-", dir=directory) as scratch,
            ThreadPoolExecutor(FETCH_THREADS) as pool,
        ):
            list(pool.map(lambda jar: _fetch(jar, Path(scratch), directory), missing))
    return [directory / jar.file_name for jar in jars]


def _fetch(jar: Jar, scratch: Path, directory: Path) -> None:
    problem = ""
    for attempt in range(FETCH_TRIES):
        try:
            path = _download(jar, scratch / f"{jar.file_name}-{attempt}")
        except Exception as error:  # jgo and requests raise a dozen kinds; all of them are told below
            problem = f"{type(error).__name__}: {error}"
            continue
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found == jar.sha256:
            os.replace(path, directory / jar.file_name)
            return
        problem = f"its SHA-256 is {found}, the list says {jar.sha256}"
    raise LocalStackError(
        f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from Maven Central: {problem}\n"
        "the first start of the local Kafka needs the network once; behind a proxy set HTTPS_PROXY "
        "(and REQUESTS_CA_BUNDLE if it has its own certificate), or set TONGGUAN_KAFKA to a running broker"
    )


def _download(jar: Jar, repository: Path) -> Path:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, local_repos=[], timeout=TIMEOUT_S)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    return component.artifact().resolve()


def resolve() -> list[Jar]:
    """Ask Maven Central which jars the roots need, and for their sums. Refuses a mixture of Kafka versions."""
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    jars: dict[tuple[str, str], Jar] = {}
    with tempfile.TemporaryDirectory(prefix="tongguan-jars-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=TIMEOUT_S)
        for root in ROOTS:
            inputs, transitive = context.resolver.resolve([context.create_dependency(Coordinate.parse(root))])
            for dependency in [*inputs, *transitive]:
                if dependency.scope not in ("compile", "runtime", None):
                    continue
                key = (dependency.groupId, dependency.artifactId)
                if key not in jars:
                    data = dependency.artifact.resolve().read_bytes()
                    jars[key] = Jar(*key, dependency.version, hashlib.sha256(data).hexdigest())
    mixed = [str(jar) for jar in jars.values() if jar.group == "org.apache.kafka" and jar.version != KAFKA_VERSION]
    if mixed:
        raise LocalStackError(f"Kafka {KAFKA_VERSION} resolved to a mixture: {', '.join(mixed)}")
    return sorted(jars.values(), key=lambda jar: (jar.group != "org.apache.kafka", jar.group, jar.artifact))


def main(argv: list[str]) -> int:
    if argv == ["--update"]:
        header = "# The jars for deploy/local/kafka.py, written by: python -m deploy.local.kafka_jars --update\n"
        LIST.write_text(header + "".join(f"{jar}\n" for jar in resolve()), "utf-8")
    elif argv:
        print("usage: python -m deploy.local.kafka_jars [--update]", file=sys.stderr)
        return 2
    try:
        print(f"{len(class_path(print))} jars of Apache Kafka {KAFKA_VERSION} at hand")
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
