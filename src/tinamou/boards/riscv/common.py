"""What RISC-V boards share: harts and their interrupt wiring, the device tree, the boot sequence."""

from __future__ import annotations

from typing import Any

from tinamou.devices.intc.plic import Plic
from tinamou.devices.timer.clint import Clint
from tinamou.firmware import linux
from tinamou.firmware.fdt import Node, Tree, Value, cells64
from tinamou.machine.cpu import Cpu
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine, Placed


def add_harts(m: Machine, model: str, count: int | None = None, **properties: Any) -> list[Cpu]:
    """The person's number of harts (or `count`) of the person's model (or `model`)."""
    return [m.add_cpu(model, hartid=len(m.cpus), **properties)
            for _ in range(m.settings.cpus if count is None else count)]


def plic_wires(m: Machine, config: str) -> list[Pin]:
    """The external interrupt inputs in the order of a PLIC's contexts, from its hart-config (`M,MS`)."""
    names = {"M": "meip", "S": "seip"}
    return [m.cpus[hart].line(names[mode]) for hart, modes in enumerate(config.split(",")) for mode in modes]


def add_clint(m: Machine, base: int, hz: int) -> Clint:
    """A CLINT for every hart; its counter is the harts' time."""
    clock = m.clock(hz)
    for cpu in m.cpus:
        cpu.timebase(clock)
    return m.at(base, Clint(harts=len(m.cpus), clock=clock), span=0x1_0000,
                software=[c.line("msip") for c in m.cpus], timeout=[c.line("mtip") for c in m.cpus])


def add_plic(m: Machine, base: int, config: str, sources: int, span: int) -> Plic:
    """A PLIC wired to every hart."""
    return m.at(base, Plic(hart_config=config, sources=sources, aperture=span), external=plic_wires(m, config))


def start_tree(m: Machine, model: str, compatible: str, ram_base: int, timebase: int, cpu_map: bool = True) -> tuple[Tree, Node]:
    """The tree with root, memory and CPUs; returns it and its /soc node."""
    tree = Tree()
    root = tree.root
    for key, value in (("#address-cells", 2), ("#size-cells", 2), ("compatible", compatible), ("model", model)):
        root[key] = value
    chosen = root.add("chosen")
    if m.settings.append:
        chosen["bootargs"] = m.settings.append
    root.add(f"memory@{ram_base:x}", device_type="memory", reg=cells64(ram_base, m.settings.ram_size))
    cpus = root.add("cpus")
    cells: dict[str, Value] = {"#address-cells": 1, "#size-cells": 0, "timebase-frequency": timebase}
    for key, cell in cells.items():
        cpus[key] = cell
    for cpu in m.cpus:
        facts = cpu.facts()
        node = cpus.add(f"cpu@{cpu.index:x}")
        node["device_type"] = "cpu"
        node["reg"] = cpu.index
        node["status"] = "okay"
        node["compatible"] = "riscv"
        node["riscv,isa"] = facts["isa"]
        if facts.get("mmu"):
            node["mmu-type"] = f"riscv,{facts['mmu']}"
        tree.phandle(("cpu", cpu.index), node)
        intc = node.add("interrupt-controller")
        for key, value in (("#interrupt-cells", 1), ("interrupt-controller", True), ("compatible", "riscv,cpu-intc")):
            intc[key] = value
        tree.phandle(cpu, intc)
    if cpu_map:
        cluster = cpus.add("cpu-map").add("cluster0")
        for cpu in m.cpus:
            cluster.add(f"core{cpu.index}", cpu=tree.phandle(("cpu", cpu.index)))
    soc = root.add("soc", compatible="simple-bus", ranges=True)
    soc["#address-cells"] = 2
    soc["#size-cells"] = 2
    return tree, soc


def add_devices(m: Machine, tree: Tree, soc: Node) -> None:
    """A node for each placed device that has a `compatible`: address, interrupts, and what the device itself adds."""
    for p in m.placed:
        if p.device.compatible and p.device.node_name:
            describe(tree, soc, p)


def describe(tree: Tree, parent: Node, p: Placed) -> Node:
    """The node of one placed device."""
    device = p.device
    node = parent.add(f"{device.node_name}@{p.base:x}")
    node["compatible"] = list(device.compatible) if len(device.compatible) > 1 else device.compatible[0]
    node["reg"] = cells64(p.base, p.span)
    to_plic = [pin for pins in p.pins.values() for pin in pins if isinstance(pin.owner, Plic)]
    if to_plic:
        node["interrupts"] = [pin.number for pin in to_plic]
        node["interrupt-parent"] = tree.phandle(to_plic[0].owner)
    rows = [pins for pins in p.pins.values() if pins and not isinstance(pins[0].owner, Plic)]
    extended = [cell for group in zip(*rows, strict=False) for pin in group for cell in (tree.phandle(pin.owner), pin.number)]
    if extended and not to_plic:
        node["interrupts-extended"] = extended
    if isinstance(device, Plic):
        tree.phandle(device, node)
    device.fdt(node, p)
    return node


def boot(m: Machine, tree: Tree, *, ram_base: int, rom_base: int, firmware: str, flash: int | None = None,
         code_at: int = 0) -> None:
    """Load firmware, kernel, initrd and device tree, and write the reset code into the ROM at `rom_base` + `code_at`."""
    xlen = m.cpus[-1].facts()["xlen"]
    start = ram_base
    end = linux.load_firmware(m, start, firmware)
    image = linux.load_kernel(m, end, xlen)
    kernel = 0
    if image is not None:
        kernel = image.entry
        m.kernel_entry = kernel
        linux.load_initrd(m, image.low, tree)
        if m.settings.bios == "none":
            start = kernel
    elif flash is not None and m.settings.bios in (None, "none"):
        start = flash
    fdt = linux.load_fdt(m, tree, ram_base, m.settings.ram_size)
    m.blob("mrom.reset", rom_base + code_at, linux.ResetCode(start, fdt, kernel, xlen).pack(code_at))
