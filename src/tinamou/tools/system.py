"""tinamou-system-ARCH: run a whole machine, with the command line of the original's system emulators."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tinamou import __version__
from tinamou.control.options import opts, wants_help
from tinamou.machine.props import PropertyError, nearest, parse_size

MiB = 1 << 20


@dataclass(frozen=True)
class Option:
    """An option of the command line. `argument` names its value in help; empty: it has none."""

    name: str
    argument: str
    help: str


OPTIONS = {
    o.name: o
    for o in (
        Option("h", "", "display this help and exit"),
        Option("help", "", "display this help and exit"),
        Option("version", "", "display version information and exit"),
        Option("M", "[type=]name[,prop=value...]", "select a machine; 'help' lists them"),
        Option("machine", "[type=]name[,prop=value...]", "the same"),
        Option("accel", "[accel=]name", "what executes the CPUs: tcg"),
        Option("cpu", "model[,prop=value...]", "select a CPU; 'help' lists them"),
        Option("smp", "[cpus=]n[,maxcpus=n][,cores=n][,threads=n][,sockets=n]", "number of CPUs"),
        Option("m", "[size=]megs", "size of RAM, in MiB or with a suffix"),
        Option("bios", "file", "firmware; 'none' for no firmware"),
        Option("kernel", "file", "start this kernel"),
        Option("initrd", "file", "initial ramdisk of the kernel"),
        Option("append", "text", "command line of the kernel"),
        Option("dtb", "file", "device tree in place of the machine's own"),
        Option("L", "folder", "where to look for firmware"),
        Option("device", "driver[,prop=value...]", "add a device; 'help' lists them"),
        Option("drive", "[file=]file[,if=type][,format=name]...", "add a drive"),
        Option("pflash", "file", "image of a flash chip"),
        Option("snapshot", "", "write to temporary files instead of images"),
        Option("global", "driver.prop=value", "set a default of a device's property"),
        Option("chardev", "backend,id=id[,prop=value...]", "add a character device"),
        Option("serial", "device", "connect a serial port: stdio, mon:stdio, file:PATH, pty, tcp:..., unix:..., null, none"),
        Option("monitor", "device", "connect the human monitor"),
        Option("qmp", "device", "connect a QMP monitor"),
        Option("qmp-pretty", "device", "the same, with line breaks"),
        Option("parallel", "device", "connect a parallel port"),
        Option("nographic", "", "no display; serial port and monitor on the terminal"),
        Option("display", "type", "none: no display"),
        Option("vga", "type", "graphics card: none"),
        Option("net", "type", "network: none"),
        Option("nic", "type", "network: none"),
        Option("echr", "number", "the escape key of multiplexed character devices, 1 for Ctrl-A"),
        Option("no-reboot", "", "exit instead of rebooting"),
        Option("no-shutdown", "", "stop instead of exiting when the guest shuts down"),
        Option("S", "", "do not start the CPUs"),
        Option("d", "item[,item...]", "log these: guest_errors, unimp"),
        Option("D", "file", "where the log goes"),
        Option("name", "text", "name of the guest"),
        Option("uuid", "uuid", "identity of the guest"),
        Option("rtc", "[base=utc|localtime|date][,clock=host|rt|vm]", "the real-time clock"),
        Option("seed", "number", "seed of random numbers that the guest is given"),
        Option("fw_cfg", "[name=]name,file=file|string=text", "add a file to the firmware's configuration"),
        Option("pidfile", "file", "write the process number there"),
        Option("nodefaults", "", "no default devices"),
        Option("no-user-config", "", "read no configuration files"),
    )
}
KEYS = """
During emulation, the following keys are useful:
ctrl-a h    print this help
ctrl-a x    exit emulator
ctrl-a b    send break
ctrl-a c    switch between console and monitor
ctrl-a t    toggle timestamps
"""
LOG_ITEMS = {"guest_errors": "log when the guest OS does something invalid", "unimp": "log unimplemented functionality"}


@dataclass
class Words:
    """The command line, read."""

    one: dict[str, str] = field(default_factory=dict)  # options of which the last one counts
    many: dict[str, list[str]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


class Refused(Exception):
    """The command line is wrong: text for the user, lines below it without the program's name."""


class Finished(Exception):
    """Help was asked for and given."""


