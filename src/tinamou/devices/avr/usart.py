"""USART of AVR microcontrollers: ATmega48A-328P data sheet, chapters 20 (USART) and 21 (in SPI mode); ATmega640-2561 data sheet,
chapters 22 and 23.

Frames take the cycles that the baud rate register says, in both directions. A frame from the character device has right parity
and stop bits; frames that come over the RXD pin are sampled in the middle of each bit. In synchronous mode with XCK as an input (DDR)
the edges on that pin move the bits in and out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.devices.avr.core import AvrDevice, Signal
from tinamou.devices.char.port import SerialDevice
from tinamou.devices.ssi.bus import SsiBus
from tinamou.machine.bus import Bus
from tinamou.machine.device import fifo, timer
from tinamou.machine.lines import line, state
from tinamou.machine.pins import Driver, Net
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg

ASYNCHRONOUS, SYNCHRONOUS, _, SPI_MASTER = range(4)
FRAME_ERROR, PARITY_ERROR, OVERRUN = 1 << 16, 1 << 17, 1 << 18


class XckSignal(Signal):
    """The clock of the synchronous modes as the pin sees it: always there for frames, only during bytes in SPI mode."""

    def __init__(self, usart: Usart) -> None:
        super().__init__(self.now, usart.watch_bits)
        self.usart = usart

    def running(self) -> bool:
        u = self.usart
        return u.umsel == SYNCHRONOUS or (u.umsel == SPI_MASTER and u.tx_shift >= 0)

    def now(self) -> bool:
        u = self.usart
        if not self.running():
            return bool(u.ucpol)
        early = 1 if u.umsel == SYNCHRONOUS else u.ucsz & 1     # data change with the first edge of a bit; in SPI mode: UCPHA
        return bool((u.cycles - u.tx_start) // (u.ubrr + 1) & 1 ^ u.ucpol ^ early)

    def duty(self) -> float:
        return 0.5 if self.running() else float(self.level())

    def frequency(self) -> float:
        return self.usart.baud if self.running() else 0.0


class Usart(SerialDevice, AvrDevice, type="avr-usart", width=8, access=(1, 1), size=0x8):
    """Universal synchronous and asynchronous receiver and transmitter."""

    txd: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit) of TXD")
    rxd: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit) of RXD")
    xck: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit) of XCK")

    UCSRA = Reg(0)
    rxc = UCSRA.ro(7)
    txc = UCSRA.w1c(6)
    udre = UCSRA.ro(5, reset=1)
    fe = UCSRA.ro(4)
    dor = UCSRA.ro(3)
    upe = UCSRA.ro(2)
    u2x = UCSRA.rw(1)
    mpcm = UCSRA.rw(0)
    UCSRB = Reg(1)
    rxcie = UCSRB.rw(7)
    txcie = UCSRB.rw(6)
    udrie = UCSRB.rw(5)
    rxen = UCSRB.rw(4)
    txen = UCSRB.rw(3)
    ucsz2 = UCSRB.rw(2)
    rxb8 = UCSRB.ro(1)
    txb8 = UCSRB.rw(0)
    UCSRC = Reg(2)
    umsel = UCSRC.rw(7, 6)
    upm = UCSRC.rw(5, 4)
    usbs = UCSRC.rw(3)
    ucsz = UCSRC.rw(2, 1, reset=3)
    ucpol = UCSRC.rw(0)
    UBRRL = Reg(4)
    ubrr_low = UBRRL.rw()
    UBRRH = Reg(5)
    ubrr_high = UBRRH.rw(3, 0)
    UDR = Reg(6)
    udr = UDR.rw()

    polled = ("UCSRA",)
    cleared = {"tx_complete": "txc"}

    rx = fifo(2)                # frames and their errors
    tx_buffer = state(-1)       # the frame behind the one that is being sent
    tx_shift = state(-1)
    tx_start = state(0)
    tx_place = state(-1)        # the bit on the line when XCK is an input, -1 before its first edge
    rx_shift = state(-1)
    rx_bits = state([0][:0])    # sampled from the pin so far
    waits = state(-1)           # the frame behind those in rx
    lost = state(False)         # one before it was lost

    def setup(self) -> None:
        AvrDevice.setup(self)
        self.pin, self.xck_pin = Signal(self.tx_level, self.watch_bits), XckSignal(self)
        self.spi = SsiBus(f"{self.name or 'usart'}.spi", self)
        self.traces: list[Callable[[str, int], object]] = []
        self._end: Callable[[], None] | None = None
        self._clock_end: Callable[[], None] | None = None
        SerialDevice.setup(self)

    def buses(self) -> list[Bus]:
        return [self.spi]

    def on_reset(self, kind: str) -> None:
        self._take_pins()

    # --- the frame

    @property
    def ubrr(self) -> int:
        return self.ubrr_high << 8 | self.ubrr_low

    @property
    def clocked(self) -> bool:
        """The synchronous mode's clock comes from outside."""
        return self.umsel == SYNCHRONOUS and self.xck is not None and not self.xck[0].ddr >> self.xck[1] & 1

    @property
    def bit_cycles(self) -> int:
        """CPU cycles per bit: table 20-1 of the data sheet."""
        if self.umsel in (SYNCHRONOUS, SPI_MASTER):
            return 2 * (self.ubrr + 1)
        return (8 if self.u2x else 16) * (self.ubrr + 1)

    @property
    def data_bits(self) -> int:
        if self.umsel == SPI_MASTER:
            return 8
        return 9 if self.ucsz2 and self.ucsz == 3 else 5 + self.ucsz

    @property
    def frame_bits(self) -> int:
        if self.umsel == SPI_MASTER:
            return 8
        return 1 + self.data_bits + (self.upm >= 2) + 1 + self.usbs

    @property
    def baud(self) -> float:
        """Bits per second."""
        return self.clock.hz / self.bit_cycles

    def _parity(self, value: int) -> int:
        return (value.bit_count() + (self.upm & 1)) & 1

    def _levels(self, value: int) -> list[int]:
        """The bits on the line: start, data, parity, stop."""
        bits = [0] + [value >> n & 1 for n in range(self.data_bits)]
        if self.upm >= 2:
            bits.append(self._parity(value))
        return bits + [1] * (1 + self.usbs)

    # --- transmitter

    @udr.on_write
    def transmit(self, byte: int) -> None:
        if not self.txen or not self.udre or not self._powered:
            self.log.guest_error(f"{self.label}: write of UDR while the transmitter {'is full' if self.txen else 'is off'}")
            return
        value = byte | (self.txb8 << 8 if self.data_bits == 9 else 0)
        if self.tx_shift < 0:
            self._start(value)
        else:
            self.tx_buffer, self.udre = value, 0

    def _start(self, value: int) -> None:
        self.tx_shift, self.tx_start = value & (1 << self.data_bits) - 1, self.cycles
        self.tx_place = -1
        if not self.clocked:
            self.sent.at(self.tx_start + self.frame_bits * self.bit_cycles)
        self.watch_bits()

    @timer
    def sent(self) -> None:
        self._frame_sent()

    def _frame_sent(self) -> None:
        value, self.tx_shift = self.tx_shift, -1
        for f in self.traces:
            f("tx", value)
        if self.umsel == SPI_MASTER:
            self._spi(value)
        else:
            self.send(value & 0xFF)
        if self.tx_buffer >= 0:
            self._start(self.tx_buffer)
            self.tx_buffer, self.udre = -1, 1
        else:
            self.txc = 1
            self._take_pins()

    def _spi(self, value: int) -> None:
        lsb_first = self.ucsz >> 1          # UDORD
        answer = self.spi.transfer(_reverse(value) if lsb_first else value)
        if self.rxen:
            self._received(_reverse(answer) if lsb_first else answer)

    def tx_level(self) -> bool:
        if self.tx_shift < 0:
            return True
        n = self.tx_place if self.clocked else (self.cycles - self.tx_start) // self.bit_cycles
        if n < 0:
            return True
        bits = self._levels(self.tx_shift)
        return bool(bits[n]) if n < len(bits) else True

    def watch_bits(self) -> None:
        """While somebody watches TXD or XCK, their edges are events."""
        if self.pin.watched and self.tx_shift >= 0 and not self.clocked:
            n = (self.cycles - self.tx_start) // self.bit_cycles + 1
            self.bit.at(self.tx_start + n * self.bit_cycles)
        self._driver_changed()
        if self.xck_pin.watched:
            if self.xck_pin.running():
                half = self.ubrr + 1
                self.half_bit.at(self.tx_start + ((self.cycles - self.tx_start) // half + 1) * half)
            self._changed(self.xck, self.xck_pin)

    @timer
    def half_bit(self) -> None:
        self.watch_bits()

    @timer
    def bit(self) -> None:
        self.watch_bits()

    def _driver_changed(self) -> None:
        if self.pin.watched:
            self._changed(self.txd, self.pin)

    def _changed(self, place: tuple[Any, int] | None, pin: Signal) -> None:
        driver: Driver | None = place[0].drivers.get(place[1]) if place else None
        if driver is not None and driver.wave is pin:
            driver.changed()

    # --- pins

    def _take_pins(self) -> None:
        if self.txd is not None:
            port, n = self.txd
            on = bool(self.txen or self.tx_shift >= 0) and self._powered
            port.override(n, self.pin, on)
            port.direct(n, True if on else None)
        if self.rxd is not None:
            port, n = self.rxd
            port.direct(n, False if self.rxen else None)
            if self.rxen and self._end is None and n in port.drivers:
                self._end = port.drivers[n].net.listen(self.rx_edge)
            elif not self.rxen and self._end is not None:
                self._end()
                self._end = None

        if self.xck is not None:
            port, n = self.xck
            port.override(n, self.xck_pin, self.umsel in (SYNCHRONOUS, SPI_MASTER) and self._powered)
            if self.umsel == SYNCHRONOUS and self._clock_end is None and n in port.drivers:
                self._clock_end = port.drivers[n].net.listen(self.clock_edge)
            elif self.umsel != SYNCHRONOUS and self._clock_end is not None:
                self._clock_end()
                self._clock_end = None

    @umsel.on_write
    def choose_mode(self, _: int) -> None:
        self._take_pins()

    @txen.on_write
    def transmitter(self, on: int) -> None:
        self._take_pins()

    @rxen.on_write
    def receiver(self, on: int) -> None:
        if not on:
            self.rx.clear()
            self.rx_shift, self.waits, self.lost = -1, -1, False
            self.arrived.cancel()
            self.sample.cancel()
        self._take_pins()
        if on:
            self.more()

    # --- receiver

    def can_receive(self) -> int:
        return int(bool(self.rxen and self._powered and self.umsel != SPI_MASTER and not self.clocked and not self.rx.full
                        and self.rx_shift < 0 and not self.rx_bits))

    def receive(self, data: bytes) -> None:
        self.rx_shift = data[0] & (1 << self.data_bits) - 1
        self.arrived.after(self.frame_bits * self.bit_cycles)

    @timer
    def arrived(self) -> None:
        value, self.rx_shift = self.rx_shift, -1
        self._received(value)
        self.more()

    def receive_frame(self, value: int, *, frame_error: bool = False, parity_error: bool = False) -> None:
        """A frame of up to nine bits is complete: for scripts that want errors or the ninth bit."""
        self._received(value | FRAME_ERROR * frame_error | PARITY_ERROR * parity_error)
        self.settle()

    def _received(self, frame: int) -> None:
        if not self.rxen:
            return
        for f in self.traces:
            f("rx", frame & 0x1FF)
        if self.mpcm and not (frame >> 8 & 1 if self.data_bits == 9 else not frame & FRAME_ERROR):
            return
        if self.rx.full:            # it waits in the shift register, until the next one begins
            self.lost = self.lost or self.waits >= 0
            self.waits = frame
            return
        self.rx.append(frame)

    @udr.on_read
    def take(self) -> int:
        if not self.rx:
            return 0
        frame = self.rx.popleft()
        if self.waits >= 0:
            self.rx.append(self.waits | OVERRUN * self.lost)
            self.waits, self.lost = -1, False
        self.more()
        return frame & 0xFF

    @udr.computed
    def head(self) -> int:
        return self.rx[0] & 0xFF if self.rx else 0

    @rxc.computed
    def waiting(self) -> int:
        return bool(self.rx)

    @fe.computed
    def frame_error(self) -> int:
        return bool(self.rx and self.rx[0] & FRAME_ERROR)

    @upe.computed
    def parity_error(self) -> int:
        return bool(self.rx and self.rx[0] & PARITY_ERROR)

    @dor.computed
    def overrun(self) -> int:
        return bool(self.rx and self.rx[0] & OVERRUN)

    @rxb8.computed
    def ninth(self) -> int:
        return self.rx[0] >> 8 & 1 if self.rx else 0

    # --- bits over the RXD pin

    def rx_edge(self, level: bool) -> None:
        if not level and not self.rx_bits and self.rx_shift < 0 and self.umsel != SPI_MASTER and self._powered and not self.clocked:
            self.rx_bits = [-1]
            self.sample.after(self.bit_cycles // 2)

    def clock_edge(self, level: bool) -> None:
        """XCK as an input: with UCPOL 0 data change at its rising edge and are sampled at the falling one."""
        if not self.clocked or not self._powered:
            return
        if level == bool(self.ucpol):
            if self.rxen:
                self.rx_bits = self.rx_bits or [-1]
                self._sampled()
                self.settle()
        elif self.tx_shift >= 0:
            self.tx_place += 1
            if self.tx_place == self.frame_bits:
                self._frame_sent()
                self.tx_place = 0 if self.tx_shift >= 0 else -1
                self.settle()
            self._driver_changed()

    @timer
    def sample(self) -> None:
        if self._sampled():
            self.sample.after(self.bit_cycles)

    def _sampled(self) -> bool:
        """Take a bit off the pin; whether more belong to the frame."""
        assert self.rxd is not None
        net: Net = self.rxd[0].drivers[self.rxd[1]].net
        level = int(net.level)
        if self.rx_bits == [-1]:
            self.rx_bits = [0] if not level else []         # else noise: no start bit
        else:
            self.rx_bits.append(level)
        need = 1 + self.data_bits + (self.upm >= 2) + 1
        if self.rx_bits and len(self.rx_bits) < need:
            return True
        if self.rx_bits:
            bits, self.rx_bits = self.rx_bits, []
            value = sum(b << n for n, b in enumerate(bits[1 : 1 + self.data_bits]))
            wrong = self.upm >= 2 and bits[1 + self.data_bits] != self._parity(value)
            self._received(value | FRAME_ERROR * (not bits[-1]) | PARITY_ERROR * bool(wrong))
        return False

    # --- interrupts

    @line
    def rx_complete(self) -> int:
        return self.rxcie & self.rxc

    @line
    def data_empty(self) -> int:
        return self.udrie & self.udre

    @line
    def tx_complete(self) -> int:
        return self.txcie & self.txc

    def restored(self) -> None:
        self._take_pins()


def _reverse(byte: int) -> int:
    return int(f"{byte & 0xFF:08b}"[::-1], 2)
