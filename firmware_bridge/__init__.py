"""Devices ⇄ samples and coils: buses, device profiles, contacts and relays, sirens, and the simulators that play them.

Nothing is imported here, so that a node pays only for the buses it has. What other packages use:

Configuration (`settings.py`, pydantic; put these lists into the model of `node.toml`)::

    bus: list[BusSettings]; device: list[DeviceSettings]; siren: list[SirenSettings]

Wiring (`factory.py`)::

    bridge = factory.Bridge(buses, devices, sirens, clock=clock, base=folder_of_node_toml)   # misuse -> ConfigError
    bridge.require_real_allowed(root_name)     # ConfigError when the plan's root is DEMO and a driver is real
    await bridge.open()                        # never raises on trouble; relays are OFF after it
    bridge.devices["prut-gauge"], bridge.sirens["school"], bridge.buses["river"]
    await bridge.close()                       # sirens off, relays OFF, ports closed

Reading (`driver.py`)::

    device.channels                            # tuple[Channel]: id, unit, title, low, high
    readings = await device.read(["level"])    # tuple[Reading(channel, value, status, at_ns, raw, reason)]; all by default
    device.watch(callback)                     # contacts: called with a Reading at each debounced change

`value` is nan when `status` says MISSING, SENTINEL, LOOP_FAULT or (for a value that cannot be decoded) DEVICE_FAULT.
A read never raises on trouble; it returns within the bus's `timeout_s` a request, plus queueing behind others.

Sirens (`sirens/driver.py`): `await siren.arm()`, `start(Mode.STEADY, hold_s)`, `off()`, `measure() -> Proof | None`,
`quiet_test()`, `status()`. Each answers with an `Outcome(ok, reason)`; `off()` is idempotent and always tries.
`start` is one segment of a pattern: the sequencer (edge) calls start and off; `hold_s` is the dead man's backstop.

Simulators (`simulators/world.py`)::

    async with Simulation(WorldSettings(...) or load_world(path), clock=clock) as world:
        world.set("prut-gauge", "level", 3.2); world.fault("prut-gauge", Fault.DEAD); world.press("contacts", "smoke", True)
        world.record                           # ground truth: Entry(at_ns, device, what, name, value)
        world.endpoint("river")                # what to put into node.toml: host and port, or /dev/pts path

or as a process: `python -m firmware_bridge.simulators --config world.toml`, spoken to in JSON lines over its Unix socket
(`simulators/control.py` has the client and the verbs).

The technician's functions are in `technician.py`: `scan`, `read`, `watch`.
"""
