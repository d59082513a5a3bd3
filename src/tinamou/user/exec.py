"""Programs and processes: the first start, execve in process, fork, clone."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

from . import elf, signals
from .auxv import build_stack
from .errors import GuestFault, LoadError
from .host import native
from .layout import i32, layout_of
from .memory import EXEC, READ, WRITE
from .signals import SIG_DFL, SIG_IGN, Action, Stack
from .thread import NoResult, Thread, ThreadExit

if TYPE_CHECKING:
    from .process import Process

__all__ = ["clone", "execve", "start"]

CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_VFORK, CLONE_THREAD = 0x100, 0x200, 0x400, 0x800, 0x4000, 0x10000
CLONE_SYSVSEM, CLONE_SETTLS, CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID = 0x40000, 0x80000, 0x100000, 0x200000
CLONE_DETACHED, CLONE_CHILD_SETTID, CLONE_IO, CLONE_PTRACE, CLONE_UNTRACED = 0x400000, 0x1000000, 1 << 31, 0x2000, 0x800000
THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
ADDRESSES = CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID
OPTIONAL_THREAD = ADDRESSES | CLONE_DETACHED | CLONE_IO | CLONE_PTRACE | CLONE_UNTRACED
OPTIONAL_FORK = OPTIONAL_THREAD & ~CLONE_DETACHED
SIGCHLD = 17
MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 2, 0x10, 0x20, 0x4000
PAGE = 4096
GAP = 1 << 20  # between the stack's lowest page and the highest mapping
BINPRM = 256  # of a script's first line that is looked at
SCRIPTS = 5  # interpreters of interpreters


class Program:
    """A program ready to be loaded: headers checked, arguments known.

    name     of the file as AT_EXECFN gives it
    """

    def __init__(
        self, header: elf.Header, interpreter: elf.Header | None, name: bytes, arguments: list[bytes], environment: list[bytes]
    ) -> None:
        self.header, self.interpreter, self.name = header, interpreter, name
        self.arguments, self.environment = arguments, environment

    def close(self) -> None:
        os.close(self.header.fd)
        if self.interpreter:
            os.close(self.interpreter.fd)


def prepare(process: Process, fd: int, name: bytes, arguments: list[bytes], environment: list[bytes]) -> Program:
    """Check an ELF file for this guest; takes over the descriptor.  Raises LoadError."""
    try:
        header = elf.Header(process.abi, fd, os.fsdecode(name))
        interpreter = elf.interpreter_of(process, header)
    except BaseException:
        os.close(fd)
        raise
    return Program(header, interpreter, name, arguments, environment)


def load(process: Process, program: Program) -> tuple[int, int]:
    """Fill the empty address space: entry point and stack pointer.  Raises LoadError."""
    abi, memory = process.abi, process.memory
    process.image = None
    top = memory.limit - (1 << 16) if abi.bits == 32 else memory.limit - PAGE
    size = min(-(-process.options.stack_size // PAGE) * PAGE, memory.limit // 4)
    try:
        prot = READ | WRITE | (EXEC if program.header.executable_stack else 0)
        memory.map(top - size, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, name="[stack]")
        memory.top = memory._hint = top - size - GAP
        base = memory.limit // 3 * 2 & -PAGE if program.header.position_independent else None
        starts = program.interpreter or program.header  # a dynamic loader sees to the rest itself
        image = elf.load(memory, program.header, base, partial(abi.protection, process, program.header, starts is program.header))
        if program.interpreter:
            loader = elf.load(memory, program.interpreter, None, partial(abi.protection, process, program.interpreter, True))
            image.start, image.base = loader.entry, loader.bias
        page = memory.map(0, PAGE, READ | WRITE, MAP_PRIVATE | MAP_ANONYMOUS, name="[vdso]")
        memory.write(page, abi.trampoline)
        memory.protect(page, PAGE, READ | EXEC)
    except OSError as error:
        number = error.errno or errno.EIO
        raise LoadError(f"{os.fsdecode(program.name)}: Error mapping file: {os.strerror(number)}", number) from None
    process.sigreturn = page
    memory.heap = memory.heap_end = image.brk
    process.image = image
    process.exe = os.path.realpath(b"/proc/self/fd/%d" % program.header.fd)
    process.arguments, process.environment = program.arguments, program.environment
    if process.engine is not None:
        process.open_code_cache()
    try:
        return image.start, build_stack(process, image, top, program.name)
    except GuestFault:
        raise LoadError(f"Error while loading {os.fsdecode(program.name)}: {os.strerror(errno.E2BIG)}", errno.E2BIG) from None


def start(process: Process, path: bytes, arguments: list[bytes], environment: list[bytes]) -> Thread:
    """Load the first program: its thread, ready to run.  Raises LoadError."""
    try:
        fd = elf.open_program(path)
    except OSError as error:
        number = error.errno or errno.EIO
        raise LoadError(f"Error while loading {os.fsdecode(path)}: {os.strerror(number)}", -number) from None
    program = prepare(process, fd, path, arguments, environment)
    entry, sp = load(process, program)
    if program.header.missing > 0:
        process.complain(f"warning: {os.fsdecode(path)} is cut short, {program.header.missing} bytes of its code or data are missing")
    program.close()
    if "page" in process.options.log_items:
        log_layout(process)
    native.set_name(os.path.basename(path)[:15])
    t = Thread(process, process.vcpu())
    process.abi.start(t.cpu, entry, sp)
    return t


def log_layout(process: Process) -> None:
    """What `-d page` shows of a program just loaded."""
    image, word = process.image, process.abi.bits // 8
    assert image is not None
    digits = process.abi.bits // 4
    lines = ["page layout changed following binary load", *process.memory.layout_text(digits)]
    loads = image.header.loads
    code, data = [s for s in loads if s.flags & elf.PF_X], [s for s in loads if s.flags & elf.PF_W]
    sp, bias = process.stack_start, image.bias
    arguments = sp + word
    environment = arguments + word * (len(process.arguments) + 1)
    facts = {
        "start_brk": process.memory.heap,
        "end_code": max((s.vaddr + s.filesz for s in code), default=-bias) + bias,
        "start_code": min((s.vaddr for s in code), default=-bias) + bias,
        "start_data": min((s.vaddr for s in data), default=-bias) + bias,
        "end_data": max((s.vaddr + s.filesz for s in data), default=-bias) + bias,
        "start_stack": sp,
        "brk": process.memory.heap_end,
        "entry": image.entry,
        "argv_start": arguments,
        "env_start": environment,
        "auxv_start": environment + word * (len(process.environment) + 1),
    }
    lines += [f"{name:<11} 0x{value:0{digits}x}" for name, value in facts.items()]
    process.log("page", "\n".join(lines))


# ---------------------------------------------------------------------------------------------------------------- execve


def execve(t: Thread, path: bytes, name: bytes, arguments: list[bytes], environment: list[bytes]) -> int:
    """Replace the program.  `path` is the host's file, `name` what the guest called it.  Raises OSError, or NoResult when done.

    A program for the guest is loaded in process; anything else is a real execve of the host.
    """
    process = t.process
    total = sum(len(s) + 1 + t.abi.bits // 8 for s in (*arguments, *environment))
    if total > process.options.stack_size // 4 or any(len(s) >= 32 * PAGE for s in (*arguments, *environment)):
        raise OSError(errno.E2BIG, "arguments")
    if path in (b"/proc/self/exe", b"/proc/thread-self/exe", b"/proc/%d/exe" % os.getpid()):
        path = process.exe
    for _ in range(SCRIPTS):
        fd = elf.open_program(path)
        line = os.pread(fd, BINPRM, 0)
        if line[:2] != b"#!":
            break
        os.close(fd)
        words = line[2:].split(b"\n")[0].strip(b" \t").split(None, 1)
        if not words:
            raise OSError(errno.ENOEXEC, "script without interpreter")
        arguments = [words[0], *(w.rstrip(b" \t") for w in words[1:]), name, *arguments[1:]]
        name = words[0]
        path = process.path(name)
    else:
        raise OSError(errno.ELOOP, "scripts")
    if not _is_ours(t, line):
        os.close(fd)
        return _host_execve(t, path, arguments, environment)
    try:
        program = prepare(process, fd, name, arguments, environment)
    except LoadError as error:
        raise OSError(error.errno, str(error)) from None
    process.stop_others(t)
    if t.tid != os.getpid():  # the leader's host thread goes on with the new program, as if it were this one
        mask, queue = t.mask, t.queue

        def job() -> Thread:
            new = Thread(process, process.vcpu())
            new.mask, new.queue = mask, queue
            new.attach()
            _replace(new, program)
            return new

        t.clear_child_tid = t.robust_list = 0
        process.hand_over(job)
        raise ThreadExit(0)
    _replace(t, program)
    raise NoResult


def _is_ours(t: Thread, start: bytes) -> bool:
    abi = t.abi
    if start[:4] != b"\x7fELF" or len(start) < 20:
        return False
    machine = int.from_bytes(start[18:20], "little" if start[5] == 1 else "big")
    return start[4] == abi.bits // 32 and start[5] == (1 if abi.order == "<" else 2) and machine == abi.machine


def _host_execve(t: Thread, path: bytes, arguments: list[bytes], environment: list[bytes]) -> int:
    """The host runs it, with everything as the guest's kernel would leave it."""
    vectors = [(ctypes.c_char_p * (len(strings) + 1))(*strings, None) for strings in (arguments, environment)]
    return t.host("execve", path, *vectors)


