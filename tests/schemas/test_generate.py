"""Generated files are in step with the classes, valid by themselves, and true of the examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import msgspec
import pytest
import yaml

from schemas.decode import decode
from schemas.examples import EXAMPLES
from schemas.fields import notes
from schemas.generate import GENERATED, asyncapi, files, json_schema, main
from schemas.observation import OBSERVATION
from schemas.sources import Source
from streams.topics import TopicsSettings, topic_specs

RAW = {"reading": Source.READINGS, "camera_event": Source.CAMERA_EVENTS, "ticket": Source.TICKETS}
DOCUMENT: dict[str, Any] = yaml.safe_load((GENERATED / "asyncapi.yaml").read_text(encoding="utf-8"))


def test_the_generated_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0, "run: python -m schemas.generate"


def test_a_stale_missing_or_left_over_file_is_found_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], into=tmp_path) == 0
    assert main(["--check"], into=tmp_path) == 0
    (tmp_path / "alert.schema.json").write_text("{}")
    (tmp_path / "reading.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}")
    capsys.readouterr()
    assert main(["--check"], into=tmp_path) == 1
    told = capsys.readouterr().out
    assert all(name in told for name in ("alert.schema.json", "reading.schema.json", "old.schema.json"))
    assert main([], into=tmp_path) == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_schema_is_valid_and_holds_for_its_example(name: str) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(msgspec.json.encode(EXAMPLES[name])))


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_field_has_its_words_class_and_unit(name: str) -> None:
    schema = json_schema(name)
    message: type[msgspec.Struct] = type(EXAMPLES[name])
    described = notes(message)
    assert list(schema["properties"]) == list(described)
    for field, about in described.items():
        found = schema["properties"][field]
        assert found["x-class"] == about.field_class
        assert found["x-zh"] == about.zh and about.en in found["description"]
        assert found.get("x-unit") == about.unit
        assert found.get("x-mask") == about.mask


@pytest.mark.parametrize("name", RAW)
def test_each_fields_own_examples_are_valid_and_decode(name: str) -> None:
    schema = json_schema(name)
    validator = jsonschema.Draft202012Validator(schema)
    whole = {"lon": 121.4, "lat": 31.2} | json.loads(msgspec.json.encode(EXAMPLES[name]))
    for field, about in schema["properties"].items():
        for value in about.get("examples", []):
            validator.validate(whole | {field: value})
            decode(RAW[name], json.dumps(whole | {field: value}).encode(), ZoneInfo("Asia/Shanghai"))


def test_lon_and_lat_come_together_in_the_schema_too() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("reading"))
    bare = {"device_id": "a", "metric": "b", "value": 1, "ts": 1_782_864_000_000}
    assert validator.is_valid(bare | {"lon": 1, "lat": 1})
    assert validator.is_valid(bare | {"lon": None})
    assert not validator.is_valid(bare | {"lon": 1})
    assert not validator.is_valid(bare | {"lat": 1, "lon": None})


# --- AsyncAPI: the rules of version 3.0.0 that this document could break ----------------------------------------------


def resolved(reference: dict[str, str]) -> Any:
    assert list(reference) == ["$ref"]
    target: Any = DOCUMENT
    for step in reference["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return target


def test_the_document_has_the_parts_that_asyncapi_demands() -> None:
    assert asyncapi() == DOCUMENT
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert DOCUMENT.keys() <= {"asyncapi", "id", "info", "servers", "defaultContentType"} | {
        "channels",
        "operations",
        "components",
    }


def test_every_channel_has_an_address_of_its_own_and_known_messages() -> None:
    addresses = [channel["address"] for channel in DOCUMENT["channels"].values()]
    assert len(set(addresses)) == len(addresses)
    for channel in DOCUMENT["channels"].values():
        assert channel["bindings"]["kafka"]["topic"] == channel["address"]
        assert channel["bindings"]["kafka"]["partitions"] > 0
        for name, message in channel["messages"].items():
            assert resolved(message)["name"] == name


def test_every_operation_sends_or_receives_on_a_known_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert operation["channel"]["$ref"].startswith("#/channels/")
        assert resolved(operation["channel"])["messages"]
    used = {operation["channel"]["$ref"].removeprefix("#/channels/") for operation in DOCUMENT["operations"].values()}
    assert used == DOCUMENT["channels"].keys()


def test_every_json_message_has_a_schema_beside_it_and_a_valid_example() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["type"]
        if message["contentType"] != "application/json":
            continue
        assert message["payload"]["schemaFormat"] == "application/schema+json;version=draft-2020-12"
        schema = json.loads((GENERATED / message["payload"]["schema"]["$ref"]).read_text(encoding="utf-8"))
        for given in message["examples"]:
            jsonschema.Draft202012Validator(schema).validate(given["payload"])


def test_the_frame_lists_the_columns_of_an_observation() -> None:
    for name in ("frame", "urgent_ticket"):
        message = DOCUMENT["components"]["messages"][name]
        assert [column["name"] for column in message["x-columns"]] == OBSERVATION.names
        assert (GENERATED / message["x-header"]["$ref"]).is_file()


def test_the_channels_are_topics_that_are_really_made() -> None:
    made = {spec.name: spec for spec in topic_specs(TopicsSettings())}
    for channel in DOCUMENT["channels"].values():
        spec = made[channel["address"]]
        assert channel["bindings"]["kafka"]["partitions"] == spec.partitions
        for key, value in channel["bindings"]["kafka"].get("topicConfiguration", {}).items():
            assert spec.config[key] == str(value)
