"""What -d, -dfilter, -singlestep, -trace and -perfmap show, in the original's words."""

from __future__ import annotations

import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.guests import program, run
from tinamou.native.cache import files
from tinamou.user.symbols import functions_of
from tinamou.user.trace import filter_of

REGISTERS = " pc       [0-9a-f]{16}\n x0/zero  0{16} x1/ra    [0-9a-f]{16} x2/sp    [0-9a-f]{16} x3/gp    [0-9a-f]{16}\n"
LINE = re.compile(r"0x([0-9a-f]{16}):  ([0-9a-f]{4}|[0-9a-f]{8})\s+([\w.]+) *(.*)")


def log(*options: str, name: str = "environment", words: tuple[str, ...] = ("arguments",), arch: str = "riscv64") -> str:
    """What a run with these options writes to stderr."""
    done = run(program(name, arch), *words, arch=arch, options=list(options))
    assert done.returncode == 0
    return done.stderr


def blocks(text: str) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """What in_asm shows: the function's name; address, code and mnemonic of each instruction."""
    found: list[tuple[str, list[tuple[int, int, str]]]] = []
    for line in text.splitlines():
        if line.startswith("IN: "):
            found.append((line[4:], []))
        elif match := LINE.fullmatch(line):
            found[-1][1].append((int(match[1], 16), int(match[2], 16), match[3]))
    return found


def test_in_asm() -> None:
    text = log("-d", "in_asm")
    assert text.startswith("----------------\nIN: _start\n0x")
    found = blocks(text)
    assert "main" in [name for name, _ in found]
    for _, instructions in found:
        assert instructions
        for (at, code, _), (following, _, _) in itertools.pairwise(instructions):
            assert following - at == (4 if code & 3 == 3 else 2)
    assert {name for _, rows in found for _, _, name in rows} >= {"auipc", "ecall", "c.addi", "ld"}


def test_in_asm_equals_the_originals_code() -> None:
    """The same instructions at the same places as the original shows, wherever both came by."""
    original = shutil.which("qemu-riscv64")
    if original is None:
        pytest.skip("the original's qemu-user is not installed")
    theirs = subprocess.run([original, "-d", "in_asm", program("environment"), "arguments"], capture_output=True, text=True).stderr
    mine, others = ({at: code for _, rows in blocks(text) for at, code, _ in rows} for text in (log("-d", "in_asm"), theirs))
    both = mine.keys() & others.keys()
    assert len(both) > 200 and len(both) > len(others) * 0.9
    assert all(mine[at] == others[at] for at in both)


def test_exec_and_cpu() -> None:
    text = log("-d", "exec,cpu,nochain")
    entries = re.findall(r"^Trace 0: 0x[0-9a-f]+ \[0{16}/([0-9a-f]{16})/0x0\] (\w*)\n", text, re.MULTILINE)
    states = re.findall(r"^ pc       ([0-9a-f]{16})$", text, re.MULTILINE)
    assert [at for at, _ in entries] == states and len(states) > 100
    assert entries[0][1] == "_start" and "main" in [name for _, name in entries]
    assert re.match(r"Trace 0: .*\n" + REGISTERS, text)
    assert text.count("\n") == 10 * len(states)


@pytest.mark.parametrize("arch", ["riscv64", "riscv32"])
def test_single_step_is_the_same_on_both_engines(arch: str) -> None:
    paths = []
    for engine in ("compiled", "golden"):
        text = log("-singlestep", "-d", "exec", "-engine", engine, arch=arch)
        paths.append(re.findall(r"\[0+/([0-9a-f]+)/0x1\]", text))
    assert paths[0] == paths[1] and len(paths[0]) > 1000


def test_floating_point_registers() -> None:
    assert re.search(r"^ f0/ft0   0{16} f1/ft1   0{16} f2/ft2   0{16} f3/ft3   0{16}$", log("-d", "cpu,fpu"), re.MULTILINE)
    assert "f0/ft0" not in log("-d", "cpu")


def test_arm_registers() -> None:
    text = log("-d", "cpu", "-engine", "golden", arch="aarch64")
    assert re.match(r" PC=[0-9a-f]{16} X00=0{16} X01=0{16}\nX02=", text)
    assert re.search(r"^X29=[0-9a-f]{16} X30=[0-9a-f]{16}  SP=[0-9a-f]{16}\nPSTATE=[0-9a-f]{8} [N-][Z-][C-][V-] EL0t$", text, re.MULTILINE)