MANY = ("device", "drive", "global", "chardev", "serial", "monitor", "qmp", "qmp-pretty", "fw_cfg", "L", "pflash")


def read(arguments: list[str]) -> Words:
    """Options with one dash or two. Raises Refused."""
    words = Words()
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-") or word == "-":
            raise Refused(f"{word}: disk images are given by -drive")
        name = word[2:] if word.startswith("--") else word[1:]
        option = OPTIONS.get(name)
        if option is None:
            raise Refused(f"{word}: invalid option{nearest(name, OPTIONS)}")
        if name == "machine":
            name = "M"
        if not option.argument:
            words.flags.add(name)
            continue
        value = next(rest, None)
        if value is None:
            raise Refused(f"{word}: requires an argument")
        if name in MANY:
            words.many.setdefault(name, []).append(value)
        elif name == "M" and name in words.one and "=" not in value.partition(",")[0]:
            words.one[name] = f"{value},{words.one[name].partition(',')[2]}".rstrip(",")
        elif name == "M" and name in words.one:
            words.one[name] += "," + value
        else:
            words.one[name] = value
    return words


def usage(prog: str) -> str:
    rows = []
    for o in OPTIONS.values():
        left = f"-{o.name} {o.argument}".rstrip()
        rows.append(f"{left:<15} {o.help}" if len(left) < 16 else f"{left}\n{'':<15} {o.help}")
    return f"{version()}usage: {prog} [options]\n\n" + "\n".join(rows) + "\n" + KEYS


def version() -> str:
    return f"QEMU emulator version 5.1.0 (Tinamou {__version__})\nCopyright (c) 2026 the Tinamou authors\n"


def machine_help(arch: str) -> str:
    from tinamou.machine.board import discover

    rows = [f"{b.name:<20} {b.desc}{' (default)' if b.default else ''}" for b in discover(family(arch)).values()]
    return "Supported machines are:\n" + "\n".join([*rows, f"{'none':<20} empty machine"]) + "\n"


def family(arch: str) -> str:
    """The folder of boards and instructions of an architecture."""
    return "riscv"


def cpus_of(smp: str) -> int:
    """-smp: `n` or `cpus=n`, or the product of sockets, cores and threads."""
    values = opts(smp, "cpus")
    numbers = {}
    for key, text in values.items():
        if key not in ("cpus", "maxcpus", "sockets", "dies", "cores", "threads"):
            raise PropertyError(f"Invalid parameter '{key}'")
        if not text.isdigit():
            raise PropertyError(f"Parameter '{key}' expects a number")
        numbers[key] = int(text)
    product = 1
    for key in ("sockets", "dies", "cores", "threads"):
        product *= numbers.get(key, 1)
    count = numbers.get("cpus", product)
    if count < 1:
        raise PropertyError("Invalid SMP CPUs 0. The min CPUs supported by machine is 1")
    if numbers.get("maxcpus", count) < count:
        raise PropertyError("maxcpus must be equal to or greater than smp")
    return count


def ram_of(text: str) -> int:
    """-m: bytes."""
    size = opts(text, "size").get("size", "")
    n = parse_size(size, MiB)
    if not n:
        hint = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
        raise PropertyError("Parameter 'size' expects a non-negative number below 2^64", hint)
    return n


