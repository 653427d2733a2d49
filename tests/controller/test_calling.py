"""The whole controller with people: from a node's report to mails and texts at real servers, and what the desk then shows.

Reliability.md F32 for people: a server that is down, or that takes a mail and loses it, must not leave an alarm with nobody.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bucium.verbs import alarm as verb
from controller import app, config
from controller.record.verify import verify_journal
from controller.replay.engine import Replay
from cython_ext import Level, SystemClock
from lanes import acts, control, planfile
from lanes.envelope import Kind
from lanes.keys import write_key
from lanes.store import ThreadRunner
from tests.controller.test_app import Listener, listening, sign
from tests.kit import capkeys
from tests.kit.broker import MemoryBroker
from tests.kit.control_room import CONTROLLER, until
from tests.kit.mailserver import LOGIN, PASSWORD, MailServer, Mood, mail_server
from tests.kit.plans import key, root, signed
from tests.kit.receivers import Receiver, receiver

TOML = """
[controller]
id = "iasi"
socket = "run/c.sock"
duty = "duty.toml"
[keys]
live = "live.pem"
[cap]
key = "cap.key"
certificate = "cap.crt"
sender_name = "ISU Iasi"
languages = ["ro", "en"]
[[dispatch]]
kind = "mail"
name = "mail"
host = "localhost"
port = {mail}
ca = "ca.pem"
username = "{login}"
password_file = "mail.password"
sender = "alarms@iasi.example"
sender_name = "Bucium Iași"
to = ["desk@iasi.example"]
timeout_s = 2
[[dispatch]]
kind = "apprise"
name = "sms"
url_file = "sms.url"
timeout_s = 3
"""
DUTY = """
[[person]]
id = "ana"
reach = { mail = "ana@iasi.example", sms = "+40700000001" }
[[person]]
id = "chief"
language = "en"
reach = { sms = "+40700000009", mail = "chief@iasi.example" }
[[rota]]
id = "desk"
[[rota.shift]]
people = ["ana"]
[[escalation]]
id = "all"
answer_s = 10
[[escalation.step]]
after_s = 0.5
rota = ["desk"]
channels = ["mail", "sms"]
within_s = 5
[[escalation.step]]
after_s = 6
people = ["chief"]
channels = ["sms"]
within_s = 5
"""


@dataclass
class Centre:
    """A controller's folder, its servers, and a node that reports."""

    local: config.Local
    mail: MailServer
    sms: Receiver
    broker: MemoryBroker
    far: Listener | None = None

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(each.path.strip("/"), json.loads(each.body)["message"]) for each in self.sms.taken]

    async def ask(self, name: str, **args: object) -> Any:
        return await asyncio.to_thread(control.ask, self.local.at(self.local.config.controller.socket), name, **args)

    async def shown(self) -> dict[str, Any]:
        [alarm] = await self.ask("alarm.list")
        found: dict[str, Any] = await self.ask("alarm.show", alarm=alarm["alarm"])
        return found

    async def raise_alarm(self) -> None:
        assert self.far is not None
        await until(lambda: len(self.far.of(Kind.BEAT)) > 0)  # type: ignore[union-attr]
        await self.far.say(self.far.node.state())
        await self.far.say(self.far.node.level("gauge", Level.NORMAL, Level.DANGER))

    async def acknowledge(self) -> None:
        shown = await self.shown()
        events = tuple(acts.EventKey.parse(each["event"]) for each in shown["evidence"])
        await self.ask("alarm.ack", act=sign(acts.AckAlarm(acts.AlarmId.parse(shown["alarm"]), events)))


@pytest.fixture
async def centre(tmp_path: Path) -> AsyncIterator[Centre]:
    planfile.write(signed(), tmp_path / "plan.cbor")
    people = "".join(f'[[planner]]\nid = "{p.id}"\npublic = "{p.public}"\n' for p in root().planners)
    (tmp_path / "root.toml").write_text(f'name = "DEMO"\nthreshold = 2\n{people}')
    write_key(key(CONTROLLER), tmp_path / "live.pem")
    capkeys.write(tmp_path, capkeys.signer())
    async with mail_server(tmp_path) as mail, receiver() as sms:
        secrets = {
            "duty.toml": DUTY,
            "mail.password": PASSWORD,
            "sms.url": f"json://127.0.0.1:{sms.port}/{{to}}?retry=0",
        }
        for name, text in secrets.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o600)
        (tmp_path / "controller.toml").write_text(TOML.format(mail=mail.port, login=LOGIN))
        yield Centre(config.load(tmp_path / "controller.toml"), mail, sms, MemoryBroker())


