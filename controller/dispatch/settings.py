"""`[cap]` and `[[dispatch]]` of controller.toml: who speaks, in which languages, and to whom."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from lanes.plan_types import Id
from lanes.settings import Settings

from ..texts import LANGUAGES, Language


def _sender(text: str) -> str:
    if not text or re.search(r"[\s,&<]", text):
        raise ValueError("a CAP sender is one word without spaces, commas, '<' or '&', e.g. alarms@town.example")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a whole address, e.g. https://dispatch.example/alarms")
    if parts.username or parts.password:
        raise ValueError("an address carries no password; secrets stand in files of mode 0600")
    return text


def _mail_address(text: str) -> str:
    if not re.fullmatch(r"[!-?A-~]{1,64}@[0-9A-Za-z.-]{1,189}", text):
        raise ValueError(f"{text[:80]!r} is no e-mail address")
    return text


MailAddress = Annotated[str, AfterValidator(_mail_address)]
Sender = Annotated[str, AfterValidator(_sender)]
Url = Annotated[str, AfterValidator(_url)]
Line = Annotated[str, Field(max_length=160)]


class CapSettings(Settings):
    """What every CAP message says of its sender."""

    sender: Sender = Field("bucium@localhost.invalid", description="the globally unique name of this centre")
    sender_name: Line = Field("", description="the authority, as people know it")
    contact: Line = Field("", description="whom to call about a message")
    web: Url | Literal[""] = Field("", description="where people read more")
    languages: tuple[Language, ...] = Field(LANGUAGES, min_length=1, description="one info block each, in this order")
    scope: Literal["Public", "Restricted", "Private"] = Field("Public", description="whom CAP messages are for")
    restriction: Line = Field("", description="who may see it, when the scope is Restricted")
    addresses: Line = Field("", description="who receives it, when the scope is Private")
    valid_s: int = Field(
        7200, ge=600, le=86400, description="a message expires after this; it is renewed while the alarm lasts"
    )
    key: Path | None = Field(None, description="signs every message: EC P-256 or RSA, PEM, mode 0600")
    certificate: Path | None = Field(None, description="the key's certificate, PEM: what others pin")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.scope == "Restricted") != bool(self.restriction):
            raise ValueError("cap.restriction is for scope 'Restricted', and needed there")
        if (self.scope == "Private") != bool(self.addresses):
            raise ValueError("cap.addresses is for scope 'Private', and needed there")
        if (self.key is None) != (self.certificate is None):
            raise ValueError("cap.key and cap.certificate belong together; bucium keys issue ID --role cap makes both")
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("cap.languages names a language twice")
        return self


class _Channel(Settings):
    """What every `[[dispatch]]` has. `kind` is declared by each; here it keeps its place in the documentation."""

    kind: str
    name: Id = Field(description="how logs, receipts and troubles call this channel")

    @property
    def carries_cap(self) -> bool:
        """Whether signed CAP goes out by it, so that it needs `[cap] key`."""
        return False

    @property
    def takes(self) -> bool:
        """Whether it takes what is for everybody, or only calls people."""
        return True


class _Doubled(_Channel):
    """A channel that can fail: another may stand in for it, or it for another."""

    fallback: Id | None = Field(
        None, description="a standby channel: it takes as well what this one has not delivered in 45 s"
    )
    standby: bool = Field(
        False, description="true: takes only what another channel, whose fallback it is, does not deliver"
    )


class _Post(_Doubled):
    """A channel that posts to an HTTP receiver."""

    url: Url = Field(description="the receiver, e.g. https://dispatch.example/alarms")
    ca: Path | None = Field(None, description="PEM of the receiver's CA, when it is not a public one")
    timeout_s: float = Field(10.0, gt=0, le=60, description="the whole of one delivery")
    insecure: bool = Field(False, description="true: allow http:// beyond this machine; the content can then be read")

    @model_validator(mode="after")
    def _secure(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.insecure and not loopback(parts.hostname or ""):
            raise ValueError(f"channel {self.name!r}: use https://, or say insecure = true")
        if self.ca and parts.scheme != "https":
            raise ValueError(f"channel {self.name!r}: ca is for https:// addresses")
        return self


class _ToPeople(_Doubled):
    """A channel that writes to people: to a list, and to those of duty.toml."""

    timeout_s: float = Field(20.0, gt=0, le=60, description="the whole of one delivery")

    @property
    def takes(self) -> bool:
        return bool(getattr(self, "to", ()))


class WebhookSettings(_Post):
    """Posts each message to an HTTP receiver, signed after Standard Webhooks."""

    kind: Literal["webhook"] = Field(description="posts each message to an HTTP receiver")
    body: Literal["cap", "json"] = Field("cap", description="cap: the CAP XML; json: a summary with the same facts")
    secret_file: Path = Field(
        description="file of mode 0600 with whsec_… (24 to 64 bytes in base64); a second line while it changes"
    )

    @property
    def carries_cap(self) -> bool:
        return self.body == "cap"


class FilesSettings(_Doubled):
    """Writes each CAP message into a folder."""

    kind: Literal["files"] = Field(description="writes each CAP message into a folder")
    name: Id = Field("files", description="how logs, receipts and troubles call this channel")
    folder: Path = Field(description="the folder; it is made when it is not there")

    @property
    def carries_cap(self) -> bool:
        return True


class CapPushSettings(_Post):
    """Posts signed CAP to another centre's endpoint."""

    kind: Literal["cap"] = Field(description="posts signed CAP to another centre's endpoint")
    url: Url = Field(description="the endpoint, e.g. https://centre.example/cap/in/balti")
    ca: Path | None = Field(None, description="PEM of the endpoint's CA: then only that one counts, no public one")
    insecure: bool = Field(False, description="true: allow http:// beyond this machine; the signature still holds")
    certificate: Path | None = Field(None, description="our client certificate, PEM, where the endpoint asks for one")
    key: Path | None = Field(None, description="its key, PEM, mode 0600")

    @property
    def carries_cap(self) -> bool:
        return True

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.certificate and urlsplit(self.url).scheme != "https":
            raise ValueError(f"channel {self.name!r}: certificate is for https:// addresses")
        if (self.certificate is None) != (self.key is None):
            raise ValueError(f"channel {self.name!r}: certificate and key belong together")
        return self


