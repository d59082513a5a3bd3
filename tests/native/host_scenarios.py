"""Programs that take signals and faults as threads of guest code do; each runs in a process of its own.

    python host_scenarios.py NAME
"""

import ctypes
import errno
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable

from tinamou.native import host, image
from tinamou.native.link import link
from tinamou.native.llvm import compile_object, triple

libc = ctypes.CDLL(None, use_errno=True)
NR = {"x86_64": (0, 35, 34, 39, 3), "aarch64": (63, 101, -1, 172, 57)}[os.uname().machine]
READ, NANOSLEEP, _PAUSE, GETPID, CLOSE = NR
PAGE = mmap.PAGESIZE

GUARDED = f"""
target triple = "{triple()}"
define i64 @load(ptr %p) {{
  %q = call ptr asm "", "=r,0"(ptr %p)
  %n = icmp eq ptr %q, null
  br i1 %n, label %bad, label %good, !make.implicit !0
good:
  %v = load i64, ptr %q
  ret i64 %v
bad:
  ret i64 333
}}
define i64 @store(ptr %p, i64 %v) {{
  %q = call ptr asm "", "=r,0,r"(ptr %p, i64 %v)
  %n = icmp eq ptr %q, null
  br i1 %n, label %bad, label %good, !make.implicit !0
good:
  store i64 %v, ptr %q
  ret i64 1
bad:
  ret i64 0
}}
define i64 @unguarded(ptr %p) {{
  %v = load i64, ptr %p
  ret i64 %v
}}
!0 = !{{}}
"""


def guarded() -> image.Loaded:
    loaded = image.Loaded(link(compile_object(GUARDED)))
    assert len(loaded.faults) == 2
    return loaded


def functions(loaded: image.Loaded) -> tuple[Callable[..., int], Callable[..., int]]:
    return loaded.function("load", ctypes.c_uint64, ctypes.c_uint64), loaded.function("store", ctypes.c_uint64, *[ctypes.c_uint64] * 2)


class Thread(threading.Thread):
    """A thread with a record; `body(record)` runs in it.  join() raises what the body raised."""

    def __init__(self, body: Callable[[host.ThreadRecord], None], faults: host.FaultMap | None = None) -> None:
        super().__init__(daemon=True)
        self.body, self.faults, self.error = body, faults, None
        self.kick = ctypes.c_uint64(0)
        self.ready = threading.Event()
        self.start()
        self.ready.wait()

    def run(self) -> None:
        try:
            self.record = host.ThreadRecord(ctypes.addressof(self.kick), self.faults or host.FaultMap())
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            self.ready.set()
            self.body(self.record)
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            self.record.close()
        except BaseException as e:
            self.error = e
            self.ready.set()

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self.error:
            raise self.error

    def send(self, number: int) -> None:
        assert self.native_id
        signal_thread(self.native_id, number)


def signal_thread(thread: int, number: int) -> None:
    assert libc.syscall(ctypes.c_long({"x86_64": 234, "aarch64": 131}[os.uname().machine]), os.getpid(), thread, number) == 0


def number_of(info: bytes) -> int:
    return int.from_bytes(info[:4], "little")


def unmask(*numbers: int) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


# -- faults


def faults() -> None:
    """Loads and stores that fault continue where the map says, as often as one likes."""
    loaded = guarded()
    load, store = functions(loaded)
    room = image.allocate(4 * PAGE, image.PROT_NONE)
    image.libc.mprotect(room, PAGE, 3)
    image.libc.mprotect(room + PAGE, PAGE, 1)
    host.catch(signal.SIGSEGV)

    def body(record: host.ThreadRecord) -> None:
        own = room + 8 * (threading.get_native_id() % 500)
        for k in range(2000):
            assert store(own, k) == 1 and load(own) == k
            assert load(room + PAGE) == 0 and store(room + PAGE, 5) == 0
            assert load(room + 2 * PAGE) == 333 and store(room + 2 * PAGE - 4, 5) == 0 and load(room + 2 * PAGE - 7) == 333
            assert load(8) == 333 and load(0xFFFF_8000_0000_0000) == 333 and store(1 << 63, 1) == 0
        assert not record.pending and record.take() == []

    threads = [Thread(body, host.FaultMap(loaded)) for _ in range(4)]
    for t in threads:
        t.join()


