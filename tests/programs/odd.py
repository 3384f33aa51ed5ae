#!/usr/bin/env python3
"""A node that echoes, or does what its first argument says: what programs get wrong."""
import json
import os
import sys
import threading
import time

MODE = sys.argv[1] if len(sys.argv) > 1 else ""
me = None
out = threading.Lock()


def send(dest, body):
    with out:
        sys.stdout.write(json.dumps({"src": me, "dest": dest, "body": body}) + "\n")
        sys.stdout.flush()


def remember():
    """Counts its own starts in a file that it never syncs."""
    starts = int(open("starts").read()) if os.path.exists("starts") else 0
    with open("starts", "w") as file:
        file.write(str(starts + 1))
    return starts + 1


def answer(message):
    body = message["body"]
    reply = {"type": body["type"] + "_ok", "in_reply_to": body["msg_id"], "echo": body.get("echo")}
    if MODE == "no json":
        print("hello, I am a node")
    elif MODE == "exits":
        print("it hurts", file=sys.stderr)
        sys.exit(3)
    elif MODE == "endless line":
        while True:
            sys.stdout.write("x" * 65536)
    elif MODE == "endless lines":
        while True:
            send("n0", {"type": "more"})
    elif MODE == "busy":
        while True:
            pass
    elif MODE == "itself":
        return send(me, body)
    elif MODE == "nobody":
        send("n77", {"type": "hello"})
    elif MODE == "other":
        sys.stdout.write(json.dumps({"src": "n9", "dest": "c1", "body": {"type": "x"}}) + "\n")
    elif MODE == "no type":
        send("n0", {"kind": "x"})
    elif MODE == "forks":
        for _ in range(100):
            if os.fork() == 0:
                time.sleep(1000)
    elif MODE == "memory":
        global kept
        kept = bytearray(200 << 20)
        for at in range(0, len(kept), 4096):
            kept[at] = 1
    elif MODE == "starts":
        reply["echo"] = starts
    elif MODE == "sleeps":
        before = time.monotonic()
        time.sleep(0.5)
        reply["echo"] = round(time.monotonic() - before, 3)
    elif MODE == "timers":
        event = threading.Event()
        before = time.time()
        threading.Timer(0.25, event.set).start()
        waited = event.wait(100)
        reply["echo"] = [waited, round(time.time() - before, 3)]
    elif MODE == "asyncio":
        import asyncio

        async def nap():
            before = time.monotonic()
            await asyncio.gather(asyncio.sleep(0.1), asyncio.sleep(3))
            # Its selectors wait for whole milliseconds.
            return round(time.monotonic() - before, 2)

        reply["echo"] = asyncio.run(nap())
    elif MODE == "random":
        import random
        import secrets
        import uuid

        reply["echo"] = [random.random(), random.Random().random(), secrets.token_hex(4)]
        reply["echo"] += [str(uuid.uuid4()), time.time_ns()]
    elif MODE == "locks":
        import datetime

        before, day = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=1.5)
        thread = threading.Thread(target=time.sleep, args=(100,), daemon=True)
        thread.start()
        thread.join(timeout=0.5)
        passed = datetime.datetime.now(datetime.timezone.utc) - day
        reply["echo"] = [round(time.monotonic() - before, 3), passed.total_seconds(), day.year]
    elif MODE == "flood":
        for at in range(20000):
            os.write(asks, b"timer %d 99999999999999999\ncancel %d\n" % (10**9 + at, 10**9 + at))
    elif MODE == "links":
        # As soon as it is started again, its driver finds a link in the place of its own file.
        where = os.path.join(os.environ["NODE_CLOCK"], "now")
        os.remove(where)
        os.symlink(sys.argv[2], where)
    elif MODE == "big":
        reply["echo"] = int("1" + "0" * 40) + 1
    print("said", reply["echo"], file=sys.stderr, flush=True)
    if MODE == "clock":
        waiting[body["msg_id"]] = (message["src"], reply)
        return send("clock", {"type": "sleep", "ms": 700, "msg_id": body["msg_id"]})
    send(message["src"], reply)


asks = -1
if MODE == "flood":
    asks = os.open(os.path.join(os.environ["NODE_CLOCK"], "asks"), os.O_WRONLY)
waiting = {}
starts = remember()
for line in sys.stdin:
    message = json.loads(line)
    body = message["body"]
    if body["type"] == "init":
        me = body["node_id"]
        if MODE != "no init":
            send(message["src"], {"type": "init_ok", "in_reply_to": body["msg_id"]})
    elif body["type"] == "sleep_ok":
        send(*waiting.pop(body["in_reply_to"]))
    elif MODE in ("sleeps", "timers", "locks"):
        threading.Thread(target=answer, args=(message,)).start()
    else:
        answer(message)
