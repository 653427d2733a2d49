"""The one gate through which CAP leaves: nothing unsigned, expired, or against the rules passes it (domain.md §5.4).

`publish` is asked when a message is written, with its bytes as they will be sent; `fresh` each time that one is handed out,
since a message may wait for a receiver longer than it is valid. What is refused is a Fault: the dispatcher journals it and
raises `dispatch-invalid`, and the alarm is still told by the channels that carry no CAP.
"""

from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import ParseError, fromstring

from . import capcheck
from .capcheck import Fault
from .capsign import Signer

FAULTS_MAX: Final = 3  # that are journaled of one message


@dataclass(frozen=True, slots=True)
class Verdict:
    """The signed message, or None and the rules that it breaks."""

    data: bytes | None
    faults: tuple[Fault, ...] = ()


def publish(message: bytes, signer: Signer | None, now_us: int) -> Verdict:
    """The canonical `message`, signed, if it may be published at `now_us` (UTC microseconds)."""
    if len(message) > capcheck.BYTES_MAX:
        return _refused(Fault("size", f"{len(message)} bytes, at most {capcheck.BYTES_MAX}"))
    try:
        root = fromstring(message)  # noqa: S314 - our own bytes, written a moment ago; a stranger's go through capcheck.parse
    except ParseError as error:
        return _refused(Fault("xml", str(error)[:120]))
    found = capcheck.examine(root, now_us)
    if found:
        return _refused(*dict.fromkeys(found))
    if signer is None:
        return _refused(Fault("unsigned", "no key: [cap] key and certificate are not set"))
    data = signer.sign(message)
    if len(data) > capcheck.BYTES_MAX:
        return _refused(Fault("size", f"{len(data)} bytes, at most {capcheck.BYTES_MAX}"))
    return Verdict(data)


def fresh(expires_us: int, now_us: int) -> bool:
    """Whether a message that `publish` let pass may still be handed out."""
    return now_us < expires_us


def _refused(*faults: Fault) -> Verdict:
    return Verdict(None, faults[:FAULTS_MAX])
