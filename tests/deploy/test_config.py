"""Configuration: one load, one check, every problem named at once; no secret is ever printed."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.config import CitySettings, ClickHouseSettings, KafkaSettings, TongguanConfig
from deploy.config_command import plain
from deploy.config_load import load_config
from deploy.config_sample import sample_toml
from schemas.errors import SettingsError
from topology.grid import Grid

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad_configs").glob("*.toml"))
SAMPLE = HERE.parent.parent / "deploy" / "tongguan.sample.toml"


def problems_of(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_config(path, environ=environ)
    return caught.value.problems


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_bad_file_is_refused_with_exactly_the_problems_it_announces(path: Path) -> None:
    expected = re.findall(r"^# expect: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    problems = problems_of(path)
    assert len(problems) == len(expected), problems
    for text in expected:
        assert any(text in problem for problem in problems), f"{text!r} not in {problems}"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_problem_repeats_a_secret(path: Path) -> None:
    told = "\n".join(problems_of(path))
    assert "hunter2" not in told
    assert "12345678" not in told


def test_sample_file_is_what_the_model_generates() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == sample_toml(), (
        "run: tongguan config sample > deploy/tongguan.sample.toml"
    )


def test_sample_file_loads_and_says_nothing_but_the_defaults() -> None:
    loaded = load_config(SAMPLE, environ={}).config
    defaults = TongguanConfig()
    assert loaded.model_copy(update={"data_dir": defaults.data_dir}) == defaults


def test_every_setting_of_the_sample_is_explained() -> None:
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if re.match(r"(# )?[a-z_]+ = ", line) and not re.match(r"name = ", line):
            assert before.startswith("#"), f"{line!r} has no sentence above it"


def test_no_file_and_no_variables_give_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_config(environ={})
    assert loaded.file is None
    assert loaded.config.data_dir == tmp_path / ".tongguan"
    assert loaded.config.metrics.host == "127.0.0.1"


def test_file_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tongguan.toml").write_text("[metrics]\nport = 9500\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_config(environ={}).config.metrics.port == 9500


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "city.toml"
    path.write_text('[metrics]\nport = 9500\n[kafka]\nbootstrap = "a:1"\n', encoding="utf-8")
    loaded = load_config(path, environ={"TONGGUAN_METRICS__PORT": "9600", "TONGGUAN_KAFKA": "b:2,c:3"})
    assert loaded.config.metrics.port == 9600
    assert loaded.config.kafka.bootstrap == "b:2,c:3"
    assert loaded.variables == ("TONGGUAN_KAFKA", "TONGGUAN_METRICS__PORT")


def test_environment_reaches_nested_settings_lists_and_text_that_looks_like_a_number() -> None:
    config = load_config(
        environ={
            "TONGGUAN_LOCATE__READINGS__LATENESS_MS": "9000",
            "TONGGUAN_LOCATE__URGENT_LEVELS": '["critical", "urgent"]',
            "TONGGUAN_DETECTORS": '[{"name": "waterlogging"}]',
            "TONGGUAN_CLICKHOUSE__PASSWORD": "12345",
        }
    ).config
    assert config.locate.readings.lateness_ms == 9000
    assert config.locate.urgent_levels == {"critical", "urgent"}
    assert [choice.name for choice in config.detectors] == ["waterlogging"]
    assert config.clickhouse.password.get_secret_value() == "12345"


def test_empty_variable_means_not_set() -> None:
    assert load_config(environ={"TONGGUAN_KAFKA": ""}).config.kafka.bootstrap is None


def test_unknown_and_bad_variables_are_named() -> None:
    problems = problems_of(TONGGUAN_KAFAK="a:1", TONGGUAN_METRICS__PROT="1", TONGGUAN_METRICS__PORT="x")
    assert problems == [
        "TONGGUAN_KAFAK: unknown variable; did you mean TONGGUAN_KAFKA?",
        "TONGGUAN_METRICS__PROT: unknown variable; did you mean TONGGUAN_METRICS__PORT?",
        'TONGGUAN_METRICS__PORT: metrics.port = "x": expected a whole number, without quotes',
    ]


def test_a_section_cannot_be_set_by_a_variable_as_a_whole() -> None:
    assert "unknown variable" in problems_of(TONGGUAN_METRICS="9464")[0]


def test_variables_of_other_programs_do_not_matter() -> None:
    load_config(environ={"TONGGUAN": "x", "PATH": "/bin", "TONGGUAN_DEBUG": "1"})


def test_named_file_that_is_missing_is_a_problem_with_a_way_out(tmp_path: Path) -> None:
    assert "no such file; `tongguan config sample > " in problems_of(tmp_path / "none.toml")[0]


def test_file_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'data_dir = "caf\xe9"\n')
    assert "not UTF-8 at byte 15" in problems_of(path)[0]


def test_folder_and_device_instead_of_a_file_are_refused_in_words(tmp_path: Path) -> None:
    assert "cannot be read: is a directory" in problems_of(tmp_path)[0]


def test_paths_in_the_file_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "register.csv").write_text("device_id,lon,lat\n", encoding="utf-8")
    path = tmp_path / "city.toml"
    path.write_text('data_dir = "data"\n[city]\ndevices = "register.csv"\n', encoding="utf-8")
    config = load_config(path, environ={}).config
    assert config.data_dir == tmp_path / "data"
    assert config.city.devices == tmp_path / "register.csv"


def test_credentials_leave_the_url_and_are_not_printed() -> None:
    config = load_config(environ={"TONGGUAN_CLICKHOUSE": "https://me:p%40ss@store:8443/city"}).config
    assert config.clickhouse.url == "https://store:8443"
    assert (config.clickhouse.user, config.clickhouse.database) == ("me", "city")
    assert config.clickhouse.password.get_secret_value() == "p@ss"
    assert "p@ss" not in repr(config)
    assert "p@ss" not in str(plain(config))
    assert plain(config)["clickhouse"]["password"] == "***"


def test_embedded_store_can_be_named_by_url() -> None:
    assert ClickHouseSettings(url="chdb:///var/lib/tongguan").url == "chdb:///var/lib/tongguan"


def test_security_settings_reach_the_client_under_its_names() -> None:
    kafka = KafkaSettings.model_validate(
        {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": "me",
            "sasl_password": "hunter2",
        }
    )
    assert kafka.kafka_python_options() == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hunter2",
    }
    assert "hunter2" not in repr(kafka)


def test_detectors_are_built_as_chosen() -> None:
    detectors = load_config(
        environ={"TONGGUAN_DETECTORS": '[{"name": "waterlogging"}, {"name": "waterlogging", "as": "deep_water"}]'}
    ).config.build_detectors()
    assert [detector.name for detector in detectors] == ["waterlogging", "deep_water"]


# --- the city ---------------------------------------------------------------------------------------------------------


def a_city(folder: Path, *, zone: str = "America/New_York") -> Path:
    """A small city folder that loads."""
    folder.mkdir(parents=True)
    (folder / "boundaries").mkdir()
    square = "[[[-71.2,42.2],[-70.9,42.2],[-70.9,42.4],[-71.2,42.4],[-71.2,42.2]]]"
    for name, text in {
        "city.toml": f'code = "boston"\nname_zh = "波士顿"\nname_en = "Boston"\nzone = "{zone}"\nduty_desk = "desk"\n'
        "west = -71.2\nsouth = 42.2\neast = -70.9\nnorth = 42.4\ncell_deg = 0.001\n",
        "departments.csv": "id,name_zh,level,jurisdiction\ndesk,值班台,city,boston\n",
        "responsibilities.csv": "category,jurisdiction,lead\n*,*,desk\n",
        "deadlines.csv": "category,severity,accept,handle,verify,clock\n*,0,1h,1d,1d,working\n",
        "devices.csv": "device_id,lon,lat\nD1,-71.05,42.35\n",
        "boundaries/boston.geojson": '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": '
        '{"code": "boston", "name": "波士顿", "level": "city"}, "geometry": {"type": "Polygon", "coordinates": '
        f"{square}}}}}]}}",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_nothing_set_is_the_shanghai_that_ships() -> None:
    config = TongguanConfig()
    city = config.load_city()
    assert (city.code, city.zone, city.name_en) == ("310000", "Asia/Shanghai", "Shanghai")
    assert city.grid == config.city.grid()
    assert config.city.zone_info.key == "Asia/Shanghai"
    assert config.load_city() is city, "a process reads its city once"


def test_box_without_folder_is_a_bare_grid() -> None:
    config = TongguanConfig(city=CitySettings(west=0.0, east=1.0, south=0.0, north=1.0, cell_deg=0.01))
    city = config.load_city()
    assert city.folder is None and len(city.jurisdictions) == 0
    assert (city.grid.nx, city.grid.ny) == (100, 100)
    assert city.duty_desk in city.departments
    assert city.zone == "Asia/Shanghai"


def test_edges_of_ones_own_leave_the_others_where_shanghai_has_them() -> None:
    settings = CitySettings(east=121.5)
    assert settings.is_bare
    assert settings.grid() == Grid.metric(120.85, 30.65, 121.5, 31.9)


def test_cells_of_shanghai_are_those_of_the_box_that_earlier_versions_had() -> None:
    # archived cells keep their meaning: the box only grew towards the east
    before = Grid.metric(120.85, 30.65, 122.0, 31.9)
    for lon, lat in ((120.8501, 30.6501), (121.4737, 31.2304), (121.9999, 31.8999)):
        assert TongguanConfig().city.grid().cell(lon, lat) == before.cell(lon, lat)


def test_folder_counts_from_the_file_and_brings_box_zone_and_devices(tmp_path: Path) -> None:
    folder = a_city(tmp_path / "cities" / "boston")
    path = tmp_path / "tongguan.toml"
    path.write_text('[city]\nfolder = "cities/boston"\n', encoding="utf-8")
    config = load_config(path, environ={}).config
    city = config.load_city()
    assert city.folder == folder
    assert config.city.grid() == city.grid == Grid.degrees(-71.2, 42.2, -70.9, 42.4, 0.001)
    assert config.city.zone_info.key == city.zone == "America/New_York"
    assert city.devices_path == folder / "devices.csv"


def test_settings_count_before_what_the_folder_says(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("device_id,lon,lat\n", encoding="utf-8")
    settings = CitySettings(
        folder=str(a_city(tmp_path / "boston")),
        west=-71.1,
        cell_m=200.0,
        zone="UTC",
        devices=tmp_path / "mine.csv",
    )
    assert not settings.is_bare
    city = settings.load()
    assert city.grid == settings.grid() == Grid.metric(-71.1, 42.2, -70.9, 42.4, cell_m=200.0)
    assert city.zone == city.calendar.zone == "UTC"
    assert city.devices_path == tmp_path / "mine.csv"


def test_city_that_ships_is_known_by_its_name_wherever_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "tongguan.toml"
    path.write_text('[city]\nfolder = "shanghai"\n', encoding="utf-8")
    assert load_config(path, environ={}).config.load_city().code == "310000"


def test_folder_that_is_no_city_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "tongguan.toml"
    path.write_text('\n[city]\nfolder = "nowhere"\n', encoding="utf-8")
    (problem,) = problems_of(path)
    assert problem.startswith(
        f"{path}:3: city: {tmp_path / 'nowhere'}: no such city folder; `tongguan city new` makes one"
    )
    (tmp_path / "nowhere").mkdir()
    assert "not a city folder, for it has no city.toml" in problems_of(path)[0]
    (tmp_path / "nowhere" / "city.toml").write_text('code = ""\nzone = "Mars"\n', encoding="utf-8")
    told = problems_of(path)
    assert len(told) == 9
    assert f"{path}:3: city: {tmp_path / 'nowhere' / 'city.toml'}:2: zone: 'Mars' is no time zone" in told[-1]


def test_box_that_crosses_the_folders_edge_is_refused_with_numbers(tmp_path: Path) -> None:
    path = tmp_path / "tongguan.toml"
    path.write_text(f'[city]\nfolder = "{a_city(tmp_path / "boston")}"\nwest = 10.0\n', encoding="utf-8")
    (problem,) = problems_of(path)
    assert "city: grid: west=10.0 and east=-70.9 must be degrees" in problem
