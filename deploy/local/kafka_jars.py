"""The jars of Apache Kafka: see jar_list.py for why the list is pinned.

python -m deploy.local.kafka_jars            fetch what is missing (the only step that needs the network)
python -m deploy.local.kafka_jars --update   resolve KAFKA_VERSION anew and write kafka_jars.txt
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.local.jar_list import Jar, JarList, resolve
from deploy.local.process import LocalStackError, user_cache_dir

KAFKA_VERSION = "4.1.1"
ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Without a binding Kafka logs nothing at all. The version is that of the log4j-core which Kafka brings.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)
LIST = Path(__file__).with_name("kafka_jars.txt")


def pinned() -> list[Jar]:
    """The list, in class-path order."""
    return _jars().pinned()


def class_path(say: Callable[[str], None] = lambda _line: None) -> list[Path]:
    """Every jar as a file, fetched if it is not in the cache yet. `say` hears about a download before it starts."""
    return _jars().class_path(say)


def _jars() -> JarList:
    return JarList(
        LIST,
        user_cache_dir() / "kafka-jars",
        f"Apache Kafka {KAFKA_VERSION}",
        hint="or set TONGGUAN_KAFKA to a running broker",
    )


def update() -> list[Jar]:
    """The list resolved anew. Refuses a mixture of Kafka versions."""
    jars = resolve(ROOTS)
    mixed = [str(jar) for jar in jars if jar.group == "org.apache.kafka" and jar.version != KAFKA_VERSION]
    if mixed:
        raise LocalStackError(f"Kafka {KAFKA_VERSION} resolved to a mixture: {', '.join(mixed)}")
    return sorted(jars, key=lambda jar: (jar.group != "org.apache.kafka", jar.group, jar.artifact))


def main(argv: list[str]) -> int:
    if argv == ["--update"]:
        header = "# The jars for deploy/local/kafka.py, written by: python -m deploy.local.kafka_jars --update\n"
        LIST.write_text(header + "".join(f"{jar}\n" for jar in update()), "utf-8")
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
