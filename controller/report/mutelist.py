"""The whole permanent list of mutes, out of a journal."""

from pathlib import Path
from typing import Any

from ..alarm.mutes import End, Listed
from ..record.records import Record
from ..replay.export import rows_of
from ..shown import listed_of

EVER_US = 1 << 62


def mutes_of(path: Path) -> list[dict[str, Any]]:
    """Each mute once, as it stands or as it ended: those that stand first, the newest first. WireError where the chain breaks."""
    standing: dict[tuple[str, int], Listed] = {}
    over: list[Listed] = []
    for row in rows_of(path, 0, EVER_US, frozenset({Record.MUTE})):
        line = Listed.unpack(row.value)
        place = f"{line.alarm.zone}/{line.alarm.hazard}", int(line.mode)
        if line.end is End.NONE:
            standing[place] = line
        else:
            standing.pop(place, None)
            over.append(line)
    return [listed_of(line) for line in (*reversed(standing.values()), *reversed(over))]
