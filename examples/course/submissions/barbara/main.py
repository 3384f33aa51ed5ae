"""WRONG on purpose: answers clients, and tells no other node anything."""
import json
import sys

me, seen = None, []


def say(dest, **body):
    print(json.dumps({"src": me, "dest": dest, "body": body}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    source, body = message["src"], message["body"]
    kind, again = body["type"], {"in_reply_to": body.get("msg_id")}
    if kind == "init":
        me = body["node_id"]
    if kind == "broadcast":
        seen.append(body["message"])
    result = {"messages": seen} if kind == "read" else {}
    say(source, type=kind + "_ok", **again, **result)
