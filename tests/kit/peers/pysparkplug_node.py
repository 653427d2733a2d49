"""An edge node made of pysparkplug's EdgeNode, with one device. Runs in that package's environment."""

import json
import sys
import threading
import time

from pysparkplug import Client, DataType, Device, EdgeNode, Metric

NODE, GROUP, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
SAID = threading.Lock()


def say(kind, **values):
    with SAID:
        print(json.dumps({"is": kind} | values), flush=True)


def metric(name, value, datatype=DataType.DOUBLE, historical_ms=0):
    now_ms = round(time.time() * 1000)
    return Metric(historical_ms or now_ms, name, datatype, value=value, is_historical=bool(historical_ms))


def commanded(_node, message):
    metrics = [[each.name, each.value] for each in message.payload.metrics]
    say("command", to=str(message.topic.message_type), metrics=metrics)


rebirth = metric("Node Control/Rebirth", False, DataType.BOOLEAN)
node = EdgeNode(GROUP, NODE, [rebirth], client=Client(client_id=NODE), cmd_callback=commanded)
node.register(Device("gauge", [metric("level", 0.5)], cmd_callback=commanded))
node.connect("127.0.0.1", port=PORT)
say("started")
for line in sys.stdin:
    told = json.loads(line)
    if told["do"] == "measure":
        node.update_device("gauge", [metric("level", told["value"], historical_ms=told.get("historical_ms", 0))])
    elif told["do"] == "deregister":
        node.deregister("gauge")
    elif told["do"] == "end":
        node.disconnect()
        say("ended")
