"""What options print that only print: version, help, lists of machines and CPU models."""

from __future__ import annotations

import importlib

from tinamou.control.request import OPTIONS, Request
from tinamou.control.vm import COMPATIBLE
from tinamou.machine import board

LOG_ITEMS = {
    "in_asm": "show target assembly code for each compiled TB", "int": "show interrupts/exceptions in short format",
    "exec": "show trace before each executed TB (lots of logs)", "cpu": "show CPU registers before entering a TB (lots of logs)",
    "mmu": "log MMU-related activities", "cpu_reset": "show CPU state before CPU resets",
    "unimp": "log unimplemented functionality", "guest_errors": "log when the guest OS does something invalid (eg accessing a\n"
    "                non-existent register)", "page": "dump pages at beginning of user mode emulation",
    "nochain": "do not chain compiled TBs so that \"exec\" and \"cpu\" show\n                complete traces",
    "plugin": "output from TCG plugins"}

LOGGED = {"in_asm", "int", "unimp", "guest_errors"}  # those for which there is something to log


def log_help() -> str:
    """What -d help prints."""
    return "Log items (comma separated):\n" + "".join(f"{n:<15} {t}\n" for n, t in LOG_ITEMS.items())


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
    try:
        models = importlib.import_module(f"tinamou.isa.{r.arch}.models")
    except ModuleNotFoundError:
        return []
    wide = 64 if "64" in r.program else 32 if "32" in r.program else 0
    return sorted({m.name for m in models.MODELS.values() if not wide or m.xlen == wide})
