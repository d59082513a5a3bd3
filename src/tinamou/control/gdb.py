"""The gdb remote serial protocol, server side: GDB manual, appendix E; extensions `qqemu.*` as the original has them.

`Stub` speaks the protocol over bytes and knows nothing of sockets or CPUs: it is fed what the debugger sends, and drives
a `Target`, which is a whole machine (a thread is a CPU) or a user-mode process (a thread is a thread).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

PACKET_SIZE = 0x1000
SIGINT, SIGTRAP = 2, 5
Action = Literal["continue", "step"]
BREAK_KINDS = ("software", "hardware", "write", "read", "access")
BreakKind = Literal["software", "hardware", "write", "read", "access"]
_WATCH_NAMES = {"write": "watch", "read": "rwatch", "access": "awatch"}


class TargetError(Exception):
    """What was asked cannot be done; `code` is the number in the reply `Exx` (14: bad address, 22: bad argument)."""

    def __init__(self, code: int = 22, message: str = "") -> None:
        super().__init__(message or f"error {code}")
        self.code = code


@dataclass(frozen=True)
class Register:
    """A register as the debugger sees it. `number` is given only where the sequence has a gap."""

    name: str
    bits: int
    type: str = "int"
    group: str = ""
    number: int | None = None
    save: bool = True


@dataclass(frozen=True)
class Feature:
    """One annex of the target description. `types` is XML of the feature's own types (vectors, unions, flags)."""

    name: str
    file: str
    registers: tuple[Register, ...]
    types: str = ""

    def xml(self) -> str:
        out = ['<?xml version="1.0"?>', '<!DOCTYPE feature SYSTEM "gdb-target.dtd">', f'<feature name="{self.name}">']
        if self.types:
            out.append(self.types)
        for r in self.registers:
            extra = f' group="{r.group}"' if r.group else ""
            extra += f' regnum="{r.number}"' if r.number is not None else ""
            extra += "" if r.save else ' save-restore="no"'
            out.append(f'  <reg name="{r.name}" bitsize="{r.bits}" type="{r.type}"{extra}/>')
        return "\n".join([*out, "</feature>"]) + "\n"


@dataclass(frozen=True)
class Description:
    """All registers of a target. `core` registers are those of the `g` packet."""

    architecture: str
    features: tuple[Feature, ...]

    def numbered(self) -> dict[int, Register]:
        """Registers by their protocol numbers."""
        out, n = {}, 0
        for f in self.features:
            for r in f.registers:
                n = r.number if r.number is not None else n
                out[n] = r
                n += 1
        return out

    @property
    def core(self) -> int:
        """How many registers the `g` packet carries: those of the first feature."""
        return len(self.features[0].registers) if self.features else 0

    def annex(self, name: str) -> str | None:
        """The XML of `target.xml` or of a feature's file."""
        if name == "target.xml":
            lines = ['<?xml version="1.0"?>', '<!DOCTYPE target SYSTEM "gdb-target.dtd">', "<target>",
                     f"  <architecture>{self.architecture}</architecture>"]
            lines += [f'  <xi:include href="{f.file}"/>' for f in self.features]
            return "\n".join([*lines, "</target>"]) + "\n"
        return next((f.xml() for f in self.features if f.file == name), None)


@dataclass(frozen=True)
class Stop:
    """Why the target stands still. `signal` is gdb's number; an exit has `exit_code`, a death `killed` as its signal."""

    thread: int = 1
    signal: int = SIGTRAP
    watch: tuple[BreakKind, int] | None = None
    breakpoint: Literal["", "software", "hardware"] = ""
    exit_code: int | None = None
    killed: int | None = None
    syscall: tuple[Literal["entry", "return"], int] | None = None


