"""Exception syndromes.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D17.2.37 (ESR_ELx).

A Trap's cause is the syndrome as ESR_EL1 would show it, its value what FAR_EL1 would.
"""

from __future__ import annotations

IL = 1 << 25  # a 32-bit instruction, or no instruction at all

# Exception classes, bits 31:26.
EC_UNKNOWN = 0x00
EC_WFX = 0x01  # WFI and WFE
EC_FLOAT = 0x07  # SIMD and floating point
EC_PAUTH = 0x09  # keys, and instructions that use them
EC_BRANCH_TARGET = 0x0D
EC_ILLEGAL_STATE = 0x0E
EC_SVC = 0x15
EC_HVC = 0x16
EC_SMC = 0x17
EC_SYSTEM = 0x18
EC_PAC_FAIL = 0x1C
EC_INSTRUCTION_ABORT = 0x20  # from a lower exception level
EC_PC_ALIGNMENT = 0x22
EC_DATA_ABORT = 0x24  # from a lower exception level
EC_SP_ALIGNMENT = 0x26
EC_BRK = 0x3C

# Fault status codes of aborts, bits 5:0; those of translation tables have the level in bits 1:0.
ADDRESS_SIZE = 0x00
TRANSLATION = 0x04
ACCESS_FLAG = 0x08
PERMISSION = 0x0C
EXTERNAL = 0x10
EXTERNAL_ON_WALK = 0x14
TRANSLATION_LEVEL_3 = 0x07
ALIGNMENT = 0x21
TAG_CHECK = 0x11

WNR = 1 << 6  # a data abort's access was a write
S1PTW = 1 << 7  # stage 2 refused a walk of stage 1
CM = 1 << 8  # of a data abort: cache maintenance or an address translation instruction
ISV = 1 << 24  # of a data abort: the fields about the instruction are valid

# Beside the syndrome, in a whole machine.
TO_EL2 = 1 << 40  # taken to EL2, whatever the rules for its class say
TO_EL3 = 1 << 41
BEHIND = 1 << 42  # the return address is behind the instruction
STAGE2 = 1 << 43  # an abort of stage 2

CONDITION = 0x1E << 20  # CV and COND of a syndrome: the instruction has no condition

UNDEFINED = EC_UNKNOWN << 26 | IL
SVC = EC_SVC << 26 | IL
HVC = EC_HVC << 26 | IL
SMC = EC_SMC << 26 | IL
BREAKPOINT = EC_BRK << 26 | IL
WFI_TRAPPED = EC_WFX << 26 | IL | CONDITION
WFE_TRAPPED = WFI_TRAPPED | 1
FLOAT_TRAPPED = EC_FLOAT << 26 | IL | CONDITION
PAUTH_TRAPPED = EC_PAUTH << 26 | IL
SYSTEM_TRAPPED = EC_SYSTEM << 26 | IL  # the ISS is made of the instruction
ILLEGAL_STATE = EC_ILLEGAL_STATE << 26 | IL
BRANCH_TARGET = EC_BRANCH_TARGET << 26 | IL  # ISS: BTYPE
INSTRUCTION_ABORT = EC_INSTRUCTION_ABORT << 26 | IL | TRANSLATION_LEVEL_3
SP_ALIGNMENT = EC_SP_ALIGNMENT << 26 | IL
PC_ALIGNMENT = EC_PC_ALIGNMENT << 26 | IL  # taken at the target: the return address is the value
DATA_ABORT_READ = EC_DATA_ABORT << 26 | IL | TRANSLATION_LEVEL_3
DATA_ABORT_WRITE = DATA_ABORT_READ | WNR
ALIGNMENT_READ = EC_DATA_ABORT << 26 | IL | ALIGNMENT
ALIGNMENT_WRITE = ALIGNMENT_READ | WNR
TAG_CHECK_READ = EC_DATA_ABORT << 26 | IL | TAG_CHECK
TAG_CHECK_WRITE = TAG_CHECK_READ | WNR


def exception_class(cause: int) -> int:
    """Bits 31:26 of a syndrome."""
    return cause >> 26
