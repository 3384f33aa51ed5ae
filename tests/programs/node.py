#!/usr/bin/env python3
"""A node for tests: the simplest that does a workload right, or wrong as its argument says."""
import json
import sys

mode = sys.argv[1] if len(sys.argv) > 1 else ""
me, everybody, seen, added, ids = None, [], set(), {}, 0
logs, committed = {}, {}


def send(dest, body):
    print(json.dumps({"src": me, "dest": dest, "body": body}), flush=True)


def log(kind, body):
    if kind == "send":
        entries = logs.setdefault(body["key"], [])
        full = len(entries) > 2
        if mode == "backwards" and full:
            return {"type": "send_ok", "offset": 0}
        entries.append(None if mode == "loses" and full else body["msg"])
        return {"type": "send_ok", "offset": len(entries) - 1}
    if kind == "poll":
        shown = {}
        for key, start in body["offsets"].items():
            entries = list(enumerate(logs.get(key, [])))[start:start + 5]
            entries = [entry for entry in entries if entry[1] is not None]
            if mode == "skips" and len(entries) > 2:
                del entries[1]
            if entries:
                shown[key] = entries
        return {"type": "poll_ok", "msgs": shown}
    if kind == "commit_offsets":
        if mode != "forgets":
            for key, offset in body["offsets"].items():
                committed[key] = max(offset, committed.get(key, 0))
        return {"type": "commit_offsets_ok"}
    known = {key: committed[key] for key in body["keys"] if key in committed}
    return {"type": "list_committed_offsets_ok", "offsets": known}


asked = {}
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
    elif kind in ("send", "poll", "commit_offsets", "list_committed_offsets"):
        # One node's logs: the first one keeps them for all.
        if me != everybody[0] and "alone" not in mode:
            asked[ids] = (src, body["msg_id"])
            send(everybody[0], {**body, "ask": ids})
            ids += 1
            continue
        answer = log(kind, body)
        if "ask" in body:
            answer["ask"] = body["ask"]
        reply(**answer)
    elif "ask" in body:
        client, msg_id = asked.pop(body.pop("ask"))
        send(client, {**body, "in_reply_to": msg_id})
    elif kind == "read" and mode == "strange":
        reply(type="read", messages=[])
    elif kind == "read":
        shown = sorted(seen) + ([-7] if mode == "invents" and seen else [])
        shown += [shown[0]] if mode == "repeats" and shown else []
        value = sum(added.values()) if added or "counter" in mode else shown
        reply(type="read_ok", messages=shown, value=value)
