"""16550A UART: Texas Instruments PC16550D data sheet (SNLS378), section 8."""

from __future__ import annotations

from tinamou.devices.char.port import SerialDevice
from tinamou.machine.device import ResetKind, fifo, timer
from tinamou.machine.lines import line, state
from tinamou.machine.memory import Endian, Region
from tinamou.machine.props import U8, U32, prop
from tinamou.machine.registers import Reg

FIFO_DEPTH = 16
TRIGGER = (1, 4, 8, 14)                 # FCR bits 7:6
STATUS, DATA, TIMEOUT, EMPTY, MODEM = 0x6, 0x4, 0xC, 0x2, 0x0


class Ns16550a(SerialDevice, type="serial-mm", compatible="ns16550a", node="serial", size=8, width=8, desc="16550A UART"):
    """Eight byte registers; the divisor latch hides the first two while DLAB is set."""

    regshift: int = prop(U8, default=0, help="log2 of the bytes between two registers")
    baudbase: int = prop(U32, default=115200, help="input clock / 16")

    DATA = Reg(0)
    data = DATA.rw()
    IER = Reg(1)
    enable_high = IER.rw(7, 0)
    IIR = Reg(2)
    identify = IIR.rw()
    LCR = Reg(3)
    dlab = LCR.rw(7)
    send_break = LCR.rw(6)
    parity = LCR.rw(5, 3)
    two_stop = LCR.rw(2)
    word = LCR.rw(1, 0)
    MCR = Reg(4)
    loop = MCR.rw(4)
    out2 = MCR.rw(3, reset=1)
    out1 = MCR.rw(2)
    rts = MCR.rw(1)
    dtr = MCR.rw(0)
    LSR = Reg(5)
    fifo_error = LSR.ro(7)
    idle = LSR.ro(6, reset=1)
    thr_empty = LSR.ro(5, reset=1)
    break_seen = LSR.rc(4)
    framing = LSR.rc(3)
    parity_error = LSR.rc(2)
    overrun = LSR.rc(1)
    ready = LSR.ro(0)
    MSR = Reg(6)
    dcd, ri, dsr, cts = MSR.ro(7), MSR.ro(6), MSR.ro(5), MSR.ro(4)
    delta_dcd, delta_ri, delta_dsr, delta_cts = MSR.rc(3), MSR.rc(2), MSR.rc(1), MSR.rc(0)
    SCR = Reg(7)
    scratch = SCR.rw()

    divisor = state(12)                 # 9600 baud
    ier = state(0)
    fcr = state(0)
    rx = fifo(FIFO_DEPTH)
    holding = state(0)                  # the receive buffer in 16450 mode, kept after it was read
    thr_pending = state(False)          # the transmitter-empty interrupt, taken back by reading IIR
    timed_out = state(False)

    def on_reset(self, kind: ResetKind) -> None:
        self.more()

    # --- the data register and its two alter egos

    @data.on_read
    def take(self) -> int:
        if self.dlab:
            return self.divisor & 0xFF
        if self.rx:
            self.holding = self.rx.popleft()
        self.timed_out = False
        if self.rx and self.fcr & 1:
            self.idle_in.after(self.character(4))
        else:
            self.idle_in.cancel()
        if not self.loop:
            self.more()
        return self.holding

    @data.on_write
    def transmit(self, byte: int) -> None:
        if self.dlab:
            self.divisor = self.divisor & 0xFF00 | byte
            return
        if self.loop:
            self.accept(byte)
        else:
            self.send(byte)
        self.thr_pending = True

    @enable_high.on_read
    def read_ier(self) -> int:
        return self.divisor >> 8 if self.dlab else self.ier

    @enable_high.on_write
    def write_ier(self, value: int) -> None:
        if self.dlab:
            self.divisor = self.divisor & 0xFF | value << 8
            return
        if value & 2 and not self.ier & 2:
            self.thr_pending = True
        self.ier = value & 0xF

    # --- interrupts

    def cause(self) -> int | None:
        """The IIR code of the most urgent enabled interrupt, or None (table 6)."""
        if self.ier & 4 and (self.break_seen | self.framing | self.parity_error | self.overrun):
            return STATUS
        if self.ier & 1 and self.timed_out:
            return TIMEOUT
        if self.ier & 1 and self.rx and (not self.fcr & 1 or len(self.rx) >= TRIGGER[self.fcr >> 6]):
            return DATA
        if self.ier & 2 and self.thr_pending:
            return EMPTY
        if self.ier & 8 and (self.delta_cts | self.delta_dsr | self.delta_ri | self.delta_dcd):
            return MODEM
        return None

    @identify.on_read
    def read_iir(self) -> int:
        cause = self.cause()
        if cause == EMPTY:
            self.thr_pending = False
        return (1 if cause is None else cause) | (0xC0 if self.fcr & 1 else 0)

    @identify.on_write
    def write_fcr(self, value: int) -> None:
        if (value ^ self.fcr) & 1:
            value |= 6                  # switching the FIFOs on or off empties them
        if value & 2:
            self.rx.clear()
            self.timed_out = False
            self.idle_in.cancel()
            self.break_seen = 0
        if value & 4:
            self.thr_pending = True
        self.fcr = value & 0xC9 if value & 1 else 0
        if value & 2:
            self.more()

    @line
    def irq(self) -> bool:
        return self.cause() is not None

    @timer
    def idle_in(self) -> None:
        """Four character times without input while bytes wait below the trigger level."""
        self.timed_out = bool(self.rx)

    def character(self, n: int) -> int:
        """Nanoseconds that `n` characters of ten bits take."""
        return n * 10 * max(self.divisor, 1) * 1_000_000_000 // self.baudbase

    # --- line and modem status

    @ready.computed
    def has_data(self) -> int:
        return len(self.rx) > 0

    @cts.computed
    def read_cts(self) -> int:
        return self.rts if self.loop else 1

    @dsr.computed
    def read_dsr(self) -> int:
        return self.dtr if self.loop else 1

    @ri.computed
    def read_ri(self) -> int:
        return self.out1 if self.loop else 0

    @dcd.computed
    def read_dcd(self) -> int:
        return self.out2 if self.loop else 1

    # --- input

    def can_receive(self) -> int:
        if self.loop:
            return 0
        if not self.fcr & 1:
            return int(not self.rx)
        level = TRIGGER[self.fcr >> 6]
        return level - len(self.rx) if len(self.rx) < level else int(not self.rx.full)

    def receive(self, data: bytes) -> None:
        for byte in data:
            self.accept(byte)
        self.settle()

    def accept(self, byte: int) -> None:
        if len(self.rx) >= (FIFO_DEPTH if self.fcr & 1 else 1):
            self.overrun = 1
            return
        self.rx.append(byte)
        if self.fcr & 1:
            self.idle_in.after(self.character(4))

    def event(self, what: str) -> None:
        if what == "break":
            self.accept(0)
            self.break_seen = 1
            self.settle()

    # --- register spacing

    def region(self) -> Region | None:
        if not self.regshift:
            return None
        from tinamou.machine.memory import Io

        return Io("serial", 8 << self.regshift, Spaced(self, self.regshift), endian=self.endian)


class Spaced:
    """The byte registers of a device `1 << shift` bytes apart; the bytes between read as zero."""

    def __init__(self, device: Ns16550a, shift: int, endian: Endian = "little") -> None:
        self.device, self.shift = device, shift

    def read(self, offset: int, size: int) -> int:
        return self.device.read(offset >> self.shift, 1)

    def write(self, offset: int, value: int, size: int) -> None:
        self.device.write(offset >> self.shift, value & 0xFF, 1)
