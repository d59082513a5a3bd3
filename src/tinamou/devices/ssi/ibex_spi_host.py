"""OpenTitan SPI host: OpenTitan hardware documentation, SPI_HOST HWIP technical specification."""

from __future__ import annotations

from tinamou.devices.ssi.bus import SsiBus
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device, fifo
from tinamou.machine.lines import lines
from tinamou.machine.machine import Machine
from tinamou.machine.props import U32, prop
from tinamou.machine.registers import Reg

TX_DEPTH, RX_DEPTH = 72, 64             # words
RECEIVE, TRANSMIT = 1, 2
COMMAND_BUSY, OVERFLOW, UNDERFLOW, BAD_COMMAND, BAD_CHIP = 1, 2, 4, 8, 16


class IbexSpiHost(Device, type="ibex-spi", size=0x1000, access=(4, 4)):
    """Segments of a command run at once: bytes go out of the transmit FIFO and come into the receive FIFO by words."""

    num_cs: int = prop(U32, default=1, name="num_cs", help="number of chip selects")

    INTR_STATE = Reg(0x00)
    error_seen, event_seen = INTR_STATE.w1c(0), INTR_STATE.ro(1)
    INTR_ENABLE = Reg(0x04)
    error_enable_irq, event_enable_irq = INTR_ENABLE.rw(0), INTR_ENABLE.rw(1)
    INTR_TEST = Reg(0x08)
    test = INTR_TEST.wo(1, 0)
    ALERT_TEST = Reg(0x0C)
    alert = ALERT_TEST.unimpl(0)
    CONTROL = Reg(0x10)
    spi_enable = CONTROL.rw(31)
    software_reset = CONTROL.rw(30)
    output_enable = CONTROL.rw(29)
    tx_watermark = CONTROL.rw(15, 8)
    rx_watermark = CONTROL.rw(7, 0, reset=0x7F)
    STATUS = Reg(0x14)
    ready, active = STATUS.ro(31), STATUS.const(0, 30)
    tx_full, tx_empty, tx_stall, tx_below = STATUS.ro(29), STATUS.ro(28), STATUS.const(0, 27), STATUS.ro(26)
    rx_full, rx_empty, rx_stall = STATUS.ro(25), STATUS.ro(24), STATUS.const(0, 23)
    byte_order, rx_above = STATUS.const(0, 22), STATUS.ro(20)
    command_depth, rx_depth, tx_depth = STATUS.const(0, 19, 16), STATUS.ro(15, 8), STATUS.ro(7, 0)
    CONFIGOPTS = Reg(0x18)
    options = CONFIGOPTS.rw()
    CSID = Reg(0x1C)
    csid = CSID.rw()
    COMMAND = Reg(0x20)
    direction, speed, hold = COMMAND.wo(13, 12), COMMAND.wo(11, 10), COMMAND.wo(9)
    length = COMMAND.wo(8, 0)
    RXDATA = Reg(0x24)
    rx_data = RXDATA.ro()
    TXDATA = Reg(0x28)
    tx_data = TXDATA.wo()
    ERROR_ENABLE = Reg(0x2C)
    error_enable = ERROR_ENABLE.rw(4, 0, reset=0x1F)
    ERROR_STATUS = Reg(0x30)
    errors = ERROR_STATUS.w1c(5, 0)
    EVENT_ENABLE = Reg(0x34)
    events = EVENT_ENABLE.rw(5, 0)

    tx = fifo(TX_DEPTH * 4)             # bytes
    rx = fifo(RX_DEPTH * 4)

    def setup(self) -> None:
        self.ssi = SsiBus("ssi", self)

    def buses(self) -> list[Bus]:
        return [self.ssi]

    def attached(self, machine: Machine) -> None:
        super().attached(machine)
        for d in self.ssi.children:
            d.attached(machine)

    # --- data

    @tx_data.on_write
    def put(self, value: int) -> None:
        if self.tx.room < 4:
            self.fail(OVERFLOW)
        else:
            self.tx.extend(value.to_bytes(4, "little"))

    @rx_data.on_read
    def take(self) -> int:
        if not self.rx:
            self.fail(UNDERFLOW)
            return 0
        return int.from_bytes(bytes(self.rx.popleft() if self.rx else 0 for _ in range(4)), "little")

    @length.on_write
    def run(self, length: int) -> None:
        if not self.spi_enable:
            return
        if self.csid >= self.num_cs:
            self.fail(BAD_CHIP)
            return
        if self.speed == 3 or (self.speed and self.direction == (RECEIVE | TRANSMIT)):
            self.fail(BAD_COMMAND)
            return
        self.ssi.chip_select(self.csid, True)
        for _ in range(length + 1):
            sent = (self.tx.popleft() if self.tx else 0) if self.direction & TRANSMIT else 0
            got = self.ssi.transfer(sent)
            if self.direction & RECEIVE:
                if self.rx.full:
                    self.fail(OVERFLOW)
                    break
                self.rx.append(got)
        if self.direction & TRANSMIT:
            while len(self.tx) % 4:
                self.tx.popleft()
        if not self.hold:
            self.ssi.chip_select(self.csid, False)

    @software_reset.on_write
    def forget(self, on: int) -> None:
        if on:
            self.tx.clear()
            self.rx.clear()
            for n in range(self.num_cs):
                self.ssi.chip_select(n, False)

    def fail(self, bit: int) -> None:
        self.errors |= bit
        if self.error_enable & bit:
            self.error_seen = 1

    # --- status

    @ready.computed
    def is_ready(self) -> int:
        return self.spi_enable

    @tx_full.computed
    def no_room(self) -> int:
        return self.tx.room < 4

    @tx_empty.computed
    def nothing_to_send(self) -> int:
        return not self.tx

    @tx_below.computed
    def few_to_send(self) -> int:
        return self.tx_depth < self.tx_watermark

    @rx_full.computed
    def nothing_fits(self) -> int:
        return self.rx.full

    @rx_empty.computed
    def nothing_received(self) -> int:
        return not self.rx

    @rx_above.computed
    def many_received(self) -> int:
        return self.rx_depth >= self.rx_watermark

    @rx_depth.computed
    def received_words(self) -> int:
        return -(-len(self.rx) // 4)

    @tx_depth.computed
    def waiting_words(self) -> int:
        return -(-len(self.tx) // 4)

    @event_seen.computed
    def any_event(self) -> int:
        now = (self.rx_full | self.tx_empty << 1 | self.rx_above << 2 | self.tx_below << 3 | self.ready << 4 | 1 << 5)
        return int(bool(now & self.events))

    @lines(2)
    def irq(self, n: int) -> int:
        return self.error_seen & self.error_enable_irq if n == 0 else self.event_seen & self.event_enable_irq
