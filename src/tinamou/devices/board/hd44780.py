"""Character displays with an HD44780: Hitachi ADE-207-272(Z) data sheet, tables 6 (instructions) and 7 (execution times)."""

from __future__ import annotations

from tinamou.devices.board.core import PinDevice, pin_prop
from tinamou.machine.lines import state
from tinamou.machine.pins import Driver
from tinamou.machine.props import U8, prop

SLOW, FAST = 1_520_000, 37_000      # ns: clear and home; everything else
BUS = [f"d{n}" for n in range(8)]


class Hd44780(PinDevice, type="hd44780", desc="character display with an HD44780", category="Display"):
    """`text` is what the display shows, a line each row. Four or eight wires, RW may be tied to ground."""

    rs: str = pin_prop("register select")
    en: str = pin_prop("enable")
    rw: str = pin_prop("read/write", "")
    d0: str = pin_prop("", "")
    d1: str = pin_prop("", "")
    d2: str = pin_prop("", "")
    d3: str = pin_prop("", "")
    d4: str = pin_prop("")
    d5: str = pin_prop("")
    d6: str = pin_prop("")
    d7: str = pin_prop("")
    columns: int = prop(U8, default=16)
    rows: int = prop(U8, default=2)

    ddram = state(bytearray(b" " * 128))
    cgram = state(bytearray(64))
    address = state(0)
    in_cgram = state(False)
    eight = state(True)         # 8-bit interface
    two_lines = state(False)
    nibble = state(-1)          # the first half of a byte, 4-bit interface
    second = state(False)       # a read has given its first half
    increment = state(True)
    shifts = state(False)
    offset = state(0)
    on = state(False)
    cursor = state(False)
    blink = state(False)
    ready = state(0)            # when the busy flag goes off

    def wire(self) -> None:
        self.outputs_: list[Driver] = [self.driver(name) for name in BUS if getattr(self, name)]
        self.net("en").listen(self.strobe)

    def _bus(self) -> int:
        return sum(bool(getattr(self, name)) and self.pin(name).level << n for n, name in enumerate(BUS))

    def strobe(self, level: bool) -> None:
        """The part takes data at the falling edge of E and gives it while E is high."""
        reading = bool(self.rw) and self.pin("rw").level
        if level and reading:
            self._give()
        elif not level:
            for d in self.outputs_:
                d.release()
            if not reading:
                self._take(self._bus())
            elif not self.eight:
                self.second = not self.second
                if not self.second and self.pin("rs").level:
                    self._step()
            elif self.pin("rs").level:
                self._step()

    def _give(self) -> None:
        if self.pin("rs").level:
            value = self.cgram[self.address & 63] if self.in_cgram else self.ddram[self.address & 127]
        else:
            value = (self.clock.ticks < self.ready) << 7 | self.address & 0x7F
        if not self.eight and self.second:
            value <<= 4
        wired = [n for n, name in enumerate(BUS) if getattr(self, name)]
        for n, d in zip(wired, self.outputs_, strict=True):
            d.level(bool(value >> n & 1))

    def _take(self, bus: int) -> None:
        if not self.eight:
            if self.nibble < 0:
                self.nibble = bus & 0xF0
                return
            bus, self.nibble = self.nibble | bus >> 4, -1
        if self.clock.ticks < self.ready:
            self.log.guest_error(f"{self.label}: byte {bus:#04x} while the display is busy")
        if self.pin("rs").level:
            if self.in_cgram:
                self.cgram[self.address & 63] = bus & 0x1F
            else:
                self.ddram[self.address & 127] = bus
            self._step()
            if self.shifts:
                self.offset = (self.offset + (1 if self.increment else -1)) % self._width
        else:
            self._instruction(bus)
        self.ready = self.clock.ticks + (SLOW if bus in (1, 2, 3) and not self.pin("rs").level else FAST)

    @property
    def _width(self) -> int:
        return 40 if self.two_lines else 80

    def _step(self) -> None:
        step = 1 if self.increment else -1
        if self.in_cgram:
            self.address = (self.address + step) & 63
        elif self.two_lines:
            line, column = divmod(self.address, 64)
            column += step
            if not 0 <= column < 40:
                line, column = 1 - line, column % 40
            self.address = line * 64 + column
        else:
            self.address = (self.address + step) % 80

    def _instruction(self, byte: int) -> None:
        if byte & 0x80:
            self.address, self.in_cgram = byte & 0x7F, False
        elif byte & 0x40:
            self.address, self.in_cgram = byte & 0x3F, True
        elif byte & 0x20:
            self.eight, self.two_lines = bool(byte & 0x10), bool(byte & 8)
            self.nibble = -1
        elif byte & 0x10:
            step = 1 if byte & 4 else -1
            if byte & 8:
                self.offset = (self.offset - step) % self._width
            else:
                before, self.increment = self.increment, step > 0
                self._step()
                self.increment = before
        elif byte & 8:
            self.on, self.cursor, self.blink = bool(byte & 4), bool(byte & 2), bool(byte & 1)
        elif byte & 4:
            self.increment, self.shifts = bool(byte & 2), bool(byte & 1)
        elif byte & 3:
            self.address, self.in_cgram, self.offset = 0, False, 0
            if byte == 1:
                self.ddram[:] = b" " * 128
                self.increment = True

    @property
    def text(self) -> str:
        """What the display shows."""
        if not self.on:
            return "\n".join([" " * self.columns] * self.rows)
        lines = []
        for row in range(self.rows):
            start, shift = (row & 1) * 64, (row >> 1) * self.columns
            lines.append("".join(chr(c) if 32 <= (c := self.ddram[start + (k + shift + self.offset) % self._width]) < 127 else
                                 "\N{BLACK SQUARE}" for k in range(self.columns)))
        return "\n".join(lines)
