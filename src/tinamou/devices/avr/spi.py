"""Serial peripheral interface of AVR microcontrollers: ATmega48A-328P data sheet, chapter 19; ATmega640-2561, chapter 21."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tinamou.devices.avr.core import AvrDevice, Signal
from tinamou.devices.ssi.bus import SsiBus, SsiDevice
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device, timer
from tinamou.machine.lines import line, state
from tinamou.machine.pins import Driver
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg

DIVISORS = (4, 16, 64, 128)


class PinSelectBus(SsiBus):
    """An SPI bus whose chip selects are pins of the board: `cs` 10 is the pin D10, active low."""

    def insert(self, device: Device) -> None:
        super().insert(device)
        if isinstance(device, SsiDevice) and self.owner is not None and self.owner.machine is not None:
            pins = self.owner.machine.pins
            net = pins[f"D{device.cs}"].net
            net.listen(partial(self._select, device.cs))
            if not net.level and net.drivers and any(d.volts is not None for d in net.drivers):
                self.chip_select(device.cs, True)

    def _select(self, n: int, level: bool) -> None:
        self.chip_select(n, not level)


class Spi(AvrDevice, type="avr-spi", size=3):
    """Master and slave. A byte takes eight SCK periods; a slave's bits move with the edges on the pin."""

    mosi: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit)")
    miso: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit)")
    sck: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit)")
    ss: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit)")

    SPCR = Reg(0)
    spie = SPCR.rw(7)
    spe = SPCR.rw(6)
    dord = SPCR.rw(5)
    mstr = SPCR.rw(4)
    cpol = SPCR.rw(3)
    cpha = SPCR.rw(2)
    spr = SPCR.rw(1, 0)
    SPSR = Reg(1)
    spif = SPSR.ro(7)
    wcol = SPSR.ro(6)
    spi2x = SPSR.rw(0)
    SPDR = Reg(2)
    data = SPDR.rw()

    polled = ("SPSR", "SPCR")
    cleared = {"irq": "spif"}
    shift = state(-1)           # the byte being sent, -1 while idle
    started = state(0)
    received = state(0)
    outgoing = state(0)
    incoming = state(0)         # a slave's bits so far, and their number
    clocked = state(0)
    shown = state(0)            # the number of the bit on MISO
    armed = state(False)        # SPSR was read with a flag set: the next access to SPDR clears them

    def setup(self) -> None:
        super().setup()
        self.bus_ = PinSelectBus("spi", self)
        self.traces: list[Callable[[str, int], object]] = []
        self.sck_pin, self.mosi_pin = (Signal(level, self.watch_bits) for level in (self.clock_level, self.data_level))
        self.miso_pin = Signal(self.answer_level, lambda: None)
        self._end: Callable[[], None] | None = None
        self._clock_end: Callable[[], None] | None = None

    def buses(self) -> list[Bus]:
        return [self.bus_]

    def on_reset(self, kind: str) -> None:
        self._take_pins()

    @property
    def period(self) -> int:
        """CPU cycles per SCK period."""
        return DIVISORS[self.spr] // (2 if self.spi2x else 1)

    def _take_pins(self) -> None:
        master = bool(self.spe and self.mstr)
        for place, wave in ((self.mosi, self.mosi_pin), (self.sck, self.sck_pin)):
            if place is not None:
                place[0].override(place[1], wave, master)
                place[0].direct(place[1], False if self.spe and not master else None)
        slave = bool(self.spe and not self.mstr)
        if self.miso is not None:
            self.miso[0].override(self.miso[1], self.miso_pin, slave)
            self.miso[0].direct(self.miso[1], False if master or (slave and not self.selected) else None)
        if self.sck is not None and slave != (self._clock_end is not None) and self.sck[1] in self.sck[0].drivers:
            if self._clock_end is None:
                self._clock_end = self.sck[0].drivers[self.sck[1]].net.listen(self.clock_edge)
            else:
                self._clock_end()
                self._clock_end = None
        if self.ss is not None and self.ss[1] in self.ss[0].drivers:
            driver: Driver = self.ss[0].drivers[self.ss[1]]
            if self.spe and self._end is None:
                self._end = driver.net.listen(self.ss_edge)
            elif not self.spe and self._end is not None:
                self._end()
                self._end = None

    def written(self, _: int) -> None:
        self._take_pins()
        if self.ss is not None and self.ss[1] in self.ss[0].drivers:
            self.ss_edge(self.ss[0].drivers[self.ss[1]].net.level)

    spe.on_write(written)
    mstr.on_write(written)
    cpol.on_write(lambda self, _: self.watch_bits())

    @property
    def selected(self) -> bool:
        """SS is low."""
        return self.ss is None or not self.ss[0].drivers[self.ss[1]].net.level

    def ss_edge(self, level: bool) -> None:
        """SS of a slave; low while it is an input of a master: another master wants the bus."""
        assert self.ss is not None
        port, n = self.ss
        if self.spe and not self.mstr:
            self.incoming = self.clocked = self.shown = 0
            self._take_pins()
            return
        net = port.drivers[n].net
        held = any(d.volts is not None and d is not port.drivers[n] for d in net.drivers)
        if self.spe and self.mstr and not level and held and not port.ddr >> n & 1:
            self.mstr, self.spif = 0, 1
            self._take_pins()
            self.settle()

    # --- SPDR and the flags

    @spif.on_read
    def look(self) -> int:
        self.armed = self.armed or bool(self.spif or self.wcol)
        return self.spif

    def _access(self) -> None:
        if self.armed:
            self.armed = False
            self.spif = self.wcol = 0

    @data.on_read
    def take(self) -> int:
        self._access()
        return self.received

    @data.computed
    def see(self) -> int:
        return self.received

    @data.on_write
    def start(self, byte: int) -> None:
        self._access()
        if self.shift >= 0 or self.clocked:
            self.wcol = 1
            return
        self.outgoing = byte
        if self.spe and self.mstr and self._powered:
            self.shift, self.started = byte, self.cycles
            self.done.at(self.started + 8 * self.period)
            self.watch_bits()

    def _order(self, byte: int) -> int:
        return int(f"{byte:08b}"[::-1], 2) if self.dord else byte

    @timer
    def done(self) -> None:
        byte, self.shift = self.shift, -1
        answer = self.bus_.transfer(self._order(byte))
        for f in self.traces:
            f("mosi", byte)
            f("miso", self._order(answer))
        self.received = self._order(answer)
        self.spif = 1
        self.watch_bits()

    def exchange(self, byte: int) -> int | None:
        """A master outside moves a byte while SS is low; gives the byte that came back, None when the slave is not selected."""
        if not self.spe or self.mstr or not self.selected:
            return None
        answer, self.received, self.spif = self.outgoing, byte & 0xFF, 1
        self.settle()
        return answer

    def clock_edge(self, level: bool) -> None:
        """SCK of a slave: with CPHA 0 bits are sampled at the first edge of each and change at the second, else the other way round."""
        if not self.selected or not self._powered or self.mosi is None:
            return
        if (level != bool(self.cpol)) == bool(self.cpha):
            self.shown = self.clocked
            if self.miso is not None and self.miso[1] in self.miso[0].drivers:
                self.miso[0].drivers[self.miso[1]].changed()
            return
        self.incoming = self.incoming << 1 & 0xFF | int(self.mosi[0].drivers[self.mosi[1]].net.level)
        self.clocked += 1
        if self.clocked == 8:
            answer, self.received, self.clocked, self.spif = self.outgoing, self._order(self.incoming), 0, 1
            self.outgoing = self.received       # the shift register: what goes out next unless the program writes something else
            for f in self.traces:
                f("mosi", self.received)
                f("miso", answer)
            self.settle()

    def answer_level(self) -> bool:
        return bool(self.outgoing >> (self.shown if self.dord else 7 - self.shown) & 1)

    def visible(self, name: str) -> int | None:
        return None if name == "SPSR" and (self.spif or self.wcol) else super().visible(name)

    # --- the pins' waves

    def clock_level(self) -> bool:
        if self.shift < 0:
            return bool(self.cpol)
        half = (self.cycles - self.started) * 2 // self.period
        return bool(self.cpol ^ half & 1 ^ self.cpha) if half < 16 else bool(self.cpol)

    def data_level(self) -> bool:
        byte = self.shift if self.shift >= 0 else self.outgoing
        n = min(7, (self.cycles - self.started) // self.period) if self.shift >= 0 else 7
        return bool(byte >> (n if self.dord else 7 - n) & 1)

    def watch_bits(self) -> None:
        """While somebody watches SCK or MOSI, each half period is an event."""
        if not (self.sck_pin.watched or self.mosi_pin.watched):
            return
        if self.shift >= 0:
            half = self.period // 2
            n = (self.cycles - self.started) // half + 1
            if n < 16:
                self.edge.at(self.started + n * half)
        for place, wave in ((self.mosi, self.mosi_pin), (self.sck, self.sck_pin)):
            if place is not None and wave.watched:
                place[0].drivers[place[1]].changed()

    @timer
    def edge(self) -> None:
        self.watch_bits()

    @line
    def irq(self) -> int:
        return self.spie & self.spif

    def restored(self) -> None:
        self._take_pins()
