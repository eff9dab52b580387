"""The local stack's addresses: found while it runs, never believed after, one stack per data directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.config import ClickHouseSettings, KafkaSettings, TongguanConfig
from deploy.endpoints import Claim, Endpoints, bootstrap_of, read, with_endpoints
from schemas.errors import TongguanError
from streams.topic_admin import BrokerAway

ROOT = Path(__file__).parent.parent.parent
RUNNING = Endpoints(pid=os.getpid(), kafka="127.0.0.1:9092", clickhouse="http://127.0.0.1:8123")


def test_addresses_are_found_while_the_stack_runs_and_gone_after(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    with Claim(tmp_path) as claim:
        assert read(tmp_path) is None  # still starting
        claim.announce(RUNNING)
        assert read(tmp_path) == RUNNING
        assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0
    assert read(tmp_path) is None


def test_second_stack_in_the_same_directory_is_refused_with_who_has_it(tmp_path: Path) -> None:
    with Claim(tmp_path) as claim:
        claim.announce(RUNNING)
        with pytest.raises(TongguanError, match=f"already runs in .*process {os.getpid()}"):
            Claim(tmp_path)
    Claim(tmp_path).__exit__(None, None, None)


def test_file_of_a_killed_stack_is_not_believed(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from deploy.endpoints import Claim, Endpoints; "
        f"claim = Claim(Path({str(tmp_path)!r})); "
        "claim.announce(Endpoints(pid=os.getpid(), kafka='a:1', clickhouse='http://a:1')); "
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert read(tmp_path) is not None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert (tmp_path / "running.json").exists()
    assert read(tmp_path) is None


def test_configuration_wins_over_the_running_stack(tmp_path: Path) -> None:
    with Claim(tmp_path) as claim:
        claim.announce(RUNNING)
        plain = with_endpoints(TongguanConfig(data_dir=tmp_path))
        assert (plain.kafka.bootstrap, plain.clickhouse.url) == (RUNNING.kafka, RUNNING.clickhouse)
        named = with_endpoints(TongguanConfig(data_dir=tmp_path, kafka=KafkaSettings(bootstrap="k:1")))
        assert (named.kafka.bootstrap, named.clickhouse.url) == ("k:1", RUNNING.clickhouse)


def test_password_for_a_server_is_not_sent_to_the_local_engine(tmp_path: Path) -> None:
    settings = ClickHouseSettings.model_validate({"user": "me", "password": "hunter2"})
    with Claim(tmp_path) as claim:
        claim.announce(RUNNING)
        clickhouse = with_endpoints(TongguanConfig(data_dir=tmp_path, clickhouse=settings)).clickhouse
    assert (clickhouse.user, clickhouse.password.get_secret_value()) == ("default", "")


def test_no_broker_anywhere_is_told_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(BrokerAway, match=r"tongguan up.*TONGGUAN_KAFKA"):
        bootstrap_of(TongguanConfig(data_dir=tmp_path))
