"""The latency bench measures what it says, on real programs; no time is asserted here, the figures are for people to read."""

import asyncio

import pytest

from bucium.bench import latency, node

FIGURES = ("order", "issued", "stop", "crossing", "sequence", "verify")


def test_figures_are_of_what_was_measured() -> None:
    found = latency.figure([5.0, 1.0, 3.0], 250.0)
    assert found == {"count": 3, "p50": 3.0, "p99": 5.0, "most": 5.0, "promised_p99": 250.0}
    assert latency.figure([], None) == {"count": 0, "promised_p99": None}
    assert latency.figure(range(1000), None)["p99"] == 990


def test_orders_stops_crossings_and_patterns_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WHOLE", 1)
    monkeypatch.setattr(latency, "VERIFIED", 3)
    found = asyncio.run(latency.measure(2, 1, lambda _: None))
    assert {name: found[name]["count"] for name in FIGURES} == {
        "order": 6,
        "issued": 6,
        "stop": 3,
        "crossing": 1,
        "sequence": 12,
        "verify": 3,
    }
    for name in FIGURES:
        assert 0 <= found[name]["p50"] <= found[name]["most"], name
    assert found["issued"]["most"] <= found["order"]["most"]


def test_a_node_is_measured() -> None:
    found = asyncio.run(node.measure(watched_s=2.0))
    assert set(found["nodes"]) == {"bridge", "quay", "mill"}
    for row in found["nodes"].values():
        assert row["rss_mib"] > 0
        assert row["samples_per_s"] > 0
