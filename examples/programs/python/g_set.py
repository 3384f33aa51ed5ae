#!/usr/bin/env python3
"""A set that only grows: each node tells the others all that it has, every second.

Sets are merged by their union, in any order and any number of times: so nothing has to be
acknowledged, and a node that starts with nothing soon has everything."""
from node import Node

node = Node()
elements = {}


@node.on("add")
def add(message):
    elements[message.body["element"]] = None
    node.reply(message, type="add_ok")


@node.on("read")
def read(message):
    node.reply(message, type="read_ok", value=list(elements))


@node.on("merge")
def merge(message):
    elements.update(dict.fromkeys(message.body["elements"]))


def gossip():
    for other in node.others:
        node.send(other, type="merge", elements=list(elements))


node.every(1, gossip)
node.run()
