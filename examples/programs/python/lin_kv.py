#!/usr/bin/env python3
"""A linearizable store: each node passes on what clients ask to the service lin-kv."""
from node import Node

node = Node()


def pass_on(message):
    def answer(body):
        # Errors, too: a key that is not there, a value that is not the one compared with.
        node.reply(message, **{key: body[key] for key in body if key not in names})

    names = ("msg_id", "in_reply_to")
    asked = {key: message.body[key] for key in message.body if key not in names}
    node.rpc("lin-kv", answer, **asked)


for kind in ("read", "write", "cas"):
    node.on(kind)(pass_on)
node.run()
