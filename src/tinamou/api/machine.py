"""A machine as a Python object, for scripts, tests and notebooks.

It runs only inside `run`, `step` and `AsyncMachine.run`: whenever those return, every CPU and the machine's time stand still.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, Unpack

from tinamou.control.building import Builder
from tinamou.control.commandline import parse
from tinamou.control.request import Finished, OptionError, Request
from tinamou.control.texts import cpu_models
from tinamou.control.vm import CommandError, Vm
from tinamou.machine import board as boards
from tinamou.machine import snapshot as snapshots
from tinamou.machine.pins import Pins
from tinamou.machine.props import PropertyError, nearest
from tinamou.tools.system import GUESTS, engine_of

from . import disks
from .errors import MachineEnded, MachineError, RunTimeout
from .hooks import Hooks, InstructionHook, MemoryHook
from .views import CpuView, MemoryView, Pattern, PythonChardev, Serial

SERIAL_PORTS = 4
FOREVER = 2e6  # seconds, the most that the host's poll takes
POLL = 0.005  # seconds between questions whether a condition is true
Path = str | os.PathLike[str]
Until = Pattern | Callable[["Machine"], object] | int


class Arguments(TypedDict, total=False):
    """What a machine is made of, besides its board."""

    arch: str
    cpu: str
    cpus: int
    memory: str | int
    kernel: Path | None
    initrd: Path | None
    append: str | None
    bios: Path | None
    dtb: Path | None
    drives: Iterable[Path | Mapping[str, Any]]
    devices: Iterable[str | Mapping[str, Any]]
    options: Mapping[str, Any]
    discard_writes: bool
    arguments: Iterable[str]


class _Builder(Builder):
    """Serial ports that nobody asked for lead to Python; there is no monitor that nobody asked for."""

    def consoles(self) -> tuple[list[str], list[tuple[str, str]]]:
        return self.r.serials or ["python"] * SERIAL_PORTS, self.r.monitors

    def port(self, where: str, id_: str, what: str) -> Any:
        if where != "python":
            return super().port(where, id_, what)
        made = self.chardevs[id_] = PythonChardev(id=id_, loop=self.loop)
        return made


class Snapshot:
    """The state of a machine at one moment, in memory. It costs what the guest's memory holds, once; `close` gives that back."""

    def __init__(self, machine: Machine, state: snapshots.Snapshot, kept: str, outputs: list[tuple[bytes, int]]) -> None:
        self._machine, self._state, self._disks, self._outputs = machine, state, kept, outputs
        self._status = machine.vm.status

    def close(self) -> None:
        """It is not used any more."""
        self._state.close()
        if self._disks and not self._machine.closed:
            disks.forget(self._machine.vm, self._disks)
        self._disks = ""

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def guest_of(board: str) -> str:
    """The guest architecture that a board is for: the first one with a CPU of the board's default model."""
    known = boards.discover()
    for b in known.values():
        if board in (b.name, b.alias):
            guests = [g for g, folder in sorted(GUESTS.items(), reverse=True) if folder == b.arch]
            for guest in guests:
                if b.cpu in cpu_models(Request(program=guest, arch=b.arch)):
                    return guest
            if guests:
                return guests[0]
    raise MachineError(f"there is no board '{board}'" + nearest(board, known, "; nearest: "))


