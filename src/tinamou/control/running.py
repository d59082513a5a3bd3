"""A whole machine from its command line to its exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from tinamou.control.building import build
from tinamou.control.commandline import parse
from tinamou.control.gdb import TargetError
from tinamou.control.request import Finished, OptionError, Request
from tinamou.control.vm import Idle, Vm
from tinamou.machine.cpu import CpuFactory, Runner
from tinamou.machine.props import PropertyError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EngineMaker = Callable[[Request], tuple[CpuFactory, Runner]]


def main(words: list[str], program: str, arch: str, engine: EngineMaker | None = None, target: str = "") -> int:
    """Run a whole machine from its command line; the exit status. `engine` makes what executes CPUs."""
    r = None
    try:
        r = parse(words, program, arch)
        factory, runner = engine(r) if engine and "qtest" not in r.accelerators[:1] else (None, None)
        if factory is None:
            runner = Idle()
        vm = build(r, factory, runner, target or f"{arch}64")
    except Finished as e:
        try:
            sys.stdout.write(e.text)
            sys.stdout.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # as in `-help | head`
                sys.stderr.write(f"{program}: standard output: {error.strerror}\n")
            sys.stdout = None  # type: ignore[assignment]  # what is left of the text is not tried again at the exit
            return 1
        return e.status
    except OptionError as e:
        sys.stderr.write(complain(f"{r.prefix() if r else ''}{program}", e))
        return 1
    return run(r, vm)


def run(r: Request, vm: Vm) -> int:
    """Serve until the machine ends; the exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # in all threads that follow: one waits for them
    at = ""
    try:
        ready = detach() if r.daemonize else None
        for where in (w for w in r.gdb if w != "none"):
            at = f"-gdb {where}: "
            vm.debuggers.append(gdb_server(vm, where))
        at = ""
        if r.pidfile:
            write_pid(r.pidfile)
        if ready is not None:
            ready()
    except (OSError, ValueError, PropertyError, TargetError) as e:
        sys.stderr.write(f"{r.program}: {at}{e}\n")
        return 1
    threading.Thread(target=await_signals, args=(r, vm), name="signals", daemon=True).start()
    keeps_time = getattr(vm.runner, "keeps_time", False)  # the accelerator moves the machine's time itself
    if not keeps_time and r.icount is None and vm.runner.name != "qtest":
        vm.machine.time.follow_host()
    if not r.stopped:
        vm.loop.soon(vm.start)
    try:
        vm.loop.run()
    finally:
        for s in vm.debuggers:
            s.exited(vm.exit_code)
            s.close()
        for c in vm.chardevs.values():
            c.close()
        for d in vm.drives.values():
            d.close()
        if r.pidfile and os.path.exists(r.pidfile):
            os.unlink(r.pidfile)
    return vm.exit_code


def await_signals(r: Request, vm: Vm) -> None:
    """End the emulator when it is asked to, saying by whom: only this way of waiting tells."""
    while True:
        info = signal.sigwaitinfo(SIGNALS)
        standard = [s for s in vm.debuggers if s.standard]
        if info.si_signo == signal.SIGINT and standard:  # Ctrl-C in gdb is for the guest
            standard[0].interrupt()
            continue
        vm.loop.soon(partial(terminated, r, vm, info.si_signo, info.si_pid))


def terminated(r: Request, vm: Vm, number: int, sender: int) -> None:
    who = f" from pid {sender} ({command_of(sender)})" if sender else ""  # 0: a key of the terminal
    sys.stderr.write(f"{r.program}: terminating on signal {number}{who}\n")
    vm.quit("host-signal")


def command_of(pid: int) -> str:
    """How that process was started."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read(4096).split(b"\0")[0].decode(errors="replace") or "<unknown process>"
    except OSError:
        return "<unknown process>"


def gdb_server(vm: Vm, where: str) -> Any:
    """The stub for a whole machine on a port or socket."""
    from tinamou.control.gdb_machine import MachineTarget
    from tinamou.control.gdb_server import GdbServer, StandardGdbServer

    kind = GdbServer
    if where == "stdio":
        from tinamou.backends.chardev.streams import StdioChardev

        if StdioChardev.used:
            raise PropertyError("cannot use stdio by multiple character devices")
        StdioChardev.used, kind = True, StandardGdbServer
    target = MachineTarget(vm)
    server = kind(where, target, connected=lambda: vm.call(lambda: vm.stop("debug")),
                       lost=lambda: vm.loop.soon(vm.start))
    target.tell = server.stopped
    vm.runner.stopped_by = target.stopped  # type: ignore[attr-defined]
    return server


def write_pid(path: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{os.getpid()}\n")
    except OSError as e:
        raise PropertyError(f"cannot create PID file: Could not create '{path}': {e.strerror}") from None


def detach() -> Callable[[], None]:
    """Go on in a child process. What this gives is called when everything listens: then the parent ends, with 0.

    When the child ends before that, so does the parent, with 1.
    """
    ours, theirs = os.pipe()
    if os.fork():
        os.close(theirs)
        os._exit(0 if os.read(ours, 1) else 1)
    os.close(ours)
    os.setsid()

    def ready() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.write(theirs, b"1")
        os.close(theirs)

    return ready


def complain(program: str, e: OptionError) -> str:
    """The lines for standard error."""
    prefix = f"{e.prefix}: " if e.prefix else ""
    return "".join(f"{program}: {prefix}{line}\n" for line in str(e).split("\n")) + (f"{e.hint}\n" if e.hint else "")
