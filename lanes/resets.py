"""A latched point's reset on its way to the node that judges it (design §2.4, §6 rule 4; docs/wire.md).

The controller only carries it: the authority is the person's own signed act, which stands in it whole. It names one point of the
alarm that the person looked at. It resets no siren.
"""

from dataclasses import dataclass
from typing import Any, Final

from . import fields
from .envelope import BOOT_BYTES

ACT_BYTES_MAX: Final = 640  # an `alarm.reset` with the longest alarm id


@dataclass(frozen=True, slots=True)
class PointReset:
    """`act`: the person's whole ACT envelope. `nonce`: the node's boot id, for the case that its clock is in doubt."""

    point: str
    act: bytes
    nonce: bytes

    def pack(self) -> list[Any]:
        return [self.point, self.act, self.nonce]

    @classmethod
    def unpack(cls, value: Any) -> "PointReset":
        point, act, nonce = fields.row(value, 3, "reset")
        return cls(
            fields.name(point, "point"),
            fields.blob(act, "act", ACT_BYTES_MAX),
            fields.octets(nonce, "nonce", BOOT_BYTES),
        )
