"""The Atom feed: read by feedparser, paged, conditional, bounded; nothing expired in it; the same after a restart."""

import asyncio
from pathlib import Path

import apsw
import feedparser
import pytest

from controller.dispatch import Message, feed, gate
from controller.dispatch.cap import Author, MessageType, Place, identifier_of
from controller.dispatch.feed import Feed
from controller.dispatch.settings import AtomSettings, CapSettings
from lanes.store import run_here
from tests.kit.capkeys import signer
from tests.kit.clock import START_WALL_US, ManualClock
from tests.kit.telling import change, plan

SENDER = "alarms@galati.example"
AUTHOR = Author(plan(), CapSettings(sender=SENDER), signer())
VALID_US = 7_200_000_000


def message(n: int, sent_us: int = START_WALL_US, alarm: str = "") -> Message:
    told = change(seq=n, at_us=START_WALL_US + n)
    place = Place(identifier_of(told), MessageType.ALERT, (), sent_us, sent_us + VALID_US)
    data = gate.publish(AUTHOR.compose(told, place, AUTHOR.write(told)), AUTHOR.signer, sent_us).data
    assert data is not None
    return Message(n, place.identifier, alarm or f"a{n}", True, sent_us, place.expires_us, data, b"{}")


def opened(path: Path, clock: ManualClock) -> Feed:
    settings = AtomSettings(kind="atom", title="Galați <1> & co")
    return Feed(settings, path=path / "feed.db", sender=SENDER, clock=clock, runner=run_here)


async def publish(each: Feed, *messages: Message) -> None:
    answers = await asyncio.gather(*(each.deliver(one) for one in messages))
    assert all(answer.taken for answer in answers)


def read(each: Feed, number: int = 1) -> feedparser.FeedParserDict:
    page = each.page(number)
    assert page is not None
    headers = {"content-location": "http://centre.example/cap/atom.xml", "content-type": page.media}
    found = feedparser.parse(page.body, response_headers=headers)
    assert not found.bozo, found.get("bozo_exception")
    return found


async def test_an_independent_reader_finds_every_alert(tmp_path: Path) -> None:
    clock = ManualClock()
    one = opened(tmp_path, clock)
    assert read(one).entries == []
    messages = [message(n) for n in range(1, 4)]
    await publish(one, *messages)
    found = read(one)
    assert (found.version, found.feed.title, found.feed.author) == ("atom10", "Galați <1> & co", SENDER)
    assert [entry.links[0].href.rsplit("/", 1)[-1] for entry in found.entries] == [
        f"{each.identifier}.xml" for each in reversed(messages)
    ]
    first = found.entries[0]
    assert first.id == f"tag:{SENDER},2026:{messages[-1].identifier}"
    assert first.updated == "2026-01-02T03:00:00Z"
    assert first.title == "Cheiul vechi: Cota de pericol atinsă: inundație gravă (cod roșu)"
    assert first.links[0].type == "application/cap+xml"
    for each in messages:
        document = await one.alert(each.identifier)
        assert document is not None
        assert document.body == each.cap
    await one.close()


async def test_the_tag_changes_with_the_content_and_only_then(tmp_path: Path) -> None:
    one = opened(tmp_path, ManualClock())
    await publish(one, message(1))
    before = one.page(1)
    await publish(one, message(1))
    assert one.page(1) == before
    await publish(one, message(2))
    after = one.page(1)
    assert before is not None
    assert after is not None
    assert after.etag != before.etag
    assert after.last_modified == "Fri, 02 Jan 2026 03:00:00 GMT"
    await one.close()


async def test_nothing_expired_is_listed_or_handed_out(tmp_path: Path) -> None:
    clock = ManualClock()
    one = opened(tmp_path, clock)
    old, new = message(1), message(2, START_WALL_US + 3_600_000_000)
    await publish(one, old, new)
    clock.advance(7200)
    assert [entry.links[0].href.rsplit("/", 1)[-1] for entry in read(one).entries] == [f"{new.identifier}.xml"]
    assert await one.alert(old.identifier) is None
    assert await one.alert(new.identifier) is not None
    await publish(one, message(3, START_WALL_US + 7_200_000_000))
    assert one._db.execute("SELECT count(*) FROM entry").get == 2, "the expired leave the disk"
    await one.close()


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    one = opened(tmp_path, clock)
    await publish(one, *(message(n) for n in range(1, 6)))
    before = one.page(1)
    await one.close()
    again = opened(tmp_path, clock)
    assert again.page(1) == before
    assert (await again.deliver(message(3))).taken, "what is there is there"
    await again.close()


async def test_pages_together_hold_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PAGE", 4)
    one = opened(tmp_path, ManualClock())
    await publish(one, *(message(n) for n in range(1, 11)))
    names: list[str] = []
    number = 1
    while True:
        found = read(one, number)
        names += [entry.id for entry in found.entries]
        if not any(link.rel == "next" for link in found.feed.links):
            break
        number += 1
    assert (number, len(names), len(set(names))) == (3, 10, 10)
    assert one.page(4) is None
    assert one.page(0) is None
    await one.close()


async def test_its_size_is_bounded_and_what_was_replaced_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ENTRIES_MAX", 4)
    one = opened(tmp_path, ManualClock())
    first = [message(1, alarm="x"), message(2, alarm="y"), message(3, alarm="y"), message(4, alarm="z")]
    await publish(one, *first)
    await publish(one, message(5, alarm="w"))
    left = {entry.links[0].href.rsplit("/", 1)[-1] for entry in read(one).entries}
    assert f"{first[1].identifier}.xml" not in left, "the first of y: a newer one stands for it"
    await publish(one, message(6, alarm="v"))
    assert await one.alert(first[0].identifier) is None, "then the oldest"
    assert len(read(one).entries) == 4
    await one.close()


async def test_a_full_disk_is_an_answer(tmp_path: Path) -> None:
    one = opened(tmp_path, ManualClock())

    def refuse(*_: object) -> None:
        raise apsw.FullError("disk full")

    one._write = refuse  # type: ignore[method-assign,assignment]
    answer = await one.deliver(message(1))
    assert (answer.taken, answer.refused, answer.detail) == (False, False, "disk: disk full")
    assert read(one).entries == []
    await one.close()


async def test_a_damaged_file_keeps_nobody_from_starting(tmp_path: Path) -> None:
    one = opened(tmp_path, ManualClock())
    await publish(one, message(1))
    await one.close()
    path = tmp_path / "feed.db"
    path.write_bytes(path.read_bytes()[:5000])
    again = opened(tmp_path, ManualClock())
    assert read(again).entries == []
    await publish(again, message(1))
    assert (tmp_path / "feed.db.damaged").exists()
