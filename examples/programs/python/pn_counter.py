#!/usr/bin/env python3
"""A counter that goes up and down, without any service.

Each node counts what it was asked to add and to subtract, and tells the others all counts that it
knows, every second. Both counts of a node only grow, so of two that are told of it the larger is
the newer, and the maximum merges them. A node that is started again counts under a new name, since
it no longer knows how far it had come."""
import time

from node import Node

node = Node()
added, subtracted = {}, {}


@node.start
def start():
    global me
    me = f"{node.id}-{time.time_ns()}"


@node.on("add")
def add(message):
    delta = message.body["delta"]
    counts = added if delta >= 0 else subtracted
    counts[me] = counts.get(me, 0) + abs(delta)
    node.reply(message, type="add_ok")


@node.on("read")
def read(message):
    value = sum(added.values()) - sum(subtracted.values())
    node.reply(message, type="read_ok", value=value)


@node.on("merge")
def merge(message):
    for counts, theirs in (added, "added"), (subtracted, "subtracted"):
        for name, count in message.body[theirs].items():
            counts[name] = max(count, counts.get(name, 0))


def gossip():
    for other in node.others:
        node.send(other, type="merge", added=added, subtracted=subtracted)


node.every(1, gossip)
node.run()
