#!/usr/bin/env python3
"""Challenge 5: logs that any node appends to, in the service lin-kv.

Each place in a log is a key of its own, which is set once, by comparing it with nothing: of two
nodes that want the same place, one gets it and the other tries the next. So an offset is taken in
the very step that stores its message, a log has no holes, and what was once read never changes:
each node remembers it."""
from node import Node

node = Node()
logs = {}  # what this node knows of each log, from its begin on


def slot(log, offset):
    return f"log/{log}/{offset}"


@node.on("send")
def send(message):
    log, value = message.body["key"], message.body["msg"]
    known = logs.setdefault(log, [])

    def attempt(offset):
        def on_set(body):
            if body["type"] == "error":
                fetch(log, lambda: attempt(len(known)))  # another has it
            else:
                remember(log, offset, value)
                node.reply(message, type="send_ok", offset=offset)

        body = {"from": None, "to": value, "create_if_not_exists": True}
        node.rpc("lin-kv", on_set, type="cas", key=slot(log, offset), **body)

    attempt(len(known))


def remember(log, offset, value):
    if offset == len(logs[log]):
        logs[log].append(value)


def fetch(log, done):
    """Reads on from what is known of a log, to its end."""
    offset = len(logs.setdefault(log, []))

    def on_read(body):
        if body["type"] == "error":
            done()
        else:
            remember(log, offset, body["value"])
            fetch(log, done)

    node.rpc("lin-kv", on_read, type="read", key=slot(log, offset))


def each(names, call, done):
    """Calls with each name and what to call afterwards; `done` once all are through."""
    left = list(names)

    def following():
        if left:
            call(left.pop(), following)
        else:
            done()

    following()


@node.on("poll")
def poll(message):
    offsets = message.body["offsets"]

    def answer():
        found = {
            log: [[at, logs[log][at]] for at in range(first, len(logs[log]))]
            for log, first in offsets.items()
        }
        node.reply(message, type="poll_ok", msgs=found)

    each(offsets, fetch, answer)


@node.on("commit_offsets")
def commit_offsets(message):
    offsets = message.body["offsets"]

    def commit(log, done):
        def on_read(body):
            old = body.get("value")
            if old is not None and old >= offsets[log]:
                done()
                return
            body = {"from": old, "to": offsets[log], "create_if_not_exists": True}
            node.rpc("lin-kv", on_set, type="cas", key=f"committed/{log}", **body)

        def on_set(body):
            commit(log, done) if body["type"] == "error" else done()

        node.rpc("lin-kv", on_read, type="read", key=f"committed/{log}")

    each(offsets, commit, lambda: node.reply(message, type="commit_offsets_ok"))


@node.on("list_committed_offsets")
def list_committed_offsets(message):
    found = {}

    def look(log, done):
        def on_read(body):
            if "value" in body:
                found[log] = body["value"]
            done()

        node.rpc("lin-kv", on_read, type="read", key=f"committed/{log}")

    answer = lambda: node.reply(message, type="list_committed_offsets_ok", offsets=found)
    each(message.body["keys"], look, answer)


node.run()