def bus_errors() -> None:
    """A mapped file that became shorter."""
    loaded = guarded()
    load, store = functions(loaded)
    host.catch(signal.SIGSEGV)
    host.catch(signal.SIGBUS)
    with tempfile.TemporaryFile() as f:
        f.truncate(2 * PAGE)
        at = image.libc.mmap(None, 2 * PAGE, 3, 1, f.fileno(), 0)

        def body(record: host.ThreadRecord) -> None:
            assert store(at + PAGE, 7) == 1 and load(at + PAGE) == 7
            f.truncate(PAGE)
            assert store(at + PAGE, 7) == 0 and load(at + PAGE) == 333 and load(at) == 0
            f.truncate(2 * PAGE)
            assert load(at + PAGE) == 0 and not record.pending

        Thread(body, host.FaultMap(loaded)).join()


def faults_of_code_added_later() -> None:
    first, second = guarded(), guarded()
    faults = host.FaultMap()
    host.catch(signal.SIGSEGV)

    def body(record: host.ThreadRecord) -> None:
        for loaded in sorted((first, second), key=lambda i: i.base):
            assert faults.append(loaded.faults)
            assert functions(loaded)[0](16) == 333
        assert functions(first)[0](16) == 333 == functions(second)[0](16)
        record.watch(host.FaultMap(first))
        assert functions(first)[0](16) == 333
        faults.clear()
        faults.append(second.faults)
        record.watch(faults)
        assert functions(second)[0](16) == 333

    Thread(body, faults).join()
    assert not faults.append([(1, 2)] * (host.MORE_FAULTS + 1))


def fault_outside_the_map() -> None:
    """A defect of the program itself: it dies of it."""
    loaded = guarded()
    host.catch(signal.SIGSEGV)
    bad = loaded.function("unguarded", ctypes.c_uint64, ctypes.c_uint64)
    Thread(lambda record: print(bad(16)), host.FaultMap(loaded)).join()
    print("still alive")


# -- signals


def recorded() -> None:
    """The whole siginfo, the kick word, the mask; once more when it is unmasked."""
    host.catch(signal.SIGUSR1)

    def body(record: host.ThreadRecord) -> None:
        me = threading.get_native_id()
        assert not record.pending and t.kick.value == 0
        signal_thread(me, signal.SIGUSR1)
        assert record.pending and t.kick.value == 1
        t.kick.value = 0
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        signal_thread(me, signal.SIGUSR1)  # waits in the kernel
        (info,) = record.take()
        assert len(info) == 128 and number_of(info) == signal.SIGUSR1
        code, pid, uid = (int.from_bytes(info[n : n + 4], "little", signed=True) for n in (8, 16, 20))
        assert (code, pid, uid) == (-6, os.getpid(), os.getuid())  # SI_TKILL
        assert not record.pending and t.kick.value == 0
        unmask(signal.SIGUSR1)
        assert record.pending and t.kick.value == 1
        assert [number_of(i) for i in record.take()] == [signal.SIGUSR1]

    go = threading.Event()
    t = Thread(lambda record: (go.wait(), body(record))[1])
    go.set()
    t.join()


def every_signal_at_once() -> None:
    """All that can be caught, real-time ones and those that libc uses itself among them; each is recorded, in the order of arrival."""
    numbers = [n for n in range(1, 65) if n not in (signal.SIGKILL, signal.SIGSTOP)]
    for n in numbers:
        host.catch(n)

    def body(record: host.ThreadRecord) -> None:
        r = random.Random(3)
        # libc's own pthread_sigmask leaves two signals alone
        ctypes_mask = ctypes.c_uint64(0)
        assert libc.syscall(ctypes.c_long({"x86_64": 14, "aarch64": 135}[os.uname().machine]), 2, ctypes.byref(ctypes_mask), None, 8) == 0
        for _ in range(5):
            r.shuffle(numbers)
            for n in numbers:
                signal_thread(threading.get_native_id(), n)
            assert [number_of(i) for i in record.take()] == numbers
            libc.syscall(ctypes.c_long({"x86_64": 14, "aarch64": 135}[os.uname().machine]), 2, ctypes.byref(ctypes_mask), None, 8)
            assert not record.pending

    Thread(body).join()


