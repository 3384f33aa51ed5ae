"""Broadcast over a star; a neighbour is told everything that it has not acknowledged."""
import json
import sys

me, neighbours, seen, owed = None, [], [], {}


def say(dest, **body):
    print(json.dumps({"src": me, "dest": dest, "body": body}), flush=True)


def owe(values, but=None):
    for other in neighbours:
        if other != but:
            owed[other].update(values)


def pay(dest):
    if owed[dest]:
        say(dest, type="gossip", values=sorted(owed[dest]))


def take(values, source=None):
    new = [value for value in values if value not in known]
    known.update(new)
    seen.extend(new)
    owe(new, source)
    return new


known = set()
for line in sys.stdin:
    message = json.loads(line)
    source, body = message["src"], message["body"]
    kind, again = body["type"], {"in_reply_to": body.get("msg_id")}
    if kind == "init":
        me, nodes = body["node_id"], body["node_ids"]
        # A star: two steps from anybody to everybody.
        hub = nodes[0]
        neighbours = [n for n in nodes if n != me] if me == hub else [hub]
        owed = {other: set() for other in neighbours}
        say(source, type="init_ok", **again)
    elif kind == "topology":
        say(source, type="topology_ok", **again)
    elif kind == "broadcast":
        new = take([body["message"]])
        say(source, type="broadcast_ok", **again)
        for other in neighbours if new else []:
            pay(other)
    elif kind == "read":
        say(source, type="read_ok", messages=seen, **again)
        for other in neighbours:
            pay(other)
    elif kind == "gossip":
        new = take(body["values"], source)
        say(source, type="gossip_ok", values=body["values"])
        for other in neighbours if new else []:
            if other != source:
                pay(other)
    elif kind == "gossip_ok":
        owed[source].difference_update(body["values"])
