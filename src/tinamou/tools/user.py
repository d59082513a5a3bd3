"""tinamou-riscv64 PROGRAM [ARGUMENTS], tinamou-aarch64 ...: run one foreign Linux program.

The name chooses the guest: tinamou-riscv64, a link qemu-riscv64, or `tinamou user riscv64`.  Options, environment variables and messages
are those of the original's user-mode emulators; each QEMU_NAME may also be called TINAMOU_NAME.
"""

from __future__ import annotations

import os
import signal
import sys

# Ctrl-C ends the command without a word from here on; not where this module is only imported.
if os.path.basename(sys.argv[0]).startswith(("tinamou", "qemu-", "main.py", "user.py", "-m")):
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from tinamou import __version__

if TYPE_CHECKING:
    from tinamou.user.abi import Abi
    from tinamou.user.process import Options, Process

__all__ = ["main"]

ABIS = {"riscv64": "riscv", "riscv32": "riscv", "aarch64": "arm64"}  # guest -> folder of its architecture

JIT = ["off", "traces", "on", "eager"]
LOG_ITEMS = {
    "out_asm": "show generated host assembly code for each compiled TB",
    "in_asm": "show target assembly code for each compiled TB",
    "op": "show micro ops for each compiled TB",
    "op_opt": "show micro ops after optimization",
    "op_ind": "show micro ops before indirect lowering",
    "int": "show interrupts/exceptions in short format",
    "exec": "show trace before each executed TB (lots of logs)",
    "cpu": "show CPU registers before entering a TB (lots of logs)",
    "fpu": "include FPU registers in the 'cpu' logging",
    "mmu": "log MMU-related activities",
    "pcall": "x86 only: show protected mode far calls/returns/exceptions",
    "cpu_reset": "show CPU state before CPU resets",
    "unimp": "log unimplemented functionality",
    "guest_errors": "log when the guest OS does something invalid (eg accessing a\nnon-existent register)",
    "page": "dump pages at beginning of user mode emulation",
    "nochain": 'do not chain compiled TBs so that "exec" and "cpu" show\ncomplete traces',
    "plugin": "output from TCG plugins\n",
    "strace": "log every user-mode syscall, its input, and its result",
    "jit": "what was compiled, when the program ends",
}
"""The original's items and their descriptions, and `jit`; those that describe the original's own compiler are accepted and show nothing."""


