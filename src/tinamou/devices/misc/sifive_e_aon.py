"""SiFive FE310 always-on domain: FE310-G002 manual, chapters 13 (AON), 14 (watchdog), 15 (PMU), 16 (RTC)."""

from __future__ import annotations

from tinamou.machine.clock import Clock
from tinamou.machine.device import Device, timer
from tinamou.machine.lines import line, state
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Bank, Reg

KEY, FOOD = 0x51F15E, 0x0D09F00D
COUNT_BITS = 31


class SifiveEAon(Device, type="riscv.sifive.e.aon", compatible="sifive,aon0", size=0x8000, access=(4, 4)):
    """Watchdog, real-time counter, backup registers and the power manager's registers, on a 32.768 kHz clock."""

    clock: Clock = prop(OBJECT, help="lfclk")

    WDOGCFG = Reg(0x00)
    wdog_ip = WDOGCFG.rw(28)
    wdog_awake = WDOGCFG.rw(13)
    wdog_always = WDOGCFG.rw(12)
    wdog_zero = WDOGCFG.rw(9)
    wdog_reset = WDOGCFG.rw(8)
    wdog_scale = WDOGCFG.rw(3, 0)
    WDOGCOUNT = Reg(0x08)
    wdog_count = WDOGCOUNT.rw(30, 0)
    WDOGS = Reg(0x10)
    wdog_scaled = WDOGS.ro(15, 0)
    WDOGFEED = Reg(0x18)
    wdog_feed = WDOGFEED.wo()
    WDOGKEY = Reg(0x1C)
    wdog_key = WDOGKEY.rw()             # reads 1 while unlocked
    WDOGCMP0 = Reg(0x20)
    wdog_compare = WDOGCMP0.rw(15, 0, reset=0xFFFF)
    RTCCFG = Reg(0x40)
    rtc_ip = RTCCFG.ro(28)
    rtc_always = RTCCFG.rw(12)
    rtc_scale = RTCCFG.rw(3, 0)
    RTCCOUNTLO = Reg(0x48)
    rtc_low = RTCCOUNTLO.rw()
    RTCCOUNTHI = Reg(0x4C)
    rtc_high = RTCCOUNTHI.rw(15, 0)
    RTCS = Reg(0x50)
    rtc_scaled = RTCS.ro()
    RTCCMP0 = Reg(0x60)
    rtc_compare = RTCCMP0.rw(31, 0, reset=0xFFFF_FFFF)
    LFROSCCFG = Reg(0x70)
    lfrosc_ready = LFROSCCFG.const(1, 31)
    lfrosc_enable = LFROSCCFG.rw(30, reset=1)
    lfrosc_trim = LFROSCCFG.rw(20, 16)
    lfrosc_div = LFROSCCFG.rw(5, 0, reset=4)
    SAVED = Bank(0x80, stride=4, count=16)
    BACKUP = SAVED.reg(0)
    backup = BACKUP.rw(31, 0, sticky=True)
    WAKE = Bank(0x100, stride=4, count=8)
    PMUWAKEUPI = WAKE.reg(0)
    wake_program = PMUWAKEUPI.rw(9, 0)
    DOZE = Bank(0x120, stride=4, count=8)
    PMUSLEEPI = DOZE.reg(0)
    sleep_program = PMUSLEEPI.rw(9, 0)
    PMUIE = Reg(0x140)
    pmu_ie = PMUIE.rw(3, 0, reset=1)
    PMUCAUSE = Reg(0x144)
    pmu_cause = PMUCAUSE.ro(9, 0)
    PMUSLEEP = Reg(0x148)
    pmu_sleep = PMUSLEEP.unimpl()
    PMUKEY = Reg(0x14C)
    pmu_key = PMUKEY.rw()

    wdog_base = state(0)                # tick at which the running watchdog counted 0
    wdog_held = state(0)                # its count while it stands
    rtc_base = state(0)
    rtc_held = state(0)

    # --- the watchdog; every write but the key's needs the key first

    def write(self, offset: int, value: int, size: int) -> None:
        if offset <= 0x20 and offset != 0x1C:
            if not self.wdog_key:
                self.log.guest_error(f"{self.label}: watchdog write at {offset:#x} without the key")
                return
            self.wdog_key = 0
        elif 0x100 <= offset < 0x14C:
            if not self.pmu_key:
                self.log.guest_error(f"{self.label}: power manager write at {offset:#x} without the key")
                return
            self.pmu_key = 0
        count, rtc = self.wdog_count, self.rtc_value
        super().write(offset, value, size)
        if offset == 0x00:
            self.wdog_held, self.wdog_base = count, self.clock.ticks - count
        elif offset == 0x40:
            self.rtc_held, self.rtc_base = rtc, self.clock.ticks - rtc
        self.plan()
        self.settle()

    @wdog_key.legal
    def unlock(self, value: int) -> int:
        return value == KEY

    @wdog_count.computed
    def read_wdog(self) -> int:
        count = self.clock.ticks - self.wdog_base if self.wdog_always else self.wdog_held
        if self.wdog_zero and self.wdog_always:
            count %= (self.wdog_compare + 1) << self.wdog_scale
        return count & (1 << COUNT_BITS) - 1

    @wdog_count.on_write
    def set_wdog(self, value: int) -> None:
        self.wdog_held, self.wdog_base = value, self.clock.ticks - value

    @wdog_scaled.computed
    def read_wdogs(self) -> int:
        return self.wdog_count >> self.wdog_scale

    @wdog_feed.on_write
    def feed(self, value: int) -> None:
        if value == FOOD:
            self.set_wdog(0)

    @pmu_key.legal
    def unlock_pmu(self, value: int) -> int:
        return value == KEY

    # --- the real-time counter

    @property
    def rtc_value(self) -> int:
        return (self.clock.ticks - self.rtc_base if self.rtc_always else self.rtc_held) & (1 << 48) - 1

    @rtc_low.computed
    def read_low(self) -> int:
        return self.rtc_value

    @rtc_high.computed
    def read_high(self) -> int:
        return self.rtc_value >> 32

    @rtc_low.on_write
    def set_low(self, value: int) -> None:
        new = self.rtc_value >> 32 << 32 | value
        self.rtc_held, self.rtc_base = new, self.clock.ticks - new

    @rtc_high.on_write
    def set_high(self, value: int) -> None:
        new = self.rtc_value & 0xFFFF_FFFF | value << 32
        self.rtc_held, self.rtc_base = new, self.clock.ticks - new

    @rtc_scaled.computed
    def read_rtcs(self) -> int:
        return self.rtc_value >> self.rtc_scale

    @rtc_ip.computed
    def rtc_due(self) -> int:
        return self.rtc_scaled & 0xFFFF_FFFF >= self.rtc_compare

    # --- events

    def plan(self) -> None:
        """Arm the timers for the next comparison that comes true."""
        self.bark.cancel()
        self.alarm.cancel()
        if self.wdog_always:
            left = (self.wdog_compare << self.wdog_scale) - self.wdog_count
            if left > 0:
                self.bark.after(left)
            else:
                self.barked()
        if self.rtc_always:
            left = (self.rtc_compare << self.rtc_scale) - self.rtc_value
            if left > 0:
                self.alarm.after(left)

    def barked(self) -> None:
        self.wdog_ip = 1
        if self.wdog_reset and self.machine is not None:
            self.machine.request_reset("watchdog")

    @timer
    def bark(self) -> None:
        self.barked()

    @timer
    def alarm(self) -> None:
        """The lines are recomputed after every event."""

    @line
    def wdog(self) -> int:
        return self.wdog_ip

    @line
    def rtc(self) -> int:
        return self.rtc_ip