def values_queued() -> None:
    """sigqueue's value arrives, in order, one for each time the signal is unmasked."""
    host.catch(40)
    libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]

    def body(record: host.ThreadRecord) -> None:
        for k in range(20):
            assert libc.sigqueue(os.getpid(), 40, 1000 + k) == 0
        found = []
        while len(found) < 20:
            found += [int.from_bytes(i[24:32], "little") for i in record.take()]
            unmask(40)
        assert found == list(range(1000, 1020))

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    Thread(body).join()


def defaults() -> None:
    """ignore() and default() undo catch()."""
    host.catch(signal.SIGUSR1)
    host.ignore(signal.SIGUSR1)

    def body(record: host.ThreadRecord) -> None:
        signal_thread(threading.get_native_id(), signal.SIGUSR1)
        assert not record.pending
        host.default(signal.SIGUSR1)
        print("now", flush=True)
        signal_thread(threading.get_native_id(), signal.SIGUSR1)

    Thread(body).join()
    print("still alive")


def not_caught() -> None:
    for n in (signal.SIGKILL, signal.SIGSTOP, 0, 65, -1):
        try:
            host.catch(n)
        except OSError as error:
            assert error.errno == errno.EINVAL and str(n) in str(error)
        else:
            raise AssertionError(n)


# -- system calls


def calls() -> None:
    def body(record: host.ThreadRecord) -> None:
        assert record.call(GETPID) == os.getpid()
        assert record.call(CLOSE, -1) == -errno.EBADF
        assert record.call(12345) == -errno.ENOSYS
        r, w = os.pipe()
        os.write(w, b"hello")
        room = ctypes.create_string_buffer(16)
        assert record.call(READ, r, ctypes.addressof(room), 16) == 5 and room.raw[:5] == b"hello"
        six = {"x86_64": 9, "aarch64": 222}[os.uname().machine]  # mmap: all six arguments matter
        at = record.call(six, 0, 2 * PAGE, 3, 0x22, -1, 0)
        assert at > 0 and record.call(six, at + PAGE, PAGE, 1, 0x32, -1, 0) == at + PAGE
        with open(__file__, "rb") as f:
            at = record.call(six, 0, PAGE, 1, 2, f.fileno(), 0)
            assert ctypes.string_at(at, 20) == f.read(20)

    Thread(body).join()


def interrupted() -> None:
    """A call that blocks ends with EINTR; the interpreter lock is free meanwhile."""
    host.catch(signal.SIGUSR1)
    r, _w = os.pipe()

    def body(record: host.ThreadRecord) -> None:
        room = ctypes.create_string_buffer(16)
        for _ in range(20):
            blocked.set()
            result = record.call(READ, r, ctypes.addressof(room), 16)
            assert result in (-errno.EINTR, host.NOT_ENTERED), result
            assert [number_of(i) for i in record.take()] == [signal.SIGUSR1]
            unmask(signal.SIGUSR1)

    blocked = threading.Event()
    t = Thread(body)
    for _ in range(20):
        blocked.wait()
        blocked.clear()
        time.sleep(0.002)
        t.send(signal.SIGUSR1)
    t.join()


def not_entered() -> None:
    """A signal that came before the call: it does not block."""
    host.catch(signal.SIGUSR1)
    r, w = os.pipe()

    def body(record: host.ThreadRecord) -> None:
        signal_thread(threading.get_native_id(), signal.SIGUSR1)
        room = ctypes.create_string_buffer(16)
        for _ in range(3):
            assert record.call(READ, r, ctypes.addressof(room), 16) == host.NOT_ENTERED
        assert len(record.take()) == 1
        os.write(w, b"x")
        assert record.call(READ, r, ctypes.addressof(room), 16) == 1

    Thread(body).join()


