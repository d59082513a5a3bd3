"""A whole machine as the debugger's target: a thread is a CPU, memory is what that CPU sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinamou.control.gdb import Action, BaseTarget, BreakKind, Stop, TargetError
from tinamou.machine.memory import BusError

if TYPE_CHECKING:
    from tinamou.control.vm import Vm

PAGE = 4096


class MachineTarget(BaseTarget):
    """Drives a Vm. The accelerator calls `stopped` when a breakpoint or watchpoint was hit or a step is done."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        if not vm.machine.cpus:
            raise TargetError(22, "gdbstub: meaningless to attach gdb to a machine without any CPU.")
        description = getattr(vm.machine.cpus[0], "description", None)
        if description is None:
            raise TargetError(22, f"gdbstub: CPU model {vm.machine.cpus[0].model} does not describe its registers")
        self.description = description
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
        try:
            data: bytes = self._cpu(thread).gdb_read(number)
        except (KeyError, IndexError):
            raise TargetError(22) from None
        return data

    def write_register(self, thread: int, number: int, data: bytes) -> None:
        try:
            self._cpu(thread).gdb_write(number, data)
        except (KeyError, IndexError):
            raise TargetError(22) from None

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
            self.vm.runner.step(stepping[0] - 1, step_flags)
            self.tell(Stop(stepping[0]))
            return
        self.vm.loop.soon(self.vm.start)

    def interrupt(self) -> None:
        def halt() -> None:
            self.vm.stop("paused")
            self.tell(Stop(1, signal=2))
        self.vm.loop.soon(halt)

    def stopped(self, cpu: int, kind: BreakKind | None = None, address: int = 0) -> None:
        """The accelerator stopped at a breakpoint ("software", "hardware") or watchpoint of CPU `cpu`."""
        def report() -> None:
            self.vm.stop("debug")
            if kind in ("write", "read", "access"):
                self.tell(Stop(cpu + 1, watch=(kind, address)))
            else:
                self.tell(Stop(cpu + 1, breakpoint=kind or ""))  # type: ignore[arg-type]
        self.vm.loop.soon(report)

    def set_break(self, kind: BreakKind, address: int, size: int) -> None:
        self.vm.runner.set_break(kind, address, size)
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
