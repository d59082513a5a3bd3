import pytest

from tinamou.devices.flash.cfi01 import CfiFlash01
from tinamou.machine.machine import Machine
from tinamou.machine.props import PropertyError

BASE = 0x2000_0000


@pytest.fixture
def m():
    m = Machine()
    m.at(BASE, CfiFlash01(blocks=128, sector=0x4_0000, bank_width=4, device_width=2, max_device_width=2, name="flash0"))
    return m


def both(command):
    return command << 16 | command


def put(m, at, value):
    m.memory.write(BASE + at, value, 4)


def get(m, at=0, size=4):
    return m.memory.read(BASE + at, size)


def test_query_table_is_the_originals(m):
    put(m, 0, both(0x98))
    table = bytes(get(m, 4 * i) & 0xFF for i in range(0x60))
    assert table[:0x10] == bytes(16)
    assert table[0x10:0x13] == b"QRY"
    assert table[0x13:0x31].hex() == "0100310000000000" "4555000007070a0004040400" "180200" "0b0001" "7f000002"
    assert table[0x31:0x36] == b"PRI10" and table[0x3F] == 1
    assert get(m, 0x40) == 0x0051_0051 and get(m, 0x41, 1) == 0x51 and get(m, 0x42, 2) == 0x51
    assert get(m, 0x40, 8) == 0x0052_0052_0051_0051


def test_identify_and_status(m):
    put(m, 0, both(0x90))
    assert (get(m, 0), get(m, 4), get(m, 8)) == (0x0089_0089, 0x0018_0018, 0)
    put(m, 0, both(0x70))
    assert get(m) == 0x0080_0080
    put(m, 0, both(0xFF))
    assert get(m) == 0


def test_program_only_clears_bits_and_erase_sets_a_sector(m):
    for value, expect in ((0x1234_5678, 0x1234_5678), (0xFFFF_0000, 0x1234_0000)):
        put(m, 8, both(0x40))
        put(m, 8, value)
        assert get(m, 8) == 0x0080_0080
        put(m, 0, both(0xFF))
        assert get(m, 8) == expect
    m.reset("cold")
    assert get(m, 8) == 0x1234_0000
    put(m, 8, both(0x20))
    put(m, 8, both(0xD0))
    put(m, 0, both(0xFF))
    assert get(m, 8) == 0xFFFF_FFFF


def test_write_buffer(m):
    put(m, 0x100, both(0xE8))
    assert get(m) == 0x0080_0080
    put(m, 0x100, both(3))
    for i in range(4):
        put(m, 0x100 + 4 * i, 0xA0 + i)
    put(m, 0x100, both(0xD0))
    put(m, 0, both(0xFF))
    assert [get(m, 0x100 + 4 * i) for i in range(5)] == [0xA0, 0xA1, 0xA2, 0xA3, 0xFFFF_FFFF]
    put(m, 0x200, both(0xE8))
    put(m, 0x200, both(0))
    put(m, 0x200, 0)
    put(m, 0x200, both(0x12))               # no confirmation: nothing is programmed
    assert get(m, 0x200) == 0xFFFF_FFFF


def test_guest_mistakes_are_named(m):
    log = []
    m.log.items, m.log.sink = {"guest_errors"}, log.append
    put(m, 0, both(0x37))
    put(m, 0, both(0x20))
    put(m, 0, both(0x33))
    assert log == ["flash0: unexpected command 0x37", "flash0: unexpected confirmation 0x33"]
    assert get(m) == 0


def test_array_mode_is_plain_memory_for_engines(m):
    assert len(m.memory.ram_regions()) == 1
    put(m, 0, both(0x98))
    assert m.memory.ram_regions() == []


class Drive:
    def __init__(self, data):
        self.data, self.size = bytearray(data), len(data)

    def read_into(self, offset, buffers):
        for b in buffers:
            b[:] = self.data[offset : offset + len(b)]
            offset += len(b)

    def write_from(self, offset, buffers):
        for b in buffers:
            self.data[offset : offset + len(b)] = b
            offset += len(b)


def test_backing_drive():
    drive = Drive(b"boot" * 0x2000)
    f = CfiFlash01(blocks=2, sector=0x4000, bank_width=1, name="f", drive=drive)
    assert f.read(0, 4) == int.from_bytes(b"boot", "little")
    for offset, value in ((3, 0x40), (3, 0)):
        f.write(offset, value, 1)
    assert drive.data[:4] == b"boo\0"
    with pytest.raises(PropertyError, match="device requires 65536 bytes, block backend provides 32768 bytes"):
        CfiFlash01(blocks=4, sector=0x4000, bank_width=1, name="f", drive=drive)
    with pytest.raises(PropertyError, match="sector-length"):
        CfiFlash01(blocks=4, name="f")
