"""What a board asks of a CPU, however it is executed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tinamou.machine.lines import Pin

if TYPE_CHECKING:
    from tinamou.machine.clock import Clock
    from tinamou.machine.machine import Machine


class Cpu(Protocol):
    """A virtual CPU.

    Interrupt inputs are pins with their architecture's names (RISC-V: msip mtip meip ssip stip seip). Pins may be
    driven from any thread that holds `Machine.lock`.
    """

    index: int
    model: str

    def line(self, name: str) -> Pin:
        """The interrupt input of that name. Raises KeyError."""
        ...

    def reset(self, vector: int | None = None) -> None:
        """Registers to their reset values; `vector` replaces the model's first instruction address."""
        ...

    def timebase(self, clock: Clock) -> None:
        """The clock that the guest's time counter shows (RISC-V `time`)."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the board's device tree says of this CPU: RISC-V gives `isa`, `xlen`, `mmu`, `hartid`."""
        ...

    def save(self) -> dict[str, Any]:
        """The architectural state as plain values."""
        ...

    def load(self, saved: dict[str, Any]) -> None:
        """Take over what `save` gave."""
        ...


class DebugCpu(Cpu, Protocol):
    """What monitors and debuggers ask of a CPU that stands still."""

    halted: bool
    thread_id: int

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        ...

    def register(self, name: str) -> int:
        """A register by its name in the architecture's manual. Raises KeyError."""
        ...

    def set_register(self, name: str, value: int) -> None:
        """Change a register. Raises KeyError when there is none of that name, or it cannot be written."""
        ...

    def translate(self, address: int) -> int | None:
        """The physical address of a virtual one, or None when it is not mapped; changes nothing."""
        ...

    def describe(self) -> str:
        """The text of `info registers`."""
        ...


class Runner(Protocol):
    """What executes the CPUs (an accelerator). It calls `Vm.stopped_by` when it stops by itself."""

    name: str

    def start(self, only: Sequence[int] | None = None) -> None:
        """Let every CPU run, in threads of their own, or only those of these indices."""
        ...

    def stop(self) -> None:
        """Return when every CPU stands still."""
        ...

    def step(self, index: int, flags: int, others: Sequence[int] = ()) -> tuple[int, str, int] | None:
        """Execute one instruction of one CPU, while `others` run. Flags: 2 no interrupts, 4 time stands still.

        Gives (CPU, kind, address) of a breakpoint or watchpoint that was hit meanwhile.
        """
        ...

    def set_break(self, kind: str, address: int, size: int) -> None:
        """A breakpoint ("software", "hardware") or watchpoint ("write", "read", "access") at a virtual address.

        Raises RuntimeError when there cannot be so many.
        """
        ...

    def clear_break(self, kind: str, address: int, size: int) -> None: ...


class CpuFactory(Protocol):
    """How a machine gets its CPUs: `factory(machine, model, index, properties)`. Raises PropertyError."""

    def __call__(self, machine: Machine, model: str, index: int, properties: dict[str, Any]) -> Cpu: ...
