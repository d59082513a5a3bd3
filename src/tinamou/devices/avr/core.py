"""What the peripherals of AVR microcontrollers share: byte registers in a common I/O space, one clock, power reduction.

A peripheral declares its registers at offsets of its own; the part's table says at which data address each lies, because the
same timer sits elsewhere in another part and its flag and mask registers lie apart from the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from tinamou.machine.clock import Clock
from tinamou.machine.device import Device
from tinamou.machine.lines import Pin
from tinamou.machine.props import OBJECT, STR, U16, prop
from tinamou.machine.registers import Reg, reader


class Hints(Protocol):
    """What the CPU gives for loads without asking the device (docs/avr.md)."""

    def shadow(self, address: int, value: int) -> None: ...
    def plain(self, address: int) -> None: ...
    def counter(self, address: int, *, start: int, divider: int, first: int, top: int, dual: bool = False, latch: int = 0) -> None: ...
    def device(self, address: int) -> None: ...
    def alarm(self, address: int, mask: int, *, at: int, period: int = 0, vector: int = 0) -> None: ...
    def silence(self, address: int, mask: int) -> None: ...
    def flags(self, address: int) -> int: ...
    def set_flags(self, address: int, value: int) -> None: ...
    def steady(self) -> bool: ...


class AvrDevice(Device, width=8, access=(1, 1), size=0x20, category="Misc"):
    """A peripheral. `clock` is clkIO: one tick is one CPU cycle.

    `polled` names registers whose value changes only when the device acts; the CPU then reads them without a call.
    """

    polled: ClassVar[tuple[str, ...]] = ()
    cleared: ClassVar[dict[str, str]] = {}  # output that asks for an interrupt -> the flag that entering its handler clears

    name: str = prop(STR, default="", help="what the data sheet calls this instance")
    clock: Clock = prop(OBJECT)

    _powered = True
    io: IoSpace | None = None

    def setup(self) -> None:
        if self.name:
            self.id = self.name
        self.address: dict[str, int] = {}
        self.vectors: dict[str, int] = {}  # of the interrupts, by the output that asks for them
        self._shown: dict[str, int | None] = {}

    def lacks(self, register: str) -> bool:
        """This instance has no such register."""
        return False

    @property
    def cycles(self) -> int:
        """CPU cycles since power-on."""
        return self.clock.ticks

    @property
    def hints(self) -> Hints | None:
        return self.io.hints if self.io is not None else None

    def settle(self) -> None:
        super().settle()
        if self.polled and self._ready and self.hints is not None:
            for name in self.polled:
                self.show(name, self.visible(name))

    def relevel(self) -> dict[Pin, int]:
        """After a restore, when the CPU has its state too: tell it again what loads give."""
        self._shown.clear()
        self.restored()
        self.settle()
        return super().relevel()

    def restored(self) -> None:
        """Everything has been loaded: derive what is derived."""

    def visible(self, name: str) -> int | None:
        """What loads of a polled register give until the device acts again; None when a load must come here."""
        address = self.address.get(name)
        return None if address is None or self.io is None else self.io.peekers[address]()

    def show(self, name: str, value: int | None) -> None:
        """Let loads of a register give `value`; None sends them to the device."""
        hints, address = self.hints, self.address.get(name)
        if hints is not None and address is not None and self._shown.get(name) != value:
            self._shown[name] = value
            if value is None:
                hints.device(address)
            else:
                hints.shadow(address, value)

    @property
    def powered(self) -> bool:
        """False while the power reduction register stops the module."""
        return self._powered

    @powered.setter
    def powered(self, on: bool) -> None:
        if on != self._powered:
            self.power(on)
            self._powered = on
            self.settle()

    def power(self, on: bool) -> None:
        """The power reduction register stops or starts the module; called before `powered` changes."""

    def acknowledge(self, output: str) -> None:
        """The CPU entered the handler of the interrupt that output `output` asks for."""
        if output in self.cleared:
            setattr(self, self.cleared[output], 0)
            self.settle()


class Signal:
    """An output that a peripheral shapes bit by bit, as its pin sees it (machine.pins.Wave); `rewatch` is told that somebody watches."""

    def __init__(self, level: Callable[[], bool], rewatch: Callable[[], object]) -> None:
        self.level, self.rewatch, self.watched = level, rewatch, False

    def duty(self) -> float:
        return float(self.level())

    def frequency(self) -> float:
        return 0.0

    def watch(self, on: bool) -> None:
        self.watched = on
        self.rewatch()


class IoSpace(Device, type="avr-io", width=8, access=(1, 1)):
    """Registers by data address (the CPU's own 32 registers lie below 0x20)."""

    name: str = prop(STR, default="avr.io")
    span: int = prop(U16, default=0x100, help="bytes of the data space, the 32 general registers included")

    def setup(self) -> None:
        self.owners: dict[int, tuple[Device, int, Reg]] = {}
        self.peekers: dict[int, Callable[[], int]] = {}
        self.size = self.span  # type: ignore[misc]
        self.hints: Hints | None = None
        self.readers: list[Callable[[], int]] = [self._none(a) for a in range(self.span)]
        self.writers: list[Callable[[int], object]] = [self._nowhere(a) for a in range(self.span)]

    def _none(self, address: int) -> Callable[[], int]:
        def read() -> int:
            self.log.unimp(f"{self.name}: read of {address:#05x}, where no register is")
            return 0
        return read

    def _nowhere(self, address: int) -> Callable[[int], object]:
        def write(value: int) -> None:
            self.log.unimp(f"{self.name}: write of {value:#04x} to {address:#05x}, where no register is")
        return write

    def place(self, device: Device, base: int | None = None, **elsewhere: int) -> None:
        """Map the registers of `device` to `base` + their offset, and those named in `elsewhere` to data addresses of their own.

        Without `base` only the named ones are mapped; none that this instance lacks. Raises ValueError when two registers meet or a
        name is unknown.
        """
        table = {r.name: r for r in device._registers}
        for name in elsewhere:
            if name not in table:
                raise ValueError(f"{device.label} has no register {name}")
        for name, reg in table.items():
            if name in elsewhere:
                self._put(elsewhere[name], device, reg)
            elif base is not None and not (isinstance(device, AvrDevice) and device.lacks(name)):
                self._put(base + reg.offset, device, reg)
        if isinstance(device, AvrDevice):
            device.io = self
            device.settle()

    def _put(self, address: int, device: Device, reg: Reg) -> None:
        if address in self.owners:
            raise ValueError(f"{device.label} and {self.owners[address][0].label} both claim data address {address:#05x}")
        self.owners[address] = device, reg.offset, reg
        self.peekers[address] = reader(device, reg, None, 0xFF, peek=True)[0]
        self.readers[address] = device._plan_read(reg.offset, 1)
        self.writers[address] = device._plan_write(reg.offset, 1)
        if isinstance(device, AvrDevice):
            device.address[reg.name] = address

    def read(self, offset: int, size: int) -> int:
        return self.readers[offset]()

    def write(self, offset: int, value: int, size: int) -> None:
        self.writers[offset](value)

    def write_bits(self, offset: int, bits: int, mask: int) -> None:
        """`sbi` and `cbi`: write the bits of `mask`. Flags that writing 1 clears, and PINx, keep their other bits."""
        owner = self.owners.get(offset)
        value = self.readers[offset]() & ~mask
        if owner is not None:
            for f in owner[2].fields:
                if f.mode in ("w1c", "w1t", "w1s", "wo"):
                    value &= ~f.bits
        self.writers[offset](value | bits)

    def peek(self, offset: int, size: int) -> int:
        value = 0
        for n in range(size):
            peeker = self.peekers.get(offset + n)
            if peeker is not None:
                value |= peeker() << 8 * n
        return value
