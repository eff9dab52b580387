"""The comparison's part of RESULTS.md. Standard library only: the peers' scripts import this package elsewhere."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.summary import APART

Row = dict[str, Any]

WHAT = {
    "rate": "whole run",
    "rate_half_by_bytes": "second half, by bytes",
    "rate_half_by_alerts": "second half, by alerts",
}

HEAD = """\
## Peers: CityJoin on other engines and on ours

Three JSON topics of four partitions each (90 % readings, 9 % camera events, 1 % tickets; up to 5 s out of order);
per cell of 0.001 degree and tumbling minute of event time the highest good water level, the confident camera events
and the flood tickets; an alert when the level is at least 150 mm and somebody saw it, told at the window's end. Every
engine reads the same backlog from the same broker, alone, in new processes: {records:,} records for fast engines,
{slow_records:,} for slow ones. Its alerts must be exactly those of a batch computation, or it has no speed.

The clock runs from the first data that the engine's sockets receive to the broker's append time of the last alert, so
start-up is not in it but a JVM's warm-up is. The second half, when all are warm, is told in two ways. By bytes: half
of the records by the time since half of the bytes had come; what was fetched ahead by then is still to be done, so
this is too low. By alerts: the records made after the middle window, by the time since its first alert; what was done
ahead of that alert is not to be done any more, so this is too high. Figures are medians of {runs} runs, least and
greatest in brackets. CPU is user and system time of all the engine's processes within the clock; memory is the sum of
their peaks (a JVM's is mostly the heap it was given).
"""


def section(result: dict[str, Any]) -> str:
    """Markdown of one saved result."""
    rows: list[Row] = result["rows"]
    most = max((row.get("runs", 0) for row in rows), default=0)
    parts = [HEAD.format(records=result["records"], slow_records=result["slow_records"], runs=most)]
    for cores in sorted({row["cores"] for row in rows} - {0}):
        parts.append(f"\n### On {'one core' if cores == 1 else f'{cores} cores, the second shared with the broker'}\n")
        some = [row for row in rows if row["cores"] == cores]
        parts.append(_table(some))
        if cores > 1:
            parts.append(_settling(some))
    parts.append(_ratios(result))
    parts.append(_notes(rows))
    return "\n".join(part for part in parts if part)


def _settling(rows: list[Row]) -> str:
    """Of engines with a process per core: whether the second one's coming interrupted the first."""
    long = [row["title"] for row in rows if row.get("settle_ms", 0) > 0]
    if not long:
        return ""
    whose = "" if len(long) == len(rows) else f" of {', '.join(long)}"
    return (
        f"\nConsumer groups{whose} waited for more members before they began, as long as Kafka does by default (3 s)."
    )


def _table(rows: list[Row]) -> str:
    lines = [
        "| engine | after kill -9 | records/s, whole | second half by bytes | by alerts | CPU us/record | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -(row["rate"]["median"] if row["right"] else 0.0)):
        goes_on = "goes on" if row["recovers"] else "starts over"
        if row["right"]:
            cells = [_spread(row[name]) for name in WHAT]
            cells += [_spread(row["cpu_us_per_record"], digits=2), _spread(row["peak_rss_mb"])]
        else:
            cells = [_wrong(row), "", "", "", ""]
        lines.append(" | ".join([f"| {row['title']}", goes_on, *cells]) + " |")
    return "\n".join(lines)


def _spread(value: dict[str, float] | None, digits: int = 0) -> str:
    if value is None:
        return "too short"
    median, least, most = (f"{value[name]:,.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def _wrong(row: Row) -> str:
    if row["failures"]:
        return f"could not be run: {row['failures'][0].splitlines()[0]}"
    return f"wrong: {row['missing']} alerts missing, {row['extra']} too many"


def _ratios(result: dict[str, Any]) -> str:
    titles = {row["engine"]: row["title"] for row in result["rows"]}
    lines = []
    for one in result["ratios"]:
        what = WHAT[one["figure"]]
        among = "of those that recover, as ours does" if one["recovery"] else "of all"
        cores = "one core" if one["cores"] == 1 else f"{one['cores']} cores"
        lines.append(f"| {cores} | {what} | {titles[one['best_peer']]}, {among} | {one['ratio']} |")
    if not lines:
        return ""
    head = f"""
### Ours against the best peer

By alerts only against peers whose two figures of the second half are within {APART:g} times of each other: where they
are not, alerts came in a heap.

| cores | figure | best peer | ours is faster by |
|---|---|---|---|"""
    return "\n".join([head, *lines, ""])


def _notes(rows: list[Row]) -> str:
    parts = ["\n### How each was run, and what it needed to be right\n"]
    seen = set()
    for row in rows:
        if row["engine"] in seen:
            continue
        seen.add(row["engine"])
        parts.append(f"- **{row['title']}** ({row['versions']}). After a kill -9: {row['recovery']}. {_told(row)}")
    return "\n".join(
        [
            *parts,
            "",
            "What this does not show: other jobs, larger state, clusters, exactly-once sinks, or what each engine does",
            "well beyond speed. The job was written once per engine by people who know ours best.",
        ]
    )


def _told(row: Row) -> str:
    notes = [note if note.endswith(".") else f"{note}." for note in row["notes"]]
    if row["right"] and row["repeated"]:
        notes.append(f"Told up to {row['repeated']} alerts more than once.")
    if row["right"] and row["taken_back"]:
        notes.append(f"Took back up to {row['taken_back']} alerts.")
    return " ".join(note[0].upper() + note[1:] for note in notes)
