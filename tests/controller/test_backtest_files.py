"""What is read: CSV in its kinds, and our own history, with what is bad in them."""

import gzip
import json
from math import isnan, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backtest.columns import Columns, column
from controller.backtest.csvfile import LINE_MAX, CsvFile
from controller.backtest.history import history_file, is_history
from controller.backtest.instants import BadTime, instant, local, reader, recognise, span, utc
from controller.backtest.recording import NAMED_MAX, Recording, Sample, Span
from controller.backtest.server import Server
from controller.history import line_protocol
from controller.history.history import HistorySettings
from controller.history.spool import Kind, Spool
from cython_ext import ConfigError, Status, SystemClock
from lanes.settings import parse
from tests.kit.recordings import SECOND, START_US, rows
from tests.kit.victoria import victoria

HEADER = "time,gauge\n"
WHOLE = Span()


def samples(recording: Recording) -> list[Sample]:
    return [sample for chunk in recording.chunks() for sample in chunk]


def csv_file(path: Path, text: str, *known: str, span: Span = WHOLE, **columns: object) -> CsvFile:
    return CsvFile(rows(path / "r.csv", text), Columns.model_validate(columns), known or ("gauge",), span)


def test_feet_become_metres_and_the_rest_of_the_row_is_left(tmp_path: Path) -> None:
    text = "at_utc,height_ft,qualifier\n2018-06-03T04:26:40Z,10,A\n2018-06-03T07:26:41.5+03:00,20,A\n"
    mapped = [column("gauge=height_ft*0.3048+-1").model_dump()]
    found = samples(csv_file(tmp_path, text, time="at_utc", column=mapped))
    assert found == [(START_US, 0, pytest.approx(2.048), 0), (START_US + 1_500_000, 0, pytest.approx(5.096), 0)]


