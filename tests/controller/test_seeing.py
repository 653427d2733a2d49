"""What is known around an alarm's points: shown, told and kept for the report; and said to be unknown where it is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bucium.sights import show_sights
from controller.alarm.changes import AlarmChange
from controller.alarm.sight import Sight, Vote
from controller.dispatch.cap import Author, MessageType, Place
from controller.dispatch.settings import CapSettings
from controller.dispatch.summary import summarise
from controller.intake import Intake
from controller.replay.engine import Replay
from controller.report.make import make
from controller.report.reading import read_case
from controller.seeing import PAYLOADS_MAX, Samples, Seeing
from controller.tracing import Tracing
from cython_ext import ClockQuality, ClockSource, Level, QcFlag, Trouble
from tests.controller.test_watchdog import Telemetry
from tests.kit.control_room import ControlRoom
from tests.kit.incident import DETAILED
from tests.kit.plans import signed, with_keys
from tests.kit.telling import change
from tests.kit.telling import plan as telling_plan

PLAN = (
    DETAILED.replace("period_s = 1.0\n", 'period_s = 1.0\nrate_window_s = 20\nrate_method = "delta"\n')
    + '\n[[vote]]\nid = "both"\npoints = ["gauge", "gauge2"]\nk = 2\nwindow_s = 60\nzones = ["ungheni"]\n'
)
SETTINGS = CapSettings(sender="dispecerat@igsu.example", sender_name="IGSU", web="https://igsu.example/")
FULL = Sight(
    "gauge-1",
    1_780_000_000_000_000,
    ((1_779_999_999_000_000, 3.9), (1_780_000_000_000_000, 4.0)),
    0.0001,
    "panel",
    Level.DANGER,
    1800.0,
    Trouble.SPIKE,
    QcFlag.SUSPECT,
    (Vote("gauge-1", Level.ALARM, Trouble.NONE), Vote("gauge-2", Level.NORMAL, Trouble.STALE)),
    1,
    ClockQuality(ClockSource.NTP, 12),
    (45.44, 28.03),
)


class Watched:
    """A control room with telemetry, and the eyes on it."""

    def __init__(self, path: Path) -> None:
        self.control = ControlRoom(path, signed(with_keys(PLAN)))
        self.telemetry = Telemetry(self.control)
        self.samples = Samples()
        room, watchdog = self.control.room, self.control.watchdog
        self.telemetry.intake = Intake(room, watchdog, None, self.samples.keep)
        self.seeing = Seeing(room, watchdog, self.samples)
        self.tracing = Tracing(room, self.seeing)
        self.node = self.control.node("n1")
        self.control.hear(self.node, self.node.state())

    def rise(self, first: float, seconds: int, each_s: float = 0.01) -> float:
        value = first
        for _ in range(seconds):
            value += each_s
            self.telemetry.hold(1, gauge=value)
            self.tracing.tick()
        return value


@pytest.fixture
def it(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "journal.db")


def test_samples_rate_next_level_quality_clock_and_place(it: Watched) -> None:
    value = it.rise(1.5, 40)
    sight = it.seeing.look("gauge")
    assert len(sight.samples) == PAYLOADS_MAX
    assert sight.samples[-1][1] == pytest.approx(value)
    assert [at for at, _ in sight.samples] == sorted(at for at, _ in sight.samples)
    assert sight.rate_per_s == pytest.approx(0.01, rel=0.2)
    assert sight.rate_from == "panel"
    assert sight.next_level is Level.ATTENTION
    assert sight.next_s == pytest.approx((2.0 - value) / 0.01, rel=0.3)
    assert (sight.qc, sight.trouble) == (QcFlag.GOOD, Trouble.NONE)
    assert (sight.clock, sight.place) == (it.control.clock.quality(), (47.2043, 27.7981))


def test_what_is_not_known_is_not_invented(it: Watched) -> None:
    assert it.seeing.look("nothing") == Sight("nothing", it.control.clock.wall_us())
    sight = it.seeing.look("gauge2")
    assert (sight.samples, sight.rate_per_s, sight.next_s, sight.clock, sight.place) == ((), None, None, None, None)
    assert sight.shown()["position"] is None


def test_without_a_window_of_the_plan_the_rate_is_that_of_the_samples(tmp_path: Path) -> None:
    it = Watched(tmp_path / "journal.db")
    assert it.seeing.look("gauge2").rate_from == ""
    for turn in range(12):
        it.telemetry.hold(1, gauge2=1.0 + turn * 0.01 if turn != 6 else 2.9)  # one of them is wild
    sight = it.seeing.look("gauge2")
    assert (sight.rate_from, it.seeing.look("gauge").rate_from) == ("samples", "")
    assert sight.rate_per_s == pytest.approx(0.01, rel=0.1)
    assert sight.next_s == pytest.approx((3.0 - 1.11) / 0.01, rel=0.15)


def test_a_vote_names_its_members_and_what_each_says(it: Watched) -> None:
    it.control.hear(it.node, it.node.level("gauge", Level.NORMAL, Level.ALARM))
    sight = it.seeing.look("both")
    assert sight.needed == 2
    assert [(vote.point, vote.level) for vote in sight.votes] == [("gauge", Level.ALARM), ("gauge2", Level.NORMAL)]


def test_a_sight_comes_back_from_its_bytes() -> None:
    for sight in (FULL, Sight("p", 1), replace(FULL, next_level=None, next_s=None)):
        assert Sight.unpack(sight.pack()) == sight


def told(sights: tuple[Sight, ...]) -> tuple[AlarmChange, Author, Place]:
    place = Place("bucium-x", MessageType.ALERT, (), 1_780_000_000_000_000, 1_780_000_600_000_000)
    return replace(change(), sights=sights), Author(telling_plan(), SETTINGS), place


def test_it_is_told_by_the_webhook_and_by_cap_where_they_have_a_place() -> None:
    raised, author, place = told((FULL,))
    words = author.write(raised)
    document = json.loads(summarise(author, raised, place, words, cap=True))
    sight = document["evidence"][0]["sight"]
    assert sight["position"] == {"latitude": 45.44, "longitude": 28.03}
    assert (sight["next_s"], sight["clock"]["source"], sight["votes"][1]["trouble"]) == (1800.0, "ntp", ["stale"])
    assert document["instructions"]["en"] == "Climb the new dyke & wait."
    assert "danger (red) in about 30 min" in words["en"].description
    cap = author.compose(raised, place, words).decode()
    assert (
        "gauge-1; 45.44,28.03; 0.36 m/h; danger in 1800 s; suspect; ntp 12 ms; 1 of gauge-1 alarm, gauge-2 normal"
        in cap
    )


def test_without_it_they_say_nothing_of_it() -> None:
    raised, author, place = told(())
    words = author.write(raised)
    assert json.loads(summarise(author, raised, place, words, cap=True))["evidence"][0]["sight"] is None
    assert "bucium_sight" not in author.compose(raised, place, words).decode()
    bare, author, place = told((Sight("gauge-1", 1),))
    assert "gauge-1; -; -; -; unknown; -" in author.compose(bare, place, author.write(bare)).decode()


def test_a_muted_alarm_says_so_in_words() -> None:
    muted = replace(change(), muted="out-of-service")
    assert (
        "out of service. No siren sounds by itself." in Author(telling_plan(), SETTINGS).write(muted)["en"].description
    )


async def test_it_is_kept_in_the_journal_around_each_raise_and_stands_in_the_report(it: Watched) -> None:
    control = it.control
    value = it.rise(1.75, 25)
    control.hear(it.node, it.node.level("gauge", Level.NORMAL, Level.ATTENTION, value))
    it.rise(value, 12)
    await control.commit()
    case = read_case(control.path, "ungheni/flood", [control.plan])
    (sight,) = case.sights
    assert (sight.point, len(sight.samples), sight.next_level) == ("gauge", PAYLOADS_MAX, Level.ALARM)
    page = make(case, "html", "en").decode()
    assert "What was known around each raise" in page
    assert page.count("<rect") > PAYLOADS_MAX  # each sample in the picture
    assert json.loads(make(case, "json", "en"))["sights"][0]["clock"]["source"] == "ntp"
    assert Replay(control.path, {control.plan.digest: control.plan}).run().why == ""
    await control.journal.close()


def test_the_desk_shows_it_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    points = [{"point": "gauge-1", "sight": FULL.shown()}, {"point": "gauge-2", "sight": Sight("gauge-2", 1).shown()}]
    show_sights({"points": points, "instructions": {"ro": "Urcați."}})
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "danger in 30 min",
        "45.44000, 28.03000",
        "ntp, at most 12 ms",
        "Urcați.",
        "the plan has none in this",
    ):
        assert words in said
    for words in ("not known", "no telemetry"):
        assert words in said
