"""The bench runs, on small sizes, and says what it promises to say. No figure is asserted: figures are for a quiet machine."""

import json
import sys
from math import nan
from pathlib import Path

import pytest

from bucium.bench import core


def test_the_bench_has_its_keys(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "BATCH", 4_000)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != core.TREE])
    core.run(json=True, sizes=(1_000,), repeats=2)
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    for key in ("ns_per_sample", "ratio_numpy_compare", "ratio_numba", "ratio_oracle"):
        assert set(found[key]) == {"1000"}
        assert set(found[key]["1000"]) == {"in_order", "shuffled"}
        assert all(value > 0 for value in found[key]["1000"].values())
    assert found["bytes_per_point"] <= 256 + 4
    assert found["ns_per_deadline"]["1000"] > 0
    core.run(sizes=(1_000,), repeats=1)
    assert "panel, all" in capsys.readouterr().out


def test_what_is_not_known_is_null_in_json() -> None:
    assert core.known({"a": {"b": nan, "c": 1.5}, "d": "nan"}) == {"a": {"b": None, "c": 1.5}, "d": "nan"}


def test_most_of_the_bench_is_quiet_and_some_of_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "BATCH", 40_000)
    for config in (core.subset(1_000), core.everything(1_000)):
        stream = core.Stream(1_000, shuffled=True)
        panel = core.Panel(config)
        for _ in range(5):
            panel.feed(stream.batch.view("u1"), stream.now_ns)
            stream.step()
        counters = panel.counters
        assert counters["samples"] == 5 * len(stream.batch)
        assert counters["quiet"] > 0.9 * counters["samples"]
        assert counters["duplicate"] == counters["out_of_order"] == counters["clock"] == 0