class Target(Protocol):
    """What the stub drives. Threads are numbered from 1. Methods raise TargetError.

    `resume` returns at once; when something stands still the target calls `Stub.stopped`, from any thread, exactly once
    for each resume.
    """

    description: Description

    def threads(self) -> list[int]: ...
    def thread_name(self, thread: int) -> str: ...
    def read_register(self, thread: int, number: int) -> bytes: ...
    def write_register(self, thread: int, number: int, data: bytes) -> None: ...
    def read_memory(self, thread: int, address: int, size: int, physical: bool) -> bytes: ...
    def write_memory(self, thread: int, address: int, data: bytes, physical: bool) -> None: ...
    def resume(self, actions: dict[int, Action], signals: dict[int, int], step_flags: int) -> None: ...
    def interrupt(self) -> None: ...
    def set_break(self, kind: BreakKind, address: int, size: int) -> None: ...
    def clear_break(self, kind: BreakKind, address: int, size: int) -> None: ...
    def clear_all_breaks(self) -> None: ...
    def kill(self) -> None: ...
    def detach(self) -> None: ...


class BaseTarget:
    """Defaults for what a target may leave out."""

    process = 1
    attached = True
    description = Description("", ())

    def thread_name(self, thread: int) -> str:
        return f"CPU#{thread - 1} [running]"

    def monitor(self, command: str) -> str:
        """`monitor COMMAND`: the answer, complete with its newlines. Raises TargetError when there is no monitor."""
        raise TargetError()

    def offsets(self) -> tuple[int, int, int] | None:
        """(text, data, bss) displacement of a user-mode program, or None."""
        return None

    def auxv(self) -> bytes | None:
        """The auxiliary vector of a user-mode process."""
        return None

    def exec_file(self) -> str | None:
        """The path of the running program."""
        return None

    def siginfo(self, thread: int) -> bytes | None:
        """The siginfo_t of the signal a user-mode thread stopped with."""
        return None

    def clear_all_breaks(self) -> None: ...

    def kill(self) -> None: ...

    def detach(self) -> None: ...


Handler = Callable[["Stub", str, bytes], bytes | None]
_PACKETS: list[tuple[str, Handler]] = []


def packet(prefix: str) -> Callable[[Handler], Handler]:
    """Answer packets that begin with `prefix`; the longest prefix wins. The handler gets the rest as text and as bytes."""

    def register(f: Handler) -> Handler:
        _PACKETS.append((prefix, f))
        _PACKETS.sort(key=lambda entry: -len(entry[0]))
        return f

    return register


OK = b"OK"
UNSUPPORTED = b""


