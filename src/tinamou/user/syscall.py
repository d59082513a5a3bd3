"""A system call is one typed function; decoding, errors, strace text and numbers follow from its signature.

Two forms:

@syscall                                              # Python code: the first parameter is the calling Thread
def getcwd(t: Thread, buf: Buf, size: Size) -> int:
    ...
    return buf.write(path + b"\\0")

@syscall                                              # pass-through: no Thread, no body; the host's call of the same name does it
def read(fd: Fd, buf: Buf, size: Size) -> Result: ...

An OSError becomes its -errno, a GuestFault -EFAULT, None 0.  The number comes from the ABI's table (user/numbers); a name that the table of
an architecture lacks does not exist there.  Rules:

- A Python function that may block, and any call a signal should interrupt, uses `t.host("name", ...)`, never `os.read` and the like (they
  restart by themselves and the guest's handler would never run).  `restart` says what happens when a handler ran meanwhile:
  "sys" (the default): again if the handler has SA_RESTART; "never": EINTR; see signal(7).
- `wide="name_time64"` also declares the 64-bit-time (or 64-bit-offset) call of 32-bit ABIs: the same function with wide structures.
- `names="a b"` gives the names when they are not the function's.

Parameter kinds (what is passed to a Python function in brackets):

  Int UInt Long ULong     scalars of 32 bits or of a register [int]
  Fd, DirFd               a descriptor; AT_FDCWD is named [int]
  Size                    a length, unsigned [int]
  Offset                  64 bits: one register, or a pair on 32-bit ABIs [int]
  Addr                    a guest address nobody dereferences here [int]
  OpenFlags AtFlags ...   bits translated to the host's numbering, named by strace [int, the host's]; `Bits("open")`
  Mode Signal Clock       named by strace [int]
  Path                    file name, looked up in the -L folder when absolute; NewPath: one that is created, removed or renamed [bytes]
  OptPath                 Path that may be NULL [bytes or None]
  Buf                     bytes of guest memory; in pass-through calls bounded by the next Size [Buf]
  In[T] Out[T] Ptr[T]     pointer to a structure or scalar read, written or both; false if NULL [Ptr]
  Many[T]                 pointer to as many T as the next parameter counts [Ptr]
  Vector                  pointer to as many iovecs as the next parameter counts [Ptr[Iovec], see `gather`]

In a pass-through call structures whose layout is the host's are used in place, others are converted.
"""

from __future__ import annotations

import ctypes
import errno as errno_numbers
import functools
import importlib
import os
import pkgutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_origin, overload

from . import streams
from .errors import GuestFault
from .layout import Struct, layout_of, pointer, ulong

if TYPE_CHECKING:
    from .abi import Abi
    from .memory import AddressSpace
    from .thread import Thread

__all__ = [
    "Addr", "AtFlags", "Bits", "Buf", "Clock", "DirFd", "Fd", "In", "Int", "Iovec", "Kind", "Long", "Many", "MapFlags", "Mode",
    "NewPath", "Offset", "OpenFlags", "OptPath", "Out", "Path", "Prot", "Ptr", "Result", "Signal", "Size", "Table", "UInt", "ULong",
    "Vector", "gather", "syscall",
]  # fmt: skip

S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])
Result = Any  # of a pass-through call: what the host returns
AT_FDCWD = -100
MAX_COUNT = 1024  # IOV_MAX; other arrays are bounded by MAX_ARRAY bytes
MAX_ARRAY = 1 << 24
PATH_MAX = 4096


class Iovec(Struct):
    iov_base: pointer
    iov_len: ulong


# ---------------------------------------------------------------------------------------------------------------- values passed


class Buf:
    """Guest memory at `addr`; how much is said by another parameter."""

    __slots__ = ("addr", "memory")

    def __init__(self, memory: AddressSpace, addr: int) -> None:
        self.memory, self.addr = memory, addr

    def __bool__(self) -> bool:
        return self.addr != 0

    def read(self, size: int, at: int = 0) -> bytes:
        """`size` bytes from offset `at`.  Raises GuestFault."""
        return self.memory.read(self.addr + at, size)

    def write(self, data: bytes, at: int = 0) -> int:
        """Store all of `data` at offset `at` and give its length.  Raises GuestFault."""
        self.memory.write(self.addr + at, data)
        return len(data)

    def host(self, size: int) -> int:
        """Host address of `size` bytes for a host system call; 0 for NULL.  Raises GuestFault beyond the address space."""
        return self.memory.host(self.addr, size) if self.addr else 0


