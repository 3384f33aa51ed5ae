#!/usr/bin/env python3
"""Challenge 6: transactions on registers, read committed, that nodes which are cut off answer too.

A transaction runs on the node that is asked, at once and as a whole. What it wrote goes to the
others as one message, until they acknowledge it, under a time that is later than all that the node
has seen. They take it as a whole, too; of two writes of a register, the one with the later time
stays. So nobody sees a part of a transaction, or one that did not happen, and whatever one
transaction has of another, the other's time is earlier."""
import time

from node import Node

node = Node()
registers = {}  # key: (time, node, value)
now = 0


def write(writes, at, writer):
    global now
    now = max(now, at)
    for key, value in writes:
        if key not in registers or registers[key][:2] < (at, writer):
            registers[key] = (at, writer, value)


@node.on("txn")
def txn(message):
    done, writes = [], {}
    for operation, key, value in message.body["txn"]:
        if operation == "w":
            writes[key] = value
        else:
            value = writes[key] if key in writes else registers.get(key, (None,))[-1]
        done.append([operation, key, value])
    if writes:
        # The time of day, so that it is later than what this node wrote before a restart.
        at, pairs = max(now + 1, time.time_ns()), list(writes.items())
        write(pairs, at, node.id)
        for other in node.others:
            node.rpc(other, resend=1, type="replicate", writes=pairs, at=at)
    node.reply(message, type="txn_ok", txn=done)


@node.on("replicate")
def replicate(message):
    write(message.body["writes"], message.body["at"], message.src)
    node.reply(message, type="replicate_ok")


node.run()