@dataclass
class Stub:
    """One debugger connection. `send` takes bytes for the debugger; `feed` brings what it says."""

    target: Target
    send: Callable[[bytes], object]
    running: bool = False
    no_ack: bool = False
    physical: bool = False
    step_flags: int = 7
    closed: bool = False
    multiprocess: bool = False
    swbreak: bool = False
    hwbreak: bool = False
    thread_g: int = 1
    thread_c: int = -1
    last: Stop = field(default_factory=lambda: Stop(signal=SIGTRAP))
    _buffer: bytearray = field(default_factory=bytearray)
    _sent: bytes = b""
    _list: list[int] = field(default_factory=list)
    caught: set[int] | None = None

    # --- framing

    def feed(self, data: bytes) -> None:
        """Bytes from the debugger, cut anywhere."""
        self._buffer += data
        while self._buffer and not self.closed:
            first = self._buffer[0]
            if first == 0x03:
                del self._buffer[0]
                if self.running:
                    self.target.interrupt()
            elif first == ord("$"):
                end = self._buffer.find(b"#")
                if end < 0 or len(self._buffer) < end + 3:
                    if len(self._buffer) > 2 * PACKET_SIZE:
                        self._buffer.clear()
                        self.send(b"-")
                    return
                body, check = bytes(self._buffer[1:end]), bytes(self._buffer[end + 1 : end + 3])
                del self._buffer[: end + 3]
                if not self.no_ack:
                    try:
                        good = int(check, 16) == sum(body) & 0xFF
                    except ValueError:
                        good = False
                    self.send(b"+" if good else b"-")
                    if not good:
                        continue
                self._packet(_unescape(body))
            else:
                if first == ord("-") and self._sent and not self.no_ack:
                    self.send(self._sent)
                del self._buffer[0]

    def reply(self, body: bytes) -> None:
        """Send one packet."""
        escaped = _escape(body)
        self._sent = b"$" + escaped + b"#%02x" % (sum(escaped) & 0xFF)
        self.send(self._sent)

    def _packet(self, body: bytes) -> None:
        if self.running:
            self.running = False
            self.target.interrupt()
        text = body.decode("latin-1")
        for prefix, handler in _PACKETS:
            if text.startswith(prefix):
                try:
                    answer = handler(self, text[len(prefix) :], body[len(prefix) :])
                except TargetError as e:
                    answer = b"E%02x" % e.code
                except (ValueError, IndexError, KeyError):
                    answer = b"E22"
                if answer is not None:
                    self.reply(answer)
                return
        self.reply(UNSUPPORTED)

    # --- the target's side

    def stopped(self, stop: Stop) -> None:
        """The target stands still: tell the debugger that waits for it."""
        self.last = stop
        if stop.thread > 0:
            self.thread_g = self.thread_c = stop.thread
        if self.running:
            self.running = False
            self.reply(self.stop_reply())

    def output(self, text: str) -> None:
        """Console output while running (an `O` packet)."""
        if self.running:
            self.reply(b"O" + text.encode().hex().encode())

    def stop_reply(self) -> bytes:
        stop = self.last
        if stop.exit_code is not None:
            return b"W%02x" % (stop.exit_code & 0xFF)
        if stop.killed is not None:
            return b"X%02x" % stop.killed
        out = f"T{stop.signal:02x}thread:{self.name(stop.thread)};"
        if stop.watch:
            out += f"{_WATCH_NAMES[stop.watch[0]]}:{stop.watch[1]:x};"
        elif stop.syscall:
            out += f"syscall_{stop.syscall[0]}:{stop.syscall[1]:x};"
        elif stop.breakpoint == "software" and self.swbreak:
            out += "swbreak:;"
        elif stop.breakpoint == "hardware" and self.hwbreak:
            out += "hwbreak:;"
        return out.encode()

    # --- names of threads

    @property
    def process(self) -> int:
        return int(getattr(self.target, "process", 1))

    def name(self, thread: int) -> str:
        return f"p{self.process:02x}.{thread:02x}" if self.multiprocess else f"{thread:02x}"

    def thread(self, text: str) -> int:
        """The number in a thread name: 0 is any, -1 all. Raises TargetError for a thread that does not exist."""
        m = re.fullmatch(r"(?:p(-?[0-9a-f]+)(?:\.(-?[0-9a-f]+))?|(-?[0-9a-f]+))", text)
        if not m:
            raise TargetError(22)
        n = int(m[3], 16) if m[3] is not None else int(m[2], 16) if m[2] is not None else -1
        if m[1] is not None and int(m[1], 16) not in (-1, 0, self.process):
            raise TargetError(22)
        if n > 0 and n not in self.target.threads():
            raise TargetError(22)
        return n

    def chosen(self, thread: int) -> int:
        return thread if thread > 0 else next(iter(self.target.threads()), 1)

    def go(self, actions: dict[int, Action], signals: dict[int, int] | None = None) -> None:
        self.running = True
        self.target.resume(actions, signals or {}, self.step_flags)


def _unescape(body: bytes) -> bytes:
    if b"}" not in body and b"*" not in body:
        return body
    out, i = bytearray(), 0
    while i < len(body):
        c = body[i]
        if c == 0x7D and i + 1 < len(body):
            out.append(body[i + 1] ^ 0x20)
            i += 2
        elif c == 0x2A and out and i + 1 < len(body):
            out += bytes((out[-1],)) * max(0, body[i + 1] - 29)
            i += 2
        else:
            out.append(c)
            i += 1
    return bytes(out)


def _escape(body: bytes) -> bytes:
    return re.sub(rb"[#$}*]", lambda m: b"}" + bytes((m[0][0] ^ 0x20,)), body)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9a-fA-F]+", text):
        raise TargetError(22)
    return int(text, 16)


def _window(data: bytes, text: str) -> bytes:
    """The part of an object that `OFFSET,LENGTH` asks for, with `m` when more follows and `l` at its end."""
    offset, length = (_number(t) for t in text.split(","))
    if offset > len(data):
        raise TargetError(0)
    part = data[offset : offset + min(length, PACKET_SIZE - 5)]
    return (b"l" if offset + len(part) >= len(data) else b"m") + part


