"""The guest's side of virtio: a driver for tests over the MMIO and PCI transports, legacy and 1.0."""

import struct

RAM = 0x8000_0000


class Queue:
    """A split ring laid out by the driver."""

    def __init__(self, memory, base, size, align=4096):
        self.memory, self.size, self.base = memory, size, base
        self.desc = base
        self.avail = base + 16 * size
        self.used = self.avail + 6 + 2 * size + align - 1 & -align
        self.free = 0
        self.avail_index = self.used_index = 0

    def add(self, *buffers, indirect=None):
        """Each buffer is (address, length, device writes?); returns the head."""
        head = self.free

        def entry(n, address, length, flags, following):
            return n, struct.pack("<QIHH", address, length, flags, following)

        if indirect is not None:
            table = b"".join(entry(i, a, n, (2 if w else 0) | (1 if i < len(buffers) - 1 else 0), i + 1)[1]
                             for i, (a, n, w) in enumerate(buffers))
            self.memory.store(indirect, table)
            buffers = [(indirect, len(table), None)]
        for i, (a, n, w) in enumerate(buffers):
            at = (head + i) % self.size
            flags = 4 if w is None else (2 if w else 0) | (1 if i < len(buffers) - 1 else 0)
            self.memory.store(self.desc + 16 * at, entry(at, a, n, flags, (at + 1) % self.size)[1])
        self.free = (head + len(buffers)) % self.size
        self.memory.write(self.avail + 4 + 2 * (self.avail_index % self.size), head, 2)
        self.avail_index += 1
        self.memory.write(self.avail + 2, self.avail_index & 0xFFFF, 2)
        return head

    def done(self):
        """(head, bytes written) of each request finished since the last call."""
        out = []
        while self.used_index & 0xFFFF != self.memory.read(self.used + 2, 2):
            at = self.used + 4 + 8 * (self.used_index % self.size)
            out.append((self.memory.read(at, 4), self.memory.read(at + 4, 4)))
            self.used_index += 1
        return out


class PackedQueue:
    """A packed ring: descriptors, then the driver's and the device's event suppression."""

    def __init__(self, memory, base, size):
        self.memory, self.size, self.base = memory, size, base
        self.desc, self.avail, self.used = base, base + 16 * size, base + 16 * size + 4
        self.added = self.seen = 0
        self.counts = {}
        memory.store(base, bytes(16 * size + 8))

    def lap(self, count):
        return 1 - count // self.size % 2

    def add(self, *buffers, indirect=None):
        """Each buffer is (address, length, device writes?); returns the buffer ID. The first flags are written last."""
        name = 100 + self.added % self.size
        if indirect is not None:
            table = b"".join(struct.pack("<QIHH", a, n, 0, 2 if w else 0) for a, n, w in buffers)
            self.memory.store(indirect, table)
            buffers = [(indirect, len(table), None)]
        rows = []
        for i, (a, n, w) in enumerate(buffers):
            mine = self.lap(self.added + i)
            flags = mine << 7 | (1 - mine) << 15 | (4 if w is None else 2 if w else 0) | (1 if i < len(buffers) - 1 else 0)
            rows.append((self.desc + 16 * ((self.added + i) % self.size), struct.pack("<QIHH", a, n, name, flags)))
        for at, row in reversed(rows):
            self.memory.store(at, row)
        self.counts[name] = len(buffers)
        self.added += len(buffers)
        return name

    def done(self):
        """(buffer ID, bytes written) of each request finished since the last call."""
        out = []
        while True:
            _, length, name, flags = struct.unpack("<QIHH", self.memory.load(self.desc + 16 * (self.seen % self.size), 16))
            if not flags >> 7 & 1 == flags >> 15 & 1 == self.lap(self.seen):
                return out
            out.append((name, length))
            self.seen += self.counts.pop(name)

    def tell_at(self, count):
        """Interrupt when the descriptor of that number (since the beginning) is used."""
        self.memory.store(self.avail, struct.pack("<HH", count % self.size | self.lap(count) << 15, 2))


