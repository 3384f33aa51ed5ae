"""Judges counters: in the end every node says the sum of what was added.

What was acknowledged counts; what was not answered may. Reads one run after the other on its standard
input, as docs/scenarios-without-a-study.md says, and answers each with one line.
"""

import json
import sys


def judge(operations):
    acknowledged = possible = 0
    finals = []
    for operation in operations:
        add = operation["request"].get("add")
        if add and operation["reply"] is not None:
            acknowledged += add["amount"]
        if add:
            possible += add["amount"]
        if operation.get("final") and operation["reply"] is not None:
            finals.append(operation)
    if not acknowledged or not finals:
        return {"verdict": "unknown", "why": "nothing was added, or no node asked in the end"}
    for final in finals:
        total = final["reply"]["total"]
        if not acknowledged <= total <= possible:
            why = f"node {final['node']} says {total} in the end, and {acknowledged} were added"
            return {"verdict": "violated", "why": why, "operations": [final["op"]]}
    return {"verdict": "held"}


def main():
    run, operations = None, []
    for line in sys.stdin:
        line = json.loads(line)
        if "run" in line:
            run, operations = line["run"], []
        elif "op" in line:
            operations.append(line)
        elif "end" in line:
            print(json.dumps({"run": run, **judge(operations)}), flush=True)


main()
