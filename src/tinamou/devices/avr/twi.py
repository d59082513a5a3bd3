"""Two-wire serial interface of AVR microcontrollers: ATmega48A-328P data sheet, chapter 22 (status codes: tables 22-2 to 22-6);
ATmega640-2561 data sheet, chapter 24."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.devices.avr.core import AvrDevice
from tinamou.devices.i2c.bus import I2cBus
from tinamou.machine.bus import Bus
from tinamou.machine.device import timer
from tinamou.machine.lines import line, state
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg

BUS_ERROR, START, REPEATED, IDLE = 0x00, 0x08, 0x10, 0xF8
MT_SLA_ACK, MT_SLA_NACK, MT_DATA_ACK, MT_DATA_NACK = 0x18, 0x20, 0x28, 0x30
MR_SLA_ACK, MR_SLA_NACK, MR_DATA_ACK, MR_DATA_NACK = 0x40, 0x48, 0x50, 0x58
SR_SLA, SR_GENERAL, SR_DATA_ACK, SR_DATA_NACK, SR_GENERAL_ACK, SR_GENERAL_NACK, SR_STOP = 0x60, 0x70, 0x80, 0x88, 0x90, 0x98, 0xA0
ST_SLA, ST_DATA_ACK, ST_DATA_NACK, ST_LAST = 0xA8, 0xB8, 0xC0, 0xC8
LOST, SR_SLA_LOST, SR_GENERAL_LOST, ST_SLA_LOST = 0x38, 0x68, 0x78, 0xB0
ADDRESSED = {"receive": (SR_SLA, SR_SLA_LOST), "general": (SR_GENERAL, SR_GENERAL_LOST), "transmit": (ST_SLA, ST_SLA_LOST)}


class Twi(AvrDevice, type="avr-twi", size=6):
    """Master of the parts on its bus, and slave of a master outside (`master_write`, `master_read`)."""

    sda: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit)")
    scl: tuple[Any, int] | None = prop(OBJECT, default=None, help="(port, bit)")

    TWBR = Reg(0)
    twbr = TWBR.rw()
    TWSR = Reg(1)
    status = TWSR.ro(7, 3, reset=IDLE >> 3)
    prescaler = TWSR.rw(1, 0)
    TWAR = Reg(2)
    own = TWAR.rw(7, 1, reset=0x7F)
    general = TWAR.rw(0)
    TWDR = Reg(3)
    data = TWDR.rw(reset=0xFF)
    TWCR = Reg(4)
    twint = TWCR.w1c(7)
    twea = TWCR.rw(6)
    twsta = TWCR.rw(5)
    twsto = TWCR.rw(4)
    twwc = TWCR.ro(3)
    twen = TWCR.rw(2)
    twie = TWCR.rw(0)
    TWAMR = Reg(5)
    mask = TWAMR.rw(7, 1)

    polled = ("TWCR", "TWSR")
    action = state("")              # what goes on on the bus: start, address, data out, data in, stop
    master = state(False)           # the bus is ours
    reading = state(False)
    slave = state("")               # "", "receive", "general" or "transmit"
    nacked = state(False)           # slave: the data byte came without TWEA
    rival = state(-1)               # the next byte of a master outside that began in the same moment, -1 without one

    def setup(self) -> None:
        super().setup()
        self.bus_ = I2cBus("i2c-bus", self)
        self.traces: list[Callable[[str, int], object]] = []
        self.queue: list[tuple[int, bool, list[int], int, Callable[[list[int] | None], object]]] = []

    def buses(self) -> list[Bus]:
        return [self.bus_]

    def on_reset(self, kind: str) -> None:
        self.bus_.stop()
        self._take_pins(False)

    def _take_pins(self, on: bool) -> None:
        for place in (self.sda, self.scl):
            if place is not None:
                place[0].direct(place[1], False if on else None)

    @property
    def scl_cycles(self) -> int:
        """CPU cycles per bit."""
        return 16 + (2 * self.twbr << 2 * self.prescaler)

    def _trace(self, what: str, value: int) -> None:
        for f in self.traces:
            f(what, value)

    # --- TWCR

    @twen.on_write
    def enable(self, on: int) -> None:
        self._take_pins(bool(on))
        if not on:
            self.step.cancel()
            self.bus_.stop()
            self.action, self.master, self.slave, self.rival = "", False, "", -1

    @data.on_write
    def loaded(self, value: int) -> None:
        self.twwc = int(not self.twint)  # a write while the bus is busy collides

    @twint.on_write
    def go(self, on: int) -> None:
        """Writing 1 to TWINT lets the bus go on."""
        if not on:
            if self.twsta and not self.action and not self.twint and self.twen and not self.slave:
                self._begin("start", 1)
            return
        if not self.twen or not self._powered:
            return
        status = self.status << 3
        if self.twsto:
            if self.master:
                self._begin("stop", 1)
            else:
                self.twsto, self.slave, self.status = 0, "", IDLE >> 3
                if self.twsta:
                    self._begin("start", 1)
        elif self.slave:
            self._slave_goes_on()
        elif self.twsta:
            self._begin("start", 1)
        elif not self.master:
            self._next_master()
        elif status in (START, REPEATED):
            self._begin("address", 9)
        elif status in (MT_SLA_ACK, MT_SLA_NACK, MT_DATA_ACK, MT_DATA_NACK):
            self._begin("out", 9)
        elif status in (MR_SLA_ACK, MR_DATA_ACK):
            self._begin("in", 9)

    def _begin(self, action: str, bits: int) -> None:
        self.action = action
        self.step.after(bits * self.scl_cycles)

    def _tell(self, status: int) -> None:
        self.status, self.twint = status >> 3, 1

    @timer
    def step(self) -> None:
        """The action on the bus is over."""
        action, self.action = self.action, ""
        match action:
            case "start":
                self._trace("start", 0)
                if self.master:
                    self.rival = -1
                self._tell(REPEATED if self.master else START)
                self.master = True
            case "address":
                if not self._prevails():
                    return
                self.reading = bool(self.data & 1)
                ack = self.bus_.start(self.data >> 1, self.reading)
                self._trace("ack" if ack else "nack", self.data)
                self._tell((MR_SLA_ACK if ack else MR_SLA_NACK) if self.reading else (MT_SLA_ACK if ack else MT_SLA_NACK))
            case "out":
                if not self._prevails():
                    return
                ack = self.bus_.write(self.data)
                self._trace("ack" if ack else "nack", self.data)
                self._tell(MT_DATA_ACK if ack else MT_DATA_NACK)
            case "in":
                self.data = self.bus_.read()
                self._trace("ack" if self.twea else "nack", self.data)
                self._tell(MR_DATA_ACK if self.twea else MR_DATA_NACK)
            case "stop":
                self.bus_.stop()
                self._trace("stop", 0)
                self.master, self.twsto, self.status, self.rival = False, 0, IDLE >> 3, -1
                if self.twsta:
                    self._begin("start", 1)
                else:
                    self._next_master()
            case "slave":
                self._slave_byte()

    # --- slave

    def master_write(self, address: int, data: bytes, done: Callable[[list[int] | None], object] = lambda _: None) -> None:
        """A master outside writes. `done` gets the list of bytes that were acknowledged, or None when nobody answered."""
        self._apply(address, False, list(data), 0, done)

    def master_read(self, address: int, count: int, done: Callable[[list[int] | None], object]) -> None:
        """A master outside reads `count` bytes; `done` gets them, or None when nobody answered."""
        self._apply(address, True, [], count, done)

    def bus_error(self) -> None:
        """Somebody outside made a START or STOP in the middle of a byte."""
        self.step.cancel()
        self.bus_.stop()
        self.action, self.master, self.slave, self.rival = "", False, "", -1
        self._tell(BUS_ERROR)
        self.settle()

    def _apply(self, *master: Any) -> None:
        if self.action == "start" and not self.master and not self.queue:
            self.rival = 0
        self.queue.append(master)
        self._next_master()

    def _next_master(self) -> None:
        if self.queue and not self.master and not self.slave and not self.action and not self.twint:
            self._takes_over(0)
            self._next_master()

    def _takes_over(self, lost: int) -> None:
        """The bus belongs to the first master of the queue, which may mean us; `lost` is 1 when we wanted it as well."""
        address, read, *_ = self.queue[0]
        general = address == 0 and not read
        hit = (general and self.general) or not (address ^ self.own) & ~self.mask & 0x7F
        if self.twen and self.twea and hit:
            self.moved: list[int] = []
            self.slave = "transmit" if read else "general" if general else "receive"
            self._tell(ADDRESSED[self.slave][lost])
            self.settle()
            return
        self.queue.pop(0)[4](None)
        if lost:
            self._tell(LOST)

    def _prevails(self) -> bool:
        """Arbitration: of two masters that began in the same moment the one with the first 0 goes on, the other one waits."""
        if self.rival < 0:
            return True
        address, read, data, *_ = self.queue[0]
        theirs = [address << 1 | read, *data]
        at, self.rival = self.rival, self.rival + 1
        if at == len(theirs) or self.data < theirs[at] or read:
            self.rival = -1
        if at == len(theirs) or self.data <= theirs[at]:
            return True
        self.rival, self.master = -1, False
        self.bus_.stop()
        if at == 0:
            self._takes_over(1)
        else:
            self.queue.pop(0)[4](None)      # it goes on with the part that both had addressed
            self._tell(LOST)
        return False

    def _slave_goes_on(self) -> None:
        _, read, data, count, done = self.queue[0]
        status = self.status << 3
        over = self.nacked or (len(self.moved) >= count if read else len(self.moved) >= len(data))
        if status in (SR_STOP, ST_DATA_NACK, ST_LAST) or (over and not read and status == SR_STOP):
            self._end(done)
        elif over and not read:
            self.status = SR_STOP >> 3
            self.slave = "stopped"
            self.twint = 1
        elif self.slave == "stopped":
            self._end(done)
        else:
            self._begin("slave", 9)

    def _end(self, done: Callable[[list[int] | None], object]) -> None:
        self.queue.pop(0)
        self.slave, self.nacked, self.status = "", False, IDLE >> 3
        done(list(self.moved))
        if self.twsta:
            self._begin("start", 1)
        else:
            self._next_master()

    def _slave_byte(self) -> None:
        _, read, data, count, _ = self.queue[0]
        if read:
            self.moved.append(self.data)
            last = len(self.moved) >= count
            self._trace("nack" if last else "ack", self.data)
            self._tell(ST_DATA_NACK if last else ST_DATA_ACK if self.twea else ST_LAST)
        else:
            self.data = data[len(self.moved)]
            self._trace("ack" if self.twea else "nack", self.data)
            self.moved.append(self.data)
            if not self.twea:
                self.nacked = True
            general = self.slave == "general"
            self._tell((SR_GENERAL_ACK if general else SR_DATA_ACK) if self.twea else (SR_GENERAL_NACK if general else SR_DATA_NACK))

    @line
    def irq(self) -> int:
        return self.twint & self.twie
