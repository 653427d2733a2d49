"""SIA DC-09: alarms to an alarm receiving centre (domain.md §5.2; docs/dc09.md).

    Message ─ event.py ─ codes, area, text ─ channel.py ─┬─ path.py ─ link.py ─ TCP or UDP ─ first receiver
              (what the centre reads)                    └─ path.py ─ …                     second receiver

frame.py is the one codec. A path has one message outstanding, keeps its sequence number through every retry, corrects its stamps
by the receiver's NAK, and is supervised: where nothing else is said, a NULL message asks whether anybody is there.
"""
