"""A fingerprint of what the core answers to seeded hostile streams: the same on every board, or the core is not one core.

    python -m tests.kit.bits --cases 2000

Pure standard library beside the core, so that it runs under emulation too.
"""

import argparse
import hashlib
import platform
import struct
from random import Random

from cython_ext.model import NS_PER_S
from cython_ext.panel import Panel, pack
from tests.kit import streams


def bits(value: float) -> bytes:
    """A nan's payload is the processor's own affair, everything else is ours."""
    return b"nan" if value != value else struct.pack("<d", value)


def case(seed: int) -> bytes:
    """Every transition, reading and snapshot of one random panel, as a digest."""
    random = Random(seed)
    config = streams.panel(random)
    panel = Panel(config)
    now_ns = 0
    state = hashlib.sha256()
    for _ in range(3):
        batch = streams.samples(random, len(config.points), 40, now_ns)
        now_ns += 200 * NS_PER_S
        for each in panel.feed(pack(batch), now_ns) + panel.advance(now_ns):
            words = (each.point, each.cause, each.was, each.level, each.at_ns, each.reason, each.trouble)
            state.update(struct.pack("<7q", *words) + bits(each.value) + bytes(each.evidence))
        for index in range(len(config.points)):
            state.update(bits(panel.value(index)) + bits(panel.rate_per_s(index)))
        kept = panel.snapshot(now_ns)
        panel = Panel(config, now_ns)
        state.update(struct.pack("<q", len(panel.restore(kept, now_ns))) + panel.digest)
    return state.digest()


def fingerprint(cases: int) -> str:
    return hashlib.sha256(b"".join(case(seed) for seed in range(cases))).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    options = parser.parse_args()
    print(f"{fingerprint(options.cases)} {options.cases} cases {platform.machine()}")


if __name__ == "__main__":
    main()
