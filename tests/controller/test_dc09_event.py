"""What an alarm receiving centre reads: each of our changes in SIA-DCS and Contact ID, judged by siadc09 and pysiaalarm."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pysiaalarm import SIAAccount, SIAEvent
from siadc09 import dc03, dc05
from siadc09 import message as siadc09

from controller import texts
from controller.alarm.changes import AlarmChange, ChangeKind
from controller.dispatch import Message
from controller.dispatch.dc09 import event as events
from controller.dispatch.dc09.event import Form, forms, read, sequence_of
from controller.dispatch.dc09.frame import Frame, encode
from controller.dispatch.dc09.plain import ascii_of, field
from controller.dispatch.settings import Dc09Settings
from controller.drillnotice import DrillKind
from controller.notices import NoticeKind
from cython_ext import Hazard, Level
from lanes.keys import Mode
from tests.kit.arc_messages import drill, messages, notice, settings, stuck
from tests.kit.clock import START_WALL_US
from tests.kit.telling import DEMO, change, reading

PATIENT = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW_US = START_WALL_US + 1_000_000
WHOLE = settings()
CID = settings(protocol="ADM-CID")
LIVE_SIA = {"FA", "FS", "FR", "WA", "WS", "WR", "YA", "YH", "TA", "TR"}
LIVE_CID = {"110", "154", "320", "137"}
FIRE = {"hazard": Hazard.FIRE, "zone": "market"}


def form_of(message: Message, how: Dc09Settings = WHOLE, now_us: int = NOW_US) -> Form:
    return forms(read(message, how), how, now_us)[0]


def raw(form: Form, key: bytes | None = None) -> bytes:
    return encode(Frame(form.protocol, 1, "1234", data=form.data, extended=form.extended, stamp_s=NOW_US // 10**6), key)


def one(told: object, how: Dc09Settings = WHOLE, root: str = "GALATI") -> Form:
    (message,) = messages(told, root=root)  # type: ignore[arg-type]
    return form_of(message, how)


@pytest.mark.parametrize(
    ("told", "sia", "cid"),
    [
        (change(level=Level.DANGER), "Nri7/WA007", "1154 07 007"),
        (change(level=Level.ALARM), "Nri7/WA007", "1154 07 007"),
        (change(level=Level.ATTENTION), "Nri7/WS007", "1154 07 007"),
        (change(ChangeKind.ESCALATED, Level.DANGER, Level.ALARM), "Nri7/WA007", "1154 07 007"),
        (change(ChangeKind.ESCALATED, Level.ALARM, Level.ATTENTION), "Nri7/WA007", "1154 07 007"),
        (change(ChangeKind.LOWERED, Level.ALARM, Level.DANGER), "Ori7/WA007", "6154 07 007"),
        (change(ChangeKind.LOWERED, Level.ATTENTION, Level.DANGER), "Ori7/WA007", "6154 07 007"),
        (change(ChangeKind.ACKNOWLEDGED, Level.DANGER, Level.DANGER), "Ori7/WA007", "6154 07 007"),
        (change(ChangeKind.ACKNOWLEDGED, Level.ATTENTION, Level.ATTENTION), "Ori7/WS007", "6154 07 007"),
        (change(ChangeKind.ACKNOWLEDGED, Level.NORMAL, Level.NORMAL), "Ori7/WR007", "3154 07 007"),
        (change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER), "Nri7/WR007", "3154 07 007"),
        (change(level=Level.DANGER, **FIRE), "NFA000", "1110 00 000"),
        (change(level=Level.ATTENTION, **FIRE), "NFS000", "1110 00 000"),
        (change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER, **FIRE), "NFR000", "3110 00 000"),
        (change(muted="shelved"), "Ori7/WA007", "6154 07 007"),
        (change(ChangeKind.MUTED, Level.DANGER, Level.DANGER, muted="shelved"), "Ori7/WA007", "6154 07 007"),
        (change(ChangeKind.RELEASED, Level.DANGER, Level.DANGER), "Nri7/WA007", "1154 07 007"),
        (stuck(), "Nri7/WA007", "1154 07 007"),
        (stuck(Level.ATTENTION), "Nri7/WS007", "1154 07 007"),
        (stuck(over=True), "Ori7/WA007", "6154 07 007"),
        (notice(NoticeKind.FAILED), "Nri7/YA301", "1320 07 301"),
        (notice(NoticeKind.SOUNDED), "Nri7/YH301", "3320 07 301"),
        (notice(NoticeKind.UNORDERED), "Nri7/TA301", "1137 07 301"),
        (notice(NoticeKind.QUIET), "Nri7/TR301", "3137 07 301"),
    ],
)
def test_each_change_has_its_code(told: object, sia: str, cid: str) -> None:
    assert one(told).data.decode() == f"#1234|{sia}"
    assert one(told, CID).data.decode() == f"#1234|{cid}"


@pytest.mark.parametrize("muted", ["shelved", "suppressed", "out-of-service"])
def test_what_is_muted_says_so_before_anything_else(muted: str) -> None:
    (message,) = messages(change(muted=muted))
    text = read(message, WHOLE).text
    assert text.startswith({"shelved": "[shelved]", "suppressed": "[suppressed", "out-of-service": "[out of"}[muted])
    assert not read(messages(change())[0], WHOLE).text.startswith("[")


def test_all_codes_are_in_the_standards_lists() -> None:
    for code in [*events.SIREN.values(), events.TEST]:
        assert code.sia in dc03.BLOCK[code.block]["block"]
        assert code.cid in dc05.EVENT
    for letter in events.LETTER.values():
        for last in "ARS":
            assert letter + last in dc03.BLOCK["N"]["block"]
    assert {"110", "113", "154"} <= set(dc05.EVENT)
    assert "YY" in dc03.BLOCK["N"]["block"]


def test_a_centre_that_knows_no_water_leakage_is_told_water_flow() -> None:
    assert one(change(), settings(protocol="ADM-CID", flood_cid="113")).data == b"#1234|1113 07 007"


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_what_is_acknowledged_when_it_is_over_names_no_level(language: str) -> None:
    form = one(
        change(ChangeKind.ACKNOWLEDGED, Level.NORMAL, Level.NORMAL), settings(language=language, charset="utf-8")
    )
    (text,) = [each[1:].decode() for each in form.extended if each[:1] == b"I"]
    assert not any(texts.text(language, f"event.flood.{level}") in text for level in ("attention", "alarm", "danger"))
    assert texts.text(language, "hazard.flood") in text


def test_a_contact_s_value_says_nothing_to_an_operator() -> None:
    (message,) = messages(change(readings=(reading(1, point="smoke-1", value=1.0),)))
    facts = json.loads(message.summary)
    facts["evidence"][0]["unit"] = "1"
    event = read(Message(1, "x", "a", True, 0, 0, None, json.dumps(facts).encode()), WHOLE)
    assert event.text == "Old quay: Danger level reached: severe flood (red)"


def test_a_renewal_is_no_new_alarm() -> None:
    (message,) = messages(change())
    facts = json.loads(message.summary) | {"renewed": True}
    again = Message(2, "x", "a", False, 0, 0, None, json.dumps(facts).encode())
    assert form_of(again).data == b"#1234|Ori7/WA007"
    assert form_of(again, CID).data == b"#1234|6154 07 007"


def test_siadc09_shows_the_operator_what_happened() -> None:
    theirs = siadc09.parse_frame(raw(one(change())))
    shown = str(theirs)
    for words in ("New Event: Water Alarm", "Old quay: Danger level reached: severe flood (red) (gauge-1 426 cm)"):
        assert words in shown
    got = {each.prefix: each.value for each in theirs.xdata}
    assert got["H"] == datetime.fromtimestamp(START_WALL_US // 10**6, UTC)
    assert (got["T"], got["L"], got["X"], got["Y"]) == ("W", "Old quay", "028E01.800", "45N26.400")
    shown = str(siadc09.parse_frame(raw(one(change(ChangeKind.CLEARED, Level.NORMAL, Level.DANGER), CID))))
    assert "Water Leakage Zone 7" in shown  # siadc09 1.0.1 has 2 for a restore; DC-05 and pysiaalarm have 3


# What is not live.

NOT_LIVE = [
    *(change(kind, level, was, mode=mode)
      for mode in (Mode.EXERCISE, Mode.TEST)
      for kind, level, was in (
          (ChangeKind.RAISED, Level.DANGER, Level.NORMAL),
          (ChangeKind.ESCALATED, Level.DANGER, Level.ALARM),
          (ChangeKind.LOWERED, Level.ALARM, Level.DANGER),
          (ChangeKind.CLEARED, Level.NORMAL, Level.DANGER),
          (ChangeKind.ACKNOWLEDGED, Level.DANGER, Level.DANGER),
      )),
    *(notice(kind, mode) for kind in NoticeKind for mode in (Mode.EXERCISE, Mode.TEST)),
    *(drill(kind) for kind in DrillKind),
    stuck(mode=Mode.EXERCISE),
    stuck(mode=Mode.TEST),
]  # fmt: skip
MARKS = {
    "en": ("EXERCISE", "TEST"),
    "ro": ("EXERCITIU", "TEST"),
    "ru": ("UCHENYE", "TEST"),
    "uk": ("NAVCHANNIA", "TEST"),
}


@pytest.mark.parametrize("told", NOT_LIVE, ids=lambda told: f"{told.kind}-{getattr(told, 'mode', '')}")
@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_exercise_and_test_never_look_live(told: object, language: str) -> None:
    for protocol in ("SIA-DCS", "ADM-CID"):
        how = settings(protocol=protocol, language=language)
        (message,) = messages(told)  # type: ignore[arg-type]
        for form in forms(read(message, how), how, NOW_US):
            said = form.data.decode()
            assert "RX" in said if form.protocol == "SIA-DCS" else "|1601 " in said
            assert not any(code + "007" in said or code + "301" in said for code in LIVE_SIA)
            marked = said.split("|A")[-1] if form.how == "bare" and form.protocol == "SIA-DCS" else ""
            for each in form.extended:
                assert each[:1] != b"T"
                marked = each[1:].decode() if each[:1] == b"I" else marked
            if marked:
                assert marked.startswith(MARKS[language]), marked


@pytest.mark.parametrize("told", [change(), notice(NoticeKind.UNORDERED), change(ChangeKind.CLEARED, Level.NORMAL)])
def test_nothing_under_the_demo_root_looks_live(told: object) -> None:
    form = one(told, root=DEMO)
    assert b"RX" in form.data
    assert any(each.startswith(b"ITEST: ") for each in form.extended)


def test_no_account_is_ever_taken_out_of_service() -> None:
    """TS and TE ("communicator taken out of operation") would silence the next real alarm at the centre."""
    codes = {code.sia for code in (*events.SIREN.values(), events.TEST)} | {a + b for a in "WF" for b in "ARS"} | {"YY"}
    assert not codes & {"TS", "TE", "FI", "FK", "TX", "FB", "WB"}


# Numbers, text, place.


@PATIENT
@given(st.integers(1, 1 << 40))
def test_the_sequence_number_is_the_message_s_own_from_1_to_9999(number: int) -> None:
    assert 1 <= sequence_of(number) <= 9999
    assert sequence_of(number) == sequence_of(number + 9999)
    assert sequence_of(number + 1) == (1 if sequence_of(number) == 9999 else sequence_of(number) + 1)


def test_what_is_told_late_says_when_it_happened() -> None:
    (message,) = messages(change())
    for seconds, late in ((299, False), (302, True), (86_400 * 30, True)):
        form = form_of(message, now_us=START_WALL_US + seconds * 10**6)
        (text,) = [each for each in form.extended if each[:1] == b"I"]
        assert text.startswith(b"ILATE, of 02.01.2026 03:00 UTC: Old quay") is late
        assert b"H03:00:00,01-02-2026" in form.extended


@pytest.mark.parametrize(
    ("value", "signs", "digits", "written"),
    [
        (-93.390933, "EW", 3, b"093W23.456"),
        (45.390933, "NS", 2, b"45N23.456"),
        (0.0, "NS", 2, b"00N00.000"),
        (-0.00001, "NS", 2, b"00S00.001"),
        (179.9999999, "EW", 3, b"180E00.000"),
        (27.9999999, "EW", 3, b"028E00.000"),
    ],
)
def test_degrees_as_the_standard_writes_them(value: float, signs: str, digits: int, written: bytes) -> None:
    assert events.degrees(value, signs, digits) == written


def test_a_zone_without_a_place_is_told_without_one() -> None:
    assert [each[:1] for each in one(change(level=Level.DANGER, **FIRE)).extended] == [b"H", b"I", b"L", b"T"]


def test_the_middle_of_a_polygon_is_its_place() -> None:
    from controller.dispatch.cap import Author
    from controller.dispatch.outbox import MEMORY, Outbox
    from tests.kit import telling
    from tests.kit.arc_messages import CAP

    outbox = Outbox(MEMORY, {"arc": lambda _: True})
    outbox.tell(Author(telling.plan(circle=None), CAP), [change()], START_WALL_US)
    (message,) = outbox.due("arc", (), 1)
    outbox.close()
    assert json.loads(message.summary)["zone"]["position"] == [45.443333, 28.023333]


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("charset", ["ascii", "utf-8"])
@pytest.mark.parametrize("key", [None, b"0123456789ABCDEF" * 2], ids=["plain", "aes"])
def test_any_text_fits_the_frame_that_the_smallest_receiver_reads(
    language: str, charset: str, key: bytes | None
) -> None:
    how = settings(language=language, charset=charset, account="1234567890ABCDEF", prefix="ABCDEF", receiver="ABCDEF")
    many = tuple(reading(seq, point="gauge-" + "x" * 26, value=-1234.5678) for seq in range(1, 17))
    (message,) = messages(change(ChangeKind.ESCALATED, readings=many))
    facts = json.loads(message.summary)
    facts["zone"]["name"] = dict.fromkeys(texts.LANGUAGES, "Ж" * 400)
    facts["texts"][next(iter(facts["texts"]))]["headline"] = "Щ" * 400
    huge = Message(1, "x", "a", True, 0, 0, None, json.dumps(facts).encode())
    for form in forms(read(huge, how), how, START_WALL_US + 10**12):
        whole = Frame(form.protocol, 9999, how.account, how.prefix, how.receiver, form.data, form.extended, 10**9)
        assert len(encode(whole, key)) <= events.READ_BYTES
        for block in form.data.split(b"|"):
            assert len(block) <= 63


@PATIENT
@given(st.text(max_size=300), st.integers(1, 90), st.sampled_from(["ascii", "utf-8"]))
def test_a_field_never_ends_early(text: str, most: int, charset: str) -> None:
    data = field(text, most, charset)  # type: ignore[arg-type]
    assert len(data) <= max(most, 3)
    assert not set(data) & set(b"[]|\r\n")
    data.decode("ascii" if charset == "ascii" else "utf-8")


def test_accents_fall_and_cyrillic_is_written_in_latin() -> None:
    assert (
        ascii_of("Ștefan cel Mare, Țuțora: pericol „roșu” – 3 °C")
        == 'Stefan cel Mare, Tutora: pericol "rosu" - 3  degC'
    )
    assert ascii_of("Старий причал, Щербинівка, Їжак") == "Staryi prychal, Shcherbynivka, Izhak"
    assert ascii_of("水") == "?"


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("protocol", ["SIA-DCS", "ADM-CID"])
def test_pysiaalarm_takes_one_of_the_forms_of_everything(language: str, protocol: str) -> None:
    """Also of what it knows nothing of: whatever we tell, a receiver like it can take."""
    how = settings(language=language, protocol=protocol)
    changes: list[AlarmChange] = [
        change(kind, level, was, seq=5, at_us=START_WALL_US + n, **facts)
        for n, (kind, level, was) in enumerate(
            [
                (ChangeKind.RAISED, Level.ATTENTION, Level.NORMAL),
                (ChangeKind.ESCALATED, Level.DANGER, Level.ATTENTION),
                (ChangeKind.ACKNOWLEDGED, Level.DANGER, Level.DANGER),
                (ChangeKind.LOWERED, Level.ALARM, Level.DANGER),
                (ChangeKind.CLEARED, Level.NORMAL, Level.ALARM),
            ]
        )
        for facts in ({}, FIRE)
    ]
    told = [
        *changes,
        stuck(),
        stuck(over=True),
        *(notice(kind) for kind in NoticeKind),
        *(drill(kind) for kind in DrillKind),
    ]
    account = SIAAccount("1234", None, None)
    for each in told:
        (message,) = messages(each)
        taken = 0
        for form in forms(read(message, how), how, NOW_US):
            try:
                event = SIAEvent.from_line(raw(form).decode("ascii").strip(), {"1234": account})
            except Exception as error:  # noqa: BLE001 - theirs, of any kind
                assert "EventFormatError" in type(error).__name__
                continue
            assert event.valid_message
            taken += not event.code_not_found
        assert taken, message.identifier
