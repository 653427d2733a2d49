"""Whether it came true. The sirens are judged by their devices' own records alone; our messages are asked for nothing there."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bucium.demo.capwatch import CapWatch, Told
from bucium.demo.sounds import Blast, Sounds
from controller.record.verify import verify_journal
from cython_ext import Hazard
from lanes.plan import Pattern, Plan

LATE_S: Final = 5.0  # from the register to the first sound: I4 of the design's invariants, healthy, at most
TOLERANCE_S: Final = (
    0.4  # of a blast's length: ± 50 ms are the node's own; a serial line at 9600 baud and a busy machine add
)
SPARE_S: Final = 1.0  # a whole order may last its pattern's length and one second (I3)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to be so."""

    name: str
    ok: bool
    detail: str


def sounded(siren: str, blasts: list[Blast], pattern: Pattern, crossed_ns: int) -> Check:
    """The siren gave the pattern once, in time, and ended by itself."""
    name = f"siren {siren} sounded and stopped"
    wanted = [segment.on_s for segment in pattern.segments for _ in range(segment.repeat)]
    if not blasts:
        return Check(name, False, "its device recorded no sound")
    lengths = ", ".join(f"{blast.length_s:.2f} s" for blast in blasts)
    if not blasts[-1].off_ns:
        return Check(name, False, f"it still sounds ({lengths} before)")
    if len(blasts) != len(wanted):
        return Check(name, False, f"{len(blasts)} blasts ({lengths}), and the pattern has {len(wanted)}")
    wrong = [b for b, on_s in zip(blasts, wanted, strict=True) if abs(b.length_s - on_s) > TOLERANCE_S]
    if wrong:
        return Check(name, False, f"blasts of {lengths}; the pattern has {', '.join(f'{on_s:g} s' for on_s in wanted)}")
    whole_s = (blasts[-1].off_ns - blasts[0].on_ns) / 1e9
    if whole_s > pattern.length_s + SPARE_S:
        return Check(name, False, f"{whole_s:.2f} s in all, at most {pattern.length_s + SPARE_S:g} s")
    late_s = (blasts[0].on_ns - crossed_ns) / 1e9
    if not 0 <= late_s <= LATE_S:
        when = f"{late_s:.2f} s after the register" if crossed_ns else "though nothing had crossed its mark"
        return Check(name, False, f"first sound {when}; at most {LATE_S:g} s")
    return Check(name, True, f"{lengths}; first sound {late_s * 1000:.0f} ms after the register crossed the mark")


def silent(sounds: Sounds, siren: str, from_ns: int, to_ns: int, why: str) -> Check:
    """The siren made no sound in this time."""
    found = [b for b in sounds.blasts.get(siren, []) if b.on_ns < to_ns and (b.off_ns or to_ns) > from_ns]
    detail = f"{len(found)} sounds, and there should be none" if found else "no sound in its device's record"
    return Check(f"siren {siren} silent {why}", not found, detail)


def all_off(sounds: Sounds) -> Check:
    """Nothing sounds any more."""
    left = sounds.sounding
    return Check("every siren is off", not left, f"still on: {', '.join(left)}" if left else "by every device's record")


def cap(watch: CapWatch, hazard: Hazard, from_count: int) -> Check:
    """CAP messages of this hazard are there, all valid, from an Alert on, and severe enough."""
    name = f"CAP of the {hazard.name.lower()}"
    files = [told for told in watch.files[from_count:] if told.alarm and told.alarm.hazard is hazard]
    bad = [told for told in watch.files[from_count:] if told.faults]
    if bad:
        return Check(name, False, f"{bad[0].identifier}: {bad[0].faults[0]}")
    if not any(told.type == "Alert" for told in files):
        return Check(name, False, f"no Alert among {len(files)} messages")
    if not any(told.severity in ("Severe", "Extreme") for told in files):
        return Check(name, False, "none is Severe or Extreme")
    by = "OASIS's schema and our rules" if files[0].judge == "schema" else "our table of OASIS's schema and our rules"
    return Check(name, True, f"{_types(files)}: signed, and valid by {by}")


def webhook(watch: CapWatch, from_count: int, from_posts: int) -> Check:
    """Every CAP message reached the server once, byte for byte, rightly signed."""
    name = "the dispatch centre has every message"
    posts = watch.posts[from_posts:]
    if watch.unsigned:
        return Check(name, False, f"{watch.unsigned[0]}: wrong signature")
    files = {told.identifier: told.body for told in watch.files[from_count:]}
    missing = [identifier for identifier in files if identifier not in {told.identifier for told in posts}]
    if missing:
        return Check(name, False, f"{len(missing)} of {len(files)} never came, first {missing[0]}")
    other = [told for told in posts if told.identifier in files and files[told.identifier] != told.body]
    if other:
        return Check(name, False, f"{other[0].identifier} came with other bytes than its file has")
    return Check(name, bool(posts), f"{len(posts)} posts, each rightly signed" if posts else "no post came")


def clean(wrong: list[str]) -> Check:
    """No message was refused, no order failed, and no siren sounded unordered, as far as the lane told."""
    name = "nothing was refused, failed or unordered"
    return Check(name, not wrong, f"{len(wrong)}, first: {wrong[0]}" if wrong else "by every receipt on the lane")


def journal(path: Path, plan: Plan) -> Check:
    """The controller's journal is whole, by the verifier that shares no code with its writer."""
    found = verify_journal(path, {signer.kid: signer.public for signer in plan.roster})
    detail = (
        f"{found.rows} rows, {found.checked} signed head{'' if found.checked == 1 else 's'} checked"
        if found.whole
        else f"row {found.bad_row}: {found.why}"
    )
    return Check("the journal verifies", found.whole and found.rows > 1, detail)


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that did not come true."""
    return [check for check in checks if not check.ok]


def _types(files: list[Told]) -> str:
    return ", ".join(f"{sum(f.type == kind for f in files)} {kind}" for kind in ("Alert", "Update", "Cancel"))
