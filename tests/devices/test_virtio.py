import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from board_harness import IdleCpu
from devices.virtio_driver import RAM, MmioDriver, PciDriver
from tinamou.backends.chardev.base import MemoryChardev
from tinamou.devices.virtio.blk import VirtioBlk
from tinamou.devices.virtio.pci import VirtioBlkPci, VirtioRngPci, VirtioSerialPci
from tinamou.devices.virtio.rings import EVENT_IDX, INDIRECT_DESC, RING_PACKED
from tinamou.devices.virtio.rng import VirtioRng
from tinamou.devices.virtio.serial import SerialPort, VirtConsole, VirtioSerial
from tinamou.machine import board, snapshot
from tinamou.machine.machine import Settings
from tinamou.machine.memory import MiB
from tinamou.machine.props import PropertyError

SLOT = 0x1000_8000


class Disk:
    def __init__(self, size=1 << 20):
        self.data = bytearray(size)
        self.size, self.log, self.fail, self.readonly = size, [], None, False

    def _check(self):
        if self.fail:
            raise self.fail

    def read_into(self, offset, buffers):
        self._check()
        for b in buffers:
            b[:] = self.data[offset : offset + len(b)]
            offset += len(b)

    def write_from(self, offset, buffers):
        self._check()
        for b in buffers:
            self.data[offset : offset + len(b)] = b
            offset += len(b)

    def flush(self):
        self.log.append("flush")

    def discard(self, offset, size):
        self.log.append(("discard", offset, size))

    def write_zeroes(self, offset, size):
        self.data[offset : offset + size] = bytes(size)


def machine(legacy=False):
    m = board.find("virt").make(Settings(bios="none", ram_size=16 * MiB), cpu_factory=IdleCpu)
    slot = next(p.device for p in m.placed if p.base == SLOT)
    slot.legacy = legacy
    slot.reset()
    pcie = next(b for b in m.buses() if b.name == "pcie.0")
    return m, slot, pcie


TRANSPORTS = [("mmio", True), ("mmio", False), ("pci", True), ("pci", False)]


def start(kind, modern, device_class, pci_class, features=0, **props):
    m, slot, pcie = machine(not modern)
    if kind == "mmio":
        device = device_class(**props)
        slot.slot.plug(device)
        driver = MmioDriver(m, SLOT, features, modern)
    else:
        function = pci_class(**props)
        pcie.plug(function)
        device = function.virtio
        driver = PciDriver(m, 1, features, modern)
    return m, device, driver


@pytest.mark.parametrize("kind,modern", TRANSPORTS)
def test_block_requests(kind, modern):
    disk = Disk()
    m, _device, d = start(kind, modern, VirtioBlk, VirtioBlkPci, drive=disk, serial="abc")
    q = d.queue(0, RAM, 8 if kind == "mmio" or modern else 256)
    d.start()
    assert int.from_bytes(d.config(8), "little") == disk.size // 512
    plic = next(p.device for p in m.placed if p.device.type_name == "riscv.sifive.plic")

    def request(op, sector, buffers, data=b""):
        m.memory.store(RAM + 0x10000, struct.pack("<IIQ", op, 0, sector))
        m.memory.store(RAM + 0x11000, data)
        m.memory.write(RAM + 0x12000, 0xEE, 1)
        q.add((RAM + 0x10000, 16, False), *buffers, (RAM + 0x12000, 1, True))
        d.kick(0)
        finished = q.done()
        assert len(finished) == 1 and plic.levels
        assert d.acknowledge() & 1 and not plic.levels
        return m.memory.read(RAM + 0x12000, 1), finished[0][1]

    assert request(1, 2, [(RAM + 0x11000, 1024, False)], b"hello" * 300) == (0, 1)
    assert disk.data[1024:1029] == b"hello"
    assert request(0, 2, [(RAM + 0x14000, 512, True), (RAM + 0x15000, 512, True)]) == (0, 1025)
    assert m.memory.load(RAM + 0x14000, 512) + m.memory.load(RAM + 0x15000, 512) == (b"hello" * 300)[:1024]
    assert request(4, 0, []) == (0, 1) and disk.log == ["flush"]
    assert request(8, 0, [(RAM + 0x14000, 20, True)])[0] == 0
    assert m.memory.load(RAM + 0x14000, 4) == b"abc\0"
    assert request(0, disk.size // 512, [(RAM + 0x14000, 512, True)])[0] == 1
    assert request(99, 0, [])[0] == 2


def test_discard_and_write_zeroes():
    disk = Disk()
    disk.data[:] = b"x" * disk.size
    m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, 1 << 13 | 1 << 14, drive=disk)
    q = d.queue(0, RAM, 8)
    d.start()
    for op in (11, 13):
        m.memory.store(RAM + 0x10000, struct.pack("<IIQQII", op, 0, 0, 8, 8, 0))
        q.add((RAM + 0x10000, 32, False), (RAM + 0x12000, 1, True))
        d.kick(0)
        assert m.memory.read(RAM + 0x12000, 1) == 0
    assert disk.log == [("discard", 4096, 4096)] and disk.data[4095:4097] == b"x\0"


