"""Contacts and relays on this board: the chips, the debounce, and the device over them."""
