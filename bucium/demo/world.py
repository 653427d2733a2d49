"""The simulated devices: a child process of real Modbus servers, ptys and a GPIO board, moved over its control socket.

The record is the devices' own file of JSON lines; it is read here and never written.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from bucium.demo.children import Child, Family
from bucium.demo.sounds import Sounds, Source
from cython_ext import BuciumError

READY_S: Final = 20.0
LOOK_S: Final = 0.05
ANSWER_S: Final = 5.0

# Where the device of each point stands, and where each siren's sound is recorded.
POINTS: Final = {
    "bridge-level": ("bridge-gauge", "level"),
    "quay-level": ("quay-gauge", "level"),
    "mill-smoke": ("mill-panel", "alarm"),
    "mill-mains": ("mill-informer", "input-1"),  # no point of the plan: a supervised contact of the siren
}
SIRENS: Final = {
    "bridge": Source("bridge-relays", "coil", "relay-1"),
    "quay": Source("quay-board", "line", "horn"),
    "mill": Source("mill-informer", "sound"),
}

WORLD: Final = """# The devices of the demo's town. Real Modbus on real sockets and pseudo-terminals; only the water is not wet.
control = "{control}"
record = "{record}"

[[line]]                   # the bridge: a radar level over Modbus TCP …
type = "tcp"
id = "bridge-tcp"
[[line]]                   # … and a relay board with its feedback contact on RS-485
type = "pty"
id = "bridge-rtu"
[[line]]
type = "pty"
id = "quay-rtu"
[[line]]
type = "tcp"
id = "mill-panel"
[[line]]
type = "tcp"
id = "mill-siren"

[[device]]
id = "bridge-gauge"
line = "bridge-tcp"
profile = "vegapuls"
[[device]]
id = "bridge-relays"
line = "bridge-rtu"
profile = "waveshare-relay8"
[[device]]
id = "bridge-contacts"
line = "bridge-rtu"
profile = "novabo-di8"
initial = {{ alarm-1 = 0, alarm-2 = 0, alarm-3 = 0 }}  # at rest: silent, mains there, door shut
[[device]]
id = "quay-gauge"
line = "quay-rtu"
profile = "geolux-lx80"
[[device]]
id = "mill-panel"
line = "mill-panel"
profile = "notifier-zone"
[[device]]
id = "mill-informer"
line = "mill-siren"
profile = "federal-informer"
initial = {{ input-1 = 1, input-2 = 1, input-3 = 1 }}  # mains, battery, door
function = [{{ code = 1, tone = "wail", length_s = 3.0 }}, {{ code = 2, tone = "wail", length_s = 1.0 }}]

[[board]]
id = "quay-board"
socket = "{board}"
[[board.output]]
point = "horn"
line = "GPIO17"
[[board.input]]
channel = "heard"          # the pressure switch at the horn
line = "GPIO27"

[[wire]]                   # a siren's motor takes its time before it is heard
from = "quay-board/horn"
to = "quay-board/heard"
delay_s = 0.15
[[wire]]
from = "bridge-relays/relay-1"
to = "bridge-contacts/alarm-1"
delay_s = 0.15
"""


class World:
    """The child, its control socket and its record."""

    def __init__(self, folder: Path, sockets: Path, log: Path) -> None:
        self.folder = folder
        self.config = folder / "world.toml"
        self.record = folder / "devices.jsonl"
        self.board = sockets / "board.sock"
        self.lines: dict[str, dict[str, Any]] = {}
        self.sounds = Sounds(SIRENS)
        self._control = sockets / "world.sock"
        self._log = log
        self._read = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[tuple[str, str], float] = {}
        self._wake = asyncio.Event()

    async def start(self, family: Family) -> None:
        """Start the child; returns when its devices answer."""
        self.config.write_text(WORLD.format(control=self._control, record=self.record.name, board=self.board))
        argv = [sys.executable, "-m", "firmware_bridge.simulators", "--config", str(self.config)]
        child = await family.add(Child("devices", argv, self._log, self.folder))
        try:
            async with asyncio.timeout(READY_S):
                while not self._ready():
                    child.require()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise BuciumError(f"the simulated devices were not ready in {READY_S:g} s:\n{child.tail()}") from None
        self._reader, self._writer = await asyncio.open_unix_connection(self._control)

    def _ready(self) -> bool:
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith('{"ready"'):
                self.lines = json.loads(line)["ready"]
                return True
        return False

    def set_point(self, point: str, value: float) -> None:
        """Let the device of this point hold the value, as soon as `run` gets to it."""
        self._waiting[POINTS[point]] = value
        self._wake.set()

    async def run(self) -> None:
        """Hand values over to the devices, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                (device, channel), value = self._waiting.popitem()
                await self.ask("set", device=device, channel=channel, value=value)

    async def ask(self, verb: str, **args: Any) -> Any:
        """One verb of the world's control socket; BuciumError when it refuses."""
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = json.loads(await self._reader.readline() or b"{}")
        except (TimeoutError, ConnectionError, ValueError) as error:
            raise BuciumError(f"the simulated devices do not answer: {error}") from None
        if not answer.get("ok"):
            raise BuciumError(f"the simulated devices refuse {verb}: {answer.get('error', 'they have gone')}")
        return answer.get("result")

    async def watch(self) -> None:
        """Follow the devices' record, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read what the record has that is new; a line that is only half there is left for the next look."""
        if not self.record.exists():
            return
        with self.record.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self.sounds.take(**json.loads(line))

    def close(self) -> None:
        """Let go of the control socket."""
        if self._writer is not None:
            self._writer.close()
