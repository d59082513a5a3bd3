"""Options of the original for parts that no machine here has yet, and those that only fit in with such parts.

What would change nothing is checked and taken; what would is refused by name, with what to use instead: nothing is dropped silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tinamou.control.options import opts, wants_help
from tinamou.control.request import Finished, OptionError, Request, option
from tinamou.machine.props import PropertyError, choices

BOOT_ORDER = "abcdefghijklmnop"  # letters of -boot order=: floppies, disks, CD-ROM, networks
BOOT_NUMBERS = {"splash-time": (0, 0xFFFF), "reboot-timeout": (-1, 0xFFFF)}
BOOT_SWITCHES = ("menu", "strict")
ACTIONS = {
    "reboot": ("reset", "shutdown"), "shutdown": ("poweroff", "pause"), "panic": ("pause", "shutdown", "exit-failure", "none"),
    "watchdog": ("reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"),
}  # fmt: skip


@option("boot", "[order=drives][,once=drives][,menu=on|off][,splash-time=ms][,reboot-timeout=ms][,strict=on|off]",
        "what firmware reads from fw_cfg (drives: floppy (a), hard disk (c), CD-ROM (d), network (n))")  # fmt: skip
def boot(r: Request, value: str) -> None:
    given = opts(value, "order")
    known = ("order", "once", "splash", *BOOT_SWITCHES, *BOOT_NUMBERS)
    for key, text in given.items():
        if key not in known:
            raise OptionError(f"Parameter 'boot.{key}' is unexpected", "", choices(key, known))
        if key in BOOT_SWITCHES and text not in ("on", "off"):
            raise OptionError(f"Parameter 'boot.{key}' expects 'on' or 'off'")
        if key in BOOT_NUMBERS:
            low, high = BOOT_NUMBERS[key]
            if not re.fullmatch(r"-?\d{1,9}", text):
                raise OptionError(f"Parameter 'boot.{key}' expects an integer")
            if not low <= int(text) <= high:
                name = key.replace("reboot-", "reboot ")
                raise OptionError(f"{name} is invalid,it should be a value between {low} and {high}")
    for key in ("order", "once"):
        for letter in given.get(key, ""):
            if letter not in BOOT_ORDER:
                raise OptionError(f"Invalid boot device '{letter}'", "", "It is one of a, c, d and n")
            if given[key].count(letter) > 1:
                raise OptionError(f"Boot device '{letter}' was given twice")
    if "once" in given:
        raise OptionError("no function defined to set boot device list for this architecture", "", "The firmware chooses; use -boot order=")
    if "splash" in given:
        raise PropertyError("no machine shows a picture yet", "-boot menu=on,splash-time=ms works")
    r.settings.boot.update(given)


@option("action", "[reboot=reset|shutdown][,shutdown=poweroff|pause][,panic=...][,watchdog=...]",
        "what happens when the guest reboots or shuts down (no machine has a panic or watchdog device yet)")  # fmt: skip
def action(r: Request, value: str) -> None:
    given = opts(value)
    for key, text in given.items():
        if key not in ACTIONS:
            raise PropertyError(f"Invalid parameter '{key}'", choices(key, ACTIONS))
        if text not in ACTIONS[key]:
            raise PropertyError(f"Parameter '{key}' does not accept value '{text}'", choices(text, ACTIONS[key]))
    if "reboot" in given:
        r.no_reboot = given["reboot"] == "shutdown"
    if "shutdown" in given:
        r.no_shutdown = given["shutdown"] == "pause"


@option("watchdog-action", "reset|shutdown|poweroff|inject-nmi|pause|debug|none", "as -action watchdog=")
def watchdog_action(r: Request, value: str) -> None:
    action(r, f"watchdog={value}")


@option("dfilter", "range,...", "log only code in these ranges of addresses (-d in_asm): first..last, first+size, last-size")
def dfilter(r: Request, value: str) -> None:
    for item in value.split(","):
        found = re.fullmatch(r"(0[xX][0-9a-fA-F]{1,16}|\d{1,20})(\.\.|\+|-)(0[xX][0-9a-fA-F]{1,16}|\d{1,20})", item)
        if not found:
            raise PropertyError("Bad range specifier", "Ranges are 0x1000..0x1fff, 0x1000+0x1000 and 0x1fff-0x1000")
        one, other = int(found[1], 0), int(found[3], 0)
        first, last = {"..": (one, other), "+": (one, one + other - 1), "-": (one - other + 1, one)}[found[2]]
        if not 0 <= first <= last < 1 << 64:
            raise PropertyError("Invalid range")
        r.log_ranges.append((first, last))


@option("enable-kvm", "", "enable KVM full virtualization support")
def enable_kvm(r: Request) -> None:
    raise OptionError("invalid accelerator kvm", "", "The host's CPU is of another architecture: -accel tcg")


@option("usb", "", "as -machine usb=on (no machine has a USB controller yet)")
def usb(r: Request) -> None:
    r.machine["usb"] = "on"


@option("usbdevice", "name", "add a USB device (no machine has a USB controller yet)")
def usb_device(r: Request, value: str) -> None:
    raise PropertyError(f"Error: no usb bus to attach usbdevice {value}, please try -machine usb=on and check that the machine model "
                        "supports USB", "No machine has one yet; -device help lists other devices")  # fmt: skip


# --- taken when they ask for what is the case anyway


def given_anyway(name: str, argument: str, help: str, accepted: Callable[[str], bool], instead: str) -> None:
    """Register `-NAME ARGUMENT`, of which some values change nothing; the others are refused."""

    def take(r: Request, value: str) -> None:
        if not accepted(value):
            raise PropertyError("not supported yet", instead)

    option(name, argument, help)(take)


def one_of(*patterns: str) -> Callable[[str], bool]:
    return lambda value: any(re.fullmatch(p, value) for p in patterns)


@option("k", "language", "use keyboard layout (no display uses one yet)")
def keyboard(r: Request, value: str) -> None:
    """Layouts are for displays."""


CONSOLES = "Use -nographic, or -display none with -serial: stdio, or telnet::4444,server=on,wait=off"
given_anyway("vnc", "none", "no VNC server yet", one_of("none"), CONSOLES)
given_anyway("sandbox", "off", "no system call filter yet", one_of("off"), "Use -sandbox off")
given_anyway("overcommit", "[mem-lock=off][,cpu-pm=on|off]", "hints for the host", one_of(r"(mem-lock=off|cpu-pm=(on|off)|,)+"),
             "Use mem-lock=off")  # fmt: skip
given_anyway("compat", "[deprecated-input=accept][,deprecated-output=accept]", "nothing is deprecated here",
             one_of(r"((deprecated|unstable)-(input|output)=accept|,)+"), "Use accept")  # fmt: skip
given_anyway("rotate", "deg", "no display yet", one_of(r"0|90|180|270"), "It is 0, 90, 180 or 270")
for _name, _help in (
    ("only-migratable", "only devices that snapshots keep: all of them"),
    ("async-teardown", "memory is given back as the host likes"),
    ("mem-prealloc", "guest memory is allocated when it is touched"),
    ("portrait", "no display yet"),
    ("full-screen", "no display yet"),
):
    option(_name, "", _help)(lambda r: None)


# --- refused


def absent(names: str, argument: str, what: str, instead: str = "") -> None:
    """Register options that exist in the original only; `-NAME help` is no exception."""

    def refuse(r: Request, value: str = "") -> None:
        if value and wants_help(opts(value, "type")):
            raise Finished(f"{what}: not supported yet\n")
        raise OptionError(f"not supported yet: {what}", f"-{names.split('|')[0]} {value}".rstrip(), instead)

    option(names, argument, "not supported yet" + (f": {instead[:1].lower()}{instead[1:]}" if instead else ""))(refuse)


absent("watchdog", "model", "watchdog devices")
absent("audio", "[driver=]driver[,model=value]", "sound")
absent("audiodev", "[driver=]driver,id=id", "sound")
absent("audio-help", "", "sound")
absent("soundhw", "c1,...", "sound")
absent("spice", "args", "SPICE", CONSOLES)
absent("curses", "", "displays", CONSOLES)
absent("sdl", "", "displays", CONSOLES)
absent("numa", "node[,memdev=id][,cpus=first[-last]]", "NUMA nodes", "Use -m and -smp alone")
absent("mem-path", "path", "guest memory in a file", "Use -m alone")
absent("add-fd", "fd=fd,set=set", "sets of file descriptors", "Name the file by /dev/fd/N, or by its path")
absent("fsdev", "fsdriver,id=id", "shared folders", "Use a disk: -drive file=...,if=virtio")
absent("virtfs", "fsdriver,mount_tag=tag", "shared folders", "Use a disk: -drive file=...,if=virtio")
absent("iscsi", "args", "iSCSI", "Use a disk in a file: -drive file=...")
absent("tpmdev", "type,id=id", "TPM devices")
absent("debugcon", "dev", "the ISA debug console", "Use -serial dev")
absent("singlestep", "", "translation by single instructions", "-d in_asm tells each instruction once; -gdb steps")
absent("preconfig", "", "a pause before the machine is made", "Use -S: a pause before it runs")
absent("incoming", "uri", "migration from another process", "Use -loadvm with a snapshot of savevm")
absent("option-rom", "file", "option ROMs", "Use -bios, or -device loader")
absent("chroot", "dir", "a root directory of its own", "Start it in one: chroot DIR tinamou-system-...")
absent("runas", "user", "another user", "Start it as one: setpriv, su, sudo -u")
absent("semihosting", "", "semihosting", "Use the serial port, and the board's exit device")
absent("semihosting-config", "[enable=on|off][,target=native|gdb|auto]", "semihosting", "Use the serial port, and the board's exit device")
absent("trace", "[enable=]pattern", "trace events", "Use -d: -d help lists what can be logged")
absent("plugin", "file", "plug-ins in C", "Hooks of the Python API see instructions, memory and devices: docs/how-to/use-from-python.md")
absent("dump-vmstate", "file", "the description of snapshots")
absent("enable-sync-profile", "", "profiles of locks")
absent("writeconfig", "file", "writing a configuration file", "-readconfig reads one")
absent("acpitable", "[sig=str]", "ACPI tables")
absent("smbios", "file=binary|type=n", "SMBIOS tables")
absent("tb-size", "n", "a limit for compiled code", "TINAMOU_CACHE says where it is kept")