class Machine:
    """A whole machine.

    `board` and the keyword arguments (`Arguments`) say what the command line of `tinamou-system-ARCH` says, which reads them: `cpu`,
    `cpus` (-smp), `arch` (found by the board if not said), `memory` ("512M", or bytes), `kernel`, `initrd`, `append`, `bios`, `dtb`;
    `options` are the board's properties (-machine X,help), `devices` what -device takes, as text or as a mapping.  A drive is a path of
    a disk image, or the mapping of a -drive; with `discard_writes` what the guest writes to disks is dropped when the machine is closed
    (-snapshot).  `arguments` are further words of the command line.

    Raises MachineError for whatever the command line would refuse, with its words.
    """

    def __init__(self, board: str = "virt", **arguments: Unpack[Arguments]) -> None:
        given = arguments
        for name in given:
            if name not in Arguments.__annotations__:
                raise TypeError(f"Machine() has no argument '{name}'" + nearest(name, Arguments.__annotations__))
        words = ["-machine", _comma(board, given.get("options", {}))]
        sizes = {"memory": _megabytes(given.get("memory", ""))}
        for name, option in (("cpu", "-cpu"), ("cpus", "-smp"), ("memory", "-m"), ("kernel", "-kernel"), ("initrd", "-initrd"),
                             ("append", "-append"), ("bios", "-bios"), ("dtb", "-dtb")):  # fmt: skip
            value = sizes.get(name, given.get(name))
            if value is not None and value not in ("", 0):
                words += [option, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
        for drive in given.get("drives", ()):
            words += ["-drive", _comma(None, drive if isinstance(drive, Mapping) else {"file": os.fspath(drive), "if": "virtio"})]
        for device in given.get("devices", ()):
            words += ["-device", device if isinstance(device, str) else _comma(device["driver"], {**device, "driver": None})]
        if given.get("discard_writes"):
            words.append("-snapshot")
        self._make(given.get("arch") or guest_of(board), [*words, *given.get("arguments", ())])

    def _make(self, arch: str, words: list[str]) -> None:
        if arch not in GUESTS:
            raise MachineError(f"unknown guest architecture '{arch}'; one of {', '.join(sorted(GUESTS))}")
        self.arch, self._words = arch, words
        self.closed = False
        try:
            request = parse(words, f"tinamou-system-{arch}", GUESTS[arch])
            for given, option in ((request.gdb, "-gdb"), (request.daemonize, "-daemonize"), (request.pidfile, "-pidfile")):
                if given:
                    raise MachineError(f"{option} is for the command line, not for machines in Python")
            request.no_shutdown = True
            factory, self._engine = engine_of(arch)(request)
            builder = _Builder(request)
            try:
                self.vm: Vm = builder.build(factory, self._engine, arch)
            except BaseException:
                builder.close()
                raise
        except OptionError as e:
            raise MachineError(": ".join(x for x in (e.prefix, str(e)) if x) + (f"\n{e.hint}" if e.hint else "")) from None
        except PropertyError as e:
            raise MachineError(str(e) + (f"\n{e.hint}" if e.hint else "")) from None
        except Finished as e:
            raise MachineError(f"{' '.join(words)}: only prints something:\n{e.text}") from None
        self.machine = self.vm.machine
        self._own_time = request.icount is not None or getattr(self._engine, "keeps_time", False)  # the CPUs' time, not the host's
        self._found: Callable[[], bool] = lambda: False
        if not self._own_time:
            self.machine.time.follow_host()
        self.machine.on_request(self._requested)
        self.exit_code: int | None = None
        self.timeout: float | None = 60.0  # of `run`, seconds
        self.serials: list[Serial] = []
        for port in self.machine.settings.serials:
            if isinstance(port, PythonChardev):
                port.arrived = self._arrived
                self.serials.append(Serial(port, self.machine.lock))
        self.cpu: list[CpuView] = [CpuView(self, c) for c in self.machine.cpus]
        self.memory = MemoryView(self)
        self._hooks = Hooks(self)
        self._engine.stopped_by = self._hooks.stopped
        self._waiting = False
        self._paused = False

    def __repr__(self) -> str:
        return f"<machine {self.machine.name}, {self.arch}, {len(self.cpu)} CPUs, {self.status}>"

    # --- the end

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop for good; close disks, give memory back."""
        if self.closed:
            return
        self.closed = True
        self._engine.close()
        for c in self.vm.chardevs.values():
            c.close()
        for d in self.vm.drives.values():
            d.close()
        self.vm.loop.close()
        for ram in self.machine.rams.values():
            try:
                ram.host.close()
            except BufferError:  # somebody still looks at it
                pass

    # --- state

    @property
    def serial(self) -> Serial:
        """The first serial port."""
        if not self.serials:
            raise MachineError("no serial port of this machine leads to Python")
        return self.serials[0]

    @property
    def status(self) -> str:
        """The run state by its QMP name: prelaunch, running, paused, shutdown, io-error, ..."""
        return "closed" if self.closed else self.vm.status

    @property
    def time(self) -> float:
        """Seconds of the machine's own time."""
        return self.machine.time.now / 1e9

    @property
    def pins(self) -> Pins:
        """The pins of a microcontroller board by name: `m.pins["D13"].on_change(...)`, `m.pins["A0"].voltage = 2.5`."""
        return self.machine.pins

    def _requested(self, what: str, details: dict[str, Any]) -> None:
        if what == "shutdown":
            self.exit_code = int(details.get("code", 0))

    def _arrived(self) -> None:
        if self._waiting:
            if self._own_time and self._found():
                self._engine.stop()  # at the byte: the same moment in every run
            self.vm.loop.wake()

    def _open(self) -> None:
        if self.closed:
            raise MachineError("this machine is closed")

    @functools.cached_property
    def _registers(self) -> list[str]:
        """The names of a CPU's registers."""
        from tinamou.control.gdb_machine import describe

        return [r.name for _, r in sorted(describe(self.vm).numbered().items())]

    # --- running

    def run(self, until: Until | None = None, *, seconds: float | None = None, timeout: float | None = -1, serial: int = 0) -> str:
        """Let the machine run until something happens, and give the text that a serial port has said meanwhile.

        `until` is text, bytes or a compiled pattern that the serial port says (the answer ends with it and the next search begins
        behind it); a function of the machine that becomes true, asked every few milliseconds; or the address of an instruction, before
        which a CPU stops.  `seconds` is an amount of the machine's own time.  With neither, it runs until it stops by itself or
        powers off.

        Raises RunTimeout after `timeout` seconds of host time (`Machine.timeout` if not said, None: never), MachineEnded when the machine
        stops or powers off before `until` came.
        """
        self._open()
        if not isinstance(until, (str, bytes, int)) and not callable(until) and not hasattr(until, "pattern") and until is not None:
            raise TypeError(f"until is text, bytes, a compiled pattern, a function or an address, not {type(until).__name__}")
        if until in ("", b""):
            raise MachineError("until is empty text: every machine has said that already")
        if timeout is not None and timeout < 0:
            timeout = self.timeout
        result: list[str] = []
        port = self.serials[serial] if until is not None and not callable(until) and not isinstance(until, int) else None
        hook: InstructionHook | None = None
        event = None
        reached = [False]

        def found() -> bool:
            if result:
                return True
            self._hooks.serve()
            if port is not None:
                text = port.expect(until)  # type: ignore[arg-type]
                if text is not None:
                    result.append(text)
                return text is not None
            return reached[0] or (callable(until) and bool(until(self)))

        def arrive(*_: object) -> None:
            reached[0] = True
            if self._own_time:
                self._engine.stop()
            self.pause()

        if self.vm.running:
            raise MachineError("this machine runs already")
        if found():
            return result[0] if result else ""
        machine = self.machine
        if isinstance(until, int):
            hook = self.on_instruction(until, arrive)
        with machine.lock:
            if seconds is not None:
                event = machine.time.at(machine.time.now + round(seconds * 1e9), arrive)
            self._start()
        self._waiting = True
        if port is not None:
            self._found = found
        if callable(until):
            self._poll()
        try:
            limit = FOREVER if timeout is None else timeout
            in_time = self.vm.loop.run_until(lambda: found() or not self.vm.running or self.vm.ended or self._paused, limit)
        finally:
            self._waiting, self._found = False, lambda: False
            with machine.lock:
                self.vm.stop()
                self._ended()
            if event is not None:
                event.cancel()
            if hook is not None:
                hook.remove()
        self._hooks.raise_failure()
        if result:
            return result[0]
        if not in_time:
            raise RunTimeout(f"{_name(until)} did not come within {timeout} s", self.serial.text if self.serials else "")
        if not reached[0] and not self._paused and until is not None and not (callable(until) and until(self)):
            raise MachineEnded(f"the machine is in the state '{self.status}', and {_name(until)} has not come", self.status,
                               self.exit_code, self.serial.text if self.serials else "")  # fmt: skip
        return self.serials[serial].read() if self.serials else ""

    def _start(self) -> None:
        self._paused = False
        self._hooks.resume()
        try:
            self.vm.start()
            if self._hooks.always:
                self._engine.stop()
        except CommandError as e:
            raise MachineEnded(f"{e}: it is in the state '{self.status}'; reset() or restore() it", self.status, self.exit_code) from None

    def _ended(self) -> None:
        """An emulator that would have ended (-no-reboot, QMP's quit): here the machine is as after a power-off."""
        if self.vm.ended:
            self.vm.ended, self.vm.status, self.exit_code = False, "shutdown", self.vm.exit_code

    def _poll(self) -> None:
        """Ask again in a moment whether a condition is true: memory and registers change without events."""
        if self._waiting:
            self.vm.loop.later(POLL, self._poll)

    def pause(self) -> None:
        """Make `run` return soon; from hooks and other threads."""
        self._paused = True
        self.vm.loop.wake()

    def _step(self, index: int, count: int) -> None:
        self._open()
        with self.machine.lock:
            if self.vm.running:
                raise MachineError("a running machine does not step")
            for _ in range(count):
                self._hooks.step(index)
        self._hooks.raise_failure()

    def reset(self) -> None:
        """The reset button; the machine stands still afterwards."""
        self._open()
        with self.machine.lock:
            self.vm.reset()
            self._hooks.resting.clear()
            self.exit_code = None

    # --- hooks

    def on_instruction(self, address: int | None = None, f: Callable[[CpuView], object] | None = None) -> Any:
        """Call `f(cpu)` before a CPU executes the instruction at a (virtual) address, or before every instruction.

        It may change registers, memory and the pc: where that points then, the CPU goes on.  Without `f` it is a decorator.  The
        hook of every instruction makes the machine some thousand times slower.  Gives a `Hook` with `remove`.
        """
        return self._hooks.decorate(f, lambda g: self._hooks.add_instruction(InstructionHook(g, address)))

    def on_memory(self, address: int, f: Callable[..., object] | None = None, *, size: int = 1, kind: str = "rw") -> Any:
        """Call `f(access)` after a CPU has read or written any of `size` bytes of RAM from a virtual address on.

        `access.value` is what is there then; what `f` returns, or puts into it, replaces what was written.  `kind` is "r", "w" or "rw".
        """
        return self._hooks.decorate(f, lambda g: self._hooks.add_memory(MemoryHook(g, address, size, kind)))

    def on_mmio(self, where: int | str, f: Callable[..., object] | None = None, *, size: int = 0, kind: str = "rw") -> Any:
        """Call `f(access)` when a register of a device was read, or before it is written; what `f` returns, or puts into
        `access.value`, is what the CPU reads, or the device gets.

        `where` is a physical address (`size` 0: to the end of the device) or a device's name in `info mtree`.  A hook may also stand where
        no device is: then it alone answers.
        """
        return self._hooks.decorate(f, lambda g: self._hooks.add_mmio(g, where, size, kind))

    # --- snapshots

    def snapshot(self) -> Snapshot:
        """The present state, in memory. Raises MachineError when a disk would not come back with it."""
        self._open()
        with self.machine.lock:
            if self.vm.running:
                raise MachineError("a running machine has no snapshot: pause it first")
            disks.writable(self.vm)
            state = snapshots.take(self.machine)
            return Snapshot(self, state, disks.keep(self.vm), [(s.data, s._seen) for s in self.serials])

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this machine or of one made the same way; it can be used again."""
        self._open()
        with self.machine.lock:
            if self.vm.running:
                raise MachineError("a running machine is not restored: pause it first")
            snapshots.restore(self.machine, snapshot._state)
            disks.go_back(self.vm, snapshot._disks)
            self.exit_code = None
            self._hooks.resting.clear()
            self.vm.status = "paused" if snapshot._status != "prelaunch" else "prelaunch"
            for s, (data, seen) in zip(self.serials, snapshot._outputs, strict=True):
                s.rewind(data, seen)

    def fork(self) -> Machine:
        """A second machine in the same state; neither notices what the other one does. It has no hooks."""
        with self.snapshot() as now:
            other = Machine.__new__(Machine)
            other._make(self.arch, self._words)
            try:
                disks.copy(self.vm, other.vm)
                other.restore(now)
                disks.forget(other.vm, now._disks)
            except BaseException:
                other.close()
                raise
            return other

    # --- monitors

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command, `_` for `-` in the arguments' names; its answer. Raises MachineError."""
        from tinamou.control.qmp import execute
        from tinamou.control.schema import SchemaError

        self._open()
        with self.machine.lock:
            try:
                return execute(self.vm, command, {k.replace("_", "-"): v for k, v in arguments.items()})
            except (CommandError, SchemaError) as e:
                raise MachineError(f"{command}: {e}") from None

    def monitor(self, line: str) -> str:
        """What the human monitor answers to a line, as `info mtree`."""
        from tinamou.control.hmp import Human

        self._open()
        with self.machine.lock:
            return Human(self.vm).run(line)


def _comma(first: str | None, values: Mapping[str, Any]) -> str:
    """`first,key=value,...` with commas doubled."""
    parts = [] if first is None else [first.replace(",", ",,")]
    for key, value in values.items():
        if value is not None:
            text = "on" if value is True else "off" if value is False else str(value)
            parts.append(f"{key.replace('_', '-')}={text.replace(',', ',,')}")
    return ",".join(parts)


def _megabytes(size: str | int) -> str:
    """What -m takes: a bare number there is MiB, here bytes."""
    return f"{size}B" if isinstance(size, int) and size else str(size or "")


def _name(until: Until | None) -> str:
    if until is None:
        return "the end of the machine"
    if isinstance(until, int):
        return f"the instruction at {until:#x}"
    return repr(getattr(until, "pattern", getattr(until, "__name__", until)))


__all__ = ["Arguments", "Machine", "Snapshot", "guest_of"]
