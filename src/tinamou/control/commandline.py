"""The command line of whole machines: each option is a function, its decorator the line of `-help`.

`parse` reads the words into a `Request`; `build` makes the machine, its back ends and monitors from it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

from tinamou.backends.chardev import legacy
from tinamou.backends.chardev.base import Chardev
from tinamou.backends.chardev.base import discover as chardev_kinds
from tinamou.backends.chardev.base import make as make_chardev
from tinamou.backends.chardev.mux import MuxChardev
from tinamou.control import plugging
from tinamou.control.gdb import TargetError
from tinamou.control.options import HELP, keyval, only, opts, readconfig, wants_help
from tinamou.control.vm import COMPATIBLE, CommandError, Vm
from tinamou.machine import board
from tinamou.machine.board import Board
from tinamou.machine.clock import parse_date
from tinamou.machine.cpu import CpuFactory, Runner
from tinamou.machine.machine import Machine, Settings
from tinamou.machine.props import PropertyError, nearest, parse_size

SIZE_HINT = ("Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.")
LOG_ITEMS = {
    "in_asm": "show target assembly code for each compiled TB", "int": "show interrupts/exceptions in short format",
    "exec": "show trace before each executed TB (lots of logs)", "cpu": "show CPU registers before entering a TB (lots of logs)",
    "mmu": "log MMU-related activities", "cpu_reset": "show CPU state before CPU resets",
    "unimp": "log unimplemented functionality", "guest_errors": "log when the guest OS does something invalid (eg accessing a\n"
    "                non-existent register)", "page": "dump pages at beginning of user mode emulation",
    "nochain": "do not chain compiled TBs so that \"exec\" and \"cpu\" show\n                complete traces",
    "plugin": "output from TCG plugins"}


class OptionError(Exception):
    """A bad option. `prefix` is the option as typed, or empty; `hint` goes on lines of its own."""

    def __init__(self, message: str, prefix: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.prefix, self.hint = prefix, hint


class Finished(Exception):
    """An option that only prints something: `text` to standard output, then exit with `status`."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.text, self.status = text, status


@dataclass
class Request:
    """What the words said, in order where order matters."""

    program: str = "qemu-system-riscv64"
    arch: str = "riscv"
    machine: dict[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=lambda: Settings(ram_size=0, cpus=0))
    serials: list[str] = field(default_factory=list)
    monitors: list[tuple[str, str]] = field(default_factory=list)       # (mode, where)
    chardevs: list[dict[str, str]] = field(default_factory=list)
    drives: list[dict[str, str]] = field(default_factory=list)
    devices: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    blockdevs: list[dict[str, Any]] = field(default_factory=list)
    globals_: list[tuple[str, str, str]] = field(default_factory=list)
    gdb: list[str] = field(default_factory=list)
    qtest: str = ""
    accelerators: list[str] = field(default_factory=list)
    icount: dict[str, Any] | None = None  # shift (None: auto), sleep, align
    log_items: set[str] = field(default_factory=set)
    log_file: str = ""
    name: str = ""
    uuid: str = ""
    pidfile: str = ""
    loadvm: str = ""
    display: str = ""
    nographic: bool = False
    nodefaults: bool = False
    stopped: bool = False
    snapshot: bool = False
    no_reboot: bool = False
    no_shutdown: bool = False
    daemonize: bool = False
    echr: int = 1
    dumpdtb: str = ""


@dataclass(frozen=True)
class Option:
    names: tuple[str, ...]
    argument: str
    help: str
    function: Callable[..., None]


OPTIONS: dict[str, Option] = {}


