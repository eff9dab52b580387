"""Data sets on disk: what changed is named before anything is sent, what cannot be used is counted and named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from deploy.replay.dataset import DataSet
from deploy.replay.mapping_file import find_mapping
from deploy.replay.tally import Note, Skip
from schemas.errors import SettingsError, TongguanError
from tests.deploy.replay.made_up import LA_HEADER, SENSORS, metr_la, tickets_la, write

TICKET = "{id},2017-12-2{day} 10:00:0{second},,SR Created,BOS,Bulky Items,Open,Call,NC,,,Y,N,here,,{lat},{lon},,,,,"
"""22 columns"""


def ticket(number: int, *, day: int = 7, second: int = 0, lon: str = "-118.24", lat: str = "34.05") -> str:
    return TICKET.format(id=f"T-{number}", day=day, second=second, lon=lon, lat=lat)


def la(folder: Path, *lines: str, header: str = LA_HEADER, name: str = "myla311_x.csv") -> DataSet:
    write(folder / name, "\n".join([header, *lines]) + "\n")
    return DataSet(find_mapping("tickets_la"), folder)


def problems(data: DataSet) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        data.survey()
    return caught.value.problems


def test_columns_that_changed_are_named_with_file_and_line(tmp_path: Path) -> None:
    header = LA_HEADER.replace("srnumber", "request_no").replace("createddate", "created")
    data = la(tmp_path, ticket(1), header=header)
    (problem,) = problems(data)
    assert problem.startswith(f"{tmp_path}/myla311_x.csv:1: column srnumber, createddate is missing; found request_no")
    assert problem.endswith("nothing of the set was sent")


def test_the_columns_of_every_file_are_checked_before_any_is_used(tmp_path: Path) -> None:
    la(tmp_path, ticket(1), name="myla311_a.csv")
    data = la(tmp_path, ticket(2), header=LA_HEADER.replace("latitude", "lat"), name="myla311_b.csv")
    (problem,) = problems(data)
    assert "myla311_b.csv:1: column latitude is missing" in problem


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    data = la(tmp_path, header=LA_HEADER.replace("apc", "owner"))
    assert "column owner appears more than once" in problems(data)[0]


def test_fields_that_are_gone_from_json_are_named(tmp_path: Path) -> None:
    message = {"@timestamp": "2018-09-12T17:20:38Z", "sensor": {"id": "c1"}, "event": {"kind": "moving"}}
    write(tmp_path / "garage_events_x.jsonl", json.dumps(message) + "\n")
    found = "\n".join(problems(DataSet(find_mapping("camera_deepstream"), tmp_path)))
    assert "field event.type is in none of 1 rows" in found and "field sensor.id" not in found


def test_a_sensor_that_the_table_of_positions_does_not_know_is_named(tmp_path: Path) -> None:
    metr_la(tmp_path)
    write(tmp_path / "speed_b.csv", "timestamp,773869,999999\n2012-03-01 00:00:00,1,2\n")
    (problem,) = problems(DataSet(find_mapping("sensors_metr_la"), tmp_path))
    assert "speed_b.csv:1: column 999999 is no sensor of the table of positions" in problem


def test_a_table_of_positions_is_checked_as_a_whole(tmp_path: Path) -> None:
    metr_la(tmp_path)
    table = "sensor_id,latitude,longitude\n773869,34.1,-118.3\n773869,34.2,-118.3\n1,95,-118\n2,34.1\n"
    write(tmp_path / "sensor_locations.csv", table)
    with pytest.raises(SettingsError) as caught:
        DataSet(find_mapping("sensors_metr_la"), tmp_path)
    where = f"{tmp_path}/sensor_locations.csv"
    assert caught.value.problems == [
        f"{where}:3: '773869' has another position above",
        f"{where}:4: expected a position, got '-118', '95'",
        f"{where}:5: 2 fields where the header has 3",
    ]


def test_a_packed_file_that_was_cut_short_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    path = tickets_la(tmp_path) / "myla311_made_up.csv.gz"
    path.write_bytes(path.read_bytes()[:-60])
    assert "the gzip file is broken or cut short" in problems(DataSet(find_mapping("tickets_la"), tmp_path))[0]


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00bad", gzip.compress(b"x", mtime=0)[:10] + b"\x00" * 40, b"", b"\x00" * 100],
    ids=["no text", "broken gzip", "empty", "zeros"],
)
@pytest.mark.parametrize("name", ["myla311_x.csv", "myla311_x.csv.gz"])
def test_any_bytes_instead_of_a_file_are_told_in_a_sentence(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in problems(DataSet(find_mapping("tickets_la"), tmp_path))[0]


def test_rows_that_cannot_be_used_are_counted_and_named_and_the_others_are_sent(tmp_path: Path) -> None:
    data = la(
        tmp_path,
        ticket(1),
        ticket(2) + ",one,more",
        ticket(3).replace("2017-12-27", "yesterday"),
        ticket(4).replace("T-4", ""),
        ticket(5, lon="181"),
        ticket(6, lon="east"),
        ticket(7).replace("Bulky Items", '"Bulky"x'),
    )
    survey = data.survey()
    sent = [json.loads(record.payload)["ticket_id"] for record in data.records(survey)]
    assert sent == ["T-1", "T-5", "T-6"]
    assert survey.tally.skipped == {Skip.BAD_ROW: 2, Skip.BAD_TIME: 1, Skip.MISSING_FIELD: 1}
    assert survey.tally.notes == {Note.BAD_POSITION: 2}
    assert survey.tally.rows == 7 == survey.tally.records + survey.tally.unusable
    where = f"{tmp_path}/myla311_x.csv"
    assert survey.tally.places[:3] == [
        f"{where}:3: bad_row: 24 fields where the header has 22",
        f'{where}:4: bad_time: expected a time like %Y-%m-%d %H:%M:%S, got "yesterday 10:00:00"',
        f"{where}:5: missing_field: ticket_id is missing",
    ]
    assert survey.tally.places[3].startswith(f"{where}:8: bad_row: not CSV")


def test_only_the_first_rows_of_each_kind_are_named_and_all_are_counted(tmp_path: Path) -> None:
    data = la(tmp_path, ticket(1), *["too,short"] * 500, ticket(2, second=9).replace("2017", "20l7"))
    tally = data.survey().tally
    assert tally.skipped == {Skip.BAD_ROW: 500, Skip.BAD_TIME: 1} and len(tally.places) == 6


def test_a_set_without_one_usable_row_is_refused_with_the_reason(tmp_path: Path) -> None:
    found = problems(la(tmp_path, "a,b"))
    assert found[0] == f"{tmp_path}: none of 1 rows gives a record" and "fields where the header has" in found[1]


def test_line_numbers_are_right_after_a_field_of_several_lines(tmp_path: Path) -> None:
    data = la(tmp_path, ticket(1).replace("here", '"two\nlines"'), "a,b")
    assert data.survey().tally.places == [f"{tmp_path}/myla311_x.csv:4: bad_row: 2 fields where the header has 22"]


def test_files_are_merged_by_event_time_even_those_that_are_not_in_order(tmp_path: Path) -> None:
    la(tmp_path, *(ticket(n, second=n) for n in (1, 3, 5)), name="myla311_a.csv")
    data = la(tmp_path, *(ticket(n, second=n) for n in (6, 4, 2)), name="myla311_b.csv")
    survey = data.survey()
    assert [path.name for path in survey.sorted_files] == ["myla311_a.csv"]
    assert [record.key for record in data.records(survey)] == [f"T-{n}".encode() for n in range(1, 7)]


def test_files_in_recorded_order_keep_it_and_are_interleaved_by_time(tmp_path: Path) -> None:
    def message(second: int) -> str:
        ids = {"sensor": {"id": "c1"}, "event": {"type": "moving"}, "place": {"aisle": {"id": "a"}}, "messageid": "m"}
        box = dict.fromkeys(("topleftx", "toplefty", "bottomrightx", "bottomrighty"), 1)
        where = {"location": {"lat": 30.33, "lon": -40.55}, "coordinate": {"x": second, "y": 0}, "bbox": box, "id": "o"}
        when = {"@timestamp": f"2018-09-12T17:20:{second:02}Z"}
        return json.dumps(ids | when | {"object": where | {"vehicle": {"confidence": 0}}}) + "\n"

    for name, seconds in (("a", (5, 3, 40)), ("b", (10, 20, 19))):
        write(tmp_path / f"garage_events_{name}.jsonl", "".join(map(message, seconds)))
    data = DataSet(find_mapping("camera_deepstream"), tmp_path)
    sent = [json.loads(record.payload)["x_m"] for record in data.records(data.survey())]
    assert sent == [5, 3, 10, 20, 19, 40]


def test_files_that_change_between_the_check_and_the_replay_are_noticed(tmp_path: Path) -> None:
    data = la(tmp_path, ticket(1), ticket(2))
    survey = data.survey()
    la(tmp_path, ticket(1))
    with pytest.raises(TongguanError, match="the files changed while they were replayed: 2 records at first, 1 now"):
        list(data.records(survey))


def test_the_folder_may_be_the_sets_own_or_the_one_above(tmp_path: Path) -> None:
    metr_la(tmp_path / "sensors_metr_la")
    mapping = find_mapping("sensors_metr_la")
    assert DataSet(mapping, tmp_path).files == DataSet(mapping, tmp_path / "sensors_metr_la").files
    with pytest.raises(SettingsError, match=r"no file is named speed_\*\.csv\.gz or speed_\*\.csv; is it the folder"):
        DataSet(mapping, write(tmp_path / "empty" / "x", "").parent)
    with pytest.raises(SettingsError, match="no such folder"):
        DataSet(mapping, tmp_path / "nowhere")


def test_a_set_without_an_extract_asks_for_its_folder() -> None:
    with pytest.raises(SettingsError, match=r"no extract of this set comes with Tongguan; .* --data-dir"):
        DataSet(find_mapping("sensors_metr_la"), None)


def test_a_file_that_is_there_packed_and_unpacked_is_not_sent_twice(tmp_path: Path) -> None:
    la(tmp_path, ticket(1))
    with pytest.raises(SettingsError, match="is there twice, packed and unpacked"):
        la(tmp_path, ticket(1), name="myla311_x.csv.gz")


def test_a_missing_reading_of_a_wide_table_is_a_gap(tmp_path: Path) -> None:
    metr_la(tmp_path)
    names = ",".join(SENSORS)
    write(tmp_path / "speed_made_up.csv.gz", f"timestamp,{names}\n2012-03-01 00:00:00,1,,n/a\n")
    tally = DataSet(find_mapping("sensors_metr_la"), tmp_path).survey().tally
    assert tally.skipped == {Skip.MISSING_VALUE: 1, Skip.BAD_NUMBER: 1} and tally.records == 1
