"""The latency benchmark's part of RESULTS.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from benchmarks.latency_generator import TICK_MS
from benchmarks.latency_load import DISORDER_MS, WINDOW_MS

WIDTH: Final = 120
COLUMNS: Final = ("p50", "p90", "p99", "p999", "max")
TITLES: Final = ("p50", "p90", "p99", "p99.9", "max")
ROWS: Final = {
    "alert_from_due": "alert, from the scheduled moment",
    "alert_from_append": "alert, from the broker's append",
    "urgent_from_due": "urgent ticket, from the scheduled moment",
    "urgent_from_append": "urgent ticket, from the broker's append",
}
STALLS: Final = {
    "event_loop_late": "event loop more than 20 ms late",
    "garbage_collections": "garbage collections",
    "snapshot_captures": "copying a shard's state for a snapshot",
}


def page(result: Mapping[str, Any], *, bar_ms: int) -> str:
    """Markdown of what is there: `steady`, `traced` and `highest` are kept by runs of their own."""
    parts = ["## Latency: from a record to the alert that it makes possible", _question(bar_ms)]
    if "steady" in result:
        parts.append("\n".join(_steady(result["steady"])))
    if "traced" in result:
        parts.append("\n".join(_traced(result["traced"])))
    if "highest" in result:
        parts.append("\n".join(_highest(result["highest"])))
    parts.append(_limits())
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _question(bar_ms: int) -> str:
    return f"""\
How long after the record that makes an alert possible does the alert stand on its topic, while records come at a steady
rate and broker, worker and generator share the machine's cores? Asked for: p99 below {bar_ms} ms at 50 thousand records
a second, the lateness bound not counted.

    python -m benchmarks.latency --rate 50000 --minutes 5 --json --save
    python -m benchmarks.latency --find-highest --json --save

The load is an open loop: every record has its moment on a schedule fixed beforehand, and the generator, a process of
its own with a connection that never waits for answers, keeps to it whatever the system does. A latency counts from the
scheduled moment, so time that records spend waiting because something stood still is in it, as often as records were
due (no coordinated omission). The records are CityJoin's, with windows of {WINDOW_MS} ms so that alerts come at all
times of all seconds, and a lateness bound of {DISORDER_MS} ms. A window can be judged when every raw partition has gone
past its end by that bound: the last of the records that do so makes it possible. Urgent tickets wait for no window.
Every alert with its values, and every urgent ticket, is compared with a batch computation before a figure is told."""


def _steady(kept: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {kept['rate']:,} records a second for {kept['seconds'] / 60:g} minutes"
    yield ""
    yield "| ms | samples | " + " | ".join(TITLES) + " |"
    yield "|---|" + "---:|" * (1 + len(TITLES))
    for name, words in ROWS.items():
        row = kept[name]
        figures = " | ".join(f"{row[f'{column}_ms']:,.0f}" for column in COLUMNS)
        yield f"| {words} | {row['count']:,} | {figures} |"
    cpu = kept["cpu_cores"]
    yield ""
    yield _wrapped(
        f"Answers equal: {kept['alerts_checked']:,} alerts of {kept['records']:,} records, {kept['warm_up_s']:.0f} s "
        f"of warm-up included. There were alerts in {kept['seconds_with_alerts']:,} of {kept['seconds']:.0f} seconds. "
        f"Cores kept busy: worker {cpu['worker']:.2f}, broker {cpu['broker']:.2f}, generator {cpu['generator']:.2f}, "
        f"all else on the machine {cpu['others']:.2f}. The worker took {kept['worker_peak_rss_mb']:,} MB at most. "
        f"The generator sent half of its requests within {kept['generator_late']['p50_ms']:.1f} ms of their last "
        f"record's moment and 99 % within {kept['generator_late']['p99_ms']:.1f} ms; what it was late is counted above."
    )
    if "chart" in kept:
        yield ""
        yield f"![percentiles, and the slowest alert of each second](results/{kept['chart']})"
        yield ""
        yield _wrapped(
            "The upper chart stretches the tail: each step to the right is a tenth of the samples before it. The lower "
            "one shows whether the slow ones come together, as they would after a stall."
        )


def _traced(kept: Mapping[str, Any]) -> Iterator[str]:
    yield "### Where the time goes"
    yield ""
    yield _wrapped(
        f"A second run of {kept['seconds']:.0f} s notes when each alert's cause passed each part of the way (wrappers "
        "around the product's methods; they cost a little). A row is the time since the row above."
    )
    yield ""
    yield "| ms, until | p50 | p99 | max | mean since the scheduled moment |"
    yield "|---|---:|---:|---:|---:|"
    for hop in kept["hops"]:
        figures = (hop["p50_ms"], hop["p99_ms"], hop["max_ms"], hop["mean_since_due_ms"])
        yield f"| {hop['until']} | " + " | ".join(f"{value:.1f}" for value in figures) + " |"
    yield ""
    yield _wrapped(
        f"The generator sends what is due every {TICK_MS} ms. The largest part is the wait for a flush "
        "(`locate.flush_interval_ms`, 40): shorter ones would make more, smaller frames. What held the worker up:"
    )
    yield ""
    yield "| ms | times | p50 | max |"
    yield "|---|---:|---:|---:|"
    for name, words in STALLS.items():
        row = kept["stalls"][name]
        yield f"| {words} | {row['count']} | {row.get('p50_ms', 0):.1f} | {row.get('max_ms', 0):.1f} |"


def _highest(kept: Mapping[str, Any]) -> Iterator[str]:
    yield f"### The highest rate with p99 below {kept['p99_below_ms'] / 1000:g} s: {kept['highest_rate']:,} records/s"
    yield ""
    yield _wrapped(
        f"Each step is a run of its own, {kept['seconds']:.0f} s after {kept['warm_up_s']:.0f} s of warm-up, answers "
        "compared; the rate doubles until it is too much, then the gap is halved until it is a tenth. The rule's "
        "threshold goes up with the rate, so that every step has about as many alerts."
    )
    yield ""
    yield "| records/s | p50 ms | p99 ms | max ms | worker | broker | generator | |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---|"
    for step in kept["steps"]:
        if step["fell_behind"]:
            yield f"| {step['rate']:,} | | | | | | | fell behind: not done 20 s after the end |"
            continue
        alert, cpu = step["alert"], step["cpu_cores"]
        figures = " | ".join(f"{alert[name]:,.0f}" for name in ("p50_ms", "p99_ms", "max_ms"))
        cores = " | ".join(f"{cpu[name]:.2f}" for name in ("worker", "broker", "generator"))
        yield f"| {step['rate']:,} | {figures} | {cores} | {'holds' if step['holds'] else 'too slow'} |"


def _limits() -> str:
    return """\
What this does not show: a network between the parts, replication (one broker, one copy), several workers, dispatch and
archive on the same cores, and cities whose sources fall silent (a silent raw partition holds alerts back until it
counts as idle, `locate.idle_after_ms`). Broker times are whole milliseconds, rounded down."""
