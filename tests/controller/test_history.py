"""History against a real VictoriaMetrics, against servers that misbehave, and in virtual time."""

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from controller.dispatch import Answer
from controller.history import line_protocol
from controller.history.history import History, HistorySettings, InfluxWriter, Writer
from controller.history.spool import Spool
from cython_ext import Cause, Clock, ConfigError, Level, Reason, Status, SystemClock, Trouble
from cython_ext.panel import RECORD
from lanes.reports import TransitionData
from lanes.settings import parse
from lanes.store import Runner, ThreadRunner, run_here
from tests.kit.clock import START_WALL_US, ManualClock, run_virtual
from tests.kit.receivers import Mood, receiver
from tests.kit.telling import change, plan
from tests.kit.victoria import victoria

TAKEN, DOWN, NO = Answer(True, "204"), Answer(False, "no-connection"), Answer(False, "400", refused=True)


def records(*values: float, point: int = 0, status: Status = Status.OK, at_ns: int = 0) -> bytes:
    """Readings a millisecond apart."""
    return b"".join(RECORD.pack(at_ns + n * 1_000_000, value, point, int(status), 0) for n, value in enumerate(values))


def transition(level: Level = Level.DANGER) -> TransitionData:
    return TransitionData("gauge-1", Cause.RAISED, Level.NORMAL, level, 4.256, Reason.THRESHOLD, Trouble.NONE)


@asynccontextmanager
async def history(
    path: Path,
    writer: Writer,
    clock: Clock,
    disk: Runner = run_here,
    troubles: list[Any] | None = None,
    bytes_max: int = 1 << 28,
) -> AsyncIterator[History]:
    said = troubles if troubles is not None else []
    each = History(
        plan(),
        writer,
        path=path,
        clock=clock,
        disk=disk,
        entropy=random.Random(1),
        trouble=lambda *what: said.append(what),
        bytes_max=bytes_max,
    )
    task = asyncio.create_task(each.run())
    try:
        yield each
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@dataclass
class Server:
    """A server in memory whose answers the test decides."""

    answer: Callable[[bytes], Answer] = lambda _: TAKEN
    seen: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)

    async def write(self, lines: bytes) -> Answer:
        await asyncio.sleep(0.01)
        each = self.answer(lines)
        self.seen.append(lines)
        if each.taken:
            self.taken += lines.split(b"\n")
        return each


def run_clocked(main: Callable[[ManualClock], Any]) -> None:
    clock = ManualClock()
    run_virtual(main(clock), clock)


def test_lines_hold_what_happened(tmp_path: Path) -> None:
    server = Server()

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock) as h:
            h.readings(records(1.25, float("nan"), status=Status.CLOCK_UNTRUSTED), START_WALL_US)
            h.readings(records(9.0, point=99), START_WALL_US)
            h.transition("node-1", transition(), START_WALL_US)
            h.alarm(change())
            await asyncio.sleep(3)

    run_clocked(main)
    assert sorted(server.taken) == [
        b"bucium_alarm,hazard=flood,mode=live,zone=quay level=3i,was=0i,acknowledged=0i,evidence=1i 1767322800000000",
        b"bucium_reading,hazard=flood,node=node-1,point=gauge-1,unit=m status=16i 1767322800001000",
        b"bucium_reading,hazard=flood,node=node-1,point=gauge-1,unit=m value=1.25,status=16i 1767322800000000",
        b"bucium_transition,hazard=flood,node=node-1,point=gauge-1"
        b" level=3i,was=0i,cause=1i,reason=1i,trouble=0i,value=4.256 1767322800000000",
    ]


def test_a_server_away_loses_nothing_and_the_present_comes_first(tmp_path: Path) -> None:
    server = Server(answer=lambda _: DOWN)
    troubles: list[Any] = []

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock, troubles=troubles) as h:
            for n in range(600):
                h.readings(records(float(n)), clock.wall_us())
                await asyncio.sleep(1)
        server.answer = lambda _: TAKEN
        async with history(tmp_path / "s.db", server, clock, troubles=troubles) as h:
            h.readings(records(1000.0), clock.wall_us())
            await asyncio.sleep(120)
            assert (await h.status())["spool_bytes"] == 0

    run_clocked(main)
    values = [float(line.split(b"value=")[1].split(b",")[0]) for line in server.taken]
    assert sorted(values) == [*map(float, range(600)), 1000.0]
    assert values.index(599.0) < values.index(1.0), "what was last is sent before what was first"
    assert [what[:2] for what in troubles] == [("history-down", True)]


