"""Deterministic CBOR (RFC 8949 §4.2): one value, one byte string. Everything signed or hashed goes through here.

Only the plain types: int, float, str, bytes, bool, None, list, dict with int keys. Maps have small integer keys, so that
length-first and bytewise key order are the same order.
"""

import threading
from io import BytesIO
from typing import Any, Final

import cbor2

from cython_ext import WireError

_LEAVES: Final = frozenset({str, bytes, bool, float, type(None)})
DEPTH_MAX: Final = 8  # our deepest message has 5; a hostile nest must not recurse
DOCUMENT_DEPTH_MAX: Final = 16  # our deepest document, a controller's state whose nodes have gaps, has 9
_kept = threading.local()  # each thread's encoder: to make one takes four times as long as to use it


def encode(value: Any) -> bytes:
    """The one deterministic encoding of `value`."""
    encoder = _kept.__dict__.pop("encoder", None)
    data = BytesIO()
    if encoder is None:
        encoder = cbor2.CBOREncoder(data, canonical=True)
    encoder.fp = data
    encoder.encode(value)
    _kept.encoder = encoder  # one that has failed is not used again: it remembers where it was
    return data.getvalue()


def decode(data: bytes) -> Any:
    """The value, or WireError when the bytes are not its deterministic encoding (a trailing byte included)."""
    return _decode(data, DEPTH_MAX, (int,))


def encode_document(value: Any) -> bytes:
    """A whole document (the plan, a state): text keys are allowed, in length-first order, and a deeper nest."""
    return encode(value)


def decode_document(data: bytes) -> Any:
    """As `decode`, but maps may have text keys, and the nest may be deeper."""
    return _decode(data, DOCUMENT_DEPTH_MAX, (int, str))


def _decode(data: bytes, depth: int, keys: tuple[type, ...]) -> Any:
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError, OverflowError, TypeError, MemoryError) as error:
        raise WireError("cbor", str(error)[:80]) from None
    _plain(value, depth, keys)
    if encode(value) != data:
        raise WireError("cbor", "not the deterministic encoding")
    return value


def _plain(value: Any, depth: int, keys: tuple[type, ...]) -> None:
    if depth == 0:
        raise WireError("cbor", "nested too deep")
    if value is None or isinstance(value, (bool, float, str, bytes)):
        return
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 64:
            raise WireError("cbor", "integer beyond 64 bits")
    elif isinstance(value, list):
        for item in value:
            if type(item) not in _LEAVES or depth == 1:  # most are: no call for each
                _plain(item, depth - 1, keys)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, keys) or isinstance(key, bool):
                raise WireError("cbor", "a map key is not of our kind")
            _plain(item, depth - 1, keys)
    else:
        raise WireError("cbor", f"type {type(value).__name__} is not ours")
