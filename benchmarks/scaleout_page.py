"""The scale-out benchmark's part of RESULTS.md."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]


def section(result: Result) -> str:
    """Markdown for RESULTS.md."""
    lines = [
        "## Scale-out",
        "",
        "What does it cost to share the work among workers, and how long are alerts held up when their number changes?",
        "The alerts of every row equal a plain batch computation.",
        "",
    ]
    if result["shared"]:
        lines += shared_table(result)
    if result["changes"]:
        lines += changes_table(result["changes"])
    return "\n".join(lines).rstrip() + "\n"


def shared_table(result: Result) -> list[str]:
    lines = [
        f"{result['records']:,} records, sent when every worker held its partitions. All workers on one core, the",
        "broker on another; in the last row two workers have a core each and share the second with the broker.",
        "",
        "| workers | cores | records/s | CPU µs a record, all workers | against one worker"
        " | least and most of the records | memory of all, MB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["shared"]:
        if not row["right"]:
            lines.append(f"| {row['workers']} | {row['cores']} | wrong alerts | | | | |")
            continue
        lines.append(
            f"| {row['workers']} | {row['cores']} | {row['rate']:,.0f} | {row['cpu_us_per_record']:.3f} |"
            f" {row.get('cost', 1.0):.2f} | {row['least_share']:.0%}, {row['most_share']:.0%} |"
            f" {row['peak_rss_mb']:,.0f} |"
        )
    lines += [
        "",
        "On one core more workers can only cost: what dividing the partitions, more and smaller frames and more",
        "connections add stands under `against one worker`. It does not show what a network between machines changes.",
        "",
    ]
    return lines


def changes_table(told: Result) -> list[str]:
    if not told["right"]:
        return ["Workers that come and go: wrong alerts.", ""]
    words = {"steady": "nothing", "joins": "a third joins", "leaves": "one is asked to leave", "dies": "one is killed"}
    lines = [
        f"Two workers, {told['rate']:,} records a second, event time {told['speed']} times as fast as the clock: how",
        "long after it was due an alert stood on the topic, until the next change.",
        "",
        "| what happens | median delay, s | longest delay, s | delays over 1 s end after, s | groups settled after, s"
        " (locate, join) |",
        "|:---|---:|---:|---:|---:|",
    ]
    for name, phase in told["phases"].items():
        settled = phase.get("settled_after_s")
        groups = f"{_told(settled['locate'])}, {_told(settled['join'])}" if settled else ""
        median, longest = _told(phase["median_delay_s"]), _told(phase["longest_delay_s"])
        lines.append(f"| {words[name]} | {median} | {longest} | {phase['over_1_s_for_s']} | {groups} |")
    lines += [
        "",
        "A worker that is killed is missed only when its session has ended (10 s as configured); one that joins is",
        "counted from the start of its process, imports and kernels included.",
        "",
    ]
    return lines


def _told(seconds: float | None) -> str:
    return "–" if seconds is None else str(seconds)
