"""Generic PCI Express host: device tree binding `pci-host-ecam-generic`; interrupt swizzling of PCI Bridge 1.2, 9.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinamou.devices.pci.core import Ecam, PciBus, PciFunction, Unmapped
from tinamou.firmware.fdt import cells64
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device
from tinamou.machine.lines import Pin, lines, pins, state
from tinamou.machine.memory import Io, Region
from tinamou.machine.props import BOOL, prop

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed


class GpexRoot(PciFunction, type="gpex-root", user_creatable=False):
    """The host bridge's own function at 00.0."""

    product = 0x0008
    class_code = 0x060000
    pin = 0


class GpexHost(Device, type="gpex-pcihost", compatible="pci-host-ecam-generic", node="pci", size=0x1000_0000,
               category="Controller/Bridge/Hub"):
    """One root bus `pcie.0`. The board maps aliases of `mmio` and `io` as its windows."""

    allow_unmapped: bool = prop(BOOL, default=True, name="allow-unmapped-accesses")

    levels = state(0)                   # four lines, counted by how many functions pull each

    def setup(self) -> None:
        self.mmio = Region("gpex_mmio_window", 1 << 64)
        self.io = Region("gpex_ioport_window", 0x1_0000)
        if self.allow_unmapped:
            self.mmio.add(0, Io("gpex_mmio", 1 << 64, Unmapped()), -1)
            self.io.add(0, Io("gpex_ioport", 0x1_0000, Unmapped()), -1)
        self.pcie = PciBus("pcie.0", self, self.mmio, self.io, self.route)
        self.pcie.plug(GpexRoot(addr=0))
        self.ecam = Io("pcie-mmcfg-mmio", self.size, Ecam(self.pcie), access=(1, 4))
        self.windows: list[tuple[int, int, int, int]] = []

    def region(self) -> Region:
        return self.ecam

    def buses(self) -> list[Bus]:
        return [self.pcie]

    def attached(self, machine: Any) -> None:
        super().attached(machine)
        for d in self.pcie.children:
            d.attached(machine)

    def route(self, slot: int, pin_: int) -> Pin:
        """The line of a function's pin: device number + pin - 1, modulo 4."""
        return self.inta[((slot >> 3) + pin_ - 1) % 4]

    @pins(4)
    def inta(self, n: int, level: bool) -> None:
        self.levels = self.levels & ~(1 << n) | level << n

    @lines(4)
    def irq(self, n: int) -> int:
        return self.levels >> n & 1

    def fdt(self, node: Node, placed: Placed) -> None:
        assert node.tree is not None
        lines_ = placed.pins["irq"]
        parent = node.tree.phandle(lines_[0].owner)
        for key, value in (("#address-cells", 3), ("#interrupt-cells", 1), ("#size-cells", 2), ("device_type", "pci"),
                           ("linux,pci-domain", 0), ("dma-coherent", True)):
            node[key] = value
        node["bus-range"] = [0, self.size // (1 << 20) - 1]
        node["interrupts"] = node["interrupt-parent"] = False
        node["ranges"] = [c for kind, at, cpu, size in self.windows
                          for c in (kind, *cells64(at), *cells64(cpu), *cells64(size))]
        table = []
        for slot in range(4):
            for pin_ in range(1, 5):
                table += [slot << 11, 0, 0, pin_, parent, lines_[(slot + pin_ - 1) % 4].number]
        node["interrupt-map"] = table
        node["interrupt-map-mask"] = [0x1800, 0, 0, 7]
