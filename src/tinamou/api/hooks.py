"""Hooks: Python called when a machine does something, which may change what it does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinamou.machine.memory import FlatRange, Io, Memory, Region
from tinamou.machine.props import nearest

from .errors import MachineError

if TYPE_CHECKING:
    from .machine import Machine
    from .views import CpuView

KINDS = {"r": "read", "w": "write"}
UNDER = -(1 << 40)  # priority of the machine's own map below hooked ranges


@dataclass
class Access:
    """A load or store: the address, how many bytes, whether it writes, and the value as a number without sign.

    Hooks may change `value`.
    """

    address: int
    size: int
    write: bool
    value: int
    cpu: CpuView | None = None
    device: Region | None = None

    def __repr__(self) -> str:
        where = f" of {self.device.name}" if self.device is not None else ""
        return f"<{'write' if self.write else 'read'} of {self.size} bytes at {self.address:#x}{where}, value {self.value:#x}>"


class Hook:
    """A hook that is in force until `remove`; as a context manager, to the end of the block."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.function = f
        self._undo: list[Callable[[], object]] = []

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """The hook is not called any more."""
        while self._undo:
            self._undo.pop()()


class InstructionHook(Hook):
    """`f(cpu)` before the instruction at `address`, or before each (None)."""

    def __init__(self, f: Callable[..., Any], address: int | None) -> None:
        super().__init__(f)
        self.address = address


class MemoryHook(Hook):
    """`f(access)` after an access to RAM at a CPU's (virtual) addresses."""

    def __init__(self, f: Callable[..., Any], address: int, size: int, kind: str) -> None:
        super().__init__(f)
        _check_kind(kind)
        if size <= 0:
            raise MachineError("a memory hook has at least one byte")
        self.address, self.size, self.kind = address, size, kind


class MmioHook(Hook):
    """`f(access)` at an access to physical addresses where no RAM answers."""

    def __init__(self, f: Callable[..., Any], address: int, size: int, kind: str) -> None:
        super().__init__(f)
        self.address, self.size, self.kind = address, size, kind


class MmioBank:
    """What stands in place of hooked addresses: the hooks there, and what was there before behind them."""

    def __init__(self, hooks: Hooks, base: int) -> None:
        self.hooks, self.base = hooks, base

    def read(self, offset: int, size: int) -> int:
        at = self.base + offset
        below = self.hooks.below()
        found = below.find(at)
        value = below.read(at, size) if found is not None else 0
        access = Access(at, size, False, value, self.hooks.current(), found.region if found else None)
        return self.call(access, "r", self.hooks.mmio)

    def write(self, offset: int, value: int, size: int) -> None:
        at = self.base + offset
        below = self.hooks.below()
        found = below.find(at)
        access = Access(at, size, True, value, self.hooks.current(), found.region if found else None)
        value = self.call(access, "w", self.hooks.mmio[::-1])
        if found is not None:
            below.write(at, value, size)

    def call(self, access: Access, kind: str, hooks: list[MmioHook]) -> int:
        """The value after all hooks: the newest one is nearest to the CPU."""
        for hook in hooks:
            if kind in hook.kind and hook.address < access.address + access.size and access.address < hook.address + hook.size:
                self.hooks.call(hook, access)
                access.value &= (1 << access.size * 8) - 1
        return access.value


