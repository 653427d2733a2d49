"""The demo's eyes: what they make of the lane, the journal, the CAP folder and the posts; a forgery is told as one."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography import x509

from bucium.demo import verdict
from bucium.demo.capwatch import CapWatch, judge
from bucium.demo.chains import Chains
from bucium.demo.happening import Happening, Teller
from bucium.demo.journalwatch import JournalWatch
from bucium.demo.lane import LaneWatch
from bucium.demo.receiver import Post, Receiver
from controller.alarm.changes import ChangeKind
from controller.dispatch import gate
from controller.dispatch.cap import Author, MessageType, Place, identifier_of
from controller.dispatch.settings import CapSettings
from controller.inbound.trust import Pin
from controller.record.journal import Journal
from controller.record.records import Record
from cython_ext import Cause, ClockQuality, ClockSource, Hazard, Level, Reason, Trouble
from lanes.envelope import Envelope, Kind, seal
from lanes.keys import Mode
from lanes.link import Message
from lanes.orders import Ack, Action, Beat, Order, OrderCore
from lanes.reports import Event, ReceiptData, Stage, TransitionData
from lanes.store import run_here
from tests.kit import capkeys, plans, telling
from tests.kit.broker import MemoryBroker
from tests.kit.capkeys import signer
from tests.kit.clock import ManualClock

MS = 1_000_000
LEDGER = bytes(range(8))
INCIDENT = bytes(range(8, 16))


class Eyes:
    """A teller, chains and a lane watch over the kit's plan."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.teller = Teller(self.clock)
        self.told: list[Happening] = []
        self.teller.listeners.append(self.told.append)
        self.plan = plans.signed().plan
        self.chains = Chains(self.plan, self.teller)
        self.lane = LaneWatch(self.plan, MemoryBroker().connector(), self.clock, self.teller, self.chains)
        self.begun_ns = self.clock.monotonic_ns()

    def events(self, event: str) -> list[Happening]:
        return [h for h in self.told if h.event == event]

    def hear(self, data: bytes, at_ms: float, topic: str = "bucium/1/prut/n1/report") -> None:
        self.lane._take(Message(topic, data, 1, False), self.begun_ns + round(at_ms * MS))

    def event(self, node: str, seq: int, at_ms: float, data: TransitionData | ReceiptData) -> bytes:
        clock = ClockQuality(ClockSource.NTP, 5)
        event = Event(LEDGER, seq, self.begun_ns + round(at_ms * MS), clock, bytes(32), data)
        return seal(
            Envelope(Kind.EVENT, node, "iasi", bytes(8), seq, self.clock.wall_us(), 1, 0, event.pack()), plans.key(node)
        )

    def send(self, kind: Kind, body: list[object], to: str = "n1", not_after_us: int = 0) -> bytes:
        envelope = Envelope(kind, "iasi", to, bytes(8), 1, self.clock.wall_us(), 1, 0, body, not_after_us)
        return seal(envelope, plans.key("iasi"))


def raised(point: str, value: float = 3.1) -> TransitionData:
    return TransitionData(point, Cause.RAISED, Level.NORMAL, Level.ALARM, value, Reason.THRESHOLD, Trouble.NONE)


def test_a_whole_chain_is_put_together_from_its_newest_evidence() -> None:
    eyes = Eyes()
    early, late = eyes.event("n2", 5, 100, raised("gauge2")), eyes.event("n1", 7, 700, raised("gauge"))
    eyes.chains.crossed("gauge", Level.ALARM, eyes.begun_ns + 200 * MS)
    eyes.hear(early, 105)
    eyes.hear(late, 706)
    eyes.hear(late, 800)  # sent again: counts once
    eyes.hear(eyes.send(Kind.ACK, Ack(bytes(8), LEDGER, 7).pack()), 715)
    key = next(iter(k for k in eyes.lane._seen if k.node == "n1"))
    eyes.chains.told(Hazard.FLOOD, "cap", "attention", eyes.begun_ns + 50 * MS)
    eyes.chains.told(Hazard.FLOOD, "cap", "alarm", eyes.begun_ns + 150 * MS)  # seen before the journal is looked into
    eyes.chains.alarm(Hazard.FLOOD, Level.ATTENTION, eyes.begun_ns + 40 * MS)
    eyes.chains.alarm(Hazard.FLOOD, Level.ALARM, eyes.begun_ns + 120 * MS)
    eyes.chains.taken(key, eyes.begun_ns + 711 * MS)
    core = OrderCore(INCIDENT, ("ungheni",), "dezastre", Mode.LIVE, 120, eyes.clock.wall_us() + 1, bytes(32))
    order = Order(Action.START, "s1", core, 0, bytes(8), (early, late))
    eyes.hear(eyes.send(Kind.ORDER, order.pack(), not_after_us=eyes.clock.wall_us() + 1), 722)
    eyes.chains.sounded("s1", eyes.begun_ns + 760 * MS)  # the device is quicker than the receipt
    receipt = ReceiptData("s1", bytes(8), Stage.ACCEPTED, "", INCIDENT, 0)
    eyes.hear(eyes.event("n1", 8, 730, receipt), 790)
    eyes.chains.ordered(order, eyes.begun_ns + 720 * MS)  # the journal is looked into last
    eyes.chains.told(Hazard.FLOOD, "webhook", "attention", eyes.begun_ns + 160 * MS)
    eyes.chains.told(Hazard.FLOOD, "webhook", "alarm", eyes.begun_ns + 170 * MS)
    assert eyes.events("steps")[-1].facts["took_ms"] == {
        "transition": 500.0,
        "committed": 6.0,
        "acked": 9.0,
        "alarm": 5.0,
        "order": 9.0,
        "accepted": 10.0,
        "sounding": 30.0,
        "cap": 30.0,  # from the first alarm at this Level
        "webhook": 50.0,
        "all": 560.0,
    }
    assert len(eyes.events("transition")) == 2
    assert eyes.lane.known == {"n1"}
    assert eyes.lane.counts["reports"] == 4


