"""SiFive core-local interruptor: FE310-G000 manual chapter 9; RISC-V ACLINT specification 1.0."""

from __future__ import annotations

from tinamou.machine.clock import Clock
from tinamou.machine.device import Device, Plain, ResetKind, timers
from tinamou.machine.lines import lines, state
from tinamou.machine.props import OBJECT, U32, prop
from tinamou.machine.registers import Bank, Reg


class Clint(Device, type="riscv.sifive.clint", compatible=("sifive,clint0", "riscv,clint0"), node="clint", size=0x1_0000,
            access=(4, 8)):
    """Software and timer interrupts of up to 4095 harts over one 64-bit counter."""

    harts: int = prop(U32, default=1, name="num-harts", help="number of harts")
    hartid_base: int = prop(U32, default=0, help="ID of the first hart")
    clock: Clock = prop(OBJECT, help="the clock mtime counts")

    SOFT = Bank(0x0000, stride=4, count="harts")
    MSIP = SOFT.reg(0)
    msip = MSIP.rw(0)
    COMPARE = Bank(0x4000, stride=8, count="harts")
    MTIMECMP = COMPARE.reg(0, width=64)
    mtimecmp = MTIMECMP.rw(63, 0, reset=2**64 - 1)
    MTIME = Reg(0xBFF8, width=64)
    mtime = MTIME.rw(63, 0)

    offset = state(0)                   # what writes to mtime added to the clock

    @mtime.computed
    def now(self) -> int:
        return self.clock.ticks + self.offset & 2**64 - 1

    @mtime.on_write
    def set_time(self, value: int) -> None:
        self.offset = self.clock.skew = value - self.clock.ticks
        for n in range(self.harts):
            self.arm(n, self.mtimecmp[n])

    @mtimecmp.on_write
    def arm(self, n: int, tick: int) -> None:
        self.expire[n].cancel()
        if self.mtime < tick < 1 << 63:
            self.expire[n].at(tick - self.offset)

    def on_reset(self, kind: ResetKind) -> None:
        self.clock.skew = self.offset

    def load_more(self, saved: dict[str, Plain]) -> None:
        self.clock.skew = self.offset

    @timers("harts")
    def expire(self, n: int) -> None:
        """Nothing to do: the lines are recomputed after every event."""

    @lines("harts")
    def software(self, n: int) -> int:
        return self.msip[n]

    @lines("harts")
    def timeout(self, n: int) -> bool:
        return self.mtime >= self.mtimecmp[n]