class AtomSettings(_Channel):
    """Publishes CAP in the Atom feed of the `[listener]`."""

    kind: Literal["atom"] = Field(description="publishes CAP in the Atom feed of the [listener]")
    name: Id = Field("atom", description="how logs, receipts and troubles call this channel")
    title: Line = Field("CAP", min_length=1, description="the feed's title")

    @property
    def carries_cap(self) -> bool:
        return True


class MailSettings(_ToPeople):
    """Sends e-mail through an SMTP server."""

    kind: Literal["mail"] = Field(description="sends e-mail through an SMTP server")
    name: Id = Field(description="how logs, receipts, troubles and duty.toml call this channel")
    host: str = Field(min_length=1, max_length=253, description="the SMTP server")
    port: int = Field(587, ge=1, le=65535, description="its TCP port: 587 with starttls, 465 with tls")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="it must speak TLS, or nothing is sent; none: only to this machine, or with insecure"
    )
    ca: Path | None = Field(None, description="PEM of the server's CA, when it is not a public one")
    username: str = Field("", max_length=254, description="where the server asks for one")
    password_file: Path | None = Field(None, description="file of mode 0600 with its password")
    sender: MailAddress = Field(description="the From address; failures come back to it")
    sender_name: Line = Field("", description="the name beside it")
    to: tuple[MailAddress, ...] = Field(
        (), max_length=100, description="who gets every message; empty: it only calls people (duty.toml)"
    )
    insecure: bool = Field(False, description="true: allow security = none beyond this machine; all can then be read")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.security == "none" and not self.insecure and not loopback(self.host):
            raise ValueError(f"mail {self.name!r}: use starttls or tls, or say insecure = true")
        if self.security == "none" and self.ca:
            raise ValueError(f"mail {self.name!r}: ca is for starttls and tls")
        if bool(self.username) != (self.password_file is not None):
            raise ValueError(f"mail {self.name!r}: username and password_file belong together")
        return self


class AppriseSettings(_ToPeople):
    """Sends a short text through any service that apprise knows: SMS gateways, messengers."""

    kind: Literal["apprise"] = Field(description="sends one SMS' worth of text through a service that apprise knows")
    name: Id = Field(description="how logs, receipts, troubles and duty.toml call this channel")
    url_file: Path = Field(
        description="file of mode 0600, an apprise URL a line; {to} in it is the person's address, e.g. sinch://…/{to}"
    )
    to: tuple[Annotated[str, Field(min_length=1, max_length=254)], ...] = Field(
        (), max_length=100, description="who gets every message; empty: it only calls people (duty.toml)"
    )
    language: Language = Field("ro", description="of the text to those in `to`; a person has their own")
    timeout_s: float = Field(20.0, gt=0, le=60, description="one delivery to one address")


def _hex(low: int, high: int) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(f"[0-9A-Fa-f]{{{low},{high}}}", text):
            raise ValueError(
                f"must be {low} to {high} hex digits in quotation marks, as the receiving centre gave them"
            )
        return text.upper()

    return AfterValidator(check)


Host = Annotated[str, Field(min_length=1, max_length=253)]
Port = Annotated[int, Field(ge=1, le=65535)]
Transport = Literal["tcp", "udp"]


