"""A guest process without a program: tests make its system calls by name and look at its memory."""

from __future__ import annotations

from typing import Any

from tinamou.user.abi import Abi
from tinamou.user.host import HOST, raw_syscall
from tinamou.user.layout import layout_of
from tinamou.user.process import Options, Process
from tinamou.user.syscall import declared
from tinamou.user.thread import Thread

HEAP = 0x100000
SIZE = 1 << 20


class Generic(Abi):
    """An architecture that follows asm-generic in everything, with every call that is declared."""

    def __init__(self, order: str, bits: int) -> None:
        super().__init__()
        self.order, self.bits, self.mask = order, bits, (1 << bits) - 1
        self.name = f"generic{bits}{'be' if order == '>' else ''}"
        self.numbers = {name: i for i, name in enumerate(declared())}  # type: ignore[misc]
        self.limit = 1 << 28


class Odd(Generic):
    """Big-endian, 32 bits, and numbers its own way, some of them as MIPS does."""

    signals = Abi.signals | {"USR1": 16, "USR2": 17, "CHLD": 18, "BUS": 10, "SYS": 12, "STKFLT": 31}
    errno = {88: 95, 98: 125, 110: 145}  # ENOTSOCK, EADDRINUSE, ETIMEDOUT
    aligned_pairs = True
    ioctl_code = (1, 4, 2, 29)
    flags = {
        "open": {"O_APPEND": 8, "O_NONBLOCK": 0x80, "O_CREAT": 0x100, "O_EXCL": 0x400, "O_NOCTTY": 0x800, "O_TRUNC": 0x200},
        "sock": {"SOCK_NONBLOCK": 0x80},
        "sock_type": {"SOCK_STREAM": 2, "SOCK_DGRAM": 1},
        "sol": {"SOL_SOCKET": 0xFFFF},
        "so": {"SO_REUSEADDR": 4, "SO_TYPE": 0x1008, "SO_ERROR": 0x1007, "SO_RCVTIMEO": 0x1006, "SO_KEEPALIVE": 8, "SO_DEBUG": 1,
               "SO_PASSCRED": 17, "SO_PEERCRED": 18},
        "fcntl": {"F_GETLK": 14, "F_GETLK64": 33, "F_SETLK64": 34, "F_SETLKW64": 35, "F_SETOWN": 24, "F_GETOWN": 23},
        "ioctl": {"TCGETS": 0x40245408, "FIONREAD": 0x467F, "FIONBIO": 0x667E},
    }  # fmt: skip


ABIS = {abi.name: abi for abi in (Generic("<", 64), Generic("<", 32), Generic(">", 64), Generic(">", 32))}
ABIS["odd"] = Odd(">", 32)


class _Vcpu:
    cpu = None

    def kick(self) -> None: ...

    def invalidate(self, address: int, length: int) -> None: ...


class _Thread(Thread):
    """A thread of which only the calls run; host signals are Python's own affair."""

    def attach(self) -> None:
        import threading

        self.tid = threading.get_native_id()
        self.process.threads[self.tid] = self

    def host_syscall(self, number: int, *args: int) -> int:
        return raw_syscall(number, *args)

    def host(self, name: str, *args: Any) -> int:
        import ctypes
        import os

        rooms = [ctypes.create_string_buffer(a) if isinstance(a, bytes) else a for a in args]
        result = raw_syscall(HOST.numbers[name], *[a if isinstance(a, int) else ctypes.addressof(a) for a in rooms])
        if -4096 < result < 0:
            raise OSError(-result, os.strerror(-result))
        return result


class Guest:
    """One process of an ABI with a megabyte of memory.

    Attributes are system calls: `g.openat(-100, g.text("x"), 0, 0)`; 64-bit arguments are split where the ABI wants it.
    """

    def __init__(self, abi: Abi, sysroot: bytes = b"") -> None:
        options = Options()
        options.reserve = 1 << 28
        options.sysroot = sysroot
        options.log_items = frozenset({"unimp"})
        self.abi = abi
        self.process = Process(abi, options)
        self.logged: list[str] = []
        self.process.log_write = self.logged.append  # type: ignore[method-assign]
        self.memory = self.process.memory
        self.thread = _Thread(self.process, _Vcpu())
        self.thread.attach()
        self.memory.map(HEAP, SIZE, 3, 0x32)  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        self.at = HEAP

    def release(self) -> None:
        self.memory.release()

    # ---- memory

    def room(self, size: int) -> int:
        """Address of that many fresh bytes, filled with 0x55 so that what was not written shows."""
        at, self.at = self.at, self.at + -(-size // 16) * 16 + 16
        self.memory.write(at, b"\x55" * size)
        return at

    def put(self, data: bytes) -> int:
        at = self.room(max(len(data), 1))
        self.memory.write(at, data)
        return at

    def text(self, name: str | bytes) -> int:
        return self.put((name if isinstance(name, bytes) else name.encode()) + b"\0")

    def struct(self, kind: Any, wide: bool = False, **values: Any) -> int:
        """A structure with those fields, or room for one."""
        layout = layout_of(kind, self.abi, wide)
        return self.put(layout.dump(kind(**values))) if values else self.room(layout.size)

    def scalar(self, kind: Any, *values: int) -> int:
        return self.put(b"".join(layout_of(kind, self.abi).dump(value) for value in values))

    def peek(self, at: int, size: int) -> bytes:
        return self.memory.read(at, size)

    def load(self, kind: Any, at: int, wide: bool = False) -> Any:
        layout = layout_of(kind, self.abi, wide)
        return layout.load(self.memory.read(at, layout.size))

    def size(self, kind: Any) -> int:
        return layout_of(kind, self.abi).size

    def flag(self, group: str, *names: str) -> int:
        return sum(self.abi.flag_set(group)[name] for name in names)

    # ---- calls

    def registers(self, name: str, args: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        number = self.abi.numbers[name]
        call = self.process.table.find(number)
        assert call is not None, name
        out: list[int] = []
        for kind, value in zip(call.kinds, args, strict=False):
            if kind.registers == 2:
                if self.abi.aligned_pairs and len(out) & 1:
                    out.append(0x77777777)
                low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
                out += [low, high] if self.abi.order == "<" else [high, low]
            else:
                out.append(value & self.abi.mask)
        return number, tuple(out + [0] * (7 - len(out)))

    def call(self, name: str, *args: int) -> int:
        number, registers = self.registers(name, args)
        return self.process.table.perform(self.thread, number, registers)

    def show(self, name: str, *args: int) -> str:
        number, registers = self.registers(name, args)
        return self.process.table.show(self.thread, number, registers)

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("abi", Abi).numbers:
            raise AttributeError(name)
        return lambda *args: self.call(name, *args)
