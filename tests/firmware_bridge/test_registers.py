"""Every type in every order, against struct on bytes laid out by hand."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.registers import Order, Type, decode, decode_text, encode, encode_text, from_pattern, pattern

WIDE = {Type.U32: ">I", Type.S32: ">i", Type.F32: ">f"}
NARROW = {Type.U16: ">H", Type.S16: ">h"}
WORD = st.integers(0, 0xFFFF)


def laid_out(data: bytes, order: Order) -> list[int]:
    """The registers that hold bytes ABCD (or AB), spelled out."""
    if len(data) == 2:
        a, b = data
        return [a << 8 | b] if order in (Order.ABCD, Order.CDAB) else [b << 8 | a]
    a, b, c, d = data
    return {
        Order.ABCD: [a << 8 | b, c << 8 | d],
        Order.CDAB: [c << 8 | d, a << 8 | b],
        Order.BADC: [b << 8 | a, d << 8 | c],
        Order.DCBA: [d << 8 | c, b << 8 | a],
    }[order]


@given(st.sampled_from(list(WIDE)), st.sampled_from(Order), st.binary(min_size=4, max_size=4))
def test_wide_values_decode_as_struct_says(kind: Type, order: Order, data: bytes) -> None:
    expected = struct.unpack(WIDE[kind], data)[0]
    found = decode(laid_out(data, order), kind, order)
    assert found == expected or (math.isnan(found) and math.isnan(expected))
    assert pattern(laid_out(data, order), order) == int.from_bytes(data, "big")
    assert from_pattern(int.from_bytes(data, "big"), 2, order) == laid_out(data, order)


@given(st.sampled_from(list(NARROW)), st.sampled_from(Order), st.binary(min_size=2, max_size=2))
def test_narrow_values_decode_as_struct_says(kind: Type, order: Order, data: bytes) -> None:
    assert decode(laid_out(data, order), kind, order) == struct.unpack(NARROW[kind], data)[0]


@given(st.sampled_from(Order), st.floats(width=32, allow_nan=False))
def test_floats_come_back(order: Order, value: float) -> None:
    assert decode(encode(value, Type.F32, order), Type.F32, order) == value


@given(st.sampled_from([Type.U16, Type.S16, Type.U32, Type.S32]), st.sampled_from(Order), st.integers(-(2**33), 2**33))
def test_integers_come_back_or_overflow(kind: Type, order: Order, value: int) -> None:
    size = 16 if kind in NARROW else 32
    low, high = (0, 2**size - 1) if kind.startswith("u") else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
    if low <= value <= high:
        assert decode(encode(value, kind, order), kind, order) == value
    else:
        with pytest.raises(OverflowError):
            encode(value, kind, order)


@given(st.sampled_from(Order), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12))
def test_text_comes_back(order: Order, text: str) -> None:
    assert decode_text(encode_text(text, 6, order), order) == text


@given(st.lists(WORD, max_size=10), st.sampled_from(Order))
def test_any_registers_are_printable_text(words: list[int], order: Order) -> None:
    assert all(32 <= ord(c) < 127 for c in decode_text(words, order))


def test_the_four_orders_of_vega() -> None:
    # 1.5 is 3F C0 00 00
    assert encode(1.5, Type.F32, Order.ABCD) == [0x3FC0, 0x0000]
    assert encode(1.5, Type.F32, Order.CDAB) == [0x0000, 0x3FC0]
    assert encode(1.5, Type.F32, Order.DCBA) == [0x0000, 0xC03F]
    assert encode(1.5, Type.F32, Order.BADC) == [0xC03F, 0x0000]
