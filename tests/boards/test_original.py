"""The same accesses on the original's machine and on ours give the same numbers."""

import random
import shutil

import pytest

from board_harness import IdleCpu
from original import Original
from tinamou.machine import board
from tinamou.machine.machine import Settings

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="compared with the original where it is installed")


def ours(name, **settings):
    b = board.find(name)
    settings.setdefault("ram_size", b.ram)
    settings.setdefault("cpus", b.default_cpus)
    return b.make(Settings(bios="none", **settings), cpu_factory=IdleCpu)


RESET_VALUES = [
    ("virt", {}, "qemu-system-riscv64", [(0x10001000, 0x74, set()), (0xC000000, 0x20, set()), (0x20000000, 16, set()),
                                       (0x3000_0000, 0x40, {0x3000002C, 0x30000034, 0x3000_0004})]),
    ("sifive_e", {}, "qemu-system-riscv64", [(0x1000, 0x20, set()), (0x10012000, 0x44, set()), (0x10013000, 0x1C, {0x10013018}),
                                            (0x10008004, 4, set()), (0x1000800C, 4, set())]),
    ("sifive_u", {}, "qemu-system-riscv64", [(0x1000, 0x48, set()), (0x10000000, 0x30, set()), (0x10010000, 0x14, set()),
                                            (0x10060000, 0x44, set()), (0x10070000, 0x3C, set()),
                                            (0x10040000, 0x78, {0x10040028, 0x10040060, 0x10040064, 0x10040040})]),
    ("opentitan", {}, "qemu-system-riscv32", [(0x40000000, 0x34, set()), (0x40100000, 8, set()), (0x40100100, 0x20, set()),
                                             (0x40300000, 0x24, set())]),
]


@pytest.mark.parametrize("name,settings,binary,windows", RESET_VALUES, ids=[r[0] for r in RESET_VALUES])
def test_reset_values(name, settings, binary, windows):
    """All registers of the windows but the named ones, which follow the data sheet where the original does not."""
    if not shutil.which(binary):
        pytest.skip(f"{binary} is not installed")
    m = ours(name, **settings)
    args = ["-bios", "none"] if name != "opentitan" else []
    with Original(name, *args, binary=binary) as q:
        wrong = {hex(a): (hex(q.read(a)), hex(m.memory.read(a, 4))) for base, size, known in windows
                 for a in range(base, base + size, 4) if a not in known and q.read(a) != m.memory.read(a, 4)}
    assert wrong == {}


def same(name, accesses):
    """Run accesses [(address, size, value or None)] on both."""
    m = ours(name)
    with Original(name, "-bios", "none") as q:
        for i, (address, size, value) in enumerate(accesses):
            if value is None:
                theirs, mine = q.read(address, size), m.memory.read(address, size)
                assert mine == theirs, f"access {i}: {address:#x} is {mine:#x}, the original says {theirs:#x}"
            else:
                q.write(address, value, size)
                m.memory.write(address, value, size)


def test_uart_registers():
    r = random.Random(1)
    base, plan = 0x1000_0000, []
    for _ in range(300):
        register = r.choice([1, 3, 4, 7, 2, 0])
        value = r.randrange(256)
        if register == 4:
            value &= ~0x10
        if register == 2:
            value &= 0xF7
        plan.append((base + register, 1, value))
        plan += [(base + n, 1, None) for n in (1, 3, 4, 5, 7, 2)]
    same("virt", plan)


def test_plic_registers():
    r = random.Random(2)
    base, plan = 0x0C00_0000, []
    for _ in range(300):
        offset = r.choice([4 * r.randrange(1, 97), 0x2000 + 4 * r.randrange(3), 0x2080 + 4 * r.randrange(3), 0x20_0000, 0x20_1000])
        value = r.randrange(8) if offset < 0x1000 or offset >= 0x20_0000 else r.getrandbits(32) & ~(offset & 0x7F == 0)
        plan += [(base + offset, 4, value), (base + offset, 4, None), (base + 0x20_0004, 4, None), (base + 0x1000, 4, None)]
    same("virt", [p for p in plan if not 0x2008 <= p[0] - base < 0x2080 and not 0x2088 <= p[0] - base < 0x2100 and p[0] != base + 0x200c])


def test_clint_registers():
    base = 0x0200_0000
    same("virt", [(base, 4, 1), (base, 4, None), (base, 4, 0xFE), (base, 4, None), (base + 0x4000, 8, 0x1_2345_6789),
                  (base + 0x4000, 8, None), (base + 0x4004, 4, None), (base + 0x4000, 4, 7), (base + 0x4000, 8, None)])


def test_flash_commands():
    both, base, plan = lambda c: c << 16 | c, 0x2000_0000, []

    def write(offset, value):
        plan.append((base + offset, 4, value))

    def read(*offsets):
        plan.extend((base + o, 4, None) for o in offsets)

    for command in (0x98, 0x90, 0x70, 0xFF):
        write(0, both(command))
        read(*range(0, 0x180, 4), 0x40000)
        write(0, both(0xFF))
    for block in (0, 0x40000):
        write(block, both(0x20))
        write(block, both(0xD0))
        read(0)
        write(0, both(0xFF))
        read(block, block + 0x3FFFC)
    write(8, both(0x40))
    write(8, 0x12345678)
    read(8)
    write(0, both(0xFF))
    read(8, 12)
    write(0x100, both(0xE8))
    read(0x100)
    write(0x100, both(3))
    for i in range(4):
        write(0x100 + 4 * i, 0xA0 + i)
    write(0x100, both(0xD0))
    read(0x100)
    write(0, both(0xFF))
    read(*range(0xF8, 0x118, 4))
    for bad in (0x37, 0x60):
        write(0, both(bad))
        write(0, both(0x55))
        read(0, 0x200)
    same("virt", plan)


def test_virtio_mmio_identity():
    base = 0x1000_1000
    same("virt", [(base + o, 4, None) for o in (0, 4, 8, 12, 0x10, 0x34, 0x60, 0x70)])


def test_fw_cfg_items():
    base, plan = 0x1010_0000, []
    for key in (0x0000, 0x0005, 0x000F):
        plan += [(base + 8, 2, key << 8)] + [(base, 1, None)] * 6
    plan.append((base + 16, 8, None))
    same("virt", plan)


def test_sifive_gpio():
    r = random.Random(3)
    base, plan = 0x1001_2000, []
    for _ in range(200):
        offset = r.choice([0x04, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x20, 0x28, 0x30, 0x38, 0x3C, 0x40])
        plan += [(base + offset, 4, r.getrandbits(32)), (base + offset, 4, None)]
    same("sifive_e", plan)
