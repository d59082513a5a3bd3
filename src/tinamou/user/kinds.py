"""Kinds of parameters that several topics of system calls share; the basic ones are in tinamou.user.syscall."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from .abi import FLAGS
from .errors import GuestFault
from .host import HOST
from .layout import layout_of, sigset
from .room import Room
from .syscall import Bits, Call, Kind, Named, _Path, address_text, declared, kind_of

if TYPE_CHECKING:
    from .abi import Abi
    from .thread import Thread

__all__ = [
    "Advice", "HighHalf", "LowHalf", "OptNewPath", "OptText", "Resource", "SigMask", "Text", "call_named", "flag_set", "numbers_of",
    "pass_operation", "renumber", "waiting",
]  # fmt: skip


def flag_set(name: str, **bits: int) -> Bits:
    """Declare the asm-generic numbering of a set of flags; an architecture that differs names its own values in Abi.flags[name]."""
    FLAGS.setdefault(name, bits)
    return Bits(name)


def numbers_of(name: str, **numbers: int) -> str:
    """Declare the asm-generic numbering of an enumeration (commands, options): its name, for `renumber`."""
    FLAGS.setdefault(name, numbers)
    return name


def renumber(name: str, number: int, guest: Abi, host: Abi = HOST) -> int:
    """The host's number of what the guest's ABI numbers so; unknown ones stay."""
    own = guest.flags.get(name)
    theirs = host.flags.get(name)
    if own is theirs:  # both asm-generic
        return number
    for key, value in guest.flag_set(name).items():
        if value == number:
            return host.flag_set(name).get(key, number)
    return number


_bound: dict[tuple[int, Any], list[Kind]] = {}


def pass_operation(t: Thread, name: str, leading: tuple[int, ...], kinds: tuple[Any, ...], raws: tuple[int, ...]) -> int:
    """The host's call of that name with `leading` words and then `raws` as these kinds pass them on: for calls that are many in one.

    Raises OSError, GuestFault.
    """
    key = (id(t.abi), kinds)
    bound = _bound.get(key)
    if bound is None:
        bound = _bound[key] = [kind_of(kind).bind(t.abi, HOST, False) for kind in kinds]
    keep: list[Any] = []
    words = [kind.pass_on(t, raw, following, keep) for kind, raw, following in zip(bound, raws, (*raws[1:], 0), strict=False)]
    result = t.host(name, *leading, *words)
    for item in keep:
        if callable(item):
            item()
    return result


_by_name: dict[tuple[int, str], Call] = {}


def call_named(t: Thread, name: str, *registers: int) -> int:
    """Another call of the same ABI, by name, on argument registers: for calls that carry others (socketcall, ipc).  Raises OSError."""
    key = id(t.abi), name
    call = _by_name.get(key)
    if call is None:
        call = _by_name[key] = Call(declared()[name], t.abi, HOST)
    result = call.run(t, registers)
    if -4096 < result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


@contextmanager
def waiting(t: Thread, mask: int | None) -> Iterator[Any]:
    """A call during which `mask` (the guest's) replaces the thread's signal mask: gives the host's set in memory, 0 for None.

    A signal that ends the call is delivered before the old mask returns.
    """
    if mask is None:
        yield 0
        return
    t.waiting_mask = mask
    yield Room(sigset, t.process.host_mask(mask)).memory


class _Text(_Path):
    """A string that names no file: not looked up in the -L folder."""

    def __init__(self, null: bool = False) -> None:
        super().__init__(look_up=False, null=null)


class _LowHalf(Kind):
    """The low word of a file position whose high word is the next parameter (preadv): not an aligned pair."""

    bits = 64

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        new = _LowHalf()
        new.bits = abi.bits
        return new

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        return raw if self.bits == 64 else raw | following << 32


class _HighHalf(Kind):
    """The high word that a _LowHalf takes along; a 64-bit host ignores it."""

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        return 0


class _SigMask(Kind):
    """Pointer to a signal set, the guest's numbering."""

    layout: Any = None

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        new = _SigMask()
        new.layout = layout_of(sigset, abi)
        return new

    def value(self, t: Thread, raw: int) -> int | None:
        """The set, or None for NULL.  Raises GuestFault."""
        return self.layout.load(t.memory.read(raw, 8)) if raw else None

    def show(self, t: Thread, raw: int) -> str:
        try:
            mask = self.layout.load(t.memory.read(raw, 8)) if raw else 0
        except GuestFault:
            return address_text(t, raw)
        if not raw:
            return "NULL"
        return "[" + " ".join(name for name, n in t.abi.signals.items() if mask >> (n - 1) & 1) + "]"


class _Device(Kind):
    """A device number in mknod."""

    def show(self, t: Thread, raw: int) -> str:
        return f"makedev({os.major(raw)},{os.minor(raw)})"


Text = Annotated[bytes, _Text()]
OptText = Annotated["bytes | None", _Text(null=True)]
OptNewPath = OptText
LowHalf = Annotated[int, _LowHalf()]
HighHalf = Annotated[int, _HighHalf()]
SigMask = Annotated["int | None", _SigMask()]
Device = Annotated[int, _Device()]
Advice = Annotated[int, Named("POSIX_FADV_NORMAL POSIX_FADV_RANDOM POSIX_FADV_SEQUENTIAL POSIX_FADV_WILLNEED POSIX_FADV_DONTNEED "
                              "POSIX_FADV_NOREUSE")]  # fmt: skip
Resource = Annotated[int, Named("RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE "
                                "RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO "
                                "RLIMIT_RTTIME")]  # fmt: skip
