"""Run state, version, machines, CPUs, reset and power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tinamou.control import qmp
from tinamou.control.qmp import command
from tinamou.control.vm import CommandError, Vm
from tinamou.machine import board

RunState = Literal["debug", "inmigrate", "internal-error", "io-error", "paused", "postmigrate", "prelaunch", "finish-migrate",
                   "restore-vm", "running", "save-vm", "shutdown", "suspended", "watchdog", "guest-panicked", "colo",
                   "preconfig"]


@dataclass
class StatusInfo:
    status: RunState
    singlestep: bool
    running: bool


@command("query-status", since="0.14")
def query_status(vm: Vm) -> StatusInfo:
    """Whether the machine runs, and if not why."""
    return StatusInfo(vm.status, False, vm.running)  # type: ignore[arg-type]


@command("stop", since="0.14")
def stop(vm: Vm) -> None:
    """Stop all CPUs and virtual time. No effect on a machine that stands still."""
    vm.stop()


@command("cont", since="0.14")
def cont(vm: Vm) -> None:
    """Let the machine run on."""
    vm.start()


@command("quit", since="0.14")
def quit_(vm: Vm) -> None:
    """End the emulator."""
    vm.quit()


@command("system_reset", since="0.14")
def system_reset(vm: Vm) -> None:
    """Reset the machine."""
    vm.reset()


@command("system_powerdown", since="0.14")
def system_powerdown(vm: Vm) -> None:
    """Ask the guest to shut down."""
    vm.powerdown()


@dataclass
class VersionTriple:
    micro: int
    minor: int
    major: int


@dataclass
class VersionInfo:
    qemu: VersionTriple
    package: str


@command("query-version", since="0.14")
def query_version(vm: Vm) -> VersionInfo:
    """The version of the interface, and our own in `package`."""
    major, minor, micro = vm.version
    return VersionInfo(VersionTriple(micro, minor, major), vm.package)


@dataclass
class NameInfo:
    name: str | None = None


@command("query-name", since="0.14")
def query_name(vm: Vm) -> NameInfo:
    """The name given with -name."""
    return NameInfo(vm.name or None)


@dataclass
class UuidInfo:
    UUID: str


@command("query-uuid", since="0.14")
def query_uuid(vm: Vm) -> UuidInfo:
    """The machine's UUID."""
    return UuidInfo(str(vm.uuid))


@dataclass
class KvmInfo:
    enabled: bool
    present: bool


@command("query-kvm", since="0.14")
def query_kvm(vm: Vm) -> KvmInfo:
    """Whether KVM executes the guest."""
    return KvmInfo(vm.runner.name == "kvm", vm.runner.name == "kvm")


@dataclass
class CommandInfo:
    name: str


@command("query-commands", since="0.14")
def query_commands(vm: Vm) -> list[CommandInfo]:
    """Every command this monitor has."""
    return [CommandInfo(n) for n in sorted([*qmp.discover(), "qmp_capabilities"])]


@command("query-qmp-schema", since="2.5")
def query_qmp_schema(vm: Vm) -> list[Any]:
    """Commands, events and their types."""
    return qmp.describe()


@dataclass
class TargetInfo:
    arch: str


@command("query-target", since="1.2")
def query_target(vm: Vm) -> TargetInfo:
    """The guest's architecture."""
    return TargetInfo(vm.arch)


@dataclass
class MachineInfo:
    name: str
    alias: str | None
    is_default: bool | None
    cpu_max: int
    hotpluggable_cpus: bool
    numa_mem_supported: bool
    deprecated: bool
    default_cpu_type: str | None


@command("query-machines", since="1.2")
def query_machines(vm: Vm) -> list[MachineInfo]:
    """The boards that can be chosen."""
    own = vm.machine.board
    found = [MachineInfo("none", None, None, 1, False, False, False, None)]
    return found + [MachineInfo(b.name, b.alias or None, True if b.default else None, b.max_cpus, False, False, False,
                                f"{b.cpu}-{b.arch}-cpu" if b.cpu else None)
                    for b in board.discover(own.arch if own is not None else "").values()]  # fmt: skip


@dataclass
class CurrentMachine:
    wakeup_suspend_support: bool


@command("query-current-machine", since="4.0")
def query_current_machine(vm: Vm) -> CurrentMachine:
    """Whether this machine can be woken; none can sleep."""
    return CurrentMachine(False)


@dataclass
class CpuInfo:
    cpu_index: int
    qom_path: str
    thread_id: int
    props: dict[str, Any]
    target: str


@command("query-cpus-fast", since="2.12")
def query_cpus_fast(vm: Vm) -> list[CpuInfo]:
    """The CPUs, without interrupting them."""
    return [CpuInfo(c.index, f"/machine/soc0/harts[{c.index}]", getattr(c, "thread_id", 0), {"core-id": c.index}, vm.arch)
            for c in vm.machine.cpus]


@dataclass
class MemoryInfo:
    base_memory: int
    plugged_memory: int | None = None


@command("query-memory-size-summary", since="2.11")
def query_memory_size_summary(vm: Vm) -> MemoryInfo:
    """RAM in bytes."""
    return MemoryInfo(vm.machine.settings.ram_size)


@command("inject-nmi", since="0.14")
def inject_nmi(vm: Vm) -> None:
    """Send a non-maskable interrupt to the default CPU."""
    for cpu in vm.machine.cpus[:1]:
        nmi = getattr(cpu, "nmi", None)
        if nmi is not None:
            nmi()
            return
    raise CommandError("this feature or command is not currently supported")


@command("human-monitor-command", since="0.14")
def human_monitor_command(vm: Vm, command_line: str, cpu_index: int | None = None) -> str:
    """Run a command of the human monitor and return its output."""
    from tinamou.control.hmp import Human

    return Human(vm, cpu_index or 0).run(command_line).replace("\n", "\r\n")


@command("query-iothreads", since="2.0")
def query_iothreads(vm: Vm) -> list[Any]:
    """The I/O threads; there are none."""
    return []
