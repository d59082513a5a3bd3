"""The `info` subcommands."""

from __future__ import annotations

import json

from tinamou.control import qmp, qom
from tinamou.control.commands.block import DeviceInfo, describe, users
from tinamou.control.hmp import Expr, Flag, Human, hmp
from tinamou.devices.pci.core import PciBus, PciFunction
from tinamou.machine.board import size_text
from tinamou.machine.bus import qtree
from tinamou.machine.memory import Memory, Region


@hmp("info version", "", "show the version of QEMU")
def version(h: Human) -> str:
    return ".".join(map(str, h.vm.version)) + h.vm.package + "\n"


@hmp("info status", "", "show the current VM status (running|paused)")
def status(h: Human) -> str:
    if h.vm.running:
        return "VM status: running\n"
    extra = "" if h.vm.status in ("paused", "running") else f" ({h.vm.status})"
    return f"VM status: paused{extra}\n"


@hmp("info name", "", "show the current VM name")
def name(h: Human) -> str:
    return f"{h.vm.name}\n" if h.vm.name else ""


@hmp("info uuid", "", "show the current VM UUID")
def uuid(h: Human) -> str:
    return f"{h.vm.uuid}\n"


@hmp("info kvm", "", "show KVM information")
def kvm(h: Human) -> str:
    return "kvm support: " + ("enabled" if h.vm.runner.name == "kvm" else "not compiled") + "\n"


@hmp("info cpus", "", "show infos for each CPU")
def cpus(h: Human) -> str:
    return "".join(f"{'*' if c.index == h.cpu else ' '} CPU #{c.index}: thread_id={getattr(c, 'thread_id', 0)}"
                   f"{' (halted)' if getattr(c, 'halted', False) else ''}\n" for c in h.vm.machine.cpus)


@hmp("info registers", "[-a|vcpu]", "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to "
     "query; show the current CPU's registers if no argument is specified)")
def registers(h: Human, a: Flag = Flag(False), vcpu: Expr | None = None) -> str:
    all_cpus = h.vm.machine.cpus
    if vcpu is not None and not 0 <= vcpu < len(all_cpus):
        return f"CPU#{vcpu} not available\n"
    chosen = all_cpus if a else [all_cpus[vcpu]] if vcpu is not None else [h.current]
    out = ""
    for c in chosen:
        describe = getattr(c, "describe", None)
        out += f"\nCPU#{c.index}\n" + (describe() if describe else "")
    return out


@hmp("info mtree", "[-f][-d][-o][-D]", "show memory tree (-f: dump flat view for address spaces;-d: dump dispatch tree, "
     "valid with -f only);-o: dump region owners/parents;-D: dump disabled regions)")
def mtree(h: Human, f: Flag = Flag(False), d: Flag = Flag(False), o: Flag = Flag(False), D: Flag = Flag(False)) -> str:
    spaces = [h.vm.machine.memory]
    if f:
        return "\n".join(s.flat() for s in spaces) + "\n"
    targets: dict[int, Region] = {}
    for s in spaces:
        _alias_targets(s.root, targets)
    text = "\n".join(s.mtree(disabled=bool(D)) for s in spaces)
    for region in targets.values():
        inner = Memory(region, region.name)
        region.spaces.remove(inner)
        text += "\n" + inner.mtree(disabled=bool(D)).replace("address-space: ", "memory-region: ", 1)
    return text + "\n"


def _alias_targets(region: Region, found: dict[int, Region]) -> None:
    target = getattr(region, "target", None)
    if target is not None and id(target) not in found:
        found[id(target)] = target
        _alias_targets(target, found)
    for m in region.children():
        _alias_targets(m.region, found)


@hmp("info qtree", "", "show device tree")
def device_tree(h: Human) -> str:
    return qtree(h.vm.machine.sysbus)


@hmp("info qom-tree", "[path]", "show QOM composition tree")
def qom_tree(h: Human, path: str = "/machine") -> str:
    return qom.tree(qom.find(h.vm, path), path.strip("/").split("/")[-1])


@hmp("info chardev", "", "show the character devices")
def chardev(h: Human) -> str:
    return "".join(f"{n}: filename={c.filename}\n" for n, c in h.vm.chardevs.items())


@hmp("info roms", "", "show roms")
def roms(h: Human) -> str:
    out = ""
    for b in sorted(h.vm.machine.blobs, key=lambda b: b.address):
        r = h.vm.machine.memory.find(b.address)
        kind = "rom" if r and r.region.kind != "ram" else "ram"
        out += f'addr={b.address:016x} size={len(b.data):#08x} mem={kind} name="{b.name}"\n'
    return out


@hmp("info ramblock", "", "Display system ramblock information")
def ramblock(h: Human) -> str:
    out = f"{'Block Name':>24} {'PSize':>8}  {'Offset':>18} {'Used':>18} {'Total':>18}\n"
    at = 0
    for n, ram in h.vm.machine.rams.items():
        out += f"{n:>24} {'4 KiB':>8}  0x{at:016x} 0x{ram.size:016x} 0x{ram.size:016x}\n"
        at += ram.size
    return out


@hmp("info irq", "", "show the interrupts statistics (if available)")
def irq(h: Human) -> str:
    out = ""
    for d in h.vm.machine.everything():
        served = getattr(d, "served", None)
        if served is not None:
            out += f"IRQ statistics for {d.label}:\n" + "".join(f"{n:2d}: {count}\n" for n, count in sorted(served.items()))
    return out