def _replace(t: Thread, program: Program) -> None:
    """Load the new program into the only thread; there is no way back."""
    process = t.process
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd not in process.private_fds and fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                if fd not in (program.header.fd, program.interpreter.fd if program.interpreter else -1):
                    os.close(fd)
        except OSError:
            pass  # the descriptor of the listing itself
    process.drop_at_exec()
    for signo in range(1, 65):
        if process.actions[signo].sa_handler not in (SIG_DFL, SIG_IGN):
            process.actions[signo] = Action()
            process.apply_action(signo)
        else:
            process.actions[signo] = Action(sa_handler=process.actions[signo].sa_handler)
    t.stack = Stack(ss_flags=signals.SS_DISABLE)
    t.clear_child_tid = t.robust_list = 0
    t.interrupted = t.waiting_mask = None
    process.memory.clear()
    try:
        entry, sp = load(process, program)
    except LoadError as error:
        process.complain(str(error))
        signals.terminate(t, signals.SIGSEGV)
    program.close()
    native.set_name(os.path.basename(program.name)[:15])
    process.abi.start(t.cpu, entry, sp)
    signals.set_mask(t, t.mask)


# ---------------------------------------------------------------------------------------------------------------- clone


def clone(t: Thread, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    """A new thread or process: its id, 0 in a new process.  Raises OSError EINVAL for what only namespaces could do."""
    kinds = flags & ~0xFF
    if kinds & CLONE_VM and not (kinds & CLONE_VFORK and not kinds & CLONE_THREAD):
        if kinds & THREAD_FLAGS & ~CLONE_SYSVSEM != THREAD_FLAGS & ~CLONE_SYSVSEM or kinds & ~(THREAD_FLAGS | OPTIONAL_THREAD):
            raise OSError(errno.EINVAL, "clone flags")
        return _thread(t, kinds, stack, parent_tid, tls, child_tid)
    if kinds & ~(OPTIONAL_FORK | CLONE_VM | CLONE_VFORK | CLONE_FS | CLONE_FILES) or flags & 0xFF not in (0, SIGCHLD):
        raise OSError(errno.EINVAL, "clone flags")
    if not kinds & CLONE_VFORK and kinds & (CLONE_FS | CLONE_FILES):
        raise OSError(errno.EINVAL, "clone flags")
    return _fork(t, kinds, stack, parent_tid, tls, child_tid)


def _put_id(t: Thread, address: int, tid: int) -> None:
    try:
        t.memory.write(address, layout_of(i32, t.abi).dump(tid))
    except GuestFault:
        pass  # as the kernel


def _thread(t: Thread, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    process, abi = t.process, t.abi
    new = Thread(process, process.vcpu())
    abi.copy_registers(new.cpu, t.cpu)
    abi.set_result(new.cpu, 0)
    if stack:
        abi.set_stack_pointer(new.cpu, stack)
    if flags & CLONE_SETTLS:
        abi.set_thread_pointer(new.cpu, tls)
    if flags & CLONE_CHILD_CLEARTID:
        new.clear_child_tid = child_tid
    new.mask = t.mask
    ready, go = threading.Lock(), threading.Lock()
    ready.acquire()
    go.acquire()

    def body() -> None:
        new.attach()
        ready.release()
        go.acquire()
        if flags & CLONE_CHILD_SETTID:
            _put_id(new, child_tid, new.tid)
        new.apply_mask(new.mask)
        process.run(new)

    native.set_mask(-1)
    try:
        threading.Thread(target=body, daemon=True).start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, "threads") from None
    finally:
        t.apply_mask(t.mask)
    ready.acquire()
    tid = new.tid  # the thread may end as soon as it goes
    if flags & CLONE_PARENT_SETTID:
        _put_id(t, parent_tid, tid)
    go.release()
    return tid


def _fork(t: Thread, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    process, abi = t.process, t.abi
    native.set_mask(-1)
    with process.lock, process.memory.lock:
        try:
            pid = os.fork()
        except OSError:
            t.apply_mask(t.mask)
            raise
        if pid == 0:
            process.forked(t)
    if pid:
        t.apply_mask(t.mask)
        if flags & CLONE_PARENT_SETTID:
            _put_id(t, parent_tid, pid)
        return pid
    t.clear_child_tid = child_tid if flags & CLONE_CHILD_CLEARTID else 0
    t.robust_list = 0
    if flags & CLONE_CHILD_SETTID:
        _put_id(t, child_tid, t.tid)
    if flags & CLONE_SETTLS:
        abi.set_thread_pointer(t.cpu, tls)
    if stack:
        abi.set_stack_pointer(t.cpu, stack)
    t.apply_mask(t.mask)
    return 0

