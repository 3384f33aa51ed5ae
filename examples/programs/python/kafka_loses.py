#!/usr/bin/env python3
"""Wrong: logs in lin-kv whose next offset is read, and written back, without comparing.

Two nodes that read the same offset both store a message there; the second replaces the first,
though both were acknowledged."""
from node import Node

node = Node()


def ask(done, **body):
    node.rpc("lin-kv", lambda body: done(body.get("value")), **body)


@node.on("send")
def send(message):
    log = message.body["key"]

    def on_length(length):
        offset = length or 0

        def on_stored(_):
            ask(on_done, type="write", key=f"length/{log}", value=offset + 1)

        def on_done(_):
            node.reply(message, type="send_ok", offset=offset)

        ask(on_stored, type="write", key=f"log/{log}/{offset}", value=message.body["msg"])

    ask(on_length, type="read", key=f"length/{log}")


@node.on("poll")
def poll(message):
    found, left = {}, list(message.body["offsets"].items())

    def following():
        if not left:
            node.reply(message, type="poll_ok", msgs=found)
            return
        log, first = left.pop()
        found[log] = []
        read_on(log, first)

    def read_on(log, offset):
        def on_read(value):
            if value is None:
                following()
            else:
                found[log].append([offset, value])
                read_on(log, offset + 1)

        ask(on_read, type="read", key=f"log/{log}/{offset}")

    following()


@node.on("commit_offsets")
def commit_offsets(message):
    for log, offset in message.body["offsets"].items():
        ask(lambda _: None, type="write", key=f"committed/{log}", value=offset)
    node.reply(message, type="commit_offsets_ok")


@node.on("list_committed_offsets")
def list_committed_offsets(message):
    found, left = {}, list(message.body["keys"])

    def following():
        if not left:
            node.reply(message, type="list_committed_offsets_ok", offsets=found)
            return
        log = left.pop()

        def on_read(value):
            if value is not None:
                found[log] = value
            following()

        ask(on_read, type="read", key=f"committed/{log}")

    following()


node.run()