def test_a_server_that_returns_ends_the_trouble(tmp_path: Path) -> None:
    server = Server(answer=lambda _: DOWN)
    troubles: list[Any] = []

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock, troubles=troubles) as h:
            h.transition("node-1", transition(), clock.wall_us())
            await asyncio.sleep(100)
            server.answer = lambda _: TAKEN
            await asyncio.sleep(100)

    run_clocked(main)
    assert troubles == [("history-down", True, "no-connection"), ("history-down", False, "")]
    assert len(server.taken) == 1


def test_refused_lines_are_set_aside_kept_and_offered_again(tmp_path: Path) -> None:
    server = Server(answer=lambda lines: NO if b"value=13.0" in lines else TAKEN)
    troubles: list[Any] = []

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock, troubles=troubles) as h:
            h.readings(records(*map(float, range(100))), clock.wall_us())
            await asyncio.sleep(60)
            assert len(server.taken) == 99
            assert troubles == [("history-refused", True, "400")]
            server.answer = lambda _: TAKEN
            await asyncio.sleep(4000)

    run_clocked(main)
    assert len(server.taken) == 100
    assert troubles[-1] == ("history-refused", False, "")


def test_a_full_spool_sheds_the_oldest_telemetry_aloud(tmp_path: Path) -> None:
    server = Server(answer=lambda _: DOWN)
    troubles: list[Any] = []

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock, troubles=troubles, bytes_max=3000) as h:
            h.transition("node-1", transition(), clock.wall_us())
            for n in range(100):
                h.readings(records(float(n)), clock.wall_us())
                await asyncio.sleep(1)
            status = await h.status()
            assert status["spool_bytes"] <= 3000
            assert status["shed_telemetry"] > 10
            assert status["shed_transition"] == 0
            server.answer = lambda _: TAKEN
            await asyncio.sleep(120)
            assert len(server.taken) == 101 - status["shed_telemetry"]

    run_clocked(main)
    assert ("history-shed", True, "") in troubles
    assert any(line.startswith(b"bucium_transition") for line in server.taken)


def test_memory_is_bounded_when_the_disk_does_not_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.history.history.RECORDS_MAX", 100 * RECORD.size)
    monkeypatch.setattr("controller.history.history.LINES_MAX", 10)
    server = Server()

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock) as h:
            for _ in range(15):
                h.readings(records(*[1.0] * 10), clock.wall_us())
                h.transition("node-1", transition(), clock.wall_us())
            assert h.overrun == 50 + 5
            await asyncio.sleep(5)

    run_clocked(main)
    assert len(server.taken) == 110


def test_a_full_disk_is_trouble_and_nothing_in_memory_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    troubles: list[Any] = []
    real = Spool.put
    full = [True] * 3

    def put(self: Spool, batches: Any) -> int:
        if full:
            full.pop()
            raise apsw.FullError("database or disk is full")
        return real(self, batches)

    monkeypatch.setattr(Spool, "put", put)

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock, troubles=troubles) as h:
            for n in range(5):
                h.readings(records(float(n)), clock.wall_us())
                h.transition("node-1", transition(), clock.wall_us())
                await asyncio.sleep(1)
            assert await h.settled(10)

    run_clocked(main)
    assert len(server.taken) == 10
    assert troubles == [("history-disk", True, "database or disk is full"), ("history-disk", False, "")]


def test_what_is_in_memory_reaches_the_disk_at_the_end(tmp_path: Path) -> None:
    server = Server(answer=lambda _: DOWN)

    async def main(clock: ManualClock) -> None:
        async with history(tmp_path / "s.db", server, clock) as h:
            await asyncio.sleep(0.5)
            h.transition("node-1", transition(), clock.wall_us())
        server.answer = lambda _: TAKEN
        async with history(tmp_path / "s.db", server, clock):
            await asyncio.sleep(1)

    run_clocked(main)
    assert len(server.taken) == 1


def influx(url: str, runner: Runner, **more: Any) -> InfluxWriter:
    return InfluxWriter(HistorySettings(url=url, timeout_s=2, **more), runner)


@asynccontextmanager
async def threads() -> AsyncIterator[tuple[ThreadRunner, ThreadRunner]]:
    disk, network = ThreadRunner("history-disk"), ThreadRunner("history-network")
    try:
        yield disk, network
    finally:
        disk.close()
        network.close()