# --- state and registers


@packet("?")
def why(s: Stub, text: str, raw: bytes) -> bytes:
    """Why did the target stop? A new debugger asks this first: breakpoints of an earlier one are forgotten."""
    s.target.clear_all_breaks()
    return s.stop_reply()


@packet("g")
def read_all(s: Stub, text: str, raw: bytes) -> bytes:
    thread = s.chosen(s.thread_g)
    return b"".join(s.target.read_register(thread, n) for n in range(s.target.description.core)).hex().encode()


@packet("G")
def write_all(s: Stub, text: str, raw: bytes) -> bytes:
    data, thread, at = bytes.fromhex(text), s.chosen(s.thread_g), 0
    table = s.target.description.numbered()
    for n in range(s.target.description.core):
        size = -(-table[n].bits // 8)
        if at + size > len(data):
            break
        s.target.write_register(thread, n, data[at : at + size])
        at += size
    return OK


@packet("p")
def read_one(s: Stub, text: str, raw: bytes) -> bytes:
    return s.target.read_register(s.chosen(s.thread_g), _number(text)).hex().encode()


@packet("P")
def write_one(s: Stub, text: str, raw: bytes) -> bytes:
    number, value = text.split("=")
    s.target.write_register(s.chosen(s.thread_g), _number(number), bytes.fromhex(value))
    return OK


# --- memory


@packet("m")
def read_memory(s: Stub, text: str, raw: bytes) -> bytes:
    address, size = (_number(t) for t in text.split(","))
    if size > PACKET_SIZE // 2:
        raise TargetError(22)
    return s.target.read_memory(s.chosen(s.thread_g), address, size, s.physical).hex().encode()


@packet("M")
def write_memory(s: Stub, text: str, raw: bytes) -> bytes:
    where, data = text.split(":")
    return _store(s, where, bytes.fromhex(data))


@packet("X")
def write_memory_binary(s: Stub, text: str, raw: bytes) -> bytes:
    where, data = raw.split(b":", 1)
    return _store(s, where.decode("latin-1"), data)


def _store(s: Stub, where: str, data: bytes) -> bytes:
    address, size = (_number(t) for t in where.split(","))
    if size != len(data):
        raise TargetError(22)
    if data:
        s.target.write_memory(s.chosen(s.thread_g), address, data, s.physical)
    return OK


# --- running


@packet("c")
def go_on(s: Stub, text: str, raw: bytes) -> None:
    _jump(s, text)
    s.go(dict.fromkeys(s.target.threads(), "continue"))


@packet("s")
def step(s: Stub, text: str, raw: bytes) -> None:
    _jump(s, text)
    s.go({s.chosen(s.thread_c): "step"})


@packet("C")
def go_on_with_signal(s: Stub, text: str, raw: bytes) -> None:
    thread = s.chosen(s.thread_c)
    s.go(dict.fromkeys(s.target.threads(), "continue"), {thread: _number(text.split(";")[0])})


@packet("S")
def step_with_signal(s: Stub, text: str, raw: bytes) -> None:
    thread = s.chosen(s.thread_c)
    s.go({thread: "step"}, {thread: _number(text.split(";")[0])})


def _jump(s: Stub, text: str) -> None:
    """`c ADDRESS` and `s ADDRESS`: set the register called pc (or eip, rip)."""
    if not text:
        return
    for n, r in s.target.description.numbered().items():
        if r.name in ("pc", "rip", "eip"):
            size = -(-r.bits // 8)
            order: Literal["little", "big"] = getattr(s.target, "endian", "little")
            s.target.write_register(s.chosen(s.thread_c), n, _number(text).to_bytes(size, order))
            return
    raise TargetError(22)


@packet("vCont?")
def resume_actions(s: Stub, text: str, raw: bytes) -> bytes:
    return b"vCont;c;C;s;S"


@packet("vCont;")
def resume(s: Stub, text: str, raw: bytes) -> bytes | None:
    """Actions from left to right; the first that names a thread holds for it."""
    actions: dict[int, Action] = {}
    signals: dict[int, int] = {}
    everyone = s.target.threads()
    for part in text.split(";"):
        what, _, who = part.partition(":")
        named: Iterable[int] = everyone
        if who:
            n = s.thread(who)
            named = everyone if n == -1 else [s.chosen(n)]
        if not what or what[0] not in "cCsS":
            raise TargetError(22)
        for t in named:
            if t not in actions:
                actions[t] = "step" if what[0] in "sS" else "continue"
                if what[0] in "CS":
                    signals[t] = _number(what[1:])
    s.go(actions, signals)
    return None


@packet("vKill")
def kill_process(s: Stub, text: str, raw: bytes) -> bytes:
    s.reply(OK)
    s.closed = True
    s.target.kill()
    return None  # type: ignore[return-value]


@packet("k")
def kill(s: Stub, text: str, raw: bytes) -> None:
    s.closed = True
    s.target.kill()


@packet("D")
def detach(s: Stub, text: str, raw: bytes) -> bytes | None:
    if text.startswith(";") and _number(text[1:]) != s.process:
        raise TargetError(22)
    s.reply(OK)
    s.closed = True
    s.target.clear_all_breaks()
    s.target.detach()
    return None


@packet("vAttach;")
def attach(s: Stub, text: str, raw: bytes) -> bytes:
    if _number(text) != s.process:
        raise TargetError(22)
    return s.stop_reply()


@packet("!")
def extended(s: Stub, text: str, raw: bytes) -> bytes:
    return OK


# --- breakpoints and watchpoints


@packet("Z")
def insert(s: Stub, text: str, raw: bytes) -> bytes:
    return _break(s, text, s.target.set_break)


@packet("z")
def remove(s: Stub, text: str, raw: bytes) -> bytes:
    return _break(s, text, s.target.clear_break)


def _break(s: Stub, text: str, act: Callable[[BreakKind, int, int], None]) -> bytes:
    kind, address, size = text.split(";")[0].split(",")
    number = _number(kind)
    if number >= len(BREAK_KINDS):
        return UNSUPPORTED
    act(BREAK_KINDS[number], _number(address), _number(size))  # type: ignore[arg-type]
    return OK


# --- threads


@packet("H")
def choose(s: Stub, text: str, raw: bytes) -> bytes:
    n = s.thread(text[1:])
    if text[0] == "g":
        s.thread_g = s.chosen(n)
    elif text[0] == "c":
        s.thread_c = n
    else:
        raise TargetError(22)
    return OK


@packet("T")
def alive(s: Stub, text: str, raw: bytes) -> bytes:
    s.thread(text)
    return OK


@packet("qC")
def current(s: Stub, text: str, raw: bytes) -> bytes:
    if text:
        return UNSUPPORTED
    return f"QC{s.name(s.chosen(s.thread_g))}".encode()


@packet("qfThreadInfo")
def first_threads(s: Stub, text: str, raw: bytes) -> bytes:
    s._list = s.target.threads()
    return more_threads(s, text, raw) or b"l"


@packet("qsThreadInfo")
def more_threads(s: Stub, text: str, raw: bytes) -> bytes | None:
    part, s._list = s._list[:100], s._list[100:]
    return ("m" + ",".join(s.name(t) for t in part)).encode() if part else b"l"


@packet("qThreadExtraInfo,")
def thread_name(s: Stub, text: str, raw: bytes) -> bytes:
    return s.target.thread_name(s.chosen(s.thread(text))).encode().hex().encode()


@packet("qAttached")
def attached(s: Stub, text: str, raw: bytes) -> bytes:
    return b"1" if getattr(s.target, "attached", True) else b"0"


# --- queries


@packet("qSupported")
def supported(s: Stub, text: str, raw: bytes) -> bytes:
    """What both sides can do."""
    theirs = set(text.lstrip(":").split(";"))
    s.multiprocess = "multiprocess+" in theirs
    s.swbreak, s.hwbreak = "swbreak+" in theirs, "hwbreak+" in theirs
    ours = [f"PacketSize={PACKET_SIZE:x}", "vContSupported+", "multiprocess+", "QStartNoAckMode+", "swbreak+", "hwbreak+"]
    if s.target.description.features:
        ours.insert(1, "qXfer:features:read+")
    for name in ("auxv", "exec-file", "siginfo"):
        if _object(s, name, "") is not None:
            ours.append(f"qXfer:{name}:read+")
    if hasattr(s.target, "catch_syscalls"):
        ours.append("QCatchSyscalls+")
    return ";".join(ours).encode()


@packet("QStartNoAckMode")
def no_ack(s: Stub, text: str, raw: bytes) -> bytes | None:
    s.reply(OK)
    s.no_ack = True
    return None


def _object(s: Stub, name: str, annex: str) -> bytes | None:
    target = s.target
    match name:
        case "features":
            xml = target.description.annex(annex)
            return None if xml is None else xml.encode()
        case "auxv" if hasattr(target, "auxv"):
            data: bytes | None = target.auxv()
            return data
        case "siginfo" if hasattr(target, "siginfo"):
            info: bytes | None = target.siginfo(s.chosen(s.thread_g))
            return info
        case "exec-file" if hasattr(target, "exec_file"):
            path: str | None = target.exec_file()
            return None if path is None else path.encode()
    return None


@packet("qXfer:")
def transfer(s: Stub, text: str, raw: bytes) -> bytes:
    name, action, annex, window = text.split(":", 3)
    if action != "read":
        return UNSUPPORTED
    data = _object(s, name, annex)
    if data is None:
        if name == "features":
            raise TargetError(0)
        return UNSUPPORTED
    return _window(data, window)


@packet("qRcmd,")
def monitor(s: Stub, text: str, raw: bytes) -> bytes:
    """`monitor ...`: the answer goes out as console output, then OK."""
    run = getattr(s.target, "monitor", None)
    if run is None:
        return UNSUPPORTED
    answer = run(bytes.fromhex(text).decode(errors="replace"))
    data = answer.encode()
    for i in range(0, len(data), PACKET_SIZE // 2 - 8):
        s.reply(b"O" + data[i : i + PACKET_SIZE // 2 - 8].hex().encode())
    return OK


@packet("qOffsets")
def offsets(s: Stub, text: str, raw: bytes) -> bytes:
    found = s.target.offsets() if hasattr(s.target, "offsets") else None
    if found is None:
        return UNSUPPORTED
    return "Text={:x};Data={:x};Bss={:x}".format(*found).encode()


@packet("QCatchSyscalls:")
def catch_syscalls(s: Stub, text: str, raw: bytes) -> bytes:
    """`QCatchSyscalls:1;NR;NR` or `:0`: stop at system calls of a user-mode process."""
    catch = getattr(s.target, "catch_syscalls", None)
    if catch is None:
        return UNSUPPORTED
    on, *numbers = text.split(";")
    catch(None if on == "0" else {_number(n) for n in numbers})
    return OK


@packet("qTStatus")
@packet("qSymbol")
@packet("vMustReplyEmpty")
def nothing(s: Stub, text: str, raw: bytes) -> bytes:
    return UNSUPPORTED


# --- the original's extensions


@packet("qqemu.sstepbits")
def step_bits(s: Stub, text: str, raw: bytes) -> bytes:
    return b"ENABLE=1,NOIRQ=2,NOTIMER=4"


@packet("qqemu.sstep")
def step_mode(s: Stub, text: str, raw: bytes) -> bytes:
    return b"0x%x" % s.step_flags


@packet("Qqemu.sstep=")
def set_step_mode(s: Stub, text: str, raw: bytes) -> bytes:
    flags = int(text, 16)
    if flags & ~7:
        raise TargetError(22)
    s.step_flags = flags
    return OK


@packet("qqemu.PhyMemMode")
def physical_mode(s: Stub, text: str, raw: bytes) -> bytes:
    return b"%d" % s.physical


@packet("Qqemu.PhyMemMode:")
def set_physical_mode(s: Stub, text: str, raw: bytes) -> bytes:
    s.physical = text not in ("0", "00")
    return OK


@packet("qqemu.Supported")
def extensions(s: Stub, text: str, raw: bytes) -> bytes:
    return b"sstepbits;sstep;PhyMemMode"
