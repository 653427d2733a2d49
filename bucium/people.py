"""A person at the control socket of the controller or a node: their key, whose it is by the plan, what they sign (design §2.4).

Nothing is signed that was not shown: an order core is put together from the fields that the person sees, and its digest must be
the one that the controller asks for.
"""

import base64
import secrets
from pathlib import Path
from typing import Any, Final

from cython_ext import BuciumError, Clock, SystemClock
from lanes.acts import APPROVE, EVENTS_MAX, ONCE_BYTES, AckAlarm, Act, sign_act, sign_approval
from lanes.control import ask
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode, SigningKey, read_key
from lanes.orders import OrderCore

UNSEEN: Final = ("unacknowledged", "returned-unacknowledged", "latched-unacknowledged")
SOCKET: Final = Path("/run/bucium/controller.sock")


class Person:
    """Signs with the key of a file; the plan says whose it is. ControlError when the service does not know it.

    `node`: the socket is a node's own, for a stop or a veto where no controller can be reached. `planner`: one who signs plans
    will do too.
    """

    def __init__(
        self, socket: Path, key: Path, clock: Clock | None = None, *, node: bool = False, planner: bool = False
    ) -> None:
        self._socket = socket
        self._key: SigningKey = read_key(key)
        self._clock = clock or SystemClock()
        status = ask(socket, "node.status" if node else "status")
        self.service: str = status["node" if node else "controller"]
        self._plan_version: int = status["plan"]["version"] if node else status["plan_version"]
        signer = ask(socket, "plan.signer", kid=self._key.kid.hex())
        self.id: str = signer["id"]
        self.mode = Mode[signer["mode"].upper()]
        self.zones: tuple[str, ...] = tuple(signer["zones"])
        if signer["role"] != "operator" and not (planner and signer["role"] == "planner"):
            raise BuciumError(f"this key is {signer['role']} {self.id}'s in the plan; a person's is needed ({key})")

    def do(self, act: Act, **beside: str) -> dict[str, Any]:
        """Sign the act and send it, with what goes beside it; what the controller answers when it is durable."""
        data = sign_act(
            act,
            person=self.id,
            service=self.service,
            key=self._key,
            now_us=self._clock.wall_us(),
            once=secrets.token_bytes(ONCE_BYTES),
            plan_version=self._plan_version,
        )
        answer: dict[str, Any] = ask(self._socket, act.VERB, act=base64.b64encode(data).decode(), **beside)
        return answer

    def acknowledge(self, alarm: str) -> dict[str, Any]:
        """Every event of the alarm that nobody has seen yet, in as many acts as that takes."""
        shown = ask(self._socket, "alarm.show", alarm=alarm)
        unseen = [EventKey.parse(each["event"]) for each in shown["evidence"] if not each["seen"]]
        if not unseen and shown["state"] in UNSEEN and shown["evidence"]:
            unseen = [
                EventKey.parse(shown["evidence"][-1]["event"])
            ]  # all was seen before it was muted; now it asks anew
        if not unseen:
            raise BuciumError("every event of this alarm has been acknowledged already")
        answer: dict[str, Any] = {}
        for first in range(0, len(unseen), EVENTS_MAX):
            answer = self.do(AckAlarm(AlarmId.parse(shown["alarm"]), tuple(unseen[first : first + EVENTS_MAX])))
        return answer

    def approve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say yes to a request as it was shown. BuciumError when the controller's digest is not of what was shown."""
        core = core_of(request)
        if core.digest().hex() != request["digest"]:
            raise BuciumError("the digest is not of the order that was shown; nothing was signed")
        data = sign_approval(
            core.digest(),
            nonces=tuple(bytes.fromhex(nonce) for nonce in request["nonces"]),
            person=self.id,
            service=self.service,
            key=self._key,
            now_us=self._clock.wall_us(),
            not_after_us=core.not_after_us,
            once=secrets.token_bytes(ONCE_BYTES),
            plan_version=self._plan_version,
        )
        answer: dict[str, Any] = ask(self._socket, APPROVE, approval=base64.b64encode(data).decode())
        return answer


def core_of(request: dict[str, Any]) -> OrderCore:
    """The order core that a described request stands for."""
    return OrderCore(
        bytes.fromhex(request["incident"]),
        tuple(request["zones"]),
        request["pattern"],
        Mode[request["mode"].upper()],
        request["max_s"],
        request["not_after_us"],
        bytes.fromhex(request["plan"]),
    )


def alarm_id(socket: Path, text: str) -> str:
    """The whole id of `zone/hazard`; anything longer is an id already."""
    if text.count("/") != 1:
        return text
    found = [a["alarm"] for a in ask(socket, "alarm.list") if f"{a['zone']}/{a['hazard']}" == text]
    if len(found) != 1:
        many = f"{len(found)} open alarms are {text}; name one by its whole id (--json shows it)"
        raise BuciumError(many if found else f"no open alarm {text}; see: bucium alarm list")
    return str(found[0])
