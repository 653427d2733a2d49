"""The fleet in short: one host with controller, broker and history, and one node, from nothing to an alarm over TLS and back.

    python -m tests.fleet.smoke

As root, from the cached tree (made now if it is not there). All of it is `make test-fleet`. A machine that can have no lab
says so in a line, and that is no failure.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from tests.fleet import lab as labs
from tests.fleet.lab import Lab
from tests.fleet.site import ADDRESSES, CENTRE, Played, Site, ask, made_release, python
from tests.fleet.world import World, flood, until, wire_up

NODE: Final = "bridge"


def smoke(folder: Path) -> None:
    """Converge, an alarm, and a second run meanwhile, which changes and disturbs nothing."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"smoke: {time.monotonic() - began:.0f} s: {text}", flush=True)

    base, site = labs.tree(), Site(folder / "site")
    site.lay_out(made_release(), without=("quay",))
    with Lab(site.folder / "ssh") as lab:
        for name in (CENTRE, NODE):
            lab.add(name, ADDRESSES[name])
        say(f"two hosts of {base.name}")
        first = site.play(lab, "site").good()
        say(f"converged, {first.changed} changes; the node in {site.nodes_s('site'):.0f} s")
        again: list[Played] = []
        second = threading.Thread(target=lambda: again.append(site.play(lab, "site")))
        second.start()
        world = World(lab, site)
        wire_up(world, NODE)
        until(lambda: ask(lab, NODE, "node", "status")["status"]["lane"]["connected"], "the lane")
        flood(world, NODE)
        say("an alarm over TLS: siren, proof, CAP, ack")
        second.join()
        [played] = again
        assert played.good().changed == 0, played.out[-8000:]
        say("second run, 0 changes")


def main() -> int:
    if why := labs.missing() or labs.forbidden():
        print(f"smoke: not run: {why}")
        return 0
    try:
        python()
    except FileNotFoundError as missing:
        print(f"smoke: not run: {missing}")
        return 0
    with tempfile.TemporaryDirectory(prefix="bucium-smoke-") as folder:
        smoke(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
