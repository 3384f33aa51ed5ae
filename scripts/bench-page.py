#!/usr/bin/env python3
"""Measures the page of `node explain` in headless Chromium, rendering in software.

How large the page of 10,000 events is; how many pictures a second Chromium itself drew while the page
of 100,000 events was panned, everything fitted and zoomed in; how long `node explain` takes for a run
of 3.6 million events, and the browser to open its page. NODE names the binary, CHROMIUM the browser.
"""
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NODE = os.environ.get("NODE", str(ROOT / "target/release/node"))
CHROMIUM = os.environ.get("CHROMIUM", "chromium")
OUT = ROOT / "run/bench-page"
STORE = """nodes = ["{root}/configs/kv-leader.toml", "{root}/configs/kv-follower-2.toml",
  "{root}/configs/kv-follower-3.toml"]
properties = ["regular_register"]
seconds = 60
[workload.kv_replication]
clients = 4
operations = {operations}
think_ms = 10
[faults]
crash = [1, 3]
pause = [1, 3]
partition = [1, 3]
loss = [1, 2]
loss_percent = 20
duplicate = [1, 2]
for_ms = [50, 3000]
"""
# Pans a little with each picture, and says when each began.
PAN = """new Promise((done) => {
  fit(); zoom(%s); draw();
  const times = [], began = performance.now();
  const step = (now) => {
    times.push(now);
    if (now - began > %d) { done(times.length); return; }
    view.left += ((times.length %% 80 < 40 ? 1 : -1) * 9) / view.scale;
    clampView();
    invalidate();
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


class Browser:
    """Chromium by its DevTools protocol, over a pipe."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.write_end = os.pipe()
        self.read_end, to_write = os.pipe()

        def pipes():
            ends = [os.dup(os.dup(to_read)), os.dup(os.dup(to_write))]
            for target, end in zip((3, 4), ends):
                os.dup2(end, target)
                os.set_inheritable(target, True)

        self.process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--window-size=1400,900", "--remote-debugging-pipe",
             f"--user-data-dir={self.folder.name}", "about:blank"],
            preexec_fn=pipes, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.sent, self.session, self.events = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        self.call("Page.enable")

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.read_end, 1 << 20)
            if not more:
                sys.exit("the browser is gone")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.sent:
                if "error" in answer:
                    sys.exit(str(answer["error"]))
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while True:
            for place, event in enumerate(self.events):
                if event.get("method") == method:
                    return self.events.pop(place)
            self.events.append(self.receive())

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        if "exceptionDetails" in result:
            sys.exit(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    def open(self, file):
        """Seconds until the page's first picture is there."""
        self.events = []
        began = time.time()
        self.call("Page.navigate", url=f"file://{file}")
        self.wait("Page.loadEventFired")
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.time() - began

    def pan(self, zoomed, millis=4000):
        """The times of the pictures that Chromium drew meanwhile, in milliseconds."""
        self.events = []
        self.call("Tracing.start", transferMode="ReportEvents", traceConfig={
            "includedCategories": ["disabled-by-default-devtools.timeline.frame"]})
        self.run(PAN % (zoomed, millis))
        self.call("Tracing.end")
        told = []
        while True:
            event = self.events.pop(0) if self.events else self.receive()
            if event.get("method") == "Tracing.dataCollected":
                told += event["params"]["value"]
            if event.get("method") == "Tracing.tracingComplete":
                break
        return sorted(one["ts"] / 1000 for one in told if one["name"] == "DrawFrame")

    def close(self):
        self.call("Browser.close")
        self.process.wait()


def node(*args):
    """Seconds, processor seconds, and how many KiB it held at most (of all so far)."""
    began = time.time()
    code = subprocess.run([NODE, *map(str, args)], cwd=ROOT, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode
    if code not in (0, 1):
        sys.exit(f"node {' '.join(map(str, args))} ended with {code}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.time() - began, usage.ru_maxrss


def store(name, operations):
    scenario, trace = OUT / f"{name}.toml", OUT / f"{name}.jsonl"
    scenario.write_text(STORE.format(root=ROOT, operations=operations))
    node("sim", scenario, "--seed", 3, "--no-shrink", "--trace", trace)
    return trace


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    page = OUT / "page.html"
    node("explain", store("10k", 165), "--events", 10**9, "-o", page)
    browser = Browser()
    browser.open(page)
    events = browser.run("events.length")
    print(f"store, {events} events: a page of {page.stat().st_size / 1e6:.2f} MB")

    node("explain", store("100k", 1750), "--events", 10**9, "-o", page)
    opened = browser.open(page)
    events = browser.run("events.length")
    print(f"store, {events} events: {page.stat().st_size / 1e6:.2f} MB, open in {opened:.2f} s")
    for zoomed in (1, 1.5, 4, 20, 200):
        times = browser.pan(zoomed)
        gaps = sorted(b - a for a, b in zip(times, times[1:])) or [float("inf")]
        rate = len(gaps) / max((times[-1] - times[0]) / 1000, 1e-9) if times else 0
        print(f"  panning, zoomed {zoomed}x: {rate:.1f} pictures/s,"
              f" median {gaps[len(gaps) // 2]:.1f} ms, 95% {gaps[len(gaps) * 95 // 100]:.1f} ms")

    trace = OUT / "large.jsonl"
    if not trace.exists():
        node("sim", "configs/sim/election-1000.toml", "--seed", 3, "--no-shrink", "--trace", trace)
    took, memory = node("explain", trace, "-o", page)
    opened = browser.open(page)
    print(f"election of 1000 nodes, {trace.stat().st_size / 1e6:.0f} MB:"
          f" node explain {took:.1f} s, {memory / 1024:.0f} MiB;"
          f" a page of {page.stat().st_size / 1e6:.2f} MB, open in {opened:.2f} s")
    browser.close()


if __name__ == "__main__":
    main()
