"""Host-target interface of the RISC-V proxy kernel and Spike: two 64-bit words, tohost and fromhost.

Bits 63:56 name the device, 55:48 the command, 47:0 the payload. Device 0 is the system (payload bit 0: exit with the
code in the bits above), device 1 the console (command 0 getc, 1 putc).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.devices.char.port import SerialDevice
from tinamou.machine.lines import state
from tinamou.machine.props import BOOL, prop
from tinamou.machine.registers import Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed


class Htif(SerialDevice, type="riscv.htif", compatible="ucb,htif0", node="htif", size=0x10, access=(4, 8)):
    """`tohost` and `fromhost` at the offsets given (an ELF file's symbols decide their order)."""

    swapped: bool = prop(BOOL, default=False, hidden=True, help="fromhost comes first")
    reg_in_fdt: bool = prop(BOOL, default=True, hidden=True)

    FIRST = Reg(0, width=64)
    first = FIRST.rw()
    SECOND = Reg(8, width=64)
    second = SECOND.rw()

    waiting = state(False)              # a getc is outstanding
    half = state(0)

    @first.on_write
    def wrote_first(self, value: int) -> None:
        if not self.swapped:
            self.tohost(value)

    @second.on_write
    def wrote_second(self, value: int) -> None:
        if self.swapped:
            self.tohost(value)

    def write(self, offset: int, value: int, size: int) -> None:
        """A 32-bit hart writes tohost in halves: the command is complete with the upper one."""
        base = 8 if self.swapped else 0
        if size == 4 and offset == base:
            self.half = value
        elif size == 4 and offset == base + 4:
            super().write(base, value << 32 | self.half, 8)
        else:
            super().write(offset, value, size)

    def tohost(self, value: int) -> None:
        device, command, payload = value >> 56, value >> 48 & 0xFF, value & (1 << 48) - 1
        reply: int | None = None
        if device == 0 and command == 0 and payload & 1:
            if self.machine is not None:
                self.machine.request_shutdown(code=payload >> 1 & 0xFF)
        elif device == 1 and command == 0:
            self.waiting = True
            self.set(tohost=0)
            self.more()
            return
        elif device == 1 and command == 1:
            self.send(payload & 0xFF)
            reply = 1 << 56 | 1 << 48 | 0x100 | payload & 0xFF
        elif device == 0 and command == 0 and payload:
            self.log.unimp(f"{self.label}: proxied system call at {payload:#x}")
            reply = 0
        else:
            self.log.unimp(f"{self.label}: command {command} of device {device}")
        self.set(tohost=0)
        if reply is not None:
            self.set(fromhost=reply)

    def set(self, *, tohost: int | None = None, fromhost: int | None = None) -> None:
        if tohost is not None:
            self.first, self.second = (self.first, tohost) if self.swapped else (tohost, self.second)
        if fromhost is not None:
            self.first, self.second = (fromhost, self.second) if self.swapped else (self.first, fromhost)

    def can_receive(self) -> int:
        fromhost = self.first if self.swapped else self.second
        return int(self.waiting and not fromhost)

    def receive(self, data: bytes) -> None:
        self.waiting = False
        self.set(fromhost=1 << 56 | 0x100 | data[0])

    def fdt(self, node: Node, placed: Placed) -> None:
        if not self.reg_in_fdt:
            node["reg"] = False
