"""The DC-09 channel on real sockets: pysiaalarm as receiver, and centres that fail in every way."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controller.alarm.changes import ChangeKind
from controller.dispatch import Answer, Delivery, Supervised
from controller.dispatch.cap import Author
from controller.dispatch.channels import channels_of
from controller.dispatch.dc09.channel import Dc09, read_key
from controller.dispatch.dc09.doubts import doubts
from controller.dispatch.dc09.path import OFFSET_MAX_S
from controller.dispatch.dispatcher import Dispatcher
from controller.dispatch.settings import CapSettings, Dc09Settings
from cython_ext import ConfigError, Level, SystemClock
from lanes.settings import Settings, parse
from lanes.store import run_here
from tests.kit.arc import Centre, Mood, centre, pysiaalarm
from tests.kit.arc_messages import messages, plan
from tests.kit.capkeys import signer
from tests.kit.telling import change

KEYS = {16: "0123456789ABCDEF", 24: "0123456789ABCDEF01234567", 32: "0123456789ABCDEF" * 2}
QUICK = 0.8  # an answer's deadline where none comes
LONG = 20.0  # where one does, on a busy machine
TRANSPORTS = ("tcp", "udp")


def key_file(folder: Path, text: str) -> Path:
    path = folder / "arc.key"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


@dataclass
class Told:
    """What the channel counted and said."""

    refused: Counter[str] = field(default_factory=Counter)
    troubles: list[tuple[str, bool, str]] = field(default_factory=list)

    def refuse(self, why: str, where: str) -> None:
        self.refused[why] += 1

    def trouble(self, code: str, on: bool, subject: str) -> None:
        self.troubles.append((code, on, subject))

    @property
    def standing(self) -> set[tuple[str, str]]:
        now: dict[tuple[str, str], bool] = {}
        for code, on, subject in self.troubles:
            now[code, subject] = on
        return {each for each, on in now.items() if on}


def channel(port: int, told: Told | None = None, clock: Any = None, **more: Any) -> Dc09:
    facts = {"kind": "dc09", "name": "arc", "host": "127.0.0.1", "port": port, "account": "1234", "answer_s": LONG}
    poll_s = more.pop("poll_s", 60.0)  # below what a file may say
    settings = Dc09Settings.model_validate({**facts, "tries": 2, "areas": {"quay": 7}, **more})
    settings = settings.model_copy(update={"poll_s": poll_s})
    return Dc09(settings, clock or SystemClock(), (told or Told()).refuse)


async def deliver(each: Dc09, count: int = 1) -> list[Answer]:
    now_us = SystemClock().wall_us()
    told = [change(seq=n, at_us=now_us + n) for n in range(1, count + 1)]
    answers = [await each.deliver(message) for message in messages(*told, now_us=now_us)]
    await each.close()
    return answers


# The real receiver.


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("size", [0, 16, 24, 32], ids=lambda size: f"aes-{size * 8}" if size else "plain")
async def test_pysiaalarm_has_the_alarm(transport: str, size: int, tmp_path: Path) -> None:
    more: dict[str, Any] = {"transport": transport}
    if size:
        more |= {"key": key_file(tmp_path, KEYS[size]), "key_form": "text"}
    told = Told()
    async with pysiaalarm(transport, KEYS.get(size)) as theirs:
        assert await deliver(channel(theirs.port, told, **more), 3) == [Answer(True, "ack")] * 3
        assert [(each.code, each.ri, each.message, each.sequence) for each in theirs.events] == [
            ("WA", "7", "007", f"000{n}") for n in (1, 2, 3)
        ]
        assert all(each.encrypted is bool(size) for each in theirs.events)
        assert "Danger level reached" in theirs.events[0].full_message if not size else True
    assert not told.refused


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_pysiaalarm_answers_supervision(transport: str, tmp_path: Path) -> None:
    told = Told()
    key = key_file(tmp_path, KEYS[16])
    async with pysiaalarm(transport, KEYS[16]) as theirs:
        each = channel(theirs.port, told, transport=transport, key=key, key_form="text", poll_s=5)
        assert isinstance(each, Supervised)
        async with running(each.supervise(told.trouble)):
            await until(lambda: each.paths[0].up is True)
        await each.close()
        assert theirs.events[0].message_type.value == "NULL"  # type: ignore[union-attr]
    assert not told.standing


async def test_pysiaalarm_refuses_a_wrong_key_and_a_stranger_s_account(tmp_path: Path) -> None:
    async with pysiaalarm("tcp", KEYS[16]) as theirs:
        wrong = key_file(tmp_path, KEYS[16].replace("0", "F"))
        (answer,) = await deliver(channel(theirs.port, key=wrong, key_form="text"))
        assert (answer.taken, answer.refused, answer.detail) == (False, True, "refused: nak")
        assert theirs.events == []


async def test_pysiaalarm_takes_contact_id() -> None:
    async with pysiaalarm() as theirs:
        (answer,) = await deliver(channel(theirs.port, protocol="ADM-CID", flood_cid="113"))
        assert answer == Answer(True, "ack (ADM-CID text)")  # it takes one xdata with Contact ID
        (event,) = theirs.events
        assert (event.code, event.partition, event.ri) == ("WA", "07", "007")


# Centres that fail.


NO_ANSWER = [  # how it answers; what comes of it, and what is counted, over TCP and over UDP
    (Mood.SILENT, "timeout", set(), set()),
    (Mood.SLOW, "timeout", set(), None),  # a datagram comes whole
    (Mood.CLOSE, "no-connection: closed", set(), set()),
    (Mood.GARBAGE, "garbled", {"garbled"}, {"form"}),
    (Mood.OVERSIZED, "oversized", {"length", "oversized"}, {"length", "oversized"}),
    (Mood.BAD_CRC, "timeout", {"crc"}, {"crc"}),
    (Mood.WRONG_SEQUENCE, "timeout", {"sequence"}, {"sequence"}),
    (Mood.WRONG_ACCOUNT, "timeout", {"account"}, {"account"}),
    (Mood.NO_L, "timeout", {"address"}, {"address"}),
    (Mood.WRONG_TOKEN, "timeout", {"token"}, {"token"}),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_no_answer_is_counted_and_asked_again(transport: str) -> None:
    async def one(mood: Mood, detail: str, by_tcp: set[str], by_udp: set[str] | None) -> None:
        counted = by_tcp if transport == "tcp" else by_udp
        if counted is None:
            return
        told = Told()
        async with centre(mood, transport) as arc:
            (answer,) = await deliver(channel(arc.port, told, transport=transport, answer_s=QUICK))
            assert answer == Answer(False, detail if transport == "tcp" or mood is Mood.OVERSIZED else "timeout"), mood
            assert len(arc.events) == 2, f"{mood}: sent twice, under one sequence number"
            assert {each.message.seq for each in arc.events} == {1}
            assert arc.events[0].data == arc.events[1].data
        assert set(told.refused) == {f"dc09-{why}" for why in counted}, mood

    await asyncio.gather(*(one(*case) for case in NO_ANSWER))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_answer_that_is_not_encrypted_and_fresh_is_not_believed(transport: str, tmp_path: Path) -> None:
    key = KEYS[32].encode()
    path = key_file(tmp_path, key.hex())

    async def one(mood: Mood, why: str) -> None:
        told = Told()
        async with centre(mood, transport, key=key) as arc:
            (answer,) = await deliver(channel(arc.port, told, transport=transport, key=path, answer_s=QUICK))
            assert answer == Answer(False, "timeout"), mood
        assert set(told.refused) == {f"dc09-{why}"}, mood

    cases = [(Mood.CLEAR, "clear"), (Mood.OLD, "stamp"), (Mood.WRONG_KEY, "key"), (Mood.BAD_CRC, "crc")]
    await asyncio.gather(*(one(*case) for case in cases))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nobody_there_is_an_answer_too(transport: str) -> None:
    async with centre(transport=transport) as arc:
        await arc.stop()
        (answer,) = await deliver(channel(arc.port, transport=transport, answer_s=LONG))
    assert answer == Answer(False, "no-connection: ConnectionRefusedError")


async def test_a_crc_of_two_raw_bytes_is_an_ack() -> None:
    async with centre(Mood.BINARY_CRC) as arc:
        assert await deliver(channel(arc.port)) == [Answer(True, "ack")]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_connection_serves_and_one_that_was_closed_is_made_anew(transport: str) -> None:
    async with centre(transport=transport) as arc:
        each = channel(arc.port, transport=transport)
        (message,) = messages(change(at_us=SystemClock().wall_us()))
        for _ in range(3):
            assert (await each.deliver(message)).taken
        assert arc.connections == (1 if transport == "tcp" else 0)
        await arc.stop()
        await arc.start()
        assert (await each.deliver(message)).taken
        await each.close()
        assert len(arc.events) == 4


async def test_one_message_is_outstanding_at_a_time() -> None:
    async with centre() as arc:
        each = channel(arc.port)
        told = [change(seq=n, at_us=SystemClock().wall_us() + n) for n in range(1, 9)]
        answers = await asyncio.gather(*(each.deliver(message) for message in messages(*told)))
        await each.close()
        assert {answer.detail for answer in answers} == {"ack"}
        assert [came.message.seq for came in arc.events] == list(range(1, 9))
        assert arc.connections == 1


async def test_those_that_waited_for_a_silent_centre_do_not_each_wait_again() -> None:
    async with centre(Mood.SILENT) as arc:
        each = channel(arc.port, answer_s=QUICK)
        told = [change(seq=n, at_us=SystemClock().wall_us() + n) for n in range(1, 9)]
        answers = await asyncio.gather(*(each.deliver(message) for message in messages(*told)))
        await each.close()
        assert {answer.detail for answer in answers} == {"timeout"}
        assert {came.message.seq for came in arc.events} == {1}


# NAK and DUH.


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", [None, KEYS[16].encode()], ids=["plain", "aes"])
@pytest.mark.parametrize("ahead_s", [-7200, -90, 45, 3600])
async def test_a_nak_corrects_the_stamps_and_nothing_else(
    transport: str, key: bytes | None, ahead_s: int, tmp_path: Path
) -> None:
    told = Told()
    more: dict[str, Any] = {"transport": transport}
    if key:
        more["key"] = key_file(tmp_path, key.hex())
    async with centre(transport=transport, key=key, ahead_s=ahead_s) as arc:
        each = channel(arc.port, told, **more)
        answers = await deliver(each, 2)
        assert answers == [Answer(True, "ack")] * 2
        assert [came.message.seq for came in arc.events] == [1, 1, 2], "the second is right at once"
        assert abs(each.paths[0].offset_s - ahead_s) <= 5
        happened = arc.events[0].extended["H"]
        assert abs(happened.timestamp() - SystemClock().wall_us() / 1e6) < 30, (
            "when it happened is told by our own clock"
        )
    await ending(each, told)
    assert told.standing == {("dispatch-clock", "arc")}


async def ending(each: Dc09, told: Told) -> None:
    """What the channel would say if it were supervised now."""
    async with running(each.paths[0].supervise(told.trouble)):
        await asyncio.sleep(0)


async def test_a_centre_that_keeps_local_time_is_the_furthest_that_is_believed() -> None:
    told = Told()
    async with centre(ahead_s=OFFSET_MAX_S + 600) as arc:
        each = channel(arc.port, told)
        (answer,) = await deliver(each)
        assert (answer.refused, answer.detail) == (True, "refused: nak")
        assert each.paths[0].offset_s == 0
        assert told.refused["dc09-clock"] > 0


async def test_a_centre_whose_clock_was_set_right_is_followed_back() -> None:
    async with centre(ahead_s=3600) as arc:
        each = channel(arc.port)
        (message,) = messages(change(at_us=SystemClock().wall_us()))
        assert (await each.deliver(message)).taken
        arc.ahead_s = 0
        assert (await each.deliver(message)).taken
        assert abs(each.paths[0].offset_s) <= 5
        await each.close()


async def test_a_centre_that_always_says_nak_has_refused() -> None:
    async with centre(Mood.NAK) as arc:
        (answer,) = await deliver(channel(arc.port))
        assert (answer.taken, answer.refused, answer.detail) == (False, True, "refused: nak")
        assert [came.message.idtoken for came in arc.events] == ["SIA-DCS", "SIA-DCS", "ADM-CID"]


@pytest.mark.parametrize(
    ("mood", "detail", "tokens"),
    [
        (Mood.DUH, "refused: duh", ["SIA-DCS", "SIA-DCS", "ADM-CID"]),
        (Mood.BARE, "ack (SIA-DCS bare)", ["SIA-DCS", "SIA-DCS"]),
        (Mood.OTHER, "ack (ADM-CID bare)", ["SIA-DCS", "SIA-DCS", "ADM-CID"]),
    ],
)
async def test_who_does_not_understand_is_asked_more_plainly(mood: Mood, detail: str, tokens: list[str]) -> None:
    async with centre(mood) as arc:
        (answer,) = await deliver(channel(arc.port))
        assert (answer.detail, answer.refused) == (detail, mood is Mood.DUH)
        assert [came.message.idtoken for came in arc.events] == tokens
        assert {came.message.seq for came in arc.events} == {1}
        assert arc.events[1].data.startswith(b"#1234|Nri7/WA007|AOld quay: Danger level reached")


# Two paths, and supervision.


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.01)


def second(arc: Centre) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": arc.port, "transport": arc.transport}


@pytest.mark.parametrize("mood", [Mood.SILENT, Mood.CLOSE, Mood.GARBAGE, Mood.BAD_CRC])
async def test_the_second_path_takes_what_the_first_does_not(mood: Mood) -> None:
    async with centre(mood) as first, centre(transport="udp") as other:
        each = channel(first.port, second=second(other), answer_s=QUICK)
        told = [change(seq=n, at_us=SystemClock().wall_us() + n) for n in (1, 2)]
        answers = [await each.deliver(message) for message in messages(*told)]
        assert answers == [Answer(True, "ack by the second")] * 2
        assert [came.message.seq for came in first.events] == [1, 1], "what is known to be down is not waited for"
        assert [came.message.seq for came in other.events] == [1, 2]
        first.mood = Mood.WELL
        await other.stop()
        (message,) = messages(change(seq=3, at_us=SystemClock().wall_us()))
        assert (await each.deliver(message)).detail == "ack"
        await each.close()


async def test_a_refusal_by_both_is_a_refusal() -> None:
    async with centre(Mood.DUH) as first, centre(Mood.NAK) as other:
        (answer,) = await deliver(channel(first.port, second=second(other)))
        assert (answer.refused, answer.detail) == (True, "refused: duh")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_silence_is_seen_and_so_is_its_end(transport: str) -> None:
    told = Told()
    async with centre(transport=transport, polls_too=True) as arc:
        each = channel(arc.port, told, transport=transport, answer_s=QUICK, poll_s=0.2)
        async with running(each.supervise(told.trouble)):
            await until(lambda: each.paths[0].up is True)
            assert not told.standing
            arc.mood = Mood.SILENT
            await until(lambda: told.standing == {("dispatch-silent", "arc")})
            arc.mood = Mood.WELL
            await until(lambda: not told.standing)
        await each.close()
        assert all(b'"NULL"0000R0L0#1234[]_' in poll.raw for poll in arc.polls)


async def test_each_path_is_supervised_by_itself() -> None:
    told = Told()
    async with centre() as first, centre(transport="udp") as other:
        each = channel(first.port, told, second=second(other), answer_s=QUICK)
        await other.stop()
        async with running(each.supervise(told.trouble)):
            await until(lambda: told.standing == {("dispatch-silent", "arc/second")})
            assert each.paths[0].up is True
        await each.close()


@pytest.mark.parametrize("mood", [Mood.NAK, Mood.DUH])
async def test_a_centre_that_refuses_a_poll_is_there(mood: Mood) -> None:
    told = Told()
    async with centre(mood, polls_too=True) as arc:
        each = channel(arc.port, told)
        async with running(each.supervise(told.trouble)):
            await until(lambda: each.paths[0].up is True)
        await each.close()
    assert not told.standing


# Through the outbox.


@asynccontextmanager
async def dispatching(path: Path, each: Dc09, told: Told, receipts: list[Delivery]) -> AsyncIterator[Dispatcher]:
    async def receipt(delivery: Delivery) -> None:
        receipts.append(delivery)

    author = Author(plan(), CapSettings(sender="alarms@galati.example"), signer())
    dispatcher = Dispatcher(
        author,
        [each],
        path=path,
        clock=SystemClock(),
        runner=run_here,
        entropy=random.Random(1),
        receipt=receipt,
        trouble=told.trouble,
    )
    async with running(dispatcher.run()):
        yield dispatcher


async def test_what_a_centre_took_and_lost_comes_again_under_its_number_also_after_a_restart(tmp_path: Path) -> None:
    told, receipts = Told(), list[Delivery]()
    now_us = SystemClock().wall_us()
    async with centre(Mood.CLOSE) as arc:
        async with dispatching(tmp_path / "o.db", channel(arc.port, told), told, receipts) as dispatcher:
            assert await dispatcher.tell(change(at_us=now_us))
            await dispatcher.tell(change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER, at_us=now_us + 1))
            await until(lambda: bool(receipts))
        arc.mood = Mood.WELL
        before = len(arc.events)
        async with dispatching(tmp_path / "o.db", channel(arc.port, told), told, receipts) as dispatcher:
            assert await dispatcher.settled(30)
        lost, kept = arc.events[:before], arc.events[before:]
        assert {(came.message.seq, came.data) for came in lost} == {(1, b"#1234|Nri7/WA007")}
        assert [(came.message.seq, came.data) for came in kept] == [(1, b"#1234|Nri7/WA007"), (2, b"#1234|Nri7/WR007")]
        assert lost[0].extended == kept[0].extended
    outcomes = [(str(each.outcome), each.detail) for each in receipts]
    assert outcomes == [("failed", "no-connection: closed"), ("delivered", "ack"), ("delivered", "ack")]


async def test_a_refused_message_keeps_no_other_from_the_centre(tmp_path: Path) -> None:
    told, receipts = Told(), list[Delivery]()
    now_us = SystemClock().wall_us()
    async with centre(Mood.DUH) as arc, dispatching(tmp_path / "o.db", channel(arc.port, told), told, receipts) as d:
        await d.tell(change(at_us=now_us))
        await until(lambda: ("dispatch-refused", "arc") in told.standing)
        arc.mood = Mood.WELL
        await d.tell(change(seq=9, at_us=now_us, zone="market"))
        await until(lambda: any(each.detail == "ack" for each in receipts))
        assert await d.pending() == {"arc": 1}


# Settings and keys.


def test_what_the_plan_has_and_the_centre_was_not_told_is_a_doubt() -> None:
    numbers = {"areas": {"quay": 1, "mill": 2}, "sirens": {"s1": 1, "s9": 9}}
    settings = Dc09Settings.model_validate({**facts_of(), **numbers})
    found = list(doubts(settings, plan()))
    assert [each.split(": ", 1)[1].split(",")[0].split(" has no")[0] for each in found] == [
        "zone 'market'",
        "areas names zone 'mill'",
        "sirens names siren 's9'",
    ]
    assert not list(doubts(settings.model_copy(update={"areas": {"quay": 1, "market": 2}, "sirens": {}}), plan()))


def facts_of() -> dict[str, Any]:
    return {"kind": "dc09", "name": "arc", "host": "127.0.0.1", "port": 9, "account": "1234"}


class _File(Settings):
    dispatch: tuple[Dc09Settings, ...]


GOOD = '[[dispatch]]\nkind = "dc09"\nname = "arc"\nhost = "127.0.0.1"\nport = 9000\naccount = "12ab"\n'


def test_numbers_are_as_the_centre_gave_them() -> None:
    (each,) = parse(GOOD, _File).dispatch
    assert (each.account, each.prefix, each.receiver, each.key) == ("12AB", "0", "0", None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('account = "12"', "3 to 16 hex digits"),
        ('account = "12ag"', "3 to 16 hex digits"),
        ('prefix = "1234567"', "1 to 6 hex digits"),
        ('receiver = ""', "1 to 6 hex digits"),
        ("port = 0", "greater than or equal to 1"),
        ('transport = "tls"', "'tcp' or 'udp'"),
        ('protocol = "SIA"', "'SIA-DCS' or 'ADM-CID'"),
        ("poll_s = 0", "greater than or equal to 5"),
        ("tries = 0", "greater than or equal to 1"),
        ('host = "arc.example"', "give it a key, or say insecure = true"),
        ('second = { host = "arc.example", port = 1 }', "give it a key, or say insecure = true"),
        ('second = { host = "127.0.0.1", port = 9000 }', "second is the first again"),
        ("areas = { quay = 1, market = 1 }", "areas: quay, market have one number, 1"),
        ("areas = { quay = 100 }", "less than or equal to 99"),
        ("areas = { Quay = 1 }", "Quay"),
        ("sirens = { s1 = 5, s2 = 5 }", "sirens: s1, s2 have one number, 5"),
        ('flood_cid = "3154"', "flood_cid"),
        ("pol_s = 60", "did you mean 'poll_s'?"),
        ("second = { hots = 1 }", "did you mean 'host'?"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line: str, words: str) -> None:
    key = line.split(" ")[0]
    text = "".join(each + "\n" for each in GOOD.splitlines() if not each.startswith(f"{key} "))
    with pytest.raises(ConfigError) as caught:
        parse(text + line + "\n", _File)
    assert words in str(caught.value)


def test_insecure_says_that_it_may_be_read() -> None:
    text = GOOD.replace("127.0.0.1", "arc.example") + "insecure = true\n"
    assert parse(text, _File).dispatch[0].insecure


@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_key_is_hex_or_its_own_characters(tmp_path: Path, size: int) -> None:
    assert read_key(key_file(tmp_path, "a5" * size), "hex") == b"\xa5" * size
    assert read_key(key_file(tmp_path, "A5" * (size // 2)), "text") == b"A5" * (size // 2)


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("a5" * 15, "hex", "32, 48 or 64 hex digits, here are 30"),
        (KEYS[16], "hex", 'say key_form = "text"'),
        ("zz" * 16, "hex", "hex digits"),
        ("", "hex", "here are 0"),
        ("short", "text", "16, 24 or 32 ASCII characters, here are 5"),
        ("ș" * 16, "text", "ASCII"),
    ],
)
def test_what_is_no_key_says_what_one_is(tmp_path: Path, text: str, form: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        read_key(key_file(tmp_path, text), form)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, "a5" * 16)
    path.chmod(0o640)
    settings = parse(GOOD + f'key = "{path}"\n', _File).dispatch
    with pytest.raises(ConfigError, match="chmod 600"):
        channels_of(settings, clock=SystemClock(), runner=run_here, data=tmp_path, sender="a@b.example")
    path.chmod(0o600)
    (each,) = channels_of(settings, clock=SystemClock(), runner=run_here, data=tmp_path, sender="a@b.example")
    assert (each.name, each.expires, each.wants(cap=False), each.wants(cap=True)) == ("arc", False, True, True)