class Usage(Exception):
    """A mistake on the command line: the line to print, and the exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class CommandLine:
    """What the options and variables say; `program` and `arguments` are what follows them."""

    def __init__(self, abi: Abi, name: str) -> None:
        from tinamou.user.process import Options

        self.abi, self.name = abi, name
        self.options: Options = Options()
        self.options.program_name = name
        self.options.sysroot = b"/etc/qemu-binfmt/" + abi.name.encode()
        self.environment = dict(os.environb)
        self.argv0: bytes | None = None
        self.log_file = ""
        self.gdb = ""
        self.program = b""
        self.arguments: list[bytes] = []

    def say(self, text: str, status: int) -> NoReturn:
        """Write what an option asks for, and end with that status.  Raises Usage when it cannot be written."""
        data = text.encode()
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
        except OSError as error:
            raise Usage(f"{self.name}: write error: {error.strerror}") from None
        sys.exit(status)

    # ---- one method per option

    def help(self, value: str) -> NoReturn:
        self.say(usage(self.abi, self.name), 0)

    def version(self, value: str) -> NoReturn:
        self.say(f"{self.name} version 5.1.0 (tinamou {__version__})\nCopyright (c) 2026 the Tinamou authors\n", 0)

    def set_gdb(self, value: str) -> None:
        self.gdb = value

    def sysroot(self, value: str) -> None:
        self.options.sysroot = os.fsencode(value).rstrip(b"/")

    def stack(self, value: str) -> None:
        match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([kKmM]?).*", value)
        size = int(match[1], 0) * {"": 1, "k": 1 << 10, "m": 1 << 20}[match[2].lower()] if match and int(match[1], 0) else 0
        if not 0 < size <= 1 << 40:
            raise Usage(usage(self.abi, self.name) + f"\n{self.name}: -s {value}: a number of bytes, with K or M: 8M")
        self.options.stack_size = max(size, 64 << 10)

    def cpu(self, value: str) -> None:
        if value in ("help", "?"):
            self.say("\n".join(self.abi.cpu_models()) + "\n", 1)
        model, comma, properties = value.partition(",")
        if model not in self.abi.cpu_models():
            raise Usage(f"{self.name}: unable to find CPU model '{model}'" + nearest(model, self.abi.cpu_models()))
        if comma:
            try:
                self.abi.cpu_properties(model, properties)
            except ValueError as mistake:
                raise Usage(f"{self.name}: {mistake}") from None
        self.options.cpu = value

    def set_variables(self, value: str) -> None:
        for item in value.split(","):
            key, equals, content = os.fsencode(item).partition(b"=")
            if not equals:
                raise Usage(usage(self.abi, self.name) + f"\n{self.name}: -E {item}: NAME=VALUE")
            self.environment[key] = content

    def unset_variables(self, value: str) -> None:
        for item in value.split(","):
            if "=" in item:
                raise Usage(usage(self.abi, self.name) + f"\n{self.name}: -U {item}: the name alone")
            self.environment.pop(os.fsencode(item), None)

    def set_argv0(self, value: str) -> None:
        self.argv0 = os.fsencode(value)

    def release(self, value: str) -> None:
        self.options.release = value

    def base(self, value: str) -> None:
        if not re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", value):
            raise Usage(f"{self.name}: -B {value}: an address: 0x10000000000")
        self.options.base = int(value.lstrip("0") or "0", 10) & -4096 if value.isdigit() else int(value, 16) & -4096

    def reserve(self, value: str) -> None:
        match = re.match(r"(0[xX][0-9a-fA-F]+|\d*)(.*)", value, re.DOTALL)
        assert match
        unit = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(match[2])
        if unit is None:
            raise Usage(f"Unrecognised -R size suffix '{match[2]}'")
        size = int(match[1] or "0", 0) * unit & -4096
        if size > self.abi.limit:
            raise Usage(f"Reserved virtual address too big: the guest has {self.abi.limit:#x} bytes")
        self.options.reserve = size

    def log(self, value: str) -> None:
        found = set()
        for item in value.split(","):
            if item == "all":
                found |= set(LOG_ITEMS)
            elif item.startswith("trace:"):
                self.trace(item[6:])
            elif item in LOG_ITEMS or item == "tid":
                found.add(item)
            else:
                items = "".join(f"{name:<15} {text}\n" for name, text in LOG_ITEMS.items())
                items += "tid             open a separate log file per thread; filename must contain '%d'\n"
                items += 'trace:PATTERN   enable trace events\n\nUse "-d trace:help" to get a list of trace events.\n\n'
                self.say("Log items (comma separated):\n" + items, 1)
        self.options.log_items |= found
        self.options.strace |= "strace" in found

    def set_log_file(self, value: str) -> None:
        self.log_file = value

    def strace(self, value: str) -> None:
        self.options.strace = True

    def page_size(self, value: str) -> None:
        if not value.isdigit() or not int(value) or int(value) & (int(value) - 1):
            raise Usage("page size must be a power of two")

    def seed(self, value: str) -> None:
        try:
            self.options.seed = int(value, 0)
        except ValueError:
            raise Usage(f"{self.name}: cannot initialize crypto: Invalid seed number: {value}") from None

    def filter(self, value: str) -> None:
        from tinamou.user.trace import filter_of

        try:
            self.options.log_filter = filter_of(value)
        except ValueError as mistake:
            raise Usage(f"{self.name}: {mistake}\nRanges are START+LENGTH, END-LENGTH or FIRST..LAST: 0x1000+0x200") from None

    def single_step(self, value: str) -> None:
        self.options.single_step = True

    def trace(self, value: str) -> None:
        """[[enable=]PATTERN][,events=FILE][,file=FILE]"""
        from tinamou.user.trace import EVENTS, matching

        patterns = []
        for n, item in enumerate(value.split(",")):
            key, equals, content = item.partition("=")
            if not equals and n == 0:
                key, content = "enable", item
            if key == "enable":
                patterns.append(content)
            elif key == "events":
                try:
                    with open(content) as file:
                        patterns += [line for line in file.read().splitlines() if line and not line.startswith("#")]
                except (OSError, UnicodeDecodeError) as error:
                    raise Usage(f"{self.name}: -trace: {content}: {getattr(error, 'strerror', None) or 'no text'}") from None
            elif key == "file":
                self.log_file = content
            else:
                raise Usage(f"{self.name}: Invalid parameter '{key}'" + nearest(key, ["enable", "events", "file"]))
        if "help" in patterns or "?" in patterns:
            self.say("\n".join(EVENTS) + "\n", 0)
        for pattern in patterns:
            off, pattern = pattern.startswith("-"), pattern.removeprefix("-")
            found = frozenset(matching(pattern))
            if not found and not set("*?") & set(pattern):
                print(f"{self.name}: warning: trace event '{pattern}' does not exist" + nearest(pattern, list(EVENTS)), file=sys.stderr)
            self.options.events = self.options.events - found if off else self.options.events | found

    def accelerator(self, value: str) -> None:
        """tcg[,jit=off|traces|on|eager]"""
        for n, item in enumerate(value.split(",")):
            key, equals, content = item.partition("=")
            if n == 0 and (not equals or key == "accel"):
                chosen = content or key
                if chosen == "help":
                    self.say("Accelerators supported in QEMU binary:\ntcg\n", 0)
                if chosen != "tcg":
                    raise Usage(f"{self.name}: -accel {chosen}: invalid accelerator {chosen}\nPrograms run on tcg.")
            elif key == "jit":
                if content not in JIT:
                    raise Usage(f"{self.name}: -accel tcg,jit={content}: one of {', '.join(JIT)}" + nearest(content, JIT))
                self.options.jit = content
            else:
                raise Usage(f"{self.name}: -accel: Property 'tcg-accel.{key}' not found" + nearest(key, ["jit"]))

    def no_code_cache(self, value: str) -> None:
        self.options.code_cache = False

    def perf_map(self, value: str) -> None:
        self.options.perf_map = True

    def engine(self, value: str) -> None:
        if value not in ("compiled", "golden"):
            raise Usage(f"{self.name}: -engine {value}: compiled or golden")
        self.options.engine = value


class Option:
    """One option: spelling, variable without its prefix, argument's name, what it does, and the line of -help."""

    def __init__(self, name: str, variable: str, argument: str, action: Callable[[CommandLine, str], Any], text: str) -> None:
        self.name, self.variable, self.argument, self.action, self.text = name, variable, argument, action, text


