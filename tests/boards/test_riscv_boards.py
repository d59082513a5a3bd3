import re
import shutil
import struct
import subprocess

import pytest

from board_harness import IdleCpu
from tinamou.backends.chardev.base import MemoryChardev
from tinamou.firmware.fdt import Tree
from tinamou.machine import board
from tinamou.machine.machine import Settings
from tinamou.machine.props import PropertyError


def make(name, options=None, **settings):
    b = board.find(name)
    for key, value in (("ram_size", b.ram), ("cpus", b.default_cpus), ("bios", "none")):
        settings.setdefault(key, value)
    return b.make(Settings(**settings), options, cpu_factory=IdleCpu)


def elf32(address, code):
    header = b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 243, 1, address, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 84, address, address, len(code), len(code), 5, 4) + code


@pytest.mark.parametrize("revb,target", [(False, 0x2040_0000), (True, 0x2001_0000)])
def test_hifive1_starts_in_its_rom(revb, target, tmp_path):
    program = tmp_path / "p.elf"
    program.write_bytes(elf32(target, b"\x13\0\0\0" * 4))
    m = make("sifive_e", {"revb": revb}, kernel=str(program))
    assert m.cpus[0].pc == 0x1004 and m.cpus[0].model == "sifive-e31"
    assert m.memory.read(0x1004, 4) == target | 0x2B7 and m.memory.read(0x1008, 4) == 0x28067
    assert m.memory.read(target, 4) == 0x13 and m.kernel_entry == target
    assert m.memory.find(0x1001_6000).region.name.endswith("i2c0") if revb else m.memory.find(0x1001_6000) is None
    with pytest.raises(PropertyError, match="Invalid RAM size, should be 16 KiB"):
        make("sifive_e", ram_size=1 << 20)
    with pytest.raises(PropertyError, match="max CPUs supported by machine 'sifive_e' is 1"):
        make("sifive_e", cpus=2)
    with pytest.raises(PropertyError, match="Parameter 'revb' expects 'on' or 'off'"):
        make("sifive_e", {"revb": "maybe"})


def test_hifive1_clock_follows_prci():
    m = make("sifive_e")
    pwm = next(p.device for p in m.placed if p.base == 0x1002_5000)
    assert pwm.clock.hz == 14_400_000
    m.memory.write(0x1000_8008, 1 << 18 | 1 << 17 | 1 << 16, 4)         # crystal, PLL bypassed
    assert pwm.clock.hz == 16_000_000
    m.memory.write(0x1000_8008, 1 << 17 | 1 << 16 | 1 << 10 | 39 << 4 | 1, 4)
    assert pwm.clock.hz == 16_000_000 // 2 * 2 * 40 // 2


def test_opentitan_memory_and_reset():
    m = make("opentitan")
    assert m.cpus[0].pc == 0x2000_0400 and m.cpus[0].model == "lowrisc-ibex"
    assert make("opentitan", {"resetvec": "0x8090"}).cpus[0].pc == 0x8090
    log = []
    m.log.items, m.log.sink = {"unimp"}, log.append
    m.memory.read(0x4111_0010, 4)
    assert log == ["riscv.lowrisc.ibex.hmac: unimplemented device read  (size 4, offset 0x10)"]
    m.memory.store_rom(0x2000_0010, b"abcd")
    assert m.memory.load(0x8000_0010, 4) == b"abcd"


def test_opentitan_uart_interrupts_through_the_plic():
    host = MemoryChardev()
    m = make("opentitan", serials=[host])
    for address, value in ((0x4800_0008, 3), (0x4800_2000, 0xFFFF_FFFE), (0x4000_0010, 3), (0x4000_0004, 2)):
        m.memory.write(address, value, 4)
    m.memory.write(0x4000_001C, ord("h"), 4)
    assert host.sent == b"h"
    host.deliver(b"x")
    assert m.cpus[0].line("meip").level and m.memory.read(0x4820_0004, 4) == 2
    assert m.memory.read(0x4000_0018, 4) == ord("x")


def test_sifive_u_harts():
    m = make("sifive_u", cpus=5)
    assert [c.model for c in m.cpus] == ["sifive-e51"] + ["sifive-u54"] * 4
    with pytest.raises(PropertyError, match="min CPUs supported by machine 'sifive_u' is 2"):
        make("sifive_u", cpus=1)
    for word, expect in ((0xFC, 0x42), (0xFD, 0xFFFF_FFBD), (0x10, 0xFFFF_FFFF)):
        m = make("sifive_u", {"serial": 0x42})
        for offset in (0x0C, 0x1C, 0x34):
            m.memory.write(0x1007_0000 + offset, 1, 4)
        m.memory.write(0x1007_0000, word, 4)
        assert m.memory.read(0x1007_0018, 4) == expect


