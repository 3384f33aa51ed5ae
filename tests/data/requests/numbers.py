"""Judges lamport's numbers: each is below LIMIT, and comes with a clock above its request's.

  numbers.py LIMIT
"""

import json
import sys

LIMIT = int(sys.argv[1])


def judge(operations):
    told = [one for one in operations if "number" in (one["reply"] or {})]
    for one in told:
        number, clock = one["reply"]["number"]["number"], one["reply"]["number"]["clock"]
        if clock <= one["request"]["number"]["clock"] or number >= LIMIT:
            why = f"node {one['node']} answered {number} at clock {clock}"
            return {"verdict": "violated", "why": why, "operations": [one["op"]]}
    return {"verdict": "held"} if told else {"verdict": "unknown", "why": "no number was told"}


run, operations = None, []
for line in map(json.loads, sys.stdin):
    if "run" in line:
        run, operations = line["run"], []
    elif "op" in line:
        operations.append(line)
    elif "end" in line:
        print(json.dumps({"run": run, **judge(operations)}), flush=True)