@pytest.mark.parametrize(
    ("mood", "status", "refused", "detail"),
    [
        (Mood.FAILING, 500, False, "500"),
        (Mood.FAILING, 401, False, "401"),
        (Mood.FAILING, 400, True, "400"),
        (Mood.FAILING, 413, True, "413"),
        (Mood.REDIRECT, 302, False, "302"),
        (Mood.DOWN, 0, False, "no-connection"),
        (Mood.CUT, 0, False, "no-connection"),
        (Mood.HALF_OPEN, 0, False, "no-connection"),
    ],
)
async def test_every_way_to_fail_is_an_answer(mood: Mood, status: int, refused: bool, detail: str) -> None:
    async with receiver() as server, threads() as (_, network):
        writer = influx(server.url, network)
        await server.become(mood, status)
        answer = await writer.write(b"m v=1 1")
        assert (answer.taken, answer.refused) == (False, refused)
        assert answer.detail.startswith(detail)


async def test_the_token_and_the_lines_go_out_as_they_are(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    async with receiver() as server, threads() as (_, network):
        writer = influx(server.url, network, token_file=token, bucket="b", org="o")
        assert (await writer.write(b"m,t=a\\ b v=1 1")).taken
        (posted,) = server.taken
        assert posted.headers["authorization"] == "Token s3cret"
        assert posted.body == b"m,t=a\\ b v=1 1"
        assert posted.path.startswith("/alarms/api/v2/write?") or posted.path.startswith("/api/v2/write?")
        assert {"org=o", "bucket=b", "precision=us"} <= set(posted.path.partition("?")[2].split("&"))


async def test_victoria_metrics_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    clock = SystemClock()
    began_us = clock.wall_us() // 1_000_000 * 1_000_000 - 60_000_000
    sent = 0
    async with victoria(tmp_path / "vm") as server, threads() as (disk, network):
        async with history(tmp_path / "s.db", influx(server.url, network), clock, disk) as h:

            async def feed(count: int) -> None:
                nonlocal sent
                for _ in range(count):
                    h.readings(records(*[float(sent + n) for n in range(20)], at_ns=sent * 1_000_000), began_us)
                    sent += 20
                    await asyncio.sleep(0.01)

            h.transition("node-1", transition(), began_us)
            h.alarm(change(at_us=began_us))
            await feed(150)
            await asyncio.gather(server.stop(), feed(100))
            await feed(100)
            await server.start()
            await feed(50)
            assert await h.settled(60)
        (series,) = await server.series("bucium_reading_value")
        pairs = dict(zip(series["timestamps"], series["values"], strict=True))
        assert pairs == {began_us // 1000 + n: float(n) for n in range(sent)}
        assert series["metric"]["point"] == "gauge-1"
        (level,) = await server.series("bucium_transition_level")
        assert (level["values"], level["timestamps"]) == ([3], [began_us // 1000])
        (alarm,) = await server.series("bucium_alarm_level")
        assert alarm["metric"] | {"zone": "quay", "mode": "live"} == alarm["metric"]


async def test_victoria_metrics_reads_every_tag_as_it_was(tmp_path: Path) -> None:
    chance = random.Random(7)
    alphabet = ",= \\\"'{}\t\n#ățĂж€😀az09-_/"
    examples = ["".join(chance.choices(alphabet, k=chance.randint(1, 12))) for _ in range(200)]
    texts = list({line_protocol.clean(text): text for text in (*examples, "=", ",", "\\", "x\\")}.values())
    lines = [
        line_protocol.line(line_protocol.head("tagged", {"unit": text}), {"n": n}, START_WALL_US)
        for n, text in enumerate(texts)
    ]
    async with victoria(tmp_path / "vm") as server, threads() as (_, network):
        assert (await influx(server.url, network).write(b"\n".join(lines))).taken
        found = {series["values"][0]: series["metric"].get("unit") for series in await server.series("tagged_n")}
    assert found == {n: line_protocol.clean(text) for n, text in enumerate(texts)}


def test_the_client_library_is_loaded_only_by_the_first_request() -> None:
    code = "import sys, controller.history.history; print('influxdb_client' in sys.modules, 'httpx' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('url = "http://history.example:8086"', "use https://"),
        ('url = "http://127.0.0.1:8428"\nbuckett = "x"', "did you mean 'bucket'"),
        ('url = "http://127.0.0.1:8428"\nspool_mib = 0', "spool_mib"),
    ],
)
def test_a_bad_configuration_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text, HistorySettings)
