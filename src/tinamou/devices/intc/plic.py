"""Platform-level interrupt controller: RISC-V PLIC specification 1.0.0; register map of SiFive's implementation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tinamou.machine.device import Device
from tinamou.machine.lines import Pin, lines, pins, state, state_of
from tinamou.machine.memory import Io, Region
from tinamou.machine.props import STR, U32, PropertyError, prop
from tinamou.machine.registers import Bank

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed


class Plic(Device, type="riscv.sifive.plic", compatible=("sifive,plic-1.0.0", "riscv,plic0"), node="plic", size=0x60_0000,
           access=(4, 4)):
    """Level-triggered sources with priorities, routed to contexts (hart and privilege mode) with thresholds."""

    hart_config: str = prop(STR, default="M", help="modes of each hart, e.g. 'M,MS,MS'")
    sources: int = prop(U32, default=127, name="num-sources", help="sources, 0 not counted")
    priorities: int = prop(U32, default=7, name="num-priorities", help="highest priority")

    enable_stride: int = prop(U32, default=0x80)
    context_stride: int = prop(U32, default=0x1000)
    aperture: int = prop(U32, default=0x60_0000, name="aperture-size")

    PER_SOURCE = Bank(0x0, stride=4, count="all_sources")
    PRIORITY = PER_SOURCE.reg(0)
    priority = PRIORITY.rw(31, 0)
    PER_WORD = Bank(0x1000, stride=4, count="words")
    PENDING = PER_WORD.reg(0)
    pending_word = PENDING.ro(31, 0)
    PER_ENABLE = Bank(0x2000, stride="enable_stride", count="contexts")
    PER_ENABLE_WORD = PER_ENABLE.bank(0, stride=4, count="words")
    ENABLE = PER_ENABLE_WORD.reg(0)
    enable_word = ENABLE.rw(31, 0)
    PER_CONTEXT = Bank(0x20_0000, stride="context_stride", count="contexts")
    THRESHOLD = PER_CONTEXT.reg(0)
    threshold = THRESHOLD.rw(31, 0)
    CLAIM = PER_CONTEXT.reg(4)
    claim = CLAIM.rw(31, 0)

    levels = state(0)                   # bit n: source n is high
    claimed = state(0)                  # bit n: source n is being served
    enabled = state_of(lambda self: [0] * self.contexts)

    def setup(self) -> None:
        self.served: Counter[int] = Counter()  # claims by source since the machine was made, for people

    def region(self) -> Region:
        return Io("riscv.sifive.plic", self.aperture, self, access=self.access)

    @property
    def modes(self) -> list[tuple[int, str]]:
        """(hart, mode) of each context."""
        out = [(hart, mode) for hart, modes in enumerate(self.hart_config.split(",")) for mode in modes]
        if not out or any(mode not in "MSUH" for _, mode in out):
            raise PropertyError(f"Property '{self.type_name}.hart-config' doesn't take value '{self.hart_config}'")
        return out

    @property
    def contexts(self) -> int:
        return len(self.hart_config.replace(",", ""))

    @property
    def words(self) -> int:
        return self.sources // 32 + 1

    @property
    def all_sources(self) -> int:
        return self.sources + 1

    def __getitem__(self, n: int) -> Pin:
        """The input of source `n`."""
        if n == 0:
            raise IndexError("PLIC source 0 does not exist")
        return self.source[n]

    @pins("all_sources")
    def source(self, n: int, level: bool) -> None:
        self.levels = self.levels & ~(1 << n) | level << n

    def best(self, context: int) -> int:
        """The pending, enabled source of highest priority above the threshold, the lowest number first; or 0."""
        waiting = self.levels & ~self.claimed & self.enabled[context]
        if not waiting:
            return 0
        best, high = 0, self.threshold[context]
        priority = self.priority
        while waiting:
            low = waiting & -waiting
            waiting ^= low
            n = low.bit_length() - 1
            if priority[n] > high:
                best, high = n, priority[n]
        return best

    @priority.legal
    def limit_priority(self, n: int, value: int) -> int:
        return value & self.priorities if n else 0

    @threshold.legal
    def limit_threshold(self, n: int, value: int) -> int:
        return value & self.priorities

    @enable_word.legal
    def limit_enable(self, n: int, value: int) -> int:
        context, word = divmod(n, self.words)
        exists = (1 << self.all_sources) - 2 >> 32 * word & 0xFFFF_FFFF
        value &= exists
        mask = 0xFFFF_FFFF << 32 * word
        self.enabled[context] = self.enabled[context] & ~mask | value << 32 * word
        return value

    @pending_word.computed
    def read_pending(self, n: int) -> int:
        return (self.levels & ~self.claimed) >> 32 * n

    @claim.on_read
    def serve(self, context: int) -> int:
        n = self.best(context)
        if n:
            self.claimed |= 1 << n
            self.served[n] += 1
        return n

    @claim.on_write
    def complete(self, context: int, n: int) -> None:
        if 0 < n <= self.sources and self.enabled[context] >> n & 1:
            self.claimed &= ~(1 << n)
        else:
            self.log.guest_error(f"{self.label}: context {context} completes source {n}, which it does not serve")

    @lines("contexts")
    def external(self, context: int) -> int:
        return self.best(context)

    def fdt(self, node: Node, placed: Placed) -> None:
        node["#interrupt-cells"] = 1
        node["#address-cells"] = 0
        node["interrupt-controller"] = True
        node["riscv,ndev"] = self.sources
