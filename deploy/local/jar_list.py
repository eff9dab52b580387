"""A pinned list of jars from Maven Central with their SHA-256 sums, fetched once into the user's cache with jgo.

A list is pinned, not resolved at each start, for three reasons: a start needs no network, a truncated or altered
download cannot pass, and resolution is not harmless: jgo applies the dependency management of *every* requested
component to all, so asking for Kafka 4.1.1 and log4j 2.25 together quietly gave kafka-clients 3.9.1 (log4j's pom
names it). Therefore `resolve` takes each root alone, and its callers check the result for mixed versions.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import LocalStackError

FETCH_TRIES = 3
FETCH_THREADS = 4
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of a list: Maven coordinates and the sum of the file they must give."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version} {self.sha256}"


@dataclass(frozen=True, slots=True)
class JarList:
    """The jars that `path` names, kept in `directory`. `what` and `hint` are for people: what they are, what to try."""

    path: Path
    directory: Path
    what: str
    hint: str = ""

    def pinned(self) -> list[Jar]:
        """The list, in class-path order."""
        jars = []
        for line in self.path.read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                coordinates, sha256 = line.split()
                group, artifact, version = coordinates.split(":")
                jars.append(Jar(group, artifact, version, sha256))
        return jars

    def class_path(self, say: Callable[[str], None] = lambda _line: None) -> list[Path]:
        """Every jar as a file, fetched if it is not in the cache yet. `say` hears about a download before it starts.

        A file is put under its name only after its sum was checked, so what is there is complete, also after a kill.
        """
        jars = self.pinned()
        missing = [jar for jar in jars if not (self.directory / jar.file_name).is_file()]
        if missing:
            self.directory.mkdir(parents=True, exist_ok=True)
            say(f"fetching {len(missing)} jars of {self.what} into {self.directory} (once)")
            with (
                tempfile.TemporaryDirectory(prefix="fetch-", dir=self.directory) as scratch,
                ThreadPoolExecutor(FETCH_THREADS) as pool,
            ):
                list(pool.map(lambda jar: self._fetch(jar, Path(scratch)), missing))
        return [self.directory / jar.file_name for jar in jars]

    def _fetch(self, jar: Jar, scratch: Path) -> None:
        problem = ""
        for attempt in range(FETCH_TRIES):
            try:
                path = _download(jar, scratch / f"{jar.file_name}-{attempt}")
            except Exception as error:  # jgo and requests raise a dozen kinds; all of them are told below
                problem = f"{type(error).__name__}: {error}"
                continue
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found == jar.sha256:
                os.replace(path, self.directory / jar.file_name)
                return
            problem = f"its SHA-256 is {found}, the list says {jar.sha256}"
        hint = f", {self.hint}" if self.hint else ""
        raise LocalStackError(
            f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from Maven Central: {problem}\n"
            f"{self.what} needs the network once; behind a proxy set HTTPS_PROXY "
            f"(and REQUESTS_CA_BUNDLE if it has its own certificate){hint}"
        )


def _download(jar: Jar, repository: Path) -> Path:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, local_repos=[], timeout=TIMEOUT_S)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    return component.artifact().resolve()


def resolve(roots: Sequence[str]) -> list[Jar]:
    """Ask Maven Central which jars the roots ("group:artifact:version") need, and for their sums.

    A jar that several roots need in different versions is taken as the first of them has it; the roots come first.
    """
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    jars: dict[tuple[str, str], Jar] = {}
    with tempfile.TemporaryDirectory(prefix="tongguan-jars-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=TIMEOUT_S)
        asked, needed = [], []
        for root in roots:
            inputs, transitive = context.resolver.resolve([context.create_dependency(Coordinate.parse(root))])
            asked += inputs
            needed += transitive
        for dependency in [*asked, *needed]:
            if dependency.scope not in ("compile", "runtime", None):
                continue
            key = (dependency.groupId, dependency.artifactId)
            if key not in jars:
                data = dependency.artifact.resolve().read_bytes()
                jars[key] = Jar(*key, dependency.version, hashlib.sha256(data).hexdigest())
    return list(jars.values())
