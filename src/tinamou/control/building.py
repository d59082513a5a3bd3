"""From a `Request` to a machine with its back ends and monitors."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any, TextIO

from tinamou import devices
from tinamou.backends.chardev import legacy
from tinamou.backends.chardev.base import Chardev
from tinamou.backends.chardev.base import make as make_chardev
from tinamou.backends.chardev.mux import MuxChardev
from tinamou.control.options import spell
from tinamou.control.request import Finished, OptionError, Request
from tinamou.control.texts import LOG_ITEMS, LOGGED
from tinamou.control.vm import CommandError, Vm
from tinamou.machine import board
from tinamou.machine.board import Board
from tinamou.machine.cpu import CpuFactory, Runner
from tinamou.machine.device import GLOBALS
from tinamou.machine.machine import Machine
from tinamou.machine.props import BOOL, PropertyError, choices

FILES = {"kernel": "kernel", "initrd": "initrd", "append": "append", "dtb": "dtb", "firmware": "bios"}  # of every machine -> Settings
SWITCHES = {"graphics", "usb", "dump-guest-core", "mem-merge"}  # of every machine; no machine has what they switch
SAME_DATE = "2020-08-11"                # of the RTC with -icount sleep=off


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
            self.at = "-chardev " + spell(given, "backend")
            self.add_chardev(dict(given))
        serials, monitors = self.consoles()
        s.serials = [self.port(where, f"serial{n}", "serial") for n, where in enumerate(serials)]
        self.at = ""
        self.open_drives()
        s.drives = self.drives
        options = {k: v for k, v in r.machine.items() if k not in ("type", "dumpdtb")}
        for key in SWITCHES & options.keys():
            BOOL.parse(key, options.pop(key))
        for key in FILES.keys() & options.keys():
            setattr(s, FILES[key], options.pop(key))
        s.ram_size = s.ram_size or chosen.ram
        s.nographic, s.uuid = r.nographic, uuid.UUID(r.uuid or bytes(16).hex()).bytes
        s.cpus = s.cpus or chosen.default_cpus
        if r.icount is not None and not r.icount["sleep"]:  # each run is the same: nothing comes in from the host that was not asked for
            s.rtc_base, s.rtc_clock = s.rtc_base or SAME_DATE, s.rtc_clock or "vm"
            s.seed = s.seed or 0
        self.check_globals()
        token = GLOBALS.set(r.globals_)
        try:
            machine = chosen.make(s, options, cpu_factory=cpu_factory)
        finally:
            GLOBALS.reset(token)
        vm = self.vm(machine, runner, arch)
        if "dumpdtb" in r.machine:
            self.dump_dtb(machine, r.machine["dumpdtb"])
        for text, given in r.devices:
            self.at = f"-device {text}"
            vm.plug(given)
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
        if name is None:
            found = next((b for b in board.discover(self.r.arch).values() if b.default), None)
            if found is None:
                raise PropertyError("No machine specified, and there is no default",
                                    "Use -machine help to list supported machines")
            return found
        if name == "none":
            return Board("none", "empty machine", lambda m: None, self.r.arch, ram=0)
        self.at = ""
        return board.find(name, self.r.arch)

    def open_log(self) -> None:
        silent = sorted(self.r.log_items - LOGGED) if self.r.log_items < set(LOG_ITEMS) else []
        if silent:
            self.r.warn(f"-d {','.join(silent)}: nothing is logged for that yet; what is: {', '.join(sorted(LOGGED))}")
        if self.r.log_file:
            try:
                self.log = open(self.r.log_file, "w", buffering=1, encoding="utf-8")
            except OSError as e:
                raise PropertyError(f"Error opening logfile {self.r.log_file}: {e.strerror}") from None

    def write_log(self, text: str) -> None:
        """A line of -d. When the disk is full that is told once, and the machine goes on."""
        try:
            print(text, file=self.log, flush=True)
        except (OSError, ValueError) as e:
            self.r.log_items.clear()
            if self.log is not sys.stderr:
                sys.stderr.write(f"{self.r.program}: {self.r.log_file}: {getattr(e, 'strerror', e)}: nothing more is logged\n")

    # --- character devices

    def add_chardev(self, given: dict[str, str]) -> Chardev:
        multiplexed = given.pop("mux", "off") == "on"
        id_ = given.get("id", "")
        if id_ in self.chardevs:
            raise PropertyError(f"Duplicate ID '{id_}' for chardev")
        try:
            made = make_chardev(given, self.loop)
        except OSError as e:
            raise PropertyError(f"Could not open '{e.filename or given.get('path', '')}': {e.strerror}") from None
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
                raise OptionError(f"chardev \"{named}\" not found", "", choices(named, self.chardevs))
            return self.chardevs[named]
        multiplexed = where.startswith("mon:")
        try:
            options = legacy.options(where[4:] if multiplexed else where, id_)
            if multiplexed:
                options["mux"] = "on"
                if options["backend"] == "stdio":
                    options["signal"] = "off"  # ctrl-c is a key for the guest: ctrl-a x ends
            return self.add_chardev(options)
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
            self.at = "-drive " + spell(given)
            self.drives.append(open_drive(given, self.drives, snapshot=self.r.snapshot, graph=self.graph))
        self.at = ""

    def secret(self, item: dict[str, Any]) -> None:
        from tinamou.block.errors import BlockError
        from tinamou.block.graph import Graph

        self.graph = self.graph or Graph()
        try:
            self.graph.add_object(item)
        except BlockError as e:
            raise PropertyError(e.message, "\n".join(e.hints)) from None

    def check_globals(self) -> None:
        """Warn of -global for what does not exist."""
        known = devices.discover() if self.r.globals_ else {}
        for driver, name, _ in self.r.globals_:
            if driver not in known:
                self.r.warn(f"global {driver}.{name} has invalid class name\n{choices(driver, known)}".rstrip())

    def vm(self, machine: Machine, runner: Runner | None, arch: str) -> Vm:
        r = self.r
        machine.log.items, machine.log.ranges = r.log_items, r.log_ranges
        machine.log.sink = self.write_log
        self.loop.lock, self.loop.virtual = machine.lock, machine.time
        machine.time.changed = self.loop.wake
        vm = Vm(machine, runner, self.loop, name=r.name, arch=arch, no_reboot=r.no_reboot, no_shutdown=r.no_shutdown)
        vm.chardevs = self.chardevs
        vm.drives = {d.id: d for d in self.drives}
        vm.nodes, vm.objects, vm.globals = self.nodes, self.objects, r.globals_
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
        for given, d in zip(r.drives, self.drives, strict=True):
            if d.interface not in ("none", "virtio") and d.id not in machine.drives_used:
                self.at = "-drive " + spell(given)
                self.not_taken(machine, d)
        return vm

    def not_taken(self, machine: Machine, drive: Any) -> None:
        from tinamou.backends.drive import PER_BUS

        per_bus = PER_BUS.get(drive.interface, 0)
        bus, unit = divmod(drive.index, per_bus) if per_bus else (0, drive.index)
        raise PropertyError(f"machine type does not support if={drive.interface},bus={bus},unit={unit}",
                            "Use if=virtio, or if=none and -device ...,drive=ID" if machine.buses() else "")  # fmt: skip

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
