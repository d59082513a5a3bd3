"""A microcontroller on a board: CPU, memories, peripherals and pins from the tables of `base`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from tinamou.boards.avr.base import CRYSTAL, PARTS, Fuses, Part
from tinamou.boards.avr.loading import load_firmware
from tinamou.devices.avr.adc import DIFFERENTIAL, Adc, Comparator
from tinamou.devices.avr.core import AvrDevice, IoSpace
from tinamou.devices.avr.eeprom import Eeprom
from tinamou.devices.avr.extint import ExternalInterrupts
from tinamou.devices.avr.port import Port
from tinamou.devices.avr.spi import Spi
from tinamou.devices.avr.system import SelfProgramming, System
from tinamou.devices.avr.timer.base import ICF, OCFA, OCFB, TOV, Prescaler, TimerCounter
from tinamou.devices.avr.timer.timer8 import Timer2, Timer8
from tinamou.devices.avr.timer.timer16 import Timer16
from tinamou.devices.avr.twi import Twi
from tinamou.devices.avr.usart import Usart
from tinamou.devices.avr.watchdog import Watchdog
from tinamou.devices.board.core import PinsBus, Wiring
from tinamou.machine.clock import Clock
from tinamou.machine.machine import Machine
from tinamou.machine.pins import PULL_UP, BoardPin, Driver, Net
from tinamou.machine.props import PropertyError
from tinamou.machine.trace import Trace, VcdFile

DATA = 0x80_0000
KINDS: dict[str, type[TimerCounter]] = {"avr-timer8": Timer8, "avr-timer2": Timer2, "avr-timer16": Timer16}
EepromFile = Annotated[str, "File that keeps the content of the EEPROM"]
VcdFileName = Annotated[str, "File for a Value Change Dump of pins and buses"]
FuseBytes = Annotated[str, "Fuses in hexadecimal: low:high:extended"]
LockBits = Annotated[str, "Lock bits in hexadecimal"]
Traced = Annotated[str, "What to dump: D13:D9:usart0"]

# The pins of the headers: D0, D1, ... and A0, A1, ...
UNO_PINS = [*(f"PD{n}" for n in range(8)), *(f"PB{n}" for n in range(6))], [f"PC{n}" for n in range(6)]
MEGA_PINS = """PE0 PE1 PE4 PE5 PG5 PE3 PH3 PH4 PH5 PH6 PB4 PB5 PB6 PB7 PJ1 PJ0 PH1 PH0 PD3 PD2 PD1 PD0 PA0 PA1 PA2 PA3 PA4 PA5
PA6 PA7 PC7 PC6 PC5 PC4 PC3 PC2 PC1 PC0 PD7 PG2 PG1 PG0 PL7 PL6 PL5 PL4 PL3 PL2 PL1 PL0 PB3 PB2 PB1 PB0""".split(), [
    *(f"PF{n}" for n in range(8)), *(f"PK{n}" for n in range(8))]  # fmt: skip

Subscribe = Callable[[Callable[[], None]], Callable[[], None]]


class ShiftedHints:
    """The CPU's hints for devices whose clock stood still or changed: the CPU counts its cycles from elsewhere."""

    def __init__(self, io: Any, cpu: Any, clock: Clock) -> None:
        self.io, self.cpu, self.clock = io, cpu, clock
        self.shadow, self.plain, self.device = io.shadow, io.plain, io.device
        self.silence, self.flags, self.set_flags = io.silence, io.flags, io.set_flags

    def steady(self) -> bool:
        """The device's clock is the CPU's."""
        return bool(self.clock.hz == self.cpu.clock.hz)

    def ahead(self) -> int:
        """Cycles of the CPU more than ticks of the device's clock; in an event the CPU may be at a later cycle than time is."""
        tick = self.clock.ticks + 1
        return int(self.cpu.cycle(self.clock.ns(tick))) - tick

    def alarm(self, address: int, mask: int, *, at: int, period: int = 0, vector: int = 0) -> None:
        self.io.alarm(address, mask, at=at + self.ahead(), period=period, vector=vector)

    def counter(self, address: int, *, start: int, divider: int, first: int, top: int, dual: bool = False, latch: int = 0) -> None:
        if self.clock.hz != self.cpu.clock.hz:
            self.io.device(address)
        else:
            self.io.counter(address, start=start + self.ahead(), divider=divider, first=first, top=top,
                            dual=dual, latch=latch)


