"""One DC-09 frame to and from bytes (SIA DC-09; domain.md §5.2).

    LF CCCC 0LLL "id" seq [Rreceiver] Lprefix #account [data] [xdata]… _HH:MM:SS,MM-DD-YYYY CR

CRC and length cover what stands between them and the CR. Encrypted, the id has a leading `*`, and what follows the first `[`
is AES-CBC in hex: 16 to 31 random bytes, `|`, data, `]`, xdata, stamp. The initial vector is zero and there is no MAC: the CRC
and the stamp are all that the standard has against forgery, so an answer counts only for what path.py has just asked.

Strict in what is sent. Of what comes, it bears what receivers were seen to do: a CRC of two raw bytes, `NoneL0` where no
receiver number was given, a NAK whose account is `A0` without `#`.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ACK: Final = "ACK"
NAK: Final = "NAK"
DUH: Final = "DUH"
NULL: Final = "NULL"
SEQUENCE_MAX: Final = 9999
BODY_BYTES_MAX: Final = 0xFFF  # the length has three hex digits
_LF, _CR, _QUOTE = b"\n", b"\r", ord('"')
_BLOCK: Final = 16
_NEVER_PAD: Final = b"[]|"
_BODY: Final = re.compile(rb'"(\*?)([A-Z0-9-]{2,8})"(\d{4})([^"\[\]]{0,48})\[(.*)', re.DOTALL)
_ADDRESS: Final = re.compile(
    rb"(?:R(?P<receiver>[0-9A-Fa-f]{1,6})|None)?L(?P<prefix>[0-9A-Fa-f]{1,6})#(?P<account>[0-9A-Fa-f]{3,16})"
)
_CONTENT: Final = re.compile(rb"([^\[\]]*)\]((?:\[[^\[\]]*\])*)(?:_(.*))?", re.DOTALL)
_STAMP: Final = re.compile(rb"(\d\d):(\d\d):(\d\d),(\d\d)-(\d\d)-(\d{4})")

Pad = Callable[[int], bytes]


class Malformed(Exception):
    """Not a frame that can be used. `why`: one stable word."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame says. `account`, `prefix`, `receiver`: hex digits as written; `extended` with its letter; UTC seconds."""

    token: str
    sequence: int
    account: str
    prefix: str = "0"
    receiver: str | None = "0"
    data: bytes = b""
    extended: tuple[bytes, ...] = ()
    stamp_s: int | None = None
    encrypted: bool = False


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        row = byte
        for _ in range(8):
            row = row >> 1 ^ (0xA001 if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_CRC: Final = _table()


def crc(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0xA001 reflected, from 0."""
    value = 0
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value


def stamp(at_s: int) -> bytes:
    """An instant as DC-09 writes it: GMT, whole seconds."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S,%m-%d-%Y").encode("ascii")


def _instant(text: bytes) -> int:
    found = _STAMP.fullmatch(text)
    if found is None:
        raise Malformed("stamp")
    hour, minute, second, month, day, year = (int(each) for each in found.groups())
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        raise Malformed("stamp") from None


def random_pad(length: int) -> bytes:
    """Random bytes without the three that end a field."""
    pad = b""
    while len(pad) < length:
        pad += os.urandom(length + 8).translate(None, _NEVER_PAD)
    return pad[:length]


def encode(frame: Frame, key: bytes | None = None, pad: Pad = random_pad) -> bytes:
    """The frame's bytes, encrypted when there is a `key` (16, 24 or 32 bytes). ValueError: it cannot be written."""
    receiver = "" if frame.receiver is None else f"R{frame.receiver}"
    address = f"{receiver}L{frame.prefix}#{frame.account}".encode("ascii")
    if _ADDRESS.fullmatch(address) is None or not 0 <= frame.sequence <= SEQUENCE_MAX:
        raise ValueError(f"not an address or sequence number of DC-09: {address!r}, {frame.sequence}")
    if any(mark in each for each in (frame.data, *frame.extended) for mark in (b"[", b"]", _LF, _CR)):
        raise ValueError("brackets and line ends cannot stand in a field")
    content = frame.data + b"]" + b"".join(b"[" + each + b"]" for each in frame.extended)
    if frame.stamp_s is not None:
        content += b"_" + stamp(frame.stamp_s)
    if key is not None:
        if frame.stamp_s is None:
            raise ValueError("an encrypted frame needs a stamp")
        content = _encrypt(content, key, pad)
    star = "*" if key is not None else ""
    body = f'"{star}{frame.token}"{frame.sequence:04d}'.encode("ascii") + address + b"[" + content
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"{len(body)} bytes, at most {BODY_BYTES_MAX}")
    return b"%b%04X%04X%b%b" % (_LF, crc(body), len(body), body, _CR)


