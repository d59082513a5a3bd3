"""A machine under construction or running: memory, CPUs, devices, time, reset, and the requests a guest can make."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tinamou.machine.bus import Bus
from tinamou.machine.clock import Clock, Rtc, VirtualTime
from tinamou.machine.cpu import Cpu, CpuFactory
from tinamou.machine.device import Device, ResetKind, Stub
from tinamou.machine.hostmem import HostMemory
from tinamou.machine.lines import Pin
from tinamou.machine.log import Log
from tinamou.machine.memory import Alias, Endian, Io, Memory, MiB, Ram, Region
from tinamou.machine.pins import Pins
from tinamou.machine.props import PropertyError

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Tree

D = TypeVar("D", bound=Device)


@dataclass
class Settings:
    """What a person chose for a machine; boards read it. Sizes in bytes."""

    ram_size: int = 128 * MiB
    cpus: int = 1
    max_cpus: int = 0
    cpu: str = ""
    cpu_properties: dict[str, Any] = field(default_factory=dict)
    bios: str | None = None
    kernel: str | None = None
    initrd: str | None = None
    append: str | None = None
    dtb: str | None = None
    serials: list[Any] = field(default_factory=list)
    drives: list[Any] = field(default_factory=list)
    nics: list[Any] = field(default_factory=list)
    fw_cfg: list[tuple[str, bytes]] = field(default_factory=list)
    boot: dict[str, str] = field(default_factory=dict)  # -boot, as given and checked
    uuid: bytes = bytes(16)
    nographic: bool = False
    data_dirs: list[str] = field(default_factory=list)
    rtc_base: str = ""                  # utc if not said
    rtc_clock: str = ""                 # host if not said
    seed: int | None = None


@dataclass
class Placed:
    """A device on the memory map."""

    device: Device
    base: int
    region: Region
    pins: dict[str, list[Pin]]
    span: int


@dataclass(frozen=True)
class Blob:
    """A loaded image; written again at each reset."""

    name: str
    address: int
    data: bytes


class Machine:
    """Built by a board function, run by an accelerator.

    `memory` is what CPUs see, `time` the virtual time, `lock` must be held to touch devices while CPUs run.
    """

    def __init__(self, name: str = "none", settings: Settings | None = None, *, endian: Endian = "little",
                 cpu_factory: CpuFactory | None = None, time: VirtualTime | None = None, log: Log | None = None) -> None:
        self.name = name
        self.settings = settings or Settings()
        self.lock = threading.RLock()
        self.log = log or Log()
        self.time = time or VirtualTime()
        self.rtc = Rtc(self.time, self.settings.rtc_base or "utc", self.settings.rtc_clock or "host")
        self.memory = Memory(endian=endian, lock=self.lock)
        self.sysbus = Bus("main-system-bus")
        self.cpus: list[Cpu] = []
        self.placed: list[Placed] = []
        self.devices: list[Device] = []
        self.rams: dict[str, Ram] = {}
        self.blobs: list[Blob] = []
        self.fdt: Tree | None = None
        self.kernel_entry: int | None = None
        self.reset_vectors: dict[int, int] = {}
        self.options: dict[str, Any] = {}
        self._factory = cpu_factory
        self._requests: list[Callable[[str, dict[str, Any]], object]] = []
        self._serials_used = 0
        self.drives_used: set[str] = set()  # ids of those that `drive` gave
        self.board: Any = None
        self.io_threads = False  # devices may do blocking work in threads of their own: not where time is counted or stepped
        self.pins = Pins(self)

    def __repr__(self) -> str:
        return f"<machine {self.name}, {len(self.cpus)} CPUs, {len(self.devices)} devices>"

    # --- building: what board functions call

    def ram(self, base: int, size: int, name: str = "ram", *, host: HostMemory | None = None, priority: int = 0) -> Ram:
        """RAM at a guest address."""
        try:
            ram = Ram(self._unique(name), size, host=host)
        except MemoryError:
            message = f"cannot set up guest memory '{name}': Cannot allocate memory"
            raise PropertyError(message, f"{size} bytes are too many here (-m)") from None
        return self._memory(base, ram, priority)

    def rom(self, base: int, size: int, name: str = "rom", *, data: bytes = b"", priority: int = 0) -> Ram:
        """Memory that only loaders write. `data` is put there at each reset."""
        rom = self._memory(base, Ram(self._unique(name), size, readonly=True), priority)
        if data:
            self.blob(name, base, data)
        return rom

    def _memory(self, base: int, ram: Ram, priority: int) -> Ram:
        self.memory.root.add(base, ram, priority)
        self.rams[ram.name] = ram
        return ram

    def _unique(self, name: str) -> str:
        n, unique = 1, name
        while unique in self.rams:
            n, unique = n + 1, f"{name}{n}"
        return unique

    def alias(self, base: int, target: Region, offset: int = 0, size: int | None = None, *, name: str = "alias",
              priority: int = 0) -> Alias:
        """The bytes of `target` seen once more (a mirror)."""
        window = Alias(name, target, offset, size)
        self.memory.root.add(base, window, priority)
        return window

    def at(self, base: int, device: D, *, priority: int = 0, name: str = "", span: int = 0,
           **wires: Pin | list[Pin]) -> D:
        """Put a device's registers at a guest address and connect its outputs by name. Raises MemoryMapError.

        `span` is the size the data sheet's memory map gives the device, when it is more than its registers.
        """
        region = device_region(device, name)
        self.memory.root.add(base, region, priority)
        self.add(device)
        pins = {k: v if isinstance(v, list) else [v] for k, v in wires.items()}
        self.placed.append(Placed(device, base, region, pins, span or region.size))
        for output, pin in wires.items():
            device.connect(output, pin)
        return device

    def stub(self, base: int, name: str, size: int = 0x1000, *, priority: int = -1000) -> Stub:
        """Addresses of something that is not modelled: they log by name under `-d unimp`."""
        stub = Stub(name=name)
        region = Io(name, size, stub)
        self.memory.root.add(base, region, priority)
        self.add(stub)
        self.placed.append(Placed(stub, base, region, {}, size))
        return stub

    def add(self, device: D) -> D:
        """Take a device that has no address of its own."""
        if device not in self.devices:
            self.devices.append(device)
            self.sysbus.children.append(device)
            device.attached(self)
        return device

    def add_cpu(self, model: str = "", **properties: Any) -> Cpu:
        """The next CPU; `model` is the board's choice and gives way to the person's `-cpu`."""
        if self._factory is None:
            raise PropertyError(f"machine {self.name} was made without CPUs")
        settings = self.settings
        cpu = self._factory(self, settings.cpu or model, len(self.cpus), {**properties, **settings.cpu_properties})
        self.cpus.append(cpu)
        return cpu

    def serial(self, n: int | None = None) -> Any:
        """The backend of serial port `n` (the next one without a number); None where nothing is connected."""
        if n is None:
            n = self._serials_used
        self._serials_used = max(self._serials_used, n + 1)
        return self.settings.serials[n] if n < len(self.settings.serials) else None

    def drive(self, interface: str, index: int = 0) -> Any:
        """The drive given for an interface (`pflash`, `mtd`, `virtio`, `sd`) and index, or None."""
        for d in self.settings.drives:
            if d.interface == interface and d.index == index:
                self.drives_used.add(d.id)
                return d
        return None

    def clock(self, hz: int) -> Clock:
        """A clock domain of this machine."""
        return Clock(hz, self.time)

    def blob(self, name: str, address: int, data: bytes) -> None:
        """Load bytes now and at each reset."""
        self.blobs.append(Blob(name, address, bytes(data)))
        self.memory.store_rom(address, data)

    # --- reset

    def reset(self, kind: ResetKind = "warm") -> None:
        """Reset devices, reload images, start CPUs at their vectors."""
        with self.lock:
            for d in self.devices:
                d.reset(kind)
            for b in self.blobs:
                self.memory.store_rom(b.address, b.data)
            for cpu in self.cpus:
                cpu.reset(self.reset_vectors.get(cpu.index))

    def drain(self) -> None:
        """Wait for what devices do in threads of their own. CPUs stand still."""
        with self.lock:
            for d in self.everything():
                wait = getattr(d, "drain", None)
                if wait is not None:
                    wait()

    # --- requests a guest or a person makes; the run loop or the monitor listens

    def on_request(self, f: Callable[[str, dict[str, Any]], object]) -> None:
        """Call `f(what, details)` for shutdown, reset, powerdown, panic, wakeup; and for restarted: a CPU has reset the machine itself."""
        self._requests.append(f)

    def request(self, what: str, **details: Any) -> None:
        for f in self._requests:
            f(what, details)

    def request_shutdown(self, cause: str = "guest-shutdown", code: int = 0) -> None:
        """Power off. `code` becomes the exit status."""
        self.request("shutdown", cause=cause, code=code)

    def request_reset(self, cause: str = "guest-reset") -> None:
        self.request("reset", cause=cause)

    # --- looking

    def everything(self) -> Iterator[Device]:
        """Every device and part."""
        seen: set[int] = set()
        todo = list(self.devices)
        while todo:
            d = todo.pop(0)
            for x in d.everything():
                if id(x) not in seen:
                    seen.add(id(x))
                    yield x
                    for b in x.buses():
                        todo += b.children

    def buses(self) -> Iterator[Bus]:
        """Every bus, the system bus first."""
        yield self.sysbus
        for d in self.everything():
            yield from d.buses()

    def find_device(self, id_: str) -> Device | None:
        """The device with that id."""
        return next((d for d in self.everything() if d.id == id_), None)

    def where(self, device: Device) -> Placed | None:
        return next((p for p in self.placed if p.device is device), None)


def device_region(device: Device, name: str = "") -> Region:
    """The region of a device's registers: its own when it has one, else I/O as its class declares."""
    own = device.region()
    if own is not None:
        return own
    label = name or device.id or device.type_name or type(device).__name__.lower()
    return Io(label, device.size, device, endian=device.endian, access=device.access,
              implemented=device.implemented, unaligned=device.unaligned)
