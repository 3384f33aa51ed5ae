"""A node that speaks line JSON on stdin and stdout (the protocol of Maelstrom), without threads.

    from node import Node

    node = Node()

    @node.on("echo")
    def echo(message):
        node.reply(message, type="echo_ok", echo=message.body["echo"])

    node.run()
"""
import heapq
import json
import os
import select
import sys
import time


class Message:
    """What came: from whom, and what it says."""

    def __init__(self, src, body):
        self.src, self.body = src, body


class Node:
    """This process's node. `id` and `ids` (all nodes') are there once `init` has come."""

    def __init__(self):
        self.id, self.ids = None, []
        self._handlers, self._started, self._callbacks = {}, [], {}
        self._last_id, self._timers, self._output = 0, [], []

    @property
    def others(self):
        """All other nodes."""
        return [one for one in self.ids if one != self.id]

    def on(self, kind):
        """Has the decorated function called with each message of this type."""
        return lambda handler: self._handlers.setdefault(kind, handler)

    def start(self, handler):
        """Has the decorated function called once, when `init` has come."""
        self._started.append(handler)
        return handler

    def send(self, dest, **body):
        """Sends, and forgets."""
        line = json.dumps({"src": self.id, "dest": dest, "body": body}, separators=(",", ":"))
        self._output.append(line)

    def reply(self, message, **body):
        """Answers a message."""
        self.send(message.src, in_reply_to=message.body["msg_id"], **body)

    def error(self, message, code, text):
        """Answers that it cannot be done; the codes are Maelstrom's."""
        self.reply(message, type="error", code=code, text=text)

    def rpc(self, dest, done=lambda body: None, resend=None, **body):
        """Sends, and calls `done` with the body of the first answer. With `resend` it sends the
        same again after so many seconds without an answer, and again; the other side may thus see
        it twice."""
        self._last_id += 1
        number = self._last_id
        self._callbacks[number] = done

        def attempt():
            if number in self._callbacks:
                self.send(dest, msg_id=number, **body)
                if resend:
                    self.after(resend, attempt)

        attempt()

    def after(self, seconds, call):
        """Calls once, so many seconds from now."""
        self._last_id += 1  # of two timers that are due at once, the one that was set first
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._last_id, call))

    def every(self, seconds, call):
        """Calls again and again, so many seconds apart."""

        def again():
            self.after(seconds, again)
            call()

        self.after(seconds, again)

    def run(self):
        """Goes on until stdin ends."""
        rest = b""
        while True:
            self._flush()
            wait = max(0, self._timers[0][0] - time.monotonic()) if self._timers else None
            if not self._timers or select.select([0], [], [], wait)[0]:
                read = os.read(0, 1 << 16)
                if not read:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
            # What is due in less than a microsecond, select would not wait for.
            while self._timers and self._timers[0][0] <= time.monotonic() + 1e-6:
                heapq.heappop(self._timers)[2]()

    def _hear(self, line):
        message = Message(line["src"], line["body"])
        kind = message.body["type"]
        if "in_reply_to" in message.body:
            # A second answer, and one to what was sent before a restart, has none that waits.
            self._callbacks.pop(message.body["in_reply_to"], lambda body: None)(message.body)
        elif kind == "init":
            self.id, self.ids = message.body["node_id"], message.body["node_ids"]
            for handler in self._started:
                handler()
            self.reply(message, type="init_ok")
        elif kind in self._handlers and self.id:
            self._handlers[kind](message)
        elif self.id:  # what comes before init is lost, like what comes before the start
            self.error(message, 10, f"{kind} is not known here")

    def _flush(self):
        if self._output:
            sys.stdout.write("\n".join(self._output) + "\n")
            sys.stdout.flush()
            self._output.clear()