def take(buffer: bytearray) -> bytes | None:
    """The first whole frame of a stream, taken off `buffer`; None: more must come. Malformed: this stream is no DC-09."""
    while buffer[:1] and buffer[:1] != _LF:
        del buffer[0]  # what stands between frames means nothing
    if len(buffer) < 10:
        return None
    head = 9 if buffer[9] == _QUOTE else 7 if buffer[7] == _QUOTE else 0
    try:
        length = int(buffer[head - 4 : head].decode("ascii"), 16) if head else 0
    except ValueError:
        raise Malformed("form") from None
    if not head or not 0 < length <= BODY_BYTES_MAX:
        raise Malformed("form" if not head else "length")
    whole = head + length + 1
    if len(buffer) < whole:
        return None
    raw = bytes(buffer[:whole])
    del buffer[:whole]
    return raw


def decode(raw: bytes, key: bytes | None = None) -> Frame:
    """What `raw`, one frame from LF to CR, says. Malformed says why it cannot be used."""
    if len(raw) > BODY_BYTES_MAX + 10:
        raise Malformed("length")
    if raw[:1] != _LF or raw[-1:] != _CR or len(raw) < 10:
        raise Malformed("form")
    head = 9 if raw[9] == _QUOTE else 7 if raw[7] == _QUOTE else 0
    if not head:
        raise Malformed("form")
    body, claims = raw[head:-1], raw[1:head]
    if not re.fullmatch(rb"[0-9A-Fa-f]{4}", claims[-4:]) or int(claims[-4:], 16) != len(body):
        raise Malformed("length")
    given = int.from_bytes(claims[:2], "big") if head == 7 else _hex(claims[:4])
    if given != crc(body):
        raise Malformed("crc")
    found = _BODY.fullmatch(body)
    if found is None:
        raise Malformed("form")
    star, token, sequence, address, rest = found.groups()
    account, prefix, receiver = _address(address, token.decode("ascii"))
    content = _CONTENT.fullmatch(_decrypt(rest, key) if star else rest)
    if content is None:
        raise Malformed("key" if star else "form")
    data, extended, at = content.groups()
    return Frame(
        token.decode("ascii"),
        int(sequence),
        account,
        prefix,
        receiver,
        data,
        tuple(extended[1:-1].split(b"][")) if extended else (),
        None if at is None else _instant(at),
        bool(star),
    )


def _hex(digits: bytes) -> int:
    if not re.fullmatch(rb"[0-9A-Fa-f]{4}", digits):
        raise Malformed("form")
    return int(digits, 16)


def _address(address: bytes, token: str) -> tuple[str, str, str | None]:
    """Account, prefix and receiver. A NAK need not say whose it is."""
    found = _ADDRESS.fullmatch(address)
    if found is not None:
        receiver = found["receiver"]
        return found["account"].decode(), found["prefix"].decode(), None if receiver is None else receiver.decode()
    if token != NAK:
        raise Malformed("address")
    return "0", "0", None


def _encrypt(content: bytes, key: bytes, pad: Pad) -> bytes:
    content = b"|" + content
    content = pad(_BLOCK + -len(content) % _BLOCK) + content
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(_BLOCK))).encryptor()
    return (encryptor.update(content) + encryptor.finalize()).hex().upper().encode("ascii")


def _decrypt(rest: bytes, key: bytes | None) -> bytes:
    """Data, `]` and what follows, without the pad. A wrong key shows as a content that is none."""
    if key is None:
        raise Malformed("key")
    if not re.fullmatch(rb"(?:[0-9A-Fa-f]{32})+", rest):
        raise Malformed("form")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(_BLOCK))).decryptor()
    content = decryptor.update(bytes.fromhex(rest.decode("ascii"))) + decryptor.finalize()
    end = content.find(b"]")
    bar = content.find(b"|", 0, max(end, 0))
    if end < 0 or _STAMP.fullmatch(content[-19:]) is None:
        raise Malformed("key")
    return content[bar + 1 :] if bar >= 0 else content[end:]  # without data some write no bar
