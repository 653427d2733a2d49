"""What comes out of a narrow line, frame by frame, as the kernel saw it: order and bytes, which no load of this machine changes.

    with Wire(line.near) as wire: …; wire.read(); wire.line_s(since_ns, payload, bits_per_s)

Instants are the monotonic clock's. Needs root.
"""

import errno
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

ALL: Final = 0x0003  # ETH_P_ALL
STAMPED, ROOMY = 35, 33  # SO_TIMESTAMPNS and SO_RCVBUFFORCE, which Python does not name
BUFFER: Final = 16 << 20  # all frames of some minutes wait there until they are read
ETHERNET: Final = 14
SYN: Final = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One TCP segment. `up`: out of the line; `port`: of the program inside; `size`: as the line counts it."""

    at_ns: int
    up: bool
    port: int
    size: int
    seq: int
    payload: bytes


class Wire:
    """A capture at the near end."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.frames: list[Frame] = []

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, ROOMY, BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, STAMPED, 1)
        self._socket.bind((self._device, ALL))
        self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self) -> None:
        """Take up what has passed."""
        offset_ns = time.time_ns() - time.monotonic_ns()
        while True:
            try:
                data, more, _, address = self._socket.recvmsg(65536, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # once after each cut
                    raise
                continue
            seconds, rest_ns = struct.unpack("qq", more[0][2])
            up = address[2] != socket.PACKET_OUTGOING
            frame = _tcp(data, seconds * 1_000_000_000 + rest_ns - offset_ns, up)
            if frame is not None:
                self.frames.append(frame)

    def answers(self, said: bytes, answer: bytes) -> list[int]:
        """When `answer` began a segment down, on connections whose first segment up had `said`."""
        ports = {frame.port for frame in self.frames if frame.up and said in frame.payload}
        down = [frame for frame in self.frames if not frame.up and frame.port in ports]
        return [frame.at_ns for frame in down if frame.payload.startswith(answer)]

    def out_ns(self, payload: bytes) -> int:
        """When the last byte of this first came out; 0: never."""
        streams: dict[int, _Stream] = {}
        for frame in self.frames:
            if frame.up and payload in streams.setdefault(frame.port, _Stream()).take(frame, len(payload)):
                return frame.at_ns
        return 0

    def line_s(self, since_ns: int, until_ns: int, bits_per_s: int) -> float:
        """For how long the line was taken, upwards, by what came out of it meanwhile."""
        sizes = (frame.size for frame in self.frames if frame.up and since_ns < frame.at_ns <= until_ns)
        return sum(sizes) * 8 / bits_per_s


class _Stream:
    """The bytes of one connection, put in order."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._next: int | None = None
        self._early: dict[int, bytes] = {}

    def take(self, frame: Frame, reach: int) -> bytes:
        """What is new in order, and so many bytes before it."""
        if self._next is None:
            self._next = frame.seq
        had = len(self._bytes)
        self._early[frame.seq] = frame.payload
        for seq, data in self._ready():
            self._bytes += data[self._next - seq :]
            self._next = seq + len(data)
        return bytes(self._bytes[max(0, had - reach) :]) if len(self._bytes) > had else b""

    def _ready(self) -> Iterator[tuple[int, bytes]]:
        for seq in sorted(self._early):
            assert self._next is not None
            if seq > self._next:
                return
            data = self._early.pop(seq)
            if seq + len(data) > self._next:
                yield seq, data


def _tcp(data: bytes, at_ns: int, up: bool) -> Frame | None:
    if data[12:14] != b"\x08\x00" or data[ETHERNET + 9] != socket.IPPROTO_TCP:
        return None
    ip = ETHERNET + 4 * (data[ETHERNET] & 15)
    end = ETHERNET + int.from_bytes(data[ETHERNET + 2 : ETHERNET + 4])
    source, target, seq = struct.unpack(">HHI", data[ip : ip + 8])
    payload = data[ip + 4 * (data[ip + 12] >> 4) : end]
    first = seq + 1 if data[ip + 13] & SYN else seq
    return Frame(at_ns, up, source if up else target, len(data), first, payload)
