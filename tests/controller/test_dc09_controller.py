"""DC-09 in the whole controller: supervised from the start, silence told, what came back counted."""

import asyncio
from pathlib import Path
from typing import Any

from controller import app, config
from cython_ext import SystemClock
from lanes import control, planfile
from lanes.keys import write_key
from lanes.store import run_here
from tests.kit import capkeys
from tests.kit.arc import Mood, centre
from tests.kit.broker import MemoryBroker
from tests.kit.control_room import CONTROLLER
from tests.kit.plans import key, root, signed

TOML = """
[controller]
id = "iasi"
data = "data"
socket = "run/c.sock"
[keys]
live = "live.pem"
[[dispatch]]
kind = "dc09"
name = "arc"
host = "127.0.0.1"
port = {port}
account = "1234"
key = "arc.key"
answer_s = 1.0
tries = 1
poll_s = 5.0
"""


def local(folder: Path, port: int) -> config.Local:
    planfile.write(signed(), folder / "plan.cbor")
    people = "".join(f'[[planner]]\nid = "{p.id}"\npublic = "{p.public}"\n' for p in root().planners)
    (folder / "root.toml").write_text(f'name = "DEMO"\nthreshold = 2\n{people}')
    write_key(key(CONTROLLER), folder / "live.pem")
    capkeys.write(folder, capkeys.signer())
    (folder / "arc.key").write_text("00" * 16)
    (folder / "arc.key").chmod(0o600)
    (folder / "controller.toml").write_text(TOML.format(port=port))
    return config.load(folder / "controller.toml")


async def test_a_controller_supervises_its_centre_and_counts_what_is_no_answer(tmp_path: Path) -> None:
    stop = asyncio.Event()
    seeded = iter(range(1, 1_000_000))

    def entropy(size: int) -> bytes:
        return next(seeded).to_bytes(size, "big")

    async with centre(Mood.CLEAR, key=bytes(16), polls_too=True) as arc:
        here = local(tmp_path, arc.port)
        ready = config.ready(here)
        assert list(config.doubts(ready)), "no zone has an area number"
        links = MemoryBroker().connector()
        task = asyncio.create_task(
            app.run(ready, clock=SystemClock(), connector=links, runner=run_here, entropy=entropy, stop=stop)
        )
        standing: set[Any] = set()
        status: dict[str, Any] = {}
        async with asyncio.timeout(60):
            while ("dispatch-silent", "arc") not in standing:
                await asyncio.sleep(0.1)
                try:
                    status = await asyncio.to_thread(control.ask, here.at(here.config.controller.socket), "status")
                except control.ControlError:
                    continue
                standing = {(each["code"], each["subject"]) for each in status["troubles"]}
            assert status["refused"]["dc09-clear"] >= 1
            arc.mood = Mood.WELL
            while ("dispatch-silent", "arc") in standing:
                await asyncio.sleep(0.1)
                status = await asyncio.to_thread(control.ask, here.at(here.config.controller.socket), "status")
                standing = {(each["code"], each["subject"]) for each in status["troubles"]}
        stop.set()
        await task
