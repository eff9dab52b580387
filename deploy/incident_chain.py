"""`tongguan incidents verify`: the proof that the stored history of incidents is as it was written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import typer
from rich.text import Text

from deploy.config_load import load_config
from deploy.console import ExitCode, UsageProblem, out, safe, say
from deploy.endpoints import with_endpoints
from deploy.store import open_history
from streams.clickhouse import Store
from streams.loop_hash import verify_payloads

VERIFY_AT_ONCE: Final = 500  # incidents whose records are in memory together


def verify(path: Path | None, incident: str | None) -> None:
    """Check the chain of hashes of one incident, or of all. Ends with 1 when a record was changed, dropped or added."""
    config = with_endpoints(load_config(path).config)
    broken: list[str] = []
    incidents = records = 0
    with open_history(config) as store:
        for incident_ids in _batches(store, incident):
            found = payloads_of(store, incident_ids)
            incidents += len(found)
            records += sum(map(len, found.values()))
            broken += [problem for incident_id in sorted(found) for problem in verify_payloads(found[incident_id])]
            broken += _contradictions(store, incident_ids)
    for problem in broken:
        out.print(Text(safe(problem), style="red"))
    counted = f"{incidents} incident{'s' if incidents != 1 else ''}, {records} records"
    if broken:
        say(f"{counted}: {len(broken)} problems 摘要链不完整", style="bold red")
        raise typer.Exit(ExitCode.PROBLEMS)
    say(f"{counted}: every chain is whole 摘要链完整", style="green")


def _batches(store: Store, incident: str | None) -> Iterator[list[str]]:
    if incident is not None:
        yield [find_incident(store, incident)]
        return
    last = ""
    while True:
        rows = store.rows(
            "SELECT DISTINCT incident_id FROM incidents WHERE incident_id > {last:String}"
            " ORDER BY incident_id LIMIT {limit:UInt32}",
            {"last": last, "limit": VERIFY_AT_ONCE},
        )
        if not rows:
            return
        yield [incident_id for (incident_id,) in rows]
        last = rows[-1][0]


def _contradictions(store: Store, incident_ids: Sequence[str]) -> list[str]:
    """Revisions that are stored with two contents, and columns that do not say what their record says."""
    rows = store.rows(
        "SELECT incident_id, revision, uniqExact(payload),"
        " countIf(JSONExtractString(payload, 'hash') != hash OR JSONExtractString(payload, 'state') != state"
        " OR JSONExtractInt(payload, 'revision') != revision)"
        " FROM incidents WHERE incident_id IN {ids:Array(String)} GROUP BY incident_id, revision"
        " HAVING uniqExact(payload) > 1 OR countIf(JSONExtractString(payload, 'hash') != hash"
        " OR JSONExtractString(payload, 'state') != state OR JSONExtractInt(payload, 'revision') != revision) > 0"
        " ORDER BY incident_id, revision",
        {"ids": list(incident_ids)},
    )
    return [
        f"{incident_id} revision {revision}: stored with {contents} contents"
        if contents > 1
        else f"{incident_id} revision {revision}: its columns do not say what its record says"
        for incident_id, revision, contents, _ in rows
    ]


def payloads_of(store: Store, incident_ids: Sequence[str]) -> dict[str, list[bytes]]:
    """The records of incidents as they were written, by revision, each revision once."""
    rows = store.rows(
        "SELECT incident_id, any(payload) FROM incidents WHERE incident_id IN {ids:Array(String)}"
        " GROUP BY incident_id, revision ORDER BY incident_id, revision",
        {"ids": list(incident_ids)},
    )
    found: dict[str, list[bytes]] = defaultdict(list)
    for incident_id, payload in rows:
        found[incident_id].append(payload.encode())
    return dict(found)


def find_incident(store: Store, incident: str) -> str:
    """The id of the incident that is meant: by its id, the beginning of it, or a ticket. Raises UsageProblem."""
    exact = store.rows("SELECT 1 FROM incidents WHERE incident_id = {id:String} LIMIT 1", {"id": incident})
    if exact:
        return incident
    holds = store.rows(
        "SELECT incident_id FROM v_ticket_outcomes WHERE ticket_id = {id:String} LIMIT 1", {"id": incident}
    )
    if holds:
        return str(holds[0][0])
    begins = store.rows(
        "SELECT DISTINCT incident_id FROM incidents WHERE startsWith(incident_id, {id:String})"
        " ORDER BY incident_id LIMIT 6",
        {"id": incident},
    )
    if len(begins) == 1:
        return str(begins[0][0])
    if begins:
        raise UsageProblem(
            f"{incident!r} is the beginning of more than one incident: {', '.join(row[0] for row in begins)}"
        )
    raise UsageProblem(
        f"no incident and no ticket {incident!r} in the history; `tongguan incidents list --all` shows what there is"
    )
