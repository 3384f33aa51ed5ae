"""WRONG on purpose: says everything once, and what a partition swallows is gone."""
import json
import sys

me, others, seen = None, [], []


def say(dest, **body):
    print(json.dumps({"src": me, "dest": dest, "body": body}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    source, body = message["src"], message["body"]
    kind, again = body["type"], {"in_reply_to": body.get("msg_id")}
    if kind == "init":
        me, others = body["node_id"], [n for n in body["node_ids"] if n != body["node_id"]]
        say(source, type="init_ok", **again)
    elif kind == "topology":
        say(source, type="topology_ok", **again)
    elif kind == "broadcast":
        seen.append(body["message"])
        say(source, type="broadcast_ok", **again)
        for other in others:
            say(other, type="gossip", value=body["message"])
    elif kind == "read":
        say(source, type="read_ok", messages=seen, **again)
    elif kind == "gossip" and body["value"] not in seen:
        seen.append(body["value"])
