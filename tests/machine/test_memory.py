import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.machine.memory import (
    Alias,
    BusError,
    DirtyLog,
    Io,
    Memory,
    MemoryListener,
    MemoryMapError,
    Ram,
    Region,
    RomDevice,
)


class Echo:
    """Reads give size and offset; writes are kept."""

    def __init__(self):
        self.writes = []

    def read(self, offset, size):
        return (offset << 4 | size) & (1 << 8 * size) - 1

    def write(self, offset, value, size):
        self.writes.append((offset, value, size))


def test_overlap_names_both_regions():
    m = Memory()
    m.root.add(0x1000, Ram("low", 0x1000))
    with pytest.raises(MemoryMapError, match=r"high at 0x1800-0x27ff overlaps low at 0x1000-0x1fff"):
        m.root.add(0x1800, Ram("high", 0x1000))


def test_priority_decides_what_is_seen():
    m = Memory()
    a, b = Ram("a", 0x3000), Ram("b", 0x1000)
    a.buffer[:] = b"a" * 0x3000
    b.buffer[:] = b"b" * 0x1000
    m.root.add(0, a, priority=-1)
    m.root.add(0x1000, b)
    assert [(r.base, r.size, r.region.name, r.offset) for r in m.ranges] == [
        (0, 0x1000, "a", 0), (0x1000, 0x1000, "b", 0), (0x2000, 0x1000, "a", 0x2000)]
    assert m.load(0xFFE, 4) == b"aabb"
    assert m.read(0x1FFE, 4) == 0x61616262
    b.enabled = False
    assert m.load(0xFFE, 4) == b"aaaa"


def test_alias_and_mirror():
    m = Memory()
    ram = Ram("ram", 0x1000)
    m.root.add(0x8000, ram)
    m.root.add(0, Alias("mirror", ram, 0x800, 0x100))
    m.write(0x10, 0x1234, 2)
    assert m.read(0x8810, 2) == 0x1234
    assert "alias mirror @ram 0000000000000800-00000000000008ff" in m.mtree()


def test_rom_drops_writes_but_loaders_fill_it():
    m = Memory()
    m.root.add(0, Ram("rom", 0x100, readonly=True))
    m.write(0, 0xFF, 1)
    m.store(0, b"abc")
    assert m.read(0, 4) == 0
    m.store_rom(0, b"abc")
    assert m.load(0, 3) == b"abc"


def test_nothing_there_and_holes():
    m = Memory()
    m.root.add(0, Ram("ram", 0x100))
    for f in (lambda: m.read(0x100, 4), lambda: m.write(0x200, 0, 4), lambda: m.load(0xF0, 0x20), lambda: m.read(0xFE, 4)):
        with pytest.raises(BusError):
            f()


def test_access_sizes_split_widen_and_refuse():
    m, echo = Memory(), Echo()
    m.root.add(0, Io("dev", 0x100, echo, access=(1, 8), implemented=(4, 4)))
    assert m.read(8, 8) == 0xC4 << 32 | 0x84
    m.write(8, 0x1122334455667788, 8)
    assert echo.writes == [(8, 0x55667788, 4), (12, 0x11223344, 4)]
    with pytest.raises(BusError, match="alignment"):
        m.read(2, 4)
    m.root.add(0x100, Io("strict", 0x100, echo, access=(4, 4)))
    with pytest.raises(BusError):
        m.read(0x100, 1)


@pytest.mark.parametrize("endian", ["little", "big"])
def test_byte_order_of_device_and_bus(endian):
    m = Memory(endian=endian)
    echo = Echo()
    m.root.add(0, Io("dev", 0x100, echo, endian="big"))
    m.write(0, 0x11223344, 4)
    assert echo.writes[0][1] == (0x11223344 if endian == "big" else 0x44332211)
    m.root.add(0x1000, Ram("ram", 0x100))
    m.write(0x1000, 0x0102, 2)
    assert m.load(0x1000, 2) == (b"\1\2" if endian == "big" else b"\2\1")


def test_listeners_views_and_dirty_pages():
    class Engine(MemoryListener):
        def __init__(self):
            self.maps, self.writes, self.protects = 0, [], 0

        def map_changed(self, memory):
            self.maps += 1

        def ram_written(self, ram, offset, size):
            self.writes.append((ram.name, offset, size))

        def ram_protect(self, ram, offset, size):
            self.protects += 1

    m, engine = Memory(), Engine()
    ram = Ram("ram", 0x8000)
    m.root.add(0x8000_0000, ram)
    m.listen(engine)
    assert engine.maps == 1
    log = DirtyLog(ram)
    assert engine.protects == 1
    m.write(0x8000_1000, 1, 4)
    view, = m.views(0x8000_3FF0, 0x20, write=True)
    view[:] = b"x" * 0x20
    m.wrote(0x8000_3FF0, 0x20)
    assert engine.writes == [("ram", 0x1000, 4), ("ram", 0x3FF0, 0x20)]
    assert log.take() == [1, 3, 4] and log.take() == []
    m.root.add(0, Ram("other", 0x1000))
    assert engine.maps == 2
    r = m.ram_regions()
    assert [(x.base, x.size, x.writable) for x in r] == [(0, 0x1000, True), (0x8000_0000, 0x8000, True)]
    assert r[1].address == ram.address


def test_rom_device_switches_between_memory_and_commands():
    m, echo = Memory(), Echo()
    flash = RomDevice("flash", 0x1000, echo)
    m.root.add(0, flash)
    assert m.read(4, 4) == 0 and len(m.ram_regions()) == 1 and not m.ram_regions()[0].writable
    m.write(4, 0x98, 1)
    assert echo.writes == [(4, 0x98, 1)]
    flash.direct = False
    assert m.read(4, 4) == 0x44 and m.ram_regions() == []


def test_batch_makes_one_view():
    class Count(MemoryListener):
        n = 0

        def map_changed(self, memory):
            self.n += 1

    m, count = Memory(), Count()
    m.listen(count)
    with m.batch():
        for i in range(10):
            m.root.add(i << 16, Ram(f"r{i}", 0x1000))
    assert count.n == 2 and len(m.ranges) == 10


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(-2, 2)), max_size=12))
def test_flat_view_agrees_with_painting(pieces):
    """Painting byte by byte in order of priority gives what the flat view resolves."""
    m = Memory(Region("root", 100))
    regions = []
    for i, (base, size, priority) in enumerate(pieces):
        r = Region(f"r{i}", size)
        r.__class__ = type("Leaf", (Region,), {"kind": "i/o"})
        regions.append((base, size, priority, m.root.add(base, r, priority, overlap=True)))
    paint = [None] * 100
    order = sorted(m.root.mappings, key=lambda mp: mp.priority)
    for mp in order:
        for a in range(mp.offset, mp.offset + mp.region.size):
            paint[a] = (mp.region, a - mp.offset)
    for a in range(100):
        found = m.find(a)
        assert (found and (found.region, a - found.base + found.offset)) == paint[a]
