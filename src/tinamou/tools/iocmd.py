"""The commands of `tinamou-io`. A command is a function with `@command(name, syntax, summary, options)`."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable

from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph
from tinamou.block.node import Format, Node, Settings, status
from tinamou.block.notation import Any
from tinamou.block.options import nest, parse_opts, parse_size
from tinamou.tools.cli import complain, explain

MAX_REQUEST = 2147483136


class Failure(Exception):
    """A command could not be done; the text goes to stdout, as it always did."""


class Command:
    """One command: `letters` are its option letters, with a colon after those that take a value."""

    def __init__(self, run: Callable[..., None], name: str, syntax: str, summary: str, letters: str, low: int, high: int) -> None:
        self.run, self.name, self.syntax, self.summary, self.letters = run, name, syntax, summary, letters
        self.low, self.high = low, high

    def line(self) -> str:
        syntax = f" {self.syntax}" if self.syntax else ""
        return f"{self.name}{syntax} -- {self.summary}"


COMMANDS: dict[str, Command] = {}
ALIASES = {"q": "quit", "r": "read", "w": "write", "rv": "readv", "wv": "writev", "f": "flush", "l": "length", "i": "info",
           "d": "discard", "t": "truncate", "m": "map", "c": "close", "o": "open", "?": "help"}  # fmt: skip


def command(
    name: str, syntax: str, summary: str, letters: str = "", low: int = 0, high: int = 0, needs_file: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command; `low` and `high` bound the number of arguments (high -1: any)."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[name] = Command(function, name, syntax, summary, letters, low, high)
        COMMANDS[name].needs_file = needs_file  # type: ignore[attr-defined]
        return function

    return register


def number(text: str) -> int:
    """An offset or length: bytes with suffix."""
    try:
        value = parse_size(text)
    except OverflowError:
        value = 1 << 64
    except ValueError:
        raise Failure(f"Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}") from None
    if value >= 1 << 63:
        raise Failure(f"Parsing error: argument too large -- {text}")
    return value


def amount(n: float) -> str:
    """`64 KiB`, `1.125 MiB`: three decimals unless they are zero."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    i = 0
    while i < 6 and n >= 1024 ** (i + 1):
        i += 1
    text = f"{n / 1024**i:.3f}"
    return f"{text.removesuffix('.000')} {units[i]}"


def pattern_byte(text: str) -> int:
    try:
        value = int(text, 0) if len(text) < 20 else -1
    except ValueError:
        value = -1
    if not 0 <= value <= 255:
        raise Failure(f"{text} is not a valid pattern byte")
    return value


def report(verb: str, began: float, offset: int, wanted: int, total: int, ops: int, machine: bool) -> str:
    """The statistics after a request."""
    seconds = max(time.monotonic() - began, 1e-9)
    rate, per = total / seconds, ops / seconds
    whole = int(seconds)
    hundredths = int(seconds * 100) % 100
    if machine:
        clock = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}.{hundredths:02}"
        return f"{total},{ops},{clock},{rate:.3f},{per:.3f}"
    if whole >= 60:
        clock = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}.{hundredths:02}"
    else:
        clock = f"{whole:02}.{hundredths:02} sec"
    return (
        f"{verb} {total}/{wanted} bytes at offset {offset}\n{amount(total)}, {ops} ops; {clock} ({amount(rate)}/sec and {per:.4f} ops/sec)"
    )


