"""What the node says and may not lose: the ledger, the reports signed from it, the alarm lane."""
