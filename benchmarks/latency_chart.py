"""The latency benchmark's chart: percentiles with their tail stretched out, and the worst of every second."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.latency_figures import Measured
from benchmarks.report import RESULTS

NAME: Final = "latency.svg"
NINES: Final = (0.0, 0.9, 0.99, 0.999, 0.9999)


def write_chart(measured: Measured) -> Path:
    """Draw benchmarks/results/latency.svg; matplotlib is in the extra `bench`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "latency"  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, (tail, time) = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
    _percentiles(tail, measured)
    _by_second(time, measured)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / NAME
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _percentiles(axes: Any, measured: Measured) -> None:
    for label, latency_ms in (
        ("alert, from the scheduled moment", measured.alerts.from_due),
        ("alert, from the broker's append", measured.alerts.from_append),
        ("urgent ticket, from the scheduled moment", measured.urgent.from_due),
    ):
        ordered = np.sort(latency_ms)
        beyond = 1.0 - np.arange(len(ordered)) / len(ordered)  # the share that is at least so slow
        axes.plot(1.0 / beyond, ordered, drawstyle="steps-post", label=label)
    axes.set_xscale("log")
    axes.set_xticks([1.0 / (1.0 - share) for share in NINES], [f"{100 * share:g} %" for share in NINES])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency, ms")
    axes.set_title(f"{measured.run.load.rate:,} records/s for {measured.run.plan.measured_s:.0f} s")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def _by_second(axes: Any, measured: Measured) -> None:
    for label, at_s, latency_ms in (
        ("alert", measured.alerts.at_s, measured.alerts.from_due),
        ("urgent ticket", measured.urgent.at_s, measured.urgent.from_due),
    ):
        second = np.floor(at_s).astype(int)
        worst = np.full(int(measured.run.plan.measured_s) + 1, np.nan)
        np.fmax.at(worst, second, latency_ms)
        axes.plot(np.arange(len(worst)), worst, linewidth=0.8, label=f"{label}, slowest of each second")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("second of the measured time")
    axes.set_ylabel("latency, ms")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