OPTIONS = [
    Option("h", "", "", CommandLine.help, "print this help"),
    Option("help", "", "", CommandLine.help, ""),
    Option("g", "GDB", "port", CommandLine.set_gdb, "wait gdb connection to 'port'"),
    Option("L", "LD_PREFIX", "path", CommandLine.sysroot, "set the elf interpreter prefix to 'path'"),
    Option("s", "STACK_SIZE", "size", CommandLine.stack, "set the stack size to 'size' bytes"),
    Option("cpu", "CPU", "model", CommandLine.cpu, "select CPU (-cpu help for list)"),
    Option("E", "SET_ENV", "var=value", CommandLine.set_variables, "sets targets environment variable (see below)"),
    Option("U", "UNSET_ENV", "var", CommandLine.unset_variables, "unsets targets environment variable (see below)"),
    Option("0", "ARGV0", "argv0", CommandLine.set_argv0, "forces target process argv[0] to be 'argv0'"),
    Option("r", "UNAME", "uname", CommandLine.release, "set qemu uname release string to 'uname'"),
    Option("B", "GUEST_BASE", "address", CommandLine.base, "set guest_base address to 'address'"),
    Option("R", "RESERVED_VA", "size", CommandLine.reserve, "reserve 'size' bytes for guest virtual address space"),
    Option("d", "LOG", "item[,...]", CommandLine.log, "enable logging of specified items (use '-d help' for a list of items)"),
    Option("dfilter", "DFILTER", "range[,...]", CommandLine.filter, "filter logging based on address range"),
    Option("D", "LOG_FILENAME", "logfile", CommandLine.set_log_file, "write logs to 'logfile' (default stderr)"),
    Option("p", "PAGESIZE", "pagesize", CommandLine.page_size, "set the host page size to 'pagesize'"),
    Option("singlestep", "SINGLESTEP", "", CommandLine.single_step, "run in singlestep mode"),
    Option("strace", "STRACE", "", CommandLine.strace, "log system calls"),
    Option("seed", "RAND_SEED", "", CommandLine.seed, "Seed for pseudo-random number generator"),
    Option("trace", "TRACE", "", CommandLine.trace, "[[enable=]<pattern>][,events=<file>][,file=<file>]"),
    Option("accel", "ACCEL", "tcg[,jit=mode]", CommandLine.accelerator, "compile code: jit=off, traces, on or eager"),
    Option("no-code-cache", "NO_CODE_CACHE", "", CommandLine.no_code_cache, "neither use nor write compiled code on disk"),
    Option("perfmap", "PERFMAP", "", CommandLine.perf_map, "write /tmp/perf-PID.map, in which perf finds names of compiled code"),
    Option("engine", "ENGINE", "name", CommandLine.engine, "run guest code 'compiled' or on the 'golden' model"),
    Option("version", "VERSION", "", CommandLine.version, "display version information and exit"),
]
TAKES = {o.name for o in OPTIONS if o.argument} | {"seed", "trace"}