class System:
    """One run of the emulator: everything that the command line asks for, put together."""

    def __init__(self, prog: str, arch: str, words: Words) -> None:
        self.prog, self.arch, self.words = prog, arch, words
        self.consoles: dict[str, Any] = {}
        self.monitors: list[tuple[Any, Any]] = []
        self.vm: Any = None
        self.engine: Any = None
        self.escape = 1

    # -- command line to machine

    def build(self) -> None:
        """Make the machine. Raises PropertyError, Refused, OSError."""
        from tinamou.backends.loop import Loop
        from tinamou.control.vm import Vm
        from tinamou.engine.system import SystemEngine
        from tinamou.isa.riscv.system import RV32_SYSTEM, RV64_SYSTEM
        from tinamou.isa.riscv.vcpu import RiscvCpu
        from tinamou.machine.board import BOARDS, discover, find
        from tinamou.machine.clock import VirtualTime
        from tinamou.machine.machine import Settings

        one = self.words.one
        self.unsupported()
        machine = opts(one.get("M", ""), "type")
        known = discover(family(self.arch))
        name = machine.pop("type", None) or next((b.name for b in known.values() if b.default), None)
        if name is None:
            raise Refused("No machine specified, and there is no default\nUse -machine help to list supported machines")
        board = find(name, family(self.arch))
        assert board.name in BOARDS
        accel = machine.pop("accel", one.get("accel", "tcg")).split(",")[0].removeprefix("accel=").split(":")
        if "tcg" not in accel:
            raise Refused(f"-accel {accel[0]}: invalid accelerator {accel[0]}")
        time = VirtualTime()
        time.follow_host()
        self.loop = Loop(None, time)
        settings = Settings(
            ram_size=ram_of(one["m"]) if "m" in one else board.ram,
            cpus=cpus_of(one["smp"]) if "smp" in one else board.default_cpus,
            bios=one.get("bios", machine.pop("firmware", None)),
            kernel=one.get("kernel", machine.pop("kernel", None)),
            initrd=one.get("initrd", machine.pop("initrd", None)),
            append=one.get("append", machine.pop("append", None)),
            dtb=one.get("dtb", machine.pop("dtb", None)),
            data_dirs=self.words.many.get("L", []),
        )
        self.dump = machine.pop("dumpdtb", None)
        for ignored in ("usb", "graphics", "dump-guest-core", "mem-merge"):
            machine.pop(ignored, None)
        if "cpu" in one:
            model, *rest = one["cpu"].split(",")
            settings.cpu, settings.cpu_properties = model, cpu_properties(rest)
        self.small_settings(settings)
        self.open_consoles(settings)
        drives = self.open_drives()
        settings.drives = drives
        self.engine = SystemEngine(RV32_SYSTEM if self.arch == "riscv32" else RV64_SYSTEM, RiscvCpu)
        m = board.make(settings, machine, cpu_factory=self.engine.factory, time=time, log=self.log())
        self.loop.lock = m.lock
        flags = self.words.flags
        self.vm = Vm(m, self.engine, self.loop, name=opts(one.get("name", ""), "guest").get("guest", ""), arch=self.arch,
                     no_reboot="no-reboot" in flags, no_shutdown="no-shutdown" in flags)  # fmt: skip
        self.vm.drives |= {d.id: d for d in drives}
        self.vm.chardevs |= self.consoles
        self.connect()
        self.plug(drives)

    def unsupported(self) -> None:
        """Options of which only the value for nothing exists."""
        for name in ("display", "vga", "net", "nic", "parallel"):
            value = self.words.one.get(name, "none")
            if value.split(",")[0] not in ("none", "null"):
                raise Refused(f"-{name} {value}: only 'none' is there")

    def small_settings(self, settings: Any) -> None:
        one = self.words.one
        if "rtc" in one:
            values = opts(one["rtc"], "base")
            settings.rtc_base, settings.rtc_clock = values.get("base", "utc"), values.get("clock", "host")
        if "seed" in one:
            settings.seed = number("seed", one["seed"])
        if "echr" in one:
            self.escape = number("echr", one["echr"]) & 0xFF
        for text in self.words.many.get("fw_cfg", []):
            values = opts(text, "name")
            if "string" in values:
                data = values["string"].encode()
            else:
                with open(values.get("file", ""), "rb") as stream:
                    data = stream.read()
            settings.fw_cfg.append((values.get("name", ""), data))

    def log(self) -> Any:
        from tinamou.machine.log import Log

        if "d" not in self.words.one:
            return Log()
        items = set(self.words.one["d"].split(","))
        if items - set(LOG_ITEMS):
            rows = "".join(f"{k:<15} {v}\n" for k, v in LOG_ITEMS.items())
            print(f"Log items (comma separated):\n{rows}", end="")
            raise SystemExit(1)
        if "D" not in self.words.one:
            return Log(items)
        try:
            stream = open(self.words.one["D"].replace("%d", str(os.getpid())), "w", encoding="utf-8", buffering=1)
        except OSError as e:
            raise Refused(f"Error opening logfile {self.words.one['D']}: {e.strerror}") from None
        return Log(items, lambda line: print(line, file=stream))

    # -- character devices

    def console(self, option: str, text: str, id_: str) -> Any:
        """The character device of a -serial, -monitor or -qmp."""
        from tinamou.backends.chardev import base, legacy
        from tinamou.backends.chardev.mux import MuxChardev

        if text.startswith("chardev:"):
            found = self.consoles.get(text[8:])
            if found is None:
                raise Refused(f"-{option} {text}: chardev '{text[8:]}' not found")
            return found
        shared = text.startswith("mon:")
        try:
            made = base.make(legacy.options(text.removeprefix("mon:"), id_), self.loop)
        except OSError as e:
            raise Refused(f"-{option} {text}: {e.strerror}: {e.filename or ''}".rstrip(": ")) from None
        except PropertyError as e:
            raise Refused(f"-{option} {text}: {e}" + (f"\n{e.hint}" if e.hint else "")) from None
        if shared:
            made = MuxChardev(id=id_, loop=self.loop, inner=made, escape=self.escape, quit=self.quit)
            self.monitors.append(("hmp", made))
        self.consoles[id_] = made
        return made

    def open_consoles(self, settings: Any) -> None:
        from tinamou.backends.chardev import base
        from tinamou.backends.chardev.mux import MuxChardev

        many = self.words.many
        for text in many.get("chardev", []):
            values = opts(text, "backend")
            try:
                made = base.make(values, self.loop)
                if values.get("mux") == "on":
                    made = MuxChardev(id=made.id, loop=self.loop, inner=made, escape=self.escape, quit=self.quit)
            except OSError as e:
                raise Refused(f"-chardev {text}: {e.strerror}: {e.filename or ''}".rstrip(": ")) from None
            except PropertyError as e:
                raise Refused(f"-chardev {text}: {e}" + (f"\n{e.hint}" if e.hint else "")) from None
            if made.id in self.consoles:
                raise Refused(f"-chardev {text}: Chardev with id '{made.id}' already exists")
            self.consoles[made.id] = made
        serials = many.get("serial")
        if serials is None:
            serials = ["mon:stdio" if not many.get("monitor") else "stdio"] if "nographic" in self.words.flags else []
        for n, text in enumerate(serials):
            settings.serials.append(None if text == "none" else self.console("serial", text, f"serial{n}"))
        for n, text in enumerate(many.get("monitor", [])):
            if text != "none":
                self.monitors.append(("hmp", self.console("monitor", text, f"compat_monitor{n}")))
        for option in ("qmp", "qmp-pretty"):
            for n, text in enumerate(many.get(option, [])):
                self.monitors.append((option, self.console(option, text, f"compat_{option}{n}")))

    def connect(self) -> None:
        """Put monitors on their character devices."""
        from tinamou.backends.chardev.mux import MuxChardev
        from tinamou.control.hmp import HumanSession
        from tinamou.control.qmp import Session

        for kind, device in self.monitors:
            if kind != "hmp":
                device.attach(Session(self.vm, device.write, pretty=kind == "qmp-pretty"))
                continue
            session = HumanSession(self.vm, device.write)
            focus = device.focus if isinstance(device, MuxChardev) and device.fronts else None
            session._focus = focus is None
            device.attach(session)
            if focus is not None:
                device.focus = focus

    # -- drives and devices

    def open_drives(self) -> list[Any]:
        texts = [*self.words.many.get("drive", []), *(f"if=pflash,file={f.replace(',', ',,')}" for f in self.words.many.get("pflash", []))]
        if not texts:
            return []
        from tinamou.backends.drive import open_drive

        drives: list[Any] = []
        for text in texts:
            try:
                drives.append(open_drive(opts(text, "file"), drives, snapshot="snapshot" in self.words.flags))
            except PropertyError as e:
                raise Refused(f"-drive {text}: {e}" + (f"\n{e.hint}" if e.hint else "")) from None
        return drives

    def plug(self, drives: list[Any]) -> None:
        from tinamou.control.vm import CommandError

        types = {b.type for b in self.vm.machine.buses()}
        for d in drives:
            if d.interface == "virtio":
                driver = "virtio-blk-pci" if "PCI" in types else "virtio-blk-device"
                self.vm.plug({"driver": driver, "drive": d.id})
        for text in self.words.many.get("device", []):
            try:
                self.vm.plug(opts(text, "driver"))
            except (PropertyError, CommandError) as e:
                hint = getattr(e, "hint", "")
                raise Refused(f"-device {text}: {e}" + (f"\n{hint}" if hint else "")) from None

    # -- running

    def quit(self) -> None:
        """Ctrl-A x."""
        if self.vm is not None:
            self.vm.quit("host-qmp-quit")

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        def end() -> None:
            print(f"{self.prog}: terminating on signal {number}", file=sys.stderr)
            self.vm.quit("host-signal")

        self.loop.soon(end)

    def run(self) -> int:
        """Until somebody ends it: the exit status."""
        pidfile = self.words.one.get("pidfile")
        if pidfile:
            try:
                with open(pidfile, "w", encoding="ascii") as stream:
                    stream.write(f"{os.getpid()}\n")
            except OSError as e:
                raise Refused(f"cannot create PID file: Cannot open pid file: {e.strerror}") from None
        for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number_, self.on_signal)
        try:
            if "S" not in self.words.flags:
                self.vm.start()
            self.loop.run()
        finally:
            if pidfile:
                os.unlink(pidfile)
        return int(self.vm.exit_code)

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
        for c in self.consoles.values():
            c.close()
        for d in self.vm.drives.values() if self.vm else ():
            d.close()


