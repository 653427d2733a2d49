"""`bucium bench wire`: the bytes of one DDATA message to a judged sample, beside protobuf and JSON on the same content.

All ways are run in turn, many short times, and each one's best is kept: what a quiet machine would take. Ours ends in a
Panel's verdict; the others end with the numbers in Python, and would still have to be judged.
"""

import importlib
import json
import time
from collections.abc import Callable
from typing import Any, Final

from cython_ext import BuciumError, LevelConfig, PanelConfig, PointConfig
from cython_ext.panel import Panel
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import decode, encode
from cython_ext.wire_data import AliasTable, decode_data
from cython_ext.wire_feed import feed_wire

CALLS: Final = 500  # a burst: long against the clock's resolution, short against a time slice
BURSTS: Final = 200
SIZES: Final = (8, 64)  # metrics in a message: a small and a large device
FIELDS: Final = {  # of the metric: number → (name, protobuf type), only what DATA has
    2: ("alias", 4),
    3: ("timestamp", 4),
    12: ("float_value", 2),
}


def message(metrics: int) -> bytes:
    """A conforming DDATA: alias, timestamp and a Float for each metric, no names or datatypes."""
    stamp = 1_767_322_800_000
    return encode(
        Payload(
            stamp,
            tuple(
                Metric(alias=i + 1, timestamp=stamp - i, datatype=DataType.FLOAT, value=i / 4) for i in range(metrics)
            ),
            7,
        ),
        datatypes=False,
    )


def ours(metrics: int) -> tuple[Callable[[bytes], object], Callable[[bytes], object]]:
    """To judged samples, and to packed records."""
    levels = (LevelConfig(1e6, 9e5), LevelConfig(2e6, 19e5), LevelConfig(3e6, 29e5))
    panel = Panel(PanelConfig(tuple(PointConfig(f"p{i}", levels=levels) for i in range(metrics))))
    table = AliasTable()
    for i in range(metrics):
        table.bind(i + 1, DataType.FLOAT, i)
    now_ns = 10**12

    def judged(data: bytes) -> object:
        nonlocal now_ns
        now_ns += 1_000_000_000
        return feed_wire(panel, data, table, now_ns)

    return judged, lambda data: decode_data(data, table, now_ns)


def _needs(module: str) -> Any:
    """A module that only the comparison needs; it is no dependency of ours."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise BuciumError(f"the comparison needs {module}; get it with: pip install protobuf orjson") from None


def upb() -> Callable[[bytes], object]:
    """Google's protobuf (its C core), and the reading of what it found."""
    descriptor_pb2, descriptor_pool, message_factory = (
        _needs(f"google.protobuf.{name}") for name in ("descriptor_pb2", "descriptor_pool", "message_factory")
    )
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto2")
    metric = file.message_type.add(name="Metric")
    for number, (name, kind) in FIELDS.items():
        metric.field.add(name=name, number=number, label=1, type=kind)
    payload = file.message_type.add(name="Payload")
    payload.field.add(name="timestamp", number=1, label=1, type=4)
    payload.field.add(name="metrics", number=2, label=3, type=11, type_name=".bench.Metric")
    payload.field.add(name="seq", number=3, label=1, type=4)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    parse = message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Payload")).FromString

    def read(data: bytes) -> object:
        found: Any = parse(data)
        return [(m.alias, m.timestamp, m.float_value) for m in found.metrics], found.timestamp, found.seq

    return read


def orjson_loads() -> Callable[[bytes], object]:
    """orjson, and the reading of what it found."""
    loads = _needs("orjson").loads

    def read(data: bytes) -> object:
        found = loads(data)
        return [(m["name"], m["timestamp"], m["value"]) for m in found["metrics"]], found["timestamp"], found["seq"]

    return read


def as_json(data: bytes) -> bytes:
    """The same content as JSON says it: names instead of aliases."""
    payload = decode(data)
    metrics = [{"name": f"gauge/level{m.alias}", "timestamp": m.timestamp, "value": m.value} for m in payload.metrics]
    document = {"timestamp": payload.timestamp, "metrics": metrics, "seq": payload.seq}
    return json.dumps(document, separators=(",", ":")).encode()


def best_ns(ways: dict[str, tuple[Callable[[bytes], object], bytes]], bursts: int) -> dict[str, float]:
    """Nanoseconds a call of each way, run in turn."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(bursts):
        for name, (way, data) in ways.items():
            began_ns = time.perf_counter_ns()
            for _ in range(CALLS):
                way(data)
            best[name] = min(best[name], (time.perf_counter_ns() - began_ns) / CALLS)
    return best


def measure(bursts: int = BURSTS) -> dict[str, Any]:
    """The figures: `us` by number of metrics and way, and the ratios of issue 3 for 8 metrics."""
    found: dict[str, Any] = {"us": {}, "bytes": {}}
    protobuf, loads = upb(), orjson_loads()
    for metrics in SIZES:
        data = message(metrics)
        text = as_json(data)
        judged, records = ours(metrics)
        best = best_ns(
            {
                "judged": (judged, data),
                "records": (records, data),
                "protobuf": (protobuf, data),
                "orjson": (loads, text),
            },
            bursts,
        )
        found["us"][str(metrics)] = {name: round(ns / 1000, 4) for name, ns in best.items()}
        found["bytes"][str(metrics)] = {"sparkplug": len(data), "json": len(text)}
    small = found["us"][str(SIZES[0])]
    found["judged_us"] = small["judged"]
    found["ratio_protobuf"] = round(small["protobuf"] / small["judged"], 2)
    found["ratio_orjson"] = round(small["orjson"] / small["judged"], 2)
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """The figures for people."""
    told = [f"{'DDATA of':>12} {'judged':>9} {'records':>9} {'protobuf':>9} {'orjson':>9}   µs a message, best of many"]
    told += [
        f"{metrics + ' metrics':>12} {us['judged']:9.3f} {us['records']:9.3f} {us['protobuf']:9.3f} {us['orjson']:9.3f}"
        for metrics, us in found["us"].items()
    ]
    told.append(
        f"8 metrics: {found['ratio_protobuf']} x protobuf with reads, {found['ratio_orjson']} x orjson with reads"
    )
    return told