@asynccontextmanager
async def running(centre: Centre) -> AsyncIterator[None]:
    stop, ready = asyncio.Event(), config.ready(centre.local)
    runners = {name: ThreadRunner(name) for name in ("journal", "others", "apprise-sms")}
    task = asyncio.create_task(
        app.run(
            ready,
            clock=SystemClock(),
            connector=centre.broker.connector(),
            runner=runners["journal"],
            entropy=lambda size: bytes(range(size)),
            stop=stop,
            others=lambda name: runners.get(name, runners["others"]),
        )
    )
    async with listening(centre.broker, ready.signed) as far:
        centre.far = far
        try:
            yield
        finally:
            stop.set()
            await task
            for runner in runners.values():
                runner.close()


async def seen(what: Any, seconds: float = 60.0) -> None:
    await until(lambda: bool(what()), seconds)


async def test_a_mail_that_the_server_loses_is_followed_by_a_text_to_the_next(centre: Centre, capsys: Any) -> None:
    await centre.mail.become(Mood.LOSES)
    async with running(centre):
        await centre.raise_alarm()
        await seen(lambda: any(each.recipients == ("ana@iasi.example",) for each in centre.mail.seen))
        await seen(lambda: centre.texts)
        assert centre.texts == [("+40700000009", centre.texts[0][1])]
        assert centre.texts[0][1].startswith("TEST RED Ungheni: flood ")
        shown = await centre.shown()
        steps = [(each["what"], each["step"], each["why"]) for each in shown["escalation"]["log"]]
        assert steps == [("begun", 0, "unacknowledged"), ("step", 1, "due"), ("step", 2, "due")]
        [call] = shown["escalation"]["log"][1]["calls"]
        assert (call["person"], call["channel"], call["outcome"]) == ("ana", "mail", "delivered")
        assert {each["channel"] for each in shown["told"]} == {"mail"}
        socket = centre.local.at(centre.local.config.controller.socket)
        await asyncio.to_thread(verb.show, shown["alarm"], socket)
        page = capsys.readouterr().out
        assert "chief" in page
        assert "ana@iasi.example" not in page, "a person's id, not their address"
        await centre.acknowledge()
        assert (await centre.shown())["state"] == "acknowledged"
    journal = centre.local.base / "data" / "journal.db"
    assert b"ana@iasi.example" not in journal.read_bytes(), "no address in the record"
    assert verify_journal(journal, {key(CONTROLLER).kid: key(CONTROLLER).public}).whole
    plan = signed()
    verdict = Replay(journal, {plan.digest: plan}).run()
    assert verdict.same, verdict.why


async def test_with_the_mail_server_dead_a_person_has_a_text_and_the_mail_comes_later_once(centre: Centre) -> None:
    await centre.mail.become(Mood.HALF_OPEN)
    async with running(centre):
        await centre.raise_alarm()
        await seen(lambda: "+40700000001" in dict(centre.texts))
        await centre.acknowledge()
        await centre.mail.become(Mood.WELL)
        await seen(lambda: len(centre.mail.got) >= 2, 120)
        assert sorted(each.recipients for each in centre.mail.got)[:2] == [
            ("ana@iasi.example",),
            ("desk@iasi.example",),
        ]
        ids = [each.id for each in centre.mail.got]
        assert len(ids) == len(set(ids))


async def test_a_controller_that_was_killed_goes_on_calling_where_it_was(centre: Centre) -> None:
    async with running(centre):
        await centre.raise_alarm()
        await seen(lambda: any(each.recipients == ("ana@iasi.example",) for each in centre.mail.got))
    async with running(centre):
        await seen(lambda: centre.texts)
        await centre.acknowledge()
        shown = await centre.shown()
    mails = {each.id for each in centre.mail.got if each.recipients == ("ana@iasi.example",)}
    assert len(mails) == 1, "cut off before the receipt it goes again, as the same mail"
    assert [number for number, _ in centre.texts] == ["+40700000009"]
    assert shown["state"] == "acknowledged"