def cpu_properties(parts: list[str]) -> dict[str, Any]:
    """`mmu=off,+x,-x`: what follows the model in -cpu."""
    out: dict[str, Any] = {}
    for p in parts:
        key, sign, value = p.partition("=")
        if not sign and key[:1] in "+-":
            key, value = key[1:], "on" if key[0] == "+" else "off"
        elif not sign:
            raise PropertyError(f"Expected key=value format, found {p}.")
        out[key] = value
    return out


def number(name: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise PropertyError(f"Parameter '{name}' expects a number") from None


def help_texts(prog: str, arch: str, words: Words) -> str | None:
    """What a help option asks for."""
    if words.flags & {"h", "help"}:
        return usage(prog)
    if "version" in words.flags:
        return version()
    machine = opts(words.one.get("M", ""), "type")
    if machine.get("type") in ("help", "?"):
        return machine_help(arch)
    if wants_help(machine):
        from tinamou.machine.board import find

        board = find(machine.get("type", ""), family(arch))
        return board.properties.help()
    if words.one.get("cpu") in ("help", "?"):
        from tinamou.isa.riscv.models import MODELS

        return "".join(f"{name}\n" for width, name in sorted(MODELS) if width == (32 if arch == "riscv32" else 64) and name != "max")
    if words.one.get("accel") in ("help", "?"):
        return "Accelerators supported in QEMU binary:\ntcg\n"
    for text in words.many.get("device", []):
        values = opts(text, "driver")
        if values.get("driver") in ("help", "?"):
            from tinamou.control.plugging import help_text

            return help_text() + "\n"
        if wants_help(values):
            from tinamou.control.plugging import device_class

            cls = device_class(values["driver"])
            return f"{values['driver']} options:\n" + cls.properties.help()
    return None


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    prog = os.path.basename(sys.argv[0])
    arch = prog.rpartition("system-")[2] if "system-" in prog else ""
    given = sys.argv[1:] if arguments is None else arguments
    if not arch and given and not given[0].startswith("-"):
        arch, given = given[0], given[1:]
    if arch not in ("riscv32", "riscv64"):
        print(f"{prog}: architecture '{arch}' is not one of riscv32, riscv64", file=sys.stderr)
        return 1
    return start(prog, arch, given, System)


def start(prog: str, arch: str, given: list[str], make: Callable[[str, str, Words], System]) -> int:
    system: System | None = None
    try:
        words = read(given)
        text = help_texts(prog, arch, words)
        if text is not None:
            print(text, end="")
            return 0
        system = make(prog, arch, words)
        system.build()
        if system.dump is not None:
            with open(system.dump, "wb") as stream:
                stream.write(system.vm.machine.fdt.pack())
            return 0
        return system.run()
    except Refused as e:
        print(f"{prog}: {e}", file=sys.stderr)
    except PropertyError as e:
        print(f"{prog}: {e}" + (f"\n{e.hint}" if e.hint else ""), file=sys.stderr)
    except (OSError, MemoryError) as e:
        print(f"{prog}: {e}", file=sys.stderr)
    finally:
        if system is not None:
            system.close()
    return 1


if __name__ == "__main__":
    sys.exit(main())
