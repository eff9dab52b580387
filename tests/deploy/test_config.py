"""Configuration: one load, one check, every problem named at once; no secret is ever printed."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.config import ClickHouseSettings, KafkaSettings, TongguanConfig
from deploy.config_command import plain
from deploy.config_load import load_config
from deploy.config_sample import sample_toml
from schemas.errors import SettingsError

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
