"""CAP from other centres: fetched or posted, verified against pinned certificates, read, and mapped to zones of ours.

    feed of theirs ─ poller ─┐
    their POST ─ the door ───┴─ trust (signature) ─ capcheck (form, rules) ─ reading (status, time, zones) ─ Warnings ─ heeding.py

Everything here is hostile until trust.py has said whose it is. Nothing of it is evidence for an order to a siren (design §2.4).
"""