def dump(data: bytes, offset: int) -> str:
    """Sixteen bytes per line: position, hexadecimal, printable characters."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{offset + at:08x}:  {' '.join(f'{b:02x}' for b in row)}  {text}")
    return "\n".join(lines)


class Pending:
    """An asynchronous request; its report is printed when it ends."""

    def __init__(self, work: Callable[[], str]) -> None:
        self.done = threading.Event()
        self.work = work
        self.thread = threading.Thread(target=self._go, daemon=True)
        self.thread.start()

    def _go(self) -> None:
        try:
            text = self.work()
        except (BlockError, OSError) as error:
            text = f"failed: {explain(error)[0]}"
        if text:
            print(text, flush=True)
        self.done.set()


class Session:
    """An open disk and the requests under way."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node: Node | None = None
        self.done = False
        self.pending: list[Pending] = []
        self.temporary: list[str] = []
        self.opened: tuple[Any, ...] = ()

    def open(
        self, name: str | None, options: dict[str, Any], settings: Settings, snapshot: bool = False, copy_on_read: bool = False
    ) -> None:
        if self.node is not None:
            raise BlockError(ALREADY_OPEN)
        self.opened = (name, options, settings, snapshot, copy_on_read)
        if snapshot:
            node = self.graph.open_options(dict(options), settings.replace(write=False), name)
            node = self._overlay(node, name)
        else:
            node = self.graph.open_options(dict(options), settings, name)
            if settings.write and node.driver == "raw" and node.probed and name is not None:
                from tinamou.tools.imgcmd import warn_raw

                warn_raw(name)
        if copy_on_read:
            node = self.graph.open_options({"driver": "copy-on-read", "file": node.name}, settings)
        self.node = node

    def _overlay(self, node: Node, name: str | None) -> Node:
        import tempfile

        from tinamou.block.graph import create, create_class

        fd, path = tempfile.mkstemp(prefix="tinamou-io-", suffix=".qcow2")
        os.close(fd)
        self.temporary.append(path)
        create(self.graph, path, "qcow2", create_class("qcow2", path)({"size": node.size}))
        return self.graph.open_options(
            {"driver": "qcow2", "file": {"driver": "file", "filename": path}, "backing": node.name}, Settings(write=True)
        )

    def finish(self) -> None:
        """Wait for requests, close, remove temporary files."""
        for request in self.pending:
            request.done.wait()
        self.pending.clear()
        if self.node is not None:
            node, self.node = self.node, None
            try:
                self.graph.close_node(node)
            finally:
                self._remove()

    def _remove(self) -> None:
        for path in self.temporary:
            try:
                os.unlink(path)
            except OSError:
                pass
        self.temporary.clear()

    def execute(self, line: str) -> bool:
        """Carry out one line; False when it failed."""
        try:
            words = shlex.split(line)
        except ValueError:
            words = line.split()
        if not words:
            return True
        name = ALIASES.get(words[0], words[0])
        found = COMMANDS.get(name)
        if found is None:
            print(f'command "{words[0]}" not found', file=sys.stderr, flush=True)
            return False
        if self.node is None and found.needs_file:  # type: ignore[attr-defined]
            print("no file open, try 'help open'", file=sys.stderr, flush=True)
            return False
        try:
            given = len(words) - 1  # letters count, too
            if given < found.low or (not found.letters and 0 <= found.high < given):
                print(self._count_text(found, given), file=sys.stderr, flush=True)
                return False
            options, arguments = self._letters(found, words[1:])
            if 0 <= found.high < len(arguments) or (len(arguments) < found.low and name != "open"):
                raise Failure(found.line())
            if self.node is not None and name in WRITING and self.node.read_only:
                sys.stdout.flush()
                complain("Block node is read-only")
                return False
            found.run(self, options, arguments)
        except Failure as error:
            if str(error):
                print(error, flush=True)
            return False
        except (BlockError, OSError) as error:
            message, hints = explain(error)
            sys.stdout.flush()
            complain(message, *hints)
            return False
        sys.stdout.flush()
        return True

    @staticmethod
    def _count_text(found: Command, given: int) -> str:
        if found.letters or found.high < 0:
            return f"bad argument count {given} to {found.name}, expected at least {found.low} arguments"
        if found.low == found.high:
            return f"bad argument count {given} to {found.name}, expected {found.low} arguments"
        return f"bad argument count {given} to {found.name}, expected between {found.low} and {found.high} arguments"

    @staticmethod
    def _letters(found: Command, words: list[str]) -> tuple[dict[str, str], list[str]]:
        options: dict[str, str] = {}
        arguments: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                arguments += rest
                break
            if word.startswith("-") and len(word) > 1:
                letters = word[1:]
                while letters:
                    letter, letters = letters[0], letters[1:]
                    at = found.letters.find(letter)
                    if at < 0 or letter == ":":
                        print(f"{found.name}: invalid option -- '{letter}'", file=sys.stderr)
                        raise Failure(found.line())
                    options[letter] = ""
                    if found.letters[at + 1 : at + 2] == ":":
                        if not letters and not rest:
                            print(f"{found.name}: option requires an argument -- '{letter}'", file=sys.stderr)
                            raise Failure(found.line())
                        options[letter], letters = letters or rest.pop(0), ""
            else:
                arguments.append(word)
        return options, arguments

    @property
    def disk(self) -> Node:
        assert self.node is not None
        return self.node

    def inside(self, offset: int, length: int, verb: str) -> None:
        if offset + length > self.disk.size:
            raise Failure(f"{verb} failed: Input/output error")

    def after_write(self) -> None:
        if self.disk.settings.writethrough:
            self.disk.flush()