def no_signal_is_lost() -> None:
    """A signal at any moment around the entry of a blocking call ends it.  One that did not would hang this program."""
    host.catch(signal.SIGUSR1)
    pipes = [os.pipe() for _ in range(3)]
    rounds = 700
    outcomes: Counter[int] = Counter()

    def body_for(r: int, started: threading.Semaphore) -> Callable[[host.ThreadRecord], None]:
        def body(record: host.ThreadRecord) -> None:
            room = ctypes.create_string_buffer(16)
            chance = random.Random(r)
            for _ in range(rounds):
                started.release()
                for _ in range(chance.randrange(60)):
                    pass
                outcomes[record.call(READ, r, ctypes.addressof(room), 16)] += 1
                assert [number_of(i) for i in record.take()] == [signal.SIGUSR1]
                unmask(signal.SIGUSR1)

        return body

    def sender(t: Thread, started: threading.Semaphore) -> None:
        chance = random.Random(5)
        for _ in range(rounds):
            started.acquire()
            for _ in range(chance.randrange(200)):
                pass
            t.send(signal.SIGUSR1)

    senders = []
    threads = []
    for r, _ in pipes:
        started = threading.Semaphore(0)
        t = Thread(body_for(r, started))
        threads.append(t)
        senders.append(threading.Thread(target=sender, args=(t, started), daemon=True))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for s in senders:
        s.start()
    for t in threads:
        t.join()
    assert set(outcomes) <= {-errno.EINTR, host.NOT_ENTERED} and outcomes.total() == 3 * rounds
    print(dict(outcomes))


def to_the_right_thread() -> None:
    """Signals for one thread are in its ring and no other's; those for the process are in one ring."""
    numbers = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, 40, 50]
    for n in numbers:
        host.catch(n)
    count = 8
    got: list[Counter[int]] = [Counter() for _ in range(count)]
    stop = threading.Event()

    def body_for(k: int) -> Callable[[host.ThreadRecord], None]:
        def body(record: host.ThreadRecord) -> None:
            while not stop.is_set():
                found = [number_of(i) for i in record.take()]
                got[k].update(found)
                unmask(*found)
                time.sleep(0.0005)
            got[k].update(number_of(i) for i in record.take())

        return body

    threads = [Thread(body_for(k)) for k in range(count)]
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sent: list[Counter[int]] = [Counter() for _ in range(count)]
    r = random.Random(2)
    for _ in range(200):
        k, n = r.randrange(count), r.choice(numbers[3:])  # real-time signals queue: none merges with another
        sent[k][n] += 1
        threads[k].send(n)
    while sum(c.total() for c in got) < 200:
        time.sleep(0.001)
    assert got == sent
    for k in range(100):
        os.kill(os.getpid(), 40)
        while sum(c.total() for c in got) < 201 + k:
            time.sleep(0.0005)
    stop.set()
    for t in threads:
        t.join()
    assert sum(c.total() for c in got) == 300


def records_come_and_go() -> None:
    """Threads end; their stacks go with them, and the old alternate stack comes back."""

    class Stack(ctypes.Structure):
        _fields_ = (("sp", ctypes.c_uint64), ("flags", ctypes.c_int), ("size", ctypes.c_uint64))

    def current() -> tuple[int, int]:
        s = Stack()
        libc.sigaltstack(None, ctypes.byref(s))
        return s.sp, s.flags

    def mapped() -> int:
        return int(open("/proc/self/statm").read().split()[0])

    word = ctypes.c_uint64(0)
    faults = host.FaultMap()
    before, pages = current(), 0
    for k in range(300):
        record = host.ThreadRecord(ctypes.addressof(word), faults)
        assert current()[0] == record.state.address and record.state.address % host.STACK == 0
        record.close()
        assert current() == before
        if k == 20:
            pages = mapped()
    assert mapped() <= pages + 64


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("done")
