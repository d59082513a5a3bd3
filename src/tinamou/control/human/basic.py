"""Run state, help, quitting, memory dumps, devices."""

from __future__ import annotations

from typing import Any

from tinamou.control import qmp
from tinamou.control.hmp import Expr, Fmt, GrammarError, Human, Rest, help_of, hmp
from tinamou.control.texts import LOG_ITEMS, log_help
from tinamou.control.vm import CommandError
from tinamou.machine.memory import BusError
from tinamou.machine.props import PropertyError


@hmp("help|?", "[cmd]", "show the help")
def help_(h: Human, name: Rest = Rest("")) -> str:
    return help_of(str(name))


@hmp("quit|q", "", "quit the emulator")
def quit_(h: Human) -> None:
    h.vm.quit()


@hmp("stop|s", "", "stop emulation")
def stop(h: Human) -> None:
    h.vm.stop()


@hmp("cont|c", "", "resume emulation")
def cont(h: Human) -> None:
    h.vm.start()


@hmp("system_reset", "", "reset the system")
def system_reset(h: Human) -> None:
    h.vm.reset()


@hmp("system_powerdown", "", "send system power down event")
def system_powerdown(h: Human) -> None:
    h.vm.powerdown()


@hmp("nmi", "", "inject an NMI")
def nmi(h: Human) -> None:
    qmp.execute(h.vm, "inject-nmi", {})


@hmp("cpu", "index", "set the default CPU")
def cpu(h: Human, index: Expr) -> str:
    if not 0 <= index < len(h.vm.machine.cpus):
        return "invalid CPU index\n"
    h.cpu = index
    return ""


@hmp("log", "item1[,...]", "activate logging of the specified items")
def log(h: Human, items: str) -> str:
    names = set() if items == "none" else set(LOG_ITEMS) if items == "all" else set(items.split(","))
    if names - LOG_ITEMS.keys():
        return log_help()
    h.vm.machine.log.items.clear()
    h.vm.machine.log.items.update(names)
    for c in h.vm.machine.cpus:
        getattr(c, "logging", lambda: None)()
    return ""


@hmp("gdbserver", "[device]", "start gdbserver on given device (default 'tcp::1234'), stop with 'none'")
def gdb(h: Human, device: str = "tcp::1234") -> str:
    from tinamou.control.gdb import TargetError
    from tinamou.control.running import gdb_server

    for server in h.vm.debuggers:
        server.close()
    h.vm.debuggers.clear()
    if device == "none":
        return "Disabled gdbserver\n"
    try:
        h.vm.debuggers.append(gdb_server(h.vm, device))
    except (OSError, ValueError, PropertyError, TargetError) as e:
        return f"Could not open gdbserver on device '{device}'\n{e}\n"
    return f"Waiting for gdb connection on device '{device}'\n"


# --- numbers and memory


@hmp("print|p", "/fmt expr", "print expression value (use $reg for CPU register access)")
def print_(h: Human, fmt: Fmt, value: Expr) -> str:
    letter = fmt.letter or "d"
    unsigned = value & 2**64 - 1
    match letter:
        case "o":
            return f"0{unsigned:o}\n" if unsigned else "0\n"
        case "x":
            return f"{unsigned:#x}\n"
        case "u":
            return f"{unsigned}\n"
        case "c":
            return _character(unsigned & 0xFF) + "\n"
        case _:
            return f"{int(value)}\n"


@hmp("x", "/fmt addr", "virtual memory dump starting at 'addr'")
def dump_virtual(h: Human, fmt: Fmt, address: Expr) -> str:
    return dump(h, fmt, address, True)


@hmp("xp", "/fmt addr", "physical memory dump starting at 'addr'")
def dump_physical(h: Human, fmt: Fmt, address: Expr) -> str:
    return dump(h, fmt, address, False)


def read(h: Human, address: int, size: int, virtual: bool) -> bytes:
    """Guest memory as a CPU sees it or as the bus does. Raises BusError."""
    if not virtual or not hasattr(h.current, "translate"):
        return peek(h, address, size)
    out = b""
    while size > 0:
        n = min(size, 4096 - address % 4096)
        physical = h.current.translate(address)
        if physical is None:
            raise BusError(address, n, False)
        out += peek(h, physical, n)
        address += n
        size -= n
    return out


def peek(h: Human, address: int, size: int) -> bytes:
    """Physical memory without side effects on devices."""
    memory = h.vm.machine.memory
    out = b""
    while size > 0:
        r = memory.find(address)
        if r is None:
            raise BusError(address, size, False)
        n = min(size, r.base + r.size - address)
        bank = getattr(r.region, "bank", None)
        if bank is not None and hasattr(bank, "peek"):
            at = address - r.base + r.offset
            out += b"".join(bank.peek(at + i, 1).to_bytes(1, "little") for i in range(n))
        else:
            out += memory.load(address, n)
        address += n
        size -= n
    return out


