"""A piece of guest memory and virtual CPUs of the compiled engine, for tests of instructions.

guest = FlatGuest(RV64, limit=1 << 38)
guest.map(0x10000, 0x1000, READ | WRITE | EXECUTE)
guest.write(0x10000, code)
vcpu = guest.vcpu()
"""

from __future__ import annotations

import ctypes
import functools
import threading

from tinamou.engine.architecture import Architecture
from tinamou.engine.cpu import EXECUTE, GUARD, PAGE, READ, WRITE
from tinamou.engine.vcpu import Engine, Vcpu
from tinamou.native import host
from tinamou.native.image import allocate, libc, release
from tinamou.native.types import u64

SIGBUS, SIGSEGV = 7, 11


@functools.cache
def _catch_faults() -> None:
    host.catch(SIGSEGV)
    host.catch(SIGBUS)


class Record(host.ThreadRecord):
    """A thread has one, whatever guests it runs; the main thread keeps it."""

    def close(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            super().close()
            del _of_thread.record


_of_thread = threading.local()


class FlatGuest:
    """Guest memory from address 0 up to `limit`, nothing of it mapped yet."""

    def __init__(self, arch: Architecture, limit: int, extensions: frozenset[str] | None = None) -> None:
        self.limit = limit
        self.base = allocate(limit + 2 * GUARD, 0) + GUARD
        self.flags = allocate(max(limit >> 12, PAGE))
        self.engine = Engine(arch, self.base, limit, self.flags, extensions)
        _catch_faults()

    def map(self, address: int, length: int, access: int) -> None:
        """Pages with these rights (READ, WRITE, EXECUTE); 0 takes them away."""
        protection = (1 if access & (READ | EXECUTE) else 0) | (2 if access & WRITE else 0)
        assert libc.mprotect(self.base + address, length, protection) == 0
        ctypes.memset(self.flags + (address >> 12), access | 8 if access else 0, length >> 12)
        self.engine.invalidate(address, length)

    def write(self, address: int, data: bytes) -> None:
        """Whatever the guest's rights are, as long as the host may write."""
        ctypes.memmove(self.base + address, data, len(data))
        self.engine.invalidate(address, len(data))

    def read(self, address: int, length: int) -> bytes:
        return ctypes.string_at(self.base + address, length)

    def vcpu(self) -> Vcpu:
        return self.engine.vcpu()

    def thread(self, vcpu: Vcpu) -> Record:
        """What the calling thread needs before it runs this CPU: call it before each run; close it when the thread ends."""
        record: Record | None = getattr(_of_thread, "record", None)
        if record is None:
            record = _of_thread.record = Record(vcpu.kick_address, self.engine.faults)
        record.watch(self.engine.faults)
        record.state.kick = u64(vcpu.kick_address)
        return record

    def close(self) -> None:
        self.engine.close()
        release(self.base - GUARD, self.limit + 2 * GUARD)
        release(self.flags, max(self.limit >> 12, PAGE))