class Mcu:
    """The microcontroller of a machine: its peripherals by name, its pins by the names of the data sheet."""

    def __init__(self, m: Machine, part: Part, pin_names: dict[str, str], *, eeprom: str = "") -> None:
        self.machine, self.part, self.family = m, part, part.family
        chosen = m.settings.cpu.lower().removesuffix("-avr-cpu")
        if chosen not in ("", part.name.lower(), part.mach):
            raise PropertyError(f"Invalid CPU model '{m.settings.cpu}': this board has an {part.name}",
                                f"valid: {part.name}, {part.mach}-avr-cpu")
        m.settings.cpu = ""
        self.cpu: Any = m.add_cpu(part.name)
        self.clock, self.adc_clock = m.clock(CRYSTAL), m.clock(CRYSTAL)
        self.rc, self.crystal = m.clock(1_000_000_000), m.clock(32_768)
        self.flash = m.rom(0, part.flash, f"{part.name.lower()}.flash")
        m.ram(DATA + part.family.io, part.sram, f"{part.name.lower()}.sram")
        self.pins: dict[str, BoardPin] = {}
        self._make_pins(pin_names)
        self.io = IoSpace(name=f"{part.name.lower()}.io", span=part.family.io)
        if hasattr(self.cpu, "io"):
            self.io.hints = ShiftedHints(self.cpu.io, self.cpu, self.clock)
        self.devices: dict[str, AvrDevice] = {}
        self._system(eeprom)
        self._timers()
        self._serial()
        self._analog()
        m.at(DATA, self.io, priority=-1, name=self.io.name)

    # --- pins

    def _make_pins(self, names: dict[str, str]) -> None:
        """Board names first, in their order; then pins that only the chip has."""
        pins = self.machine.pins
        for name, chip in names.items():
            if chip in self.pins:
                pins.alias(name, self.pins[chip])
            else:
                self.pins[chip] = pins.add(name, chip)
        for chip in (*self.family.channels, "AREF", "RESET"):
            if chip not in self.pins:
                self.pins[chip] = pins.add(chip)
        Driver("pull-up of RESET", self.pins["RESET"].net).set(5.0, PULL_UP)

    def net(self, pin: str) -> Net:
        """The net of a pin of the chip; of one that the board does not have, a net where nothing happens."""
        return self.pins[pin].net if pin in self.pins else Net(pin)

    def place(self, pin: str) -> tuple[Port, int] | None:
        """(port, bit) of a pin of the chip."""
        port = self.devices.get(f"port{pin[1].lower()}")
        return (port, int(pin[2])) if isinstance(port, Port) else None

    # --- peripherals

    def add(self, device: AvrDevice, base: int | None = None, power: tuple[int, int] | None = None, **registers: Any) -> None:
        """Take a peripheral; its registers go to `base` and to the addresses of `registers`."""
        self.machine.add(device)
        self.devices[device.name] = device
        self.io.place(device, base, **registers)
        if power is not None:
            self.system.modules.setdefault(power, []).append(device)

    def interrupt(self, device: AvrDevice, **vectors: int) -> None:
        """Wire outputs to vectors; the device is told when a vector is entered."""
        for output, vector in vectors.items():
            device.connect(output, self._vector(vector, device, output))
            device.vectors[output] = vector

    def _vector(self, vector: int, device: AvrDevice, output: str) -> Any:
        line = self.cpu.line(f"vector{vector}")
        self.cpu.on_acknowledge(vector, partial(device.acknowledge, output))
        return line

    def _system(self, eeprom: str) -> None:
        m, part, family, cpu, clock, v = self.machine, self.part, self.family, self.cpu, self.clock, self.family.vectors
        for letter, base in family.ports.items():
            pins = {n: self.pins[f"P{letter}{n}"] for n in range(8) if f"P{letter}{n}" in self.pins}
            present = 0x3F if letter == "G" else 0x7F if (letter, family.io) == ("C", 0x100) else 0xFF
            self.add(Port(name=f"port{letter.lower()}", clock=clock, present=present, pins_=pins), base)
        self.ports = [d for d in self.devices.values() if isinstance(d, Port)]

        self.system = System(name="system", clock=clock, cpu=cpu, adc_clock=self.adc_clock, crystal=self.crystal, flash=self.flash)
        self.system.ports = self.ports
        self.add(self.system, None, None, **family.registers)
        self.spm = spm = SelfProgramming(name="spm", clock=clock, cpu=cpu, machine_=m, flash=self.flash, page=part.page, nrww=part.boot,
                                         signature=part.signature, rc=self.rc, asleep=lambda: self.system.deep)
        self.add(spm, 0x57)
        self.interrupt(spm, ready=v["spm"])
        self.dog = dog = Watchdog(name="watchdog", clock=clock, rc=self.rc, bite=partial(self.system.restart, "watchdog"),
                       forced=lambda: self.system.wdrf)
        self.add(dog, 0x60)
        self.interrupt(dog, irq=v["wdt"])
        self.eeprom = Eeprom(name="eeprom", clock=clock, bytes_=part.eeprom, file=eeprom, cpu=cpu, rc=self.rc,
                             asleep=lambda: self.system.deep)
        self.system.clocked = [spm, self.eeprom]
        self.add(self.eeprom, 0x3F)
        self.interrupt(self.eeprom, ready=v["eeprom"])

        nets = [self.net(p) for p in family.interrupts]
        self.external = ext = ExternalInterrupts(
            name="extint", clock=clock, inputs=nets, count=len(nets), asynchronous=family.asynchronous,
            changes={n: self.net(p) for n, p in family.changes.items()})
        self.add(ext, EICRA=0x69, EICRB=0x6A, EIMSK=0x3D, EIFR=0x3C, PCICR=0x68, PCIFR=0x3B, PCMSK0=0x6B, PCMSK1=0x6C, PCMSK2=0x6D)
        ext.connect("external", [self._vector(v["int"] + n, ext, f"external:{n}") for n in range(len(nets))])
        ext.connect("pin_change", [self._vector(v["pcint"] + n, ext, f"pin_change:{n}") for n in range(3)])

        cpu.on_wake = self.system.wake
        cpu.on_sleep, cpu.on_watchdog, cpu.on_spm = self.system.sleep, dog.feed, spm.spm
        self.pins["RESET"].on_change(lambda level: self.system.reset_pin(level) if self.fuses.reset_pin else None)
        self.set_fuses(Fuses.sold(part))

    def set_fuses(self, fuses: Fuses) -> None:
        """Program the fuses and lock bits; a reset makes them count."""
        self.fuses, system = fuses, self.system
        system.hz, system.divided, system.startup, system.brown_out = fuses.hz, fuses.divided, fuses.startup, fuses.brown_out
        system.boot_start, system.boot_reset = fuses.boot_start, fuses.boot_reset
        self.spm.fuses, self.spm.boot_start = fuses.row, fuses.boot_start
        self.dog.always = fuses.watchdog

    def _timers(self) -> None:
        prescaler = Prescaler(name="prescaler", clock=self.clock)
        self.add(prescaler, 0x43)
        self.timers: dict[str, TimerCounter] = {}
        for t in self.family.timers:
            extra: dict[str, Any] = {"crystal": self.crystal} if t.kind == "avr-timer2" else {}
            if t.icp:
                extra["pin_icp"] = self.net(t.icp)
            made = KINDS[t.kind](name=t.name, clock=self.clock, prescaler=prescaler, channels=len(t.outputs),
                                 pin_t=self.net(t.t), ports=[self.place(p) for p in t.outputs], **extra)
            self.timers[t.name] = made
            self.add(made, t.base, power=t.power, TIFR=t.tifr, TIMSK=t.timsk)
            self.interrupt(made, **t.vectors)
        self.clock.on_change(self._clock_changed)

    def _clock_changed(self) -> None:
        for t in self.timers.values():
            t.clock_changed()

    def _serial(self) -> None:
        family, clock, v = self.family, self.clock, self.family.vectors
        for n, u in enumerate(family.usarts):
            usart = Usart(name=u.name, clock=clock, chardev=self.machine.serial(n), txd=self.place(u.txd), rxd=self.place(u.rxd),
                          xck=self.place(u.xck))
            self.add(usart, u.base, power=u.power)
            self.interrupt(usart, **dict(zip(("rx_complete", "data_empty", "tx_complete"), u.vectors, strict=True)))
        ss, sck, mosi, miso = (self.place(p) for p in family.spi)
        spi = Spi(name="spi", clock=clock, ss=ss, sck=sck, mosi=mosi, miso=miso)
        self.add(spi, 0x4C, power=family.power_spi)
        self.interrupt(spi, irq=v["spi"])
        twi = Twi(name="twi", clock=clock, sda=self.place(family.twi[0]), scl=self.place(family.twi[1]))
        self.add(twi, 0xB8, power=family.power_twi)
        self.interrupt(twi, irq=v["twi"])

    def _analog(self) -> None:
        family, v, external = self.family, self.family.vectors, self.external
        triggers: list[Subscribe | None] = [None] * 8
        adc = Adc(name="adc", clock=self.adc_clock, channels=[self.net(p) for p in family.channels], aref=self.net("AREF"),
                  references=family.references, specials=family.specials,
                  differential=DIFFERENTIAL if family.differential else {}, triggers=triggers)
        self.add(adc, 0x78, power=family.power_adc, DIDR2=0x7D, DIDR0=0x7E, DIDR1=0x7F)
        self.interrupt(adc, irq=v["adc"])
        comparator = Comparator(name="comparator", clock=self.clock, ain0=self.net(family.comparator[0]),
                                ain1=self.net(family.comparator[1]), adc=adc)
        self.add(comparator, 0x50)
        self.interrupt(comparator, irq=v["comparator"])
        self.system.noise_reduction = adc.noise_reduction

        def by_flag(name: str, flag: int) -> Subscribe:
            t = self.timers[name]
            return lambda f: subscribe(t.flag_users, (flag, f), t.refresh)

        # data sheet table 24-6: ADTS2:0
        triggers[1] = lambda f: subscribe(comparator.flag_users, f, comparator.follow)
        triggers[2] = lambda f: subscribe(external.users, (0, f), external.follow)
        triggers[3:8] = [by_flag("timer0", OCFA), by_flag("timer0", TOV), by_flag("timer1", OCFB), by_flag("timer1", TOV),
                         by_flag("timer1", ICF)]
        timer1 = self.timers["timer1"]
        assert isinstance(timer1, Timer16)
        comparator.users.append(lambda level: timer1.captured(level, "comparator"))
        timer1.analog_capture = lambda: bool(comparator.acic)
        adc.digital.append(self._digital_off)

    def _digital_off(self, mask: int) -> None:
        """DIDR: the digital inputs of analog pins."""
        for port in self.ports:
            letter = port.name[-1].upper()
            port.digital_off(sum(1 << int(p[2]) for k, p in enumerate(self.family.digital) if p and p[1] == letter and mask >> k & 1))


