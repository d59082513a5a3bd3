"""A strip of WS2812 light emitting diodes: Worldsemi WS2812B data sheet, data transfer time and sequence chart."""

from __future__ import annotations

from tinamou.devices.board.core import PinDevice, pin_prop
from tinamou.machine.lines import state
from tinamou.machine.props import U16, prop

ONE, RESET = 600, 50_000        # ns: a high time from here on is a 1 (0.4 and 0.8 us +- 150 ns); a low time that ends a frame


class Ws2812(PinDevice, type="ws2812", desc="strip of WS2812 RGB LEDs", category="Display"):
    """`pixels` are (red, green, blue) as last shown."""

    data: str = pin_prop("the data wire (DIN)")
    count: int = prop(U16, default=8, help="number of LEDs")

    rose = state(0)
    fell = state(0)
    bits = state(bytearray())
    shown = state(b"")
    frames = state(0)

    def wire(self) -> None:
        self.net("data").listen(self.edge)

    def edge(self, level: bool) -> None:
        now = self.clock.ticks
        if level:
            self._latch(now)
            self.rose = now
        elif len(self.bits) < self.count * 24:
            self.fell = now
            self.bits.append(now - self.rose >= ONE)
        else:
            self.fell = now

    def _latch(self, now: int) -> None:
        if self.bits and now - self.fell >= RESET:
            new = bytes(int("".join(map(str, self.bits[k : k + 8])), 2) for k in range(0, len(self.bits) // 24 * 24, 8))
            self.shown = new + self.shown[len(new) :]
            self.bits = bytearray()
            self.frames += 1

    @property
    def pixels(self) -> list[tuple[int, int, int]]:
        """(red, green, blue) of each LED, 0 to 255."""
        self._latch(self.clock.ticks)
        grb = self.shown + bytes(max(0, self.count * 3 - len(self.shown)))
        return [(grb[k + 1], grb[k], grb[k + 2]) for k in range(0, self.count * 3, 3)]