class SecondSettings(Settings):
    """`second` of a dc09 channel: the other way to the same centre."""

    host: Host = Field(description="the second receiver; best over another line")
    port: Port = Field(description="its port")
    transport: Transport = Field("tcp", description="how it is reached")
    poll_s: float = Field(
        900.0, ge=5, le=90_000, description="supervision while the first answers; after that as often as the first"
    )


class Dc09Settings(_Doubled):
    """Tells an alarm receiving centre by SIA DC-09."""

    kind: Literal["dc09"] = Field(description="tells an alarm receiving centre by SIA DC-09")
    host: Host = Field(description="the centre's receiver")
    port: Port = Field(description="its port, by agreement with the centre")
    transport: Transport = Field("tcp", description="how it is reached")
    protocol: Literal["SIA-DCS", "ADM-CID"] = Field(
        "SIA-DCS", description="SIA-DCS: two letters and text; ADM-CID: Contact ID, three digits"
    )
    flood_cid: Annotated[str, Field(pattern=r"^1\d\d$")] = Field(
        "154", description="Contact ID of a flood: 154, water leakage; 113, water flow, at a centre that knows no 154"
    )
    account: Annotated[str, _hex(3, 16)] = Field(description="our account at the centre, 3 to 16 hex digits")
    prefix: Annotated[str, _hex(1, 6)] = Field("0", description="the account prefix (L), 1 to 6 hex digits")
    receiver: Annotated[str, _hex(1, 6)] = Field("0", description="the receiver number (R), always sent")
    key: Path | None = Field(None, description="file of mode 0600 with the AES key; without it nothing is encrypted")
    key_form: Literal["hex", "text"] = Field(
        "hex", description="hex: 32, 48 or 64 digits; text: 16, 24 or 32 characters that are the key themselves"
    )
    answer_s: float = Field(5.0, gt=0, le=60, description="how long one answer may take")
    tries: int = Field(3, ge=1, le=10, description="sendings without an answer before a receiver counts as silent")
    poll_s: float = Field(
        60.0, ge=5, le=90_000, description="supervision: a NULL message after so long without any other"
    )
    second: SecondSettings | None = Field(None, description="another receiver of the same centre")
    areas: dict[Id, Annotated[int, Field(ge=1, le=99)]] = Field(
        default_factory=dict, description="zone = its area number at the centre, 1 to 99; a zone without one is area 0"
    )
    sirens: dict[Id, Annotated[int, Field(ge=1, le=999)]] = Field(
        default_factory=dict, description="siren = its point number, 1 to 999; a siren without one is point 0"
    )
    language: Language = Field("en", description="of the text, where the zone has it")
    charset: Literal["ascii", "utf-8"] = Field(
        "ascii", description="of the text: ascii (without accents, Cyrillic in Latin letters) is read by every receiver"
    )
    insecure: bool = Field(
        False, description="true: allow no key beyond this machine; anyone on the way can then forge"
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        hosts = (self.host, self.second.host) if self.second else (self.host,)
        if self.key is None and not self.insecure and not all(loopback(host) for host in hosts):
            raise ValueError(f"channel {self.name!r}: give it a key, or say insecure = true")
        if self.second and (self.second.host, self.second.port) == (self.host, self.port):
            raise ValueError(f"channel {self.name!r}: second is the first again; a second way leads elsewhere")
        for what, numbers in (("areas", self.areas), ("sirens", self.sirens)):
            shared = [number for number in numbers.values() if list(numbers.values()).count(number) > 1]
            if shared:
                both = ", ".join(name for name, number in numbers.items() if number == shared[0])
                raise ValueError(
                    f"channel {self.name!r}: {what}: {both} have one number, {shared[0]}; give each its own"
                )
        return self


class DeskSettings(_Doubled):
    """Closes relay contacts at the desk, through `bucium alarm lamps`."""

    kind: Literal["desk"] = Field(description="closes relay contacts at the desk, through bucium alarm lamps")
    name: Id = Field("desk", description="how logs, receipts and troubles call this channel")
    socket: Path = Field(Path("/run/bucium/desk.sock"), description="the socket that desk.toml names")
    timeout_s: float = Field(5.0, gt=0, le=60, description="how long the relays have to answer")


ChannelSettings = Annotated[
    WebhookSettings
    | FilesSettings
    | CapPushSettings
    | AtomSettings
    | MailSettings
    | AppriseSettings
    | Dc09Settings
    | DeskSettings,
    Field(discriminator="kind"),
]
CALLING: Final = frozenset({"mail", "apprise"})  # kinds that can call a person


def loopback(host: str) -> bool:
    """Whether this address cannot leave the machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
