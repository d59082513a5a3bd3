"""A whole machine as the debugger's target: a thread is a CPU, memory is what that CPU sees."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinamou.control.gdb import Action, BaseTarget, BreakKind, Description, Register, Stop, TargetError
from tinamou.machine.memory import BusError

if TYPE_CHECKING:
    from tinamou.control.vm import Vm

PAGE = 4096


def describe(vm: Vm) -> Description:
    """The registers of the machine's CPUs: `of_machine` of the module `gdb_ARCHITECTURE`."""
    try:
        module = importlib.import_module(f"tinamou.control.gdb_{vm.arch.rstrip('0123456789')}")
    except ModuleNotFoundError:
        raise TargetError(22, f"gdbstub: the registers of {vm.arch} are not described") from None
    description: Description = module.of_machine(vm.machine.cpus[0])
    return description


class MachineTarget(BaseTarget):
    """Drives a Vm. The accelerator calls `stopped` when a breakpoint or watchpoint was hit or a step is done."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        if not vm.machine.cpus:
            raise TargetError(22, "gdbstub: meaningless to attach gdb to a machine without any CPU.")
        self.description = describe(vm)
        self.registers = self.description.numbered()
        self.endian = vm.machine.memory.endian
        self.breaks: set[tuple[BreakKind, int, int]] = set()
        self.tell: Any = lambda stop: None
        self._stepping = False

    def threads(self) -> list[int]:
        return [c.index + 1 for c in self.vm.machine.cpus]

    def thread_name(self, thread: int) -> str:
        cpu = self._cpu(thread)
        return f"CPU#{cpu.index} [{'halted ' if getattr(cpu, 'halted', False) else 'running'}]"

    def _cpu(self, thread: int) -> Any:
        try:
            return self.vm.machine.cpus[thread - 1]
        except IndexError:
            raise TargetError(22) from None

    def read_register(self, thread: int, number: int) -> bytes:
        register, cpu = self._register(number), self._cpu(thread)
        try:
            value = cpu.register(register.name)
        except KeyError:
            raise TargetError(14) from None
        data: bytes = (value & (1 << register.bits) - 1).to_bytes(register.bits // 8, self.endian)
        return data

    def write_register(self, thread: int, number: int, data: bytes) -> None:
        register, cpu = self._register(number), self._cpu(thread)
        try:
            cpu.set_register(register.name, int.from_bytes(data, self.endian) & (1 << register.bits) - 1)
        except KeyError:
            raise TargetError(14) from None

    def _register(self, number: int) -> Register:
        if number not in self.registers:
            raise TargetError(14)
        return self.registers[number]

    # --- memory, page by page because neighbours may be anywhere

    def _pieces(self, thread: int, address: int, size: int, physical: bool) -> list[tuple[int, int]]:
        out = []
        while size > 0:
            n = min(size, PAGE - address % PAGE)
            where = address if physical else self._cpu(thread).translate(address)
            if where is None:
                raise TargetError(14)
            out.append((where, n))
            address += n
            size -= n
        return out

    def read_memory(self, thread: int, address: int, size: int, physical: bool) -> bytes:
        try:
            return b"".join(self.vm.machine.memory.load(a, n) for a, n in self._pieces(thread, address, size, physical))
        except BusError:
            raise TargetError(14) from None

    def write_memory(self, thread: int, address: int, data: bytes, physical: bool) -> None:
        done = 0
        try:
            for a, n in self._pieces(thread, address, len(data), physical):
                self.vm.machine.memory.store_rom(a, data[done : done + n])
                done += n
        except BusError:
            raise TargetError(14) from None

    # --- running

    def resume(self, actions: dict[int, Action], signals: dict[int, int], step_flags: int) -> None:
        stepping = [t for t, a in actions.items() if a == "step"]
        if stepping:
            others = [t - 1 for t, a in actions.items() if a == "continue"]
            hit = self.vm.runner.step(stepping[0] - 1, step_flags, others)
            self.tell(Stop(stepping[0]) if hit is None else self._stop(*hit))
            return
        only = None if len(actions) == len(self.threads()) else [t - 1 for t in actions]
        self.vm.loop.soon(lambda: self.vm.start(only))

    def interrupt(self) -> None:
        def halt() -> None:
            self.vm.stop("paused")
            self.tell(Stop(1, signal=2))
        self.vm.loop.soon(halt)

    def stopped(self, cpu: int, kind: BreakKind | None = None, address: int = 0) -> None:
        """The accelerator stopped at a breakpoint ("software", "hardware") or watchpoint of CPU `cpu`."""
        def report() -> None:
            self.vm.stop("debug")
            self.tell(self._stop(cpu, kind, address))
        self.vm.loop.soon(report)

    def _stop(self, cpu: int, kind: str | None, address: int) -> Stop:
        if kind in ("write", "read", "access"):
            return Stop(cpu + 1, watch=(kind, address))  # type: ignore[arg-type]
        return Stop(cpu + 1, breakpoint=kind or "")  # type: ignore[arg-type]

    def set_break(self, kind: BreakKind, address: int, size: int) -> None:
        try:
            self.vm.runner.set_break(kind, address, size)
        except RuntimeError as e:
            raise TargetError(28, str(e)) from None
        self.breaks.add((kind, address, size))

    def clear_break(self, kind: BreakKind, address: int, size: int) -> None:
        if (kind, address, size) in self.breaks:
            self.breaks.discard((kind, address, size))
            self.vm.runner.clear_break(kind, address, size)

    def clear_all_breaks(self) -> None:
        for kind, address, size in list(self.breaks):
            self.clear_break(kind, address, size)

    def kill(self) -> None:
        self.vm.loop.soon(lambda: self.vm.quit("host-qmp-quit"))

    def detach(self) -> None:
        self.vm.loop.soon(self.vm.start)

    def monitor(self, command: str) -> str:
        from tinamou.control.hmp import Human

        return Human(self.vm).run(command)
