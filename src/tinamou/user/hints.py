"""What helps somebody whose program could not be started: a second line below the original's message."""

from __future__ import annotations

import importlib
import os
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .abi import Abi
    from .process import Process

__all__ = ["hint"]

KINDS = {1: "an object file, which has to be linked first", 4: "a core dump"}  # e_type
MACHINES = {  # e_machine, of architectures without an ABI here
    2: "sparc", 3: "i386", 4: "m68k", 8: "mips", 18: "sparc32plus", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 42: "sh4",
    43: "sparc64", 62: "x86_64", 92: "or1k", 94: "xtensa", 183: "aarch64", 189: "microblaze", 243: "riscv", 258: "loongarch64",
}  # fmt: skip


def hint(process: Process, path: bytes, number: int, guests: dict[str, str]) -> str:
    """One sentence about a program that could not be started with that errno, or nothing; `guests`: architecture by name of the ABI."""
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            start = file.read(256)
    except OSError:
        return near(name) if not os.path.lexists(path) else ""
    if start.startswith(b"#!"):
        words = os.fsdecode(start[2:].split(b"\n")[0]).split()
        return f"{name} is a script: give the guest's {words[0]} as the program, and the script as its argument." if words else ""
    if len(start) < 20 or start[:4] != b"\x7fELF":
        return ""
    order = ">" if start[5] == 2 else "<"
    kind, machine = struct.unpack_from(order + "HH", start, 16)
    if kind in KINDS:
        return f"{name} is {KINDS[kind]}."
    identity = start[4:6] + bytes([machine & 0xFF, machine >> 8])
    if identity != identity_of(process.abi):
        return f"{name} is a program {whose(identity, machine, guests)}."
    if process.image is None and number == 2:  # its interpreter
        return f"{name} is linked dynamically: name the folder with the guest's libraries by -L."
    return ""


def near(name: str) -> str:
    """The file of that folder that was probably meant."""
    import difflib

    folder, wanted = os.path.split(name)
    try:
        with os.scandir(folder or ".") as entries:
            close = difflib.get_close_matches(wanted, [e.name for e in entries if e.is_file()], 1)
    except OSError:
        return ""
    return f"Did you mean '{os.path.join(folder, close[0])}'?" if close else ""


def identity_of(abi: Abi) -> bytes:
    """Class, byte order and machine (little-endian) of an ABI's ELF files."""
    return bytes([2 if abi.bits == 64 else 1, 1 if abi.order == "<" else 2]) + abi.machine.to_bytes(2, "little")


def whose(identity: bytes, machine: int, guests: dict[str, str]) -> str:
    """For which computer such a program is, and what runs it."""
    for name, folder in guests.items():
        if identity_of(importlib.import_module(f"tinamou.isa.{folder}.linux").abi(name)) == identity:
            return f"for {name}: tinamou-{name} runs it"
    with open(sys.executable, "rb") as file:
        own = file.read(20)
    if own[4:6] == identity[:2] and struct.unpack_from("=H", own, 18)[0] == machine:
        return "of this computer: run it by itself"
    return f"for {MACHINES.get(machine, f'machine {machine}')}, for which there is no tinamou command"
