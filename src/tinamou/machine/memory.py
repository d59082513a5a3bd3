"""The memory map: a tree of regions with offsets and priorities, rendered into a flat list that resolves addresses.

The words are the field's: a *region* is RAM, ROM, I/O, an alias of part of another region, or a container of these.
Regions of equal priority in one container may not overlap; of different priority the higher one is seen.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from tinamou.machine.hostmem import HostMemory

Endian = Literal["little", "big"]
KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
PAGE_SHIFT = 12


class MemoryMapError(Exception):
    """Two parts claim the same addresses, or a region does not fit where it was put."""


class BusError(Exception):
    """A guest access that no region accepts. `reason` is "decode" (nothing there) or "access" (size or alignment)."""

    def __init__(self, address: int, size: int, write: bool, reason: str = "decode") -> None:
        what = "write" if write else "read"
        super().__init__(f"{what} of {size} bytes at {address:#x}: "
                         + ("nothing there" if reason == "decode" else "access size or alignment not accepted"))
        self.address, self.size, self.write, self.reason = address, size, write, reason


class Bank(Protocol):
    """What an I/O region asks of a device: registers at offsets, of 1, 2, 4 or 8 bytes."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, value: int, size: int) -> None: ...


class Mapping(NamedTuple):
    offset: int
    region: Region
    priority: int


