"""The command line of whole machines: each option is a function, its decorator the line of `-help`.

`parse` reads the words into a `Request`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from tinamou.backends.chardev.base import discover as chardev_kinds
from tinamou.control import other_options as _others  # noqa: F401 (it registers its options)
from tinamou.control import plugging
from tinamou.control.options import HELP, keyval, only, opts, readconfig, spell, wants_help
from tinamou.control.request import OPTIONS, Finished, OptionError, Request, flag, kept, listed, option
from tinamou.control.texts import LOG_ITEMS, cpu_models, help_text, log_help, machine_help, version_text
from tinamou.machine import board
from tinamou.machine.clock import parse_date
from tinamou.machine.props import PropertyError, choices, nearest, parse_size

ACCELERATORS = ("tcg", "qtest")
JIT = ("off", "traces", "on", "eager")
SIZE_HINT = ("Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.")


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
            raise OptionError("invalid option", word, nearest(name, OPTIONS, "nearest: "))
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
    if r.daemonize and r.nographic:
        raise OptionError("-nographic cannot be used with -daemonize")
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
    wanted = given.pop("accel", None)
    if wanted is not None:  # the first that there is
        usable = [name for name in str(wanted).split(":") if name in ACCELERATORS]
        if not usable:
            raise PropertyError(f"invalid accelerator {wanted}", choices(str(wanted), ACCELERATORS))
        r.accelerators.append(usable[0])
    r.machine.update(given)


@option("cpu", "cpu", "select CPU ('-cpu help' for list)")
def cpu(r: Request, value: str) -> None:
    if value in HELP:
        raise Finished("".join(f"{n}\n" for n in cpu_models(r)))
    model, _, rest = value.partition(",")
    r.settings.cpu = model
    r.settings.cpu_properties = dict(opts(rest))


@option("accel", "[accel=]accelerator[,jit=off|traces|on|eager]", "select accelerator ('-accel help' for list)")
def accel(r: Request, value: str) -> None:
    given = opts(value, "accel")
    name = given.get("accel", "")
    if name in HELP:
        raise Finished("Accelerators supported in QEMU binary:\ntcg\nqtest\n")
    if name not in ACCELERATORS:
        raise PropertyError(f"invalid accelerator {name}", choices(name, ACCELERATORS))
    known = ("accel", "jit", "thread", "tb-size") if name == "tcg" else ("accel",)  # each CPU has its thread, and code has room enough
    for key in given.keys() - set(known):
        raise PropertyError(f"Property '{name}-accel.{key}' not found", choices(key, known))
    if given.get("thread", "multi") not in ("single", "multi"):
        raise PropertyError(f"Invalid 'thread' setting {given['thread']}", choices(given["thread"], ("single", "multi")))
    if given.get("jit", "on") not in JIT:
        raise PropertyError(f"Parameter 'jit' does not accept value '{given['jit']}'", choices(given["jit"], JIT))
    r.jit = given.get("jit", r.jit)
    r.accelerators.append(name)


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


kept("kernel", "settings.kernel", "bzImage", "use 'bzImage' as kernel image")
kept("append", "settings.append", "cmdline", "use 'cmdline' as kernel command line")
kept("initrd", "settings.initrd", "file", "use 'file' as initial ram disk")
kept("dtb", "settings.dtb", "file", "use 'file' as device tree image")
kept("bios", "settings.bios", "file", "set the filename for the BIOS")
listed("L", "settings.data_dirs", "path", "set the directory for the BIOS, VGA BIOS and keymaps")


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
    base, clock = given.get("base", ""), given.get("clock", "")
    if base not in ("", "utc", "localtime"):
        try:
            parse_date(base)
        except ValueError:
            raise PropertyError("invalid datetime format", "valid formats: '2006-06-17T16:01:21' or '2006-06-17'") from None
    if clock not in ("", "host", "rt", "vm"):
        raise PropertyError(f"invalid option value '{clock}'", choices(clock, ("host", "rt", "vm")))
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


def disk(name: str, help: str, **rest: str) -> None:
    """Register a short form of `-drive`."""
    listed(name, "drives", "file", help, lambda file: {"file": file, **rest})


listed("drive", "drives", "[file=file][,if=type][,index=i][,media=d][,format=f][,snapshot=on|off][,cache=...][,id=name]",
       "use 'file' as a drive image", opts)
for _index, _name in enumerate(("hda", "hdb", "hdc", "hdd")):
    disk(_name, f"use 'file' as hard disk {_index} image", **{"if": "none", "index": str(_index), "media": "disk"})
disk("cdrom", "use 'file' as CD-ROM image", **{"if": "none", "index": "2", "media": "cdrom"})
for _index, _name in enumerate(("fda", "fdb")):
    disk(_name, f"use 'file' as floppy disk {_index} image", **{"if": "floppy", "index": str(_index)})
disk("pflash", "use 'file' as a parallel flash image", **{"if": "pflash"})
disk("mtdblock", "use 'file' as on-board Flash memory image", **{"if": "mtd"})
disk("sd", "use 'file' as SecureDigital card image", **{"if": "sd"})


@option("blockdev", "[driver=]driver[,node-name=N][,discard=ignore|unmap][,read-only=on|off][,...]", "configure a block backend")
def blockdev(r: Request, value: str) -> None:
    given = keyval(value, "driver")
    if "driver" not in given:
        raise PropertyError("Parameter 'driver' is missing")
    if "node-name" not in given:
        raise PropertyError("'node-name' must be specified for the root node")
    r.blockdevs.append(given)


flag("snapshot", "snapshot", "write to temporary files instead of disk image files")


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


listed("object", "objects", "TYPENAME[,PROP1=VALUE1,...]", "create a new object of type TYPENAME",
       lambda value: keyval(value, "qom-type"))


@option("chardev", "backend,id=str[,...]", "configure a character device")
def chardev(r: Request, value: str) -> None:
    given = opts(value, "backend")
    if given.get("backend") in HELP:
        raise Finished("Available chardev backend types: \n" + "".join(f"  {k}\n" for k in chardev_kinds()))
    r.chardevs.append(given)


listed("serial", "serials", "dev", "redirect the serial port to char device 'dev'")


@option("parallel", "dev", "redirect the parallel port to char device 'dev'")
def parallel(r: Request, value: str) -> None:
    """No machine here has a parallel port; the option is accepted as the original accepts it."""


for _name, _mode, _help in (
        ("monitor", "readline", "redirect the monitor to char device 'dev'"),
        ("qmp", "control", "like -monitor but opens in 'control' mode"),
        ("qmp-pretty", "pretty", "like -qmp but uses pretty JSON formatting")):
    listed(_name, "monitors", "dev", _help, partial(lambda mode, where: (mode, where), _mode))


@option("mon", "[chardev=]name[,mode=readline|control][,pretty[=on|off]]", "configure a monitor on a character device")
def mon(r: Request, value: str) -> None:
    given = opts(value, "chardev")
    only(given, ("chardev", "mode", "pretty", "default"))
    mode = given.get("mode", "readline")
    if mode not in ("readline", "control"):
        raise PropertyError(f"Parameter 'mode' does not accept value '{mode}'", choices(mode, ("readline", "control")))
    r.monitors.append(("pretty" if given.get("pretty") == "on" else mode, f"chardev:{given.get('chardev', '')}"))


listed("gdb", "gdb", "dev", "accept gdb connection on 'dev'")


@option("s", "", "shorthand for -gdb tcp::1234")
def gdb_default(r: Request) -> None:
    r.gdb.append("tcp::1234")


flag("S", "stopped", "freeze CPU at startup (use 'c' to start execution)")
kept("qtest", "qtest", "dev", "control the machine by the qtest protocol")


@option("qtest-log", "file", "log of the qtest protocol")
def qtest_log(r: Request, value: str) -> None:
    """Accepted; the protocol is not logged."""


# --- how it runs


flag("nographic", "nographic", "disable graphical output and redirect serial I/Os to console")


@option("display", "type", "select display backend type")
def display(r: Request, value: str) -> None:
    kind = keyval(value, "type").get("type")
    if kind in HELP:
        raise Finished("Available display backend types:\nnone\n")
    if kind != "none":
        raise PropertyError(f"Parameter 'type' does not accept value '{kind}'", choices(str(kind), ("none",)))
    r.display = "none"


@option("vga", "type", "select video card type")
def vga(r: Request, value: str) -> None:
    if value != "none":
        raise PropertyError(f"unknown vga type: {value}", choices(value, ("none",)))


def _no_network(r: Request, value: str) -> None:
    if value != "none":
        raise PropertyError("there are no network backends yet", choices(value, ("none",)))


for _name in ("nic", "net", "netdev"):
    option(_name, "none", "no network card")(_no_network)


flag("nodefaults", "nodefaults", "don't create default devices")


@option("no-user-config", "", "do not load default user-provided config files at startup")
def no_user_config(r: Request) -> None:
    """No configuration files are read without -readconfig."""


flag("no-reboot", "no_reboot", "exit instead of rebooting")
flag("no-shutdown", "no_shutdown", "stop before shutdown")
kept("loadvm", "loadvm", "file", "start right away with a saved state")
flag("daemonize", "daemonize", "daemonize QEMU after initializing")
kept("pidfile", "pidfile", "file", "write PID to 'file'")


@option("d", "item1,...", "enable logging of specified items (use '-d help' for a list of log items)")
def log(r: Request, value: str) -> None:
    items = set(value.split(",")) if value else set()
    if items - LOG_ITEMS.keys() - {"all", "none"}:
        raise Finished(log_help(), 1)
    r.log_items |= set(LOG_ITEMS) if "all" in items else items - {"none"}


@option("D", "logfile", "output log to logfile (default stderr)")
def log_file(r: Request, value: str) -> None:
    r.log_file = value.replace("%d", str(os.getpid()))


@option("echr", "chr", "set terminal escape character instead of ctrl-a")
def echr(r: Request, value: str) -> None:
    try:
        r.echr = int(value, 0)
    except ValueError:
        raise PropertyError(f"invalid character '{value}'", "expected a number: 0x01 is ctrl-a, 0x02 ctrl-b and so on") from None


@option("msg", "[timestamp=on|off][,guest-name=on|off]", "control error message format")
def msg(r: Request, value: str) -> None:
    given = opts(value)
    only(given, ("timestamp", "guest-name"))
    for key, text in given.items():
        if text not in ("on", "off"):
            raise PropertyError(f"Parameter '{key}' expects 'on' or 'off'")
    r.timestamps, r.guest_name = given.get("timestamp") == "on", given.get("guest-name") == "on"


@option("readconfig", "file", "read config file")
def read_config(r: Request, value: str) -> None:
    try:
        with open(value, encoding="utf-8", errors="replace") as f:
            groups = readconfig(f.read(1 << 22))
    except OSError as e:
        raise PropertyError(f"Cannot read config file {value}: {e.strerror}") from None
    for group, id_, values in groups:
        if group not in GROUPS:
            raise PropertyError(f"there is no option group '{group}'", choices(group, GROUPS))
        GROUPS[group](r, {**values, **({"id": id_} if id_ else {})})


GROUPS: dict[str, Callable[[Request, dict[str, str]], object]] = {
    "device": lambda r, given: r.devices.append((spell(given), dict(given))),
    "drive": lambda r, given: r.drives.append(given),
    "chardev": lambda r, given: r.chardevs.append(given),
    "machine": lambda r, given: r.machine.update(given),
    "memory": lambda r, given: memory(r, given.get("size", "")),
    "smp-opts": lambda r, given: smp(r, spell(given)),
    "mon": lambda r, given: mon(r, spell(given)),
    "global": lambda r, given: r.globals_.append((given.get("driver", ""), given.get("property", ""), given.get("value", ""))),
    "name": lambda r, given: name_(r, spell(given)),
    "rtc": lambda r, given: rtc(r, spell(given)),
    "object": lambda r, given: r.objects.append(dict(given)),
}
for _group, _name in {"boot-opts": "boot"}.items() | {(n, n) for n in ("icount", "accel", "fw_cfg", "action", "msg")}:
    GROUPS[_group] = partial(lambda name, r, given: OPTIONS[name].function(r, spell(given)), _name)


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
    raise PropertyError(f'there is no {m[1]} "{m[2]}" defined', choices(m[2], [str(d["id"]) for d in table if "id" in d]))
