"""Clock, power and reset control of AVR microcontrollers, and self-programming: ATmega48A-328P data sheet, chapters 9 (clock),
10 (power management), 11 (reset), 12 (interrupt vectors), 27 (boot loader); ATmega640-2561 data sheet, chapters 10 to 14 and 29."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.clock import Clock
from tinamou.machine.device import Timer
from tinamou.machine.lines import line, state, state_of
from tinamou.machine.props import BOOL, I32, OBJECT, U16, U32, prop
from tinamou.machine.registers import Reg

IDLE, NOISE_REDUCTION, POWER_DOWN, POWER_SAVE, STANDBY, EXTENDED_STANDBY = 0, 1, 2, 3, 6, 7
STOPPED = (POWER_DOWN, POWER_SAVE, STANDBY, EXTENDED_STANDBY)
STANDBY_STARTUP = 6                     # cycles: the oscillator goes on


class System(AvrDevice, type="avr-system", size=0x20):
    """What concerns the whole part. `clocks` are clkIO, clkADC and the crystal of timer 2, which sleep modes stop."""

    cpu: Any = prop(OBJECT)
    hz: int = prop(U32, default=16_000_000, help="of the crystal")
    divided: bool = prop(BOOL, default=False, help="the fuse CKDIV8 is programmed")
    startup: int = prop(U16, default=16_384, help="cycles until the oscillator runs again after power-down and power-save")
    adc_clock: Clock = prop(OBJECT)
    crystal: Clock = prop(OBJECT)
    flash: Any = prop(OBJECT, default=None, help="the memory")
    boot_start: int = prop(U32, default=0, help="byte address of the boot loader section")
    boot_reset: bool = prop(BOOL, default=False, help="the fuse BOOTRST is programmed: reset starts the boot loader, if there is one")
    brown_out: int = prop(I32, default=2700, help="millivolts below which the part resets; 0 switches that off")

    GPIOR0 = Reg(0)
    general0 = GPIOR0.rw()
    GPIOR1 = Reg(1)
    general1 = GPIOR1.rw()
    GPIOR2 = Reg(2)
    general2 = GPIOR2.rw()
    SMCR = Reg(3)
    sm = SMCR.rw(3, 1)
    se = SMCR.rw(0)
    MCUSR = Reg(4)
    jtrf = MCUSR.w0c(4, sticky=True)
    wdrf = MCUSR.w0c(3, sticky=True)
    borf = MCUSR.w0c(2, sticky=True)
    extrf = MCUSR.w0c(1, sticky=True)
    porf = MCUSR.w0c(0, reset=1, sticky=True)
    MCUCR = Reg(5)
    jtd = MCUCR.rw(7)
    bods = MCUCR.rw(6)
    bodse = MCUCR.rw(5)
    pud = MCUCR.rw(4)
    ivsel = MCUCR.rw(1)
    ivce = MCUCR.rw(0)
    CLKPR = Reg(6)
    clkpce = CLKPR.rw(7)
    clkps = CLKPR.rw(3, 0, reset=lambda self: 3 if self.divided else 0)
    PRR0 = Reg(7)
    prr0 = PRR0.rw()
    PRR1 = Reg(8)
    prr1 = PRR1.rw()
    OSCCAL = Reg(9)
    osccal = OSCCAL.rw(reset=0x80)
    XMCRA = Reg(10)
    xmcra = XMCRA.unimpl()
    XMCRB = Reg(11)
    xmcrb = XMCRB.unimpl()

    polled = ("GPIOR0", "GPIOR1", "GPIOR2")
    cause = state("", keep=True)
    unlocked = state(-1)            # cycle up to which CLKPS may change
    opening = state(False)
    vectors_unlocked = state(-1)
    state_of_clock = state_of(lambda self: 3 if self.divided else 0)
    asleep = state(-1)

    def setup(self) -> None:
        super().setup()
        self.modules: dict[tuple[int, int], list[AvrDevice]] = {}      # (PRR number, bit) -> what it stops
        self.ports: list[Any] = []
        self.clocked: list[AvrDevice] = []      # whose interrupts do not wake the part when its clocks stand still
        self.noise_reduction: Callable[[], None] = lambda: None

    def on_reset(self, kind: str) -> None:
        if kind == "warm" and not self.cause:
            self.extrf = 1
        self.cause = ""
        self.asleep = -1
        self.cpu.shut_out(False)
        loader = self.boot_reset and self.flash is not None and self.flash.buffer[self.boot_start : self.boot_start + 2] != b"\xff\xff"
        self.cpu.reset_vector = self.boot_start // 2 if loader else 0
        self._set_clocks()
        for devices in self.modules.values():
            for d in devices:
                d.powered = True

    # --- reset

    def restart(self, cause: str) -> None:
        """Reset the part: "watchdog", "brown-out" or "pin"."""
        setattr(self, {"watchdog": "wdrf", "brown-out": "borf", "pin": "extrf"}[cause], 1)
        self.cause = cause
        self.cpu.restart(cause)

    def reset_pin(self, level: bool) -> None:
        """The level of RESET: while it is low the part does nothing."""
        if not level:
            self.restart("pin")
        self.cpu.hold("pin", not level)

    def supply(self, volts: float) -> None:
        """The supply voltage fell to (or rose to) this: below the level of the brown-out detector the part does nothing."""
        low = bool(self.brown_out and volts * 1000 < self.brown_out)
        if low:
            self.restart("brown-out")
        self.cpu.hold("brown-out", low)

    # --- clocks

    def save_more(self) -> dict[str, Any]:
        return {"clocks": [c.save() for c in (self.cpu.clock, self.clock, self.adc_clock, self.crystal)]}

    def load_more(self, saved: dict[str, Any]) -> None:
        for c, values in zip((self.cpu.clock, self.clock, self.adc_clock, self.crystal), saved["clocks"], strict=True):
            c.load(values)

    def _set_clocks(self) -> None:
        hz = self.hz >> min(8, self.clkps)
        if self.cpu.clock.hz != hz:
            self.cpu.clock.hz = hz
        mode = self.asleep
        for clock, modes in ((self.clock, (-1, IDLE)), (self.adc_clock, (-1, IDLE, NOISE_REDUCTION))):
            if mode in modes:
                clock.join(self.cpu.clock)
            else:
                clock.hz = 0
        self.crystal.hz = 0 if mode in (POWER_DOWN, STANDBY) else 32_768

    @clkpce.on_write
    def open_clkps(self, on: int) -> None:
        self.opening = bool(on)

    @clkps.on_write
    def prescale(self, new: int) -> None:
        if self.opening:
            self.unlocked, self.clkps = self.cycles + 4, self.state_of_clock
        elif self.cycles <= self.unlocked:
            self.unlocked, self.state_of_clock = -1, new
            self._set_clocks()
        else:
            self.clkps = self.state_of_clock

    @clkpce.computed
    def changeable(self) -> int:
        return self.cycles <= self.unlocked

    # --- sleep

    @property
    def deep(self) -> bool:
        """Only what needs no clock wakes the part: the table of wake-up sources in chapter 10."""
        return self.asleep in STOPPED

    def _fall_asleep(self, mode: int) -> None:
        self.asleep = mode
        for d in self.clocked:
            d.settle()

    def sleep(self) -> bool:
        """The instruction SLEEP: True when the CPU is to sleep."""
        if not self.se:
            return False
        if self.sm == NOISE_REDUCTION:
            self.noise_reduction()
        self._fall_asleep(self.sm)
        self._set_clocks()
        return True

    def wake(self) -> None:
        """An interrupt ended sleep: where the clocks stood still they do so until the oscillator has started."""
        mode = self.asleep
        self._fall_asleep(-1)
        if mode in STOPPED:
            cycles = self.startup if mode in (POWER_DOWN, POWER_SAVE) else STANDBY_STARTUP
            self.cpu.stall(cycles)
            self.started.after(cycles)
        else:
            self._set_clocks()

    @property
    def cpu_clock(self) -> Clock:
        clock: Clock = self.cpu.clock
        return clock

    started = Timer(lambda self: self._set_clocks(), "cpu_clock")
    started.name = "started"

    # --- MCUCR and PRR

    @pud.on_write
    def pull_ups(self, off: int) -> None:
        for p in self.ports:
            p.disable_pull_ups(bool(off))

    selected = state(0)

    @ivsel.on_write
    def move_vectors(self, new: int) -> None:
        if self.ivce:
            self.vectors_unlocked = self.cycles + 4
            self.ivsel = self.selected
            self.cpu.shut_out(True)
            self.opened.after(5)
        elif self.cycles <= self.vectors_unlocked:
            self.vectors_unlocked = -1
            self.selected = new
            self.cpu.vectors(self.boot_start // 2 if new else 0)
            self.opened.after(2)        # one more instruction
        else:
            self.ivsel = self.selected
        self.ivce = 0

    opened = Timer(lambda self: self.cpu.shut_out(False))
    opened.name = "opened"

    def restored(self) -> None:
        self.cpu.shut_out(self.opened.deadline is not None)
        for (n, bit), devices in self.modules.items():
            for d in devices:
                d._powered = not (self.prr1 if n else self.prr0) >> bit & 1

    def _power(self, number: int, value: int) -> None:
        for (n, bit), devices in self.modules.items():
            if n == number:
                for d in devices:
                    d.powered = not value >> bit & 1

    @prr0.on_write
    def power0(self, value: int) -> None:
        self._power(0, value)

    @prr1.on_write
    def power1(self, value: int) -> None:
        self._power(1, value)


class SelfProgramming(AvrDevice, type="avr-spm", size=1):
    """SPMCSR and the page buffer. Writing takes 4 ms; the CPU waits when the page is not in the read-while-write section."""

    cpu: Any = prop(OBJECT)
    machine_: Any = prop(OBJECT)
    flash: Any = prop(OBJECT, help="the memory")
    page: int = prop(U16, default=128, help="bytes")
    nrww: int = prop(U32, default=0, help="byte address where the no-read-while-write section begins")
    signature: bytes = prop(OBJECT, default=b"\x1e\x95\x0f")
    boot_start: int = prop(U32, default=0, help="byte address of the boot loader section: only there SPM does anything")
    fuses: bytes = prop(OBJECT, default=b"\xff\xff\xff\xff", help="low fuse, lock bits, extended fuse, high fuse")
    asleep: Callable[[], bool] = prop(OBJECT, default=lambda: False, help="in a sleep mode that a finished operation does not end")
    rc: Clock = prop(OBJECT)

    SPMCSR = Reg(0)
    spmie = SPMCSR.rw(7)
    rwwsb = SPMCSR.ro(6)
    sigrd = SPMCSR.rw(5)
    rwwsre = SPMCSR.rw(4)
    blbset = SPMCSR.rw(3)
    pgwrt = SPMCSR.rw(2)
    pgers = SPMCSR.rw(1)
    spmen = SPMCSR.rw(0)

    polled = ("SPMCSR",)
    until = state(-1)           # cycle up to which the operation may be begun
    lock = state(-1, keep=True)  # lock bits as changed, -1 as the fuses say

    def setup(self) -> None:
        super().setup()
        self.buffer = bytearray(b"\xff" * self.page)

    def on_reset(self, kind: str) -> None:
        self.buffer[:] = b"\xff" * self.page
        self.cpu.on_lpm = None
        self._protect()

    def restored(self) -> None:
        self.cpu.on_lpm = self.lpm if self.until >= 0 and self._operation() in (0x09, 0x21) else None
        self._protect()

    def save_more(self) -> dict[str, Any]:
        return {"buffer": bytes(self.buffer)}

    def load_more(self, saved: dict[str, Any]) -> None:
        self.buffer[:] = saved["buffer"]

    @property
    def lock_bits(self) -> int:
        return self.lock if self.lock >= 0 else self.fuses[1]

    def _protect(self) -> None:
        """BLB02 and BLB12: what is read of the application from the boot section, and the other way round; which interrupts wait."""
        self.cpu.protect(self.boot_start, application=not self.lock_bits & 8, boot_section=not self.lock_bits & 0x20)

    def _operation(self) -> int:
        return self.sigrd << 5 | self.rwwsre << 4 | self.blbset << 3 | self.pgwrt << 2 | self.pgers << 1 | self.spmen

    @spmen.on_write
    def command(self, on: int) -> None:
        if self.finished.deadline is not None:
            return
        self.until = self.cycles + 4 if on else -1
        if on and self._operation() in (0x09, 0x21):
            self.cpu.on_lpm = self.lpm
        self.expired.after(5)

    def _expire(self) -> None:
        if self.finished.deadline is None:
            self._over()

    expired = Timer(_expire)
    expired.name = "expired"

    def _over(self) -> None:
        self.until = -1
        self.sigrd = self.rwwsre = self.blbset = self.pgwrt = self.pgers = self.spmen = 0
        if self.cpu.on_lpm is not None:
            self.cpu.on_lpm = None

    def lpm(self, z: int) -> int | None:
        """LPM in a timed sequence: signature row, fuses, lock bits."""
        operation, open_ = self._operation(), self.cycles <= self.until
        self._over()
        self.settle()
        if not open_:
            return None
        if operation == 0x21:
            return {0: self.signature[0], 2: self.signature[1], 4: self.signature[2], 1: 0x80}.get(z & 0x1F, 0xFF)
        return self.lock_bits if z & 3 == 1 else self.fuses[z & 3]

    def spm(self, z: int, word: int, pc: int) -> None:
        """The instruction SPM at byte address `pc`."""
        if self.cycles > self.until or self.finished.deadline is not None:
            return
        z %= self.flash.size
        if pc < self.boot_start:
            self.log.guest_error(f"SPM at {pc:#x}: it does nothing below the boot loader section, which begins at {self.boot_start:#x}")
            return
        if self._operation() in (0x03, 0x05) and not self.lock_bits & (4 if z < self.boot_start else 0x10):
            self.log.guest_error(f"SPM: the lock bits ({self.lock_bits:#04x}) protect the page of {z:#x}")
            self._over()
            self.settle()
            return
        start = z & ~(self.page - 1)
        match self._operation():
            case 0x01:
                at = z & self.page - 1 & ~1
                self.buffer[at] &= word & 0xFF
                self.buffer[at + 1] &= word >> 8
                self._over()
            case 0x03:
                self._store(start, b"\xff" * self.page)
            case 0x05:
                old = self.flash.buffer[start : start + self.page]
                self._store(start, bytes(a & b for a, b in zip(old, self.buffer, strict=True)))
                self.buffer[:] = b"\xff" * self.page
            case 0x09:
                self.lock = self.lock_bits & (word | ~0x3C) & 0xFF
                self._protect()
                self._over()
            case 0x11:
                self.rwwsb = 0
                self.buffer[:] = b"\xff" * self.page
                self._over()
        self.settle()

    def _store(self, start: int, data: bytes) -> None:
        self.machine_.memory.store_rom(start, data)
        self.until = -1
        if start >= self.nrww:
            self.cpu.stall(self.clock.hz * 4 // 1000)
            self._over()
        else:
            self.rwwsb = 1
            self.finished.after(4_000_000)

    def _finish(self) -> None:
        self._over()

    finished = Timer(_finish, "rc")
    finished.name = "finished"

    @line
    def ready(self) -> int:
        return self.spmie and not self.spmen and not self.asleep()
