"""The `virt` board of AArch64: no real hardware; its memory map is documented with the original's `docs/system/arm/virt.rst`.

One processor, RAM, PL011, GICv2, the generic timer, virtio slots, PSCI (Arm DEN 0022) by HVC.  Linux is started at EL1 as its
Documentation/arch/arm64/booting.rst says.
"""

from __future__ import annotations

import secrets
import struct
from typing import Any

from tinamou.devices.char.pl011 import Pl011
from tinamou.devices.intc.gicv2 import Gicv2
from tinamou.devices.virtio.mmio import VirtioMmio
from tinamou.firmware import linux
from tinamou.firmware.fdt import Node, Tree, cells64
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB
from tinamou.machine.props import PropertyError

RAM = 0x4000_0000
GIC, UART, VIRTIO = 0x0800_0000, 0x0900_0000, 0x0A00_0000
SLOTS = 32
TIMERS = {"cntps": 13, "cntp": 14, "cntv": 11, "cnthp": 10}  # the processor's own interrupts, in the order of the device tree
CLOCK = 24_000_000
COUNTER = 62_500_000
SPI, PPI, LEVEL, EDGE = 0, 1, 4, 1
# Linux gets x0 = device tree, x1-x3 = 0.
START = (0x5800_00C0, 0xAA1F_03E1, 0xAA1F_03E2, 0xAA1F_03E3, 0x5800_0084, 0xD61F_0080)  # ldr x0, 1f; mov x1, xzr ...; ldr x4, 2f; br x4
# 1: the tree's address  2: the kernel's


@board("virt", "QEMU 5.1 ARM Virtual Machine", arch="arm", max_cpus=1, cpu="cortex-a57")
def virt(m: Machine) -> None:
    """What a general-purpose guest needs to begin with."""
    cpu: Any = m.add_cpu("cortex-a57", **{"rvbar": RAM, "psci-conduit": 2})
    cpu.timebase(m.clock(COUNTER))
    gic = m.at(GIC, Gicv2(), irq=cpu.line("irq"))
    for timer, n in TIMERS.items():
        cpu.connect(timer, gic.private(n))
    m.at(UART, Pl011(chardev=m.serial(0)), irq=gic[1])
    for n in range(SLOTS):
        m.at(VIRTIO + 0x200 * n, VirtioMmio(bus_name=f"virtio-mmio-bus.{n}"), irq=gic[16 + n])
    m.ram(RAM, m.settings.ram_size, "mach-virt.ram")
    if m.settings.bios not in (None, "none"):
        raise PropertyError("machine virt has no flash memory for firmware yet: start a kernel with -kernel")
    tree = make_tree(m, cpu)
    image = linux.load_kernel(m, RAM + 64 * KiB, 64)
    if image is not None:
        m.kernel_entry = image.entry
        linux.load_initrd(m, image.low, tree)
        fdt = linux.load_fdt(m, tree, RAM, m.settings.ram_size)
        m.blob("boot", RAM, struct.pack("<6I2Q", *START, fdt, image.entry))


def make_tree(m: Machine, cpu: Any) -> Tree:
    """The device tree, as the original's board has it."""
    tree = Tree()
    root = tree.root
    for key, value in (("interrupt-parent", 0x8001), ("#size-cells", 2), ("#address-cells", 2), ("compatible", "linux,dummy-virt")):
        root[key] = value
    psci = root.add("psci", method="hvc", cpu_on=0xC400_0003, cpu_off=0x8400_0002, cpu_suspend=0xC400_0001, migrate=0xC400_0005)
    psci["compatible"] = ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]
    for key in ("cpu_on", "cpu_off", "cpu_suspend"):
        psci.props[key] = psci.props.pop(key.replace("_", "-"))
    root.add(f"memory@{RAM:x}", device_type="memory", reg=cells64(RAM, m.settings.ram_size))
    chosen = root.add("chosen", stdout_path=f"/pl011@{UART:x}")
    seed = m.settings.seed
    chosen["rng-seed"] = seed.to_bytes(32, "little") if seed is not None else secrets.token_bytes(32)
    if m.settings.append:
        chosen["bootargs"] = m.settings.append
    cpus = root.add("cpus")
    cpus["#address-cells"], cpus["#size-cells"] = 1, 0
    facts = cpu.facts()
    known = facts["model"] if facts["model"].startswith("cortex") else "armv8"
    cpus.add("cpu@0", device_type="cpu", compatible=f"arm,{known}", reg=0)
    timer = root.add("timer", always_on=True)
    timer["compatible"] = ["arm,armv8-timer", "arm,armv7-timer"]
    timer["interrupts"] = [cell for n in TIMERS.values() for cell in (PPI, n, 0x100 | LEVEL)]
    clock = root.add("apb-pclk", compatible="fixed-clock", clock_frequency=CLOCK, clock_output_names="clk24mhz")
    clock["#clock-cells"] = 0
    clock["phandle"] = 0x8000
    for p in m.placed:
        if p.device.compatible and p.device.node_name:
            node = root.add(f"{p.device.node_name}@{p.base:x}")
            node["compatible"] = list(p.device.compatible)
            node["reg"] = cells64(p.base, p.span)
            describe(node, p.pins.get("irq", []), EDGE if isinstance(p.device, VirtioMmio) else LEVEL)
            p.device.fdt(node, p)
            if isinstance(p.device, Gicv2):
                node["phandle"] = 0x8001
                node["reg"] = cells64(p.base, 64 * KiB, p.base + 64 * KiB, 64 * KiB)
            elif isinstance(p.device, Pl011):
                node["clocks"] = [0x8000, 0x8000]
    return tree


def describe(node: Node, pins: list[Any], trigger: int) -> None:
    """The device's shared interrupts."""
    numbers = [pin.number for pin in pins if isinstance(pin.owner, Gicv2)]
    if numbers:
        node["interrupts"] = [cell for n in numbers for cell in (SPI, n - 32, trigger)]
    if "virtio" in node.name:
        node["dma-coherent"] = True
