"""The register: every problem of a file at once with its line; a look-up never takes one device for another."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.datums import Datum
from schemas.errors import SettingsError
from topology import device_file, device_report
from topology.datum import convert
from topology.device_columns import Device
from topology.device_report import MAX_PROBLEMS
from topology.device_table import NOT_REGISTERED, find_row, slot_of
from topology.devices import DeviceRegister
from topology.grid import Grid
from topology.shards import fnv1a64

SHANGHAI = Grid.metric(120.85, 30.67, 122.25, 31.88)


def _column(ids: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int32)
    return np.frombuffer(b"".join(ids), dtype=np.uint8), offsets


def _problems(path: Path) -> list[str]:
    """The problems of a file that must be refused, without the file's name in front."""
    with pytest.raises(SettingsError) as caught:
        DeviceRegister.load(path)
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_csv_register_is_read_and_converted_to_wgs84(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "devices.csv",
        "\ufeffdevice_id,lon,lat,datum,device_type,name\r\n"
        'WL-1,121.4737,31.2304,,water_level,"河南路, 泵站"\r\n'
        "\r\n"
        "CAM-2, 121.4800 ,31.2400,gcj-02,,\r\n",
    )
    register = DeviceRegister.load(path, grid=SHANGHAI)
    assert register.warnings == ()
    assert len(register) == 2
    first = register.find("WL-1")
    assert first == Device(
        device_id="WL-1", lon=121.4737, lat=31.2304, device_type="water_level", name="河南路, 泵站", line=2
    )
    second = register.find("CAM-2")
    assert second is not None
    assert (second.datum, second.line, second.device_type) == (Datum.GCJ02, 4, None)
    wgs = convert(121.48, 31.24, Datum.GCJ02, Datum.WGS84)
    assert (register.lon[1], register.lat[1]) == wgs
    assert abs(wgs[0] - 121.48) > 0.003
    assert register.find("CAM-3") is None


def test_json_lines_register_is_read_with_a_default_datum(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "devices.jsonl",
        '{"device_id": "A", "lon": 121.4, "lat": 31}\n\n'
        '{"device_id": "B", "lon": 121.4, "lat": 31.2, "datum": "WGS84", "name": null}\n',
    )
    register = DeviceRegister.load(path, default_datum=Datum.BD09)
    assert [device.datum for device in register.devices] == [Datum.BD09, Datum.WGS84]
    assert [device.line for device in register.devices] == [1, 3]


def test_every_problem_of_a_csv_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "devices.csv",
        "device_id,lon,lat,datum\n"
        "A,121.4,31.2,\n"  # the only good line
        "B,east,31.2,\n"
        "C,121.4,,\n"
        ",121.4,31.2,\n"
        "D,31.2,121.4,\n"
        "E,nan,31.2,\n"
        "F,121.4,31.2,mars\n"
        "G,121.4,31.2\n"
        "A,121.5,31.2,\n"
        "H,1_21.4,31.2,\n"
        f"{'x' * 257},121.4,31.2,\n"
        'I,"121.4"x,31.2,\n'
        "J,200,xyz,venus\n",
    )
    assert _problems(path) == [
        "3: lon must be a number of degrees, got 'east'",
        "4: lat missing",
        "5: device_id missing",
        "6: lat=121.4 must be from -90 to 90 degrees; lon and lat look swapped",
        "7: lon=nan must be from -180 to 180 degrees",
        "8: datum 'mars' is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09",
        "9: 3 fields where the header has 4",
        "10: device 'A' is registered at another place in line 2: lon=121.4, lat=31.2 there, lon=121.5, lat=31.2 here",
        "11: lon must be a number of degrees, got '1_21.4'",
        "12: device_id of more than 256 bytes",
        "13: not CSV: ',' expected after '\"'",
        "14: lon=200.0 must be from -180 to 180 degrees",
        "14: lat must be a number of degrees, got 'xyz'",
        "14: datum 'venus' is unknown; choose one of WGS-84, CGCS2000, GCJ-02, BD-09",
    ]