ALREADY_OPEN = "file open already, try 'help close'"
WRITING = {"write", "writev", "aio_write", "discard", "truncate"}


def span(arguments: list[str]) -> tuple[int, int]:
    offset, length = number(arguments[0]), number(arguments[1])
    if length > MAX_REQUEST:
        raise Failure(f"length cannot exceed {MAX_REQUEST}, given {arguments[1]}")
    return offset, length


def failed(verb: str, error: Exception) -> Failure:
    return Failure(f"{verb} failed: {explain(error)[0]}")


def verify(data: bytes, pattern: int, start: int, length: int, offset: int) -> str:
    """Empty when the bytes from `start` on are all `pattern`; `data` was read at `offset`."""
    part = data[start : start + length]
    if part.count(pattern) == len(part):
        return ""
    return f"Pattern verification failed at offset {offset + start}, {length} bytes"


@command("read", "[-abCqv] [-P pattern [-s off] [-l len]] off len", "reads a number of bytes at a specified offset",
         "abCl:pP:qs:v", 2, 2)  # fmt: skip
def read(s: Session, o: dict[str, str], a: list[str]) -> None:
    """-P checks the bytes (from -s, -l bytes), -v shows them, -b reads the saved machine state."""
    pattern = pattern_byte(o["P"]) if "P" in o else None
    if ("s" in o or "l" in o) and pattern is None:
        raise Failure(COMMANDS["read"].line())
    offset, length = span(a)
    start = number(o["s"]) if "s" in o else 0
    count = number(o["l"]) if "l" in o else length - start
    if start + count > length or count < 0:
        raise Failure("pattern verification range exceeds end of read data")
    began = time.monotonic()
    data = _read(s, offset, length, "b" in o)
    problem = verify(data, pattern, start, count, offset) if pattern is not None else ""
    if problem:
        print(problem)
    _shown(s, o, "read", began, offset, data)
    if problem:
        raise Failure("")


def _read(s: Session, offset: int, length: int, vm_state: bool = False) -> bytes:
    data = bytearray(length)
    try:
        if vm_state:
            reader = getattr(s.disk, "read_vm_state", None)
            if reader is None:
                raise OSError(95, os.strerror(95))
            reader(offset, memoryview(data))
        else:
            s.inside(offset, length, "read")
            s.disk.read_into(offset, memoryview(data))
    except (BlockError, OSError) as error:
        raise failed("read", error) from None
    return bytes(data)


def _shown(s: Session, o: dict[str, str], verb: str, began: float, offset: int, data: bytes) -> None:
    line = report(verb, began, offset, len(data), len(data), 1, "C" in o)
    if "q" in o:
        return
    if "v" in o:
        print(dump(data, offset))
    print(line)


@command("readv", "[-Cqv] [-P pattern] off len [len..]", "reads a number of bytes at a specified offset", "CP:qv", 2, -1)
def readv(s: Session, o: dict[str, str], a: list[str]) -> None:
    """As read, into several buffers."""
    pattern = pattern_byte(o["P"]) if "P" in o else None
    offset, length = number(a[0]), vector(a[1:])
    began = time.monotonic()
    data = _read(s, offset, length)
    problem = verify(data, pattern, 0, length, offset) if pattern is not None else ""
    if problem:
        print(problem)
    _shown(s, o, "read", began, offset, data)
    if problem:
        raise Failure("")