@dataclass
class Hooks:
    """The hooks of one machine, and how they get called."""

    owner: Machine
    at: list[InstructionHook] = field(default_factory=list)
    always: list[InstructionHook] = field(default_factory=list)
    memory: list[MemoryHook] = field(default_factory=list)
    mmio: list[MmioHook] = field(default_factory=list)
    hits: deque[tuple[int, str, int]] = field(default_factory=deque)
    resting: dict[int, int] = field(default_factory=dict)  # CPUs that stand before an instruction whose hooks were called: its address
    failure: BaseException | None = None
    inner: Memory | None = None

    def decorate(self, f: Callable[..., Any] | None, add: Callable[[Callable[..., Any]], Hook]) -> Any:
        """The hook, or a decorator that makes it."""
        self.owner._open()
        return add if f is None else add(f)

    def call(self, hook: Hook, *arguments: Any) -> Any:
        """Call a hook. What it raises ends `Machine.run`, which raises it."""
        try:
            answer = hook(*arguments)
        except BaseException as e:
            self.failure = self.failure or e
            self.owner.pause()
            return None
        if isinstance(answer, int) and not isinstance(answer, bool) and isinstance(arguments[0], Access):
            arguments[0].value = answer
        return answer

    def raise_failure(self) -> None:
        """What a hook has raised."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    # --- registers of devices

    def current(self) -> CpuView | None:
        """The CPU whose access it is, if it is one's."""
        me = threading.current_thread()
        return next((v for v, c in zip(self.owner.cpu, self.owner.machine.cpus, strict=True) if getattr(c, "thread", None) is me), None)

    def below(self) -> Memory:
        """The machine's map without hooked ranges, which from now on lies below them."""
        if self.inner is None:
            memory = self.owner.machine.memory
            own = memory.root
            outer = Region(own.name, own.size)
            outer.add(0, own, UNDER)
            own.spaces.remove(memory)
            outer.spaces.append(memory)
            memory.root = outer
            self.inner = Memory(own, memory.name, memory.endian, memory.lock)
        return self.inner

    def add_mmio(self, f: Callable[..., Any], where: int | str, size: int, kind: str) -> Hook:
        _check_kind(kind)
        memory = self.owner.machine.memory
        with memory.lock:
            below = self.below()
            if isinstance(where, str):
                named = [r for r in below.ranges if r.region.name == where]
                if not named:
                    known = sorted({r.region.name for r in below.ranges})
                    raise MachineError(f"there is no device '{where}' on the memory map" + nearest(where, known))
                where, size = named[0].base, size or named[0].size
            found = below.find(where)
            if not size:
                if found is None:
                    raise MachineError(f"there is no device at {where:#x}: a hook there needs a size")
                size = found.base + found.size - where
            hook = MmioHook(f, where, size, kind)
            over = Io(found.region.name if found else "hook", size, MmioBank(self, where), endian=_endian(found, below), unaligned=True)
            memory.root.add(where, over, 1 + max(m.priority for m in memory.root.mappings))
            self.mmio.append(hook)
            hook._undo += [lambda: memory.root.remove(over), lambda: self.mmio.remove(hook)]
        return hook

    # --- instructions and RAM: the engine stops all CPUs, `serve` calls the hooks and lets them go on

    def add_instruction(self, hook: InstructionHook) -> InstructionHook:
        with self.owner.machine.lock:
            if hook.address is None:
                self.always.append(hook)
                hook._undo.append(lambda: self.always.remove(hook))
                return hook
            if not any(h.address == hook.address for h in self.at):
                self._change("set_break", "hardware", hook.address, 1)
            self.at.append(hook)
            hook._undo.append(lambda: self._remove_instruction(hook))
        return hook

    def _remove_instruction(self, hook: InstructionHook) -> None:
        self.at.remove(hook)
        if not any(h.address == hook.address for h in self.at):
            self._change("clear_break", "hardware", hook.address or 0, 1)

    def add_memory(self, hook: MemoryHook) -> MemoryHook:
        for letter in hook.kind:
            self._change("set_break", KINDS[letter], hook.address, hook.size)
            hook._undo.append(lambda kind=KINDS[letter]: self._change("clear_break", kind, hook.address, hook.size))  # type: ignore[misc]
        self.memory.append(hook)
        hook._undo.append(lambda: self.memory.remove(hook))
        return hook

    def _change(self, what: str, kind: str, address: int, size: int) -> None:
        """Set or clear a breakpoint or watchpoint; CPUs stand still meanwhile."""
        engine = self.owner._engine
        with self.owner.machine.lock:
            was = engine.running
            engine.stop()
            try:
                getattr(engine, what)(kind, address, size)
            except RuntimeError as e:
                raise MachineError(str(e)) from None
            finally:
                if was:
                    engine.start()

    def stopped(self, cpu: int, kind: str, address: int) -> None:
        """The engine's CPUs stop because of this; called by the CPU's thread."""
        if kind in KINDS.values() and getattr(self.owner.machine.cpus[cpu], "watch_before", False):
            kind = "watch"  # the access is still to come
        self.hits.append((cpu, kind, address))
        self.owner.vm.loop.wake()

    def serve(self) -> None:
        """Call the hooks for what CPUs have stopped at, and let them go on if the machine still runs."""
        if not self.hits and not (self.always and self.owner.vm.running):
            return
        with self.owner.machine.lock:
            self.owner._engine.stop()
            while self.hits:
                cpu, kind, address = self.hits.popleft()
                if kind in KINDS.values():
                    self.accessed(cpu, kind, address)
                elif kind == "watch" or self.before(cpu):
                    self.over(cpu)
            if self.owner.vm.running and not self.owner._paused:
                if self.always:
                    self.walk()
                else:
                    self.owner._engine.start()

    def resume(self) -> None:
        """The machine is going to run: what CPUs stand before had its hooks called."""
        for cpu, pc in list(self.resting.items()):
            del self.resting[cpu]
            if self.owner.cpu[cpu].pc == pc:
                self.over(cpu)

    def before(self, index: int) -> bool:
        """Call the hooks of the instruction that a CPU stands before; False when it shall not be executed now."""
        cpu = self.owner.cpu[index]
        pc = cpu.pc
        for hook in [*self.always, *[h for h in self.at if h.address == pc]]:
            self.call(hook, cpu)
            if cpu.pc != pc:
                return False
        if self.owner._paused:
            self.resting[index] = pc
            return False
        return True

    def over(self, index: int, flags: int = 2) -> None:
        """One instruction of a CPU; without interrupts, else their handler would come first and the hook be called again."""
        engine = self.owner._engine
        hit = engine.step(index, flags)
        if hit is not None and hit[1] not in KINDS.values():  # the steps of some engines stop at breakpoints too
            _, kind, address = hit
            engine.clear_break(kind, address, 1)
            try:
                hit = engine.step(index, flags)
            finally:
                engine.set_break(kind, address, 1)
        if hit is not None:
            self.hits.append(tuple(hit))

    def step(self, index: int) -> None:
        """`CpuView.step`."""
        self.owner._paused = False
        resting = self.resting.pop(index, None)
        if resting == self.owner.cpu[index].pc or self.before(index):
            self.over(index, 0)
        while self.hits:
            self.accessed(*self.hits.popleft())

    def walk(self) -> None:
        """Each CPU in turn, with hooks for every instruction."""
        loop, machine = self.owner.vm.loop, self.owner
        for n in range(1000):
            active = [c.index for c in machine.cpu if not c.halted or getattr(machine.machine.cpus[c.index], "awake", bool)()]
            if not active:
                return
            for index in active:
                if machine.cpu[index].halted or self.before(index):
                    self.over(index, 0)
                while self.hits:
                    self.accessed(*self.hits.popleft())
            if machine._paused or not self.always:
                break
            if n % 64 == 0:
                machine.machine.time.fire()
        loop.soon(lambda: None)

    def accessed(self, index: int, kind: str, address: int) -> None:
        """A CPU has read or written watched memory."""
        cpu = self.owner.cpu[index]
        for hook in [h for h in self.memory if kind[0] in h.kind and h.address <= address < h.address + h.size]:
            at, size = (hook.address, hook.size) if hook.size in (1, 2, 4, 8) else (address, 1)
            access = Access(at, size, kind == "write", cpu.memory.read(at, size), cpu)
            before = access.value
            self.call(hook, access)
            if access.write and access.value != before:
                cpu.memory.write(at, access.value & (1 << size * 8) - 1, size)


def _check_kind(kind: str) -> None:
    if kind not in ("r", "w", "rw"):
        raise MachineError(f"kind is one of 'r', 'w' and 'rw', not {kind!r}")


def _endian(found: FlatRange | None, memory: Memory) -> Any:
    """The byte order of a region, for what stands in its place."""
    return memory.endian if found is None or not isinstance(found.region, Io) else found.region.endian


__all__ = ["Access", "Hook", "Hooks", "InstructionHook", "MemoryHook"]
