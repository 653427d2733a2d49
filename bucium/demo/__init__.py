"""The demo: a town on a river, played by the real programs on simulated devices (docs/demo.md).

river.py     the flood: hydrology, and nothing of ours
town.py      the town: its points, zones, sirens, patterns and policies, as the plan says it
site.py      files of one run: folders, keys, plan, node.toml, controller.toml
broker.py    the embedded MQTT broker, a child process
children.py  our programs as child processes
receiver.py  the dispatch centre's webhook, a real HTTP server
story.py     what happens when
watch.py     what is seen: devices' own records, the controller's desk, its journal
timing.py    the milliseconds each step took
verdict.py   whether it came true, from the devices' own records
view.py      the terminal view;  lines.py: the same as plain lines and as JSON
run.py       all of it together
"""
