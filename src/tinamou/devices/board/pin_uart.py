"""A serial port between two pins and a character device, bit by bit: the other end of a UART made in software."""

from __future__ import annotations

from tinamou.backends.chardev.base import Chardev
from tinamou.devices.board.core import PinDevice, pin_prop
from tinamou.machine.device import timer
from tinamou.machine.lines import state
from tinamou.machine.props import CHARDEV, U32, prop

NO_BITS: list[int] = []


class PinUart(PinDevice, type="pin-uart", desc="serial port on two pins", category="Input"):
    """Eight data bits, no parity, one stop bit. `rx` is the pin it listens to, `tx` the one it drives."""

    chardev: Chardev | None = prop(CHARDEV, default=None, help="ID of a chardev to use as a backend")
    rx: str = pin_prop("pin that it listens to")
    tx: str = pin_prop("pin that it drives", "")
    baud: int = prop(U32, default=9600)

    bits = state(NO_BITS)
    receiving = state(False)
    shift = state(0)            # bits still to send, the stop bit on top
    errors = state(0)           # frames without a stop bit

    def wire(self) -> None:
        self.net("rx").listen(self.edge)
        self.output = self.driver("tx") if self.tx else None
        if self.output is not None:
            self.output.level(True)
        if self.chardev is not None:
            self.chardev.attach(self)

    @property
    def bit_time(self) -> int:
        return round(1e9 / self.baud)

    def edge(self, level: bool) -> None:
        if not level and not self.receiving:
            self.receiving, self.bits = True, []
            self.sample.after(self.bit_time // 2)

    @timer
    def sample(self) -> None:
        self.bits.append(int(self.net("rx").level))
        if len(self.bits) == 1 and self.bits[0]:
            self.receiving = False
        elif len(self.bits) < 10:
            self.sample.after(self.bit_time)
        else:
            self.receiving = False
            if not self.bits[9]:
                self.errors += 1
            elif self.chardev is not None:
                self.chardev.write(bytes([sum(b << n for n, b in enumerate(self.bits[1:9]))]))

    # --- what a character device asks

    def can_receive(self) -> int:
        return int(not self.shift and self.output is not None)

    def receive(self, data: bytes) -> None:
        self.shift = (data[0] | 0x300) << 1         # start bit, data, stop bit, and a one that marks the end
        self._drive()

    def event(self, what: str) -> None:
        """Connections come and go without the pins noticing."""

    def _drive(self) -> None:
        assert self.output is not None
        if self.shift > 1:
            self.output.level(bool(self.shift & 1))
            self.shift >>= 1
            self.tick.after(self.bit_time)
        else:
            self.shift = 0
            if self.chardev is not None:
                self.chardev.accept_input()

    @timer
    def tick(self) -> None:
        self._drive()