class MmioDriver:
    def __init__(self, machine, base, features=0, modern=True):
        self.m, self.memory, self.base, self.modern = machine, machine.memory, base, modern
        self.packed = features >> 34 & 1
        self.queues = {}
        self.write(0x70, 0)
        self.write(0x70, 3)
        offered = sum(self._feature(n) << 32 * n for n in (0, 1))
        self.offered = offered
        want = features | (1 << 32 if modern else 0)
        for n in (0, 1):
            self.write(0x24, n)
            self.write(0x20, want >> 32 * n & 0xFFFF_FFFF)
        if modern:
            self.write(0x70, 11)
            assert self.read(0x70) & 8
        else:
            self.write(0x28, 4096)

    def _feature(self, n):
        self.write(0x14, n)
        return self.read(0x10)

    def read(self, offset, size=4):
        return self.memory.read(self.base + offset, size)

    def write(self, offset, value, size=4):
        self.memory.write(self.base + offset, value, size)

    def queue(self, n, at, size):
        q = self.queues[n] = (PackedQueue if self.packed else Queue)(self.memory, at, size)
        self.write(0x30, n)
        self.write(0x38, size)
        if self.modern:
            for offset, value in ((0x80, q.desc), (0x90, q.avail), (0xA0, q.used)):
                self.write(offset, value & 0xFFFF_FFFF)
                self.write(offset + 4, value >> 32)
            self.write(0x44, 1)
        else:
            self.write(0x3C, 4096)
            self.write(0x40, at >> 12)
        return q

    def start(self):
        self.write(0x70, self.read(0x70) | 4)

    def kick(self, n):
        self.write(0x50, n)

    def acknowledge(self):
        value = self.read(0x60)
        self.write(0x64, value)
        return value

    def config(self, size):
        return bytes(self.read(0x100 + i, 1) for i in range(size))


class PciDriver:
    """Finds the function in ECAM, sizes and places its registers."""

    ECAM, IO = 0x3000_0000, 0x0300_0000

    def __init__(self, machine, slot, features=0, modern=True):
        self.m, self.memory, self.modern = machine, machine.memory, modern
        self.packed = features >> 34 & 1
        self.at = self.ECAM + (slot << 15)
        self.where = {}
        self.sizes = {}
        for bar in (0, 4):
            self.cfg_write(0x10 + 4 * bar, 0xFFFF_FFFF, 4)
            got = self.cfg(0x10 + 4 * bar, 4)
            if got & ~15:
                self.sizes[bar] = (~(got & (~3 if got & 1 else ~15)) & (0xFFFF if got & 1 else 0xFFFF_FFFF)) + 1
        self.cfg_write(0x10, 0x1000, 4)
        self.cfg_write(0x20, 0x4100_0000, 4)
        self.cfg_write(0x24, 0, 4)
        self.cfg_write(0x04, 7, 2)
        pointer = self.cfg(0x34, 1)
        while pointer:
            if self.cfg(pointer, 1) == 9:
                self.where[self.cfg(pointer + 3, 1)] = 0x4100_0000 + self.cfg(pointer + 8, 4)
            pointer = self.cfg(pointer + 1, 1)
        self.status(0)
        self.status(3)
        if modern:
            c = self.where[1]
            for n in (0, 1):
                self.memory.write(c + 8, n, 4)
                self.memory.write(c + 12, (features | 1 << 32) >> 32 * n & 0xFFFF_FFFF, 4)
            self.status(11)
            assert self.memory.read(c + 0x14, 1) & 8
        else:
            self.memory.write(self.IO + 0x1004, features, 4)

    def cfg(self, offset, size):
        return self.memory.read(self.at + offset, size)

    def cfg_write(self, offset, value, size):
        self.memory.write(self.at + offset, value, size)

    def status(self, value):
        if self.modern:
            self.memory.write(self.where[1] + 0x14, value, 1)
        else:
            self.memory.write(self.IO + 0x1012, value, 1)

    def queue(self, n, at, size):
        if self.modern:
            q = (PackedQueue if self.packed else Queue)(self.memory, at, size)
            c = self.where[1]
            self.memory.write(c + 0x16, n, 2)
            self.memory.write(c + 0x18, size, 2)
            for offset, value in ((0x20, q.desc), (0x28, q.avail), (0x30, q.used)):
                self.memory.write(c + offset, value & 0xFFFF_FFFF, 4)
                self.memory.write(c + offset + 4, value >> 32, 4)
            self.memory.write(c + 0x1C, 1, 2)
        else:
            self.memory.write(self.IO + 0x100E, n, 2)
            q = Queue(self.memory, at, self.memory.read(self.IO + 0x100C, 2))
            self.memory.write(self.IO + 0x1008, at >> 12, 4)
        return q

    def start(self):
        self.status(15 if self.modern else 7)

    def kick(self, n):
        if self.modern:
            self.memory.write(self.where[2] + 4 * n, n, 2)
        else:
            self.memory.write(self.IO + 0x1010, n, 2)

    def acknowledge(self):
        return self.memory.read(self.where[3] if self.modern else self.IO + 0x1013, 1)

    def config(self, size):
        base = self.where[4] if self.modern else self.IO + 0x1014
        return bytes(self.memory.read(base + i, 1) for i in range(size))