@hmp("info pic", "", "show PIC state")
def pic(h: Human) -> str:
    out = ""
    for d in h.vm.machine.everything():
        high = [f"{p.name}[{p.number}]" for p in d.pins() if p.level]
        if high:
            out += f"{d.label}: {' '.join(high)}\n"
    return out


@hmp("info mem", "", "show the active virtual memory mappings")
def mem(h: Human) -> str:
    show = getattr(h.current, "describe_memory", None)
    return str(show()) if show else ""


@hmp("info tlb", "", "show virtual to physical memory mappings")
def tlb(h: Human) -> str:
    show = getattr(h.current, "describe_tlb", None)
    return str(show()) if show else ""


@hmp("info jit", "", "show dynamic compiler info")
def jit(h: Human) -> str:
    show = getattr(h.vm.runner, "describe", None)
    return str(show()) if show else "JIT information is only available with accel=tcg\n"


@hmp("info block", "[-n] [-v] [device]", "show info of one block device or all block devices (-n: show named nodes; "
     "-v: show details)")
def block(h: Human, n: Flag = Flag(False), v: Flag = Flag(False), device: str = "") -> str:
    used = users(h.vm)
    found: dict[str, tuple[DeviceInfo | None, str, bool]]
    if n:
        found = {info.node_name: (info, "", False) for info in map(describe, (*h.vm.drives.values(), *h.vm.nodes.values())) if info}
    else:
        found = {id_: (describe(d), used.get(id(d), ""), id(d) not in used) for id_, d in h.vm.drives.items()}
    if device and device not in found:
        return f"Device '{device}' not found\n"
    return "\n".join(_block(name, *what, images=bool(v)) for name, what in found.items() if device in ("", name))


def _block(name: str, info: DeviceInfo | None, attached: str, removable: bool, images: bool) -> str:
    if info is None:
        out = [f"{name}: [not inserted]"]
    else:
        node = "" if name == info.node_name else f" ({info.node_name})"
        out = [f"{name}{node}: {info.file} ({info.drv}{', read-only' if info.ro else ''})"]
    if attached:
        out.append(f"    Attached to:      {attached}")
    if removable:
        out.append("    Removable device: not locked, tray closed")
    if info is not None:
        cache = info.cache
        out.append(f"    Cache mode:       {'writeback' if cache.writeback else 'writethrough'}{', direct' if cache.direct else ''}"
                   f"{', ignore flushes' if cache.no_flush else ''}")  # fmt: skip
        if info.detect_zeroes != "off":
            out.append(f"    Detect zeroes:    {info.detect_zeroes}")
        if images:
            out += ["", "Images:", f"image: {info.image.filename}", f"file format: {info.image.format}",
                    f"virtual size: {size_text(info.image.virtual_size)} ({info.image.virtual_size} bytes)"]  # fmt: skip
    return "\n".join(out) + "\n"


@hmp("info mice", "", "show which guest mouse is receiving events")
def mice(h: Human) -> str:
    return "No mouse devices connected\n"


@hmp("info history", "", "show the command line history")
def history(h: Human) -> str:
    return "".join(f"{i}: '{text}'\n" for i, text in enumerate(getattr(h, "history", [])))


@hmp("info qdm", "", "show qdev device model list")
def qdm(h: Human) -> str:
    from tinamou.control.plugging import help_text

    return help_text()


@hmp("info iothreads", "", "show iothreads")
def iothreads(h: Human) -> str:
    return ""


@hmp("info schema", "", "show the QMP schema as JSON")
def schema(h: Human) -> str:
    return json.dumps(qmp.describe()) + "\n"


CLASSES = {0x0600: "Host bridge", 0x0100: "SCSI controller", 0x0200: "Ethernet controller", 0x0780: "Communication controller",
           0x0604: "PCI bridge", 0x0300: "VGA controller", 0x0C03: "USB controller"}


@hmp("info pci", "", "show PCI info")
def pci(h: Human) -> str:
    out = ""
    for bus in h.vm.machine.buses():
        if not isinstance(bus, PciBus):
            continue
        for slot, f in sorted(bus.functions.items()):
            out += _function(slot, f)
    return out


def _function(slot: int, f: PciFunction) -> str:
    title = CLASSES.get(f.class_code >> 8, f"Class {f.class_code >> 8:04x}")
    out = f"  Bus  0, device {slot >> 3:3d}, function {slot & 7}:\n    {title}: PCI device {f.vendor:04x}:{f.get(2, 2):04x}\n"
    out += f"      PCI subsystem {f.get(0x2C, 2):04x}:{f.get(0x2E, 2):04x}\n"
    if f.pin:
        out += f"      IRQ {f.get(0x3C, 1)}, pin {'ABCD'[f.pin - 1]}\n"
    for n, (_, size, flags) in sorted(f.bars.items()):
        at = f.mapped.get(n, -1)
        if flags & 1:
            text = f"I/O at {at & 0xFFFF:#06x} [{at + size - 1 & 0xFFFF:#06x}]."
        else:
            wide = 64 if flags & 4 else 32
            kind = " prefetchable" if flags & 8 else ""
            where = at & (1 << wide) - 1
            text = f"{wide} bit{kind} memory at {where:#010x} [{(at + size - 1 if at >= 0 else size - 2) & (1 << wide) - 1:#010x}]."
        out += f"      BAR{n}: {text}\n"
    return out + f'      id "{f.id}"\n'
