"""The whole controller on an in-memory broker: reports in, acks and orders out, the desk, an end and a start."""

import asyncio
import base64
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import app, config
from controller.dispatch.capcheck import Fault
from controller.dispatch.http import Client, Trust
from controller.inbound.trust import pinned, verified
from controller.record.verify import verify_journal
from controller.report.reading import read_case
from cython_ext import ConfigError, Level, SystemClock, topics
from lanes import acts, control, planfile
from lanes.envelope import Envelope, Kind, Opened, open_envelope
from lanes.keys import Mode, write_key
from lanes.orders import Ack, Order
from lanes.reports import Stage
from lanes.store import run_here
from tests.kit import capkeys, neighbour
from tests.kit.broker import MemoryBroker, MemoryLink
from tests.kit.control_room import CONTROLLER, GROUP, FakeNode, report_topic, until
from tests.kit.plans import key, root, signed

TOML = """
[controller]
id = "iasi"
data = "data"
socket = "run/c.sock"
[keys]
live = "live.pem"
[cap]
key = "cap.key"
certificate = "cap.crt"
[[dispatch]]
kind = "files"
folder = "cap"
"""


@pytest.fixture
def local(tmp_path: Path) -> config.Local:
    plan = signed()
    planfile.write(plan, tmp_path / "plan.cbor")
    people = "".join(f'[[planner]]\nid = "{p.id}"\npublic = "{p.public}"\n' for p in root().planners)
    (tmp_path / "root.toml").write_text(f'name = "DEMO"\nthreshold = 2\n{people}')
    write_key(key(CONTROLLER), tmp_path / "live.pem")
    capkeys.write(tmp_path, capkeys.signer())
    (tmp_path / "controller.toml").write_text(TOML)
    return config.load(tmp_path / "controller.toml")


@asynccontextmanager
async def running(local: config.Local, broker: MemoryBroker) -> AsyncIterator[None]:
    stop = asyncio.Event()
    ready = config.ready(local)
    seeded = iter(range(1, 1_000_000))

    def entropy(size: int) -> bytes:
        return next(seeded).to_bytes(size, "big")

    task = asyncio.create_task(
        app.run(ready, clock=SystemClock(), connector=broker.connector(), runner=run_here, entropy=entropy, stop=stop)
    )
    try:
        yield
    finally:
        stop.set()
        await task


class Listener:
    """A node's end of the lane, in the broker."""

    def __init__(self, broker: MemoryBroker, node: FakeNode) -> None:
        self.broker, self.node = broker, node
        self.heard: list[Envelope] = []
        self.raw: list[bytes] = []
        self.link: MemoryLink | None = None

    async def run(self) -> None:
        async with self.broker.connector().connect(f"{self.node.id}.alarm") as link:
            await link.subscribe((topics.order(GROUP, self.node.id), 1), (topics.beat(GROUP), 1))
            self.link = link
            async for message in link.messages():
                opened = open_envelope(message.payload, self.node.plan.plan.roster)
                assert isinstance(opened, Opened), opened
                self.heard.append(opened.envelope)
                self.raw.append(message.payload)
                link.ack(message)

    def of(self, kind: Kind) -> list[Envelope]:
        return [envelope for envelope in self.heard if envelope.kind is kind]

    async def say(self, data: bytes) -> None:
        assert self.link is not None
        await self.link.publish(report_topic(self.node.id), data, qos=1)


@asynccontextmanager
async def listening(broker: MemoryBroker, plan: planfile.SignedPlan) -> AsyncIterator[Listener]:
    clock = SystemClock()
    node = FakeNode("n1", clock, plan)  # type: ignore[arg-type]
    listener = Listener(broker, node)
    task = asyncio.create_task(listener.run())
    await until(lambda: listener.link is not None)
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(local: config.Local, verb: str, **args: object) -> object:
    return await asyncio.to_thread(control.ask, local.at(local.config.controller.socket), verb, **args)


