"""What the data space has below SRAM: the CPU's own registers, and what loads from I/O registers give without a call (docs/avr.md)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from tinamou.engine import harvard
from tinamou.engine.harvard import IO, NEVER
from tinamou.native.types import u8, u64

from .state import Avr


class Registers:
    """R0 to R31 and the CPU's own I/O registers in the data space, for debuggers and monitors (`machine.memory.Bank`)."""

    def __init__(self, cpu: Avr, base: int) -> None:
        self.cpu, self.base = cpu, base

    def read(self, offset: int, size: int) -> int:
        return int(self.cpu.own_load(u64(self.base + offset)))

    def write(self, offset: int, value: int, size: int) -> None:
        self.cpu.own_store(u64(self.base + offset), u8(value))


class IoTable:
    """What loads from I/O registers give without a call: see docs/avr.md."""

    def __init__(self, cpu: Avr, cycles: Callable[[], int]) -> None:
        self.cycles = cycles
        at = {name: cpu.address + type(cpu).fields[name].offset for name in ("io_kind", "io_value")}
        self.kinds = (ctypes.c_uint8 * IO).from_address(at["io_kind"])
        self.values = (ctypes.c_uint8 * IO).from_address(at["io_value"])
        self.counters: dict[int, int] = {}
        self.words = self._rows(cpu, "counters", harvard.Counter.size // 8, harvard.COUNTERS)
        self.alarms: dict[tuple[int, int], int] = {}
        self.bells = self._rows(cpu, "alarms", harvard.Alarm.size // 8, harvard.ALARMS)
        self.count, self.next_alarm, self.own_vectors, self.asked, self.attention = (
            ctypes.c_uint64.from_address(cpu.address + type(cpu).fields[name].offset)
            for name in ("alarm_count", "next_alarm", "own_vectors", "asked", "attention")
        )
        self.next_alarm.value = NEVER

    def _rows(self, cpu: Avr, name: str, size: int, count: int) -> list[Any]:
        first = cpu.address + type(cpu).fields[name].offset
        return [(ctypes.c_uint64 * size).from_address(first + n * size * 8) for n in range(count)]

    def device(self, address: int) -> None:
        """Every load calls the device."""
        self.kinds[address] = harvard.DEVICE

    def shadow(self, address: int, value: int) -> None:
        """Loads give `value`."""
        self.values[address] = value
        self.kinds[address] = harvard.SHADOW

    def plain(self, address: int) -> None:
        """Loads and stores are of memory."""
        self.kinds[address] = harvard.PLAIN

    def counter(self, address: int, *, start: int, divider: int, first: int, top: int, dual: bool = False, latch: int = 0) -> None:
        """Loads give a timer's count: `first` at cycle `start`, one step each `divider` cycles."""
        n = self.counters.setdefault(address, len(self.counters))
        self.words[n][:] = [start, divider, first, max(top, 1), dual, latch]
        self.kinds[address] = harvard.COUNTER + n

    def alarm(self, address: int, mask: int, *, at: int, period: int = 0, vector: int = 0) -> None:
        """Set the flag `mask` in the shadow of `address` at a cycle, and again after each period; while it is set, ask for `vector`."""
        n = self.alarms.setdefault((address, mask), len(self.alarms))
        self.bells[n][:] = [at, period, address, mask, vector]
        self.count.value = len(self.alarms)
        self.next_alarm.value = min(self.next_alarm.value, at)
        self._ask()

    def _ask(self) -> None:
        """Interrupt requests follow from the flags."""
        own = asked = 0
        for _due, _period, address, mask, vector in self.bells[: len(self.alarms)]:
            if vector:
                own |= 1 << vector
                if self.values[address] & mask:
                    asked |= 1 << vector
        self.own_vectors.value, self.asked.value = own, asked
        self.attention.value = 1

    def silence(self, address: int, mask: int) -> None:
        """No alarm for this flag, which stays as it is."""
        if (address, mask) in self.alarms:
            self.alarm(address, mask, at=NEVER)

    def flags(self, address: int) -> int:
        """The shadow, with what this cycle's alarms set."""
        now = self.cycles()
        if self.next_alarm.value <= now:
            for bell in self.bells[: len(self.alarms)]:
                due, period, place, mask, _vector = bell
                if due <= now:
                    self.values[place] |= mask
                    bell[0] = due + ((now - due) // period + 1) * period if period else NEVER
            self._ask()
        return int(self.values[address])

    def set_flags(self, address: int, value: int) -> None:
        """Change the shadow, whether loads see it or not."""
        self.values[address] = value
        self._ask()
