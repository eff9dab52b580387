"""`tongguan act` against a running loop, and what waits for one that does not run."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.main import app
from schemas.action import ActionName, Role
from schemas.incident import State
from schemas.loop_record import LoopKind, decode_loop_record, decode_tick
from streams.backlog import Backlog
from tests.live.support.loop_run import LoopRun

pytestmark = pytest.mark.live


async def test_an_action_is_answered_and_one_that_waited_goes_before_the_time(kafka: str, tmp_path: Path) -> None:
    """The second part fails when the ticker does not ask for the backlog: a deadline would seem to have passed."""
    run = LoopRun(kafka, "act", tmp_path)
    await asyncio.to_thread(run.set_up)
    (tmp_path / "tongguan.toml").write_text(toml(run), encoding="utf-8")

    async def tongguan(*words: str) -> tuple[int, str]:
        command = ["act", *words, "--config", str(tmp_path / "tongguan.toml"), "--lang", "en"]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        return result.exit_code, result.output

    desk = run.config.load_city().duty_desk
    with run.worker() as worker:
        await worker.says("dispatch running", within_s=120)
        await run.send([run.alert(0), run.tickets(7)])
        await run.settled()
        histories = await run.assert_told_the_truth()
        incident = next(one for one, history in histories.items() if history[0].alert_ids)

        code, told = await tongguan(incident, "accept", "--actor", "h-1", "--role", "handler")
        assert code == 1 and "accept refused: the incident is filed" in told
        code, told = await tongguan(
            "T-7", "派遣", "--ticket", "--actor", "d-1", "--role", "派遣员", "--to-department", desk
        )
        assert code == 0 and re.search(r"dispatched \S+ r2 .*dispatched to Duty desk", told)
        code, told = await tongguan(
            incident, "dispatch", "--actor", "d-1", "--role", "dispatcher", "--to-department", desk, "--json"
        )
        assert code == 0 and json.loads(told.splitlines()[0])["state"] == State.DISPATCHED
        worker.ask_to_stop()
        assert await asyncio.to_thread(worker.exit_status) == 0

        code, told = await tongguan(incident, "accept", "--actor", "h-1", "--role", "handler", "--wait", "1")
        assert code == 3 and "is a worker with the role dispatch running?" in told
        await run.send([run.action(ActionName.ACCEPT, Role.HANDLER, "h-1", incident, 9)])
        backlog = Backlog(kafka, group="act.tongguan-intake", topic=run.names.actions, client_options={})
        assert not await backlog.is_taken()
        began_ms = time.time_ns() // 1_000_000
        worker.start()
        await worker.says("dispatch running", within_s=120)
        await run.settled()
        give_up_at = time.monotonic() + 20
        while not await backlog.is_taken():  # offsets are committed about once a second
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.3)
        await asyncio.sleep(1)  # for a tick
    log = [decode_loop_record(message.value) for message in await run.read(run.names.loop, 1)]
    kinds = [
        record.kind
        for record in log
        if record.kind is LoopKind.ACTION
        or (record.kind is LoopKind.TICK and decode_tick(record.payload).at_ms >= began_ms)
    ]
    assert LoopKind.TICK in kinds
    last_action = max(at for at, kind in enumerate(kinds) if kind is LoopKind.ACTION)
    assert LoopKind.TICK not in kinds[:last_action]
    await run.assert_told_the_truth()
    assert "Traceback" not in worker.log


def toml(run: LoopRun) -> str:
    """The run's configuration as a file, as far as the command looks at it."""
    return "\n".join(
        f"[{section}]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
        for section, values in run.settings.items()
        if isinstance(values, dict)
    )
