"""Modbus TCP and RTU on pymodbus: its transports, its messages and its CRC, under an owner of our own.

pymodbus's transaction manager is not used: it closes a TCP connection after a few silences of one unit, so that dead
units take the live ones behind the gateway with them, and it does not resynchronise after a stray byte (measured;
`bus.py` and `frames.py` say what stands in its place).
"""