def usage(abi: Abi, name: str) -> str:
    """The text of -help."""
    rows = [f"{'-' + o.name + (' ' + o.argument if o.argument else ''):<20} {('QEMU_' + o.variable) if o.variable else '':<17} {o.text}"
            for o in OPTIONS]  # fmt: skip
    return (
        f"""\
usage: {name} [options] program [arguments...]
Linux CPU emulator (compiled for {abi.name} emulation)

Options and associated environment variables:

{"Argument":<20} {"Env-variable":<17} Description
"""
        + "".join(row + "\n" for row in rows)
        + f"""
Defaults:
QEMU_LD_PREFIX  = /etc/qemu-binfmt/{abi.name}
QEMU_STACK_SIZE = 8388608 byte

You can use -E and -U options or the QEMU_SET_ENV and
QEMU_UNSET_ENV environment variables to set and unset
environment variables for the target process.
It is possible to provide several variables by separating them
by commas in getsubopt(3) style. Additionally it is possible to
provide the -E and -U options multiple times.
The following lines are equivalent:
    -E var1=val2 -E var2=val2 -U LD_PRELOAD -U LD_DEBUG
    -E var1=val2,var2=val2 -U LD_PRELOAD,LD_DEBUG
    QEMU_SET_ENV=var1=val2,var2=val2 QEMU_UNSET_ENV=LD_PRELOAD,LD_DEBUG
Note that if you provide several changes to a single variable
the last change will stay in effect.

Each QEMU_ variable may also be called TINAMOU_.
"""
    )


def nearest(word: str, known: list[str]) -> str:
    """A second line that names what was probably meant."""
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f"\nDid you mean '{close[0]}'?" if close else ""


def parse(abi: Abi, name: str, words: list[str]) -> CommandLine:
    """Variables, then options up to the program.  Raises Usage."""
    line = CommandLine(abi, name)
    for option in OPTIONS:
        if option.variable:
            for prefix in ("QEMU_", "TINAMOU_"):
                value = os.environ.get(prefix + option.variable)
                if value is not None:
                    option.action(line, value)
    by_name = {o.name: o for o in OPTIONS}
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        spelled = words[at].removeprefix("-").removeprefix("-") if words[at] != "--" else ""
        at += 1
        if spelled == "":
            break
        found = by_name.get(spelled)
        if found is None:
            raise Usage(f"qemu: unknown option '{spelled}'" + nearest(spelled, list(by_name)))
        value = ""
        if spelled in TAKES:
            if at >= len(words):
                raise Usage(f"qemu: missing argument for option '{spelled}'")
            value = words[at]
            at += 1
        found.action(line, value)
    if at >= len(words):
        raise Usage("qemu: no user program specified")
    line.program = os.fsencode(words[at])
    line.arguments = [os.fsencode(w) for w in words[at:]]
    if line.argv0 is not None:
        line.arguments[0] = line.argv0
    return line