class Ptr(Generic[S]):
    """Guest pointer to a structure or scalar in guest layout; false if NULL."""

    __slots__ = ("addr", "layout", "memory")

    def __init__(self, memory: AddressSpace, addr: int, layout: Any) -> None:
        self.memory, self.addr, self.layout = memory, addr, layout

    def __bool__(self) -> bool:
        return self.addr != 0

    def load(self) -> S:
        """Raises GuestFault."""
        value: S = self.layout.load(self.memory.read(self.addr, self.layout.size))
        return value

    def store(self, value: S) -> None:
        """Raises GuestFault."""
        self.memory.write(self.addr, self.layout.dump(value))

    @overload
    def __getitem__(self, index: int) -> S: ...
    @overload
    def __getitem__(self, index: slice) -> list[S]: ...
    def __getitem__(self, index: Any) -> Any:
        """`p[i]`, or `p[:n]` as a list.  Raises GuestFault; OSError EINVAL for an absurd count."""
        size = self.layout.size
        if not isinstance(index, slice):
            return self.layout.load(self.memory.read(self.addr + index * size, size))
        first = index.start or 0
        count = index.stop - first
        if count <= 0:
            return []
        if count * size > MAX_ARRAY:
            raise OSError(errno_numbers.EINVAL, "array too long")
        data = self.memory.read(self.addr + first * size, count * size)
        return [self.layout.load(data[at : at + size]) for at in range(0, len(data), size)]

    def __setitem__(self, index: int, value: S) -> None:
        self.memory.write(self.addr + index * self.layout.size, self.layout.dump(value))


class In(Ptr[S]):
    """A pointer that the call only reads through."""


class Out(Ptr[S]):
    """A pointer that the call only writes through."""


class Many(Ptr[S]):
    """A pointer to as many as the next parameter says, read and written."""


def gather(t: Thread, vector: Ptr[Iovec], count: int) -> list[tuple[int, int]]:
    """(guest address, length) of each element.  Raises OSError EINVAL for a bad count or total, GuestFault."""
    if not 0 <= count <= MAX_COUNT:
        raise OSError(errno_numbers.EINVAL, "iovec count")
    return [(v.iov_base, v.iov_len) for v in vector[:count]]


# ---------------------------------------------------------------------------------------------------------------- kinds of parameters


class Kind:
    """How one parameter is decoded, passed on to the host, and shown by strace.

    `registers` is what it takes (2 for 64 bits on a 32-bit ABI).  A kind is instantiated per guest ABI.
    """

    registers: int = 1
    is_size: ClassVar[bool] = False

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        """This kind for one guest ABI."""
        return self

    def value(self, t: Thread, raw: int) -> Any:
        """What a Python function gets."""
        return raw

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        """What the host's call gets; `following` is the next parameter's raw value.

        `keep` holds what must live during the call; callables in it are run afterwards when the call succeeded.
        """
        value = self.value(t, raw)
        assert isinstance(value, int)
        return value

    def show(self, t: Thread, raw: int) -> str:
        return str(self.value(t, raw))

    def show_after(self, t: Thread, raw: int, before: list[int]) -> str | None:
        """What strace prints when the parameters `before` are known; None leaves the parameter out."""
        return self.show(t, raw)


