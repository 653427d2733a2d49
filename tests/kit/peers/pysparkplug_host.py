"""A primary host made of pysparkplug's client: says STATE, listens, asks for births. Runs in that package's environment."""

import json
import sys
import threading
import time

from pysparkplug import Client, DataType, Message, MessageType, Metric, NCmd, QoS, State, Topic

HOST, GROUP, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
SAID = threading.Lock()
since = round(time.time() * 1000)


def say(kind, **values):
    with SAID:
        print(json.dumps({"is": kind} | values), flush=True)


def state(online, timestamp):
    topic = Topic(message_type=MessageType.STATE, sparkplug_host_id=HOST)
    return Message(topic=topic, payload=State(timestamp=timestamp, online=online), qos=QoS.AT_LEAST_ONCE, retain=True)


def heard(_client, message):
    payload, topic = message.payload, message.topic
    metrics = getattr(payload, "metrics", None)
    if metrics is None:
        metrics = [payload.bd_seq_metric] if hasattr(payload, "bd_seq_metric") else []
    say(
        str(topic.message_type),
        node=topic.edge_node_id,
        device=topic.device_id,
        seq=getattr(payload, "seq", None),
        timestamp=payload.timestamp,
        metrics=[
            [metric.name, metric.value, metric.timestamp, bool(metric.is_historical), bool(metric.is_null)]
            for metric in metrics
        ],
    )


def rebirth(node):
    topic = Topic(message_type=MessageType.NCMD, group_id=GROUP, edge_node_id=node)
    metric = Metric(since, "Node Control/Rebirth", DataType.BOOLEAN, value=True)
    payload = NCmd(timestamp=round(time.time() * 1000), metrics=(metric,))
    client.publish(Message(topic=topic, payload=payload, qos=QoS.AT_MOST_ONCE, retain=False), include_dtypes=True)


client = Client(client_id=HOST)
client.set_will(state(False, since))
for kind in (MessageType.NBIRTH, MessageType.NDATA, MessageType.NDEATH):
    client.subscribe(Topic(message_type=kind, group_id=GROUP, edge_node_id="+"), QoS.AT_LEAST_ONCE, heard)
for kind in (MessageType.DBIRTH, MessageType.DDATA, MessageType.DDEATH):
    topic = Topic(message_type=kind, group_id=GROUP, edge_node_id="+", device_id="+")
    client.subscribe(topic, QoS.AT_LEAST_ONCE, heard)
client.connect("127.0.0.1", port=PORT, callback=lambda made: (made.publish(state(True, since)), say("connected")))
for line in sys.stdin:
    told = json.loads(line)
    if told["do"] == "rebirth":
        rebirth(told["node"])
    elif told["do"] == "online":
        since = round(time.time() * 1000)
        client.publish(state(True, since))
    elif told["do"] == "offline":
        client.publish(state(False, round(time.time() * 1000)))