def option(names: str, argument: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `-NAME`; an empty `argument` means it takes none."""

    def register(f: Callable[..., None]) -> Callable[..., None]:
        made = Option(tuple(names.split("|")), argument, help, f)
        for n in made.names:
            OPTIONS[n] = made
        return f

    return register


def parse(words: list[str], program: str = "qemu-system-riscv64", arch: str = "riscv") -> Request:
    """Read the words. Raises OptionError or Finished."""
    r = Request(program=program, arch=arch)
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        if not word.startswith("-") or word == "-":
            r.drives.append({"file": word, "if": "none", "index": "0", "media": "disk"})
            continue
        name = word[2:] if word.startswith("--") else word[1:]
        o = OPTIONS.get(name)
        if o is None:
            raise OptionError("invalid option", word, nearest(name, OPTIONS, "Nearest: "))
        if not o.argument:
            o.function(r)
            continue
        if i >= len(words):
            raise OptionError("requires an argument", word)
        value = words[i]
        i += 1
        try:
            o.function(r, value)
        except PropertyError as e:
            raise OptionError(str(e), f"{word} {value}", e.hint) from None
    return r


# --- the machine


@option("h|help", "", "display this help and exit")
def help_(r: Request) -> None:
    raise Finished(help_text(r.program))


@option("version", "", "display version information and exit")
def version(r: Request) -> None:
    raise Finished(version_text())


@option("machine|M", "[type=]name[,prop[=value][,...]]", "selects emulated machine ('-machine help' for list)")
def machine(r: Request, value: str) -> None:
    if value in HELP:
        raise Finished(machine_help(r.arch))
    given = keyval(value, "type")
    if wants_help(given):
        raise Finished(board.find(given.get("type", ""), r.arch).properties.help())
    r.machine.update(given)


@option("cpu", "cpu", "select CPU ('-cpu help' for list)")
def cpu(r: Request, value: str) -> None:
    if value in HELP:
        raise Finished("".join(f"{n}\n" for n in cpu_models(r)))
    model, _, rest = value.partition(",")
    r.settings.cpu = model
    r.settings.cpu_properties = dict(opts(rest))


@option("accel", "[accel=]accelerator[,prop[=value][,...]]", "select accelerator ('-accel help' for list)")
def accel(r: Request, value: str) -> None:
    given = opts(value, "accel")
    if given.get("accel") in HELP:
        raise Finished("Accelerators supported in QEMU binary:\ntcg\nqtest\n")
    if given.get("accel") not in ("tcg", "qtest"):
        raise PropertyError(f"invalid accelerator {given.get('accel')}", nearest(given.get("accel", ""), ("tcg", "qtest"), "Nearest: "))
    r.accelerators.append(given["accel"])


@option("smp", "[cpus=]n[,maxcpus=maxcpus][,cores=cores][,threads=threads][,sockets=sockets]", "set the number of CPUs to 'n'")
def smp(r: Request, value: str) -> None:
    given = opts(value, "cpus")
    only(given, ("cpus", "maxcpus", "cores", "threads", "sockets", "dies"))
    numbers = {}
    for key, text in given.items():
        if not text.isdigit():
            raise PropertyError(f"Parameter 'smp.{key}' expects integer")
        numbers[key] = int(text)
        if not numbers[key]:
            raise PropertyError("Invalid CPU topology: CPU topology parameters must be greater than zero")
    parts = [numbers.get(k, 1) for k in ("sockets", "dies", "cores", "threads")]
    product = parts[0] * parts[1] * parts[2] * parts[3]
    cpus = numbers.get("cpus", numbers.get("maxcpus", product))
    highest = numbers.get("maxcpus", max(cpus, product))
    named = any(k in numbers for k in ("sockets", "cores", "threads", "dies"))
    if named and all(k in numbers for k in ("sockets", "cores", "threads")) and product != highest:
        raise PropertyError("Invalid CPU topology: product of the hierarchy must match maxcpus: "
                            f"sockets ({parts[0]}) * cores ({parts[2]}) * threads ({parts[3]}) != maxcpus ({highest})")
    if cpus > highest:
        raise PropertyError(f"Invalid CPU topology: maxcpus must be equal to or greater than smp: maxcpus ({highest}) < smp_cpus ({cpus})")
    r.settings.cpus, r.settings.max_cpus = cpus, highest


@option("m", "[size=]megs[,slots=n,maxmem=size]", "configure guest RAM")
def memory(r: Request, value: str) -> None:
    given = opts(value, "size")
    only(given, ("size", "slots", "maxmem"))
    text = given.get("size", "")
    size = parse_size(text, 1 << 20)
    if size is None:
        raise PropertyError("Parameter 'size' expects a non-negative number below 2^64", SIZE_HINT)
    r.settings.ram_size = -(-size // 8192) * 8192


def _setting(names: str, attribute: str, argument: str, help: str) -> None:
    def set_(r: Request, value: str) -> None:
        setattr(r.settings, attribute, value)
    option(names, argument, help)(set_)


for _names, _attribute, _argument, _help in (
        ("kernel", "kernel", "bzImage", "use 'bzImage' as kernel image"),
        ("append", "append", "cmdline", "use 'cmdline' as kernel command line"),
        ("initrd", "initrd", "file", "use 'file' as initial ram disk"),
        ("dtb", "dtb", "file", "use 'file' as device tree image"),
        ("bios", "bios", "file", "set the filename for the BIOS")):
    _setting(_names, _attribute, _argument, _help)


@option("L", "path", "set the directory for the BIOS, VGA BIOS and keymaps")
def data_dir(r: Request, value: str) -> None:
    r.settings.data_dirs.append(value)


@option("fw_cfg", "[name=]<name>,file=<file>", "add named fw_cfg entry with contents from file or from string=<str>")
def fw_cfg(r: Request, value: str) -> None:
    given = opts(value, "name")
    only(given, ("name", "file", "string", "gen_id"))
    if "file" in given:
        try:
            with open(given["file"], "rb") as f:
                data = f.read(1 << 28)
        except OSError as e:
            raise PropertyError(f"can't load {given['file']}: {e.strerror}") from None
    elif "string" in given:
        data = given["string"].encode()
    else:
        raise PropertyError("invalid argument(s)")
    r.settings.fw_cfg.append((given.get("name", ""), data))


@option("rtc", "[base=utc|localtime|<datetime>][,clock=host|rt|vm][,driftfix=none|slew]", "set the RTC base and clock")
def rtc(r: Request, value: str) -> None:
    given = opts(value)
    only(given, ("base", "clock", "driftfix"))
    base, clock = given.get("base", "utc"), given.get("clock", "host")
    if base not in ("utc", "localtime"):
        try:
            parse_date(base)
        except ValueError:
            raise PropertyError("invalid datetime format", "valid formats: '2006-06-17T16:01:21' or '2006-06-17'") from None
    if clock not in ("host", "rt", "vm"):
        raise PropertyError(f"invalid option value '{clock}'")
    r.settings.rtc_base, r.settings.rtc_clock = base, clock


@option("icount", "[shift=N|auto][,align=on|off][,sleep=on|off]", "enable virtual instruction counter with 2^N clock ticks per\n"
        "                instruction")
def icount(r: Request, value: str) -> None:
    given = opts(value, "shift")
    only(given, ("shift", "align", "sleep", "rr", "rrfile", "rrsnapshot"))
    if any(k in given for k in ("rr", "rrfile", "rrsnapshot")):
        raise PropertyError("record/replay is not available", "What can be given: shift, align, sleep")
    shift = given.get("shift", "auto")
    if shift != "auto" and not (shift.isdigit() and int(shift) <= 10):
        raise PropertyError("icount: Invalid shift value", "It is auto, or a number from 0 to 10")
    flags = {}
    for key, default in (("sleep", "on"), ("align", "off")):
        if given.get(key, default) not in ("on", "off"):
            raise PropertyError(f"Parameter '{key}' expects 'on' or 'off'")
        flags[key] = given.get(key, default) == "on"
    if flags["align"] and not flags["sleep"]:
        raise PropertyError("align=on and sleep=off are incompatible")
    r.icount = {"shift": None if shift == "auto" else int(shift), **flags}


@option("name", "string1[,process=string2][,debug-threads=on|off]", "set the name of the guest")
def name_(r: Request, value: str) -> None:
    given = opts(value, "guest")
    only(given, ("guest", "process", "debug-threads"))
    r.name = given.get("guest", "")


@option("uuid", "%08x-%04x-%04x-%04x-%012x", "specify machine UUID")
def uuid_(r: Request, value: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
        raise PropertyError("failed to parse UUID string: wrong format")
    r.uuid = value


@option("seed", "number", "seed the guest's random numbers")
def seed(r: Request, value: str) -> None:
    if not value.isdigit():
        raise PropertyError("invalid seed number")
    r.settings.seed = int(value)


# --- disks


@option("drive", "[file=file][,if=type][,index=i][,media=d][,format=f][,snapshot=on|off][,cache=...][,id=name]",
        "use 'file' as a drive image")
def drive(r: Request, value: str) -> None:
    r.drives.append(opts(value))


for _name, _index in (("hda", 0), ("hdb", 1), ("hdc", 2), ("hdd", 3)):
    def _hd(r: Request, value: str, index: int = _index) -> None:
        r.drives.append({"file": value, "if": "none", "index": str(index), "media": "disk"})
    option(_name, "file", f"use 'file' as hard disk {_index} image")(_hd)


@option("pflash", "file", "use 'file' as a parallel flash image")
def pflash(r: Request, value: str) -> None:
    r.drives.append({"file": value, "if": "pflash"})


@option("mtdblock", "file", "use 'file' as on-board Flash memory image")
def mtdblock(r: Request, value: str) -> None:
    r.drives.append({"file": value, "if": "mtd"})


@option("sd", "file", "use 'file' as SecureDigital card image")
def sd(r: Request, value: str) -> None:
    r.drives.append({"file": value, "if": "sd"})


@option("blockdev", "[driver=]driver[,node-name=N][,discard=ignore|unmap][,read-only=on|off][,...]", "configure a block backend")
def blockdev(r: Request, value: str) -> None:
    given = keyval(value, "driver")
    if "driver" not in given:
        raise PropertyError("Parameter 'driver' is missing")
    if "node-name" not in given:
        raise PropertyError("'node-name' must be specified for the root node")
    r.blockdevs.append(given)


@option("snapshot", "", "write to temporary files instead of disk image files")
def snapshot(r: Request) -> None:
    r.snapshot = True


# --- devices and back ends


@option("device", "driver[,prop[=value][,...]]", "add device (based on driver)")
def device(r: Request, value: str) -> None:
    given: dict[str, Any] = keyval(value) if value.startswith("{") else dict(opts(value, "driver"))
    if given.get("driver") in HELP:
        raise Finished(plugging.help_text())
    if wants_help(given):
        raise Finished(plugging.device_class(given["driver"]).properties.help())
    r.devices.append((value, given))


@option("global", "driver.property=value", "set a global default for a driver property")
def global_(r: Request, value: str) -> None:
    given = opts(value) if value.startswith("driver=") else {}
    if given:
        r.globals_.append((given["driver"], given.get("property", ""), given.get("value", "")))
        return
    m = re.fullmatch(r"([^.=]+)\.([^=]+)=(.*)", value)
    if not m:
        raise PropertyError("Invalid parameter")
    r.globals_.append((m[1], m[2], m[3]))


@option("object", "TYPENAME[,PROP1=VALUE1,...]", "create a new object of type TYPENAME")
def object_(r: Request, value: str) -> None:
    r.objects.append(keyval(value, "qom-type"))


@option("chardev", "backend,id=str[,...]", "configure a character device")
def chardev(r: Request, value: str) -> None:
    given = opts(value, "backend")
    if given.get("backend") in HELP:
        raise Finished("Available chardev backend types: \n" + "".join(f"  {k}\n" for k in chardev_kinds()))
    r.chardevs.append(given)


@option("serial", "dev", "redirect the serial port to char device 'dev'")
def serial(r: Request, value: str) -> None:
    r.serials.append(value)


@option("parallel", "dev", "redirect the parallel port to char device 'dev'")
def parallel(r: Request, value: str) -> None:
    """No machine here has a parallel port; the option is accepted as the original accepts it."""


@option("monitor", "dev", "redirect the monitor to char device 'dev'")
def monitor(r: Request, value: str) -> None:
    r.monitors.append(("readline", value))


@option("qmp", "dev", "like -monitor but opens in 'control' mode")
def qmp_(r: Request, value: str) -> None:
    r.monitors.append(("control", value))


@option("qmp-pretty", "dev", "like -qmp but uses pretty JSON formatting")
def qmp_pretty(r: Request, value: str) -> None:
    r.monitors.append(("pretty", value))


@option("mon", "[chardev=]name[,mode=readline|control][,pretty[=on|off]]", "configure a monitor on a character device")
def mon(r: Request, value: str) -> None:
    given = opts(value, "chardev")
    only(given, ("chardev", "mode", "pretty", "default"))
    mode = given.get("mode", "readline")
    if mode not in ("readline", "control"):
        raise PropertyError(f"Parameter 'mode' does not accept value '{mode}'")
    r.monitors.append(("pretty" if given.get("pretty") == "on" else mode, f"chardev:{given.get('chardev', '')}"))


@option("gdb", "dev", "accept gdb connection on 'dev'")
def gdb(r: Request, value: str) -> None:
    r.gdb.append(value)


@option("s", "", "shorthand for -gdb tcp::1234")
def gdb_default(r: Request) -> None:
    r.gdb.append("tcp::1234")


@option("S", "", "freeze CPU at startup (use 'c' to start execution)")
def freeze(r: Request) -> None:
    r.stopped = True


@option("qtest", "dev", "control the machine by the qtest protocol")
def qtest(r: Request, value: str) -> None:
    r.qtest = value


@option("qtest-log", "file", "log of the qtest protocol")
def qtest_log(r: Request, value: str) -> None:
    """Accepted; the protocol is not logged."""


# --- how it runs


@option("nographic", "", "disable graphical output and redirect serial I/Os to console")
def nographic(r: Request) -> None:
    r.nographic = True


@option("display", "type", "select display backend type")
def display(r: Request, value: str) -> None:
    kind = keyval(value, "type").get("type")
    if kind in HELP:
        raise Finished("Available display backend types:\nnone\n")
    if kind != "none":
        raise PropertyError(f"Parameter 'type' does not accept value '{kind}'", "accepted: none")
    r.display = "none"


@option("vga", "type", "select video card type")
def vga(r: Request, value: str) -> None:
    if value != "none":
        raise PropertyError(f"unknown vga type: {value}")


def _no_network(r: Request, value: str) -> None:
    if value != "none":
        raise PropertyError("there are no network backends yet", "What can be given: none")


option("nic", "none", "no network card")(_no_network)
option("net", "none", "no network card")(_no_network)


@option("nodefaults", "", "don't create default devices")
def nodefaults(r: Request) -> None:
    r.nodefaults = True


@option("no-user-config", "", "do not load default user-provided config files at startup")
def no_user_config(r: Request) -> None:
    """No configuration files are read without -readconfig."""


@option("no-reboot", "", "exit instead of rebooting")
def no_reboot(r: Request) -> None:
    r.no_reboot = True


@option("no-shutdown", "", "stop before shutdown")
def no_shutdown(r: Request) -> None:
    r.no_shutdown = True


@option("loadvm", "file", "start right away with a saved state")
def loadvm(r: Request, value: str) -> None:
    r.loadvm = value


@option("daemonize", "", "daemonize QEMU after initializing")
def daemonize(r: Request) -> None:
    r.daemonize = True


@option("pidfile", "file", "write PID to 'file'")
def pidfile(r: Request, value: str) -> None:
    r.pidfile = value


@option("d", "item1,...", "enable logging of specified items (use '-d help' for a list of log items)")
def log(r: Request, value: str) -> None:
    items = set(value.split(",")) if value else set()
    if items - LOG_ITEMS.keys() - {"all", "none"}:
        text = "Log items (comma separated):\n" + "".join(f"{n:<15} {t}\n" for n, t in LOG_ITEMS.items())
        raise Finished(text, 1)
    r.log_items |= set(LOG_ITEMS) if "all" in items else items - {"none"}


@option("D", "logfile", "output log to logfile (default stderr)")
def log_file(r: Request, value: str) -> None:
    r.log_file = value.replace("%d", str(os.getpid()))


@option("echr", "chr", "set terminal escape character instead of ctrl-a")
def echr(r: Request, value: str) -> None:
    try:
        r.echr = int(value, 0)
    except ValueError:
        raise PropertyError(f"invalid character '{value}'") from None


@option("msg", "[timestamp=on|off][,guest-name=on|off]", "control error message format")
def msg(r: Request, value: str) -> None:
    only(opts(value), ("timestamp", "guest-name"))


@option("readconfig", "file", "read config file")
def read_config(r: Request, value: str) -> None:
    try:
        with open(value, encoding="utf-8", errors="replace") as f:
            groups = readconfig(f.read(1 << 22))
    except OSError as e:
        raise PropertyError(f"Cannot read config file {value}: {e.strerror}") from None
    for group, id_, values in groups:
        given = {**values, **({"id": id_} if id_ else {})}
        match group:
            case "device":
                r.devices.append((",".join(f"{k}={v}" for k, v in given.items()), dict(given)))
            case "drive":
                r.drives.append(given)
            case "chardev":
                r.chardevs.append(given)
            case "machine":
                r.machine.update(given)
            case "memory":
                memory(r, given.get("size", ""))
            case "smp-opts":
                smp(r, ",".join(f"{k}={v}" for k, v in given.items()))
            case "mon":
                mon(r, ",".join(f"{k}={v}" for k, v in given.items()))
            case "global":
                r.globals_.append((given.get("driver", ""), given.get("property", ""), given.get("value", "")))
            case "name":
                r.name = given.get("guest", "")
            case "rtc":
                rtc(r, ",".join(f"{k}={v}" for k, v in given.items()))
            case _:
                raise PropertyError(f"there is no option group '{group}'")


@option("set", "group.id.arg=value", "set <arg> parameter for item <id> of type <group>")
def set_(r: Request, value: str) -> None:
    m = re.fullmatch(r"([^.=]+)\.([^.=]+)\.([^=]+)=(.*)", value)
    if not m:
        raise PropertyError("can't parse")
    table: list[dict[str, Any]] = {"device": [d for _, d in r.devices], "drive": r.drives, "chardev": r.chardevs}.get(m[1], [])
    for item in table:
        if item.get("id") == m[2]:
            item[m[3]] = m[4]
            return
    raise PropertyError(f'there is no {m[1]} "{m[2]}" defined')


# --- texts


def version_text() -> str:
    """As tools parse it; our own number stands inside the parentheses."""
    from tinamou import __version__

    return f"QEMU emulator version {'.'.join(map(str, COMPATIBLE))} (Tinamou {__version__})\n"


def help_text(program: str) -> str:
    """What -help prints."""
    seen = {id(o): o for o in OPTIONS.values()}
    rows = [version_text() + f"usage: {program} [options] [disk_image]\n", "'disk_image' is a raw hard disk image for IDE hard disk 0\n"]
    for o in seen.values():
        left = " or ".join(f"-{n}" for n in o.names) + (f" {o.argument}" if o.argument else "")
        rows.append(f"{left:<15} {o.help}" if len(left) < 16 else f"{left}\n                {o.help}")
    rows += ["", "During emulation, the following keys are useful:", "ctrl-a h        print the keys of the console", ""]
    return "\n".join(rows)


def machine_help(arch: str) -> str:
    """What -machine help prints."""
    rows = ["Supported machines are:"]
    boards = {"none": "empty machine"}
    for n, b in board.discover(arch).items():
        boards[n] = b.desc + (" (default)" if b.default else "")
        if b.alias:
            boards[b.alias] = f"{b.desc} (alias of {n})"
    rows += [f"{n:<20} {d}" for n, d in sorted(boards.items())]
    return "\n".join(rows) + "\n"


def cpu_models(r: Request) -> list[str]:
    """The CPU models of the architecture, as its package lists them."""
    import importlib

    try:
        models = importlib.import_module(f"tinamou.isa.{r.arch}.models")
    except ModuleNotFoundError:
        return []
    wide = 64 if "64" in r.program else 32 if "32" in r.program else 0
    return sorted({m.name for m in models.MODELS.values() if not wide or m.xlen == wide})


# --- building


def build(r: Request, cpu_factory: CpuFactory | None, runner: Runner | None, arch: str) -> Vm:
    """Make everything. Raises OptionError."""
    builder = Builder(r)
    try:
        return builder.build(cpu_factory, runner, arch)
    except PropertyError as e:
        builder.close()
        raise OptionError(str(e), builder.at, e.hint) from None
    except OptionError:
        builder.close()
        raise


class Builder:
    """The steps, in the order that decides which of several mistakes is told. `at` is the option being worked on."""

    def __init__(self, r: Request) -> None:
        from tinamou.backends.loop import Loop

        self.r = r
        self.at = ""
        self.chardevs: dict[str, Chardev] = {}
        self.drives: list[Any] = []
        self.nodes: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.graph: Any = None
        self.log: TextIO = sys.stderr
        self.loop = Loop()

    def close(self) -> None:
        """Give back what was opened before a mistake."""
        for c in self.chardevs.values():
            c.close()
        for d in self.drives:
            d.close()

    def build(self, cpu_factory: CpuFactory | None, runner: Runner | None, arch: str) -> Vm:
        r, s = self.r, self.r.settings
        chosen = self.board()
        self.open_log()
        for given in r.chardevs:
            self.at = "-chardev " + ",".join(v if k == "backend" else f"{k}={v}" for k, v in given.items())
            self.add_chardev(dict(given))
        serials, monitors = self.consoles()
        s.serials = [self.port(where, f"serial{n}", "serial") for n, where in enumerate(serials)]
        self.at = ""
        self.open_drives()
        s.drives = self.drives
        options = {k: v for k, v in r.machine.items() if k not in ("type", "accel", "dumpdtb", "graphics", "usb", "memory-backend",
                                                                     "kernel", "initrd", "append", "dtb", "firmware", "dump-guest-core")}
        for key, attribute in (("kernel", "kernel"), ("initrd", "initrd"), ("append", "append"), ("dtb", "dtb"), ("firmware", "bios")):
            if key in r.machine:
                setattr(s, attribute, r.machine[key])
        s.ram_size = s.ram_size or chosen.ram
        s.cpus = s.cpus or chosen.default_cpus
        machine = chosen.make(s, options, cpu_factory=cpu_factory)
        vm = self.vm(machine, runner, arch)
        if "dumpdtb" in r.machine:
            self.dump_dtb(machine, r.machine["dumpdtb"])
        for text, given in r.devices:
            self.at = f"-device {text}"
            vm.plug({**self.defaults(given), **given})
        self.at = ""
        for n, (mode, where) in enumerate(monitors):
            self.monitor(vm, n, mode, where)
        if r.qtest:
            from tinamou.control.qtest import QtestSession

            port = self.port(r.qtest, "qtest", "qtest")
            port.attach(QtestSession(vm, port.write))
        self.at = ""
        keeps_time = getattr(vm.runner, "keeps_time", False)  # cycles are the machine's time in any case
        machine.io_threads = r.icount is None and vm.runner.name == "tcg" and not keeps_time
        turns = getattr(vm.runner, "turns", None)
        if r.icount is not None and not keeps_time:
            if turns is None:
                raise OptionError(f"the accelerator {vm.runner.name} does not count instructions", "-icount")
            self.loop.virtual = None  # the CPUs' thread fires events
            machine.time.changed = turns.deadline_changed
            machine.time.follow(turns.now)
        machine.reset("cold")
        if r.loadvm:
            self.at = f"-loadvm {r.loadvm}"
            self.load(vm, r.loadvm)
        return vm

    def load(self, vm: Vm, name: str) -> None:
        """`-loadvm`: a snapshot in the disk images, or else a file that `savesnap` wrote."""
        from tinamou.control import vmstate
        from tinamou.machine import snapshot

        if os.sep not in name and not os.path.exists(name):
            try:
                vmstate.load(vm, name)
            except CommandError as e:
                message, _, hint = str(e).partition("\n")
                raise OptionError(message, "", hint) from None
            return
        try:
            with open(name, "rb") as f:
                snapshot.read(vm.machine, f)
        except OSError as e:
            raise OptionError(f"Could not open '{name}': {e.strerror}", f"-loadvm {name}") from None
        except snapshot.SnapshotError as e:
            raise OptionError(str(e), f"-loadvm {name}") from None

    def board(self) -> Board:
        name = self.r.machine.get("type")
        self.at = f"-machine {name}" if name else ""
        boards = board.discover(self.r.arch)
        if name is None:
            found = next((b for b in boards.values() if b.default), None)
            if found is None:
                raise PropertyError("No machine specified, and there is no default",
                                    "Use -machine help to list supported machines")
            return found
        if name == "none":
            return Board("none", "empty machine", lambda m: None, self.r.arch, ram=0)
        self.at = ""
        return board.find(name, self.r.arch)

    def open_log(self) -> None:
        if self.r.log_file:
            try:
                self.log = open(self.r.log_file, "w", buffering=1, encoding="utf-8")
            except OSError as e:
                raise PropertyError(f"Error opening logfile {self.r.log_file}: {e.strerror}") from None

    # --- character devices

    def add_chardev(self, given: dict[str, str]) -> Chardev:
        multiplexed = given.pop("mux", "off") == "on"
        id_ = given.get("id", "")
        if id_ in self.chardevs:
            raise PropertyError(f"Duplicate ID '{id_}' for chardev")
        try:
            made = make_chardev(given, self.loop)
        except OSError as e:
            raise PropertyError(f"Could not open '{given.get('path', '')}': {e.strerror}") from None
        if multiplexed:
            made = MuxChardev(id=id_, inner=made, escape=self.r.echr)
        self.chardevs[id_] = made
        return made

    def port(self, where: str, id_: str, what: str) -> Any:
        """The character device a short spelling names. Raises OptionError with the original's two lines."""
        if where == "none":
            return None
        if where.startswith("chardev:"):
            named = where[8:]
            if named not in self.chardevs:
                raise OptionError(f"chardev \"{named}\" not found", "", nearest(named, self.chardevs, "nearest: "))
            return self.chardevs[named]
        multiplexed = where.startswith("mon:")
        try:
            options = legacy.options(where[4:] if multiplexed else where, id_)
            return self.add_chardev({**options, **({"mux": "on"} if multiplexed else {})})
        except PropertyError as e:
            option_name = f"-{what} {where}"
            kind = {"serial": "could not connect serial device to character backend"}.get(what)
            second = f"{self.r.program}: {option_name}: {kind} '{where}'" if kind else \
                f"{self.r.program}: {option_name}: parse error: {where}" if "valid char driver" in str(e) and what != "gdb" else ""
            raise OptionError(str(e), option_name, "\n".join(x for x in (second, e.hint) if x)) from None

    def consoles(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Where serial ports and monitors go when nobody said: one console for both with -nographic."""
        r = self.r
        serials, monitors = list(r.serials), list(r.monitors)
        readline = any(mode == "readline" for mode, _ in monitors)
        if r.nographic:
            if not serials and not readline and not r.nodefaults:
                serials.append("mon:stdio")
            elif not serials and not r.nodefaults:
                serials.append("stdio")
            elif not readline and not r.nodefaults and not any(x == "stdio" or x.startswith("mon:") for x in serials):
                monitors.append(("readline", "stdio"))
        elif not r.nodefaults:
            if not serials:
                serials.append("vc")
            if not readline and not any(x.startswith("mon:") for x in serials):
                monitors.append(("readline", "vc"))
        return serials, monitors

    def monitor(self, vm: Vm, n: int, mode: str, where: str) -> None:
        from tinamou.control.hmp import HumanSession
        from tinamou.control.qmp import Session

        if where == "none":
            return
        port = self.port(where, f"compat_monitor{n}", "qmp" if mode != "readline" else "monitor")
        if mode == "readline":
            port.attach(HumanSession(vm, port.write))
        else:
            port.attach(Session(vm, port.write, pretty=mode == "pretty"))

    # --- the rest

    def open_drives(self) -> None:
        from tinamou.backends import objects
        from tinamou.backends.drive import open_drive, open_node

        if self.r.blockdevs or self.r.drives:
            from tinamou.block.graph import Graph

            self.graph = Graph()
        for item in self.r.objects:
            self.at = "-object " + ",".join(f"{k}={v}" for k, v in item.items())
            if str(item.get("qom-type", "")).startswith("secret"):
                self.secret(item)
            else:
                self.objects[str(item.get("id"))] = objects.make(item)
        for tree in self.r.blockdevs:
            self.at = "-blockdev " + ",".join(f"{k}={v}" for k, v in tree.items() if not isinstance(v, dict))
            self.nodes[tree["node-name"]] = open_node(self.graph, tree)
        for given in self.r.drives:
            self.at = "-drive " + ",".join(f"{k}={v}" for k, v in given.items())
            self.drives.append(open_drive(given, self.drives, snapshot=self.r.snapshot, graph=self.graph))
        self.at = ""

    def secret(self, item: dict[str, Any]) -> None:
        from tinamou.block.errors import BlockError
        from tinamou.block.graph import Graph

        self.graph = self.graph or Graph()
        try:
            self.graph.add_object(item)
        except BlockError as e:
            raise PropertyError(str(e)) from None

    def defaults(self, given: dict[str, Any]) -> dict[str, Any]:
        """What -global says for this device's model."""
        return {p: v for d, p, v in self.r.globals_ if d == given.get("driver") and p not in given}

    def vm(self, machine: Machine, runner: Runner | None, arch: str) -> Vm:
        r = self.r
        machine.log.items = r.log_items
        machine.log.sink = lambda text: print(text, file=self.log)
        self.loop.lock, self.loop.virtual = machine.lock, machine.time
        machine.time.changed = self.loop.wake
        vm = Vm(machine, runner, self.loop, name=r.name, arch=arch, no_reboot=r.no_reboot, no_shutdown=r.no_shutdown)
        vm.chardevs = self.chardevs
        vm.drives = {d.id: d for d in self.drives}
        vm.nodes, vm.objects = self.nodes, self.objects
        if r.uuid:
            vm.uuid = uuid.UUID(r.uuid)
        for c in self.chardevs.values():
            if isinstance(c, MuxChardev):
                c.quit = lambda: vm.loop.soon(lambda: vm.quit("host-ui"))
        for port in r.settings.serials:
            if isinstance(port, MuxChardev):
                from tinamou.control.hmp import HumanSession

                port.attach(HumanSession(vm, port.write))
                port.focus = 0
        for d in self.drives:
            if d.interface == "virtio" and d.node_ is not None:
                self.at = f"-drive id={d.id}"
                vm.plug({"driver": "virtio-blk-pci" if self.has_pci(machine) else "virtio-blk-device", "drive": d.id})
        self.at = ""
        return vm

    def has_pci(self, machine: Machine) -> bool:
        return any(b.type == "PCI" for b in machine.buses())

    def dump_dtb(self, machine: Machine, path: str) -> None:
        if machine.fdt is None:
            raise PropertyError("This machine doesn't have an FDT")
        try:
            with open(path, "wb") as f:
                f.write(machine.fdt.pack(1 << 20))
        except OSError as e:
            raise PropertyError(f"Failed to save dtb to {path}: {e.strerror}") from None
        raise Finished(f"{self.r.program}: info: dtb dumped to {path}. Exiting.\n")


EngineMaker = Callable[[Request], tuple[CpuFactory, Runner]]


def main(words: list[str], program: str, arch: str, engine: EngineMaker | None = None, target: str = "") -> int:
    """Run a whole machine from its command line; the exit status. `engine` makes what executes CPUs."""
    try:
        r = parse(words, program, arch)
        factory, runner = engine(r) if engine and "qtest" not in r.accelerators[:1] else (None, None)
        if factory is None:
            from tinamou.control.vm import Idle

            runner = Idle()
        vm = build(r, factory, runner, target or f"{arch}64")
    except Finished as e:
        sys.stdout.write(e.text)
        return e.status
    except OptionError as e:
        sys.stderr.write(complain(program, e))
        return 1
    return run(r, vm)


def run(r: Request, vm: Vm) -> int:
    """Serve until the machine ends; the exit status."""
    servers: list[Any] = []
    try:
        if r.daemonize:
            detach()
        if r.pidfile:
            write_pid(r.pidfile)
        servers += [gdb_server(vm, where) for where in r.gdb]
    except (OSError, ValueError, PropertyError, TargetError) as e:
        sys.stderr.write(f"{r.program}: {e}\n")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: vm.loop.soon(lambda: terminated(r, vm, n)))
    keeps_time = getattr(vm.runner, "keeps_time", False)  # the accelerator moves the machine's time itself
    if not keeps_time and r.icount is None and vm.runner.name != "qtest":
        vm.machine.time.follow_host()
    if not r.stopped:
        vm.loop.soon(vm.start)
    try:
        vm.loop.run()
    finally:
        for s in servers:
            s.exited(vm.exit_code)
            s.close()
        for c in vm.chardevs.values():
            c.close()
        for d in vm.drives.values():
            d.close()
        if r.pidfile and os.path.exists(r.pidfile):
            os.unlink(r.pidfile)
    return vm.exit_code


def terminated(r: Request, vm: Vm, number: int) -> None:
    sys.stderr.write(f"{r.program}: terminating on signal {number}\n")
    vm.quit("host-signal")


def gdb_server(vm: Vm, where: str) -> Any:
    """The stub for a whole machine on a port or socket."""
    from tinamou.control.gdb_machine import MachineTarget
    from tinamou.control.gdb_server import GdbServer

    target = MachineTarget(vm)
    server = GdbServer(where, target, connected=lambda: vm.call(lambda: vm.stop("debug")),
                       lost=lambda: vm.loop.soon(vm.start))
    target.tell = server.stopped
    vm.runner.stopped_by = target.stopped  # type: ignore[attr-defined]
    return server


def write_pid(path: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{os.getpid()}\n")
    except OSError as e:
        raise PropertyError(f"cannot create PID file: Could not create '{path}': {e.strerror}") from None


def detach() -> None:
    """Go on in the background; the parent returns when everything listens."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def complain(program: str, e: OptionError) -> str:
    """The lines for standard error."""
    prefix = f"{e.prefix}: " if e.prefix else ""
    return f"{program}: {prefix}{e}\n" + (f"{e.hint}\n" if e.hint else "")


__all__ = ["Finished", "OptionError", "Request", "build", "complain", "main", "parse", "run"]
