#!/usr/bin/env python3
"""Challenge 2: ids that no other has, without asking anybody.

The node's name tells nodes apart, a number tells apart what one node makes, and the time of its
start what it made before a restart, which it no longer knows."""
import time

from node import Node

node = Node()
started = time.time_ns()
made = 0


@node.on("generate")
def generate(message):
    global made
    made += 1
    node.reply(message, type="generate_ok", id=f"{node.id}-{started}-{made}")


node.run()