async def test_from_a_report_to_an_ack_an_order_a_receipt_and_a_cap_file(local: config.Local) -> None:
    broker, plan = MemoryBroker(), config.ready(local).signed
    async with listening(broker, plan) as far, running(local, broker):
        await until(lambda: len(far.of(Kind.BEAT)) > 0)
        await far.say(far.node.state())
        await far.say(far.node.level("gauge", Level.NORMAL, Level.ALARM))
        await until(lambda: len(far.of(Kind.ORDER)) > 0)
        await until(lambda: any(Ack.unpack(e.body).through == 1 for e in far.of(Kind.ACK)))
        order = Order.unpack(far.of(Kind.ORDER)[0].body)
        assert (order.siren, order.core.zones) == ("s1", ("ungheni",))
        raw = next(d for d, e in zip(far.raw, far.heard, strict=True) if e.kind is Kind.ORDER)
        await far.say(far.node.receipt(raw, Stage.SOUNDING))
        await until(lambda: any(Ack.unpack(e.body).through == 2 for e in far.of(Kind.ACK)))
        [alarm] = await ask(local, "alarm.list")  # type: ignore[misc]
        assert (alarm["zone"], alarm["state"], alarm["decision"]["move"]) == ("ungheni", "unacknowledged", "automatic")
        status = await ask(local, "siren.status")
        assert status["activations"][0]["pass"] == 1  # type: ignore[index]
        shown = await ask(local, "alarm.show", alarm=alarm["alarm"])
        events = [acts.EventKey.parse(each["event"]) for each in shown["evidence"]]  # type: ignore[index]
        act = acts.AckAlarm(acts.AlarmId.parse(alarm["alarm"]), tuple(events))
        answer = await ask(local, "alarm.ack", act=sign(act))
        assert answer["state"] == "acknowledged"  # type: ignore[index]
        await until(lambda: any((local.base / "cap").glob("*.xml")))
        with pytest.raises(control.ControlError, match="taken already"):
            await ask(local, "alarm.ack", act=sign(act))
    verdict = verify_journal(local.base / "data" / "journal.db", {key(CONTROLLER).kid: key(CONTROLLER).public})
    assert verdict.whole, verdict
    case = read_case(local.base / "data" / "journal.db", alarm["alarm"], [plan])
    assert {"judged.raised", "ordered.start", "sounded.sounding", "answered.alarm-ack"} <= {
        e.code for e in case.entries
    }
    assert [e.who for e in case.entries if e.code == "told.delivery"], "by dispatch itself, in its own words"


def sign(act: acts.Act, once: bytes = b"once0001") -> str:
    now_us = SystemClock().wall_us()
    data = acts.sign_act(act, person="ana", service=CONTROLLER, key=key("ana"), now_us=now_us, once=once)
    return base64.b64encode(data).decode()


async def test_the_broker_may_be_absent_at_the_start_and_lost_later(local: config.Local) -> None:
    broker, plan = MemoryBroker(), config.ready(local).signed
    broker.up = False
    async with running(local, broker):
        status = await ask_when_up(local, "status")
        assert status["alarm_lane"]["connected"] is False  # type: ignore[index]
        broker.start()
        async with listening(broker, plan) as far:
            await until(lambda: len(far.of(Kind.BEAT)) > 0)
            await far.say(far.node.level("gauge", Level.NORMAL, Level.ALARM))
            await until(lambda: len(far.of(Kind.ACK)) > 0)
        broker.stop(wipe=True)
        await until(lambda: not broker.clients())
        broker.start()
        async with listening(broker, plan) as again:
            await until(lambda: len(again.of(Kind.BEAT)) > 0)


