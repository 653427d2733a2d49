"""What the kernel knows of the wall clock: who disciplines it, and how far it may be off (design §2.6)."""

import struct
from pathlib import Path
from typing import Final

from cython_ext import ClockQuality, ClockSource, SystemClock

_STA_UNSYNC: Final = 0x40  # linux/timex.h
_TIME_ERROR: Final = 5
_RTC: Final = Path("/sys/class/rtc/rtc0/hctosys")


def kernel_quality(rtc: Path = _RTC) -> ClockQuality:
    """Who vouches for the system clock: NTP (or whoever disciplines the kernel), a hardware clock, nobody."""
    import ctypes

    buffer = ctypes.create_string_buffer(
        256
    )  # struct timex has 208 bytes on the 64-bit boards we support; modes 0: only read
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    max_error_us, _, status = struct.unpack_from("<qqi", buffer, 24)
    if state not in (-1, _TIME_ERROR) and not status & _STA_UNSYNC:
        return ClockQuality(ClockSource.NTP, max(1, min(max_error_us // 1000, 1 << 31)))
    try:
        said = rtc.read_bytes().strip()
    except OSError:
        said = b""
    return ClockQuality(ClockSource.RTC if said == b"1" else ClockSource.NONE)


class KernelClock(SystemClock):
    """The machine's clock, of which the kernel is asked each time how good it is."""

    def quality(self) -> ClockQuality:
        return kernel_quality()
