"""AVR registers as debuggers number them: GDB's avr-tdep numbering, 35 registers, all in the first feature."""

from __future__ import annotations

from typing import Any

from tinamou.control.gdb import Description, Feature, Register


def of_machine(cpu: Any) -> Description:
    """r0-r31 0-31, SREG 32, SP 33, PC 34 (a byte address)."""
    registers = [Register(f"r{n}", 8, "int8") for n in range(32)]
    registers += [Register("sreg", 8, "uint8"), Register("sp", 16, "data_ptr"), Register("pc", 32, "code_ptr")]
    return Description("avr", (Feature("org.gnu.gdb.avr.cpu", "avr-cpu.xml", tuple(registers)),))
