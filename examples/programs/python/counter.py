#!/usr/bin/env python3
"""Challenge 4: a counter in the service seq-kv, under one key.

seq-kv may answer with old states, and a write may take place in the past. But of two that compare
and set the same old value to different new ones, it lets only one succeed. So each value that is
written is written once, its sum followed by a name of its own: who sets it has seen the newest sum.
A read sets the value, too, to the same sum under another name; that is what makes it new.

One round at a time: what clients ask while it is under way goes into the next."""
import time

from node import Node

node = Node()
KEY = "sum"
started, rounds = time.time_ns(), 0
waiting, is_busy = [], False


def ask(message):
    waiting.append(message)
    if not is_busy:
        begin()


def begin():
    global is_busy, rounds
    is_busy = bool(waiting)
    if not is_busy:
        return
    rounds += 1
    asked = waiting[:]
    waiting.clear()
    attempt(asked, f"{node.id}-{started}-{rounds}")


def attempt(asked, name):
    def on_read(body):
        old = body.get("value")  # none as long as there is no such key
        total = int(old.split()[0]) if old else 0
        total += sum(message.body.get("delta", 0) for message in asked)
        new = f"{total} {name}"
        body = {"from": old, "to": new, "create_if_not_exists": True}
        node.rpc("seq-kv", lambda body: on_set(body, total), type="cas", key=KEY, **body)

    def on_set(body, total):
        if body["type"] == "error":  # another was faster, or what was read was old
            attempt(asked, name)
            return
        for message in asked:
            if message.body["type"] == "add":
                node.reply(message, type="add_ok")
            else:
                node.reply(message, type="read_ok", value=total)
        begin()

    node.rpc("seq-kv", on_read, type="read", key=KEY)


node.on("add")(ask)
node.on("read")(ask)
node.run()
