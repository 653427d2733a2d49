"""Strict readers for the fields of a decoded message: each returns the value or raises WireError ('malformed')."""

from collections.abc import Callable
from typing import Any, TypeVar

from cython_ext import WireError
from cython_ext.topics import valid_id

T = TypeVar("T")


def _bad(what: str, value: Any) -> WireError:
    return WireError("malformed", f"{what}: {str(value)[:40]}")


def row(value: Any, length: int, what: str) -> list[Any]:
    """A list of exactly `length` items."""
    if not isinstance(value, list) or len(value) != length:
        raise _bad(f"{what} is not a list of {length}", value)
    return value


def many(value: Any, most: int, what: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    """A list of at most `most` items, each read by `read`."""
    if not isinstance(value, list) or len(value) > most:
        raise _bad(f"{what} is not a list of at most {most}", value)
    return tuple(read(item) for item in value)


def natural(value: Any, what: str, most: int = (1 << 63) - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _bad(f"{what} is not a number from 0 to {most}", value)
    return value


def number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad(f"{what} is not a number", value)
    return float(value)


def flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise _bad(f"{what} is not true or false", value)
    return value


def text(value: Any, what: str, most: int = 64) -> str:
    if not isinstance(value, str) or len(value.encode()) > most:
        raise _bad(f"{what} is not a text of at most {most} bytes", value)
    return value


def name(value: Any, what: str) -> str:
    """An id of ours."""
    if not isinstance(value, str) or not valid_id(value):
        raise _bad(f"{what} is not an id", value)
    return value


def optional_name(value: Any, what: str) -> str:
    """An id of ours, or empty."""
    return "" if value == "" else name(value, what)


def octets(value: Any, what: str, length: int) -> bytes:
    """Exactly `length` bytes."""
    if not isinstance(value, bytes) or len(value) != length:
        raise _bad(f"{what} has not {length} bytes", value)
    return value


def blob(value: Any, what: str, most: int) -> bytes:
    """At most `most` bytes."""
    if not isinstance(value, bytes) or len(value) > most:
        raise _bad(f"{what} is not at most {most} bytes", value)
    return value


def one_of(kind: Callable[[int], T], value: Any, what: str) -> T:
    """A member of an enumeration."""
    try:
        return kind(natural(value, what))
    except ValueError:
        raise _bad(f"{what} is unknown", value) from None
