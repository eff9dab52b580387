"""What the growth benchmark's figures mean, as its part of RESULTS.md."""

from __future__ import annotations

from typing import Any, Final

Result = dict[str, Any]

FLAT: Final = 1.10
"""The highest exponent that still counts as linear: caches that no longer hold everything cost a factor, no power."""
RULES_BAR: Final = 2.0

HEADS: Final = {
    "rules": "One rule to a thousand",
    "cells": "Active cells",
    "devices": "Registered devices",
    "shards": "Region shards in one process",
}
WORDS: Final = {
    "rules": """\
10,000 cells, 20,000 devices. Rule k is the same in every count; a hundred of them share some sixty features. The more
often a cell speaks, the less judging it once a minute weighs; alerts cost on top what writing them costs.""",
    "cells": """\
Ten rules, two devices a cell, five minutes: everything grows with the cells, so the whole city's cost has the exponent
of CPU a record plus one.""",
    "devices": """\
10,000 cells, ten rules, 20,000 records a second whatever the number of devices; no record says where it is, so each is
looked up. Memory is the register's and the path's.""",
    "shards": """\
Ten rules, 250,000 cells and the same records for one shard or many, all in one process: what frames, headers and
snapshots of many shards cost, and rows near a border, which go to the neighbour shard as well.""",
}
HEAD: Final = """\
## Growth

CPU a record (decode, locate, join, snapshots; one core, no broker) and the most memory beyond the empty process, each
point in a process of its own, its alerts held against a plain batch computation. Exponents are slopes of straight lines
through (log size, log cost), by ordinary least squares.

![curves](results/growth.svg)"""
MEMORY_HEAD: Final = """\
### A million cells with everything full

8 features x 60 buckets of a minute, each cell with data in each; snapshots every minute, their memory included. Ended
buckets are packed: readings have few digits. Numbers that use all 53 bits of a float cannot be packed.

| cells | values | memory, MiB | bytes a cell, feature and bucket | join, us a row | snapshots, us a row |
|---:|:---|---:|---:|---:|---:|"""


def section(result: Result) -> str:
    """Markdown for RESULTS.md."""
    lines = [HEAD]
    for name, head in HEADS.items():
        if name in result:
            lines += ["", f"### {head}", "", WORDS[name]]
            for words, line in result[name]["lines"].items():
                lines += ["", *_table(words, line)]
    if "memory" in result:
        lines += ["", *_memory(result["memory"])]
    lines += ["", "### Against the bars", "", "| bar | measured | |", "|:---|:---|:---|", *_verdicts(result)]
    lines += [
        "",
        "It does not show the broker, ClickHouse or several processes: `cityjoin`, `archive` and `scaleout` do.",
    ]
    return "\n".join(lines)


def _table(words: str, line: Result) -> list[str]:
    points = line["points"]
    loaded = "load_s" in points[0]
    head = ["", "CPU, us a record", "lowest to highest", "of it join", "snapshots", "memory, MiB", "alerts"]
    head += ["loading, s", "register, MiB"] if loaded else []
    rows = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    for point in points:
        cpu, (low, high) = point["cpu_us"], point["spread_us"]
        spread = f"{low:.3f} to {high:.3f}" if point["runs"] > 1 else "one run"
        cells = [
            f"{point['size']:,}", f"{cpu['total']:.3f}", spread, f"{cpu['join']:.3f}", f"{cpu['snapshots']:.3f}",
            f"{point['memory_mib']:,.0f}", f"{point['alerts']:,}",
        ]  # fmt: skip
        if loaded:
            cells += [f"{point['load_s']:.1f}", f"{point['register_mib']:,.0f}"]
        rows.append(f"| {' | '.join(cells)} |")
    fitted = (
        f"{words[0].upper()}{words[1:]}: exponent of CPU a record {line['cpu_exponent']:+.2f}, of memory"
        f" {line['memory_exponent']:+.2f}; the largest costs {line['cpu_ratio']:.2f} times the smallest."
    )
    return [fitted, "", *rows]


def _memory(memory: Result) -> list[str]:
    lines = [MEMORY_HEAD]
    for one in memory["filled"]:
        each = one["memory_mib"] * 2**20 / (one["cells"] * 8 * 60)
        lines.append(
            f"| {one['cells']:,} | {one['values']} | {one['memory_mib']:,.0f} | {each:.1f}"
            f" | {one['cpu_us']['join']:.3f} | {one['cpu_us']['snapshots']:.3f} |"
        )
    return lines


def _verdicts(result: Result) -> list[str]:
    rows = []
    for words, line in result.get("rules", {}).get("lines", {}).items():
        by_size = {point["size"]: point["cpu_us"]["total"] for point in line["points"]}
        ratio = by_size[100] / by_size[1]
        rows.append(
            f"| 100 rules cost at most {RULES_BAR:g} times one ({words}) | {ratio:.2f} | {_met(ratio <= RULES_BAR)} |"
        )
    for name, of_city in (("rules", 0.0), ("cells", 1.0), ("devices", 0.0), ("shards", 0.0)):
        for words, line in result.get(name, {}).get("lines", {}).items():
            cpu, memory = of_city + line["cpu_exponent"], line["memory_exponent"]
            rows.append(
                f"| {name}: nothing grows faster than linearly ({words}) | CPU {cpu:.2f}, memory {memory:.2f} |"
                f" {_met(cpu <= FLAT and memory <= FLAT)} |"
            )
    for one in result.get("memory", {}).get("filled", []):
        if one["cells"] == 1_000_000:
            fits = one["memory_mib"] <= result["memory"]["bar_mib"]
            rows.append(
                f"| a million cells x 8 features x 60 buckets within 4 GiB ({one['values']}) |"
                f" {one['memory_mib'] / 1024:.2f} GiB | {_met(fits)} |"
            )
    return rows


def _met(met: bool) -> str:
    return "met" if met else "**missed**"