def subscribe(users: list[Any], entry: Any, changed: Callable[[], None]) -> Callable[[], None]:
    """Enter somebody who is told of an event; returns what takes him out again."""
    users.append(entry)
    changed()

    def end() -> None:
        users.remove(entry)
        changed()
    return end


def arduino(m: Machine, part: str, title: str, pins: tuple[list[str], list[str]], *, eeprom: str, fuses: str, lock: str, vcd: str,
            trace: str) -> Mcu:
    """An Arduino: the part, pins D0, D1, ... and A0, A1, ..., LED on D13, the USB serial adapter on D0 and D1, and the program."""
    digital, analog = pins
    names = {**{f"D{n}": p for n, p in enumerate(digital)}, **{f"A{n}": p for n, p in enumerate(analog)}}
    mcu = Mcu(m, PARTS[part], names, eeprom=eeprom)
    m.pins.alias("LED", m.pins["D13"])
    m.pins.alias("LED_BUILTIN", m.pins["D13"])
    Driver("USB adapter", m.pins["D0"].net).set(5.0, 1000.0)
    m.add(Wiring(bus_=PinsBus("pins", m)))
    load_firmware(m, mcu, title)
    mcu.set_fuses(mcu.fuses.given(fuses, lock))
    if vcd:
        try:
            VcdFile(vcd, Trace(m, limit=0).choose([n for n in trace.split(":") if n]))
        except OSError as e:
            raise PropertyError(f"Could not open '{vcd}': {e.strerror}") from None
    return mcu