def test_sifive_u_flash_over_spi():
    m = make("sifive_u")
    spi = 0x1004_0000

    def transfer(*data):
        m.memory.write(spi + 0x18, 2, 4)
        out = []
        for byte in data:
            m.memory.write(spi + 0x48, byte, 4)
            out.append(m.memory.read(spi + 0x4C, 4))
        m.memory.write(spi + 0x18, 0, 4)
        return bytes(out)

    assert transfer(0x9F, 0, 0, 0)[1:] == b"\x9d\x70\x19"
    transfer(0x02, 0, 1, 0, 0x55)
    assert transfer(0x03, 0, 1, 0, 0)[4:] == b"\xff"            # no write enable
    transfer(0x06)
    assert transfer(0x05, 0)[1] == 2
    transfer(0x02, 0, 1, 0xFE, 1, 2, 3)                         # wraps inside the page
    assert transfer(0x0B, 0, 1, 0xFE, 0, 0, 0)[5:] == b"\1\2" and transfer(0x03, 0, 1, 0, 0)[4:] == b"\3"
    transfer(0x06)
    transfer(0xD8, 0, 0, 0)
    assert transfer(0x13, 0, 0, 1, 0xFE, 0)[5:] == b"\xff"


@pytest.mark.parametrize("pin,what", [(10, "reset"), (11, "shutdown")])
def test_sifive_u_restart_and_power_pins(pin, what):
    """A falling edge of the pin as an output; a reset of the machine is none."""
    m, seen, gpio = make("sifive_u"), [], 0x1006_0000
    m.on_request(lambda what, details: seen.append(what))
    assert m.fdt.root.children["gpio-poweroff"].props["gpios"][4:] == struct.pack(">II", 11, 1)
    m.memory.write(gpio + 0x0C, 1 << pin, 4)
    m.memory.write(gpio + 0x08, 1 << pin, 4)
    m.reset()
    assert seen == []
    for value in (0, 1 << pin, 0):
        m.memory.write(gpio + 0x0C, value, 4)
        m.memory.write(gpio + 0x08, 1 << pin, 4)
    assert seen == [what]


def tree_of(data):
    return dict(Tree.unpack(data).root.walk())


@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="compared with the original where it is installed")
def test_sifive_u_device_tree_has_the_originals_nodes(tmp_path):
    dtb = tmp_path / "dtb"
    subprocess.run(["qemu-system-riscv64", "-M", f"sifive_u,dumpdtb={dtb}", "-bios", "none", "-display", "none"], check=True,
                   capture_output=True, timeout=30)
    theirs, mine = tree_of(dtb.read_bytes()), tree_of(make("sifive_u").fdt.pack())
    # The network interface, the DMA engine, the cache controller and the SD slot are stubs here: no node
    missing = {p for p in theirs.keys() - mine.keys() if not re.search("ethernet|dma@|cache-controller|mmc@0", p)}
    assert missing == set()
    for path in ("/soc/serial@10010000", "/soc/spi@10040000", "/soc/gpio@10060000", "/soc/pwm@10020000", "/soc/otp@10070000",
                 "/soc/clint@2000000", "/soc/interrupt-controller@c000000"):
        skip = {"interrupt-parent", "clocks", "phandle", "interrupts-extended", "status", "ranges"}
        a = {k: v for k, v in theirs[path].props.items() if k not in skip}
        b = {k: v for k, v in mine[path].props.items() if k not in skip}
        assert a == b, path


@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="compared with the original where it is installed")
@pytest.mark.parametrize("name,binary,known", [
    ("virt", "qemu-system-riscv64", r"aclint|platform bus|fwcfg"),
    ("sifive_e", "qemu-system-riscv64", r"aclint|e.pwm"),
    ("sifive_u", "qemu-system-riscv64", r"aclint|enet|pdma"),
    ("opentitan", "qemu-system-riscv32", "nothing here")])
def test_memory_map_is_the_originals(name, binary, known, tmp_path):
    """Every region of the original is here at the same addresses; a CLINT is one region here, two there."""
    if not shutil.which(binary):
        pytest.skip(f"{binary} is not installed")
    args = [] if name == "opentitan" else ["-bios", "none"]
    done = subprocess.run([binary, "-M", name, *args, "-display", "none", "-serial", "none", "-S", "-monitor", "stdio"],
                          input="info mtree\nquit\n", capture_output=True, text=True, timeout=30)
    rows = re.findall(r"^\s+([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, \S+\): (.*?)\r?$", done.stdout, re.MULTILINE)
    theirs = {(a, b) for a, b, what in rows if not re.search(known + r"|^io$|pcie-mmcfg-mmio$", what)}
    mine = set(re.findall(r"^\s+([0-9a-f]{16})-([0-9a-f]{16}) ", make(name).memory.mtree(), re.MULTILINE))
    assert theirs and theirs - mine == set()