class Region:
    """A container of `size` bytes; the base of all kinds. `name` is what `info mtree` prints."""

    kind = "container"

    def __init__(self, name: str, size: int) -> None:
        if size <= 0:
            raise MemoryMapError(f"{name}: size must be positive")
        self.name, self.size = name, size
        self.mappings: list[Mapping] = []
        self.containers: list[Region] = []
        self.spaces: list[Memory] = []
        self._enabled = True

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {self.size:#x}>"

    @property
    def enabled(self) -> bool:
        """A disabled region is not seen by any address space."""
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        if on != self._enabled:
            self._enabled = on
            self.changed()

    def add(self, offset: int, region: Region, priority: int = 0, overlap: bool = False) -> Region:
        """Put `region` at `offset`. Overlapping a neighbour of equal priority raises MemoryMapError, unless `overlap`."""
        if not overlap:
            for m in self.mappings:
                if m.priority == priority and offset < m.offset + m.region.size and m.offset < offset + region.size:
                    raise MemoryMapError(
                        f"{region.name} at {offset:#x}-{offset + region.size - 1:#x} overlaps "
                        f"{m.region.name} at {m.offset:#x}-{m.offset + m.region.size - 1:#x}")
        if offset < 0 or offset + region.size > self.size:
            raise MemoryMapError(f"{region.name} at {offset:#x} does not fit into {self.name} of {self.size:#x} bytes")
        self.mappings.append(Mapping(offset, region, priority))
        self.mappings.sort(key=lambda m: m.offset)
        region.containers.append(self)
        self.changed()
        return region

    def remove(self, region: Region) -> None:
        """Take `region` out. Raises KeyError when it is not here."""
        for i, m in enumerate(self.mappings):
            if m.region is region:
                del self.mappings[i]
                region.containers.remove(self)
                self.changed()
                return
        raise KeyError(region.name)

    def move(self, region: Region, offset: int) -> None:
        """Put a region that is already here at another offset, keeping its priority (PCI base address registers)."""
        for m in self.mappings:
            if m.region is region:
                self.remove(region)
                self.add(offset, region, m.priority, overlap=True)
                return
        raise KeyError(region.name)

    def changed(self) -> None:
        """Tell every address space above that the map is different now."""
        for space in self.spaces:
            space.update()
        for c in self.containers:
            c.changed()

    def children(self) -> list[Mapping]:
        return self.mappings


class Ram(Region):
    """Memory. Read-only RAM is ROM for the guest: its writes are dropped (loaders still fill it)."""

    kind = "ram"

    def __init__(self, name: str, size: int, readonly: bool = False, host: HostMemory | None = None) -> None:
        super().__init__(name, size)
        self.readonly = readonly
        self.host = host or HostMemory(size)
        self.buffer = self.host.buffer
        self.address = self.host.address
        self.logs: list[DirtyLog] = []
        self.listeners: list[MemoryListener] = []
        if readonly:
            self.kind = "rom"

    def wrote(self, offset: int, size: int) -> None:
        """Somebody other than a CPU changed these bytes: mark them dirty and let engines drop stale translations."""
        for log in self.logs:
            log.mark(offset, size)
        for listener in self.listeners:
            listener.ram_written(self, offset, size)


class Io(Region):
    """Registers of a device.

    `access` is the range of access sizes the device accepts, `implemented` the range it handles itself: others are
    split or widened. Accesses that are not naturally aligned are refused unless `unaligned`.
    """

    kind = "i/o"

    def __init__(self, name: str, size: int, bank: Bank, *, endian: Endian = "little", access: tuple[int, int] = (1, 8),
                 implemented: tuple[int, int] | None = None, unaligned: bool = False) -> None:
        super().__init__(name, size)
        self.bank, self.endian, self.access, self.unaligned = bank, endian, access, unaligned
        self.implemented = implemented or access
        self._direct = frozenset(n for n in (1, 2, 4, 8)
                                 if max(access[0], self.implemented[0]) <= n <= min(access[1], self.implemented[1]))

    def read(self, offset: int, size: int) -> int:
        if size in self._direct and (self.unaligned or not offset & size - 1):
            return self.bank.read(offset, size)
        self._check(offset, size, False)
        low, high = self.implemented
        if size < low:
            at = offset & -low
            shift = self._lane(offset - at, size, low)
            return self.bank.read(at, low) >> shift & (1 << size * 8) - 1
        value = 0
        for i in range(0, size, high):
            value |= self.bank.read(offset + i, high) << self._lane(i, high, size)
        return value

    def write(self, offset: int, value: int, size: int) -> None:
        if size in self._direct and (self.unaligned or not offset & size - 1):
            self.bank.write(offset, value, size)
            return
        self._check(offset, size, True)
        low, high = self.implemented
        if size < low:
            at = offset & -low
            self.bank.write(at, value << self._lane(offset - at, size, low), low)
            return
        for i in range(0, size, high):
            self.bank.write(offset + i, value >> self._lane(i, high, size) & (1 << high * 8) - 1, high)

    def _lane(self, byte: int, size: int, width: int) -> int:
        return 8 * (byte if self.endian == "little" else width - size - byte)

    def _check(self, offset: int, size: int, write: bool) -> None:
        if not self.access[0] <= size <= self.access[1] or (not self.unaligned and offset & size - 1):
            raise BusError(offset, size, write, "access")


class RomDevice(Ram):
    """Memory that is read directly and written through a device (NOR flash). With `direct` off, reads go there too."""

    kind = "romd"

    def __init__(self, name: str, size: int, bank: Bank, *, endian: Endian = "little", host: HostMemory | None = None,
                 access: tuple[int, int] = (1, 8), implemented: tuple[int, int] | None = None) -> None:
        super().__init__(name, size, readonly=True, host=host)
        self.kind = "romd"
        self.io = Io(name, size, bank, endian=endian, access=access, implemented=implemented)
        self._direct = True

    @property
    def direct(self) -> bool:
        return self._direct

    @direct.setter
    def direct(self, on: bool) -> None:
        if on != self._direct:
            self._direct = on
            self.changed()


class Alias(Region):
    """A window of `size` bytes onto `target`, beginning at its `offset`. Several aliases of one region are mirrors."""

    kind = "alias"

    def __init__(self, name: str, target: Region, offset: int = 0, size: int | None = None) -> None:
        super().__init__(name, target.size - offset if size is None else size)
        self.target, self.target_offset = target, offset
        target.containers.append(self)


@dataclass(frozen=True, slots=True)
class FlatRange:
    """`size` addresses from `base` on are the bytes of `region` from `offset` on."""

    base: int
    size: int
    region: Region
    offset: int


class RamRange(NamedTuple):
    """RAM as an engine maps it: guest `base`, `size` bytes, host `address`; writes go to `Memory.write` if not `writable`."""

    base: int
    size: int
    address: int
    writable: bool
    ram: Ram
    offset: int


class MemoryListener:
    """Told about changes of an address space. Engines and displays override what they need."""

    def map_changed(self, memory: Memory) -> None:
        """The flat view is different now: drop every cached translation."""

    def ram_written(self, ram: Ram, offset: int, size: int) -> None:
        """A device or tool wrote into RAM: drop code translated from these bytes."""

    def ram_protect(self, ram: Ram, offset: int, size: int) -> None:
        """Report the next CPU write to each of these pages by `Ram.wrote`: somebody tracks dirty pages."""


class DirtyLog:
    """Which 4 KiB pages of a RAM region were written since the last `take`; one byte a page in `pages`."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.pages = bytearray(-(-ram.size >> PAGE_SHIFT))
        ram.logs.append(self)
        self._protect()

    def _protect(self) -> None:
        for listener in self.ram.listeners:
            listener.ram_protect(self.ram, 0, self.ram.size)

    def mark(self, offset: int, size: int) -> None:
        first, last = offset >> PAGE_SHIFT, offset + size - 1 >> PAGE_SHIFT
        self.pages[first : last + 1] = b"\1" * (last + 1 - first)

    def take(self) -> list[int]:
        """Numbers of the dirty pages; they count as clean from now on."""
        dirty = [i for i, flag in enumerate(self.pages) if flag]
        self.pages[:] = bytes(len(self.pages))
        if dirty:
            self._protect()
        return dirty

    def close(self) -> None:
        self.ram.logs.remove(self)


class Memory:
    """An address space: what one kind of bus master sees under `root`.

    `endian` is the byte order in which `read` and `write` turn RAM bytes into numbers; I/O values are swapped when
    a device's byte order differs. `lock` serialises device accesses of several vCPU threads. `generation` counts the
    changes of the map.
    """

    def __init__(self, root: Region | None = None, name: str = "memory", endian: Endian = "little",
                 lock: threading.RLock | None = None) -> None:
        self.root = root or Region("system", 1 << 64)
        self.name, self.endian = name, endian
        self.lock = lock or threading.RLock()
        self.listeners: list[MemoryListener] = []
        self.generation = 0
        self._batch = 0
        self._stale = self._unseen = False
        self._starts: list[int] = []
        self._ranges: list[FlatRange] = []
        self.root.spaces.append(self)
        self.update()

    # --- building the flat view

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Several changes, one new view."""
        self._batch += 1
        try:
            yield
        finally:
            self._batch -= 1
            if not self._batch:
                self._refresh()
                if self._unseen:
                    for listener in self.listeners:
                        listener.map_changed(self)
                self._unseen = False

    def update(self) -> None:
        """Render the tree again and tell the listeners."""
        self._stale = True
        if not self._batch and self._refresh():
            self._unseen = False
            for listener in self.listeners:
                listener.map_changed(self)

    def _refresh(self) -> bool:
        """Render if something changed; True when an engine would see a difference."""
        if not self._stale:
            return False
        self._stale = False
        ranges: list[FlatRange] = []
        _render(self.root, 0, 0, self.root.size, ranges)
        ranges.sort(key=lambda r: r.base)
        merged: list[FlatRange] = []
        for r in ranges:
            p = merged[-1] if merged else None
            if p and p.region is r.region and p.base + p.size == r.base and p.offset + p.size == r.offset:
                merged[-1] = FlatRange(p.base, p.size + r.size, p.region, p.offset)
            else:
                merged.append(r)
        if merged == self._ranges:
            changed = any(isinstance(r.region, RomDevice) for r in merged)
        else:
            changed = True
        self._ranges, self._starts = merged, [r.base for r in merged]
        self.generation += 1
        for r in merged:
            if isinstance(r.region, Ram):
                for listener in self.listeners:
                    if listener not in r.region.listeners:
                        r.region.listeners.append(listener)
        self._unseen |= changed
        return changed

    def listen(self, listener: MemoryListener) -> None:
        """Be told about changes from now on, and once right away."""
        self.listeners.append(listener)
        for r in self._ranges:
            if isinstance(r.region, Ram) and listener not in r.region.listeners:
                r.region.listeners.append(listener)
        listener.map_changed(self)

    def unlisten(self, listener: MemoryListener) -> None:
        self.listeners.remove(listener)
        for r in self._ranges:
            if isinstance(r.region, Ram) and listener in r.region.listeners:
                r.region.listeners.remove(listener)

    @property
    def ranges(self) -> list[FlatRange]:
        """The flat view, sorted by address, without overlaps."""
        return list(self._ranges)

    def ram_regions(self) -> list[RamRange]:
        """RAM and ROM an engine may map directly. Flash in a command mode is left out: it is I/O then."""
        out = []
        for r in self._ranges:
            ram = r.region
            if isinstance(ram, Ram) and not (isinstance(ram, RomDevice) and not ram.direct):
                out.append(RamRange(r.base, r.size, ram.address + r.offset, not ram.readonly, ram, r.offset))
        return out

    def find(self, address: int) -> FlatRange | None:
        """The range that holds `address`, or None."""
        self._refresh()
        i = bisect_right(self._starts, address) - 1
        if i >= 0:
            r = self._ranges[i]
            if address < r.base + r.size:
                return r
        return None

    # --- single accesses, as a CPU makes them

    def read(self, address: int, size: int) -> int:
        """A load of 1, 2, 4 or 8 bytes. Raises BusError."""
        i = bisect_right(self._starts, address) - 1
        if i >= 0:
            r = self._ranges[i]
            offset = address - r.base
            if offset + size <= r.size:
                offset += r.offset
                region = r.region
                if isinstance(region, Ram):
                    if not isinstance(region, RomDevice) or region.direct:
                        return int.from_bytes(region.buffer[offset : offset + size], self.endian)
                    region = region.io
                assert isinstance(region, Io)
                with self.lock:
                    try:
                        value = region.read(offset, size)
                    except BusError as e:
                        raise BusError(address, size, False, e.reason) from None
                return value if region.endian == self.endian else _swap(value, size)
            if offset < r.size and size > 1:
                return int.from_bytes(self.load(address, size), self.endian)
        raise BusError(address, size, False)

    def write(self, address: int, value: int, size: int) -> None:
        """A store of 1, 2, 4 or 8 bytes. Raises BusError. ROM ignores it."""
        i = bisect_right(self._starts, address) - 1
        if i >= 0:
            r = self._ranges[i]
            offset = address - r.base
            if offset + size <= r.size:
                offset += r.offset
                region = r.region
                if isinstance(region, Ram):
                    if not region.readonly:
                        region.buffer[offset : offset + size] = value.to_bytes(size, self.endian)
                        if region.logs or region.listeners:
                            region.wrote(offset, size)
                        return
                    if not isinstance(region, RomDevice):
                        return
                    region = region.io
                assert isinstance(region, Io)
                if region.endian != self.endian:
                    value = _swap(value, size)
                with self.lock:
                    try:
                        region.write(offset, value, size)
                    except BusError as e:
                        raise BusError(address, size, True, e.reason) from None
                return
            if offset < r.size and size > 1:
                self.store(address, value.to_bytes(size, self.endian))
                return
        raise BusError(address, size, True)

    # --- blocks of bytes, as devices (DMA), loaders and monitors move them

    def _pieces(self, address: int, size: int, write: bool) -> Iterator[tuple[FlatRange, int, int]]:
        """(range, offset in its region, length) of each piece of a block. Raises BusError at a hole."""
        while size > 0:
            r = self.find(address)
            if r is None:
                raise BusError(address, size, write)
            n = min(size, r.base + r.size - address)
            yield r, address - r.base + r.offset, n
            address += n
            size -= n

    def require(self, address: int, size: int) -> None:
        """Raise BusError when there is a hole in the block."""
        for _ in self._pieces(address, size, True):
            pass

    def load(self, address: int, size: int) -> bytes:
        """The bytes at `address`, I/O read by its widest aligned accesses. Raises BusError."""
        out = []
        for r, offset, n in self._pieces(address, size, False):
            ram = r.region
            if isinstance(ram, Ram) and not (isinstance(ram, RomDevice) and not ram.direct):
                out.append(bytes(ram.buffer[offset : offset + n]))
            else:
                at = r.base + offset - r.offset
                out.extend(self.read(a, k).to_bytes(k, self.endian) for a, k in _accesses(at, n, ram))
        return b"".join(out)

    def store(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes as a bus master does: ROM ignores them. Raises BusError."""
        self._store(address, data, False)

    def store_rom(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes as a loader does: into ROM and flash as well. Raises BusError."""
        self._store(address, data, True)

    def _store(self, address: int, data: bytes | bytearray | memoryview, rom: bool) -> None:
        view = memoryview(data).cast("B")
        done = 0
        for r, offset, n in list(self._pieces(address, len(view), True)):
            region = r.region
            part = view[done : done + n]
            if isinstance(region, Ram) and (rom or not isinstance(region, RomDevice)):
                if rom or not region.readonly:
                    region.buffer[offset : offset + n] = part
                    region.wrote(offset, n)
            else:
                at = r.base + offset - r.offset
                for a, k in _accesses(at, n, region):
                    self.write(a, int.from_bytes(part[a - at : a - at + k], self.endian), k)
            done += n

    def views(self, address: int, size: int, write: bool = False) -> list[memoryview]:
        """The bytes at `address` as pieces of host memory, for zero-copy transfers. Raises BusError when not all RAM.

        After filling writable views call `wrote`.
        """
        out = []
        for r, offset, n in self._pieces(address, size, write):
            ram = r.region
            if not isinstance(ram, Ram) or (write and ram.readonly) or (isinstance(ram, RomDevice) and not ram.direct):
                raise BusError(r.base + offset - r.offset, n, write)
            out.append(ram.buffer[offset : offset + n])
        return out

    def wrote(self, address: int, size: int) -> None:
        """Bytes obtained by `views` were changed."""
        for r, offset, n in self._pieces(address, size, True):
            if isinstance(r.region, Ram):
                r.region.wrote(offset, n)

    # --- `info mtree`

    def mtree(self, disabled: bool = False) -> str:
        """The tree as `info mtree` prints it."""
        lines = [f"address-space: {self.name}"]
        _describe(self.root, 0, 0, 1, lines, disabled)
        return "\n".join(lines) + "\n"

    def flat(self) -> str:
        """The flat view as `info mtree -f` prints it."""
        lines = [f'FlatView #0\n AS "{self.name}", root: {self.root.name}\n Root memory region: {self.root.name}']
        for r in self._ranges:
            kind = "rom" if r.region.kind == "ram" and getattr(r.region, "readonly", False) else r.region.kind
            offset = f" @{r.offset:016x}" if r.offset else ""
            lines.append(f"  {r.base:016x}-{r.base + r.size - 1:016x} (prio 0, {kind}): {r.region.name}{offset}")
        return "\n".join(lines) + "\n"


def _swap(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def _accesses(address: int, size: int, region: Region) -> Iterator[tuple[int, int]]:
    low, high = 1, 8
    if isinstance(region, RomDevice):
        region = region.io
    if isinstance(region, Io):
        low, high = region.access
    while size > 0:
        n = high
        while n > low and (n > size or address & n - 1):
            n >>= 1
        if n > size:
            raise BusError(address, size, False, "access")
        yield address, n
        address += n
        size -= n


def _render(region: Region, base: int, low: int, high: int, out: list[FlatRange]) -> None:
    """Add what is visible of `region`, whose byte 0 is at `base`, between `low` and `high`, behind what `out` holds."""
    if not region.enabled:
        return
    low, high = max(low, base), min(high, base + region.size)
    if low >= high:
        return
    if isinstance(region, Alias):
        _render(region.target, base - region.target_offset, low, high, out)
        return
    indexed = list(enumerate(region.children()))
    for _, m in sorted(indexed, key=lambda im: (-im[1].priority, -im[0])):
        _render(m.region, base + m.offset, low, high, out)
    if type(region) is Region:
        return
    at = low
    for r in sorted((r for r in out if r.base < high and r.base + r.size > low), key=lambda r: r.base):
        if r.base > at:
            out.append(FlatRange(at, r.base - at, region, at - base))
        at = max(at, r.base + r.size)
    if at < high:
        out.append(FlatRange(at, high - at, region, at - base))


def _describe(region: Region, base: int, priority: int, depth: int, lines: list[str], disabled: bool) -> None:
    if not region.enabled and not disabled:
        return
    kind = "i/o" if region.kind in ("container", "alias") else region.kind
    name = region.name
    if isinstance(region, Alias):
        last = region.target_offset + region.size - 1
        name = f"alias {name} @{region.target.name} {region.target_offset:016x}-{last:016x}"
    off = "" if region.enabled else " [disabled]"
    lines.append(f"{'  ' * depth}{base:016x}-{base + region.size - 1:016x} (prio {priority}, {kind}): {name}{off}")
    for m in sorted(region.children(), key=lambda m: (m.offset, -m.priority)):
        _describe(m.region, base + m.offset, m.priority, depth + 1, lines, disabled)
