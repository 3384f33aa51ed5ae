#!/usr/bin/env python3
"""A node for tests: the simplest that does a workload right, or wrong as its argument says."""
import json
import sys

mode = sys.argv[1] if len(sys.argv) > 1 else ""
me, everybody, seen, added, ids = None, [], set(), {}, 0


def send(dest, body):
    print(json.dumps({"src": me, "dest": dest, "body": body}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    body, src = message["body"], message["src"]
    kind = body["type"]

    def reply(**keys):
        send(src, {**keys, "in_reply_to": body["msg_id"]})

    def tell(**keys):
        if "silent" not in mode:
            for node in everybody:
                if node != me:
                    send(node, keys)

    if kind == "init":
        me, everybody = body["node_id"], body["node_ids"]
        reply(type="init_ok")
    elif kind == "topology":
        reply(type="topology_ok")
    elif kind == "echo":
        reply(type="echo_ok", echo=body["echo"].upper() if mode == "loud" else body["echo"])
    elif kind == "generate":
        ids += 1
        reply(type="generate_ok", id=ids if mode == "same" else f"{me}-{ids}")
    elif kind == "broadcast" or kind == "add" and "element" in body:
        element = body.get("message", body.get("element"))
        seen.add(element)
        reply(type=f"{kind}_ok")
        tell(type="tell", element=element)
    elif kind == "tell":
        seen.add(body["element"])
    elif kind == "add":
        ids += 1
        added[f"{me}-{ids}"] = body["delta"]
        reply(type="add_ok")
        tell(type="sum", key=f"{me}-{ids}", delta=body["delta"])
    elif kind == "sum":
        added[body["key"]] = body["delta"]
    elif kind == "read" and mode == "strange":
        reply(type="read", messages=[])
    elif kind == "read":
        shown = sorted(seen) + ([-7] if mode == "invents" and seen else [])
        shown += [shown[0]] if mode == "repeats" and shown else []
        value = sum(added.values()) if added or "counter" in mode else shown
        reply(type="read_ok", messages=shown, value=value)
