"""Two centres over real sockets: one publishes and pushes, the other polls and takes; and strangers at the door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controller.dispatch import Message, gate
from controller.dispatch.cap import Author, MessageType, Place, identifier_of, reference_of
from controller.dispatch.cappush import CapPush
from controller.dispatch.feed import Feed
from controller.dispatch.settings import AtomSettings, CapPushSettings, CapSettings
from controller.door import Door
from controller.inbound.poller import Poller, Unreadable
from controller.inbound.settings import SourceSettings
from controller.listener import Listener, ListenerSettings, Reply, Request
from controller.receiving import Receiving, Source, sources_of
from controller.record.records import Record
from cython_ext import Hazard, Level
from lanes.keys import Mode
from lanes.store import run_here
from tests.kit import capkeys, neighbour
from tests.kit.clock import START_WALL_US, ManualClock
from tests.kit.control_room import ControlRoom
from tests.kit.telling import change, plan

PLACE = ("ungheni", Hazard.FLOOD, Mode.LIVE)
SECOND_US = 1_000_000
AREA = {"circle": [47.21, 27.80, 3.0], "polygon": [], "geocodes": {}}
SENDER = "centre@galati.example"
ZONE = "<circle>47.21,27.80 3</circle>"


def author() -> Author:
    return Author(plan(**AREA), CapSettings(sender=SENDER), capkeys.signer())


def message(n: int = 1, kind: MessageType = MessageType.ALERT, *references: str) -> Message:
    each, told = author(), change(seq=n, at_us=START_WALL_US + n)
    sent_us = START_WALL_US + n * SECOND_US
    place = Place(identifier_of(told), kind, references, sent_us, sent_us + 7_200_000_000)
    data = gate.publish(each.compose(told, place, each.write(told)), each.signer, sent_us).data
    assert data is not None
    return Message(n, place.identifier, f"a{n}", True, sent_us, place.expires_us, data, b"{}")


@dataclass
class Centre:
    """One that listens: a control room, its door, and what it says of itself."""

    control: ControlRoom
    receiving: Receiving
    listener: Listener
    base: str
    unreached: list[bool] = field(default_factory=list)

    def level(self) -> Level:
        alarm = self.control.room.book.at(*PLACE)
        return alarm.level if alarm else Level.NORMAL


def source(pinned: Path, **more: object) -> SourceSettings:
    facts = {"name": "galati", "senders": [SENDER, neighbour.SENDER], "certificates": [pinned], "post": True, **more}
    return SourceSettings.model_validate(facts)


@asynccontextmanager
async def serving(handler: object) -> AsyncIterator[Listener]:
    listener = Listener(ListenerSettings(port=0), handler)  # type: ignore[arg-type]
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def centre(path: Path, **more: object) -> AsyncIterator[Centre]:
    """The receiving one. It pins our sender's certificate, and the neighbour's."""
    control = ControlRoom(path / "journal.db")
    committing = asyncio.create_task(control.journal.run())
    _, one = capkeys.write(path, capkeys.signer(), "galati")
    _, two = capkeys.write(path, capkeys.signer_of(capkeys.key_of(2)), "iasi")
    settings = source(one, certificates=[one, two], **more)
    receiving = Receiving(
        control.room, control.upkeep.heeding, control.refusals, sources_of([settings]), runner=run_here
    )
    async with serving(Door(None, receiving.post)) as listener:
        yield Centre(control, receiving, listener, f"http://127.0.0.1:{listener.port}")
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)


async def post(to: Centre, data: bytes, name: str = "galati") -> int:
    """The status that a post gets."""
    settings = CapPushSettings.model_validate({"kind": "cap", "name": "x", "url": f"{to.base}/cap/in/{name}"})
    channel = CapPush(settings)
    answer = await channel.deliver(Message(1, "x", "x", True, 0, 1 << 62, data, b""))
    await channel.close()
    return int(answer.detail)


async def test_what_we_push_another_centre_heeds(tmp_path: Path) -> None:
    async with centre(tmp_path) as far:
        alert = message()
        assert await post(far, alert.cap or b"") == 200
        assert far.level() is Level.DANGER
        assert await post(far, alert.cap or b"") == 200, "the same again"
        reference = reference_of(SENDER, alert.identifier, alert.sent_us)
        assert await post(far, message(2, MessageType.CANCEL, reference).cap or b"") == 200
        assert far.level() is Level.NORMAL
        assert far.receiving.counts["galati"] == {"raised": 1, "again": 1, "cancelled": 1}
        assert [row.value[1] for row in far.control.journal.rows(0) if row.kind is Record.HEARD] == [
            "raised",
            "cancelled",
        ]
        assert far.control.orders() == []


BEFORE_US, AHEAD_US = START_WALL_US - 60 * SECOND_US, START_WALL_US + 3600 * SECOND_US
HOSTILE = {
    "unsigned": (neighbour.written(area=ZONE), 403),
    "a stranger's": (neighbour.signed(neighbour.written(area=ZONE), capkeys.key_of(9)), 403),
    "changed": (neighbour.message(area=ZONE).replace(b"Extreme", b"Severe"), 403),
    "another's sender": (neighbour.message(area=ZONE, sender="x@y"), 403),
    "expired": (neighbour.message(area=ZONE, sent_us=BEFORE_US, expires_us=START_WALL_US - SECOND_US), 422),
    "from the future": (neighbour.message(area=ZONE, sent_us=AHEAD_US, expires_us=AHEAD_US + 3600 * SECOND_US), 422),
    "a draft": (neighbour.message(area=ZONE, status="Draft"), 422),
    "a negative radius": (neighbour.message(area="<circle>47.21,27.80 -3</circle>"), 400),
    "another namespace": (neighbour.message(area=ZONE).replace(b"cap:1.2", b"cap:1.1"), 400),
    "an entity": (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + neighbour.message(area=ZONE), 400),
    "a bomb": (b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><alert>&b;</alert>', 400),
    "not XML": (b"\x00\xff nonsense", 400),
    "nothing": (b"", 400),
    "too large": (b" " * (256 << 10) + b"x", 413),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_the_hostile_are_refused_counted_and_never_obeyed(tmp_path: Path, name: str) -> None:
    data, status = HOSTILE[name]
    async with centre(tmp_path) as far:
        assert await post(far, data) == status
        assert len(far.control.room.book) == 0
        if name != "too large":
            assert sum(far.control.refusals.total.values()) == 1
            assert all(word.startswith("cap-in-") for word in far.control.refusals.total)
            assert sum(far.receiving.counts["galati"].values()) == 1
        theirs = status == 422 or name in ("a negative radius", "another's sender")
        assert far.control.room.troubles.on("cap-in-refused", "galati") is theirs
        far.control.refusals.flush()
        assert [row for row in far.control.journal.rows(0) if row.kind is Record.HEARD] == []
        assert await post(far, neighbour.message(area=ZONE)) == 200, "and the next good one is heeded"
        assert far.level() is Level.DANGER
        assert not far.control.room.troubles.on("cap-in-refused", "galati")


async def test_a_reference_to_nothing_ends_nothing_and_is_told_and_counted(tmp_path: Path) -> None:
    async with centre(tmp_path) as far:
        alert = message()
        assert await post(far, alert.cap or b"") == 200
        loose = reference_of(SENDER, "never-sent", alert.sent_us)
        assert await post(far, message(2, MessageType.CANCEL, loose).cap or b"") == 200
        assert far.level() is Level.DANGER, "what it names is not here, so nothing is over"
        assert far.control.room.troubles.on("cap-in-reference", "galati")
        assert sum(far.receiving.counts["galati"].values()) == 2
        assert far.receiving.counts["galati"]["raised"] == 1
        assert far.control.orders() == []


async def test_only_a_source_that_may_post_posts(tmp_path: Path) -> None:
    async with centre(tmp_path, post=False, feed="http://127.0.0.1:1/cap/atom.xml") as far:
        assert await post(far, message().cap or b"") == 404
        assert await post(far, message().cap or b"", "elsewhere") == 404


async def test_a_flood_of_posts_has_its_limit_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.receiving.BURST", 3.0)
    async with centre(tmp_path) as far:
        for allowance in far.receiving._of.values():
            allowance.left = 3.0
        for n in range(1, 4):
            assert await post(far, message(n).cap or b"") == 200
        assert await post(far, message(4).cap or b"") == 429
        far.control.clock.advance(10)
        assert await post(far, message(4).cap or b"") == 200


async def test_a_pinned_certificate_that_ends_is_told(tmp_path: Path) -> None:
    async with centre(tmp_path) as far:
        far.receiving.look()
        assert not far.control.room.troubles.on("cap-in-certificate", "galati")
        far.control.clock.advance(10 * 365 * 86400)
        far.receiving.look()
        assert far.control.room.troubles.on("cap-in-certificate", "galati")


# The feed, polled.


@asynccontextmanager
async def publishing(path: Path, clock: object) -> AsyncIterator[tuple[Feed, Listener, list[Request]]]:
    feed = Feed(AtomSettings(kind="atom"), path=path / "feed.db", sender=SENDER, clock=clock, runner=run_here)  # type: ignore[arg-type]
    door, asked = Door(feed, None), []

    async def handler(request: Request) -> Reply:
        asked.append(request)
        return await door(request)

    async with serving(handler) as listener:
        yield feed, listener, asked
    await feed.close()


def poller(far: Centre, url: str, **more: object) -> Poller:
    settings = source(Path("x"), feed=url, **more)
    return Poller(
        settings, take=far.receiving.take, unreached=lambda _name, *, on: far.unreached.append(on), runner=run_here
    )


async def test_a_feed_is_polled_once_for_each_alert_and_conditionally(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(centre(tmp_path))
        feed, listener, asked = await stack.enter_async_context(publishing(tmp_path, far.control.clock))
        polling = poller(far, f"http://127.0.0.1:{listener.port}/cap/atom.xml")
        assert await polling.look() == 0
        first = message(1)
        second = message(2, MessageType.UPDATE, reference_of(SENDER, first.identifier, first.sent_us))
        for each in (first, second):
            assert (await feed.deliver(each)).taken
        assert await polling.look() == 2
        assert far.receiving.counts["galati"] == {"raised": 1, "updated": 1}, "the oldest first"
        assert far.level() is Level.DANGER
        asked.clear()
        assert await polling.look() == 0
        assert [request.path for request in asked] == ["/cap/atom.xml"]
        assert asked[0].headers["if-none-match"] == feed.page(1).etag  # type: ignore[union-attr]
        await polling._client.close()


async def test_all_pages_of_a_feed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.dispatch.feed.PAGE", 2)
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(centre(tmp_path))
        feed, listener, asked = await stack.enter_async_context(publishing(tmp_path, far.control.clock))
        polling = poller(far, f"http://127.0.0.1:{listener.port}/cap/atom.xml")
        for n in range(1, 6):
            await feed.deliver(message(n))
        assert await polling.look() == 5
        asked.clear()
        await feed.deliver(message(6))
        assert await polling.look() == 1
        assert [request.query for request in asked if request.path == "/cap/atom.xml"] == ["", "page=2"]
        await polling._client.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 500),
        (b"nonsense", 200),
        (b"<feed/>", 200),
        (b'<!DOCTYPE f [<!ENTITY x "y">]><feed xmlns="http://www.w3.org/2005/Atom"/>', 200),
        (b"x" * (4 << 20) + b"x", 200),
    ],
)
async def test_a_feed_that_cannot_be_read_is_said(tmp_path: Path, body: bytes, status: int) -> None:
    async def handler(_: Request) -> Reply:
        return Reply(status, body)

    async with centre(tmp_path) as far, serving(handler) as listener:
        polling = poller(far, f"http://127.0.0.1:{listener.port}/feed")
        with pytest.raises(Unreadable):
            await polling.look()
        await polling._client.close()


async def test_links_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    links = ["http://127.0.0.1:1/a.xml", "//evil.example/a.xml", "file:///etc/passwd", "https://127.0.0.1/a"]
    links += ["/ok.xml", "a\nb", "", "x" * 3000]
    asked: list[str] = []

    async def handler(request: Request) -> Reply:
        asked.append(request.path)
        if request.path != "/feed":
            return Reply(404)
        entries = "".join(
            f'<entry><updated>{n}</updated><link type="application/cap+xml" href="{link}"/></entry>'
            for n, link in enumerate(links)
        )
        after = '<link rel="next" href="http://127.0.0.1:1/next"/>'
        return Reply(200, f'<feed xmlns="http://www.w3.org/2005/Atom">{after}{entries}</feed>'.encode())

    async with centre(tmp_path) as far, serving(handler) as listener:
        polling = poller(far, f"http://127.0.0.1:{listener.port}/feed")
        await polling.look()
        assert set(asked) <= {"/feed", "/ok.xml", "/ab"}
        assert "/ok.xml" in asked
        await polling._client.close()


async def test_an_alert_that_cannot_be_had_now_is_asked_for_again(tmp_path: Path) -> None:
    down = True
    alert = message()

    async def handler(request: Request) -> Reply:
        if request.path == "/feed":
            entry = '<entry><updated>1</updated><link type="application/cap+xml" href="/a.xml"/></entry>'
            return Reply(200, f'<feed xmlns="http://www.w3.org/2005/Atom">{entry}</feed>'.encode(), {"etag": '"1"'})
        return Reply(503) if down else Reply(200, alert.cap or b"")

    async with centre(tmp_path) as far, serving(handler) as listener:
        polling = poller(far, f"http://127.0.0.1:{listener.port}/feed")
        assert await polling.look() == 0
        assert far.level() is Level.NORMAL
        down = False
        assert await polling.look() == 1
        assert far.level() is Level.DANGER
        await polling._client.close()


async def test_a_feed_that_is_away_is_trouble_and_its_return_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.inbound.poller.SILENT_S", 0.0)
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(centre(tmp_path))
        feed, listener, _ = await stack.enter_async_context(publishing(tmp_path, far.control.clock))
        there = source(Path("x"), feed=f"http://127.0.0.1:{listener.port}/cap/atom.xml").model_copy(
            update={"poll_s": 0.01}
        )
        away = there.model_copy(update={"feed": "http://127.0.0.1:1/atom.xml"})
        news = asyncio.Event()

        def unreached(_name: str, *, on: bool) -> None:
            far.unreached.append(on)
            news.set()

        for settings, expected in ((away, True), (there, False)):
            each = Poller(settings, take=far.receiving.take, unreached=unreached, runner=run_here)
            news.clear()
            task = asyncio.create_task(each.run())
            await asyncio.wait_for(news.wait(), 60)
            assert far.unreached[-1] is expected
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert feed.page(1) is not None


def test_the_sources_of_a_configuration_are_read(tmp_path: Path) -> None:
    _, pinned = capkeys.write(tmp_path, capkeys.signer(), "galati")
    found = sources_of([source(pinned)])
    assert isinstance(found["galati"], Source)
    assert found["galati"].pins[0].ends_us == round(capkeys.ENDS.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/cap/atom.xml", 200),
        ("HEAD", "/cap/atom.xml", 200),
        ("GET", "/cap/atom.xml?page=1", 200),
        ("GET", "/cap/atom.xml?page=2", 404),
        ("GET", "/cap/atom.xml?page=0", 404),
        ("GET", "/cap/atom.xml?x", 404),
        ("POST", "/cap/atom.xml", 405),
        ("DELETE", "/cap/alerts/x.xml", 405),
        ("GET", "/cap/alerts/x.xml", 404),
        ("GET", "/cap/alerts/..%2f..%2fjournal.db", 404),
        ("GET", "/cap/alerts/%00.xml", 404),
        ("GET", "/", 404),
        ("GET", "/cap/in/galati", 405),
        ("POST", "/cap/in/galati/", 404),
        ("POST", "/cap/in/GALATI", 404),
    ],
)
async def test_the_door_opens_for_what_it_is_for(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def take(_name: str, _data: bytes, _peer: str) -> tuple[int, str]:
        return 200, "raised"

    feed = Feed(
        AtomSettings(kind="atom"), path=tmp_path / "feed.db", sender=SENDER, clock=ManualClock(), runner=run_here
    )
    where, _, query = path.partition("?")
    reply = await Door(feed, take)(Request(method, where, query, {}, "127.0.0.1"))
    assert reply.status == status
    assert (await Door(None, None)(Request(method, where, query, {}, "127.0.0.1"))).status == 404
    await feed.close()
