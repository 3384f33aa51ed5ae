#!/usr/bin/env python3
"""Wrong: passes on to lin-kv what clients write, and answers reads from what it remembers.

What has been written through other nodes since then, its clients do not see."""
from node import Node

node = Node()
cache = {}


def pass_on(message):
    def answer(body):
        if body["type"] == "read_ok":
            cache[key] = body["value"]
        elif body["type"] == "write_ok":
            cache[key] = message.body["value"]
        elif body["type"] == "cas_ok":
            cache[key] = message.body["to"]
        node.reply(message, **{key: body[key] for key in body if key not in names})

    key, names = message.body["key"], ("msg_id", "in_reply_to")
    asked = {key: message.body[key] for key in message.body if key not in names}
    node.rpc("lin-kv", answer, **asked)


@node.on("read")
def read(message):
    if message.body["key"] in cache:
        node.reply(message, type="read_ok", value=cache[message.body["key"]])
    else:
        pass_on(message)


for kind in ("write", "cas"):
    node.on(kind)(pass_on)
node.run()