def test_filter() -> None:
    main = next(a for name, rows in blocks(log("-d", "in_asm")) if name == "main" for a, _, _ in rows)
    for text in (f"{main:#x}+4", f"{main + 3:#x}-4", f"{main:#x}..{main + 3}", f"0x1+1,{main:#x}+1"):
        found = blocks(log("-d", "in_asm", "-dfilter", text))
        assert [(name, rows[0][0]) for name, rows in found] == [("main", main)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0x10", "Bad range specifier"),
        ("", "Bad range specifier"),
        ("0x10+0x20,", "Bad range specifier"),
        ("0x10+", "Invalid number to the right of +"),
        ("0x10..z", "Invalid number to the right of .."),
        ("z-1", "Invalid number to the left of -"),
        ("9..8", "Invalid range"),
    ],
)
def test_bad_filter(text: str, message: str) -> None:
    done = run(program("environment"), options=["-dfilter", text])
    assert done.returncode == 1 and done.stderr.splitlines()[0] == f"tinamou-riscv64: {message}"


def test_filter_numbers() -> None:
    assert filter_of("0x10+0x20,1..9,020-1") == [range(0x10, 0x30), range(1, 10), range(16, 17)]


def test_exceptions() -> None:
    text = log("-d", "int", name="memory", words=())
    assert re.search(r"^exception: cpu:0, cause:0xf, pc:0x[0-9a-f]+, value:0x[0-9a-f]+$", text, re.MULTILINE)


def test_pages() -> None:
    lines = log("-d", "page", name="loops", words=()).splitlines()
    assert lines.count("page layout changed following mmap") >= 1


def test_trace_of_calls(tmp_path: Path) -> None:
    text = log("-trace", "guest_user_syscall*")
    exits = [line for line in text.splitlines() if line.startswith("guest_user_syscall cpu=0x")]
    start = r"guest_user_syscall cpu=0x[0-9a-f]+ num=0x0{14}5e arg1=0x0{16}"
    assert re.fullmatch(start + r"( arg\d=0x[0-9a-f]{16}){5} arg7=0x0{16} arg8=0x0{16}", exits[-1])
    assert text.count("guest_user_syscall_ret cpu=0x") == len(exits) - 1  # exit_group does not come back
    assert log("-d", "trace:guest_user_syscall").count("num=") == len(exits)
    events = tmp_path / "events"
    events.write_text("# comment\nguest_user_syscall\n")
    assert log("-trace", f"events={events},file={tmp_path / 'out'}") == ""
    assert (tmp_path / "out").read_text().count("num=") == len(exits)


def test_trace_of_signals() -> None:
    text = log("-trace", "user_*", name="signals", words=())
    assert re.match(r"user_handle_signal env=(0x[0-9a-f]+) signal 10\n"
                    r"user_setup_rt_frame env=\1 frame_addr=(0x[0-9a-f]+)\nuser_do_rt_sigreturn env=\1 frame_addr=\2\n", text)  # fmt: skip


def test_trace_mistakes() -> None:
    assert run(options=["-trace", "help"]).stdout.splitlines()[0] == "guest_user_syscall"
    assert log("-trace", "guest_user_sycall") == (
        "tinamou-riscv64: warning: trace event 'guest_user_sycall' does not exist\nDid you mean 'guest_user_syscall'?\n"
    )
    done = run("x", options=["-trace", "evens=x"])
    assert (done.returncode, done.stderr) == (1, "tinamou-riscv64: Invalid parameter 'evens'\nDid you mean 'events'?\n")
    done = run("x", options=["-trace", "events=/nonexistent"])
    assert (done.returncode, done.stderr) == (1, "tinamou-riscv64: -trace: /nonexistent: No such file or directory\n")


# ---- compiled code


def busy(*options: str, **more: object) -> str:
    done = run(program("loops"), options=list(options), **more)
    assert (done.returncode, done.stdout) == (0, "2500000000 15511210043330985984000000\n")
    return done.stderr


def test_jit_statistics() -> None:
    text = busy("--no-code-cache", "-accel", "tcg,jit=on", "-d", "jit")
    match = re.search(r"regions +(\d+) \((\d+) compiled, 0 from the cache on disk\)", text)
    assert match and int(match[1]) == int(match[2]) > 0
    rows = dict(re.findall(r"^  (\w[\w ]*\w)  +(.*)$", text, re.MULTILINE))
    assert rows["machine code"].endswith(" bytes") and float(rows["time spent compiling"].split()[0]) > 0
    shares = [int(n) for n in re.findall(r"(\d+)%", rows["time"])]
    assert len(shares) == 3 and 98 <= sum(shares) <= 102 and rows["time"].startswith("regions ")
    for mode in ("off", "traces"):
        assert busy("-accel", f"tcg,jit={mode}", "-d", "jit") == "JIT statistics: nothing is compiled: jit=off or jit=traces\n"


