"""SMS and messengers through the real apprise, to a real HTTP receiver; and that every text fits into one SMS."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.alarm.changes import ChangeKind
from controller.calls import About, Call, CallKind
from controller.dispatch.call import tell_of
from controller.dispatch.cap import Author
from controller.dispatch.messenger import Messenger
from controller.dispatch.outbox import MEMORY, Outbox
from controller.dispatch.settings import AppriseSettings, CapSettings
from controller.dispatch.short import GSM_MAX, UCS2_MAX, cost, fits, short
from controller.texts import LANGUAGES, Language
from cython_ext import ConfigError, Hazard, Level
from lanes.keys import Mode
from lanes.store import ThreadRunner, run_here
from tests.controller.test_mail import AUTHOR, CALL, PEOPLE, messages
from tests.kit.capkeys import signer
from tests.kit.clock import START_WALL_US
from tests.kit.receivers import Mood, Receiver, receiver
from tests.kit.telling import change, plan


@pytest.fixture
async def server() -> AsyncIterator[Receiver]:
    async with receiver() as each:
        yield each


def messenger(folder: Path, *urls: str, mode: int = 0o600, **more: object) -> Messenger:
    path = folder / "urls"
    path.write_text("# the gateway\n" + "\n".join(urls) + "\n")
    path.chmod(mode)
    settings = {"kind": "apprise", "name": "sms", "url_file": path, "timeout_s": 5, **more}
    return Messenger(AppriseSettings.model_validate(settings), PEOPLE, run_here)


async def deliver(channel: Messenger, message: object) -> object:
    """In a thread of its own, as the controller does it: apprise blocks."""
    runner = ThreadRunner("apprise")
    channel._runner = runner
    try:
        return await channel.deliver(message)  # type: ignore[arg-type]
    finally:
        runner.close()


async def test_a_person_gets_one_sms_at_their_number(server: Receiver, tmp_path: Path) -> None:
    channel = messenger(tmp_path, f"json://user:pass@127.0.0.1:{server.port}/send/{{to}}")
    assert not channel.wants(cap=True)
    call = Call(**{name: getattr(CALL, name) for name in CALL.__slots__} | {"channel": "sms"})
    [message] = _messages(call)
    answer = await deliver(channel, message)
    assert (answer.taken, answer.detail) == (True, "sent")  # type: ignore[attr-defined]
    [posted] = server.taken
    assert posted.path.rstrip("/") == "/send/+40700000001"
    assert json.loads(posted.body)["message"] == "COD ROSU Cheiul vechi: inundatie 05:00, neconfirmat"


def _messages(*calls: Call) -> list[object]:
    box = Outbox(MEMORY, {"sms": lambda _: True})
    box.tell(AUTHOR, calls, START_WALL_US)
    return list(box.due("sms", (), 64))


@pytest.mark.parametrize("mood", [Mood.FAILING, Mood.DOWN, Mood.HALF_OPEN, Mood.CUT])
async def test_a_gateway_that_fails_is_an_answer(server: Receiver, tmp_path: Path, mood: Mood) -> None:
    channel = messenger(tmp_path, f"json://127.0.0.1:{server.port}/?rto=1&cto=1&retry=0", to=["+4070"], timeout_s=2)
    await server.become(mood, 500)
    [message] = messages(change())
    answer = await deliver(channel, message)
    assert not answer.taken  # type: ignore[attr-defined]
    await server.become(Mood.WELL)
    assert (await deliver(channel, message)).taken  # type: ignore[attr-defined]
    assert len(server.taken) == 1


async def test_of_several_only_those_left_are_tried_again(server: Receiver, tmp_path: Path) -> None:
    channel = messenger(
        tmp_path, f"json://127.0.0.1:{server.port}/good/{{to}}", "json://127.0.0.1:9/bad/?retry=0", to=["+40", "+41"]
    )
    [message] = messages(change())
    for _ in range(3):
        assert (await deliver(channel, message)).detail == "not-sent"  # type: ignore[attr-defined]
    assert sorted(each.path.rstrip("/") for each in server.taken) == ["/good/+40", "/good/+41"]


@pytest.mark.parametrize(
    ("urls", "mode", "says"),
    [
        (("json://u:geheim@h/",), 0o644, "others may read"),
        ((), 0o600, "0 lines"),
        (("nonsense://geheim@h/",), 0o600, "URL 1 is none that apprise knows"),
        (("geheim",), 0o600, "URL 1 is none"),
    ],
)
def test_a_bad_secret_file_says_what_to_do_and_gives_nothing_away(
    tmp_path: Path, urls: tuple[str, ...], mode: int, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError, match=says) as caught:
        messenger(tmp_path, *urls, mode=mode)
    assert "geheim" not in str(caught.value) + caplog.text


# What fits.


def test_the_alphabets() -> None:
    assert cost("COD ROSU") == (8, GSM_MAX)
    assert cost("[5 €]") == (8, GSM_MAX)
    assert cost("ЖЁЛТЫЙ") == (6, UCS2_MAX)
    assert cost("Ș") == (1, UCS2_MAX)
    assert cost("😀") == (2, UCS2_MAX)
    assert fits("x" * 160)
    assert not fits("x" * 161)
    assert fits("ж" * 70)
    assert not fits("ж" * 71)


@pytest.mark.parametrize(("language", "kind"), list(product(LANGUAGES, ChangeKind)))
def test_each_change_in_each_language_is_one_sms_with_all_that_counts(language: Language, kind: ChangeKind) -> None:
    level = Level.NORMAL if kind is ChangeKind.CLEARED else Level.DANGER
    [message] = messages(change(kind, level, Level.DANGER if kind is not ChangeKind.RAISED else Level.NORMAL))
    text = short(json.loads(message.summary), language)
    assert fits(text)
    assert "05:00" in text, "the zone's own time"
    name = {"ro": "Cheiul vechi", "en": "Old quay", "ru": "Старая набережная", "uk": "Стара набережна"}[language]
    assert name in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_muted_says_so(language: Language) -> None:
    [message] = messages(change(muted="out-of-service"))
    text = short(json.loads(message.summary), language)
    assert fits(text)
    assert {"ro": "(oprita)", "en": "(muted)", "ru": "(откл.)", "uk": "(вимк.)"}[language] in text


@given(
    st.text(max_size=120),
    st.sampled_from(LANGUAGES),
    st.sampled_from([Level.ATTENTION, Level.DANGER]),
    st.integers(1, 5000),
)
def test_a_call_is_one_sms_whatever_the_zone_is_called(name: str, language: Language, level: Level, count: int) -> None:
    author = Author(plan(name={language: name} if name else {}), CapSettings(sender="a@x.example"), signer())
    about = About(str(change().alarm_id), "quay", Hazard.FLOOD, level, START_WALL_US)
    for kind in CallKind:
        call = Call(kind, "ana", "sms", 1, "unanswered", Mode.EXERCISE, (about,), count, START_WALL_US)
        text = short(json.loads(tell_of(author, call, START_WALL_US)), language)
        assert fits(text)
        assert text
        assert "05:00" in text


async def test_the_thread_is_nobody_s_lost_time(server: Receiver, tmp_path: Path) -> None:
    channel = messenger(tmp_path, f"json://127.0.0.1:{server.port}/", to=["+40"])
    runner = channel._runner = ThreadRunner("apprise")
    found = messages(*(change(seq=n) for n in range(1, 9)))
    answers = await asyncio.gather(*(channel.deliver(message) for message in found))
    runner.close()
    assert [answer.taken for answer in answers] == [True] * 8
    assert len(server.taken) == 8