def test_indirect_and_event_index():
    disk = Disk()
    m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, 1 << INDIRECT_DESC | 1 << EVENT_IDX, drive=disk)
    q = d.queue(0, RAM, 8)
    d.start()
    assert d.offered >> INDIRECT_DESC & 1 and d.offered >> EVENT_IDX & 1
    for i in range(20):
        m.memory.write(q.avail + 4 + 16, 9, 2)         # used_event: tell me after the tenth
        m.memory.store(RAM + 0x10000, struct.pack("<IIQ", 0, 0, i))
        q.add((RAM + 0x10000, 16, False), (RAM + 0x14000, 512, True), (RAM + 0x12000, 1, True), indirect=RAM + 0x18000)
        d.kick(0)
        assert len(q.done()) == 1
        assert bool(d.acknowledge() & 1) == (i in (0, 9)), i
    assert m.memory.read(q.used + 4 + 64, 2) == 20      # avail_event


@pytest.mark.parametrize("kind", ["mmio", "pci"])
@pytest.mark.parametrize("size", [4, 8, 16])
@pytest.mark.parametrize("indirect", [False, True])
def test_packed_rings(kind, size, indirect):
    """Many laps; a request is one descriptor when it is indirect, else three."""
    disk, want = Disk(), 1 << RING_PACKED | 1 << INDIRECT_DESC
    m, device, d = start(kind, True, VirtioBlk, VirtioBlkPci, want, drive=disk, packed=True)
    q = d.queue(0, RAM, size)
    d.start()
    assert device.has(RING_PACKED)
    for i in range(50):
        disk.data[512 * i : 512 * i + 512] = bytes([i]) * 512
        m.memory.store(RAM + 0x10000, struct.pack("<IIQ", 0, 0, i))
        table = {"indirect": RAM + 0x18000} if indirect else {}
        name = q.add((RAM + 0x10000, 16, False), (RAM + 0x14000, 512, True), (RAM + 0x12000, 1, True), **table)
        d.kick(0)
        assert q.done() == [(name, 513)] and d.acknowledge() & 1
        assert m.memory.load(RAM + 0x14000, 512) == bytes([i]) * 512 and m.memory.read(RAM + 0x12000, 1) == 0


def test_packed_rings_several_at_once_and_out_of_order():
    """Two requests wait when the machine stops for an error; a third is done first."""
    disk = Disk()
    disk.rerror, disk.werror = "stop", "report"
    m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, 1 << RING_PACKED, drive=disk, packed=True)
    q = d.queue(0, RAM, 16)
    d.start()

    def add(n, op):
        m.memory.store(RAM + 0x10000 + 16 * n, struct.pack("<IIQ", op, 0, n))
        return q.add((RAM + 0x10000 + 16 * n, 16, False), (RAM + 0x14000 + 512 * n, 512, op == 0), (RAM + 0x12000 + n, 1, True))

    disk.fail = OSError(errno.EIO, "no")
    first, second = add(0, 0), add(1, 0)
    d.kick(0)
    assert q.done() == [] and len(_device.stalled) == 2
    disk.fail = None
    third = add(2, 1)
    d.kick(0)
    assert q.done() == [(third, 1)]
    kept = snapshot.take(m)
    m.reset()
    snapshot.restore(m, kept)
    disk.data[:1024] = b"a" * 512 + b"b" * 512
    _device.retry()
    assert q.done() == [(first, 513), (second, 513)] and m.memory.load(RAM + 0x14000, 1024) == bytes(disk.data[:1024])


def test_packed_event_index():
    disk, want = Disk(), 1 << RING_PACKED | 1 << INDIRECT_DESC | 1 << EVENT_IDX
    m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, want, drive=disk, packed=True)
    q = d.queue(0, RAM, 8)
    d.start()
    heard = []
    q.tell_at(5)
    for i in range(40):
        m.memory.store(RAM + 0x10000, struct.pack("<IIQ", 0, 0, i))
        q.add((RAM + 0x10000, 16, False), (RAM + 0x14000, 512, True), (RAM + 0x12000, 1, True), indirect=RAM + 0x18000)
        d.kick(0)
        assert len(q.done()) == 1
        if d.acknowledge() & 1:
            heard.append(i)
            q.tell_at(i + 6)
        if i == 30:
            m.memory.store(q.avail, struct.pack("<HH", 0, 1))   # no more interrupts
    assert heard == [5, 11, 17, 23, 29]
    place, flags = struct.unpack("<HH", m.memory.load(q.used, 4))
    assert (place, flags) == (0 | q.lap(40) << 15, 2)           # tell me of the 41st


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=128, max_size=128), st.binary(min_size=4, max_size=4), st.integers(0, 3))
def test_any_packed_ring_is_survived(desc, event, features):
    want = (features & 1) << INDIRECT_DESC | (features >> 1) << EVENT_IDX | 1 << RING_PACKED
    m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, want, drive=Disk(4096), packed=True)
    q = d.queue(0, RAM, 8)
    d.start()
    m.memory.store(q.desc, desc)
    m.memory.store(q.avail, event)
    d.kick(0)
    d.kick(0)