def test_code_cache(tmp_path: Path) -> None:
    """What one run compiled the next one finds, unless it must not."""
    for _, _, image in files("", ".image"):
        shutil.copy(image, tmp_path)
    here = {"env": {**os.environ, "TINAMOU_CACHE": str(tmp_path)}}
    tmp_path.chmod(0o700)
    busy("--no-code-cache", **here)
    assert not list(tmp_path.glob("regions-*"))
    busy("-d", "jit", **here)
    assert len(list(tmp_path.glob("regions-*"))) == 1
    assert not re.search(r"compiled, 0 from the cache", busy("-d", "jit", **here))
    assert re.search(r"compiled, 0 from the cache", busy("-d", "jit", "--no-code-cache", **here))


def test_perf_map() -> None:
    command = [sys.executable, "-m", "tinamou.tools.main", "user", "riscv64", "-perfmap", "--no-code-cache", program("loops")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as guest:
        guest.communicate()
    path = Path(f"/tmp/perf-{guest.pid}.map")
    try:
        rows = [line.split(" ", 2) for line in path.read_text().splitlines()]
    finally:
        path.unlink()
    spans = sorted((int(at, 16), int(at, 16) + int(size, 16)) for at, size, _ in rows)
    assert all(end <= following for (_, end), (following, _) in itertools.pairwise(spans))
    names = [name for _, _, name in rows]
    assert "interpreter of riscv64" in names
    assert any(re.fullmatch(r"(main|sum) region:0x[0-9a-f]+", name) for name in names)
    assert any(re.fullmatch(r"\w+ trace:0x[0-9a-f]+", name) for name in names) or platform.machine() != "x86_64"


@pytest.mark.skipif(not shutil.which("perf"), reason="asks perf itself where it is installed")
def test_perf_shows_functions_of_the_guest(tmp_path: Path) -> None:
    words = ["-m", "tinamou.tools.main", "user", "riscv64", "-perfmap", "--no-code-cache", program("loops")]
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-o", tmp_path / "data", sys.executable, *words]
    done = subprocess.run(record, capture_output=True, text=True)
    if not done.stdout:
        pytest.skip(f"perf may not look at processes here: {done.stderr.strip()}")
    shown = subprocess.run(["perf", "report", "-i", tmp_path / "data", "--sort", "sym", "--stdio"], capture_output=True, text=True).stdout
    assert re.search(r"\b(main|sum) region:0x[0-9a-f]+", shown), shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-accel", "tcg,jit=eagre"], "-accel tcg,jit=eagre: one of off, traces, on, eager\nDid you mean 'eager'?"),
        (["-accel", "kvm"], "-accel kvm: invalid accelerator kvm\nPrograms run on tcg."),
        (["-accel", "tcg,jot=on"], "-accel: Property 'tcg-accel.jot' not found\nDid you mean 'jit'?"),
    ],
)
def test_accelerator_mistakes(words: list[str], message: str) -> None:
    done = run("x", options=words)
    assert (done.returncode, done.stderr) == (1, f"tinamou-riscv64: {message}\n")


# ---- names


def test_symbols() -> None:
    from tinamou.isa.riscv.linux import abi

    functions, segments = functions_of(str(program("environment")), abi("riscv64"))
    names = {name: value for value, _, name in functions}
    assert {"main", "_start", "recurse"} <= names.keys() or {"main", "_start"} <= names.keys()
    assert any(start <= names["main"] < start + size for _, size, start in segments)


def test_symbols_of_damaged_files(tmp_path: Path) -> None:
    """Every cut and every changed byte in the headers gives names or none, never an error."""
    from tinamou.isa.riscv.linux import abi

    riscv = abi("riscv64")
    good = bytearray(program("environment").read_bytes())
    victim = tmp_path / "elf"
    sections = int.from_bytes(good[40:48], "little")
    for at in [*range(64), *range(sections, min(sections + 640, len(good)), 3)]:
        bad = bytearray(good)
        bad[at] ^= 0xFF
        victim.write_bytes(bad)
        functions_of(str(victim), riscv)
    for size in (0, 10, 63, 64, 100, len(good) // 2, len(good) - 5):
        victim.write_bytes(good[:size])
        functions_of(str(victim), riscv)
    assert functions_of("/nonexistent", riscv) == functions_of("/dev/null", riscv) == ([], [])
