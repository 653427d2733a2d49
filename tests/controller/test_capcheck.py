"""Our rules against OASIS's schema: we never pass what it refuses; and the rules that it does not know."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from controller.dispatch import capcheck, capform
from controller.dispatch.cap import Author, MessageType, Place
from controller.dispatch.settings import CapSettings
from tests.kit.clock import START_WALL_US
from tests.kit.telling import change, plan

REFERENCE = "a@b,one,2026-01-02T02:00:00-00:00"


def message(kind: MessageType = MessageType.UPDATE) -> bytes:
    where = Place("two", kind, (REFERENCE,), START_WALL_US, START_WALL_US + 7_200_000_000)
    author, told = Author(plan(), CapSettings(sender="a@b")), change()
    return author.compose(told, where, author.write(told))


GOOD = message().decode()


def rules(text: str | bytes, now_us: int | None = None) -> set[str]:
    data = text.encode() if isinstance(text, str) else text
    return {fault.rule for fault in capcheck.faults(data, now_us)}


def test_the_message_that_is_bent_below_is_good() -> None:
    assert rules(GOOD, START_WALL_US) == set()


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<identifier>two", "<identifier>two words", "characters"),
        ("<identifier>two", "<identifier>two,three", "characters"),
        ("<identifier>two", "<identifier>two&amp;three", "characters"),
        ("<sender>a@b", "<sender>a b", "characters"),
        ("<sent>2026-01-02T03:00:00-00:00", "<sent>2026-01-02T03:00:00Z", "value"),
        ("<sent>2026-01-02T03:00:00-00:00", "<sent>2026-01-02T03:00:00.5-00:00", "value"),
        ("<sent>2026-01-02T03:00:00-00:00", "<sent>2026-01-02T03:00:00,02:00", "value"),
        ("<sent>2026-01-02T03:00:00-00:00", "<sent>2026-02-30T03:00:00-00:00", "value"),
        ("<status>Actual", "<status>Real", "value"),
        ("<status>Actual", "<status>Exercise", "note"),
        ("<msgType>Update", "<msgType>Cancel", "note"),
        ("<scope>Public", "<scope>Restricted", "scope"),
        ("<scope>Public</scope>", "<scope>Public</scope><restriction>us</restriction>", "scope"),
        ("<scope>Public", "<scope>Private", "scope"),
        (f"<references>{REFERENCE}</references>", "", "references"),
        (REFERENCE, "one", "references"),
        (REFERENCE, "a@b,one,2026-01-02T02:00:00Z", "references"),
        (REFERENCE, "a@b,two,2026-01-02T02:00:00-00:00", "references"),
        ("<responseType>Execute", "<responseType>NoResponse", "value"),
        ("<certainty>Observed", "<certainty>Very Likely", "value"),
        ("<category>Met</category>", "", "form"),
        ("<event>", "<event> </event><event>", "form"),
        ("<expires>2026-01-02T05:00:00-00:00", "<expires>2026-01-02T03:00:00-00:00", "expires"),
        ("<value>4; red; Extreme", "<value>2; yellow; Moderate", "awareness"),
        ("<value>4; red; Extreme", "<value>5; black; Extreme", "awareness"),
        ("<value>12; flooding", "<value>99; frogs", "awareness"),
        ("28.05 45.43,28.01<", "28.05 45.44,28.01<", "polygon"),
        ("45.43,28.01 45.45", "95.43,28.01 45.45", "polygon"),
        (">45.43,28.01 45.45,28.01 45.45,28.05 45.43,28.01<", ">45.43,28.01 45.43,28.01<", "polygon"),
        ("28.03 1.5<", "28.03 -1<", "circle"),
        ("28.03 1.5<", "28.03 nan<", "circle"),
        ("28.03 1.5<", "28.03<", "circle"),
        ("</area>", "<ceiling>3</ceiling></area>", "ceiling"),
        ("</area>", "<altitude>4</altitude><ceiling>3</ceiling></area>", "ceiling"),
        ("cap:1.2", "cap:1.1", "namespace"),
        ("<alert", "<!DOCTYPE alert [<!ENTITY e 'x'>]><alert", "doctype"),
        ("</alert>", "", "xml"),
    ],
)
def test_each_rule_is_kept(old: str, new: str, rule: str) -> None:
    assert old in GOOD
    assert rule in rules(GOOD.replace(old, new))


def test_an_expired_message_may_not_be_published() -> None:
    expires_us = START_WALL_US + 7_200_000_000
    assert rules(GOOD, expires_us - 1) == set()
    assert rules(GOOD, expires_us) == {"expired"}
    assert "expires" in rules(GOOD.replace("<expires>2026-01-02T05:00:00-00:00</expires>", ""), START_WALL_US)


def test_entities_bombs_and_outside_files_are_not_followed() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(8)
    )
    assert rules(f"{bomb}]><alert xmlns='{capform.NAMESPACE}'>&i;</alert>") <= {"doctype", "xml"}
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    assert rules(f"{outside}<alert xmlns='{capform.NAMESPACE}'>&x;</alert>") <= {"doctype", "xml"}
    assert rules(b" " * (capcheck.BYTES_MAX + 1)) == {"size"}
    assert rules("<a>" * 5000) == {"xml"}


def test_a_signature_may_follow_the_infos() -> None:
    signature = f'<Signature xmlns="{capcheck.SIGNATURES}"/>'
    assert rules(GOOD.replace("</alert>", f"{signature}</alert>")) == set()
    assert "form" in rules(GOOD.replace("<info>", f"{signature}<info>", 1))


ELEMENTS = [each for each in etree.fromstring(GOOD.encode()).iter() if isinstance(each.tag, str)]
TEXTS = st.one_of(
    st.sampled_from(["", " ", "None", "Public", "2026-01-02T03:00:00-00:00", "2026-01-02T24:00:00-00:00", "-1", "x,y"]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="￾￿"), max_size=12),
)


@given(st.data())
def test_what_oasis_refuses_we_refuse(data: st.DataObject) -> None:
    """Messages bent at random: removed, moved, doubled, renamed elements and other texts."""
    root = etree.fromstring(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        every = [each for each in root.iter() if each is not root]
        one = data.draw(st.sampled_from(every), label="element")
        parent = one.getparent()
        how = data.draw(st.sampled_from(["text", "remove", "double", "move", "rename", "nest", "tail", "attribute"]))
        if how == "text" and len(one) == 0:
            one.text = data.draw(TEXTS)
        elif how == "remove":
            parent.remove(one)
        elif how == "double":
            parent.insert(parent.index(one), deepcopy(one))
        elif how == "move":
            parent.insert(data.draw(st.integers(0, len(parent) - 1)), one)
        elif how == "rename":
            one.tag = data.draw(st.sampled_from(ELEMENTS)).tag
        elif how == "tail":
            one.tail = data.draw(st.sampled_from(["x", " ", "\n"]))
        elif how == "attribute":
            one.set(data.draw(st.sampled_from(["id", "{urn:x}y"])), "1")
        elif how == "nest":
            one.append(deepcopy(data.draw(st.sampled_from(ELEMENTS))))
    bent = etree.tostring(root, with_tail=False)
    refused = capcheck.schema_faults(bent)
    assert refused is not None
    if refused:
        assert capcheck.faults(bent), refused


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    assert capcheck.faults(data)
