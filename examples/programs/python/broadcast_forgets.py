#!/usr/bin/env python3
"""Wrong: a broadcast that tells each neighbor once. What is told into a partition is lost."""
from node import Node

node = Node()
values = {}
neighbors = []


@node.on("topology")
def topology(message):
    neighbors[:] = message.body["topology"][node.id]
    node.reply(message, type="topology_ok")


def learn(value, source):
    if value not in values:
        values[value] = None
        for neighbor in neighbors:
            if neighbor != source:
                # Nobody knows whether this arrives.
                node.send(neighbor, type="tell", value=value)


@node.on("broadcast")
def broadcast(message):
    learn(message.body["message"], message.src)
    node.reply(message, type="broadcast_ok")


@node.on("tell")
def tell(message):
    learn(message.body["value"], message.src)


@node.on("read")
def read(message):
    node.reply(message, type="read_ok", messages=list(values))


node.run()