class _Int(Kind):
    def value(self, t: Thread, raw: int) -> int:
        return ((raw & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


class _UInt(Kind):
    def value(self, t: Thread, raw: int) -> int:
        return raw & 0xFFFF_FFFF


class _Long(Kind):
    sign = 0

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        new = type(self)()
        new.sign = 1 << (abi.bits - 1)
        return new

    def value(self, t: Thread, raw: int) -> int:
        return (raw ^ self.sign) - self.sign


class _Size(Kind):
    is_size = True


class _Offset(Kind):
    """A 64-bit file offset: signed."""

    def __init__(self, registers: int = 1) -> None:
        self.registers = registers

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        return _Offset(64 // abi.bits)

    def value(self, t: Thread, raw: int) -> int:
        return (raw ^ 1 << 63) - (1 << 63)


class _Addr(Kind):
    def show(self, t: Thread, raw: int) -> str:
        return address_text(t, raw)


class _Fd(_Int):
    pass


class _DirFd(_Int):
    def show(self, t: Thread, raw: int) -> str:
        fd = self.value(t, raw)
        return "AT_FDCWD" if fd == AT_FDCWD else str(fd)


class _Mode(_UInt):
    def show(self, t: Thread, raw: int) -> str:
        return f"{raw & 0xFFFF_FFFF:#05o}".replace("o", "")


class _Hex(Kind):
    def show(self, t: Thread, raw: int) -> str:
        return f"{raw:#x}"


class _Signal(_Int):
    """A signal number, the guest's."""

    def show(self, t: Thread, raw: int) -> str:
        number = self.value(t, raw)
        for name, n in t.abi.signals.items():
            if n == number:
                return "SIG" + name
        return str(number)


class Named(_Int):
    """A number with names that are the same on every architecture: `Annotated[int, Named("SEEK_SET SEEK_CUR SEEK_END")]`."""

    def __init__(self, names: str | dict[int, str]) -> None:
        self.names = names if isinstance(names, dict) else dict(enumerate(names.split()))

    def show(self, t: Thread, raw: int) -> str:
        number = self.value(t, raw)
        return self.names.get(number, str(number))


class Bits(_UInt):
    """Flags of the set `name` in abi.FLAGS, given to the call as the host numbers them."""

    def __init__(self, name: str, zero: str = "0") -> None:
        self.name, self.zero = name, zero
        self.pairs: list[tuple[int, int]] | None = None  # guest bits, host bits where the two differ
        self.names: dict[str, int] = {}

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        new = Bits(self.name, self.zero)
        new.names = dict(sorted(abi.flag_set(self.name).items(), key=lambda item: -item[1].bit_count()))
        theirs = host.flag_set(self.name)
        if any(theirs.get(name, bits) != bits for name, bits in new.names.items()):  # what the host lacks stays as it is
            new.pairs = [(bits, theirs.get(name, bits)) for name, bits in new.names.items()]
        return new

    def value(self, t: Thread, raw: int) -> int:
        raw &= 0xFFFF_FFFF
        if self.pairs is None:
            return raw
        done = 0
        for mine, theirs in self.pairs:
            if raw & mine == mine:
                raw &= ~mine
                done |= theirs
        return done | raw

    def show(self, t: Thread, raw: int) -> str:
        raw &= 0xFFFF_FFFF
        parts = [self.zero] if self.zero != "0" and not raw & 3 else []
        for name, bits in self.names.items():
            if raw & bits == bits:
                raw &= ~bits
                parts.append(name)
        if raw or not parts:
            parts.append(f"{raw:#x}" if raw else "0")
        return "|".join(parts)


class _Path(Kind):
    """A file name: bytes up to the NUL; ENAMETOOLONG beyond PATH_MAX."""

    def __init__(self, look_up: bool = True, null: bool = False) -> None:
        self.look_up, self.null = look_up, null

    def value(self, t: Thread, raw: int) -> bytes | None:
        if self.null and raw == 0:
            return None
        name = t.memory.read_string(raw, PATH_MAX)
        if name is None:
            raise OSError(errno_numbers.ENAMETOOLONG, "path too long")
        return t.process.path(name) if self.look_up else name

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        name = self.value(t, raw)
        if name is None:
            return 0
        text = ctypes.create_string_buffer(name)
        keep.append(text)
        return ctypes.addressof(text)

    def show(self, t: Thread, raw: int) -> str:
        if raw == 0:
            return "NULL"
        try:
            name = t.memory.read_string(raw, PATH_MAX)
        except GuestFault:
            name = None
        return address_text(t, raw) if name is None else '"' + os.fsdecode(name) + '"'


class _Buf(Kind):
    def value(self, t: Thread, raw: int) -> Buf:
        return Buf(t.memory, raw)

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        return t.memory.host(raw, following) if raw else 0

    def show(self, t: Thread, raw: int) -> str:
        return f"{raw:#x}" if raw else "NULL"


class _Pointer(Kind):
    """Ptr, In, Out and Many of one structure or scalar."""

    def __init__(self, direction: Any, of: Any) -> None:
        self.direction, self.of = direction, of
        self.layout: Any = None
        self.theirs: Any = None
        self.same = False

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        new = _Pointer(self.direction, self.of)
        new.layout = layout_of(self.of, abi, wide)
        new.theirs = layout_of(self.of, host, wide)
        new.same = new.layout.code == new.theirs.code and not new.layout.padded
        return new

    def value(self, t: Thread, raw: int) -> Ptr[Any]:
        return Ptr(t.memory, raw, self.layout)

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        if not raw:
            return 0
        mine, theirs = self.layout, self.theirs
        count = following if self.direction is Many else 1
        if count * mine.size > MAX_ARRAY:
            raise OSError(errno_numbers.EINVAL, "array too long")
        if self.same:
            return t.memory.host(raw, count * mine.size)
        data = b"" if self.direction is Out else t.memory.read(raw, count * mine.size)
        items = [data[at : at + mine.size] for at in range(0, len(data), mine.size)]
        room = ctypes.create_string_buffer(b"".join(theirs.dump(mine.load(item)) for item in items), max(count, 1) * theirs.size)
        keep.append(room)
        if self.direction is not In:

            def give_back() -> None:
                raw_bytes = room.raw
                parts = [raw_bytes[at : at + theirs.size] for at in range(0, count * theirs.size, theirs.size)]
                t.memory.write(raw, b"".join(mine.dump(theirs.load(part)) for part in parts))

            keep.append(give_back)
        return ctypes.addressof(room)

    def show(self, t: Thread, raw: int) -> str:
        if raw and self.direction is In:
            try:
                return repr(self.value(t, raw).load())
            except GuestFault:
                pass
        return address_text(t, raw)


class _Vector(Kind):
    layout: Any = None

    def bind(self, abi: Abi, host: Abi, wide: bool) -> Kind:
        new = _Vector()
        new.layout = layout_of(Iovec, abi)
        return new

    def value(self, t: Thread, raw: int) -> Ptr[Iovec]:
        return Ptr(t.memory, raw, self.layout)

    def pass_on(self, t: Thread, raw: int, following: int, keep: list[Any]) -> int:
        count = following & 0xFFFF_FFFF
        words: list[int] = []
        for address, size in gather(t, self.value(t, raw), count):
            words += [t.memory.host(address, size) if size else 0, size]
        array = (ctypes.c_uint64 * max(len(words), 1))(*words)
        keep.append(array)
        return ctypes.addressof(array)

    def show(self, t: Thread, raw: int) -> str:
        return f"{raw:#x}"


def address_text(t: Thread, raw: int) -> str:
    return f"0x{raw:0{t.abi.bits // 4}x}" if raw else "NULL"


Int = Annotated[int, _Int()]
UInt = Annotated[int, _UInt()]
Long = Annotated[int, _Long()]
ULong = Annotated[int, Kind()]
Hex = Annotated[int, _Hex()]
Size = Annotated[int, _Size()]
Offset = Annotated[int, _Offset()]
Addr = Annotated[int, _Addr()]
Fd = Annotated[int, _Fd()]
DirFd = Annotated[int, _DirFd()]
Mode = Annotated[int, _Mode()]
Signal = Annotated[int, _Signal()]
CLOCKS = (
    "CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW CLOCK_REALTIME_COARSE "
    "CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM"
)
Clock = Annotated[int, Named(CLOCKS)]
OpenFlags = Annotated[int, Bits("open", zero="O_RDONLY")]
AtFlags = Annotated[int, Bits("at")]
Prot = Annotated[int, Bits("prot", zero="0")]
MapFlags = Annotated[int, Bits("map")]
Path = Annotated[bytes, _Path()]
OptPath = Annotated["bytes | None", _Path(null=True)]
NewPath = Annotated[bytes, _Path(look_up=False)]
Vector = Annotated[Ptr[Iovec], _Vector()]


def kind_of(annotation: Any) -> Kind:
    """The Kind that an annotation stands for."""
    if annotation is Buf:
        return _Buf()
    origin = get_origin(annotation)
    if origin in (Ptr, In, Out, Many):
        return _Pointer(origin, get_args(annotation)[0])
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Kind):
            return extra
    raise TypeError(f"{annotation!r} is no kind of system call parameter: see tinamou.user.syscall")


# ---------------------------------------------------------------------------------------------------------------- declarations


class Declaration:
    """A function marked with @syscall: not yet bound to an ABI."""

    def __init__(self, function: Callable[..., Any], name: str, restart: str, wide: bool) -> None:
        self.function, self.name, self.restart, self.wide = function, name, restart, wide

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, the Thread included."""
        code = self.function.__code__
        return code.co_varnames[: code.co_argcount]

    @property
    def passes(self) -> bool:
        """Whether the host's call of the same name does it all."""
        return self.names[:1] != ("t",)

    def kinds(self) -> list[Kind]:
        function = self.function
        notes, module = function.__annotations__, function.__globals__
        wanted = self.names if self.passes else self.names[1:]
        return [kind_of(eval(notes[n], module) if isinstance(notes[n], str) else notes[n]) for n in wanted]


_declared: dict[str, Declaration] = {}
RESTARTS = ("sys", "never")


@overload
def syscall(function: F) -> F: ...
@overload
def syscall(*, names: str = "", wide: str = "", restart: str = "sys") -> Callable[[F], F]: ...
def syscall(function: Any = None, *, names: str = "", wide: str = "", restart: str = "sys") -> Any:
    """Declare a system call; see the module's description.  Raises TypeError when a name is declared twice."""
    if restart not in RESTARTS:
        raise TypeError(f"restart={restart!r}: one of {', '.join(RESTARTS)}")

    def declare(f: F) -> F:
        own = names.split() or [f.__name__.rstrip("_")]
        for name, is_wide in [*((n, False) for n in own), *((n, True) for n in wide.split())]:
            if name in _declared and _declared[name].function.__module__ != f.__module__:
                raise TypeError(f"system call {name} is declared in {_declared[name].function.__module__} and {f.__module__}")
            _declared[name] = Declaration(f, name, restart, is_wide)
        return f

    return declare(function) if function else declare


@functools.cache
def declared() -> dict[str, Declaration]:
    """Every call of every module in user/calls, by name; the folder is searched once."""
    from . import calls

    for module in pkgutil.iter_modules(calls.__path__):
        importlib.import_module(f"{calls.__name__}.{module.name}")
    return _declared


# ---------------------------------------------------------------------------------------------------------------- calls of one ABI


class Call:
    """A system call of one guest ABI: decodes, runs, and shows itself."""

    def __init__(self, declaration: Declaration, abi: Abi, host: Abi) -> None:
        self.name, self.restart = declaration.name, declaration.restart
        self.function = declaration.function
        self.kinds = [kind.bind(abi, host, declaration.wide) for kind in declaration.kinds()]
        self.passes = declaration.passes
        self.number = host.numbers.get(self.name, -1)
        if self.passes and declaration.wide and self.number < 0:  # a 64-bit host has only the plain name
            plain = self.name.removesuffix("_time64").removesuffix("64")
            self.number = host.numbers.get(plain, -1)
        self.simple = all(kind.registers == 1 for kind in self.kinds)
        self.abi = abi
        self.run: Callable[[Any, tuple[int, ...]], int] = self._pass_on if self.passes else self._python
        if self.name in streams.CALLS and streams.converted(abi):
            self.run = streams.converting(self, self.run)

    def raw(self, registers: tuple[int, ...]) -> list[int]:
        """One unsigned value per parameter out of the argument registers."""
        if self.simple:
            return list(registers[: len(self.kinds)])
        out, at = [], 0
        for kind in self.kinds:
            if kind.registers == 2:
                at += at & 1 if self.abi.aligned_pairs else 0
                low, high = registers[at : at + 2] if self.abi.order == "<" else registers[at : at + 2][::-1]
                out.append(low | high << 32)
            else:
                out.append(registers[at])
            at += kind.registers
        return out

    def _python(self, t: Thread, registers: tuple[int, ...]) -> int:
        result = self.function(t, *[kind.value(t, raw) for kind, raw in zip(self.kinds, self.raw(registers), strict=False)])
        return result if result is not None else 0

    def _pass_on(self, t: Thread, registers: tuple[int, ...]) -> int:
        if self.number < 0:
            return -errno_numbers.ENOSYS
        keep: list[Any] = []
        args = self.given(t, registers if self.simple else self.raw(registers), keep)
        result = t.host_syscall(self.number, *args)
        if keep and result >= 0:
            for item in keep:
                if callable(item):
                    item()
        return result

    def given(self, t: Thread, raws: Sequence[int], keep: list[Any]) -> list[int]:
        """What the host's call gets: written out at the first call, as one expression, since some programs do little else than call."""
        parts: list[str] = []
        names: dict[str, Any] = {}
        for n, kind in enumerate(self.kinds):
            if type(kind).pass_on is Kind.pass_on:
                names[f"k{n}"], more = kind.value, ""
            else:
                names[f"k{n}"], more = kind.pass_on, f", {f'raws[{n + 1}]' if n + 1 < len(self.kinds) else 0}, keep"
            parts.append(f"k{n}(t, raws[{n}]{more})")
        self.given = eval(f"lambda t, raws, keep: [{', '.join(parts)}]", names)  # type: ignore[method-assign]
        return self.given(t, raws, keep)

    def show(self, t: Thread, registers: tuple[int, ...]) -> str:
        """`name(arguments)` as strace prints it."""
        raws = self.raw(registers)
        kinds = self.kinds
        if len(kinds) >= 2 and isinstance(kinds[-1], _Mode) and isinstance(kinds[-2], Bits) and kinds[-2].name == "open":
            flags = self.abi.flag_set("open")
            if not raws[len(kinds) - 2] & (flags["O_CREAT"] | flags["O_TMPFILE"] & ~flags["O_DIRECTORY"]):
                kinds = kinds[:-1]  # nothing is created: there is no mode
        shown = [kind.show_after(t, raw, raws[:n]) for n, (kind, raw) in enumerate(zip(kinds, raws, strict=False))]
        return f"{self.name}({','.join(text for text in shown if text is not None)})"


class Table:
    """The system calls of one guest ABI by number, bound when first used."""

    def __init__(self, abi: Abi, host: Abi) -> None:
        self.abi, self.host = abi, host
        self.calls: dict[int, Call | None] = {}
        self.by_number = {number: name for name, number in abi.numbers.items()}

    def find(self, number: int) -> Call | None:
        """The call, or None if there is none of that number."""
        if number in self.calls:
            return self.calls[number]
        declaration = declared().get(self.by_number.get(number, ""))
        call = Call(declaration, self.abi, self.host) if declaration else None
        self.calls[number] = call
        return call

    def perform(self, t: Thread, number: int, registers: tuple[int, ...]) -> int:
        """Run the call: its result, or -errno as the guest numbers it."""
        call = self.calls.get(number) or self.find(number)
        if call is None:
            known = self.by_number.get(number)
            t.process.log("unimp", f"Unsupported syscall: {number}" + (f" ({known})" if known else ""))
            return -errno_numbers.ENOSYS
        try:
            result = call.run(t, registers)
        except OSError as error:
            result = -(error.errno or errno_numbers.EIO)
        except GuestFault:
            result = -errno_numbers.EFAULT
        if -4096 < result < 0 and self.abi.errno:
            result = -self.abi.errno.get(-result, -result)
        return result

    def show(self, t: Thread, number: int, registers: tuple[int, ...]) -> str:
        """The call as strace prints it; one unknown by number with its registers."""
        call = self.find(number)
        if call is not None:
            return call.show(t, registers)
        name = self.by_number.get(number)
        return (name or f"Unknown syscall {number}") + f"({','.join(str(r) for r in registers[:6])})"


def result_text(t: Thread, result: int) -> str:
    """What strace prints after the call: a number, an address, or an error with its name."""
    if -4096 < result < 0:
        return f"-1 errno={-result} ({os.strerror(-result)})"
    return str(result) if 0 <= result < 1 << 31 else f"0x{result & t.abi.mask:0{t.abi.bits // 4}x}"
