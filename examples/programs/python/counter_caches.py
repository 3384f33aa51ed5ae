#!/usr/bin/env python3
"""Wrong: a counter in seq-kv that answers reads with the sum that it last wrote or read itself.

What others have added since then is missing, and stays so on a node that nobody asks to add."""
from node import Node

node = Node()
cached = 0


@node.on("add")
def add(message):
    def on_read(body):
        old = body.get("value")
        new = (old or 0) + message.body["delta"]

        def on_set(body):
            global cached
            if body["type"] == "error":
                add(message)
                return
            cached = new
            node.reply(message, type="add_ok")

        body = {"from": old, "to": new, "create_if_not_exists": True}
        node.rpc("seq-kv", on_set, type="cas", key="sum", **body)

    node.rpc("seq-kv", on_read, type="read", key="sum")


@node.on("read")
def read(message):
    node.reply(message, type="read_ok", value=cached)


node.run()
