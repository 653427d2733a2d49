"""Registers ⇄ numbers: types and the four word and byte orders. Pure.

A 32-bit value has the bytes A B C D, A the most significant. Its first register holds AB in order ABCD, CD in CDAB
(low word first), BA in BADC (bytes swapped), DC in DCBA. 16-bit values and text look only at the byte half of the order.
"""

import struct
from collections.abc import Sequence
from enum import StrEnum


class Type(StrEnum):
    """How a value is kept in registers."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    F32 = "f32"
    BITS = "bits"  # one bit (coil, discrete input), or a masked part of one register
    ASCII = "ascii"


class Order(StrEnum):
    """The word and byte orders in use."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    DCBA = "DCBA"
    BADC = "BADC"


# VEGA's register 3000 (domain.md §2.4 A)
ORDER_BY_CODE = (Order.ABCD, Order.CDAB, Order.DCBA, Order.BADC)

_FORMAT = {Type.U16: ">H", Type.S16: ">h", Type.U32: ">I", Type.S32: ">i", Type.F32: ">f"}
_SPAN: dict[Type, tuple[int, int]] = {
    Type.U16: (0, 0xFFFF),
    Type.S16: (-0x8000, 0x7FFF),
    Type.U32: (0, 0xFFFFFFFF),
    Type.S32: (-0x80000000, 0x7FFFFFFF),
    Type.BITS: (0, 0xFFFF),
}


def register_count(kind: Type, length: int = 1) -> int:
    """How many registers a value takes; `length` is that of text."""
    if kind is Type.ASCII:
        return length
    return 2 if kind in (Type.U32, Type.S32, Type.F32) else 1


def _to_bytes(registers: Sequence[int], order: Order) -> bytes:
    """The value's bytes, most significant first."""
    words = registers[::-1] if order in (Order.CDAB, Order.DCBA) and len(registers) == 2 else registers
    swapped = order in (Order.BADC, Order.DCBA)
    return b"".join(word.to_bytes(2, "little" if swapped else "big") for word in words)


def pattern(registers: Sequence[int], order: Order) -> int:
    """The raw unsigned number, as sentinels and masks are written in profiles."""
    return int.from_bytes(_to_bytes(registers, order), "big")


def decode(registers: Sequence[int], kind: Type, order: Order = Order.ABCD) -> int | float:
    """The number in `registers` (as many as `register_count` says); f32 may be nan or infinite."""
    if kind is Type.BITS:
        return registers[0]
    value: int | float = struct.unpack(_FORMAT[kind], _to_bytes(registers, order))[0]
    return value


def decode_text(registers: Sequence[int], order: Order = Order.ABCD) -> str:
    """Printable ASCII up to the first NUL; anything else becomes '?'."""
    data = b"".join(word.to_bytes(2, "little" if order in (Order.BADC, Order.DCBA) else "big") for word in registers)
    return "".join(chr(c) if 32 <= c < 127 else "?" for c in data.split(b"\0")[0]).rstrip()


def encode(value: float, kind: Type, order: Order = Order.ABCD) -> list[int]:
    """The registers that hold `value`; OverflowError when the type cannot (integers are rounded half to even)."""
    if kind is Type.F32:
        data = struct.pack(">f", value)
    else:
        number = round(value)
        low, high = _SPAN[kind]
        if not low <= number <= high:
            raise OverflowError(f"{value} does not fit {kind}")
        data = struct.pack(_FORMAT.get(kind, ">H"), number)
    return from_pattern(int.from_bytes(data, "big"), len(data) // 2, order)


def encode_text(text: str, length: int, order: Order = Order.ABCD) -> list[int]:
    """`length` registers of NUL-padded ASCII."""
    data = text.encode("ascii").ljust(2 * length, b"\0")[: 2 * length]
    side: str = "little" if order in (Order.BADC, Order.DCBA) else "big"
    return [int.from_bytes(data[i : i + 2], "little" if side == "little" else "big") for i in range(0, 2 * length, 2)]


def from_pattern(number: int, count: int, order: Order) -> list[int]:
    """The registers whose `pattern` is `number`."""
    data = number.to_bytes(2 * count, "big")
    swapped = order in (Order.BADC, Order.DCBA)
    words = [int.from_bytes(data[i : i + 2], "little" if swapped else "big") for i in range(0, 2 * count, 2)]
    return words[::-1] if order in (Order.CDAB, Order.DCBA) and count == 2 else words