@pytest.mark.parametrize(("form", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_an_epoch_is_known_by_its_size(tmp_path: Path, form: str, per_second: int) -> None:
    at = START_US // SECOND * per_second
    assert recognise(str(at)) == form
    assert samples(csv_file(tmp_path, f"{HEADER}{at},1\n")) == [(START_US, 0, 1.0, 0)]


@given(st.integers(0, 7_258_118_400_000_000))
def test_an_instant_survives_its_text(at_us: int) -> None:
    assert reader("iso")(utc(at_us)) == at_us
    assert reader("ns")(str(at_us * 1000)) == at_us
    assert instant(utc(at_us)) == at_us


@given(st.text(max_size=40), st.sampled_from(["iso", "s", "ns"]))
def test_any_text_is_an_instant_or_a_bad_time(text: str, form: str) -> None:
    try:
        assert 0 <= reader(form)(text) <= 7_258_118_400_000_000  # type: ignore[arg-type]
    except BadTime as error:
        assert str(error)


def test_people_read_local_time_with_its_offset() -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Chisinau")
    repeated = [local(instant(text), zone) for text in ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z")]
    assert len(set(repeated)) == 2
    assert (span(86_400 + 7200), span(-61), span(0), span(0.25)) == ("1 d 2 h", "-1 min 1 s", "0 s", "0.25 s")


def test_empty_and_unreadable_cells_are_missing_samples_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    text = HEADER + "".join(f"{n},{v}\n" for n, v in enumerate(["1", "", "NaN", "-9999.0", "Ice", "inf", " 2 "], 10))
    recording = csv_file(tmp_path, text, missing=["-9999"])
    found = samples(recording)
    assert [status for *_, status in found] == [0, *[int(Status.MISSING)] * 4, 0, 0]
    assert (found[5][2], found[6][2]) == (float("inf"), 2.0)
    assert (recording.defects.count, recording.defects.named) == (1, [(6, "'Ice' is not a number")])


def test_bad_rows_are_counted_and_the_first_few_named_by_line(tmp_path: Path) -> None:
    bad = [
        "yesterday,1",
        "2018-06-03 04:00:00,1",
        "2018-06-03T04:26:41Z",
        '2018-06-03T04:26:41Z,"1',
        "99999999999999999999,1",
    ]
    text = HEADER + "2018-06-03T04:26:40Z,1\n\n" + "\n".join(bad * 2) + "\n2018-06-03T04:26:42Z,3\n"
    recording = csv_file(tmp_path, text)
    assert [sample[2] for sample in samples(recording)] == [1.0, 3.0]
    assert recording.rows == 2
    assert recording.defects.count == 10
    lines, why = zip(*recording.defects.named, strict=True)
    assert lines == tuple(range(4, 4 + NAMED_MAX))
    assert ["ISO-8601" in why[0], "time zone" in why[1], "columns" in why[2], "not CSV" in why[3]] == [True] * 4


def test_one_wrong_clock_does_not_make_every_later_row_late(tmp_path: Path) -> None:
    text = HEADER + "100,1\n101,2\n4000000000,3\n102,4\n103,5\n"
    recording = csv_file(tmp_path, text, time_format="s")
    assert [sample[2] for sample in samples(recording)] == [1.0, 2.0, 4.0, 5.0]
    assert recording.defects.named == [(4, "its time is more than a day after the next row's")]


def test_a_line_without_end_costs_itself_only(tmp_path: Path) -> None:
    recording = csv_file(tmp_path, HEADER + "100,1\n" + "9" * (3 * LINE_MAX) + "\n101,2\n")
    assert [sample[2] for sample in samples(recording)] == [1.0, 2.0]
    assert recording.defects.count == 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("\ufefftime;gauge\n100;1,5\n", {"decimal": ","}),
        ("time\tgauge\n100\t1.5\n", {}),
        ('"time","gauge"\n"100","1.5"\n', {}),
        ("#group,false\n#datatype,x\n,time,gauge\n,100,1.5\n", {}),
        ("point,value,time\nother,9,100\ngauge,1.5,100\n", {"long": {}}),
        ("1970-01-01 00:01:40,1.5\n", None),
    ],
)
def test_dialects(tmp_path: Path, text: str, columns: dict[str, object] | None) -> None:
    if columns is None:
        text, columns = HEADER + text, {"naive_is_utc": True}
    assert samples(csv_file(tmp_path, text, **columns)) == [(100 * SECOND, 0, 1.5, 0)]


def test_long_rows_carry_their_status(tmp_path: Path) -> None:
    text = "time,point,value,status\n100,b,1,4\n101,a,,0\n102,a,1,x\n"
    found = samples(csv_file(tmp_path, text, "a", "b", long={"status": "status"}))
    assert [(point, status) for _, point, _, status in found] == [(1, 4), (0, 1), (0, 1)]


def test_compressed_and_only_a_part(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(f"{n},{n}\n" for n in range(100, 110))).encode()))
    part = Span(103 * SECOND, 105 * SECOND)
    whole = Columns.model_validate({})
    assert [sample[2] for sample in samples(CsvFile(path, whole, ["gauge"], part))] == [103.0, 104.0]
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ConfigError, match="cannot be read any further"):
        samples(CsvFile(path, whole, ["gauge"], Span()))


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("", {}, "no header"),
        ("when,gauge\n", {}, "--time with one of: when, gauge"),
        ("time,stage\n", {}, "--map gauge=COLUMN"),
        (HEADER, {"column": [{"point": "gauge", "column": "stage"}]}, "no column 'stage'; there are: time, gauge"),
        (HEADER, {"column": [{"point": "weir", "column": "gauge"}]}, "no point 'weir'"),
    ],
)
def test_a_header_that_does_not_fit_says_what_to_do(
    tmp_path: Path, text: str, columns: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        csv_file(tmp_path, text, **columns)


@pytest.mark.parametrize("rule", ["gauge", "gauge=", "Gauge=x", "gauge=x*y", "gauge=x*inf"])
def test_a_bad_map_shows_a_good_one(rule: str) -> None:
    with pytest.raises(ConfigError, match="gage_height_ft"):
        column(rule)


@given(st.binary(max_size=400))
def test_any_bytes_are_counted_never_a_crash(data: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "r.csv"
        path.write_bytes(HEADER.encode() + data)
        found = samples(CsvFile(path, Columns.model_validate({}), ["gauge"], Span()))
        assert all(point == 0 and (status or not isnan(value)) for _, point, value, status in found)


# Our own history.


def line(point: str, value: float, status: int, at_us: int) -> bytes:
    head = line_protocol.head("bucium_reading", {"point": point, "node": "n 1,x", "hazard": "flood", "unit": "m"})
    return line_protocol.line(head, {"value": value, "status": status}, at_us)


LINES = [line("gauge", 1.5, 0, START_US), line("weir", 9.0, 0, START_US), line("gauge", nan, 1, START_US + 7)]
EXPECTED = [(START_US, 1.5, 0), (START_US + 7, None, 1)]


def seen(found: list[Sample]) -> list[tuple[int, float | None, int]]:
    return [(at_us, None if isnan(value) else value, status) for at_us, _, value, status in found]


def test_line_protocol_of_our_history(tmp_path: Path) -> None:
    path = tmp_path / "h.lp"
    path.write_bytes(b"\n".join([*LINES, b"bucium_reading rubbish", b"bucium_alarm,zone=z level=1i 5"]) + b"\n")
    assert is_history(path)
    recording = history_file(path, ["gauge"], Span())
    assert seen(samples(recording)) == EXPECTED
    assert recording.defects.named == [(4, "not a line of our history")]


def test_the_spool_of_a_running_controller(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.put(
        [(Kind.TELEMETRY, LINES[:2]), (Kind.TRANSITION, [b"bucium_transition x=1i 5"]), (Kind.TELEMETRY, LINES[2:])]
    )
    assert is_history(tmp_path / "spool.db")
    assert seen(samples(history_file(tmp_path / "spool.db", ["gauge"], Span()))) == EXPECTED
    spool.close()


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "x.db") as other:
        other.execute("CREATE TABLE t(x)")
    with pytest.raises(ConfigError, match="not a history spool"):
        samples(history_file(tmp_path / "x.db", ["gauge"], Span()))


def settings(url: str) -> HistorySettings:
    return parse(f'url = "{url}"', HistorySettings)


async def test_what_a_real_victoria_metrics_was_given_comes_back(
    tmp_path: Path,
) -> None:
    import asyncio
    import urllib.request

    began_us = SystemClock().wall_us() // SECOND * SECOND - 3600 * SECOND
    given_ = [
        (began_us + n * SECOND, float("nan") if n % 10 == 3 else n / 8, 2 if n % 10 == 7 else 0) for n in range(900)
    ]
    lines = [line("gauge", value, status | (value != value), at_us) for at_us, value, status in given_]
    lines += [line("weir", 9.0, 0, began_us)]
    async with victoria(tmp_path / "vm") as server:

        def write() -> None:
            body = b"\n".join(lines)
            urllib.request.urlopen(f"{server.url}/api/v2/write?precision=us", body, timeout=10).close()
            urllib.request.urlopen(f"{server.url}/internal/force_flush", timeout=10).close()

        await asyncio.to_thread(write)
        part = Span(began_us, began_us + 800 * SECOND)
        recording = Server(settings(server.url), ["gauge"], part)
        found = await asyncio.to_thread(samples, recording)
    assert seen(found) == [
        (at_us, None if isnan(value) else value, status | (value != value)) for at_us, value, status in given_[:800]
    ]


@pytest.mark.parametrize(
    ("url", "part", "says"),
    [
        ("http://127.0.0.1:9", Span(), "--from and --to"),
        ("http://127.0.0.1:9", Span(0, SECOND), "does not answer"),
    ],
)
def test_a_server_that_cannot_be_read_says_why(url: str, part: Span, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        samples(Server(settings(url), ["gauge"], part))


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        '{"metric":{}}',
        '{"metric":{"point":"gauge","__name__":"bucium_reading_status"},"values":[1e999],"timestamps":[1]}',
        "\x00",
        json.dumps({"metric": {"point": "gauge", "__name__": "x"}, "values": ["y"], "timestamps": [1]}),
    ],
)
def test_a_strange_answer_is_counted(answer: str) -> None:
    server = Server(settings("http://127.0.0.1:9"), ["gauge"], Span(0, SECOND))
    server._take(answer, {}, {})
    assert server.defects.count == 1
