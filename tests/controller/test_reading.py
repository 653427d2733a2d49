"""What a verified message says to us: hazard, Level, zones, time; and what is refused, whoever signed it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from controller.dispatch.capcheck import Fault
from controller.inbound.area import Ground
from controller.inbound.reading import FUTURE_US, VALID_MAX_US, VALID_US, Claim, Told, read
from controller.inbound.settings import SourceSettings
from cython_ext import Hazard, Level
from lanes import cbor
from lanes.keys import Mode
from tests.kit.clock import START_WALL_US
from tests.kit.neighbour import SENDER, reference, stamp, written
from tests.kit.telling import plan

GROUNDS = tuple(Ground.of(zone) for zone in plan().zones)
SOURCE = SourceSettings.model_validate(
    {
        "name": "iasi",
        "senders": [SENDER],
        "certificates": ["iasi.crt"],
        "post": True,
        "flood_events": ["Avertizare hidrologică"],
        "fire_events": ["FRW"],
    }
)
HOUR_US = 3_600_000_000
CODE = "<eventCode><valueName>SAME</valueName><value>{}</value></eventCode>"
AWARE = "<parameter><valueName>awareness_type</valueName><value>{}</value></parameter>"


def told(now_us: int = START_WALL_US, identifier: str = "one", **more: object) -> Told | Fault:
    return read(etree.fromstring(written(identifier, **more)), SOURCE, GROUNDS, now_us)


def good(now_us: int = START_WALL_US, **more: object) -> Told:
    found = told(now_us, **more)
    assert isinstance(found, Told), found
    return found


def rule(now_us: int = START_WALL_US, **more: object) -> str:
    found = told(now_us, **more)
    assert isinstance(found, Fault), found
    return found.rule


def test_a_flood_of_theirs_reaches_our_zone() -> None:
    found = good()
    assert found.claims == (Claim("quay", Hazard.FLOOD, Level.DANGER),)
    assert (found.mode, found.type, found.sent_us) == (Mode.LIVE, "Alert", START_WALL_US)
    assert (found.expires_us, found.headline, found.why) == (START_WALL_US + HOUR_US, "Viitură pe Prut", "")
    assert Told.unpack(cbor.decode_document(cbor.encode_document(found.pack()))) == found


@pytest.mark.parametrize(
    ("more", "hazard"),
    [
        ({"parameters": AWARE.format("13; rain-flood")}, Hazard.FLOOD),
        ({"parameters": AWARE.format("12")}, Hazard.FLOOD),
        ({"parameters": "", "event": "AVERTIZARE hidrologică"}, Hazard.FLOOD),
        ({"parameters": "", "category": "Fire"}, Hazard.FIRE),
        ({"parameters": AWARE.format("8; forest-fire")}, Hazard.FIRE),
        ({"parameters": AWARE.format("1; Wind")}, None),
        ({"parameters": ""}, None),
    ],
)
def test_the_hazard_is_ours_or_none(more: dict[str, str], hazard: Hazard | None) -> None:
    found = good(**more)
    assert [claim.hazard for claim in found.claims] == ([hazard] if hazard is not None else [])
    assert found.why == ("" if hazard is not None else "no-hazard")


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({"severity": "Extreme"}, Level.DANGER),
        ({"severity": "Severe"}, Level.ALARM),
        ({"severity": "Moderate"}, Level.ATTENTION),
        ({"severity": "Minor"}, None),
        ({"severity": "Unknown"}, None),
        ({"urgency": "Past"}, None),
        ({"response": "AllClear"}, None),
        ({"certainty": "Unlikely"}, None),
    ],
)
def test_the_level_is_their_severity(more: dict[str, str], level: Level | None) -> None:
    found = good(**more)
    assert [claim.level for claim in found.claims] == ([level] if level else [])
    assert found.why == ("" if level else "minor")


@pytest.mark.parametrize(
    ("area", "zones"),
    [
        ("<circle>45.44,28.03 1</circle>", ["quay"]),
        ("<circle>45.44,29.03 1</circle>", []),
        ("<geocode><valueName>EMMA_ID</valueName><value>RO014</value></geocode>", ["quay"]),
        ("<geocode><valueName>EMMA_ID</valueName><value>RO015</value></geocode>", []),
        ("<geocode><valueName>NUTS2</valueName><value>RO22</value></geocode>", ["quay"]),
        ("<polygon>10,10 10,11 11,11 10,10</polygon>", []),
        ("", []),
    ],
)
def test_zones_are_those_that_the_area_reaches(area: str, zones: list[str]) -> None:
    found = good(area=area)
    assert [claim.zone for claim in found.claims] == zones
    assert found.why == ("" if zones else "no-zone")


def test_exercises_and_tests_stay_what_they_are() -> None:
    assert good(status="Exercise").mode is Mode.EXERCISE
    assert good(status="Test").mode is Mode.TEST
    assert rule(status="Draft") == "status"
    assert rule(status="System") == "status"


def test_only_the_sender_that_is_configured() -> None:
    assert rule(sender="someone@else.example") == "sender"


def test_expired_future_and_endless() -> None:
    assert rule(START_WALL_US + HOUR_US) == "expired"
    assert good(START_WALL_US + HOUR_US - 1).claims
    assert rule(START_WALL_US - FUTURE_US - 1_000_000) == "future"
    assert good(START_WALL_US - FUTURE_US).claims
    assert good(expires_us=START_WALL_US + 90 * 24 * HOUR_US).expires_us == START_WALL_US + VALID_MAX_US
    assert good(expires_us=0).expires_us == START_WALL_US + VALID_US
    assert rule(START_WALL_US + VALID_US, expires_us=0) == "expired"
    cancel = good(START_WALL_US + 30 * HOUR_US, identifier="two", kind="Cancel", references=reference("one"))
    assert cancel.references == ((SENDER, "one", START_WALL_US),), "a late Cancel still ends what it cancels"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"area": "<circle>45.44,28.03 -1</circle>"}, "circle"),
        ({"area": "<circle>45.44,28.03 nan</circle>"}, "circle"),
        ({"area": "<polygon>45,28 45,29 46,29</polygon>"}, "polygon"),
        ({"area": "<polygon>95,28 45,29 46,29 95,28</polygon>"}, "polygon"),
        ({"kind": "Update"}, "references"),
        ({"kind": "Update", "references": "nonsense"}, "references"),
        ({"identifier": "two words"}, "characters"),
        ({"severity": "Awful"}, "value"),
        ({"extra": "<more/>"}, "form"),
        ({"parameters": AWARE.format("99; frogs")}, "awareness"),
    ],
)
def test_what_is_against_the_rules_is_refused(more: dict[str, str], expected: str) -> None:
    assert rule(**more) == expected


def test_what_is_too_large_to_look_at_is_refused() -> None:
    corners = " ".join(f"45.{n % 1000:03d},28.{n % 997:03d}" for n in range(5001))
    assert rule(area=f"<polygon>{corners} 45.000,28.000</polygon>") == "area"
    many = " ".join(reference(f"r{n}") for n in range(401))
    assert rule(kind="Update", references=many) == "references"


def test_a_message_of_several_languages_counts_with_its_worst() -> None:
    text = written().decode()
    info = text[text.index("<info>") : text.index("</info>") + 7]
    milder = info.replace("<language>ro", "<language>en").replace("Extreme", "Severe")
    found = read(etree.fromstring(text.replace(info, milder + info)), SOURCE, GROUNDS, START_WALL_US)
    assert isinstance(found, Told)
    assert found.claims == (Claim("quay", Hazard.FLOOD, Level.DANGER),)


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="<&￾￿"), max_size=20)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["Actual", "Test", "x"]),
            "kind": st.sampled_from(["Alert", "Update", "Cancel", "Ack", "Error", "x"]),
            "severity": st.sampled_from(["Extreme", "Minor", "x"]),
            "references": st.one_of(TEXT, st.just(reference("zero"))),
            "area": st.sampled_from(
                ["", "<circle>0,0 0</circle>", "<polygon/>", "<geocode/>", "<circle>1e9,0 1</circle>"]
            ),
            "event": TEXT,
            "identifier": TEXT,
            "parameters": TEXT,
            "expires_us": st.integers(0, 4_000_000_000_000_000),
        },
    )
)
def test_any_message_is_read_or_refused(more: dict[str, object]) -> None:
    assert isinstance(told(**more), Told | Fault)  # type: ignore[arg-type]


def test_the_kit_writes_times_as_others_do() -> None:
    assert stamp(START_WALL_US).endswith("+00:00")
