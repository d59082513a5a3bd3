"""Generic interrupt controller, version 2: Arm Generic Interrupt Controller Architecture Specification, IHI 0048B, chapters 4 and 5.

One processor, one security state: both groups, no virtual interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.machine.device import Device
from tinamou.machine.lines import Pin, line, pins, state
from tinamou.machine.props import U32, prop
from tinamou.machine.registers import Bank, Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed

SPURIOUS = 1023
WORD = 0xFFFF_FFFF
CPU = 0x1_0000  # where the CPU interface begins


class Gicv2(Device, type="arm_gic", compatible="arm,cortex-a15-gic", node="intc", size=0x2_0000, access=(1, 4)):
    """Distributor at 0, CPU interface at 0x10000.  Interrupts 0-15 are software's, 16-31 the processor's own, the rest shared."""

    count: int = prop(U32, default=288, name="num-irq", help="interrupts, the first 32 included")

    CTLR = Reg(0x000)
    enable_groups = CTLR.rw(1, 0)
    TYPER = Reg(0x004)
    lines_number = TYPER.ro(4, 0)
    IIDR = Reg(0x008)
    implementer = IIDR.const(0x43B)
    WORDS = Bank(0x080, stride=4, count="words")
    IGROUPR = WORDS.reg(0)
    group = IGROUPR.rw(31, 0)
    ENABLE = Bank(0x100, stride=4, count="words")
    ISENABLER = ENABLE.reg(0)
    set_enable = ISENABLER.rw(31, 0)
    DISABLE = Bank(0x180, stride=4, count="words")
    ICENABLER = DISABLE.reg(0)
    clear_enable = ICENABLER.rw(31, 0)
    PEND = Bank(0x200, stride=4, count="words")
    ISPENDR = PEND.reg(0)
    set_pending = ISPENDR.rw(31, 0)
    UNPEND = Bank(0x280, stride=4, count="words")
    ICPENDR = UNPEND.reg(0)
    clear_pending = ICPENDR.rw(31, 0)
    ACTIVATE = Bank(0x300, stride=4, count="words")
    ISACTIVER = ACTIVATE.reg(0)
    set_active = ISACTIVER.rw(31, 0)
    DEACTIVATE = Bank(0x380, stride=4, count="words")
    ICACTIVER = DEACTIVATE.reg(0)
    clear_active = ICACTIVER.rw(31, 0)
    PRIORITIES = Bank(0x400, stride=1, count="count")
    IPRIORITYR = PRIORITIES.reg(0, width=8)
    priority = IPRIORITYR.rw(7, 0)
    TARGETS = Bank(0x800, stride=1, count="count")
    ITARGETSR = TARGETS.reg(0, width=8)
    target = ITARGETSR.rw(7, 0)
    KINDS = Bank(0xC00, stride=4, count="pairs")
    ICFGR = KINDS.reg(0)
    kind = ICFGR.rw(31, 0)
    SGIR = Reg(0xF00)
    generate = SGIR.wo(31, 0)
    ICPIDR2 = Reg(0xFE8)
    architecture = ICPIDR2.const(0x2B)

    C_CTLR = Reg(CPU + 0x00)
    interface = C_CTLR.rw(10, 0)
    C_PMR = Reg(CPU + 0x04)
    mask = C_PMR.rw(7, 0)
    C_BPR = Reg(CPU + 0x08)
    point = C_BPR.rw(2, 0)
    C_IAR = Reg(CPU + 0x0C)
    acknowledge = C_IAR.ro(31, 0)
    C_EOIR = Reg(CPU + 0x10)
    end = C_EOIR.wo(31, 0)
    C_RPR = Reg(CPU + 0x14)
    running = C_RPR.ro(7, 0)
    C_HPPIR = Reg(CPU + 0x18)
    highest = C_HPPIR.ro(31, 0)
    C_ABPR = Reg(CPU + 0x1C)
    alias_point = C_ABPR.rw(2, 0)
    C_APR = Bank(CPU + 0xD0, stride=4, count=4)
    C_APR_WORD = C_APR.reg(0)
    active_priorities = C_APR_WORD.rw(31, 0)
    C_IIDR = Reg(CPU + 0xFC)
    interface_implementer = C_IIDR.const(0x0202_043B)
    C_DIR = Reg(CPU + 0x1000)
    deactivate = C_DIR.wo(31, 0)

    enabled = state(0xFFFF)  # bit n: interrupt n; software's are always enabled
    latched = state(0)  # pending without their inputs: edges, and what was written
    levels = state(0)  # inputs that are high
    active = state(0)

    @property
    def words(self) -> int:
        return self.count // 32

    @property
    def pairs(self) -> int:
        return self.count // 16

    def __getitem__(self, n: int) -> Pin:
        """The input of shared interrupt `n`, number 32 + n."""
        return self.source[32 + n]

    def private(self, n: int) -> Pin:
        """The input of the processor's own interrupt `n`, number 16 + n."""
        return self.source[16 + n]

    @pins("count")
    def source(self, n: int, level: bool) -> None:
        self.levels = self.levels & ~(1 << n) | level << n
        if level and self.is_edge(n):
            self.latched |= 1 << n

    def is_edge(self, n: int) -> int:
        return self.kind[n >> 4] >> (n & 15) * 2 + 1 & 1

    @property
    def waiting(self) -> int:
        """Pending: what was latched, and inputs that count by their level."""
        found, levels = self.latched, self.levels & ~self.latched
        while levels:
            low = levels & -levels
            levels ^= low
            if not self.is_edge(low.bit_length() - 1):
                found |= low
        return found

    def best(self) -> int:
        """The pending, enabled interrupt of the highest priority that may interrupt now, or 1023."""
        if not self.enable_groups:
            return SPURIOUS
        ready = self.waiting & self.enabled & ~self.active
        best, limit = SPURIOUS, min(self.mask, self.running_priority())
        priority = self.priority if ready else []
        while ready:
            low = ready & -ready
            ready ^= low
            n = low.bit_length() - 1
            if priority[n] < limit:
                best, limit = n, priority[n]
        return best

    def running_priority(self) -> int:
        lowest, active = 0xFF, self.active
        while active:
            low = active & -active
            active ^= low
            lowest = min(lowest, self.priority[low.bit_length() - 1])
        return lowest

    # -- distributor

    @lines_number.computed
    def read_lines(self) -> int:
        return self.words - 1

    @set_enable.on_read
    def read_enabled(self, n: int) -> int:
        return self.enabled >> 32 * n & WORD

    @clear_enable.on_read
    def read_enabled_too(self, n: int) -> int:
        return self.enabled >> 32 * n & WORD

    @set_enable.on_write
    def enable(self, n: int, bits: int) -> None:
        self.enabled |= bits << 32 * n

    @clear_enable.on_write
    def disable(self, n: int, bits: int) -> None:
        self.enabled = self.enabled & ~(bits << 32 * n) | 0xFFFF

    @set_pending.on_read
    def read_pending(self, n: int) -> int:
        return self.waiting >> 32 * n & WORD

    @clear_pending.on_read
    def read_pending_too(self, n: int) -> int:
        return self.waiting >> 32 * n & WORD

    @set_pending.on_write
    def pend(self, n: int, bits: int) -> None:
        self.latched |= bits << 32 * n

    @clear_pending.on_write
    def unpend(self, n: int, bits: int) -> None:
        self.latched &= ~(bits << 32 * n)

    @set_active.on_read
    def read_active(self, n: int) -> int:
        return self.active >> 32 * n & WORD

    @clear_active.on_read
    def read_active_too(self, n: int) -> int:
        return self.active >> 32 * n & WORD

    @set_active.on_write
    def activate(self, n: int, bits: int) -> None:
        self.active |= bits << 32 * n

    @clear_active.on_write
    def end_active(self, n: int, bits: int) -> None:
        self.active &= ~(bits << 32 * n)

    @target.legal
    def limit_target(self, n: int, value: int) -> int:
        return value & 1

    @target.on_read
    def read_target(self, n: int) -> int:
        return 1 if n < 32 else self.target[n]

    @generate.on_write
    def software(self, value: int) -> None:
        """GICD_SGIR: to a list of processors, to the others, to itself."""
        filter_ = value >> 24 & 3
        if filter_ == 2 or (filter_ == 0 and value >> 16 & 1):
            self.latched |= 1 << (value & 15)

    # -- CPU interface

    @acknowledge.on_read
    def take(self) -> int:
        n = self.best() if self.interface & 3 else SPURIOUS
        if n != SPURIOUS:
            self.active |= 1 << n
            self.latched &= ~(1 << n)
        return n

    @end.on_write
    def finish(self, value: int) -> None:
        if not self.interface >> 9 & 1:  # EOImode: else GICC_DIR does
            self.active &= ~(1 << (value & 0x3FF))

    @deactivate.on_write
    def deactivate_one(self, value: int) -> None:
        self.active &= ~(1 << (value & 0x3FF))

    @running.computed
    def read_running(self) -> int:
        return self.running_priority()

    @highest.computed
    def read_highest(self) -> int:
        return self.best()

    @line
    def irq(self) -> int:
        return self.interface & 3 and self.best() != SPURIOUS

    def fdt(self, node: Node, placed: Placed) -> None:
        node["#interrupt-cells"] = 3
        node["interrupt-controller"] = True
