"""The chart of the growth benchmark: a column for each curve, CPU a record above, memory below."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.report import RESULTS

NAME: Final = "growth.svg"
TITLES: Final = {"rules": "rules", "cells": "active cells", "devices": "devices", "shards": "shards in one process"}


def write_chart(result: dict[str, Any]) -> Path:
    """Draw benchmarks/results/growth.svg; matplotlib is in the extra `bench`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"  # the same figures give the same file
    from matplotlib import pyplot as plt

    curves = [name for name in TITLES if name in result]
    figure, panels = plt.subplots(
        2, max(1, len(curves)), figsize=(4 * max(1, len(curves)), 7), layout="constrained", squeeze=False
    )
    for column, name in enumerate(curves):
        for label, line in result[name]["lines"].items():
            sizes = [point["size"] for point in line["points"]]
            for row, values, exponent in (
                (0, [point["cpu_us"]["total"] for point in line["points"]], line["cpu_exponent"]),
                (1, [point["memory_mib"] for point in line["points"]], line["memory_exponent"]),
            ):
                axes: Any = panels[row][column]
                axes.plot(sizes, values, marker="o", label=f"{label}\nexponent {exponent:+.2f}")
        _finish(panels[0][column], TITLES[name], "CPU, us a record" if column == 0 else "")
        _finish(panels[1][column], TITLES[name], "memory beyond the empty process, MiB" if column == 0 else "")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / NAME
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _finish(axes: Any, across: str, up: str) -> None:
    """Both axes by factors: a straight line is a power, and its slope the exponent."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.5, high * 2.5)  # room for the legend, and no mountain out of a few percent
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper left", fontsize=7)