def test_every_problem_of_a_json_lines_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "devices.ndjson",
        '{"device_id": "A", "lon": 121.4, "lat": 31.2}\n'
        '{"device_id": "B", "lon": "121.4", "lat": true}\n'
        '{"device_id": 7, "lon": 121.4, "lat": 31.2}\n'
        "[1, 2]\n"
        '{"device_id": "C", "lon": 121.4\n'
        '{"device_id": "", "lon": 121.4, "lat": 31.2}\n'
        '{"device_id": "D", "lon": 1' + "0" * 300 + "00000000000, "
        '"lat": 31.2, "datum": 3}\n'
        "{}\n",
    )
    found = _problems(path)
    assert found[:4] == [
        "2: lon must be a number of degrees, got '121.4'",
        "2: lat must be a number of degrees, got True",
        "3: device_id must be a string, got 7",
        "4: expected a JSON object, got list",
    ]
    assert found[4].startswith("5: not JSON: ")
    assert found[5] == "6: device_id is empty"
    assert found[6].startswith("7: ")
    assert found[-1] == "8: device_id, lon, lat missing"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("devices.csv", b"", "1: the file is empty; the first line must name the columns device_id, lon, lat"),
        ("devices.csv", b"id,lon\n", "1: missing column device_id, lat; found id, lon"),
        ("devices.csv", b"device_id,lon,lat,lat\n", "1: column lat appears more than once"),
        ("devices.csv", b'device_id,lon,lat\n"A,121.4,31.2\n', "2: not CSV: unexpected end of data"),
        (
            "devices.csv",
            "device_id,lon,lat,name\nA,121.4,31.2,泵站\n".encode("gbk"),
            "2: byte 0xb1 is not UTF-8; save the file as UTF-8 (Chinese spreadsheets often write GBK)",
        ),
    ],
)
def test_file_that_is_no_register_says_why(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert _problems(path) == [expected]


def test_missing_file_and_unknown_ending_are_problems_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        DeviceRegister.load(tmp_path / "devices.csv")
    with pytest.raises(SettingsError, match=r"ends in \.csv, \.jsonl, \.ndjson; this is '\.xlsx'"):
        DeviceRegister.load(tmp_path / "devices.xlsx")


def test_usable_but_odd_lines_give_warnings(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "devices.csv",
        "device_id,lon,lat,datm\nA,121.4,31.2,GCJ-02\nA,121.4,31.2,\nB,116.4,39.9,\n",
    )
    register = DeviceRegister.load(path, grid=SHANGHAI)
    assert [device.device_id for device in register.devices] == ["A", "B"]
    assert list(register.warnings) == [
        f"{path}:1: 'datm' is not used; known are device_id, lon, lat, datum, device_type, name",
        f"{path}:3: device 'A' repeats line 2; the first one counts",
        f"{path}:4: device 'B' at lon=116.4, lat=39.9 is outside the city's grid; its records will have no cell",
    ]


def test_unused_field_of_json_lines_is_warned_of_once(tmp_path: Path) -> None:
    line = '{{"device_id": "{}", "lon": 121.4, "lat": 31.2, "owner": "x"}}\n'
    path = _write(tmp_path / "devices.jsonl", "".join(line.format(i) for i in range(5)))
    assert len(DeviceRegister.load(path).warnings) == 1


def test_file_full_of_problems_ends_with_a_count(tmp_path: Path) -> None:
    path = _write(tmp_path / "devices.csv", "device_id,lon,lat\n" + "A,x,31.2\n" * (MAX_PROBLEMS + 5))
    found = _problems(path)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == " and 5 more problems"


def test_quoted_line_break_does_not_shift_the_lines_after_it(tmp_path: Path) -> None:
    path = _write(tmp_path / "devices.csv", 'device_id,lon,lat,name\nA,121.4,31.2,"two\nlines"\nB,x,31.2,\n')
    assert _problems(path) == ["4: lon must be a number of degrees, got 'x'"]


# --- look-up
# ------------------------------------------------------------------------------------------------------------


def _register(ids: list[str]) -> DeviceRegister:
    return DeviceRegister(
        Device(device_id=device_id, lon=121.0 + i / 1000, lat=31.0 + i / 1000) for i, device_id in enumerate(ids)
    )


@settings(deadline=None)  # the first call compiles
@given(
    registered=st.lists(st.text(max_size=6), unique=True, max_size=40),
    asked=st.lists(st.tuples(st.text(max_size=6), st.booleans()), max_size=40),
    data=st.data(),
)
def test_lookup_equals_a_dictionary(registered: list[str], asked: list[tuple[str, bool]], data: st.DataObject) -> None:
    register = _register(registered)
    if registered:
        asked = asked + [(data.draw(st.sampled_from(registered)), True) for _ in range(5)]
    entity_data, offsets = _column([text.encode() for text, _ in asked])
    need = np.array([wanted for _, wanted in asked], dtype=np.bool_)
    lon, lat, found = register.lookup(entity_data, offsets, need)
    rows = {device_id: row for row, device_id in enumerate(registered)}
    for i, (text, wanted) in enumerate(asked):
        row = rows.get(text) if wanted else None
        assert found[i] == (row is not None)
        if row is None:
            assert math.isnan(lon[i])
            assert math.isnan(lat[i])
        else:
            assert (lon[i], lat[i]) == (121.0 + row / 1000, 31.0 + row / 1000)
    assert register.rows_of(entity_data, offsets).tolist() == [rows.get(text, NOT_REGISTERED) for text, _ in asked]


@pytest.mark.parametrize("asked_id", [b"pump-2", b"pump", b"pump-10"])
@pytest.mark.parametrize("slot", [0, 1])
def test_equal_hashes_are_not_enough_for_a_hit(asked_id: bytes, slot: int) -> None:
    arena = np.frombuffer(b"pump-10", dtype=np.uint8)
    asked = np.frombuffer(asked_id, dtype=np.uint8)
    starts = np.array([0, 6], dtype=np.int64)  # the register holds pump-1; the byte after it belongs to no id
    slots = np.zeros(2, dtype=np.uint64)
    slots[slot] = slot_of(fnv1a64(asked, 0, len(asked)), 0)  # row 0 pretends to have the asked id's hash
    assert find_row(asked, 0, len(asked), arena, starts, slots) == NOT_REGISTERED


def test_prefixes_of_registered_ids_are_other_ids() -> None:
    register = _register(["pump-10", "pump-1"])
    assert register.find("pump-1") == register.devices[1]
    assert register.find("pump-10") == register.devices[0]
    assert register.find("pump-") is None
    assert register.find("") is None


def test_column_may_start_anywhere_in_its_buffer() -> None:
    register = _register(["aa", "bb", "cc"])
    data = np.frombuffer(b"xxaabbcc", dtype=np.uint8)
    assert register.rows_of(data, np.array([4, 6, 8], dtype=np.int32)).tolist() == [1, 2]


def test_empty_register_finds_nothing() -> None:
    entity_data, offsets = _column([b"a", b""])
    _, _, found = DeviceRegister().lookup(entity_data, offsets, np.array([True, True]))
    assert found.tolist() == [False, False]


def test_large_register_finds_all_its_devices() -> None:
    ids = [f"dev-{i:05d}" for i in range(20_000)]
    register = _register(ids)
    entity_data, offsets = _column([i.encode() for i in ids])
    assert register.rows_of(entity_data, offsets).tolist() == list(range(20_000))
    other, other_offsets = _column([f"cam-{i:05d}".encode() for i in range(20_000)])
    assert (register.rows_of(other, other_offsets) == NOT_REGISTERED).all()


# --- plain lines are read in machine code: no other than the reference reads them
# ------------------------------------------------------------------------------------------------------------


_IDS = st.sampled_from(["a", "b", "", " c ", "泵站", "\u3000d", "e\u00a0", "x" * 256, "x" * 257, "é" * 128, "g\th"])
_NUMBERS = st.sampled_from(
    ["121.4", "31.2", "-31.25", "31.", ".5", "+3", "1e1", "nan", "1_0", "", " 7 ", "-0", "180", "180.0000000000001",
     "123456789012345678", "45.153775144939148", "0.1234567890123456", "31.230400000000001", "٣", "-", "1.2.3"]
)  # fmt: skip
_DATUMS = st.sampled_from(["", "WGS-84", "gcj02", "Bd-09", "cgcs2000", "mars", "WGS-84x", " wgs84 ", "w\0"])
_TEXTS = st.sampled_from(["", "water_level", "泵站", "\u2028x", "two words", "\u3000", "\r"])
_GOOD = ("c", "121.4", "31.2", "", "camera", "泵站")
_ODD = (_IDS, _NUMBERS, _NUMBERS, _DATUMS, _TEXTS, _TEXTS)


def _line(odd: list[tuple[int, str]]) -> str:
    """A good line but for these fields."""
    fields = list(_GOOD)
    for place, text in odd:
        fields[place] = text
    return ",".join(fields)


_LINES = st.one_of(
    st.lists(st.one_of(*(st.tuples(st.just(place), _ODD[place]) for place in range(6))), max_size=2).map(_line),
    st.builds(lambda number: f"{number},121.4,31.2,,,", st.integers(0, 9)),
    st.sampled_from(["", " , ,,,, ", "a,b", ",,,,,", "\r", "a,1,2,,,\r", "\u3000,,,,,", 'q,1,2,,,"two\nlines"', '"']),
)


@settings(deadline=None, max_examples=200)
@example(  # a digit more than are exact; an id that is a byte too long
    lines=["a,45.153775144939148,31.2,,,", f"{'x' * 257},121.4,31.2,,,"],
    end="\n",
    header="device_id,lon,lat,datum,device_type,name",
    size=1 << 20,
)
@given(
    lines=st.lists(_LINES, max_size=12),
    end=st.sampled_from(["", "\n", "\r\n"]),
    header=st.sampled_from(["device_id,lon,lat,datum,device_type,name", "name, lat ,lon,owner,device_id,device_type"]),
    size=st.sampled_from([1, 7, 60, 1 << 20]),
)
def test_any_file_is_read_as_by_the_reference_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, header: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("register") / "devices.csv"
    path.write_bytes("\n".join([header, *lines]).encode() + end.encode())
    expected_report = device_report.Report(path)
    rows = device_file._csv_rows([path.read_bytes()], 1, None, expected_report)
    expected: dict[str, Device] = {}
    for line, fields in rows:
        device = device_file._device(line, fields, Datum.GCJ02, expected_report)
        if device is not None and device.device_id in expected:
            device_file._report_repeat(device, expected[device.device_id], expected_report)
        elif device is not None:
            expected[device.device_id] = device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_file, "_PIECE_BYTES", size)
        columns, _, report = device_file.read_devices(path, Datum.GCJ02)
    assert report.problems == expected_report.problems
    assert report.warnings == expected_report.warnings
    assert [repr(columns.device(row)) for row in range(len(columns))] == [repr(one) for one in expected.values()]


def test_plain_lines_of_json_are_read_as_any_others(tmp_path: Path) -> None:
    plain = '{"device_id": "A%d", "lon": 121.4, "lat": 31, "device_type": "camera", "name": "泵站"}\n'
    odd = '{"device_id": "B%d", "lon": 121.4, "lat": 31, "device_type": "camera", "name": "泵站", "datum": "wgs84"}\n'
    path = _write(tmp_path / "devices.jsonl", "".join((plain % i) + (odd % i) for i in range(3)))
    devices = DeviceRegister.load(path).devices
    assert [device.device_id for device in devices] == ["A0", "B0", "A1", "B1", "A2", "B2"]
    assert {(d.lon, d.lat, d.datum, d.device_type, d.name) for d in devices} == {
        (121.4, 31.0, Datum.WGS84, "camera", "泵站")
    }
    assert [device.line for device in devices] == [1, 2, 3, 4, 5, 6]


def test_devices_of_a_register_are_a_sequence() -> None:
    register = _register(["a", "b", "c"])
    assert register.devices[-1].device_id == "c"
    assert [device.device_id for device in register.devices[:2]] == ["a", "b"]
    with pytest.raises(IndexError, match="device 3 of 3"):
        register.devices[3]
