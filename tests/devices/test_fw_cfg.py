import pytest

from tinamou.devices.misc.fw_cfg import FILE_DIR, READ, SELECT, SKIP, WRITE, FwCfg
from tinamou.machine.machine import Machine
from tinamou.machine.memory import MiB
from tinamou.machine.props import PropertyError

BASE, RAM = 0x1010_0000, 0x8000_0000


@pytest.fixture
def m():
    m = Machine()
    m.ram(RAM, 1 * MiB)
    m.cfg = m.at(BASE, FwCfg())
    m.cfg.file("opt/a", b"hello world")
    m.cfg.file("etc/w", bytes(8), writable=True)
    return m


def select(m, key):
    m.memory.write(BASE + 8, int.from_bytes(key.to_bytes(2, "big"), "little"), 2)


def take(m, n):
    return bytes(m.memory.read(BASE, 1) for _ in range(n))


def dma(m, control, length, address):
    m.memory.store(RAM, control.to_bytes(4, "big") + length.to_bytes(4, "big") + address.to_bytes(8, "big"))
    m.memory.write(BASE + 16, int.from_bytes(RAM.to_bytes(8, "big"), "little"), 8)
    return int.from_bytes(m.memory.load(RAM, 4), "big")


def test_signature_and_directory(m):
    select(m, 0)
    assert take(m, 6) == b"QEMU\0\0"
    select(m, 1)
    assert take(m, 4) == b"\3\0\0\0"
    select(m, FILE_DIR)
    assert take(m, 4) == b"\0\0\0\2"
    entry = take(m, 64)
    assert entry[:8] == b"\0\0\0\x08\0\x20\0\0" and entry[8:].rstrip(b"\0") == b"etc/w"
    select(m, 0x21)
    assert m.memory.read(BASE, 8).to_bytes(8, "little") == b"hello wo" and take(m, 5) == b"rld\0\0"
    assert m.memory.read(BASE + 16, 8).to_bytes(8, "little") == b"QEMU CFG"


def test_dma(m):
    assert dma(m, 0x21 << 16 | SELECT | READ, 16, RAM + 0x100) == 0
    assert m.memory.load(RAM + 0x100, 16) == b"hello world" + bytes(5)
    assert dma(m, 0x21 << 16 | SELECT | SKIP, 6, 0) == 0 and dma(m, READ, 5, RAM + 0x100) == 0
    assert m.memory.load(RAM + 0x100, 5) == b"world"
    m.memory.store(RAM + 0x200, b"guest")
    assert dma(m, 0x20 << 16 | SELECT | WRITE, 5, RAM + 0x200) == 0 and m.cfg.written["etc/w"] == b"guest\0\0\0"
    assert dma(m, 0x21 << 16 | SELECT | WRITE, 5, RAM + 0x200) == 1
    assert dma(m, 0x21 << 16 | SELECT | READ, 5, 0x10) == 1
    m.memory.write(BASE + 16, 0, 8)             # a request that is not in memory is only logged


def test_mistakes(m):
    for name, message in (("x" * 56, "name too long"), ("opt/a", "duplicate fw_cfg file name: opt/a")):
        with pytest.raises(PropertyError, match=message):
            m.cfg.file(name, b"")
