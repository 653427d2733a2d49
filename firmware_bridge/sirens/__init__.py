"""Sirens: one interface over relays, Modbus coils and siren controllers."""
