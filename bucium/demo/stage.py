"""The demo's town, built and torn down: broker, devices, controller, nodes, dispatch centre, and the eyes that watch them."""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bucium.demo import broker as embedded
from bucium.demo import site as files
from bucium.demo.broker import Broker
from bucium.demo.capwatch import CapWatch
from bucium.demo.chains import Chains
from bucium.demo.children import Child, Family
from bucium.demo.dispatcher import Dispatcher
from bucium.demo.happening import Teller
from bucium.demo.journalwatch import JournalWatch
from bucium.demo.lane import LaneWatch
from bucium.demo.receiver import Receiver
from bucium.demo.site import CONTROLLER, NODES, Site
from bucium.demo.world import World
from controller.dispatch.webhook import read_secrets
from cython_ext import BuciumError, Clock, ConfigError
from lanes.link import BrokerSettings, MqttConnector
from lanes.plan import Plan

READY_S: Final = 60.0  # four Python programs start on a Pi in about 10 s
LOOK_S: Final = 0.1
SUPERVISE_S: Final = 0.25


@dataclass(slots=True)
class Stage:
    """Everything that a run has."""

    site: Site
    plan: Plan
    broker: Broker
    world: World
    family: Family
    chains: Chains
    lane: LaneWatch
    journal: JournalWatch
    caps: CapWatch
    person: Dispatcher
    programs: dict[str, Child]
    teller: Teller

    async def ready(self) -> None:
        """Return when every node's start has gone through to the controller's disk and back."""
        missing = set(NODES)
        try:
            async with asyncio.timeout(READY_S):
                while missing := set(NODES) - self.lane.known:
                    self.family.require()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            tails = "\n".join(f"{name}:\n{self.programs[name].tail()}" for name in (*sorted(missing), "controller"))
            names = ", ".join(sorted(missing))
            raise BuciumError(
                f"no acknowledged start of node {names} in {READY_S:g} s; the logs end with\n{tails}"
            ) from None

    async def supervise(self) -> None:
        """Until cancelled; ChildError when a program ends by itself. Also tells the lanes' counts."""
        told: dict[str, int] = {}
        while True:
            self.family.require()
            if self.lane.counts != told:
                told = dict(self.lane.counts)
                self.teller.tell("counts", f"{sum(told.values())} messages", **told)
            await asyncio.sleep(SUPERVISE_S)

    async def stop(self) -> None:
        """End the programs, nodes first, so that their last words are heard; then look at everything once more."""
        for name in (*NODES, "controller"):
            await self.programs[name].stop()
        for watch in (self.world, self.journal, self.caps):
            watch.look()

    def sounded(self, siren: str, on: bool, at_ns: int, by: str) -> None:
        """A siren's own device switched on or off."""
        if on:
            self.chains.sounded(siren, at_ns)
        word = "sounds" if on else f"is silent (switched by {by})"
        self.teller.tell("sound", f"siren {siren} {word}", at_ns=at_ns, siren=siren, on=on, by=by)


@asynccontextmanager
async def build(*, clock: Clock, teller: Teller, out: Path | None, broker: str) -> AsyncIterator[Stage]:
    """The stage, with everything running. What is not in `out` is gone afterwards, whatever happens."""
    async with AsyncExitStack() as stack:
        secret = Path(tempfile.mkdtemp(prefix="bucium-"))  # short: a socket's path has at most 107 bytes
        stack.callback(shutil.rmtree, secret, ignore_errors=True)
        folder = _folder(out) if out else secret / "run"
        folder.mkdir(parents=True, exist_ok=True)
        site = Site(folder, secret)
        plan = files.prepare(site, clock.wall_us(), secrets.token_bytes(files.SECRET_BYTES)).plan
        receiver = stack.enter_context(Receiver(clock))
        family = await stack.enter_async_context(Family())
        place = await _broker(family, site, broker)
        told = "a child of this demo" if place.child else "yours"
        teller.tell("ready", f"broker at {place.host}:{place.port}, {told}", part="broker")
        world = World(folder, secret, site.logs / "devices.log")
        await world.start(family)
        stack.callback(world.close)
        teller.tell("ready", f"{len(world.lines)} lines with simulated devices", part="devices")
        chains = Chains(plan, teller)
        connector = MqttConnector(BrokerSettings.model_validate({"host": place.host, "port": place.port}))
        stage = Stage(
            site,
            plan,
            place,
            world,
            family,
            chains,
            LaneWatch(plan, connector, clock, teller, chains),
            JournalWatch(site.journal, teller, chains, [siren.id for siren in plan.sirens]),
            CapWatch(
                site.cap,
                receiver,
                read_secrets(site.webhook_secret)[0],
                site.certificate,
                clock=clock,
                teller=teller,
                chains=chains,
            ),
            Dispatcher(site.socket("controller"), site.key(files.DISPATCHER), clock, teller),
            {},
            teller,
        )
        world.sounds.listeners.append(stage.sounded)
        files.write_nodes(site, place, world.lines, world.board)
        files.write_controller(site, place, receiver.url)
        yield stage


async def start(stage: Stage) -> None:
    """Start the real programs: the controller, then the nodes, each a process of its own."""
    for name, verb in (("controller", "controller"), *((node, "edge") for node in NODES)):
        argv = [sys.executable, "-m", "bucium", verb, "run", "--config", str(stage.site.config(name))]
        child = Child(name, argv, stage.site.logs / f"{name}.log", stage.site.folder)
        stage.programs[name] = await stage.family.add(child)
    site = stage.site
    stage.teller.tell(
        "ready",
        f"controller {CONTROLLER} and nodes {', '.join(NODES)} are started; try: "
        f"bucium alarm list --socket {site.socket('controller')}",
        part="programs",
        sockets={name: str(site.socket(name)) for name in ("controller", *NODES)},
        keys={person: str(site.key(person)) for person in files.PEOPLE},
    )


async def _broker(family: Family, site: Site, text: str) -> Broker:
    if not text:
        return await embedded.start(family, site.secret / "broker", site.logs / "broker.log")
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"--broker {text!r}: give HOST:PORT, e.g. 127.0.0.1:1883")
    return Broker(host.strip("[]"), int(port))


def _folder(out: Path) -> Path:
    """An empty folder to keep things in; ConfigError when something is there."""
    try:
        if out.exists() and any(out.iterdir()):
            raise ConfigError("this folder is not empty; name another, so that nothing is overwritten", source=str(out))
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use this folder: {error.strerror}", source=str(out)) from None
    return out.resolve()
