"""Boston end to end: a real Kafka, a real worker, tickets and actions in, the recorded verdicts out."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.config import TongguanConfig
from deploy.config_load import load_config
from deploy.replay.boston import RecordedTicket, recorded_tickets
from deploy.replay.boston_city import make_city
from deploy.replay.boston_run import play, settings
from deploy.replay.boston_story import Slice, story
from deploy.replay.boston_verdicts import compare
from schemas.action import ActionName, ActionRecord, Role
from schemas.errors import TongguanError
from streams.topic_admin import apply
from tests.deploy.test_commands_live import tongguan

pytestmark = pytest.mark.live

TICKETS = 150
SETTINGS = """\
[kafka]
bootstrap = "{kafka}"

[topics]
prefix = "{prefix}"
replication = 1
shards = 2
readings_partitions = 1
camera_events_partitions = 1
tickets_partitions = 2
alerts_partitions = 2

[metrics]
port = 0

"""


class Quiet:
    def __init__(self) -> None:
        self.told: list[tuple[int, int, int]] = []

    def progress(self, at_ms: int, opened: int, closed: int) -> None:
        self.told.append((at_ms, opened, closed))


@pytest.fixture
def configured(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TongguanConfig:
    """A city for Boston, fresh topics, and the configuration in the working directory."""
    for variable in list(os.environ):
        if variable.startswith("TONGGUAN_") and variable != "TONGGUAN_CACHE":
            monkeypatch.delenv(variable)
    make_city(tmp_path / "boston", recorded_tickets(None))
    text = SETTINGS.format(kafka=kafka, prefix=f"boston-{uuid4().hex[:8]}-") + settings(tmp_path / "boston")
    (tmp_path / "tongguan.toml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "tongguan.toml").config
    apply(kafka, config.topic_specs())
    return config


def test_tickets_and_actions_through_a_real_worker_get_the_recorded_verdicts(
    configured: TongguanConfig, tmp_path: Path
) -> None:
    tickets = recorded_tickets(None)[:TICKETS]
    audience = Quiet()
    with tongguan(tmp_path, "worker", "--roles", "locate,dispatch") as worker:
        worker.expect(" running on ", within_s=180)
        slices = list(story(tickets, configured.load_city(), events=100))
        slices[0].actions.append(of_a_stranger(tickets[0]))
        found = play(configured, slices, tickets, audience=audience, check=lambda: _alive(worker.process.poll()))
        assert worker.end() == 0
    assert found.refused == 1 and "finish" in found.refusals[0], "the stranger's; it is an answer, not waited for"
    assert found.tickets == len(found.outcomes) == TICKETS
    verdicts = compare(tickets, found.outcomes)
    assert verdicts.holds
    assert sum(line.agree for line in verdicts.lines.values()) == sum(bool(ticket.verdict) for ticket in tickets)
    assert [at_ms for at_ms, _, _ in audience.told] == sorted(at_ms for at_ms, _, _ in audience.told)
    assert audience.told[-1][1] == TICKETS


def test_a_platform_that_does_not_answer_is_told_and_not_waited_for_for_ever(
    configured: TongguanConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.replay.boston_run.SILENT_WITHIN_S", 1.0)
    tickets = recorded_tickets(None)[:3]
    part = Slice(tickets=[one.record for one in tickets], opened=[one.ticket_id for one in tickets])
    with pytest.raises(TongguanError, match=r"nothing came back for 1 s; 3 tickets are awaited, such as 1010002956"):
        play(configured, [part], tickets, audience=Quiet())


def of_a_stranger(ticket: RecordedTicket) -> ActionRecord:
    """An action that the loop refuses: the ticket lies with another department, and is not taken on."""
    return ActionRecord(
        action_id="a-stranger", action=ActionName.FINISH, actor="nobody", role=Role.HANDLER, department="ISD",
        ts=ticket.opened_ms, ticket_id=ticket.ticket_id,
    )  # fmt: skip


def _alive(status: int | None) -> None:
    assert status is None, f"the worker ended with {status}"
