"""Reports of an incident: from the journal's file alone, verified, in four languages and three forms; nothing in it is run."""

import html.parser
import json
import logging
import re
import shutil
from pathlib import Path

import apsw
import pytest

from controller.alarm.record import Alarm
from controller.record.aside import Remains
from controller.record.records import Record
from controller.report.case import Case, Kind, Proof, Series
from controller.report.document import Chart, elapsed
from controller.report.make import facts, make
from controller.report.picture import draw
from controller.report.reading import NoCase, read_case
from controller.texts import LANGUAGES, Language
from cython_ext import Hazard, Level
from lanes.acts import RequestSiren
from lanes.keys import Mode
from tests.kit.control_room import ControlRoom
from tests.kit.incident import flood, plan
from tests.kit.nights import Night, plan_with
from tests.kit.plans import PLAN, signed, with_keys


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A copy of the journal, apart from its controller."""
    control = await flood(tmp_path / "journal.db")
    await control.journal.close()
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "evidence.db"
    shutil.copy(control.path, copy)
    return copy


def of_flood(journal: Path, *plans: object) -> Case:
    return read_case(journal, "ungheni/flood", plans)  # type: ignore[arg-type]


async def test_it_tells_what_was_seen_judged_ordered_sounded_told_and_answered_with_the_milliseconds(
    journal: Path,
) -> None:
    case = of_flood(journal, plan())
    assert (case.zone, case.hazard, case.mode, case.worst, case.state) == (
        "ungheni", Hazard.FLOOD, Mode.LIVE, Level.ALARM, "normal",
    )  # fmt: skip
    assert {entry.kind for entry in case.entries} >= {
        Kind.SEEN, Kind.JUDGED, Kind.ORDERED, Kind.SOUNDED, Kind.TOLD, Kind.ANSWERED, Kind.MUTED,
    }  # fmt: skip
    assert [entry.seq for entry in case.entries] == sorted(entry.seq for entry in case.entries)
    steps = {(step.code, step.who if step.code == "told" else ""): (step.ms, step.cause_ms) for step in case.steps}
    assert steps["ordered", ""] == (95_250, 0)
    assert steps["accepted", ""] == (95_323, 73)
    assert steps["proven", ""] == (96_823, 1_573)
    assert steps["told", "centre-iasi"] == (96_823, 1_573)
    assert steps["told", "mail"] == (None, None)
    assert steps["acknowledged", ""] == (139_823, 44_573)
    done = [entry.values["verb"] for entry in case.entries if "verb" in entry.values]
    assert done == [
        "alarm.ack",
        "siren.stop",
        "alarm.shelve",
        "alarm.shelve",
        "alarm.unshelve",
        "alarm.ack",
        "alarm.reset",
    ]
    assert case.verdict.whole
    assert case.proofs() == {Proof.GOOD: 15, Proof.UNKNOWN: 0, Proof.WRONG: 0}


async def test_the_same_by_incident_and_by_id_and_nothing_of_what_is_not_there(journal: Path) -> None:
    case = of_flood(journal, plan())
    for name in (case.subject, case.incidents[0]):
        again = read_case(journal, name, [plan()])
        assert [entry.seq for entry in again.entries] == [entry.seq for entry in case.entries]
    for name in ("ungheni/fire", "0123456789abcdef", "nothing", ""):
        with pytest.raises(NoCase):
            read_case(journal, name)


async def test_without_the_plan_it_says_what_it_cannot_say(journal: Path) -> None:
    case = of_flood(journal)
    assert case.plan is None
    assert case.proofs()[Proof.GOOD] == 0
    assert case.proofs()[Proof.UNKNOWN] == 15
    page = make(case, "html", "en").decode()
    for said in (
        "not verified: no plan was given",
        "the plan is not at hand",
        "(unit unknown)",
        "the plan does not say",
    ):
        assert said in page
    assert "the plan has no instructions for this zone" in page


async def test_a_changed_journal_is_told_in_large(journal: Path) -> None:
    database = apsw.Connection(str(journal))
    for (name,) in list(database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")):
        database.execute(f"DROP TRIGGER {name}")  # a forger has the file
    ((payload,),) = database.execute("SELECT payload FROM entry WHERE seq = 30")
    changed = payload[:-1] + bytes([payload[-1] ^ 1])
    database.execute("UPDATE entry SET payload = ? WHERE seq = 30", (changed,))
    database.close()
    case = of_flood(journal, plan())
    assert (case.verdict.whole, case.verdict.bad_row) == (False, 30)
    assert all(entry.seq < 30 for entry in case.entries)  # what stands behind it is worth nothing
    assert "BROKEN at row 30" in make(case, "html", "en").decode()


async def test_a_signature_of_a_key_that_the_plan_gives_to_somebody_else_is_not_good(journal: Path) -> None:
    other = signed(with_keys(PLAN, nodes=("n3", "n4")))
    case = of_flood(journal, other)
    assert Proof.UNKNOWN in {entry.proof for entry in case.entries if entry.kind is Kind.SEEN}


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        assert all(
            not (value or "").lower().startswith(("http:", "javascript:")) for name, value in attrs if name != "xmlns"
        )


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_language_in_html_and_pdf(
    journal: Path, language: Language, caplog: pytest.LogCaptureFixture
) -> None:
    case = of_flood(journal, plan())
    page = make(case, "html", language).decode()
    reader = _Reader()
    reader.feed(page)
    assert not reader.tags & {"script", "img", "link", "iframe", "object", "form", "a", "base"}
    assert not any(name.startswith("on") for name in reader.attributes)
    assert "pumps are being &lt;moved&gt; &amp; tested" in page
    assert "<moved>" not in page
    assert {"ro": "Urcați", "en": "Go up", "ru": "Поднимитесь", "uk": "Підніміться"}[language] in page
    assert not re.search(r"\{[a-z_]+\}", page.partition("</style>")[2])
    with caplog.at_level(logging.WARNING):
        data = make(case, "pdf", language)
    assert data.startswith(b"%PDF-")
    assert not [record for record in caplog.records if "glyph" in record.getMessage()]  # every letter has its shape


async def test_the_json_is_whole_and_plain(journal: Path) -> None:
    case = of_flood(journal, plan())
    said = json.loads(make(case, "json", "en"))
    assert said == json.loads(json.dumps(facts(case)))
    assert said["journal"]["whole"] is True
    assert said["journal"]["heads_checked"] >= 1
    assert len(said["entries"]) == len(case.entries)
    first = next(entry for entry in said["entries"] if entry["kind"] == "seen")
    assert (first["point"], first["value"], first["clock"], first["signature"]) == ("gauge", 2.04, "ntp", "good")
    assert said["instructions"]["uk"] == "Підніміться до школи."


async def test_an_incident_of_people_alone_has_a_report_and_an_exercise_says_so(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", plan())
    request = control.act(RequestSiren(("ungheni",), "dezastre", Mode.EXERCISE, 0, "dyke"), "ana", Mode.EXERCISE)
    for person in ("ana", "ion"):
        control.clock.advance(1)
        control.approve(request, person, Mode.EXERCISE)
    await control.commit()
    case = read_case(control.path, request["incident"], [control.plan])
    codes = [entry.code for entry in case.entries]
    assert codes == ["answered.request", "answered.approval", "answered.approval", "ordered.start", "answered.closed"]
    assert "EXERCISE" in make(case, "html", "en").decode()
    await control.journal.close()


async def test_it_is_read_beside_a_running_controller_and_over_its_restart(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", plan())
    node = control.node("n1")
    control.hear(node, node.state())
    control.hear(node, node.level("gauge", Level.NORMAL, Level.ALARM, 3.1))
    await control.restart()
    control.clock.advance(7)
    control.hear(node, node.level("gauge", Level.ALARM, Level.DANGER, 4.1))
    await control.commit()
    case = read_case(control.path, "ungheni/flood", [control.plan])
    assert "record.start" in {entry.code for entry in case.entries}
    worse = next(entry for entry in case.entries if entry.code == "judged.escalated")
    assert case.first is not None
    assert worse.after_ms(case.first) == pytest.approx(7_000)
    await control.journal.close()


def test_the_picture_has_each_value_and_level_and_times_to_the_second_for_what_lasted_seconds() -> None:
    series = Series(
        "gauge", ((1_780_000_000_000_000, 2.0, 1), (1_780_000_009_000_000, 3.2, 2)), ((1_780_000_004_000_000, 2.4),)
    )
    drawn = draw(Chart("t", "m", series, ((2.0, 1, "attention"), (3.0, 2, "<alarm>"))), "Europe/Chisinau")
    assert drawn.startswith("<svg")
    assert drawn.count("<polygon") == 2
    assert "&lt;alarm&gt; 300" in drawn
    assert len(re.findall(r">\d\d:\d\d:\d\d<", drawn)) == 5


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "+0 ms"), (1573.4, "+1 573 ms"), (-12, "-12 ms"), (95_250, "+1 min 35.250 s"), (7_500_000, "+2 h 05 min")],
)
def test_milliseconds_as_people_read_them(ms: float, said: str) -> None:
    assert re.sub(r"\s", " ", elapsed(ms)) == said


@pytest.mark.parametrize("seed", [3, 8])
async def test_whatever_happens_in_a_night_can_be_reported(tmp_path: Path, seed: int) -> None:
    night = Night(tmp_path / "journal.db", seed)
    await night.live(60)
    remains = Remains(tmp_path / "journal.db")
    alarms = {str(Alarm.unpack(r.value[-1]).id) for r in remains.rows() if r.kind in (Record.ALARM, Record.KEPT)}
    assert alarms
    for alarm in alarms:
        case = read_case(tmp_path / "journal.db", alarm, [plan_with("automatic")])
        assert case.verdict.whole
        assert case.entries
        assert make(case, "html", "ro")
        assert json.loads(make(case, "json", "ro"))["alarm"] == case.subject
    remains.close()