def vector(words: list[str]) -> int:
    total = 0
    for word in words:
        n = number(word)
        if n > MAX_REQUEST:
            raise Failure(f"Argument '{word}' exceeds maximum size {MAX_REQUEST}")
        total += n
        if total > MAX_REQUEST:
            raise Failure(f"The total number of bytes exceed the maximum size {MAX_REQUEST}")
    return total


@command("write", "[-bcCfnquz] [-P pattern | -s source_file] off len", "writes a number of bytes at a specified offset",
         "bcCfnpP:qs:uz", 2, 2)  # fmt: skip
def write(s: Session, o: dict[str, str], a: list[str]) -> None:
    """-P the byte to write (0xcd), -s a file to take bytes from, -z zeroes (-u may unmap), -c compressed, -f flushed."""
    if "b" in o and "z" in o:
        raise Failure("-b and -z cannot be specified at the same time")
    if "b" in o and "c" in o:
        raise Failure("-b and -c cannot be specified at the same time")
    if "f" in o and ("b" in o or "c" in o):
        raise Failure("-f and -b or -c cannot be specified at the same time")
    if "n" in o and "z" not in o:
        raise Failure("-n requires -z to be specified")
    if "u" in o and "z" not in o:
        raise Failure("-u requires -z to be specified")
    if sum(letter in o for letter in "zPs") > 1:
        raise Failure("Only one of -z, -P, and -s can be specified at the same time")
    offset, length = number(a[0]), number(a[1])
    if length > MAX_REQUEST and "n" not in o:
        raise Failure(f"length cannot exceed {MAX_REQUEST} without -n, given {a[1]}")
    if "b" in o or "c" in o:
        for value, what in ((offset, "offset"), (length, "bytes")):
            if value % 512:
                raise Failure(f"{value} is not a sector-aligned value for '{what}'")
    pattern = pattern_byte(o["P"]) if "P" in o else 0xCD
    source = _pattern_file(o["s"], length) if "s" in o else None
    began = time.monotonic()
    try:
        if "b" in o:
            writer = getattr(s.disk, "write_vm_state", None)
            if writer is None:
                raise OSError(95, os.strerror(95))
            writer(offset, source or bytes([pattern]) * length)
        else:
            s.inside(offset, length, "write")
            if "z" in o:
                s.disk.write_zeroes(offset, length, "u" in o)
            elif "c" in o:
                _write_compressed(s, offset, source or bytes([pattern]) * length)
            else:
                s.disk.write(offset, source or bytes([pattern]) * length)
            if "f" in o:
                s.disk.flush()
        s.after_write()
    except (BlockError, OSError) as error:
        raise failed("write", error) from None
    if "q" not in o:
        print(report("wrote", began, offset, length, length, 1, "C" in o))


def _write_compressed(s: Session, offset: int, data: bytes) -> None:
    from tinamou.block.filters.compress import write_compressed

    node = s.disk
    while node.below is not None:
        node = node.below
    if not isinstance(node, Format) or not node.compression:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    unit = node.cluster_size or 512
    if offset % unit or (len(data) % unit and offset + len(data) != node.size):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    write_compressed(node, offset, memoryview(data))


