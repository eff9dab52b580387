"""The SQL files against the messages they store, on a real engine: columns, comments, migrations, views."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.action import ActionRecord
from schemas.alert import Action, Alert
from schemas.dead_letter import DeadLetter
from schemas.errors import SettingsError, StoreRefused
from schemas.incident import IncidentChange, TicketOutcome, WhistleCall
from schemas.notification import Notification
from schemas.observation import NO_PLACE_E7, OBSERVATION, Flag
from schemas.privacy import all_personal_fields
from schemas.sources import Source
from schemas.ticket import Ticket
from streams.archive_core import Covered, make_rows, open_frame
from streams.archive_loop_rows import ACTIONS, INCIDENTS, NOTIFICATIONS
from streams.archive_rows import ALERTS, DEAD_LETTERS, PERSONAL, TICKETS, alert_rows
from streams.clickhouse import Store, connect
from streams.migrations import (
    DIRECTORY,
    Migration,
    apply_migrations,
    load_migrations,
    pending_migrations,
    split_statements,
)
from tests.support.archive_frames import T0_MS, alert, cover, frame, row
from tests.support.stores import embedded_store

TABLES = {
    "observations": OBSERVATION, "tickets": TICKETS, "personal_fields": PERSONAL, "alerts": ALERTS,
    "dead_letters": DEAD_LETTERS, "incidents": INCIDENTS, "notifications": NOTIFICATIONS, "actions": ACTIONS,
}  # fmt: skip
VIEWS = {"v_observations", "v_tickets", "v_alerts", "v_alert_history", "v_dead_letters", "v_incidents",
         "v_incident_history", "v_notifications", "v_actions", "v_ticket_outcomes"}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with embedded_store(tmp_path_factory.mktemp("ddl") / "store") as made:
        yield made


def columns(store: Store, table: str) -> dict[str, str]:
    rows = store.rows(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        " ORDER BY position",
        {"table": table},
    )
    return dict(rows)


# --- in step with the messages -------------------------------------------------------------------------------------


def as_column(name: str) -> str:
    """`onset_ms` of a message is the column `onset_at`, `received_at_ms` is `received_at`, `at_ms` is `at`."""
    if name == "at_ms":
        return "at"
    return name.removesuffix("_ms").removesuffix("_at") + "_at" if name.endswith("_ms") else name


def test_observations_has_the_columns_of_a_frame(store: Store) -> None:
    found = columns(store, "observations")
    assert list(found) == OBSERVATION.names
    nullable = {name for name, kind in found.items() if "Nullable" in kind}
    assert nullable == {field.name for field in OBSERVATION if field.nullable}


def test_alerts_and_dead_letters_have_every_field_of_their_message(store: Store) -> None:
    for table, message in (("alerts", Alert), ("dead_letters", DeadLetter)):
        assert list(columns(store, table)) == [as_column(name) for name in message.__struct_fields__]


def test_incidents_and_notifications_have_every_field_of_their_message(store: Store) -> None:
    for table, message, more in (("incidents", IncidentChange, ["payload"]), ("notifications", Notification, [])):
        assert list(columns(store, table)) == [*(as_column(name) for name in message.__struct_fields__), *more]
    tuples = {"tickets": TicketOutcome, "whistles": WhistleCall}
    for column, part in tuples.items():
        named = re.findall(r"(?:\(|, )(\w+) (?=[A-Z])", columns(store, "incidents")[column].removeprefix("Array(Tuple"))
        assert named == [as_column(name) for name in part.__struct_fields__], column


def test_every_field_of_an_action_is_kept(store: Store) -> None:
    place = {"ts": "acted_at", "until_ts": "until_at"}
    assert {place.get(name, name) for name in ActionRecord.__struct_fields__} <= set(columns(store, "actions"))


def test_every_field_of_a_ticket_is_kept_somewhere(store: Store) -> None:
    place = {"ts": "event_at", "due_ts": "due_at", "lon": "lon_e7", "lat": "lat_e7"}
    found = columns(store, "tickets")
    missing = {name for name in Ticket.__struct_fields__ if place.get(name, name) not in found}
    assert missing == {"datum", "caller_name", "caller_phone"}  # converted; in the restricted table


def test_personal_fields_have_no_column_but_the_two_that_the_view_shows_masked(store: Store) -> None:
    for table in TABLES:
        own = set(columns(store, table)) & set(all_personal_fields())
        assert own == ({"text", "address"} if table == "tickets" else set())
    for view in VIEWS - {"v_tickets"}:
        assert not set(columns(store, view)) & set(all_personal_fields())


def test_what_the_archive_writes_names_the_columns_of_its_table(store: Store) -> None:
    for table, schema in TABLES.items():
        assert set(schema.names) == set(columns(store, table)), table


def test_the_flags_in_the_views_are_the_bits_of_the_message() -> None:
    text = (DIRECTORY / "0007_jurisdictions.sql").read_text(encoding="utf-8")
    named = {name: 1 << int(bit) for bit, name in re.findall(r"bitTest\(flags, (\d+)\) AS (\w+)", text)}
    expected = {flag.name.lower(): int(flag) for flag in Flag if flag not in (Flag.HALO, Flag.UNPLACED) and flag.name}
    assert named == expected
    assert text.count(str(NO_PLACE_E7)) == 4


def test_every_table_view_and_column_has_a_comment_in_both_languages(store: Store) -> None:
    commented = store.rows(
        "SELECT table || '.' || name, comment FROM system.columns WHERE database = currentDatabase()"
        " UNION ALL SELECT name, comment FROM system.tables WHERE database = currentDatabase()"
    )
    assert len(commented) > 100
    bad = [name for name, comment in commented if not re.fullmatch(r".*[\u4e00-\u9fff].* \| .*[a-z].*", comment)]
    assert not bad


def test_every_table_drops_repeated_inserts_and_rows(store: Store) -> None:
    for name, engine, query in store.rows(
        "SELECT name, engine, create_table_query FROM system.tables WHERE database = currentDatabase()"
        " AND engine NOT IN ('View', 'MaterializedView') AND name != 'schema_migrations'"
    ):
        if engine == "AggregatingMergeTree":  # a roll-up: its rows add up, so only the token can drop a repeated insert
            assert "non_replicated_deduplication_window" in query, name
            continue
        assert engine == "ReplacingMergeTree", name
        assert "non_replicated_deduplication_window = 10000" in query, name


# --- migrations ----------------------------------------------------------------------------------------------------


def test_applying_all_again_does_nothing(store: Store) -> None:
    assert apply_migrations(store) == []


def test_every_statement_may_be_run_again_as_after_a_cut_off_application(store: Store) -> None:
    for migration in load_migrations():
        for statement in migration.statements:
            store.command(statement)


def test_an_edited_migration_is_refused_by_name(store: Store) -> None:
    edited = [Migration(m.version, m.name, m.sql + "\n-- a word") if m.version == 2 else m for m in load_migrations()]
    with pytest.raises(SettingsError, match=r"0002_observations\.sql was applied .* with another text"):
        apply_migrations(store, migrations=edited)


def test_a_store_that_is_ahead_of_the_program_is_refused(store: Store) -> None:
    with pytest.raises(SettingsError, match=rf"{load_migrations()[-1].name} is applied .* but unknown here"):
        pending_migrations(store, load_migrations()[:-1])


def test_progress_names_each_migration_as_it_begins(store: Store) -> None:
    version = len(load_migrations()) + 1
    extra = Migration(version, "9999_more.sql", "CREATE TABLE more (a Int8) ENGINE = Memory;")
    seen: list[str] = []
    done = apply_migrations(store, migrations=[*load_migrations(), extra], progress=lambda m: seen.append(m.name))
    assert seen == [m.name for m in done] == ["9999_more.sql"]
    store.command("DROP TABLE more")
    store.command(f"ALTER TABLE schema_migrations DELETE WHERE version = {version} SETTINGS mutations_sync = 1")


def test_a_setting_that_the_server_does_not_know_is_done_without_and_nothing_else_is(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    version = len(load_migrations()) + 1
    unknown = "ALTER TABLE more MODIFY SETTING of_next_year = 1"
    sql = f"CREATE TABLE IF NOT EXISTS more (a Int8) ENGINE = MergeTree ORDER BY a; {unknown};"
    more = Migration(version, "9999_more.sql", sql)
    apply_migrations(store, migrations=[*load_migrations(), more])
    assert "of_next_year" in caplog.text and "goes on without it" in caplog.text
    for wrong in ("ALTER TABLE nowhere MODIFY SETTING max_parts_in_total = 1", "SELECT 1 SETTINGS of_next_year = 1"):
        with pytest.raises(StoreRefused):
            apply_migrations(
                store, migrations=[*load_migrations(), more, Migration(version + 1, "9999_wrong.sql", wrong)]
            )
    store.command("DROP TABLE more")
    store.command(f"ALTER TABLE schema_migrations DELETE WHERE version = {version} SETTINGS mutations_sync = 1")


def test_misnamed_missing_and_double_numbers_are_found(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no migrations"):
        load_migrations(tmp_path)
    for name in ("0001_a.sql", "2_b.sql", "0003_c.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(SettingsError) as caught:
        load_migrations(tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["2_b.sql", "0003_c.sql"]


def test_statements_are_split_outside_quotes_only() -> None:
    sql = "-- a; b\nSELECT ';', `a;b`;\n\nSELECT 'it''s; --no' -- ok\n;;\nSELECT '\n-- kept;\n'"
    assert split_statements(sql) == ["SELECT ';', `a;b`", "SELECT 'it''s; --no' -- ok", "SELECT '\n-- kept;\n'"]


# --- views: duplicate-free before any merge, and without personal values ---------------------------------------------


def test_views_show_a_row_once_though_the_table_has_it_twice(store: Store) -> None:
    payload = frame(
        [
            row(Source.READINGS, 0, 1, flags=int(Flag.LATE | Flag.UNIT_MISMATCH), lon_e7=1_214_000_000),
            row(Source.CAMERA_EVENTS, 0, 1, extra='{"track_id":"t-9","bbox":[1,2,3.5,4],"plate_hash":"secret"}'),
            row(Source.TICKETS, 0, 1, lon_e7=NO_PLACE_E7, lat_e7=NO_PLACE_E7, cell=-1, flags=int(Flag.UNPLACED),
                extra='{"text":"王小明，电话13800138000","caller_name":"王小明","urgency":"critical"}'),
        ],
        [cover(source, 0, 1, 1) for source in Source],
    )  # fmt: skip
    tables = make_rows([open_frame("observations", 0, 0, payload, T0_MS)], Covered()).tables
    for attempt in range(2):
        for name, table in tables.items():
            store.insert(name, table, token=f"view-{attempt}")
    assert store.rows("SELECT count() FROM observations") == [(6,)]
    late, camera, ticket = (
        store.query_arrow(f"SELECT * FROM v_observations WHERE source = '{source.topic}'").to_pylist()[0]
        for source in Source
    )
    assert store.rows("SELECT count() FROM v_observations") == [(3,)]
    assert (late["late"], late["unit_mismatch"], late["out_of_range"], late["lon"]) == (True, True, False, 121.4)
    assert (camera["track_id"], camera["bbox"]) == ("t-9", [1.0, 2.0, 3.5, 4.0])
    assert (ticket["lon"], ticket["lat"], ticket["cell"]) == (None, None, -1)
    assert store.rows("SELECT text, urgency FROM v_tickets") == [("王**，电话138****8000", "critical")]
    assert store.rows("SELECT topic, field, value FROM personal_fields FINAL ORDER BY topic") == [
        ("camera-events", "plate_hash", "secret"),
        ("tickets", "caller_name", "王小明"),
    ]
    for view in VIEWS:
        shown = str(store.query_arrow(f"SELECT * FROM {view}").to_pylist())
        assert not any(value in shown for value in ("王小明", "13800138000", "secret")), view


def test_v_alerts_has_the_latest_state_and_the_history_every_record_once(store: Store) -> None:
    records = [alert(0, Action.RAISE, 2), alert(1, Action.UPDATE, 4), alert(2, Action.CLEAR, 3)]
    other = alert(0, Action.RAISE, 1, alert_id="waterlogging-1-8-1767225600000", cell=8, values={})
    for attempt, batch in enumerate((records[:2], records[1:], [other, other])):
        store.insert("alerts", alert_rows(batch), token=f"alerts-{attempt}")
    assert store.rows("SELECT alert_id, revision FROM v_alert_history ORDER BY cell, revision") == [
        *((records[0].alert_id, revision) for revision in range(3)),
        (other.alert_id, 0),
    ]
    latest = store.query_arrow("SELECT * FROM v_alerts ORDER BY cell").to_pylist()
    assert [(entry["status"], entry["severity"], entry["worst_severity"], entry["revision"]) for entry in latest] == [
        ("cleared", 3, 4, 2),
        ("active", 1, 1, 0),
    ]
    assert latest[0]["cleared_at"].timestamp() * 1000 == T0_MS + 180_000 and latest[1]["cleared_at"] is None
    assert dict(latest[0]["values"]) == {"level": 151.0, "camera": None} and latest[0]["evidence"] == ["readings:0:1"]


def test_the_views_tell_who_answers_how_a_place_was_found_and_what_was_promised(store: Store) -> None:
    ticket = row(Source.TICKETS, 0, 1, flags=int(Flag.PLACE_FROM_ADDRESS),
                 extra=f'{{"text":"","due_ms":{T0_MS + 1000},"place_confidence":0.5}}')  # fmt: skip
    payload = frame([ticket, row(Source.TICKETS, 0, 2, jurisdiction=None)], [cover(Source.TICKETS, 0, 1, 2)])
    place = {"jurisdiction": "310104003", "unit": "310104003012007", "place_zh": "天平路街道", "place_en": "Tianping"}
    records = [alert(0, Action.RAISE, 2, **place), alert(1, Action.CLEAR, 2, **place)]
    with connect(f"chdb://{store.address.place}", database="whose_city") as other:
        apply_migrations(other)
        for name, table in make_rows([open_frame("observations", 0, 0, payload, T0_MS)], Covered()).tables.items():
            other.insert(name, table, token=name)
        other.insert("alerts", alert_rows(records), token="alerts")
        code = "310104003"
        assert other.rows("SELECT jurisdiction, place_from_address FROM v_observations ORDER BY offset") == [
            (code, True), (None, False),
        ]  # fmt: skip
        (first, second) = other.rows(
            "SELECT jurisdiction, place_from_address, place_confidence, toUnixTimestamp64Milli(due_at)"
            " FROM v_tickets ORDER BY offset"
        )
        assert (first, second) == ((code, True, 0.5, T0_MS + 1000), (None, False, None, None))
        for view, count in (("v_alerts", 1), ("v_alert_history", 2)):
            found = other.rows(f"SELECT jurisdiction, unit, place_zh, place_en FROM {view}")
            assert found == [tuple(place.values())] * count, view


def test_a_question_by_kind_and_time_reads_a_part_of_the_table_through_the_view(store: Store) -> None:
    plan = "\n".join(
        line
        for (line,) in store.rows(
            "EXPLAIN indexes = 1 SELECT avg(value) FROM v_observations WHERE kind = 'water_level_mm'"
            " AND event_at >= '2026-01-01 00:00:00' AND event_at < '2026-01-01 01:00:00'"
        )
    )
    assert "PrimaryKey" in plan and "Partition" in plan and "kind in" in plan


def test_the_database_is_made_when_it_is_missing(store: Store) -> None:
    other = connect(f"chdb://{store.address.place}", database="another_city")
    with other:
        assert len(apply_migrations(other)) == len(load_migrations())
        assert columns(other, "v_alerts")
        assert isinstance(other.query_arrow("SELECT * FROM v_tickets"), pa.Table)
