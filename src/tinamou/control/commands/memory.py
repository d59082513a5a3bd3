"""Saving guest memory to files."""

from __future__ import annotations

import os

from tinamou.control.qmp import command
from tinamou.control.vm import CommandError, Vm
from tinamou.machine.memory import BusError

PAGE = 4096
LIMIT = 1 << 40


def save(vm: Vm, address: int, size: int, filename: str, cpu: object | None) -> None:
    """Write guest memory to a file, page by page; `cpu` translates virtual addresses."""
    if size < 0 or size > LIMIT:
        raise CommandError("Invalid parameter 'size'")
    try:
        f = open(filename, "wb")
    except OSError as e:
        raise CommandError(f"Could not open '{filename}': {os.strerror(e.errno or 0)}") from None
    with f:
        while size > 0:
            n = min(size, PAGE - address % PAGE)
            physical = address if cpu is None else cpu.translate(address)  # type: ignore[attr-defined]
            try:
                if physical is None:
                    raise BusError(address, n, False)
                f.write(vm.machine.memory.load(physical, n))
            except BusError:
                raise CommandError(f"Invalid addr 0x{address:016x}/size {size} specified") from None
            except OSError as e:
                raise CommandError(f"An IO error has occurred: {os.strerror(e.errno or 0)}") from None
            address += n
            size -= n


@command("pmemsave", since="0.14")
def pmemsave(vm: Vm, val: int, size: int, filename: str) -> None:
    """Save `size` bytes of physical memory from `val` on."""
    save(vm, val, size, filename, None)


@command("memsave", since="0.14")
def memsave(vm: Vm, val: int, size: int, filename: str, cpu_index: int | None = None) -> None:
    """Save `size` bytes of virtual memory from `val` on, as a CPU sees it."""
    n = cpu_index or 0
    if not 0 <= n < len(vm.machine.cpus):
        raise CommandError("Parameter 'cpu-index' expects a CPU number")
    save(vm, val, size, filename, vm.machine.cpus[n])
