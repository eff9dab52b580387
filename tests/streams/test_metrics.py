"""The metrics: names and labels are a contract with dashboards, and one port serves them all."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from streams import metrics

CONTRACT = {
    "tongguan_records_total": {"source"},
    "tongguan_bytes_total": {"source"},
    "tongguan_dead_letters_total": {"source", "reason"},
    "tongguan_late_records_total": {"source", "where"},
    "tongguan_places_total": {"source", "origin"},
    "tongguan_duplicate_rows_total": set(),
    "tongguan_watermark_delay_seconds": {"source", "partition"},
    "tongguan_lag_records": {"topic", "partition"},
    "tongguan_lag_seconds": {"topic", "partition"},
    "tongguan_alert_latency_seconds": {"since"},
    "tongguan_alerts_total": {"detector", "action"},
    "tongguan_snapshot_age_seconds": {"shard"},
    "tongguan_snapshot_bytes": {"shard"},
    "tongguan_snapshot_seconds": set(),
    "tongguan_clickhouse_insert_seconds": set(),
    "tongguan_clickhouse_rows_total": {"table"},
    "tongguan_clickhouse_up": set(),
    "tongguan_active_cells": {"shard"},
    "tongguan_loop_inputs_total": {"kind"},
    "tongguan_loop_lag_seconds": set(),
    "tongguan_loop_outcomes_total": {"outcome"},
    "tongguan_incidents": {"type", "state"},
    "tongguan_overdue_incidents": set(),
    "tongguan_incident_changes_total": {"step"},
    "tongguan_overdue_total": {"type"},
    "tongguan_notifications_total": {"kind"},
    "tongguan_actions_total": {"outcome"},
    "tongguan_time_to_dispatch_seconds": set(),
}


def declared() -> dict[str, set[str]]:
    found = {}
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames") and hasattr(metric, "_name"):
            suffix = "_total" if metric._type == "counter" else ""
            found[metric._name + suffix] = set(metric._labelnames)
    return found


def test_every_promised_metric_exists_with_its_labels() -> None:
    assert declared().items() >= CONTRACT.items()


def test_every_metric_is_ours_by_name_and_explains_itself() -> None:
    for family in metrics.REGISTRY.collect():
        if not family.name.startswith(("python_", "process_")):
            assert family.name.startswith("tongguan_")
            assert family.documentation.endswith((".", "else 0."))


def test_served_text_holds_what_was_counted() -> None:
    metrics.RECORDS.labels("readings").inc(7)
    with metrics.serve("127.0.0.1", 0) as server, urllib.request.urlopen(server.url, timeout=5) as answer:
        text = answer.read().decode()
    value = metrics.RECORDS.labels("readings")._value.get()
    assert f'tongguan_records_total{{source="readings"}} {value}' in text


def test_port_is_free_again_after_close_and_a_second_close_is_harmless() -> None:
    server = metrics.serve("127.0.0.1", 0)
    server.close()
    with metrics.serve("127.0.0.1", server.port):
        server.close()


def test_taken_port_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(metrics.PortTaken, match=f"cannot listen on 127.0.0.1:{port}.*set metrics.port"):
            metrics.serve("127.0.0.1", port)


def test_address_of_another_machine_is_refused_with_what_to_do() -> None:
    with pytest.raises(metrics.PortTaken, match=r"set metrics.host to an address of this machine"):
        metrics.serve("192.0.2.1", 0)


def test_many_equal_observations_at_once_count_as_one_after_the_other() -> None:
    at_once, one_by_one = (metrics.ALERT_LATENCY.labels(since) for since in ("test-at-once", "test-one-by-one"))
    for value in (0.0, 0.05, 0.051, 3600.0, 3601.0):
        at_once.observe_many(value, 3)
        for _ in range(3):
            one_by_one.observe(value)
    # the last one is when it was made
    assert list(at_once._child_samples())[:-1] == list(one_by_one._child_samples())[:-1]
    for since in ("test-at-once", "test-one-by-one"):
        metrics.ALERT_LATENCY.remove(since)