def test_a_broken_driver_breaks_only_the_device():
    for flags, length, _chain in ((4, 24, 1), (1, 16, 1), (0, 16, 1), (2, 1, 1)):
        disk = Disk()
        m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, 1 << INDIRECT_DESC, drive=disk)
        log = []
        m.log.items, m.log.sink = {"guest_errors"}, log.append
        q = d.queue(0, RAM, 8)
        d.start()
        m.memory.store(q.desc, struct.pack("<QIHH", RAM + 0x10000, length, flags, 0))
        m.memory.write(q.avail + 2, 1, 2)
        d.kick(0)
        assert d.read(0x70) & 0x40 and "needs a reset" in log[0]
        d.write(0x70, 0)
        assert d.read(0x70) == 0


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=128, max_size=128), st.binary(min_size=22, max_size=22), st.integers(0, 3))
def test_any_ring_content_is_survived(desc, avail, features):
    m, _device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, (features & 1) << INDIRECT_DESC | (features >> 1) << EVENT_IDX,
                         drive=Disk(4096))
    q = d.queue(0, RAM, 8)
    d.start()
    m.memory.store(q.desc, desc)
    m.memory.store(q.avail, avail)
    d.kick(0)
    d.kick(77)


def test_io_errors_follow_the_policy():
    disk = Disk()
    m, device, d = start("mmio", True, VirtioBlk, VirtioBlkPci, drive=disk)
    seen = []
    m.on_request(lambda what, details: seen.append((what, details["operation"], details["action"], details["nospace"])))
    q = d.queue(0, RAM, 8)
    d.start()
    m.memory.store(RAM + 0x10000, struct.pack("<IIQ", 1, 0, 0))
    disk.fail = OSError(errno.EIO, "Input/output error")
    q.add((RAM + 0x10000, 16, False), (RAM + 0x11000, 512, False), (RAM + 0x12000, 1, True))
    d.kick(0)
    assert m.memory.read(RAM + 0x12000, 1) == 1 and len(q.done()) == 1
    disk.fail = OSError(errno.ENOSPC, "No space left on device")
    q.add((RAM + 0x10000, 16, False), (RAM + 0x11000, 512, False), (RAM + 0x12000, 1, True))
    d.kick(0)
    assert q.done() == [] and seen == [("block-io-error", "write", "report", False), ("block-io-error", "write", "stop", True)]
    disk.fail = None
    device.retry()
    assert len(q.done()) == 1 and m.memory.read(RAM + 0x12000, 1) == 0


def test_block_properties():
    for props, text in (({}, "drive property not set"), ({"drive": Disk(), "logical": 4096}, "not supported"),
                        ({"drive": Disk(), "queue_size": 3}, "must be a power of 2"),
                        ({"drive": Disk(), "logical": 4194304}, "minimum: 512, maximum: 2097152")):
        with pytest.raises(PropertyError, match=text):
            VirtioBlk(**props)
    big = VirtioBlk(drive=Disk(8 << 20), logical=2 << 20, physical=2 << 20)
    assert struct.unpack_from("<I", big.config(), 20)[0] == 2 << 20
    assert "logical_block_size=<size>" in VirtioBlkPci.properties.help()
    with pytest.raises(PropertyError, match="neither modern nor legacy"):
        VirtioRngPci(disable_modern=True, disable_legacy="on")


def test_pci_identity_and_slots():
    m, _, pcie = machine()
    pcie.plug(VirtioBlkPci(drive=Disk()))
    pcie.plug(VirtioRngPci(addr=0x20, disable_legacy="on"))
    d = PciDriver(m, 1)
    assert (d.cfg(0, 4), d.cfg(8, 4), d.cfg(0x2C, 4), d.cfg(0x3D, 1)) == (0x1001_1AF4, 0x0100_0000, 0x0002_1AF4, 1)
    assert d.sizes == {0: 128, 4: 0x4000}
    other = PciDriver(m, 4)
    assert (other.cfg(0, 4), other.cfg(8, 1)) == (0x1044_1AF4, 1)
    assert m.memory.read(0x3000_0000, 4) == 0x0008_1B36 and m.memory.read(0x3001_0000, 4) == 0xFFFF_FFFF
    with pytest.raises(PropertyError, match="PCI: slot 1 function 0 not available for virtio-rng-pci, in use by virtio-blk-pci"):
        pcie.plug(VirtioRngPci(addr=8))