def test_forged_and_foreign_messages_are_told_as_refused() -> None:
    eyes = Eyes()
    good = eyes.event("n1", 1, 0, raised("gauge"))
    eyes.hear(good[:-1] + bytes([good[-1] ^ 1]), 1)
    eyes.hear(b"junk", 1)
    beat = Envelope(Kind.BEAT, "iasi", "", bytes(8), 1, 0, 1, 0, ["not a journal id"])
    eyes.hear(seal(beat, plans.key("iasi")), 1)
    assert [h.facts["why"] for h in eyes.events("refused")][:2] == ["signature", "malformed"]
    assert eyes.events("transition") == []
    eyes.hear(eyes.send(Kind.BEAT, Beat(bytes(8)).pack(), to=""), 1)
    eyes.hear(b"\x00", 1, topic="spBv1.0/prut/NBIRTH/n1")
    assert eyes.lane.born == {"n1"}
    assert eyes.lane.counts["telemetry"] == 1


async def test_the_journal_is_read_from_outside_while_it_is_written(tmp_path: Path) -> None:
    eyes = Eyes()
    path = tmp_path / "journal.db"
    watch = JournalWatch(path, eyes.teller, eyes.chains)
    watch.look()  # not there yet
    journal = Journal(path, clock=eyes.clock, runner=run_here, key=plans.key("iasi"), new_id=bytes(8))
    change = telling.change(ChangeKind.RAISED, Level.ALARM)
    journal.append(Record.ALARM, [change.pack(), b""])
    journal.append(Record.TROUBLE, ["clock", "n1", "", True])
    await journal._commit()
    watch.look()
    watch.look()
    (alarm,) = eyes.events("alarm")
    assert (alarm.facts["zone"], alarm.facts["level"], alarm.facts["evidence"]) == ("quay", 2, 1)
    assert len(eyes.events("trouble")) == 1
    await journal.close()
    good = verdict.journal(path, eyes.plan)
    assert good.ok, good.detail
    missing = verdict.journal(tmp_path / "none.db", eyes.plan)
    assert not missing.ok


PINS = (Pin(x509.load_der_x509_certificate(signer().certificate), 0),)


def cap(change_kind: ChangeKind = ChangeKind.RAISED, kind: MessageType = MessageType.ALERT) -> bytes:
    change = telling.change(change_kind, Level.ALARM)
    references = () if kind is MessageType.ALERT else ("bucium@localhost.invalid,one,2026-01-02T03:00:00-00:00",)
    place = Place(identifier_of(change), kind, references, change.at_us, change.at_us + 7_200_000_000)
    author = Author(telling.plan("DEMO"), CapSettings.model_validate({}), signer())
    data = gate.publish(author.compose(change, place, author.write(change)), author.signer, change.at_us).data
    assert data is not None
    return data


def test_a_cap_message_is_read_and_judged() -> None:
    told = judge(cap(), PINS)
    assert told.faults == ()
    assert (told.type, told.severity) == ("Alert", "Severe")
    assert told.alarm is not None
    assert told.alarm.hazard is Hazard.FLOOD
    assert judge(cap().replace(b"Severe<", b"Awful<"), PINS).faults
    assert judge(b"<alert/>", PINS).faults
    assert judge(b"not xml", PINS).faults


@pytest.mark.parametrize("spoil", ["", "signature", "body", "missing", "invalid"])
def test_files_and_posts_are_held_against_each_other(tmp_path: Path, spoil: str) -> None:
    eyes = Eyes()
    secret = bytes(32)
    body = cap().replace(b"Severe<", b"Awful<") if spoil == "invalid" else cap()
    posted = body.replace(b"Quay", b"Kuay").replace(b"quay", b"quai") if spoil == "body" else body
    identifier = judge(body, PINS).identifier
    signed = f"{identifier}.1.".encode() + posted
    signature = "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    if spoil == "signature":
        signature = signature[:-4] + "AAA="
    headers = {"webhook-id": identifier, "webhook-timestamp": "1", "webhook-signature": signature}
    receiver = Receiver(eyes.clock)
    if spoil != "missing":
        receiver.posts.append(Post(eyes.clock.wall_us(), "/", headers, posted))
    (tmp_path / "a.xml").write_bytes(body)
    _, pinned = capkeys.write(tmp_path, signer())
    watch = CapWatch(tmp_path, receiver, secret, pinned, clock=eyes.clock, teller=eyes.teller, chains=eyes.chains)
    watch.look()
    watch.look()
    receiver._server.server_close()
    assert len(watch.files) == 1
    assert verdict.cap(watch, Hazard.FLOOD, 0).ok is (spoil != "invalid")
    assert not verdict.cap(watch, Hazard.FIRE, 0).ok
    assert verdict.webhook(watch, 0, 0).ok is (spoil in ("", "invalid"))