async def test_systemd_hears_that_it_lives_but_not_while_its_journal_hangs(
    local: config.Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "PULSE_S", 0.02)
    monkeypatch.setattr(app, "STUCK_S", 0.2)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    said: list[str] = []
    stuck, stop, disk_works = asyncio.Event(), asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(logging.getLogger("bucium.pulse"), "error", lambda *_: stuck.set())
    disk_works.set()

    async def disk(work: Callable[..., Any], *args: Any) -> Any:
        await disk_works.wait()
        return work(*args)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def heard(word: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    said.append(manager.recv(64).decode())
            return word in said

        parts = {"clock": SystemClock(), "connector": MemoryBroker().connector(), "entropy": os.urandom, "stop": stop}
        ready = config.ready(local)
        task = asyncio.create_task(app.run(ready, runner=disk, others=lambda _: run_here, **parts))
        await until(lambda: heard("READY=1") and heard("WATCHDOG=1"))
        disk_works.clear()
        asking = asyncio.create_task(ask(local, "journal.head"))  # a row, which no disk takes
        await asyncio.wait_for(stuck.wait(), 60)
        disk_works.set()
        await asking
        stop.set()
        await task
        assert heard("STOPPING=1")


async def test_an_alarm_survives_the_end_of_the_program(local: config.Local) -> None:
    broker, plan = MemoryBroker(), config.ready(local).signed
    async with listening(broker, plan) as far:
        async with running(local, broker):
            await until(lambda: len(far.of(Kind.BEAT)) > 0)
            await far.say(far.node.level("gauge", Level.NORMAL, Level.ALARM))
            await until(lambda: len(far.of(Kind.ACK)) > 0)
            first = Ack.unpack(far.of(Kind.ACK)[0].body)
        beats = len(far.of(Kind.BEAT))
        async with running(local, broker):
            [alarm] = await ask_when_up(local, "alarm.list")  # type: ignore[misc]
            assert alarm["state"] == "unacknowledged"
            await until(lambda: len(far.of(Kind.BEAT)) > beats)
            far.heard.clear()
            await far.say(far.node.events[0])
            await until(lambda: len(far.of(Kind.ACK)) > 0)
            again = Ack.unpack(far.of(Kind.ACK)[0].body)
            assert (again.journal, again.through) == (first.journal, first.through)


async def ask_when_up(local: config.Local, verb: str) -> object:
    await until(local.at(local.config.controller.socket).exists)
    return await ask(local, verb)


async def test_strangers_are_refused_counted_and_harmless(local: config.Local) -> None:
    broker, plan = MemoryBroker(), config.ready(local).signed
    async with listening(broker, plan) as far, running(local, broker):
        await until(lambda: len(far.of(Kind.BEAT)) > 0)
        good = far.node.level("gauge", Level.NORMAL, Level.ALARM)
        forged = bytearray(good)
        forged[-1] ^= 1
        topic = report_topic("n1")
        for payload in (bytes(forged), b"", b"\xd2\x84", bytes(5000), good + b"\0"):
            broker.inject(topic, payload)
        broker.inject(report_topic("n2"), good)
        broker.inject("bucium/1/prut/N1/report", good)
        await far.say(good)
        await until(lambda: len(far.of(Kind.ACK)) > 0)
        refused = (await ask(local, "status"))["refused"]  # type: ignore[index]
        assert refused == {"signature": 1, "malformed": 3, "oversized": 1, "topic": 2}
        assert len(await ask(local, "alarm.list")) == 1  # type: ignore[arg-type]


EXCHANGE = """
[[dispatch]]
kind = "atom"
[listener]
port = {port}
[[source]]
name = "other"
senders = ["iasi@isu.example"]
certificates = ["other.crt"]
post = true
sirens = "by-hand"
"""


async def test_what_it_publishes_and_takes_over_http(local: config.Local, unused_tcp_port: int) -> None:
    """A flood here is in the feed; a warning of another centre raises an alarm in its zone, and sounds nothing."""
    toml = local.base / "controller.toml"
    toml.write_text(TOML + EXCHANGE.format(port=unused_tcp_port))
    capkeys.write(local.base, capkeys.signer_of(capkeys.key_of(2)), "other")
    local = config.load(toml)
    broker, plan = MemoryBroker(), config.ready(local).signed
    base = f"http://127.0.0.1:{unused_tcp_port}"
    client = Client(base, timeout_s=10, trust=Trust(), what="test")

    async def feed() -> bytes:
        answer = await client.request("GET", "/cap/atom.xml", {}, answer_max=1 << 20)
        assert answer.status == 200
        return answer.body

    async with listening(broker, plan) as far, running(local, broker):
        await until(lambda: len(far.of(Kind.BEAT)) > 0)
        assert b"<entry>" not in await feed()
        now_us = SystemClock().wall_us()
        area = "<circle>47.21,27.80 1</circle>"
        theirs = neighbour.message(area=area, sent_us=now_us, expires_us=now_us + 3_600_000_000)
        for status, data in ((403, theirs.replace(b"Extreme", b"Severe")), (200, theirs)):
            answer = await client.request("POST", "/cap/in/other", {}, data, answer_max=1 << 10)
            assert answer.status == status
        [alarm] = await ask(local, "alarm.list")  # type: ignore[misc]
        assert (alarm["level"], alarm["decision"]["reason"]) == (3, "others")
        assert far.of(Kind.ORDER) == []
        assert b"<entry>" not in await feed(), "theirs is theirs to publish"
        await far.say(far.node.state())
        await far.say(far.node.level("gauge", Level.NORMAL, Level.ALARM))
        await until(lambda: len(far.of(Kind.ORDER)) > 0)
        while b"<entry>" not in (found := await feed()):
            await asyncio.sleep(0.05)
        name = found.split(b'href="alerts/')[1].split(b'"')[0].decode()
        answer = await client.request("GET", f"/cap/alerts/{name}", {}, answer_max=1 << 20)
        assert not isinstance(verified(answer.body, pinned((local.base / "cap.crt",))), Fault)
        assert b"<severity>Severe" in answer.body
    await client.close()


async def test_a_certificate_that_is_about_to_end_is_told(local: config.Local) -> None:
    now = datetime.now(UTC)
    ending = capkeys.certificate_of(capkeys.key_of(1), "centre", now - timedelta(days=1), now + timedelta(days=29))
    capkeys.write(local.base, capkeys.signer_of(capkeys.key_of(1), ending))
    async with running(local, MemoryBroker()):
        while not (local.at(local.config.controller.socket)).exists():
            await asyncio.sleep(0.05)
        status = await ask(local, "status")
        assert ("cap-certificate", "cap") in {(each["code"], each["subject"]) for each in status["troubles"]}  # type: ignore[index]


async def test_a_configuration_says_what_is_wrong(local: config.Local) -> None:
    toml = local.base / "controller.toml"
    for change, said in (
        (("data =", "dta ="), "data"),
        (('key = "cap.key"\ncertificate = "cap.crt"', ""), "nothing is published unsigned"),
        (('certificate = "cap.crt"', ""), "belong together"),
        (('id = "iasi"', 'id = "galati"'), "galati"),
        (('live = "live.pem"', 'live = "none.pem"'), "none.pem"),
        (('kind = "files"', 'kind = "file"'), "dispatch"),
    ):
        toml.write_text(TOML.replace(*change))
        with pytest.raises(ConfigError, match=said):
            config.ready(config.load(toml))


def test_an_exercise_key_is_no_live_key(local: config.Local) -> None:
    write_key(key(CONTROLLER, Mode.EXERCISE), local.base / "exercise.pem")
    toml = local.base / "controller.toml"
    toml.write_text(TOML.replace('"live.pem"', '"exercise.pem"'))
    with pytest.raises(ConfigError, match="exercise; it must be controller 'iasi', live"):
        config.ready(config.load(toml))
