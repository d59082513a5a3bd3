"""MSI-X of virtio functions: messages, masks, pending bits, snapshots."""

from __future__ import annotations

import struct

import pytest

from devices.test_virtio import machine
from devices.virtio_driver import RAM, PciDriver
from tinamou.devices.virtio.pci import VirtioRngPci
from tinamou.machine import snapshot
from tinamou.machine.props import PropertyError

TABLE = 0x4200_0000
BELL = RAM + 0x20000  # where the messages go


class Source:
    """Random bytes without end."""

    def read(self, size):
        return b"r" * size


class Guest:
    def __init__(self, modern=True, on=True, **props):
        self.m, _, pcie = machine()
        self.function = VirtioRngPci(rng=Source(), **props)
        pcie.plug(self.function)
        self.d = PciDriver(self.m, 1, modern=modern)
        at = self.d.cfg(0x34, 1)
        while at and self.d.cfg(at, 1) != 0x11:
            at = self.d.cfg(at + 1, 1)
        self.at = at
        if at and on:
            self.d.cfg_write(0x14, TABLE, 4)
            self.d.cfg_write(0x04, 7, 2)
            for n in range(2):
                self.entry(n, BELL + 4 * n, 0x1230 + n, 0)
            self.control(0x8000)
            self.vectors(modern)
        self.q = self.d.queue(0, RAM, 8)
        self.d.start()

    def vectors(self, modern):
        """Configuration changes by vector 0, the queue by vector 1."""
        common = self.d.where.get(1, 0)
        places = ((common + 0x10, 0), (common + 0x16, 0), (common + 0x1A, 1)) if modern else (
            (self.d.IO + 0x1014, 0), (self.d.IO + 0x100E, 0), (self.d.IO + 0x1016, 1))  # fmt: skip
        for at, value in places:
            self.m.memory.write(at, value, 2)

    def entry(self, n, address, data, control):
        for k, value in enumerate((address & 0xFFFF_FFFF, address >> 32, data, control)):
            self.m.memory.write(TABLE + 16 * n + 4 * k, value, 4)

    def control(self, value):
        self.d.cfg_write(self.at + 2, value, 2)

    def request(self):
        self.q.add((RAM + 0x10000, 4, True))
        self.d.kick(0)
        assert len(self.q.done()) == 1

    def rung(self):
        """The message of the queue, taken away."""
        data = self.m.memory.read(BELL + 4, 4)
        self.m.memory.write(BELL + 4, 0, 4)
        return data


@pytest.mark.parametrize("modern", [True, False])
def test_messages(modern):
    g = Guest(modern)
    assert g.d.cfg(g.at + 2, 2) == 0x8001 and g.d.cfg(g.at + 4, 4) == 1 and g.d.cfg(g.at + 8, 4) == 0x801
    g.request()
    assert g.rung() == 0x1231 and g.d.acknowledge() == 0 and not g.function.raised
    g.function.virtio.config_changed()
    assert g.m.memory.read(BELL, 4) == 0x1230


def test_masks_keep_messages_back():
    g = Guest()
    for mask, unmask in ((lambda: g.entry(1, BELL + 4, 0x55, 1), lambda: g.entry(1, BELL + 4, 0x55, 0)),
                         (lambda: g.control(0xC000), lambda: g.control(0x8000))):  # fmt: skip
        mask()
        g.request()
        assert g.rung() == 0 and g.m.memory.read(TABLE + 0x800, 8) == 2
        unmask()
        assert g.rung() == 0x55 and g.m.memory.read(TABLE + 0x800, 8) == 0


def test_the_pin_without_it_and_after_a_reset():
    g = Guest(on=False)
    g.request()
    assert g.function.raised and g.d.acknowledge() == 1
    g = Guest()
    g.m.reset()
    assert g.function.by_message is None and struct.unpack_from("<QII", g.function.msix.table, 16) == (0, 0, 1)


def test_vectors_that_do_not_exist():
    g = Guest()
    common = g.d.where[1]
    for at in (0x10, 0x1A):
        g.m.memory.write(common + at, 2, 2)
        assert g.m.memory.read(common + at, 2) == 0xFFFF
    g.request()
    assert g.rung() == 0
    g.m.memory.write(TABLE + 0x20, 1, 4)  # behind the table
    g.entry(1, 0x7000_0000_0000, 1, 0)  # a message to nowhere
    g.m.memory.write(common + 0x1A, 1, 2)
    g.request()
    assert Guest(vectors=0).at == 0
    with pytest.raises(PropertyError, match=r"virtio-rng-pci.vectors' doesn't take value 3000 \(minimum: 0, maximum: 2048\)"):
        VirtioRngPci(rng=Source(), vectors=3000)


def test_snapshot():
    g = Guest()
    g.control(0xC000)
    g.request()
    kept = snapshot.take(g.m)
    g.m.reset()
    snapshot.restore(g.m, kept)
    assert g.rung() == 0
    g.control(0x8000)
    assert g.rung() == 0x1231
