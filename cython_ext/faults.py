"""Why bytes are not a Sparkplug payload: stable words for counting, in the order of `varint.pxd`'s Fault."""

from typing import Final

from .errors import WireError

FAULTS: Final = (
    ("", ""),
    ("size", "more than 64 KiB"),
    ("truncated", "the bytes end too early"),
    ("varint", "a number is longer than 64 bits"),
    ("field", "a field number that cannot be"),
    ("type", "a field has the wrong wire type"),
    ("repeated", "a field occurs twice"),
    ("range", "a number does not fit its type"),
    ("name", "a name is missing, empty or longer than 255 bytes"),
    ("utf8", "text is not UTF-8"),
    ("metrics", "more than 2048 metrics"),
    ("carrier", "a value is not where its datatype puts it"),
    ("null", "a null metric has a value"),
    ("value", "a metric has neither a value nor null"),
    ("alias", "a metric is not in the birth"),
    ("quality", "Quality is not 0, 192 or 500"),
    ("properties", "property keys and values do not match, or are more than 16"),
    ("seq", "seq is above 255"),
    ("datatype", "a datatype is unknown, or not the one of the birth"),
)


def refuse(fault: int) -> WireError:
    """The error for a (negative) fault number."""
    return WireError(*FAULTS[-fault])
