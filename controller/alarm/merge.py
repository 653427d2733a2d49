"""Joining two views of one alarm: ours and a node's reflex, or another centre's (design §2.3).

Commutative, associative and idempotent, so that the order in which news travels does not matter.
"""

from lanes.identity import EventKey

from .changes import ALIASES_MAX
from .life import state_of
from .record import Alarm, Part, Seen, bounded


def merge(one: Alarm, two: Alarm) -> Alarm:
    """Two views of one alarm, joined: the controller's id, failing that the lowest event key; the others stay as aliases."""
    ids = sorted(
        {(not a.ours, a.id.key.octets, a.id) for a in (one, two)}
        | {(True, alias.key.octets, alias) for a in (one, two) for alias in a.aliases},
        key=lambda each: each[:2],
    )
    canonical = ids[0][2]
    aliases = {alias.key.octets: alias for _, _, alias in ids if alias != canonical}
    parts: dict[tuple[str, bool], Part] = {}
    for part in (*one.parts, *two.parts):
        held = parts.get(part.place)
        if held is None or _newer(part) > _newer(held):
            parts[part.place] = part
    seen: dict[bytes, Seen] = {}
    for each in (*one.evidence, *two.evidence):
        held_event = seen.get(each.key.octets)
        seen[each.key.octets] = Seen(each.key, each.seen or (held_event is not None and held_event.seen))
    evidence = tuple(seen[octets] for octets in sorted(seen))
    joined = tuple(parts[place] for place in sorted(parts))
    latches = one.latches or two.latches
    return Alarm(
        canonical,
        one.mode,
        state_of(active=bool(joined), seen=all(each.seen for each in evidence), latches=latches),
        _episode(one, two),
        max(one.severity, two.severity),
        min(one.opened_us, two.opened_us),
        max(one.changed_us, two.changed_us),
        joined,
        bounded(evidence),
        tuple(aliases[octets] for octets in sorted(aliases))[:ALIASES_MAX],
        one.ours or two.ours,
        latches,
    )


def _newer(part: Part) -> tuple[int, bytes, bool]:
    return part.reading.at_us, part.reading.key.octets, part.live


def _episode(one: Alarm, two: Alarm) -> EventKey:
    """Of the view that still sees the danger; of the canonical view when both do."""
    return min((one, two), key=lambda a: (not a.parts, not a.ours, a.id.key.octets, a.episode.octets)).episode
