"""Virtual time for a Python program: loaded before its own code (PYTHONPATH), it takes the time and
the timers from the folder NODE_CLOCK, and what is random from NODE_SEED.

Covered: time, asyncio, threading, queue, concurrent.futures, select, selectors, datetime, random,
os.urandom, secrets, uuid4. Not covered: timeouts of sockets (settimeout), locks made by
_thread.allocate_lock, what an extension in C measures, uuid1, processes that are started or forked.

A wait with a timeout becomes a timer and a wait without one, so a thread that waits is at rest. One
thread, which threading does not list, reads what the driver wakes.
"""


def _install(folder):
    import _random
    import _thread
    import os
    import struct
    import sys
    import time

    asks = os.open(folder + "/asks", os.O_WRONLY | os.O_CLOEXEC)
    now_file = os.open(folder + "/now", os.O_RDONLY | os.O_CLOEXEC)
    os.write(asks, b"hello python\n")

    def now_ns():
        return struct.unpack("<Q", os.pread(now_file, 8, 0))[0]

    began_ns = now_ns()

    # ---- timers -------------------------------------------------------------------------------

    mutex = _thread.allocate_lock()
    waits = {}  # id of a timer -> what is called when it fires
    state = {"last": 0, "reads": False, "is_child": False}

    def listen():
        wakes = os.open(folder + "/wakes", os.O_RDONLY | os.O_CLOEXEC)
        rest = b""
        while True:
            read = os.read(wakes, 4096)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                with mutex:
                    fire = waits.pop(int(line), None)
                    if fire is not None:
                        fire()

    def ask(at_ns, fire):
        with mutex:
            if not state["reads"]:
                state["reads"] = True
                _thread.start_new_thread(listen, ())
            state["last"] += 1
            ident = state["last"]
            waits[ident] = fire
            os.write(asks, b"timer %d %d\n" % (ident, at_ns))
            return ident

    def cancel(ident):
        """After this, the timer has fired or never will."""
        with mutex:
            if waits.pop(ident, None) is not None:
                os.write(asks, b"cancel %d\n" % ident)

    def after(seconds):
        return now_ns() + max(1, round(seconds * 1e9))

    def waker():
        """A lock that is held, and what releases it, once or more often."""
        lock = _thread.allocate_lock()
        lock.acquire()

        def release():
            try:
                lock.release()
            except RuntimeError:
                pass  # Two things happen at once: the thread wakes once.

        return lock, release

    # ---- time ---------------------------------------------------------------------------------

    real_sleep = time.sleep
    real_clock_gettime_ns = time.clock_gettime_ns
    latest = [0]

    def monotonic_ns():
        # A wall clock may be set back; this one may not.
        latest[0] = max(latest[0], now_ns() - began_ns)
        return latest[0] + 1_000_000_000

    def sleep(seconds):
        if state["is_child"] or not seconds > 0:
            return real_sleep(seconds)
        lock, release = waker()
        ident = ask(after(seconds), release)
        try:
            lock.acquire()
        finally:
            cancel(ident)

    wall_clocks = {getattr(time, name, None) for name in ("CLOCK_REALTIME", "CLOCK_TAI")}
    monotonic_clocks = {
        getattr(time, name, None)
        for name in ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME")
    }

    def clock_gettime_ns(clock):
        if clock in wall_clocks:
            return now_ns()
        return monotonic_ns() if clock in monotonic_clocks else real_clock_gettime_ns(clock)

    time.time_ns = now_ns
    time.time = lambda: now_ns() / 1e9
    time.monotonic_ns = time.perf_counter_ns = monotonic_ns
    time.monotonic = time.perf_counter = lambda: monotonic_ns() / 1e9
    time.clock_gettime_ns = clock_gettime_ns
    time.clock_gettime = lambda clock: clock_gettime_ns(clock) / 1e9
    time.sleep = sleep

    def default_to_now(name, place):
        real = getattr(time, name)

        def function(*args):
            if len(args) == place or (len(args) == place + 1 and args[place] is None):
                given = now_ns() // 1_000_000_000
                if name in ("asctime", "strftime"):
                    given = time.localtime(given)
                args = (*args[:place], given)
            return real(*args)

        function.__name__ = name
        setattr(time, name, function)

    for name, place in (("gmtime", 0), ("localtime", 0), ("ctime", 0), ("asctime", 0)):
        default_to_now(name, place)
    default_to_now("strftime", 1)

    # ---- threads ------------------------------------------------------------------------------

    real_allocate = _thread.allocate_lock

    class Lock:
        """A lock like _thread's, whose timeouts are virtual."""

        __slots__ = ("_lock", "_timed", "__weakref__")

        def __init__(self):
            self._lock = real_allocate()
            self._timed = []

        def acquire(self, blocking=True, timeout=-1):
            if timeout is None or timeout < 0 or not blocking or state["is_child"]:
                return self._lock.acquire(blocking, timeout)
            if self._lock.acquire(False):
                return True
            if timeout == 0:
                return False
            at_ns = after(timeout)
            while True:
                lock, release = waker()
                self._timed.append(release)
                ident = ask(at_ns, release)
                try:
                    # It may have been released before it was known that somebody waits.
                    if not self._lock.acquire(False):
                        lock.acquire()
                        if not self._lock.acquire(False):
                            if now_ns() >= at_ns:
                                return False
                            continue
                    return True
                finally:
                    cancel(ident)
                    if release in self._timed:
                        self._timed.remove(release)

        def release(self):
            self._lock.release()
            if self._timed:
                try:
                    self._timed.pop(0)()
                except IndexError:
                    pass

        def locked(self):
            return self._lock.locked()

        def __enter__(self):
            return self._lock.acquire()

        def __exit__(self, *_):
            self.release()

        def _at_fork_reinit(self):
            self._lock = real_allocate()
            self._timed = []

        acquire_lock, release_lock, locked_lock = acquire, release, locked

    import threading

    threading._time = time.monotonic
    threading._allocate_lock = threading.Lock = Lock
    # The one in Python takes its lock from above.
    threading._CRLock = None
    real_join = threading.Thread.join

    def join(self, timeout=None):
        if timeout is None or timeout <= 0 or not self.is_alive() or state["is_child"]:
            return real_join(self, timeout)
        if self is threading.current_thread():
            return real_join(self)  # Which says that this cannot be.
        lock, release = waker()

        def wait():
            real_join(self)
            release()

        _thread.start_new_thread(wait, ())
        ident = ask(after(timeout), release)
        lock.acquire()
        cancel(ident)

    threading.Thread.join = join

    import queue

    queue.time = time.monotonic
    # The one in C has timeouts of its own.
    queue.SimpleQueue = queue._PySimpleQueue

    # ---- select -------------------------------------------------------------------------------

    import select

    class Wake:
        """A file descriptor that is readable when a timer has fired."""

        def __init__(self):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def timed(self, seconds, wait):
            ident = ask(after(seconds), lambda: os.eventfd_write(self.fd, 1))
            try:
                return wait()
            finally:
                cancel(ident)
                try:
                    os.eventfd_read(self.fd)
                except BlockingIOError:
                    pass

    own = threading.local()

    def own_wake():
        if not hasattr(own, "wake"):
            own.wake = Wake()
        return own.wake

    real_select = select.select

    def virtual_select(rlist, wlist, xlist, timeout=None):
        if timeout is None or timeout <= 0 or state["is_child"]:
            return real_select(rlist, wlist, xlist, timeout)
        wake = own_wake()
        with_wake = [*rlist, wake.fd]
        r, w, x = wake.timed(timeout, lambda: real_select(with_wake, wlist, xlist))
        return [fd for fd in r if fd is not wake.fd], w, x

    select.select = virtual_select

    class Polled:
        """What poll and epoll have in common: the real one, and a descriptor that wakes it."""

        def __init__(self, real):
            self._real = real
            self._wake = None

        def _timed(self, seconds, wait):
            if self._wake is None:
                self._wake = Wake()
                self._real.register(self._wake.fd, 1)  # POLLIN, EPOLLIN
            found = self._wake.timed(seconds, wait)
            return [one for one in found if one[0] != self._wake.fd]

        def __getattr__(self, name):
            return getattr(self._real, name)

        def __del__(self):
            if self._wake is not None:
                os.close(self._wake.fd)

    real_poll = select.poll

    class poll(Polled):
        def __init__(self):
            super().__init__(real_poll())

        def poll(self, timeout=None):
            if timeout is None or timeout <= 0 or state["is_child"]:
                return self._real.poll(timeout)
            return self._timed(timeout / 1e3, self._real.poll)

    select.poll = poll
    if hasattr(select, "epoll"):
        real_epoll = select.epoll

        class epoll(Polled):
            def __init__(self, sizehint=-1, flags=0):
                super().__init__(real_epoll(sizehint, flags))

            @classmethod
            def fromfd(cls, fd):
                made = cls.__new__(cls)
                Polled.__init__(made, real_epoll.fromfd(fd))
                return made

            def poll(self, timeout=None, maxevents=-1):
                if timeout is None or timeout <= 0 or state["is_child"]:
                    return self._real.poll(timeout, maxevents)
                most = maxevents + 1 if maxevents > 0 else maxevents
                return self._timed(timeout, lambda: self._real.poll(None, most))

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self._real.close()

        select.epoll = epoll

    if "selectors" in sys.modules:
        import selectors

        selectors.SelectSelector._select = staticmethod(virtual_select)
        for name, made in (("PollSelector", select.poll), ("EpollSelector", select.epoll)):
            if hasattr(selectors, name):
                getattr(selectors, name)._selector_cls = made

    # ---- dates --------------------------------------------------------------------------------

    import datetime as dates

    real_datetime = dates.datetime

    class Meta(type(real_datetime)):
        def __instancecheck__(cls, it):
            return isinstance(it, real_datetime)

        def __subclasscheck__(cls, it):
            return issubclass(it, real_datetime)

    def now(cls, tz=None):
        micros = now_ns() // 1000
        if tz is None:
            whole = cls.fromtimestamp(micros // 1_000_000)
            return whole.replace(microsecond=micros % 1_000_000)
        utc = real_datetime(1970, 1, 1, tzinfo=dates.timezone.utc)
        return cls.fromtimestamp(0, tz) + ((utc + dates.timedelta(microseconds=micros)) - utc)

    def utcnow(cls):
        return cls(1970, 1, 1) + dates.timedelta(microseconds=now_ns() // 1000)

    dates.datetime = Meta(
        "datetime",
        (real_datetime,),
        {
            "__module__": "datetime",
            "__qualname__": "datetime",
            "now": classmethod(now),
            "utcnow": classmethod(utcnow),
            "today": classmethod(lambda cls: now(cls)),
        },
    )

    # ---- what is random -----------------------------------------------------------------------

    # With the time of the start: a node that starts again does not repeat itself.
    stream = _random.Random(int(os.environ.get("NODE_SEED", "0")) * 0x1_0000_0000_0000_0000 + began_ns)

    def urandom(size):
        if size < 0:
            raise ValueError("negative argument not allowed")
        return stream.getrandbits(8 * size).to_bytes(size, "little") if size else b""

    os.urandom = urandom
    if hasattr(os, "getrandom"):
        os.getrandom = lambda size, flags=0: urandom(size)

    import random

    random._urandom = urandom
    real_seed = random.Random.seed

    def seed(self, a=None, version=2):
        return real_seed(self, stream.getrandbits(64) if a is None else a, version)

    random.Random.seed = seed
    random.seed = random._inst.seed
    random.seed()

    def in_child():
        # The timers are the parent's: a child goes by the machine's time.
        state["is_child"] = True

    os.register_at_fork(after_in_child=in_child)


def _load_next():
    """A sitecustomize that this one hides."""
    import os
    import sys
    from importlib.machinery import PathFinder

    here = os.path.dirname(os.path.abspath(__file__))
    others = [one for one in sys.path if os.path.abspath(one) != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec

        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start():
    import os

    folder = os.environ.get("NODE_CLOCK")
    if folder:
        _install(folder)


_start()
_load_next()
