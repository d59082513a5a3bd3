"""What a board asks of a CPU, however it is executed."""

from __future__ import annotations

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


class CpuFactory(Protocol):
    """How a machine gets its CPUs: `factory(machine, model, index, properties)`. Raises PropertyError."""

    def __call__(self, machine: Machine, model: str, index: int, properties: dict[str, Any]) -> Cpu: ...
