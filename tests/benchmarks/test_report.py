"""RESULTS.md is what the kept results give, and what is kept says where it comes from."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import report


def test_the_page_is_what_the_kept_results_give() -> None:
    assert any(report.RESULTS.glob("*.json")), "no results are kept: benchmarks save theirs with --save"
    assert report.PAGE.read_text("utf-8") == report.page(), "write it anew: python -m benchmarks.report"


def test_every_kept_result_belongs_to_a_benchmark_of_the_page() -> None:
    assert {path.stem for path in report.RESULTS.glob("*.json")} <= set(report.BENCHMARKS)


def test_a_result_is_kept_with_its_command_machine_and_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["growth.py", "--rules", "10", "--json", "--save"])
    path = report.save("growth", {"exponent": 1.0})
    kept = json.loads(path.read_text("utf-8"))
    assert kept["command"] == "python -m benchmarks.growth --rules 10"
    assert kept["result"] == {"exponent": 1.0}
    assert kept["machine"]["cores"] >= 1 and kept["machine"]["cpu"]
    assert report.load("growth") == kept
    assert report.load("latency") is None


def test_a_result_of_no_known_benchmark_is_refused() -> None:
    with pytest.raises(ValueError, match="'speed' is not on the page"):
        report.save("speed", {})


@pytest.mark.parametrize("path", sorted(report.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_kept_result_has_a_section(path: Path) -> None:
    section = importlib.import_module(f"benchmarks.{path.stem}").section
    kept = report.load(path.stem)
    assert kept is not None
    assert section(kept["result"]).startswith("## ")