def dump(h: Human, fmt: Fmt, address: int, virtual: bool) -> str:
    """The lines of `x` and `xp`. Letter and size stay as they were last when not given."""
    letter = fmt.letter or h.last.letter
    size = fmt.size or (1 if letter == "c" else h.last.size)
    if letter == "i":
        return disassemble(h, fmt.count, address, virtual)
    h.last = Fmt(1, letter, size)
    address &= 2**64 - 1
    digits = {"x": 2 * size, "o": -(-8 * size // 3), "u": -(-80 * size // 33), "d": -(-80 * size // 33), "c": 0}[letter]
    per_line = 8 if size == 1 else 16
    left, out = fmt.count * size, []
    if left > 1 << 20:
        raise GrammarError("too much to print")
    while left > 0:
        n = min(per_line, left)
        row = f"{address:016x}:"
        try:
            data = read(h, address, n, virtual)
        except BusError:
            out.append(f"{row} Cannot access memory\n")
            break
        for i in range(0, n, size):
            value = int.from_bytes(data[i : i + size], h.vm.machine.memory.endian)
            match letter:
                case "x":
                    row += f" 0x{value:0{digits}x}"
                case "o":
                    row += f" 0{value:0{digits}o}"
                case "u":
                    row += f" {value:>{digits}}"
                case "d":
                    row += f" {value - (1 << 8 * size) if value >> 8 * size - 1 else value:>{digits}}"
                case _:
                    row += " " + _character(value)
        out.append(row + "\n")
        address += n
        left -= n
    return "".join(out)


def disassemble(h: Human, count: int, address: int, virtual: bool) -> str:
    show = getattr(h.current, "disassemble", None)
    if show is None:
        return "Asm output not supported on this arch\n"
    text: str = show(address, count, lambda a, n: read(h, a, n, virtual))
    return text


def _character(value: int) -> str:
    named = {10: "\\n", 13: "\\r", 9: "\\t", 39: "\\'", 92: "\\\\"}.get(value)
    return f"'{named or _hex(value)}'"


def _hex(value: int) -> str:
    return chr(value) if 32 <= value < 127 else f"\\x{value:02x}"


@hmp("sum", "addr size", "compute the checksum of a memory region")
def sum_(h: Human, start: Expr, size: Expr) -> str:
    total = 0
    for byte in h.vm.machine.memory.load(start, min(max(0, size), 1 << 30)):
        total = (total >> 1 | total << 15) + byte & 0xFFFF
    return f"{total:05d}\n"


@hmp("memsave", "addr size file", "save to disk virtual memory dump starting at 'addr' of size 'size'")
def memsave(h: Human, address: Expr, size: Expr, filename: str) -> None:
    qmp.execute(h.vm, "memsave", {"val": address, "size": size, "filename": filename, "cpu-index": h.cpu})


@hmp("pmemsave", "addr size file", "save to disk physical memory dump starting at 'addr' of size 'size'")
def pmemsave(h: Human, address: Expr, size: Expr, filename: str) -> None:
    qmp.execute(h.vm, "pmemsave", {"val": address, "size": size, "filename": filename})


@hmp("gpa2hva", "addr", "print the host virtual address corresponding to a guest physical address")
def gpa2hva(h: Human, address: Expr) -> str:
    for r in h.vm.machine.memory.ram_regions():
        if r.base <= address < r.base + r.size:
            return f"Host virtual address for {address:#x} ({r.ram.name}) is {r.address + address - r.base:#x}\n"
    raise CommandError(f"No memory is mapped at address {address:#x}")


@hmp("gva2gpa", "addr", "print the guest physical address corresponding to a guest virtual address")
def gva2gpa(h: Human, address: Expr) -> str:
    physical = h.current.translate(address & 2**64 - 1)
    return "Unmapped\n" if physical is None else f"gpa: {physical:#x}\n"


# --- devices


@hmp("device_add", "driver[,prop=value][,...]", "add device, like -device on the command line")
def device_add(h: Human, text: Rest) -> str:
    from tinamou.control import plugging
    from tinamou.control.options import opts, wants_help

    values: dict[str, Any] = dict(opts(str(text), "driver"))
    if wants_help(values):
        driver = values.get("driver", "help")
        return plugging.help_text() if driver in ("help", "?") else plugging.device_class(driver).properties.help()
    plugging.plug(h.vm, values, hot=True)
    return ""


@hmp("device_del", "device", "remove device")
def device_del(h: Human, id_: str) -> None:
    qmp.execute(h.vm, "device_del", {"id": id_})


@hmp("chardev-add", "args", "add chardev")
def chardev_add(h: Human, text: Rest) -> None:
    from tinamou.backends.chardev.base import make
    from tinamou.control.options import opts

    values = opts(str(text), "backend")
    if values.get("id") in h.vm.chardevs:
        raise CommandError(f"Chardev with id '{values['id']}' already exists")
    c = make(dict(values), h.vm.loop)
    h.vm.chardevs[c.id] = c


@hmp("chardev-remove", "id", "remove chardev")
def chardev_remove(h: Human, id_: str) -> None:
    qmp.execute(h.vm, "chardev-remove", {"id": id_})


@hmp("chardev-send-break", "id", "send a break on chardev")
def chardev_send_break(h: Human, id_: str) -> None:
    qmp.execute(h.vm, "chardev-send-break", {"id": id_})


@hmp("ringbuf_read", "device size", "Read from a ring buffer character device")
def ringbuf_read(h: Human, device: str, size: Expr) -> str:
    return str(qmp.execute(h.vm, "ringbuf-read", {"device": device, "size": size})) + "\n"


@hmp("ringbuf_write", "device data", "Write to a ring buffer character device")
def ringbuf_write(h: Human, device: str, data: str) -> None:
    qmp.execute(h.vm, "ringbuf-write", {"device": device, "data": data})


@hmp("qom-list", "path", "list QOM properties")
def qom_list(h: Human, path: str = "/") -> str:
    rows = qmp.execute(h.vm, "qom-list", {"path": path})
    return "".join(f"{r['name']} ({r['type']})\n" for r in rows)


@hmp("qom-get", "path property", "print QOM property")
def qom_get(h: Human, path: str, name: str) -> str:
    import json

    return json.dumps(qmp.execute(h.vm, "qom-get", {"path": path, "property": name})) + "\n"
