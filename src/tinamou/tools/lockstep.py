"""tinamou lockstep [GUEST] [options] PROGRAM [ARGUMENTS]: two engines side by side, up to the first instruction after which they differ."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tinamou.user.process import Process

__all__ = ["main"]

USAGE = """\
usage: tinamou lockstep [GUEST] [options] [options of the user command] PROGRAM [ARGUMENTS...]
       tinamou lockstep [GUEST] [options] --flat ADDRESS FILE

Run a program, slice by slice, on two engines at once and compare registers, exceptions and memory.  At the first difference say after how
many instructions and at which one, and exit with status 1.  GUEST is riscv64 unless given.

  --engines A,B    golden (each instruction's function in Python) or interpreter, and a faster one: interpreter, traces (compiled
                   code in their place at the first visit) or regions (compiled hot code); golden,interpreter unless given
  --every N        instructions in a slice: 1000 with golden, else 100000
  --flat ADDRESS   FILE is no ELF program but instructions to load at ADDRESS and to run up to the first exception
"""


class Mistake(Exception):
    """What is wrong with the command line."""


def number(option: str, text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise Mistake(f"{option} {text}: not a number")
    return value


def engines(text: str) -> tuple[str, str]:
    """The faster of the two, which runs the program, and the slower one."""
    from tinamou.tools.user import nearest
    from tinamou.user.lockstep import COMPARED, ENGINES

    names = text.split(",")
    for name in names:
        if name not in ENGINES:
            raise Mistake(f"--engines {text}: '{name}' is none of {', '.join(ENGINES)}" + nearest(name, list(ENGINES)))
    if len(names) != 2 or names[0] == names[1]:
        raise Mistake(f"--engines {text}: two different ones of {', '.join(ENGINES)}")
    slow, fast = sorted(names, key=ENGINES.index)
    if slow not in COMPARED:
        raise Mistake(f"--engines {text}: one of the two is {' or '.join(COMPARED)}")
    return fast, slow


def main(words: list[str] | None = None) -> int:
    from tinamou.tools.user import ABIS

    words = list(sys.argv[1:] if words is None else words)
    guest = words.pop(0) if words and words[0] in ABIS else "riscv64"
    pair, every, flat = ("interpreter", "golden"), 0, -1
    try:
        while words and words[0].startswith("-"):
            option, _, value = words[0].partition("=")
            if option in ("-h", "-help", "--help"):
                print(USAGE, end="")
                return 0
            if option not in ("--engines", "--every", "--flat"):
                break
            del words[0]
            if not value and not words:
                raise Mistake(f"{option} needs a value")
            value = value or words.pop(0)
            if option == "--engines":
                pair = engines(value)
            elif option == "--every":
                every = max(number(option, value), 1)
            else:
                flat = number(option, value)
        if not words:
            raise Mistake("which program?")
    except Mistake as mistake:
        print(f"tinamou lockstep: {mistake}", file=sys.stderr)
        return 1
    os.environ["TINAMOU_JIT"] = "on" if pair[0] == "regions" else "off"
    os.environ["TINAMOU_TRACES"] = {"regions": "on", "traces": "eager"}.get(pair[0], "off")
    return flat_program(guest, pair, every, flat, words) if flat >= 0 else program(guest, pair, every, words)


def arm(process: Process, pair: tuple[str, str], every: int) -> list[Any]:
    """Put the comparison between threads and their CPUs; the list has it when there is a CPU."""
    from tinamou.user.lockstep import Lockstep, LockstepVcpu

    made: list[Any] = []

    def wrap(process: Process, arch: Any, vcpu: Any) -> Any:
        if not made:
            made.append(Lockstep(process, arch, *pair, every))
            leader = os.getpid()

            def tell() -> None:
                if os.getpid() == leader:
                    process.log_write(made[0].summary())

            process.at_exit.append(tell)
        return LockstepVcpu(made[0], vcpu)

    process.wraps = wrap
    process.options.code_cache = False
    return made


def program(guest: str, pair: tuple[str, str], every: int, words: list[str]) -> int:
    from tinamou.tools import user

    def prepare(process: Process) -> None:
        arm(process, pair, every)

    return user.run(guest, "tinamou lockstep", words, prepare)


def flat_program(guest: str, pair: tuple[str, str], every: int, address: int, words: list[str]) -> int:
    """Run instructions from a file up to the first exception."""
    from tinamou.tools.user import ABIS
    from tinamou.user.memory import PAGE
    from tinamou.user.process import Options, Process
    from tinamou.user.thread import Thread

    abi = importlib.import_module(f"tinamou.isa.{ABIS[guest]}.linux").abi(guest)
    try:
        if len(words) > 1:
            raise Mistake(f"'{words[1]}': a flat program has no arguments")
        with open(words[0], "rb") as file:
            code = file.read((1 << 30) + 1)
        if not code or len(code) > 1 << 30:
            raise Mistake(f"{words[0]}: {'empty' if not code else 'longer than 1 GiB'}")
        if address % abi.arch.granule or not PAGE << 4 <= address <= abi.limit // 2:
            raise Mistake(f"--flat {address:#x}: an address from {PAGE << 4:#x} to {abi.limit // 2:#x}, a multiple of {abi.arch.granule}")
    except (OSError, Mistake) as error:
        text = f"{words[0]}: {error.strerror}" if isinstance(error, OSError) else str(error)
        print(f"tinamou lockstep: {text}", file=sys.stderr)
        return 1
    options = Options()
    process = Process(abi, options)
    made = arm(process, pair, every)
    memory = process.memory
    start = address & -PAGE
    memory.map(start, address - start + len(code), 7, 0x32)
    memory.write(address, code)
    stack = memory.map(0, 1 << 20, 3, 0x22)
    t = Thread(process, process.vcpu())
    abi.start(t.cpu, address, stack + (1 << 20) - 64)
    t.attach()
    process.adopt_signals()

    def finish() -> NoReturn:
        exit = t.vcpu.run()
        while not exit.trap:
            exit = t.vcpu.run()
        print(f"exception {exit.cause:#x}, value {exit.value:#x}\n" + abi.describe(t.cpu, True), end="")
        sys.stdout.flush()
        os.write(2, made[0].summary().encode())
        os._exit(0)

    finish()


if __name__ == "__main__":
    sys.exit(main())
