"""Writes what the classes say as files for other people's tools: JSON Schema and AsyncAPI.

python -m schemas.generate            write schemas/generated/
python -m schemas.generate --check    write nothing; exit 1 and name the files that are not up to date
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from schemas.examples import EXAMPLES
from schemas.observation import COLUMN_NOTES, FRAME_VERSION, OBSERVATION
from schemas.raw import MAX_PAYLOAD_BYTES

GENERATED: Final = Path(__file__).with_name("generated")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
API_VERSION: Final = "1.0.0"

_RAW: Final = ("reading", "camera_event", "ticket")
_FRAME_BYTES: Final = 16 * 1024 * 1024

_Json = dict[str, Any]


def json_schema(name: str) -> _Json:
    """The JSON Schema (2020-12) of the message called `name` in EXAMPLES."""
    example = EXAMPLES[name]
    (root,), parts = msgspec.json.schema_components([type(example)], ref_template="#/$defs/{name}")
    title = root["$ref"].removeprefix("#/$defs/")
    body = parts.pop(title)
    schema: _Json = {"$schema": DIALECT, "$id": f"urn:tongguan:{name}:{API_VERSION.split('.')[0]}", **_tidy(body)}
    if name in _RAW:
        # null counts as absent, so "one without the other" is about numbers
        schema["allOf"] = [_needs("lon", "lat"), _needs("lat", "lon")]
        schema["x-max-bytes"] = MAX_PAYLOAD_BYTES
    schema["examples"] = [msgspec.to_builtins(example)]
    if parts:
        schema["$defs"] = {part: _tidy(definition) for part, definition in sorted(parts.items())}
    return schema


def asyncapi() -> _Json:
    """The AsyncAPI 3.0 document: each topic a channel; Tongguan receives raw records and sends alerts."""
    channels = {name: _channel(name, *about) for name, about in _CHANNELS.items()}
    operations = {
        f"{action}{name[0].upper()}{name[1:]}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": summary,
        }
        for name, actions in _OPERATIONS.items()
        for action, summary in actions.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tongguan 统管",
            "version": API_VERSION,
            "description": (
                "Messages of the real-time urban operations stream processor.\n"
                "Addresses are the default topic names; a configured prefix stands before each of them. Partition "
                "counts are the defaults. Fields of class personal (x-class) are masked wherever a person looks.\n"
                "城市运行一网统管实时流处理的消息定义。主题名可加前缀；personal 类字段在任何人可见处均已脱敏。"
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": {name: _message(name) for name in _MESSAGES}},
    }


def files() -> dict[str, str]:
    """What belongs into schemas/generated: text by file name."""
    texts = {
        f"{name}.schema.json": json.dumps(json_schema(name), ensure_ascii=False, indent=2) + "\n" for name in EXAMPLES
    }
    head = "# Written by `python -m schemas.generate`; change the classes in schemas/, not this file.\n"
    body = yaml.dump(asyncapi(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return texts | {"asyncapi.yaml": head + body}


def main(arguments: Sequence[str] | None = None, *, into: Path = GENERATED) -> int:
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file is not up to date")
    check = parser.parse_args(arguments).check
    expected = files()
    into.mkdir(exist_ok=True)
    found = {path.name: path.read_text(encoding="utf-8") for path in into.iterdir() if path.is_file()}
    stale = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    for name in stale:
        print(f"{'not up to date' if check else 'written' if name in expected else 'removed'}: {into.name}/{name}")
        if not check and name in expected:
            (into / name).write_text(expected[name], encoding="utf-8")
        elif not check:
            (into / name).unlink()
    if check and stale:
        print("run: python -m schemas.generate")
    return 1 if check and stale else 0


# --- AsyncAPI -------------------------------------------------------------------------------------------------------

_ANY_KEY: Final = {"type": ["string", "null"], "description": "any; Tongguan does not look at it"}

# message: (title zh, title en, Kafka key)
_MESSAGES: Final[dict[str, tuple[str, str, _Json]]] = {
    "reading": ("传感器读数", "a sensor reading", _ANY_KEY),
    "camera_event": ("摄像头事件", "a camera event", _ANY_KEY),
    "ticket": ("热线工单", "a hotline ticket", _ANY_KEY),
    "frame": ("观测帧（Arrow）", "a frame of observations", {"type": "null", "description": "none"}),
    "urgent_ticket": (
        "紧急工单（一行的观测帧）",
        "an urgent ticket as a frame of one row",
        {"type": "string", "description": "ticket_id"},
    ),
    "placed_tickets": (
        "已定位工单（观测帧）",
        "a frame of the tickets of one raw partition, each once, late ones too",
        {"type": "null", "description": "none"},
    ),
    "alert": ("告警", "an alert record", {"type": "string", "description": "alert_id"}),
    "dead_letter": ("死信", "a dead letter", {"type": "string", "description": "topic:partition:offset"}),
    "action": (
        "操作",
        "an action on an incident",
        {"type": ["string", "null"], "description": "incident_id by preference: keeps an incident's actions in order"},
    ),
    "incident": ("事件变化", "a change of an incident", {"type": "string", "description": "incident_id"}),
    "notification": ("通知", "a notification", {"type": "string", "description": "incident_id or action_id"}),
    "tick": ("时钟", "a tick of the loop's clock", _ANY_KEY),
    "loop_record": ("循环日志记录", "an input of the loop", {"type": "null", "description": "none"}),
}

# channel: (topic, message, partitions, topic configuration, how records find their partition)
_CHANNELS: Final[dict[str, tuple[str, str, int, _Json, str]]] = {
    "readings": (
        "readings",
        "reading",
        4,
        {},
        "any; keep one device in one partition, so that its records stay in order",
    ),
    "cameraEvents": ("camera-events", "camera_event", 4, {}, "any; keep one camera in one partition"),
    "tickets": ("tickets", "ticket", 4, {}, "any"),
    "observations": (
        "observations",
        "frame",
        8,
        {"max.message.bytes": _FRAME_BYTES},
        "partition = region shard, set by the sender; the count is fixed once data flows",
    ),
    "urgentTickets": ("urgent-tickets", "urgent_ticket", 4, {}, "by key"),
    "placedTickets": (
        "placed-tickets",
        "placed_tickets",
        4,
        {"max.message.bytes": _FRAME_BYTES},
        "partition = raw partition of the tickets, set by the sender",
    ),
    "alerts": ("alerts", "alert", 4, {}, "by key: all records of one alert in one partition, in order of revision"),
    "deadLetters": ("dead-letters", "dead_letter", 4, {}, "by key; a letter written again has the same key"),
    "actions": ("actions", "action", 4, {}, "by key: what is asked of one incident stays in order"),
    "ticks": ("ticks", "tick", 1, {}, "one"),
    "loop": ("loop", "loop_record", 1, {}, "one: the order of all inputs of the loop"),
    "incidents": ("incidents", "incident", 4, {}, "by key: all changes of one incident, in order of revision"),
    "notifications": ("notifications", "notification", 4, {}, "by key"),
}

_OPERATIONS: Final[dict[str, dict[str, str]]] = {
    "readings": {"receive": "locate reads readings"},
    "cameraEvents": {"receive": "locate reads camera events"},
    "tickets": {"receive": "locate reads tickets"},
    "observations": {"send": "locate writes frames", "receive": "join and archive read frames"},
    "urgentTickets": {"send": "locate passes urgent tickets on without waiting for a window"},
    "placedTickets": {"send": "locate writes frames of tickets", "receive": "dispatch reads tickets for the loop"},
    "alerts": {"send": "join raises, updates and clears alerts", "receive": "archive reads alerts"},
    "deadLetters": {"send": "locate writes what it cannot use", "receive": "archive reads dead letters"},
    "actions": {"receive": "dispatch reads what people and other systems ask"},
    "ticks": {"receive": "dispatch reads the time of a replay or a simulation"},
    "loop": {"send": "dispatch puts its inputs into one order", "receive": "dispatch reads them back"},
    "incidents": {"send": "dispatch writes each change of an incident", "receive": "archive reads incidents"},
    "notifications": {"send": "dispatch tells departments and actors", "receive": "archive reads notifications"},
}


def _channel(_name: str, topic: str, message: str, partitions: int, config: _Json, placing: str) -> _Json:
    zh, en, _ = _MESSAGES[message]
    stamp = " The broker stamps records on arrival (message.timestamp.type=LogAppendTime)."
    kafka: _Json = {"topic": topic, "partitions": partitions, "bindingVersion": "0.5.0"}
    if config:
        kafka["topicConfiguration"] = config
    return {
        "address": topic,
        "title": zh,
        "description": f"Each record is {en}. Partitioning: {placing}.{stamp}",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": kafka},
    }


def _message(name: str) -> _Json:
    zh, en, key = _MESSAGES[name]
    about: _Json = {"name": name, "title": zh, "summary": en}
    bindings = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
    if name not in EXAMPLES:
        return about | {
            "contentType": "application/vnd.apache.arrow.stream",
            "description": (
                f"One Arrow IPC stream, uncompressed, with at most one record batch of the columns below. The schema's "
                f"metadata entry `tongguan` holds the header (version {FRAME_VERSION}) as JSON. Each column is stored "
                "as narrow as its values in this batch allow: whole numbers as uint8, uint16 or uint32 to which the "
                "field's metadata entry `base` is to be added (of type null: `base` is the value of every row), real "
                "numbers likewise and then divided by `scale`, strings by dictionary. A column without `base` is as "
                "below. A frame without rows has no columns."
            ),
            "payload": {"type": "string", "format": "binary"},
            "bindings": bindings,
            "x-header": {"$ref": "./frame_header.schema.json"},
            "x-columns": [
                {
                    "name": column.name,
                    "type": str(column.type),
                    "nullable": column.nullable,
                    "x-class": COLUMN_NOTES[column.name][0].value,
                    "x-zh": COLUMN_NOTES[column.name][1],
                    "description": COLUMN_NOTES[column.name][2],
                }
                for column in OBSERVATION
            ],
        }
    return about | {
        "contentType": "application/json",
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"./{name}.schema.json"}},
        "examples": [{"name": name, "payload": msgspec.to_builtins(EXAMPLES[name])}],
        "bindings": bindings,
    }


class _Dumper(yaml.SafeDumper):
    """No anchors: the document is for people too."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# --- JSON Schema ----------------------------------------------------------------------------------------------------


def _needs(given: str, other: str) -> _Json:
    def number(field: str) -> _Json:
        return {"properties": {field: {"type": "number"}}, "required": [field]}

    return {"if": number(given), "then": number(other)}


def _tidy(schema: Any) -> Any:
    """Docstrings lose their indentation; nothing else changes."""
    if isinstance(schema, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _tidy(value)
            for key, value in schema.items()
        }
    return [_tidy(value) for value in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    sys.exit(main())