@pytest.mark.parametrize("kind,modern", TRANSPORTS)
def test_rng(kind, modern):
    m, _device, d = start(kind, modern, VirtioRng, VirtioRngPci)
    q = d.queue(0, RAM, 8)
    d.start()
    q.add((RAM + 0x10000, 64, True))
    d.kick(0)
    assert q.done() == [(0, 64)] and m.memory.load(RAM + 0x10000, 64) != bytes(64)


def test_rng_keeps_its_rate():
    m, _device, d = start("mmio", True, VirtioRng, VirtioRngPci, max_bytes=100, period=10)
    q = d.queue(0, RAM, 8)
    d.start()
    for _ in range(3):
        q.add((RAM + 0x10000, 64, True))
    d.kick(0)
    assert [n for _, n in q.done()] == [64, 36]
    m.time.advance(10_000_000)
    assert [n for _, n in q.done()] == [64]


@pytest.mark.parametrize("kind,modern", TRANSPORTS)
def test_console_without_multiport(kind, modern):
    m, device, d = start(kind, modern, VirtioSerial, VirtioSerialPci)
    host = MemoryChardev()
    device.slots.plug(VirtConsole(chardev=host))
    rx, tx = d.queue(0, RAM, 128), d.queue(1, RAM + 0x4000, 128)
    d.start()
    m.memory.store(RAM + 0x10000, b"out")
    tx.add((RAM + 0x10000, 3, False))
    d.kick(1)
    assert host.sent == b"out" and len(tx.done()) == 1
    host.deliver(b"input")
    assert host.backlog == 5
    rx.add((RAM + 0x11000, 3, True))
    d.kick(0)
    assert rx.done() == [(0, 3)] and m.memory.load(RAM + 0x11000, 3) == b"inp" and host.backlog == 2


def test_console_ports_and_control_messages():
    m, device, d = start("mmio", True, VirtioSerial, VirtioSerialPci, 1 << 1)
    host, agent = MemoryChardev(), MemoryChardev()
    device.slots.plug(VirtConsole(chardev=host))
    device.slots.plug(SerialPort(chardev=agent, name="org.example.agent"))
    queues = {n: d.queue(n, RAM + 0x4000 * n, 16) for n in (0, 1, 2, 3, 4, 5)}
    d.start()
    for i in range(12):
        queues[2].add((RAM + 0x40000 + 0x100 * i, 64, True))
    d.kick(2)

    def say(port, event, value):
        m.memory.store(RAM + 0x50000, struct.pack("<IHH", port, event, value))
        queues[3].add((RAM + 0x50000, 8, False))
        d.kick(3)

    def heard():
        return [m.memory.load(RAM + 0x40000 + 0x100 * head, n) for head, n in queues[2].done()]

    say(0xFFFF_FFFF, 0, 1)
    assert heard() == [struct.pack("<IHH", n, 1, 1) for n in (0, 1)]
    say(0, 3, 1)
    assert heard() == [struct.pack("<IHH", 0, 4, 1), struct.pack("<IHH", 0, 6, 1)]
    say(1, 3, 1)
    assert heard() == [struct.pack("<IHH", 1, 7, 1) + b"org.example.agent\0", struct.pack("<IHH", 1, 6, 1)]
    say(1, 6, 1)
    queues[4].add((RAM + 0x60000, 16, True))
    d.kick(4)
    agent.deliver(b"ping")
    assert queues[4].done() == [(0, 4)] and m.memory.load(RAM + 0x60000, 4) == b"ping"
    with pytest.raises(PropertyError, match="already exists at id 1"):
        device.slots.plug(SerialPort(nr=1))
    with pytest.raises(PropertyError, match="Out-of-range"):
        device.slots.plug(SerialPort(nr=40))


def test_snapshot_in_the_middle_of_a_queue():
    disk = Disk()
    m, device, d = start("pci", True, VirtioBlk, VirtioBlkPci, drive=disk)
    q = d.queue(0, RAM, 8)
    d.start()
    kept = snapshot.take(m)
    m.reset()
    assert device.status == 0
    snapshot.restore(m, kept)
    m.memory.store(RAM + 0x10000, struct.pack("<IIQ", 0, 0, 0))
    q.add((RAM + 0x10000, 16, False), (RAM + 0x14000, 512, True), (RAM + 0x12000, 1, True))
    d.kick(0)
    assert q.done() == [(0, 513)] and d.acknowledge() == 1
