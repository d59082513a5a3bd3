"""What only RISC-V has: asm/hwprobe.h and sys_riscv_flush_icache of the kernel's documentation (arch/riscv/hwprobe.rst)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..layout import Struct, i64, u64
from ..syscall import Addr, Buf, Ptr, Size, UInt, ULong, syscall

if TYPE_CHECKING:
    from ..thread import Thread

BASE_BEHAVIOR, IMA_EXT_0, CPUPERF_0, ZICBOZ_BLOCK_SIZE = 3, 4, 5, 6
KNOWN_KEYS = 9
IMA = 1
EXTENSION_BITS = {"d": 1 << 0, "c": 1 << 1, "v": 1 << 2, "zba": 1 << 3, "zbb": 1 << 4, "zbs": 1 << 5}
MISALIGNED_FAST = 3
MAX_PAIRS = 1 << 16


class Pair(Struct):
    """struct riscv_hwprobe"""

    key: i64
    value: u64


@syscall
def riscv_flush_icache(t: Thread, start: Addr, end: Addr, flags: ULong) -> None:
    """Code between the addresses changed."""
    if flags & ~1:
        raise OSError(errno.EINVAL, "flags")
    if start < end:
        t.process.code_changed(start, end - start)


@syscall
def riscv_hwprobe(t: Thread, pairs: Ptr[Pair], count: Size, cpu_count: Size, cpus: Buf, flags: UInt) -> None:
    """Every CPU is the same: the keys asked for get this one's values, unknown keys become -1."""
    if flags or count > MAX_PAIRS:
        raise OSError(errno.EINVAL, "flags")
    extensions = t.abi.extensions(t.process)
    values = dict.fromkeys(range(KNOWN_KEYS), 0)
    values[BASE_BEHAVIOR] = IMA if {"i", "m", "a"} <= extensions else 0
    values[IMA_EXT_0] = sum(bit for name, bit in EXTENSION_BITS.items() if name in extensions)
    values[CPUPERF_0] = MISALIGNED_FAST
    for n in range(count):
        asked = pairs[n]
        known = asked.key in values
        pairs[n] = Pair(key=asked.key if known else -1, value=values.get(asked.key, 0))