def open_log(line: CommandLine) -> None:
    """Send the log to the file of -D, at a descriptor that the guest does not meet."""
    from tinamou.user.process import hide

    path = line.log_file.replace("%d", str(os.getpid()))
    if not path or not (line.options.log_items or line.options.strace or line.options.events):
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Usage(f"{line.name}: Error opening logfile {path}: {error.strerror}") from None
    line.options.log_fd = hide(fd)


def run(abi_name: str, name: str, words: list[str], prepare: Callable[[Process], None] | None = None) -> int:
    """Run a program for that guest: an exit status, if the program does not end the process itself.

    `prepare` is called with the process before it has a program.
    """
    from tinamou.user.errors import LoadError

    abi: Abi = importlib.import_module(f"tinamou.isa.{ABIS[abi_name]}.linux").abi(abi_name)
    try:
        line = parse(abi, name, words)
        open_log(line)
    except Usage as mistake:
        print(str(mistake).rstrip("\n"), file=sys.stderr)
        return mistake.status
    from tinamou.user import exec
    from tinamou.user.memory import LEAST
    from tinamou.user.process import Process

    if line.options.jit:
        os.environ["TINAMOU_JIT"] = line.options.jit
        os.environ.pop("TINAMOU_TRACES", None)

    try:
        process = Process(abi, line.options)
    except OSError as error:
        size = (line.options.reserve or abi.limit) if line.options.base else LEAST
        print(f"{name}: Unable to reserve {size:#x} bytes of virtual address space: {error.strerror}", file=sys.stderr)
        return 1
    if line.options.single_step or line.options.log_items & {"in_asm", "exec", "cpu", "int"}:
        from tinamou.user.trace import TracedVcpu

        process.wraps = TracedVcpu
    if prepare:
        prepare(process)
    environment = [key + b"=" + value for key, value in line.environment.items()]
    try:
        thread = exec.start(process, line.program, line.arguments, environment)
    except LoadError as error:
        from tinamou.user.hints import hint

        text = str(error)
        early = error.errno < 0 or text.startswith("Error while loading")  # before the file was looked at
        print(text if early else f"{name}: {text}", file=sys.stderr)
        if more := hint(process, line.program, abs(error.errno), ABIS):
            print(more, file=sys.stderr)
        return 1 if early else 255
    except (OSError, MemoryError) as error:  # of the emulator itself
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    if line.gdb:
        from tinamou.control.gdb_user import serve

        thread.attach()
        try:
            serve(process, line.gdb)
        except (OSError, ValueError) as error:
            print(f"{name}: -g {line.gdb}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            return 1
    process.main(thread)


def guest_of(name: str) -> str:
    """The guest that a command's name stands for, or nothing."""
    found = re.fullmatch(r"(?:tinamou|qemu)-(\w+?)(?:-static)?", name)
    return found[1] if found and found[1] in ABIS else ""


def main(words: list[str] | None = None) -> int:
    """The command named in argv[0], or `user GUEST ...` when words are given."""
    if words is None:
        name = os.path.basename(sys.argv[0])
        return run(guest_of(name) or "riscv64", name, sys.argv[1:])
    if not words or words[0] not in ABIS:
        given = f"unknown guest '{words[0]}'" if words else "which guest?"
        print(f"tinamou user: {given}; one of {', '.join(sorted(ABIS))}", file=sys.stderr)
        return 1
    return run(words[0], f"tinamou-{words[0]}", words[1:])


if __name__ == "__main__":
    sys.exit(main())
