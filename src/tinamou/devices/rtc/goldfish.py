"""Goldfish real-time clock: Android emulator documentation, GOLDFISH-VIRTUAL-HARDWARE, section RTC."""

from __future__ import annotations

import time

from tinamou.machine.device import Device, timer
from tinamou.machine.lines import line, state
from tinamou.machine.registers import Reg


class GoldfishRtc(Device, type="goldfish_rtc", compatible="google,goldfish-rtc", node="rtc", size=0x24, access=(4, 4)):
    """Nanoseconds since 1970 in two halves, and one alarm."""

    TIME_LOW = Reg(0x00)
    time_low = TIME_LOW.rw()
    TIME_HIGH = Reg(0x04)
    time_high = TIME_HIGH.rw()          # latched by reading or, for the guest's writes, used by writing TIME_LOW
    ALARM_LOW = Reg(0x08)
    alarm_low = ALARM_LOW.rw()
    ALARM_HIGH = Reg(0x0C)
    alarm_high = ALARM_HIGH.rw()
    IRQ_ENABLED = Reg(0x10)
    irq_enabled = IRQ_ENABLED.rw(0)
    CLEAR_ALARM = Reg(0x14)
    clear_alarm = CLEAR_ALARM.wo()
    ALARM_STATUS = Reg(0x18)
    alarm_running = ALARM_STATUS.ro(0)
    CLEAR_INTERRUPT = Reg(0x1C)
    clear_interrupt = CLEAR_INTERRUPT.wo()

    adjust = state(0, keep=True)        # nanoseconds the guest set the clock off
    pending = state(False)

    @property
    def now(self) -> int:
        base = self.machine.rtc.now if self.machine else time.time_ns()
        return base + self.adjust

    @time_low.on_read
    def latch(self) -> int:
        now = self.now
        self.time_high = now >> 32 & 0xFFFF_FFFF
        return now

    @time_low.on_write
    def set_low(self, value: int) -> None:
        self.adjust += (self.now & ~0xFFFF_FFFF | value) - self.now

    @time_high.on_write
    def set_high(self, value: int) -> None:
        self.adjust += (self.now & 0xFFFF_FFFF | value << 32) - self.now

    @alarm_low.on_write
    def arm(self, value: int) -> None:
        wait = (self.alarm_high << 32 | value) - self.now
        self.alarm_running = 1
        self.expire.cancel()
        if wait <= 0:
            self.expired()
        else:
            self.expire.after(wait)

    @timer
    def expire(self) -> None:
        self.expired()

    def expired(self) -> None:
        self.alarm_running = 0
        self.pending = True

    @clear_alarm.on_write
    def disarm(self, value: int) -> None:
        self.expire.cancel()
        self.alarm_running = 0

    @clear_interrupt.on_write
    def acknowledge(self, value: int) -> None:
        self.pending = False

    @line
    def irq(self) -> bool:
        return bool(self.irq_enabled) and self.pending
