#!/usr/bin/env python3
"""Wrong: transactions whose operations go to lin-kv one by one, as they come.

Each register is linearizable, and the transactions are not isolated at all: another reads what one
writes first and replaces later (G1b), and two see each other's writes (G1c)."""
from node import Node

node = Node()


@node.on("txn")
def txn(message):
    done, left = [], message.body["txn"][::-1]

    def following():
        if not left:
            node.reply(message, type="txn_ok", txn=done)
            return
        operation, key, value = left.pop()

        def on_answer(body):
            done.append([operation, key, body.get("value") if operation == "r" else value])
            following()

        if operation == "r":
            node.rpc("lin-kv", on_answer, type="read", key=key)
        else:
            node.rpc("lin-kv", on_answer, type="write", key=key, value=value)

    following()


node.run()
