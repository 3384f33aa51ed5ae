"""Python's clock, timers and random numbers from the simulator.

Loaded by Python itself, since its folder is first on PYTHONPATH. Time stands still while the
program runs, and goes on while it waits. Covered: time.time, monotonic, perf_counter (and _ns),
sleep; threading.Condition.wait, and with it Event, Timer, Barrier, Semaphore and queue;
select.select, poll and epoll, and with them selectors and asyncio; random, os.urandom, and with
them secrets and uuid4. Not covered: lock.acquire(timeout=…), Thread.join(timeout=…),
datetime.now(), and extensions that ask the kernel by themselves.
"""
import os
import sys


def _install(folder):
    import select
    import time
    from _thread import allocate_lock, start_new_thread

    now_fd = os.open(os.path.join(folder, "now"), os.O_RDONLY)
    asks_fd = os.open(os.path.join(folder, "asks"), os.O_WRONLY)
    for fd in (now_fd, asks_fd):
        os.set_inheritable(fd, False)
    origin = 1_735_689_600_000_000_000
    os.write(asks_fd, b"hello python\n")

    def wall_ns():
        return int.from_bytes(os.pread(now_fd, 8, 0), "little")

    def mono_ns():
        return wall_ns() - origin

    time.time = lambda: wall_ns() / 1e9
    time.time_ns = wall_ns
    time.monotonic = lambda: mono_ns() / 1e9
    time.monotonic_ns = mono_ns
    time.perf_counter = time.monotonic
    time.perf_counter_ns = mono_ns

    guard = allocate_lock()
    state = {"last": 0, "pumps": False}
    pending = {}

    def pump():
        wakes = os.open(os.path.join(folder, "wakes"), os.O_RDONLY)
        rest = b""
        while True:
            read = os.read(wakes, 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                with guard:
                    call = pending.pop(int(line), None)
                if call:
                    call()

    def ask(seconds, call):
        """Has `call` called after so many seconds, in another thread. Answers the timer's id."""
        with guard:
            state["last"] += 1
            timer = state["last"]
            pending[timer] = call
            starts = not state["pumps"]
            state["pumps"] = True
        if starts:
            start_new_thread(pump, ())
        at = wall_ns() + max(0, int(seconds * 1e9))
        os.write(asks_fd, b"timer %d %d\n" % (timer, at))
        return timer

    def cancel(timer):
        with guard:
            waits = pending.pop(timer, None)
        if waits:
            os.write(asks_fd, b"cancel %d\n" % timer)

    def sleep(seconds):
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        lock = allocate_lock()
        lock.acquire()
        ask(seconds, lock.release)
        lock.acquire()

    time.sleep = sleep

    import threading

    real_wait = threading.Condition.wait

    def wait(self, timeout=None):
        if timeout is None or timeout <= 0:
            return real_wait(self, timeout)
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = allocate_lock()
        waiter.acquire()
        self._waiters.append(waiter)
        saved = self._release_save()

        def expire():
            try:
                waiter.release()
            except RuntimeError:
                pass  # it was notified at the same time

        timer = ask(timeout, expire)
        try:
            waiter.acquire()
        finally:
            cancel(timer)
            self._acquire_restore(saved)
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            return False
        return True

    threading.Condition.wait = wait

    class Alarm:
        """A descriptor that becomes readable when a time is over."""

        def __init__(self):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def set(self, seconds):
            return ask(seconds, lambda: os.eventfd_write(self.fd, 1))

        def clear(self, timer):
            cancel(timer)
            try:
                os.eventfd_read(self.fd)
            except BlockingIOError:
                pass

    real_select, real_epoll, real_poll = select.select, select.epoll, select.poll

    def virtual_select(r, w, x, timeout=None):
        if timeout is None or timeout <= 0:
            return real_select(r, w, x, timeout)
        alarm = Alarm()
        timer = alarm.set(timeout)
        try:
            ready, writable, failed = real_select([*r, alarm.fd], w, x)
        finally:
            alarm.clear(timer)
            os.close(alarm.fd)
        return [fd for fd in ready if fd != alarm.fd], writable, failed

    select.select = virtual_select

    class Epoll:
        """select.epoll, with the simulator's timeouts."""

        def __init__(self, sizehint=-1, flags=0):
            self._real = real_epoll(sizehint, flags)
            self._alarm = None

        def __getattr__(self, name):
            return getattr(self._real, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def close(self):
            self._real.close()
            if self._alarm:
                os.close(self._alarm.fd)
                self._alarm = None

        def poll(self, timeout=None, maxevents=-1):
            if timeout is None or timeout <= 0:
                return self._real.poll(timeout, maxevents)
            if not self._alarm:
                self._alarm = Alarm()
                self._real.register(self._alarm.fd, select.EPOLLIN)
            timer = self._alarm.set(timeout)
            try:
                more = maxevents if maxevents < 0 else maxevents + 1
                found = self._real.poll(None, more)
            finally:
                self._alarm.clear(timer)
            return [one for one in found if one[0] != self._alarm.fd]

    select.epoll = Epoll

    class Poll:
        """select.poll, likewise; its timeouts are milliseconds."""

        def __init__(self):
            self._real = real_poll()

        def __getattr__(self, name):
            return getattr(self._real, name)

        def poll(self, timeout=None):
            if timeout is None or timeout <= 0:
                return self._real.poll(timeout)
            alarm = Alarm()
            timer = alarm.set(timeout / 1e3)
            self._real.register(alarm.fd, select.POLLIN)
            try:
                found = self._real.poll(None)
            finally:
                self._real.unregister(alarm.fd)
                alarm.clear(timer)
                os.close(alarm.fd)
            return [one for one in found if one[0] != alarm.fd]

    select.poll = Poll

    seed = int(os.environ.get("NODE_SEED", "0"))
    entropy = []

    def urandom(size):
        if not entropy:
            import random

            entropy.append(random.Random(seed ^ 0x5DEECE66D))
        return entropy[0].getrandbits(8 * size).to_bytes(size, "little") if size else b""

    os.urandom = urandom

    class Seeding:
        """Seeds `random` when the program imports it."""

        def find_spec(self, name, path=None, target=None):
            if name != "random":
                return None
            sys.meta_path.remove(self)
            from importlib.util import find_spec

            spec = find_spec(name)
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                module.seed(seed)

            spec.loader.exec_module = exec_module
            return spec

    # Some installations have imported it already.
    if "random" in sys.modules:
        sys.modules["random"].seed(seed)
    else:
        sys.meta_path.insert(0, Seeding())


def _next():
    """Runs the sitecustomize that this one hides, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path:
        if folder and os.path.abspath(folder) != here:
            path = os.path.join(folder, "sitecustomize.py")
            if os.path.isfile(path):
                with open(path) as file:
                    exec(compile(file.read(), path, "exec"), {"__name__": "sitecustomize"})
                return


if os.environ.get("NODE_CLOCK"):
    _install(os.environ["NODE_CLOCK"])
_next()
