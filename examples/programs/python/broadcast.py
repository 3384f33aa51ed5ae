#!/usr/bin/env python3
"""Challenges 3a to 3c: a value goes to each neighbor again and again until that has it.

    client ── broadcast ──► n0 ── tell [7] ──► n1 ── tell [7] ──► …
                                ◄── told [7] ──

What a neighbor has not acknowledged is kept, and sent again all at once every half second: after a
partition, and to a neighbor that was down. The values are in a file, too, so that a node that is
started again in the same folder has what it has answered for, and tells it all again."""

from node import Node

node = Node()
values = {}  # a dict keeps its order
unacknowledged = {}  # neighbor: values


@node.start
def start():
    global log
    log = open(f"{node.id}.values", "a+")
    log.seek(0)
    values.update((int(line), None) for line in log)
    # Clients do not tell the topology again to a node that is started again: it tells everybody.
    unacknowledged.update((other, dict(values)) for other in node.others)


@node.on("topology")
def topology(message):
    neighbors = message.body["topology"][node.id]
    for other in node.others:
        if other not in neighbors:
            unacknowledged.pop(other, None)
    node.reply(message, type="topology_ok")


def learn(new, source):
    """Keeps values and passes them on, but not to where they come from."""
    new = [value for value in new if value not in values]
    if not new:
        return
    values.update(dict.fromkeys(new))
    log.writelines(f"{value}\n" for value in new)
    log.flush()
    for neighbor, waiting in unacknowledged.items():
        if neighbor != source:
            waiting.update(dict.fromkeys(new))
            node.send(neighbor, type="tell", values=new)


@node.on("broadcast")
def broadcast(message):
    learn([message.body["message"]], message.src)
    node.reply(message, type="broadcast_ok")


@node.on("tell")
def tell(message):
    learn(message.body["values"], message.src)
    node.send(message.src, type="told", values=message.body["values"])


@node.on("told")
def told(message):
    for value in message.body["values"]:
        unacknowledged.get(message.src, {}).pop(value, None)


@node.on("read")
def read(message):
    node.reply(message, type="read_ok", messages=list(values))


def resend():
    for neighbor, waiting in unacknowledged.items():
        if waiting:
            node.send(neighbor, type="tell", values=list(waiting))


node.every(0.5, resend)
node.run()