def _pattern_file(name: str, length: int) -> bytes:
    try:
        with open(name, "rb") as file:
            data = file.read(length)
    except OSError as error:
        print(f"{name}: {error.strerror}", file=sys.stderr, flush=True)
        raise Failure("") from None
    if not data:
        raise Failure(f"{name}: file is empty")
    return (data * (length // len(data) + 1))[:length]


@command("writev", "[-Cfq] [-P pattern] off len [len..]", "writes a number of bytes at a specified offset", "CfP:q", 2, -1)
def writev(s: Session, o: dict[str, str], a: list[str]) -> None:
    """As write, from several buffers."""
    pattern = pattern_byte(o["P"]) if "P" in o else 0xCD
    offset, length = number(a[0]), vector(a[1:])
    began = time.monotonic()
    try:
        s.inside(offset, length, "writev")
        s.disk.writev(offset, [bytes([pattern]) * number(word) for word in a[1:]])
        if "f" in o:
            s.disk.flush()
        s.after_write()
    except (BlockError, OSError) as error:
        raise failed("writev", error) from None
    if "q" not in o:
        print(report("wrote", began, offset, length, length, 1, "C" in o))


@command("aio_read", "[-Ciqv] [-P pattern] off len [len..]", "asynchronously reads a number of bytes", "CiP:qv", 2, -1)
def aio_read(s: Session, o: dict[str, str], a: list[str]) -> None:
    """As readv, without waiting; see aio_flush."""
    pattern = pattern_byte(o["P"]) if "P" in o else None
    offset, length = number(a[0]), vector(a[1:])
    if "i" in o:
        return
    began = time.monotonic()

    def work() -> str:
        if offset + length > s.disk.size:
            return "aio_read failed: Input/output error"
        data = bytearray(length)
        try:
            s.disk.read_into(offset, memoryview(data))
        except (BlockError, OSError) as error:
            return f"aio_read failed: {explain(error)[0]}"
        lines = [verify(bytes(data), pattern, 0, length, offset)] if pattern is not None else []
        if "q" not in o:
            lines += [dump(bytes(data), offset)] if "v" in o else []
            lines.append(report("read", began, offset, length, length, 1, "C" in o))
        return "\n".join(line for line in lines if line)

    s.pending.append(Pending(work))


@command("aio_write", "[-Cfiquz] [-P pattern] off len [len..]", "asynchronously writes a number of bytes", "CfiP:quz", 2, -1)
def aio_write(s: Session, o: dict[str, str], a: list[str]) -> None:
    """As writev, without waiting; see aio_flush."""
    if "u" in o and "z" not in o:
        raise Failure("-u requires -z to be specified")
    if "z" in o and "P" in o:
        raise Failure("-z and -P cannot be specified at the same time")
    if "z" in o and len(a) != 2:
        raise Failure("-z supports only a single length parameter")
    pattern = pattern_byte(o["P"]) if "P" in o else 0xCD
    offset, length = number(a[0]), vector(a[1:])
    if "i" in o:
        return
    began = time.monotonic()

    def work() -> str:
        if offset + length > s.disk.size:
            return "aio_write failed: Input/output error"
        try:
            if "z" in o:
                s.disk.write_zeroes(offset, length, "u" in o)
            else:
                s.disk.write(offset, bytes([pattern]) * length)
            if "f" in o:
                s.disk.flush()
        except (BlockError, OSError) as error:
            return f"aio_write failed: {explain(error)[0]}"
        return "" if "q" in o else report("wrote", began, offset, length, length, 1, "C" in o)

    s.pending.append(Pending(work))


@command("aio_flush", "", "completes all outstanding aio requests")
def aio_flush(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Wait for all asynchronous requests."""
    for request in s.pending:
        request.done.wait()
    s.pending.clear()


@command("flush", "", "flush all in-core file state to disk")
def flush(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Data and metadata reach stable storage."""
    s.disk.flush()


@command("discard", "[-Cq] off len", "discards a number of bytes at a specified offset", "Cq", 2, 2)
def discard(s: Session, o: dict[str, str], a: list[str]) -> None:
    """The contents of the range are no longer needed."""
    offset, length = span(a)
    began = time.monotonic()
    s.inside(offset, length, "discard")
    try:
        if s.disk.settings.discard == "unmap" or s.disk.driver != "raw":
            s.disk.discard(offset, length)
    except (BlockError, OSError) as error:
        raise failed("discard", error) from None
    if "q" not in o:
        print(report("discard", began, offset, length, length, 1, "C" in o))


@command("length", "", "gets the length of the current file")
def length_(s: Session, o: dict[str, str], a: list[str]) -> None:
    """The disk's size."""
    print(amount(s.disk.size))


@command("truncate", "[-m prealloc_mode] off", "truncates the current file at the given offset", "m:", 1, 1)
def truncate(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Set the disk's size; -m off, metadata, falloc or full."""
    mode = o.get("m", "off")
    if mode not in ("off", "metadata", "falloc", "full"):
        raise BlockError(f"Invalid preallocation mode '{mode}'")
    s.disk.resize(-(-number(a[0]) // 512) * 512, mode)


@command("info", "", "prints information about the current file")
def info(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Format, cluster size and what the format adds."""
    from tinamou.tools.imgcmd.info import describe_value

    node = s.disk
    print(f"format name: {node.driver}")
    cluster = node.cluster_size if isinstance(node, Format) else 0
    print(f"cluster size: {amount(cluster)}")
    print(f"vm state offset: {amount(getattr(node, 'vm_state_offset', 0))}")
    specific = node.info()
    if specific:
        print("Format specific information:")
        print("\n".join(describe_value(specific, 1)))


@command("map", "", "prints the allocated areas of a file")
def map_(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Which parts this image itself holds."""
    pos = 0
    size = s.disk.size
    while pos < size:
        allocated, n = _allocated(s.disk, pos, size - pos)
        what = "    allocated" if allocated else "not allocated"
        print(f"{amount(n)} ({n:#x}) bytes {what} at offset {amount(pos)} ({pos:#x})")
        pos += n


def _allocated(node: Node, pos: int, want: int) -> tuple[bool, int]:
    """Whether this layer holds the bytes from `pos` on, and for how long."""
    while node.below is not None:
        node = node.below
    backing = node.children.get("backing")
    first: bool | None = None
    total = 0
    while total < want:
        found = status(node, pos + total, want - total, until=backing)
        here = (found.present or found.data) and found.depth == 0
        if node.driver == "raw":
            here = True
        if first is None:
            first = here
        elif here != first:
            break
        total += found.length
    return bool(first), min(total, want)


@command("alloc", "offset [count]", "checks if offset is allocated in the file", "", 1, 2)
def alloc(s: Session, o: dict[str, str], a: list[str]) -> None:
    """How many of `count` bytes (512) from `offset` on this image holds."""
    start = number(a[0])
    count = number(a[1]) if len(a) > 1 else 512
    count = max(0, min(count, s.disk.size - start))
    total = 0
    pos = start
    while pos < min(start + count, s.disk.size):
        here, n = _allocated(s.disk, pos, start + count - pos)
        total += n if here else 0
        pos += n
    print(f"{total}/{count} bytes allocated at offset {amount(start)}")


@command("open", "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path",
         "rsCnkUi:t:d:o:", 1, 1, needs_file=False)  # fmt: skip
def open_(s: Session, o: dict[str, str], a: list[str]) -> None:
    """-r reading only, -s temporary overlay, -C copy on read, -n O_DIRECT, -U no locks, -o options of the driver."""
    from tinamou.tools.imgcmd import CACHE_MODES

    if s.node is not None:
        raise BlockError(ALREADY_OPEN)
    settings = Settings(write="r" not in o, force_share="U" in o, direct="n" in o)
    if "t" in o:
        if o["t"] not in CACHE_MODES:
            raise BlockError(f"Invalid cache option: {o['t']}")
        settings = settings.replace(**CACHE_MODES[o["t"]])
    if "d" in o:
        settings = settings.replace(discard="unmap" if o["d"] in ("unmap", "on") else "ignore")
    options = nest(parse_opts(o["o"], "driver")) if "o" in o else {}
    if not a and not options:
        raise Failure(COMMANDS["open"].line())
    try:
        s.open(a[0] if a else None, options, settings, "s" in o, "C" in o)
    except BlockError as error:
        where = f" {a[0]}" if a else ""
        raise BlockError(f"can't open{' device' if a else ''}{where}: {error.message}", *error.hints) from None


@command("close", "", "close the current open file")
def close(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Write everything and let go."""
    s.finish()


@command("reopen", "[(-r|-w)] [-c cache] [-o options]", "reopens an image with new options", "rwc:o:", 0, 0)
def reopen(s: Session, o: dict[str, str], a: list[str]) -> None:
    """-r reading only, -w reading and writing, -c cache mode, -o options of the driver."""
    from tinamou.tools.imgcmd import CACHE_MODES

    if "r" in o and "w" in o:
        raise Failure("Only one -r/-c/-w option can be given")
    name, options, settings, snapshot, copy_on_read = s.opened
    if "c" in o:
        if o["c"] not in CACHE_MODES:
            raise BlockError(f"Invalid cache option: {o['c']}")
        settings = settings.replace(direct=False, no_flush=False, writethrough=False)
        settings = settings.replace(**CACHE_MODES[o["c"]])
    if "r" in o or "w" in o:
        settings = settings.replace(write="w" in o)
    extra = nest(parse_opts(o["o"])) if "o" in o else {}
    options = {**options, **extra}
    if "driver" not in options and s.node is not None:
        options["driver"] = s.node.driver
    s.finish()
    s.open(name, options, settings, snapshot, copy_on_read)


def _debugger(s: Session, what: str = "set breakpoint") -> Any:
    """The blkdebug node of the open disk."""
    waiting: list[Node] = [s.disk]
    while waiting:
        node = waiting.pop()
        if node.driver == "blkdebug":
            return node
        waiting += node.children.values()
    raise Failure(f"Could not {what}: Operation not supported")


@command("break", "event tag", "sets a breakpoint on event and tags the stopped request as tag", "", 2, 2)
def break_(s: Session, o: dict[str, str], a: list[str]) -> None:
    """The next request that reaches the event stops there."""
    try:
        _debugger(s).set_break(a[0], a[1])
    except OSError as error:
        raise Failure(f"Could not set breakpoint: {explain(error)[0]}") from None


@command("remove_break", "tag", "remove a breakpoint by tag", "", 1, 1)
def remove_break(s: Session, o: dict[str, str], a: list[str]) -> None:
    """A request stopped there goes on."""
    if not _debugger(s, f"remove breakpoint {a[0]}").remove_break(a[0]):
        raise Failure(f"Could not remove breakpoint {a[0]}: No such file or directory")


@command("resume", "tag", "resumes the request tagged as tag", "", 1, 1)
def resume(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Let a stopped request go on."""
    if not _debugger(s, "resume request").resume(a[0]):
        raise Failure("Could not resume request: No such file or directory")


@command("wait_break", "tag", "waits for the suspension of a request", "", 1, 1)
def wait_break(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Wait until a request has stopped at the breakpoint."""
    _debugger(s).wait_break(a[0])


@command("sleep", "", "waits for the given value in milliseconds", "", 1, 1)
def sleep(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Do nothing for a while."""
    if not a[0].isdigit():
        raise Failure(f"{a[0]} is not a valid number")
    time.sleep(min(int(a[0][:12]), 10**9) / 1000)


@command("sigraise", "signal", "raises a signal", "", 1, 1, needs_file=False)
def sigraise(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Send this process a signal, by number."""
    if not a[0].isdigit() or not 0 < int(a[0][:6]) < 65:
        raise Failure(f"{a[0]} is not a valid signal number")
    sys.stdout.flush()
    os.kill(os.getpid(), int(a[0]))


@command("abort", "", "simulate a program crash using abort(3)", needs_file=False)
def abort(s: Session, o: dict[str, str], a: list[str]) -> None:
    """End at once, as after a crash."""
    sys.stdout.flush()
    os.abort()


@command("quit", "", "exit the program", needs_file=False)
def quit_(s: Session, o: dict[str, str], a: list[str]) -> None:
    """Close and end."""
    s.done = True


@command("help", "[command]", "help for one or all commands", "", 0, 1, needs_file=False)
def help_(s: Session, o: dict[str, str], a: list[str]) -> None:
    """This list, or one command's letters."""
    if a:
        found = COMMANDS.get(ALIASES.get(a[0], a[0]))
        if found is None:
            raise Failure(f"command {a[0]} not found")
        print(found.line())
        print(f"\n {' '.join((found.run.__doc__ or '').split())}\n")
        return
    for name in sorted(COMMANDS):
        print(COMMANDS[name].line())
    print("\nUse 'help commandname' for extended help.")


__all__ = ["COMMANDS", "Session"]
