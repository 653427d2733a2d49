"""What reached the outside: CAP files in the folder, and posts at the dispatch centre's server; each judged as it comes."""

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bucium.demo.chains import Chains
from bucium.demo.happening import Teller
from bucium.demo.receiver import Post, Receiver
from controller.dispatch import capcheck, capform
from controller.inbound import trust
from controller.inbound.trust import Pin
from cython_ext import Clock, Hazard
from lanes.identity import AlarmId

LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """One CAP message, in a file or in a post. `faults` empty: it is valid."""

    identifier: str
    type: str
    severity: str
    alarm: AlarmId | None
    body: bytes
    faults: tuple[str, ...]
    judge: str  # "schema" when OASIS's own judged too, else "rules"


def judge(body: bytes, pins: tuple[Pin, ...]) -> Told:
    """Read a CAP message as another centre would, which has pinned the certificate, and judge it."""
    root = capcheck.parse(body)
    if isinstance(root, capcheck.Fault):
        return Told("", "", "", None, body, (str(root),), "rules")
    found = [str(fault) for fault in capcheck.faults(body)]
    signed = trust.verified(body, pins)
    if isinstance(signed, capcheck.Fault):
        found.append(str(signed))
    schema = capcheck.schema_faults(body)
    names = {"c": capform.NAMESPACE}

    def text(path: str) -> str:
        return str(root.xpath(f"string({path})", namespaces=names))

    try:
        alarm = AlarmId.parse(text("//c:parameter[c:valueName='bucium_alarm']/c:value"))
    except (ValueError, KeyError):
        alarm = None
        found.append("it names no alarm")
    return Told(
        text("c:identifier"),
        text("c:msgType"),
        text("c:info/c:severity"),
        alarm,
        body,
        (*found, *(schema or ())),
        "rules" if schema is None else "schema",
    )


class CapWatch:
    """Follows the folder and the server."""

    def __init__(
        self,
        folder: Path,
        receiver: Receiver,
        secret: bytes,
        certificate: Path,
        *,
        clock: Clock,
        teller: Teller,
        chains: Chains,
    ) -> None:
        self._folder = folder
        self._receiver = receiver
        self._secret = secret
        self._pins = trust.pinned((certificate,))
        self._clock = clock
        self._teller = teller
        self._chains = chains
        self._names: set[str] = set()
        self._posts = 0
        self.files: list[Told] = []
        self.posts: list[Told] = []
        self.unsigned: list[str] = []  # posts whose signature is not ours

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read what is new."""
        for path in sorted(self._folder.glob("*.xml")):
            if path.name not in self._names:
                self._names.add(path.name)
                self._file(path)
        while self._posts < len(self._receiver.posts):
            post = self._receiver.posts[self._posts]
            self._posts += 1
            self._post(post)

    def _file(self, path: Path) -> None:
        told = judge(path.read_bytes(), self._pins)
        self.files.append(told)
        at_ns = self._monotonic(path.stat().st_mtime_ns // 1000)
        self._note(told, "cap", at_ns)
        verdict = "valid" if not told.faults else f"INVALID: {told.faults[0]}"
        self._teller.tell(
            "cap",
            f"{told.type} {told.severity} {told.identifier[:48]}… {verdict}",
            at_ns=at_ns,
            file=path.name,
            identifier=told.identifier,
            type=told.type,
            severity=told.severity,
            faults=list(told.faults),
            judge=told.judge,
            **_place(told),
        )

    def _post(self, post: Post) -> None:
        told = judge(post.body, self._pins)
        self.posts.append(told)
        signed = _signature(self._secret, post) == post.headers.get("webhook-signature", "")
        if not signed:
            self.unsigned.append(told.identifier)
        at_ns = self._monotonic(post.at_us)
        self._note(told, "webhook", at_ns)
        self._teller.tell(
            "webhook",
            f"the dispatch centre has {told.type} {told.identifier[:40]}…, signature {'good' if signed else 'BAD'}",
            at_ns=at_ns,
            identifier=told.identifier,
            type=told.type,
            bytes=len(post.body),
            signed=signed,
            **_place(told),
        )

    def _note(self, told: Told, step: str, at_ns: int) -> None:
        if told.alarm:
            self._chains.told(told.alarm.hazard, step, told.identifier, at_ns)

    def _monotonic(self, wall_us: int) -> int:
        """A wall-clock instant as monotonic nanoseconds, by the difference of both clocks now."""
        return self._clock.monotonic_ns() - (self._clock.wall_us() - wall_us) * 1000


def _place(told: Told) -> dict[str, str]:
    if told.alarm is None:
        return {"zone": "", "hazard": ""}
    return {"zone": told.alarm.zone, "hazard": Hazard(told.alarm.hazard).name.lower()}


def _signature(secret: bytes, post: Post) -> str:
    """Standard Webhooks, in the receiver's own words: it shares no line with the sender."""
    signed = f"{post.headers.get('webhook-id', '')}.{post.headers.get('webhook-timestamp', '')}.".encode() + post.body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
