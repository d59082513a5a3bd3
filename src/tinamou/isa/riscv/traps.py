"""Exception causes.  The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, 20240411, table "Machine cause register"."""

from __future__ import annotations

INSTRUCTION_ADDRESS_MISALIGNED = 0
INSTRUCTION_ACCESS_FAULT = 1
ILLEGAL_INSTRUCTION = 2
BREAKPOINT = 3
LOAD_ADDRESS_MISALIGNED = 4
LOAD_ACCESS_FAULT = 5
STORE_ADDRESS_MISALIGNED = 6  # stores, SC and AMOs
STORE_ACCESS_FAULT = 7
ECALL_FROM_U = 8
ECALL_FROM_S = 9
ECALL_FROM_M = 11
INSTRUCTION_PAGE_FAULT = 12
LOAD_PAGE_FAULT = 13
STORE_PAGE_FAULT = 15

NAMES = {value: name.lower().replace("_", " ") for name, value in list(globals().items()) if name.isupper()}
